"""The report's first page: counts, findings, what was set, methods, and the zip to pass on."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nbformat import v4, write

from helpers.__main__ import main
from helpers.runs.parameters import (
    AnalyzeMigration,
    CompareConditions,
    Curate,
    OptimizeThresholds,
    Segment,
    SegmentRemote,
    Track,
    TrainDenoiser,
)
from helpers.runs.plan import Job
from helpers.runs.report import gather_checks
from helpers.runs.report_methods import WORKS, methods
from helpers.runs.report_overview import changed_parameters, findings, overview, tables
from helpers.runs.run import read_done, write_json


def _done(job: Job, results: dict, **more) -> Job:
    job.folder.mkdir(parents=True)
    packages = {"numpy": "2.0.2", "stardist": "0.9.2"}
    done = {"parameters": job.parameters.plain(), "results": results, "packages": packages, **more}
    write_json(job.folder / "done.json", done)
    return job


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    """Two movies: the first segmented, tracked and analysed, the second only segmented."""
    made = []
    for movie, cells in (("a", 40), ("b", 10)):
        p = Segment(run_dir=tmp_path, movie_id=movie, movie=tmp_path / "x.tif", min_size_um3=20)
        made.append(_done(Job(p.step, p, movie), {"frames": 5, "cells": cells}))
    p = Track(run_dir=tmp_path, movie_id="a", max_distance_um=7.0)
    outputs = {name: None for name in ("movies/a/tracks.csv", "movies/a/gone.csv", "movies/a/ctc/x.csv")}
    found = {"objects": 39, "tracks": 8, "divisions": 1}
    made.append(_done(Job(p.step, p, "a"), found, outputs=outputs))
    folder = p.movie_path("analysis")
    (p.movie_path("ctc")).mkdir(parents=True)
    for name in ("tracks.csv", "ctc/x.csv"):
        p.movie_path(name).write_text("id\n")
    write_json(p.movie_path("tracks.csv.json"), {"voxel_size": [2.0, 0.5, 0.5], "frame_interval": 60.0})
    folder.mkdir()
    table = pd.DataFrame(
        {"mean_speed_um_per_min": np.arange(1.0, 21), "directness": [0.5] * 3 + [np.nan] * 17}
    )
    table.to_csv(folder / "migration_passing.csv", index=False)
    rhythms = pd.DataFrame({"peak_period_s": [60.0, 999.0], "rhythmic": [True, False]})
    rhythms.to_csv(folder / "spectrum_tracklets.csv", index=False)
    q = AnalyzeMigration(run_dir=tmp_path, movie_id="a")
    results = {"tracklets": 20, "passing": 19, "divisions": 1, "plausible_divisions": 0}
    made.append(_done(Job(q.step, q, "a"), results))
    return made


def test_the_overview_counts_each_movie(jobs: list[Job]) -> None:
    table = overview(jobs).set_index("movie")
    assert table.loc["a", "cells × frames"] == 39 and table.loc["b", "cells × frames"] == 10
    assert table.loc["a", ["frames", "tracks", "divisions", "plausible divisions"]].tolist() == [5, 8, 1, 0]
    assert table.loc["a", "voxel size z × y × x (µm)"] == "2 × 0.5 × 0.5"
    assert pd.isna(table.loc["b", "tracks"])


def test_findings_have_n_and_the_interval_of_the_median(jobs: list[Job]) -> None:
    table = findings(jobs).set_index("median over tracklets")
    speed = table.loc["mean speed (µm/min)"]
    # Of 20 values the 6th and the 15th: Conover, Practical Nonparametric Statistics.
    assert speed[["n", "value", "95 % from", "to"]].tolist() == [20, "10.5", "6", "15"]
    assert table.loc["directness (0 to 1)", ["n", "95 % from"]].tolist() == [3, "–"], "three say nothing"
    assert table.loc["period of rhythmic tracklets (s)", ["n", "value"]].tolist() == [1, "60"]


def test_what_was_set_stands_beside_its_default_without_paths(jobs: list[Job]) -> None:
    table = changed_parameters(jobs)
    assert table.values.tolist() == [
        ["06_segment", "min_size_um3", "20", "–", "a, b"],
        ["10_track", "max_distance_um", "7", "15", "a"],
    ]


def test_what_two_steps_doubt_alike_of_a_movie_stands_once(jobs: list[Job]) -> None:
    doubt = {"level": "look", "said": "3 of 7 divisions are implausible."}
    for job in jobs:
        checks = [{**doubt, "remedy": job.step}, {"level": "wrong", "said": f"{job.step} is wrong."}]
        write_json(job.folder / "done.json", {**(read_done(job.folder) or {}), "checks": checks})
    found = gather_checks(jobs)
    assert [check.level for _, check in found] == ["wrong"] * 4 + ["look"] * 2
    assert {(where, check.remedy) for where, check in found[4:]} == {
        ("15 analyze migration [a]", "15_analyze_migration"),
        ("06 segment [b]", "06_segment"),
    }


def test_tables_are_those_that_are_there(jobs: list[Job], tmp_path: Path) -> None:
    assert tables(jobs, tmp_path) == ["movies/a/tracks.csv"]


def test_the_methods_say_what_was_done_with_n_and_cite_it(jobs: list[Job]) -> None:
    text, works = methods(jobs)
    assert "50 cells in 10 frames of 2 movies" in text and "without objects below 20 µm³" in text
    assert "linear assignment as in TrackMate (largest distance 7.0 µm, gaps of up to 2 frames)" in text
    assert "8 tracks with 1 division." in text and "0 of 1 divisions were plausible" in text
    assert "stardist 0.9.2" in text and "Noise2Void" not in text
    assert works == [WORKS[name] for name in ("VollSeg", "StarDist", "CSBDeep", "LAP", "TrackMate")]
    assert methods([]) == ("", [])


def test_the_methods_of_other_ways_are_said_too(tmp_path: Path) -> None:
    made = []
    for p, results in (
        (TrainDenoiser(run_dir=tmp_path), {}),
        (OptimizeThresholds(run_dir=tmp_path), {"vollseg": {"prob": 0.6, "score": 0.98, "highest": 0.99}}),
        (SegmentRemote(run_dir=tmp_path, movie_id="a", server="x:1"), {"cells": 7, "frames": 2, "servers": [{"models": ["m/vollseg"]}]}),
        (Track(run_dir=tmp_path, movie_id="a", tracker="global"), {"tracks": 3, "divisions": 0}),
        (Curate(run_dir=tmp_path, movie_id="a"), {"edits": 4}),
        (CompareConditions(run_dir=tmp_path, test="welch"), {}),
    ):  # fmt: skip
        made.append(_done(Job(p.step, p, None), results))
    text, works = methods(made)
    for said in (
        "for 200 epochs. It was not used for the segmentation.",
        "on the validation stacks (probability: 0.6; score 0.98).",
        "segmented on a server (model m/vollseg), giving 7 cells in 2 frames of 1 movie.",
        "corrected by hand (4 edits).",
        "compared by Welch's t-test",
    ):
        assert said in text, (said, text)
    assert works == [WORKS["Noise2Void"], WORKS["Ultrack"]]


def test_the_zip_holds_all_that_the_page_links_to(experiment_of: Callable[..., Path], tmp_path: Path) -> None:
    from helpers.runs.plan import open_experiment

    path = experiment_of("a")
    job = next(job for job in open_experiment(path)[1] if job.step == "10_track")
    job.parameters.movie_path().mkdir(parents=True)  # type: ignore[attr-defined]
    job.parameters.movie_path("tracks.csv").write_text("id\n")  # type: ignore[attr-defined]
    common = {"started": "2026-01-02", "duration_s": 2.0, "device": "2 CPU cores"}
    _done(job, {}, outputs={"movies/a/tracks.csv": None}, **common)
    cells = [v4.new_code_cell("1 + 1", outputs=[v4.new_output("stream", text="two")])]
    write(v4.new_notebook(cells=cells), job.folder / "notebook.ipynb")
    assert main(["report", str(path), "--zip"]) == 0
    with zipfile.ZipFile(tmp_path / "run" / "report.zip") as packed:
        names, page = packed.namelist(), packed.read("report.html").decode()
        links = [part.partition('"')[0] for part in page.split('href="')[1:] if part[0] != "#"]
        assert sorted(links) == ["movies/a/tracks.csv", "steps/10_track-a/notebook.html"]
        assert set(links) <= set(names)
        notebook = packed.read("steps/10_track-a/notebook.html").decode()
    assert "two" in notebook and "http" not in notebook, "it needs no network"


def test_the_tracks_are_shared_with_the_measures_and_written_again_only_when_these_change(
    experiment_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a", **{"10_track": {"tracker": "nearest"}})
    own = tmp_path / "run/movies/a"
    objects = pd.DataFrame({"id": [0, 1], "frame": [0, 1], "z": 0.0, "y": [0.0, 1.0], "x": 0.0})
    own.mkdir(parents=True)
    objects.assign(sources=["", "0"]).to_csv(own / "tracks.csv", index=False)
    assert main(["report", str(path)]) == 0
    page = own / "shared_tracks.html"
    assert 'href="movies/a/shared_tracks.html"' in (tmp_path / "run/report.html").read_text()
    assert "column speed_um_per_min" not in page.read_text()
    before = page.stat().st_mtime_ns
    assert main(["report", str(path)]) == 0 and page.stat().st_mtime_ns == before
    (own / "analysis").mkdir()
    objects.assign(speed_um_per_min=[np.nan, 2.0]).to_csv(own / "analysis/migration_objects.csv", index=False)
    os.utime(own / "analysis/migration_objects.csv", ns=(before + 10**9, before + 10**9))
    assert main(["report", str(path)]) == 0
    assert "column speed_um_per_min" in page.read_text()
    page.unlink()
    capsys.readouterr()
    assert main(["share", str(tmp_path / "run")]) == 0 and capsys.readouterr().out.split() == [str(page)]
    assert main(["share", str(tmp_path / "run"), "--movie", "b"]) == 2
    (own / "tracks.csv").write_text("nothing\n")
    page.unlink()
    assert main(["report", str(path)]) == 0, "what is wrong with the tracks is no reason for no report"
    assert not page.exists()

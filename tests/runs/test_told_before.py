"""What cannot work is told by the dry run, with its place: a table of experiments and of what is said of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from helpers.__main__ import main
from helpers.runs.inputs import look_at_inputs
from helpers.runs.new import new_experiment
from helpers.runs.plan import open_experiment

TRACKS = "id,frame,y,x,sources\n0,0,1,1,\n1,1,1,1,0\n"
BOUNDARY = "13_analyze_boundary_distance"
PATCH = {"patch_size": [16, 16]}

#: What is wrong → steps, cells of the movie's row, the parameter or column that is told, and the words.
CASES = {
    "no pairs": ({"03_create_dataset": {}}, {}, "raw_dir", "name the folder"),
    "no curated run": ({"03_create_dataset": {"curated_runs": ["no"]}}, {}, "curated_runs", "no such folder"),
    "no pairs for networks": ({"04_train_segmentation": {"create_npz": True}}, {}, "raw_dir", "name the folder"),
    "no such tissue": ({"04_train_segmentation": {"train_tissue": True, "tissue_dir": "no"}}, {}, "tissue_dir", "no such folder"),
    "a flat patch": ({"02_train_denoiser": PATCH}, {}, "patch_size", "3 numbers, no larger than m.tif"),
    "no movie to denoise": ({"02_train_denoiser": PATCH}, {"movie": "no.tif"}, "movie", "does not exist"),
    "two tiles": ({"07_segment_cellpose": {"n_tiles": [2, 2]}}, {}, "n_tiles", "give [z, y, x]"),
    "a crop outside": ({"07_segment_cellpose": {"preview_crop": [[0, 5], [30, 40], [0, 9]]}}, {}, "preview_crop", "empty along y"),
    "no such model": ({"07_segment_cellpose": {"model": "models/none"}}, {}, "model", "an existing file; built in are cyto"),
    "a folder for a model": ({"07_segment_cellpose": {"model": "."}}, {}, "model", "an existing file; built in are cyto"),
    "sizes in the wrong order": ({"06_segment": {"min_size_um3": 5, "max_size_um3": 2}}, {}, "min_size_um3", "smaller than max_size_um3"),
    "a misspelt model": ({"07_segment_cellpose": {"model": "cyto33"}}, {}, "model", "a known name; built in are cyto"),
    "a model of another version": ({"07_segment_cellpose": {"model": "cpsam"}}, {}, "model", "one of cellpose 4"),
    "no trained Cellpose": ({"07_segment_cellpose": {"model": ""}}, {}, "cellpose_model", "train it with notebook 04_train_segmentation"),
    "no networks": ({"06_segment": {"method": "unet"}}, {}, "unet/weights_best.h5", "train the network first"),
    "no thresholds": ({"04_train_segmentation": {"create_npz": True, "raw_dir": "p", "label_dir": "p"}, "06_segment": {}}, {}, "thresholds.json", "notebook 05_optimize_thresholds makes it"),
    "no table of cells": ({"10_track": {}}, {}, "objects.csv", "notebook 06_segment, 07_segment_cellpose or 08_segment_remote makes it"),
    "no tracks": ({"15_analyze_migration": {}}, {}, "tracks.csv", "notebook 10_track makes it"),
    "no labels to score": ({"09_evaluate_segmentation": {}}, {"truth": "l.tif"}, "labels.zarr", "notebook 06_segment, 07_segment_cellpose or 08_segment_remote makes it"),
    "no links that are certain": ({"10_track": {"tracker": "global", "tracker_options": {"fixed_links": "no.csv"}}}, {"objects": "t.csv", "labels": "l.tif"}, "no.csv", "no such file"),
    "a movie that is not analysed": ({"16_compare_conditions": {}}, {}, "conditions", "turn on one of the analyses"),
    "a pipe for tracks": ({"15_analyze_migration": {}}, {"tracks": "pipe.xml"}, "tracks", "a pipe or device"),
    "a pipe for a movie": ({"07_segment_cellpose": {}}, {"movie": "pipe.xml"}, "movie", "a pipe or device"),
    "a region that is none": ({BOUNDARY: {"roi": "m.tif"}}, {"tracks": "t.csv"}, "roi", "a CSV table"),
    "two boundaries": ({BOUNDARY: {"roi": "r.csv", "tissue_mask": "m.tif"}}, {"tracks": "t.csv"}, "roi", "not both"),
    "nearest without labels": ({BOUNDARY: {"nearest_voxel": True}}, {"tracks": "t.csv"}, "labels", "name the label movie"),
    "intensities without labels": ({"14_analyze_intensity_spectrum": {"intensity_movie": "m.tif"}}, {"tracks": "t.csv"}, "labels", "name the label movie"),
    "too few shuffles": ({"14_analyze_intensity_spectrum": {"n_permutations": 19}}, {"tracks": "t.csv"}, "n_permutations", "at least 99"),
    "no such window": ({"14_analyze_intensity_spectrum": {"window": "round"}}, {"tracks": "t.csv"}, "window", "scipy.signal"),
    "a percentile above 1": ({"10_track": {"tracker_options": {"cutoff_percentile": 2.0}}}, {"objects": "t.csv"}, "tracker_options", "cutoff"),
    "frames that are not there": ({"12_curate": {"curated_frames": [1, 7]}}, {}, "curated_frames", "has 2 frames"),
    "no tracks to compare with": ({"12_curate": {"other_tracks": "p"}}, {}, "other_tracks", "holds no tracks"),
    "labels of another shape": ({"12_curate": {"other_labels": "p/s.tif"}}, {}, "other_labels", "labels of the shape of the movie"),
    "no such log": ({"12_curate": {"merge_log": "no.jsonl"}}, {}, "merge_log", "no such file"),
    "a table of movies without conditions": ({"16_compare_conditions": {"cohort": "t.csv"}}, {}, "cohort", "run_dir, movie_id, condition"),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_what_cannot_work(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps, cells, place, words = CASES[what]
    tifffile.imwrite(
        tmp_path / "m.tif", np.random.default_rng(0).integers(0, 50, (2, 5, 20, 20)).astype(np.uint16)
    )
    tifffile.imwrite(tmp_path / "l.tif", np.ones((2, 5, 20, 20), np.uint8))
    (tmp_path / "p").mkdir()
    os.mkfifo(tmp_path / "pipe.xml")
    tifffile.imwrite(tmp_path / "p" / "s.tif", np.arange(3200, dtype=np.uint16).reshape(8, 20, 20))
    (tmp_path / "t.csv").write_text(TRACKS)
    (tmp_path / "r.csv").write_text("y,x\n0,0\n0,9\n9,9\n")
    row = {"movie_id": "m", "movie": "m.tif", **cells}
    (tmp_path / "own.csv").write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    given = {"run_dir": str(tmp_path / "run"), "voxel_size_um": [1, 1, 1], "frame_interval_s": 60}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**given, "movies": "own.csv", "steps": steps}))
    for command in (["run", str(path), "--dry-run"], ["status", str(path)]):
        assert main(command) == 2
        first = capsys.readouterr().err.splitlines()[0]
        assert f"{place} = " in first and words in first


def test_a_scale_of_many_pairs_is_asked_for_once(tmp_path: Path) -> None:
    for kind in ("raw", "label"):
        (tmp_path / kind).mkdir()
        for k in range(9):
            tifffile.imwrite(tmp_path / kind / f"s{k}.tif", np.ones((8, 16, 16), np.uint8))
    (tmp_path / "own.csv").write_text("movie\n")
    steps = {"03_create_dataset": {"patch_size": [8, 16, 16]}}
    path = tmp_path / "own.yaml"
    pairs = {"raw_dir": "raw", "label_dir": "label"}
    path.write_text(yaml.safe_dump({"pairs": pairs, "movies": "own.csv", "steps": steps}))
    (error,) = look_at_inputs(*open_experiment(path)).whole.found
    assert "s0, s1, s2, s3, s4 and 4 others do not say it" in error.expected


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["t0.tif", "t1.tif", "t2.tif"], "NOTE: these look like the frames of one movie"),
        (["t0.tif", "t1.tif", "t5.tif"], None),
        (["wild.tif", "type.tif", "mutant.tif"], None),
    ],
)
def test_a_new_experiment_of_loose_frames(tmp_path: Path, names: list[str], words: str | None) -> None:
    (tmp_path / "mine").mkdir()
    for name in names:
        tifffile.imwrite(tmp_path / "mine" / name, np.ones((8, 16, 16), np.uint8))
    said = new_experiment(tmp_path / "mine", into=tmp_path)
    assert ("NOTE" in said) == (words is not None) and (words or "") in said


def test_a_new_experiment_of_a_folder_with_a_gap_says_what_to_do_and_that_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for t in (1, 2, 4):
        (tmp_path / "mine" / "movies" / "a").mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(tmp_path / "mine" / "movies" / "a" / f"t{t}.tif", np.ones((8, 16, 16), np.uint8))
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 0
    assert "TO DO: add what a lacks, or write the column missing_frames" in capsys.readouterr().out
    path, table = tmp_path / "mine.yaml", tmp_path / "mine_movies.csv"
    text = path.read_text().replace("# voxel_size_um: null", "voxel_size_um: [1, 1, 1]")
    path.write_text(text.replace("# frame_interval_s: null", "frame_interval_s: 60"))
    assert main(["run", str(path), "--dry-run"]) == 2
    assert "frames are missing: 3 (between t2.tif and t4.tif)" in capsys.readouterr().err
    table.write_text("movie_id,movie,missing_frames\na,movies/a,empty\n")
    assert main(["run", str(path), "--dry-run"]) == 0


def test_a_name_that_is_no_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    raw: Callable[[bytes], bytes] = lambda name: bytes(tmp_path) + b"/" + name  # noqa: E731
    tifffile.imwrite(tmp_path / "m.tif", np.ones((8, 16, 16), np.uint8))
    (tmp_path / "m.tif").rename(raw(b"m\xff.tif").decode("utf-8", "surrogateescape"))
    monkeypatch.chdir(tmp_path.parent)
    assert main(["new", str(tmp_path)]) == 2
    assert "is not valid text: rename it" in capsys.readouterr().err

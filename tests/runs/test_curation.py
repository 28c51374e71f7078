"""Curated results in a run: the command line, and the notebooks that read them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from helpers.__main__ import main
from helpers.curation import Cell, Curation, confirming
from helpers.curation.operations.relink import usual_tracker
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.runs.curation import raw_movie, replay
from helpers.runs.execute import execute_notebook
from helpers.runs.parameters import AnalyzeBoundaryDistance, AnalyzeMigration, Curate, Track
from helpers.runs.run import Run, why_not_done
from helpers.runs.steps import curation as curation_step
from helpers.runs.steps import tracking as step
from helpers.runs.steps.tracked import open_tracks
from helpers.view.tracked_run import read_run


@pytest.fixture
def run_dir(cells: Path, tmp_path: Path) -> Path:
    """A run whose movie is segmented (as the truth) and tracked."""
    run_dir = tmp_path / "run"
    folder = run_dir / "movies" / "m"
    truth = LabelMovie.open(cells / "labels.ome.tif")
    assert truth.voxel_size is not None
    labels = LabelMovie.create(
        folder / "labels.zarr", truth.shape, voxel_size=truth.voxel_size, frame_interval=truth.frame_interval
    )
    for t in range(truth.n_frames):
        labels.write_frame(t, truth.frame(t))
    shutil.copy(cells / "objects.csv", folder / "objects.csv")
    p = Track.checked(
        {"run_dir": run_dir, "movie_id": "m", "tracker": "nearest", "raw": cells / "raw.ome.tif"}
    )
    run = Run.start(p)
    found = step.open_cells(p)
    tracks = step.track(found, p)
    step.table.write(tracks, folder / "tracks.csv")
    run.finish()
    return run_dir


def edit(run_dir: Path, author: str = "ann") -> int:
    """Remove the first cell of frame 1, and return its label."""
    with Curation(run_dir / "movies" / "m", author) as curation:
        labels = curation.state.labels.frame(1)
        label = int(labels[labels > 0].min())
        curation.do("remove", cell=Cell(1, label))
    return label


def test_replay_writes_the_curated_result(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = edit(run_dir)
    assert main(["replay", str(run_dir)]) == 0
    assert "m: 1 edits in force by ann" in capsys.readouterr().out
    curated = run_dir / "movies" / "m" / "curated"
    assert not (LabelMovie.open(curated / "labels.zarr").frame(1) == label).any()
    table = pd.read_csv(curated / "tracks.csv")
    assert ((table["frame"] == 1) & (table["label"] == label)).sum() == 0


def test_changed_cells_are_measured_in_the_raw_movie(run_dir: Path) -> None:
    with Curation(run_dir / "movies" / "m") as curation:
        labels = curation.state.labels.frame(1)
        one, other = sorted(set(labels[labels > 0].tolist()))[:2]
        curation.do("merge", keep=Cell(1, one), other=Cell(1, other))
    list(replay(run_dir))
    table = pd.read_csv(run_dir / "movies" / "m" / "curated" / "tracks.csv")
    (row,) = table[(table["frame"] == 1) & (table["label"] == one)].itertuples()
    raw = raw_movie(run_dir / "movies" / "m")
    assert raw is not None
    both = (labels == one) | (labels == other)
    assert row.intensity_mean == float(f"{raw.frame(1)[both].mean():.6g}")


def test_replay_repeats_edits_on_a_new_result_and_lists_the_rest(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = edit(run_dir)
    labels = LabelMovie.open(run_dir / "movies" / "m" / "labels.zarr")
    frame = labels.frame(1)
    frame[frame == label] = 0
    labels.write_frame(1, frame)
    table = step.table.read(run_dir / "movies" / "m" / "tracks.csv")
    keep = ~((table.objects["frame"] == 1) & (table.objects["label"] == label)).to_numpy()
    step.table.write(table.subset(keep), run_dir / "movies" / "m" / "tracks.csv")
    assert main(["replay", str(run_dir)]) == 0
    shown = capsys.readouterr().out
    assert "0 edits repeated on the new result; 1 could not be" in shown
    assert "not repeated: remove of ann" in shown and f"cell {label} in frame 1 = 'not found again'" in shown


def test_replay_merges_a_second_log(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run_dir, tmp_path / "copy"))
    label = edit(run_dir)
    with Curation(copy / "movies" / "m", "bob") as curation:
        curation.do("remove", cell=Cell(1, label))
        curation.do("remove", cell=Cell(2, int(curation.state.labels.frame(2).max())))
    assert main(["replay", str(run_dir), "--merge", str(copy / "movies/m/edits.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "1 edits added, 1 made by both, 0 conflicts" in shown and "2 edits in force by ann, bob" in shown


def test_replay_says_what_is_missing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(run_dir)]) == 2
    assert "no movie of this run has a log of edits" in capsys.readouterr().err
    edit(run_dir)
    with pytest.raises(InputError, match=r"movie = 'x': with a log of edits are: m"):
        list(replay(run_dir, "x"))
    with pytest.raises(InputError, match=r"no_log.jsonl = 'No such file"):
        list(replay(run_dir, "m", run_dir / "no_log.jsonl"))


def test_analyses_take_the_curated_tracks_and_say_so(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    p = AnalyzeMigration.checked({"run_dir": run_dir, "movie_id": "m"})
    automatic = open_tracks(p)
    Run.start(p).finish()
    assert why_not_done(p) is None
    done = run_dir / "steps" / "15_analyze_migration-m" / "done.json"
    assert json.loads(done.read_text())["provenance"] == {"tracks": "automatic"}

    label = edit(run_dir)
    assert "edits.jsonl changed" in str(why_not_done(p))
    run = Run.start(p)
    tracks = open_tracks(p)
    assert "Curated tracks: 1 edits by ann." in capsys.readouterr().out
    assert len(tracks.objects) == len(automatic.objects) - 1
    said = run.finish()["provenance"]
    assert (said["tracks"], said["edits"], said["authors"]) == ("curated", 1, ["ann"])
    assert why_not_done(p) is None

    with Curation(run_dir / "movies" / "m") as curation:  # nobody has to replay before an analysis
        curation.undo()
    pd.testing.assert_frame_equal(open_tracks(p).objects, automatic.objects)
    q = AnalyzeBoundaryDistance.checked({"run_dir": run_dir, "movie_id": "m"})
    edit(run_dir)
    open_tracks(q)
    assert not (LabelMovie.open(q.labels_path()).frame(1) == label).any()  # type: ignore[arg-type]
    named = AnalyzeMigration.checked(
        {"run_dir": run_dir, "movie_id": "m", "tracks": p.movie_path("tracks.csv")}
    )
    assert named.provenance() == {"tracks": "named"}
    assert len(open_tracks(named).objects) == len(automatic.objects)


def test_analyses_refuse_edits_of_another_result(run_dir: Path) -> None:
    edit(run_dir)
    path = run_dir / "movies" / "m" / "tracks.csv"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match="python -m helpers replay"):
        open_tracks(AnalyzeMigration.checked({"run_dir": run_dir, "movie_id": "m"}))


def test_the_viewer_shows_the_curated_result(run_dir: Path) -> None:
    label = edit(run_dir)
    run = read_run(run_dir)
    assert run.labels is not None and not (run.labels.frame(1) == label).any()
    objects = run.tracks.objects
    assert not ((objects["frame"] == 1) & (objects["label"] == label)).any()


@pytest.mark.parametrize("tracker", ["lap", "overlap", "global"])
def test_confirmed_links_are_fixed_when_notebook_08_and_link_anew_track_again(
    run_dir: Path, tracker: str
) -> None:
    folder = run_dir / "movies" / "m"
    with Curation(folder) as curation:
        assert usual_tracker(curation.state)["tracker"] == "lap", "'nearest' keeps no links"
        one, other = (curation.state.cell(i) for i in sorted(curation.state.graph.ids_in[2])[:2])
        curation.do("swap", one=one, other=other)  # wrong, and confirmed all the same
        wrong = curation.state.graph.sources[curation.state.graph.id_at[one.key]]
        source = curation.state.cell(min(wrong))
        curation.do("confirm", **confirming.link(curation.state, source, one))
        ids = {tuple(curation.state.graph.id_at[cell.key] for cell in (source, one))}
        p = Curate.checked({"run_dir": run_dir, "movie_id": "m"})
        written = curation_step.finish(p, curation, None, None)["written"]
    assert "confirmed_links.csv" in written
    given = {"run_dir": run_dir, "movie_id": "m", "tracker": tracker}
    for options, kept in (
        ({"fixed_links": str(folder / "curated" / "confirmed_links.csv")}, True),
        ({}, False),
    ):
        p = Track.checked(given | {"tracker_options": options})
        run = Run.start(p)
        _, tracks, _ = step.track_movie(step.open_cells(p), p)
        links = set(map(tuple, tracks.links[["source", "target"]].to_numpy().tolist()))
        assert (ids <= links) == kept
    step.table.write(tracks, folder / "tracks.csv")
    nothing = tracks.objects.head(0).assign(reason="")
    run.finish(step.results(tracks, nothing, nothing, p))
    list(replay(run_dir))
    with Curation(folder) as curation:
        assert ids <= curation.state.graph.links(), "put back on the new tracks"
        known = usual_tracker(curation.state)
        assert known["tracker"] == tracker
        cut, *_ = sorted(pair for pair in curation.state.graph.links() if not set(pair) & set(*ids))
        curation.do("unlink", first=curation.state.cell(cut[0]), last=curation.state.cell(cut[1]))
        curation.do("relink", **known)
        assert cut in curation.state.graph.links()
        assert ids <= curation.state.graph.links()
        assert len(curation.state.graph.links()) > 0.8 * len(links)


def test_trackers_without_fixed_links_refuse_them() -> None:
    with pytest.raises(InputError, match="kalman keeps no fixed_links: choose lap, overlap or global"):
        Track.checked({"tracker": "kalman", "tracker_options": {"fixed_links": "links.csv"}})


def _executed(run_dir: Path, tmp_path: Path, **parameters) -> dict:
    """Execute notebook 12_curate headless, and return its ``done.json``."""
    p = Curate.checked({"run_dir": run_dir, "movie_id": "m", **parameters})
    execute_notebook("12_curate", p, tmp_path / "14.ipynb")
    return json.loads((run_dir / "steps" / "12_curate-m" / "done.json").read_text())


@pytest.mark.slow
def test_notebook_14_lists_suspects_and_leaves_no_trace_where_nobody_edits(
    run_dir: Path, tmp_path: Path
) -> None:
    results = _executed(run_dir, tmp_path)["results"]
    assert results["edits"] == 0 and "scores" not in results
    assert not (run_dir / "movies" / "m" / "edits.jsonl").exists(), "analyses still take the automatic tracks"
    assert len(pd.read_csv(run_dir / "movies" / "m" / "suspects.csv").columns) == 10


@pytest.mark.slow
def test_notebook_14_replays_and_scores(run_dir: Path, tmp_path: Path, cells: Path) -> None:
    folder = run_dir / "movies" / "m"
    label = edit(run_dir)
    with Curation(folder, "bob") as curation:
        for t in (1, 2):
            curation.do("confirm", **confirming.frame(curation.state, t))
    results = _executed(run_dir, tmp_path, other_labels=cells / "labels.ome.tif")["results"]
    assert results["edits"] == 3 and results["authors"] == ["ann", "bob"]
    assert results["operations"] == {"confirm": 2, "remove": 1}
    automatic, rest, every, other, *_ = results["scores"]
    frames = [row["frames"] for row in (automatic, rest, every)]
    assert (
        frames[::2] == ["1–2", "all"]
        and frames[1].startswith("rest (0")
        and other["result"] == "labels.ome.tif"
    )
    assert (
        automatic["false_positives"] == 1
        and automatic["ap50"] < 1 == automatic["n_found"] - automatic["n_true"]
    )
    assert other["ap50"] == automatic["ap50"] and other["fault_value"] is None, "no tracks were named"
    assert not (LabelMovie.open(folder / "curated" / "labels.zarr").frame(1) == label).any()
    figures = run_dir / "steps" / "12_curate-m" / "figures"
    assert {path.stem for path in figures.glob("*.png")} == {"most_suspicious", "scores"}
    p = Curate.checked({"run_dir": run_dir, "movie_id": "m", "other_labels": cells / "labels.ome.tif"})
    assert why_not_done(p) is None
    edit(run_dir, "cem")
    assert "edits.jsonl changed" in str(why_not_done(p))


def test_tracks_of_another_program_want_its_labels(run_dir: Path) -> None:
    with pytest.raises(InputError, match="name other_labels too"):
        Curate.checked({"run_dir": run_dir, "other_tracks": "x.csv"})

"""Own data, as a new user gives them: every file is opened before anything runs, and all that is wrong is told at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml

from helpers.__main__ import main
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.runs.inputs import look_at_inputs, voxel_remark
from helpers.runs.parameters import Segment, SegmentCellpose
from helpers.runs.plan import open_experiment
from helpers.runs.run import Run, why_not_done
from helpers.runs.segment_movie import segment_movie
from helpers.runs.steps import cellpose
from helpers.runs.steps.segmentation import open_movie, training_remarks
from helpers.segmentation.resampled import ResampledSegmenter
from tests.runs.threshold_segmenter import Threshold

SIZE = (1.75, 0.8, 0.8)


def _tiff(path: Path, shape: tuple[int, ...], dtype: str = "uint16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 50, shape).astype(dtype))
    return path


def _experiment(folder: Path, table: str, steps: dict, **top: object) -> Path:
    (folder / "own.csv").write_text(table)
    content = {"name": "own", "run_dir": str(folder / "run"), "movies": "own.csv", **top, "steps": steps}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_a_scale_in_the_table_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `new` asks for, filled in: neither the dry run nor the run stumbles over a list."""
    _tiff(tmp_path / "a.tif", (2, 3, 20, 20))
    table = 'movie_id,movie,voxel_size_um\na,a.tif,"[1.75, 0.8, 0.8]"\n'
    path = _experiment(tmp_path, table, {"07_segment_cellpose": {}}, frame_interval_s=60)
    assert main(["run", str(path), "--dry-run"]) == 0
    experiment, jobs = open_experiment(path)
    assert look_at_inputs(experiment, jobs).all.found == []
    assert jobs[0].parameters.plain()["voxel_size_um"] == list(SIZE)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "c", "d"):
        _tiff(tmp_path / f"{name}.tif", (2, 5, 20, 20))
    _tiff(tmp_path / "truth.tif", (2, 5, 20, 21))
    _tiff(tmp_path / "mask.tif", (2, 6, 20, 20))
    (tmp_path / "e.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:400])
    table = (
        "movie_id,movie,truth,tissue_mask,channel,voxel_size_um\n"
        'a,a.tif,truth.tif,,,\nb,b.tif,,,,"[1, 1, 1]"\nc,c.tif,,mask.tif,3,"[1, 1, 1]"\nd,d.tif,,,,"[1, 1]"\ne,e.tif,,,,\n'
    )
    steps = {"06_segment": {}, "09_evaluate_segmentation": {}, "15_analyze_migration": {}}
    path = _experiment(tmp_path, table, steps)
    assert main(["run", str(path), "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert shown.out.count("not run yet") == 11
    expected = [
        ("own.csv, line 2, column truth", "(2, 5, 20, 21)"),
        ("voxel_size_um of a", "at the top of own.yaml"),
        ("frame_interval_s of a", "15_analyze_migration needs it"),
        ("own.csv, line 3, column movie", "no such file"),
        ("own.csv, line 4, column tissue_mask", "(2, 6, 20, 20)"),
        ("own.csv, line 4, column channel", "has 1, counted from 0"),
        ("own.csv, line 5, column voxel_size_um", "is 3D"),
        ("own.csv, line 6, column movie", "e.tif"),
    ]
    lines = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    for place, words in expected:
        assert any(line.startswith(f"error: {place}") and words in line for line in lines), (
            place,
            words,
            lines,
        )
    assert main(["status", str(path)]) == 2
    assert capsys.readouterr().err == shown.err, "status and the dry run agree"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: shutil.rmtree(d / "label"), ["own.yaml, line", "label_dir", "no such folder"]),
        (lambda d: (d / "label" / "s1.tif").unlink(), ["s1.tif", "without a partner"]),
        (lambda d: _tiff(d / "label" / "s1.tif", (8, 24, 25)), ["s1", "(8, 24, 25)", "(8, 24, 24)"]),
        (lambda d: (d / "raw" / "s0.tif").write_bytes(b"no"), ["s0.tif"]),
    ],
)  # fmt: skip
def test_pairs_are_opened_too(tmp_path: Path, change: Callable, words: list[str]) -> None:
    for kind in ("raw", "label"):
        for k in range(2):
            _tiff(tmp_path / kind / f"s{k}.tif", (8, 24, 24))
    steps = {"03_create_dataset": {"patch_size": [8, 16, 16]}}
    path = _experiment(tmp_path, "movie_id,movie\n", steps, voxel_size_um=[1, 1, 1], pairs={"raw_dir": "raw", "label_dir": "label"})  # fmt: skip
    found = look_at_inputs(*open_experiment(path))
    assert found.all.found == []
    change(tmp_path)
    text = "\n".join(map(str, look_at_inputs(*open_experiment(path)).whole.found))
    for word in words:
        assert word in text


@pytest.mark.parametrize(("steps", "words"), [({"patch_size": [8, 32, 32]}, "no larger than"), ({"patch_size": [8, 12, 12]}, "divisible by 8")])  # fmt: skip
def test_impossible_patches_are_told_before(tmp_path: Path, steps: dict, words: str) -> None:
    for kind in ("raw", "label"):
        _tiff(tmp_path / kind / "s.tif", (8, 24, 24))
    path = _experiment(tmp_path, "movie_id,movie\n", {"03_create_dataset": steps}, voxel_size_um=[1, 1, 1], pairs={"raw_dir": "raw", "label_dir": "label"})  # fmt: skip
    (error,) = look_at_inputs(*open_experiment(path)).whole.found
    assert error.name.endswith("steps.03_create_dataset.patch_size")
    assert words in error.expected


def test_far_voxels_are_remarked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("raw", "label"):
        _tiff(tmp_path / kind / "s.tif", (8, 24, 24))
    _tiff(tmp_path / "a.tif", (2, 8, 24, 24))
    steps = {
        "03_create_dataset": {"patch_size": [8, 16, 16], "voxel_size_um": [2, 0.5, 0.5]},
        **{name: {} for name in ("04_train_segmentation", "05_optimize_thresholds", "06_segment")},
    }
    given = {"voxel_size_um": [2, 0.8, 0.8], "pairs": {"raw_dir": "raw", "label_dir": "label"}}
    assert (
        main(["run", str(_experiment(tmp_path, "movie_id,movie\na,a.tif\n", steps, **given)), "--dry-run"])
        == 0
    )
    assert "note: a: its voxels are 2 × 0.8 × 0.8 µm, those that the networks learn from 2 × 0.5 × 0.5" in capsys.readouterr().out  # fmt: skip
    steps["06_segment"] = {"resample_to_training": True}
    assert (
        main(["run", str(_experiment(tmp_path, "movie_id,movie\na,a.tif\n", steps, **given)), "--dry-run"])
        == 0
    )
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize(("size", "trained", "far"), [((2, 1, 1), (2, 1, 1), False), ((2.5, 1.2, 0.8), (2, 1, 1), False), ((2.7, 1, 1), (2, 1, 1), True), ((2, 1, 0.7), (2, 1, 1), True), ((9, 1, 1), (1, 1), False), (None, (1, 1, 1), False)])  # fmt: skip
def test_how_far_is_far(size, trained, far: bool) -> None:
    assert bool(voxel_remark(size, trained)) == far


@pytest.mark.slow
def test_a_movie_that_is_missing_does_not_stop_the_others(
    experiment_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a", "b", **{"10_track": {"tracker": "nearest"}})
    shutil.rmtree(tmp_path / "b")
    assert main(["run", str(path), "--cores", "1"]) == 1
    shown = capsys.readouterr()
    assert "10_track [a]: done in" in shown.out
    assert "10_track [b]: FAILED" in shown.out and "line 3, column movie" in shown.out
    assert "failed: 10_track [b]" in shown.err


def test_new_sees_folders_of_stacks_and_asks_for_the_scale_once(tmp_path: Path, monkeypatch, capsys) -> None:
    for movie in ("b", "a"):
        for t in range(3):
            _tiff(tmp_path / "mine" / "movies" / movie / f"t{t}.tif", (5, 20, 20))
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine"]) == 0
    assert "2 movies" in (shown := capsys.readouterr().out)
    assert "TO DO: write voxel_size_um" in shown and "TO DO: write frame_interval_s" in shown
    path = tmp_path / "mine.yaml"
    experiment, jobs = open_experiment(path)
    assert [(m["movie_id"], Path(m["movie"]).name) for m in experiment.movies] == [("a", "a"), ("b", "b")]
    assert {e.name.partition(" of ")[0] for e in look_at_inputs(experiment, jobs).all.found} == {"voxel_size_um", "frame_interval_s"}  # fmt: skip
    text = path.read_text().replace("# voxel_size_um: null", "voxel_size_um: [1.75, 0.8, 0.8]")
    path.write_text(text.replace("# frame_interval_s: null", "frame_interval_s: 60"))
    assert main(["run", str(path), "--dry-run"]) == 0
    assert all(job.parameters.plain()["voxel_size_um"] == list(SIZE) for job in open_experiment(path)[1])


# ---- labels from elsewhere -----------------------------------------------------------------------------------


def _segment(tmp_path: Path, **given: object) -> Segment:
    return Segment.checked({"run_dir": tmp_path / "run", "movie_id": "m", **given})


def _no_network():
    pytest.fail("no network is opened")


@pytest.mark.parametrize("raw", [True, False])
def test_labels_from_elsewhere_are_measured(cells: Path, tmp_path: Path, raw: bool) -> None:
    p = _segment(tmp_path, labels=cells / "labels.ome.tif", movie=cells / "raw.ome.tif" if raw else None)
    run = Run.start(p)
    result = segment_movie(open_movie(p), _no_network, p)
    run.finish(result.summary())
    expected = pd.read_csv(cells / "objects.csv")
    expected = expected if raw else expected.drop(columns=[c for c in expected if c.startswith("intensity")])
    pd.testing.assert_frame_equal(result.objects.drop(columns="id"), expected)
    true = LabelMovie.open(cells / "labels.ome.tif")
    for t in range(true.n_frames):
        np.testing.assert_array_equal(result.labels.frame(t), true.frame(t))
    assert why_not_done(p) is None


def test_labels_without_scale_and_of_another_shape(cells: Path, tmp_path: Path) -> None:
    true = LabelMovie.open(cells / "labels.ome.tif")
    stack = np.stack([true.frame(t)[0] for t in range(true.n_frames)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "plain.tif", stack)  # T Y X without names, as ImageJ would take for a stack
    p = _segment(tmp_path, labels=tmp_path / "plain.tif", movie=cells / "raw.ome.tif", min_size_um3=10)
    result = segment_movie(open_movie(p), _no_network, p)
    sizes = pd.read_csv(cells / "objects.csv")["area_um2"]
    assert len(result.objects) == (sizes >= 10).sum()
    assert result.labels.voxel_size == Movie.open(cells / "raw.ome.tif").voxel_size
    tifffile.imwrite(tmp_path / "cut.tif", stack[:, :-1])
    p = _segment(tmp_path, labels=tmp_path / "cut.tif", movie=cells / "raw.ome.tif")
    with pytest.raises(InputError, match=r"^labels = .*cut\.tif.*shape of the movie, \(5, 1, 64, 64\)"):
        segment_movie(open_movie(p), _no_network, p)


def test_the_labels_of_a_row_go_to_05_and_on_to_tracking(cells: Path, tmp_path: Path) -> None:
    for name in ("labels.ome.tif", "raw.ome.tif"):
        shutil.copy(cells / name, tmp_path / name)
    path = _experiment(tmp_path, "labels,movie\nlabels.ome.tif,\n", {"06_segment": {}, "10_track": {}})
    experiment, jobs = open_experiment(path)
    assert look_at_inputs(experiment, jobs).all.found == []
    assert [job.name for job in jobs] == ["06_segment [labels]", "10_track [labels]"]
    segment, track = (job.parameters for job in jobs)
    assert segment.plain()["labels"] == str(tmp_path / "labels.ome.tif")
    assert track.plain()["labels"] is None, "tracking reads what the measuring leaves"
    assert [p.name for p in segment.inputs()] == ["labels.ome.tif"], "no model"


# ---- what a step does not depend on -------------------------------------------------------------------------


def test_another_interval_runs_no_network(cells: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "models" / "unet"
    folder.mkdir(parents=True)
    for name in ("weights_best.h5", "config.json", "training.json"):
        (folder / name).write_text("{}")
    given = {"movie": cells / "raw.ome.tif", "method": "unet", "prob_thresh": 0.5, "nms_thresh": 0.5, "foreground_thresh": 0.5}  # fmt: skip
    p = _segment(tmp_path, **given)
    first = segment_movie(open_movie(p), Threshold, p)
    Run.start(p).finish()
    later = _segment(tmp_path, **given, frame_interval_s=7)
    assert "frame_interval_s changed" in str(why_not_done(later))
    again = segment_movie(open_movie(later), _no_network, later)
    assert again.labels.frame_interval == 7
    pd.testing.assert_frame_equal(again.objects, first.objects)
    # What describes a network is part of it.
    Run.start(later).finish()
    for name in ("config.json", "training.json"):
        assert why_not_done(later) is None
        (folder / name).write_text('{"edited": 1}')
        assert f"{name} changed" in str(why_not_done(later))
        again = Threshold()
        segment_movie(open_movie(later), lambda again=again: again, later)
        assert len(again.seen) == 5
        Run.start(later).finish()


def test_all_changed_parameters_are_named(cells: Path, tmp_path: Path) -> None:
    p = _segment(tmp_path, labels=cells / "labels.ome.tif")
    Run.start(p).finish()
    other = _segment(tmp_path, labels=cells / "labels.ome.tif", channel=1, save_tiff=True)
    assert why_not_done(other) == "channel changed from 0 to 1; save_tiff changed from False to True"


def test_an_empty_frame_of_a_folder_of_stacks_has_no_cells(tmp_path: Path) -> None:
    for t in (0, 1, 3):
        _tiff(tmp_path / "movie" / f"t{t}.tif", (1, 20, 20))
    p = _segment(
        tmp_path, movie=tmp_path / "movie", voxel_size_um=[0.5, 0.5], method="unet", foreground_thresh=0.5
    )
    with pytest.raises(InputError, match=r"t1\.tif and t3\.tif"):
        open_movie(p)
    p = p.model_copy(update={"missing_frames": "empty"})
    result = segment_movie(open_movie(p), Threshold, p)
    assert sorted(result.objects["frame"].unique()) == [0, 1, 3]
    assert not result.labels.frame(2).any()


def test_an_empty_frame_is_one_for_cellpose_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for t in (0, 1, 3):
        _tiff(tmp_path / "movie" / f"t{t}.tif", (1, 20, 20))
    given = {"run_dir": tmp_path / "run", "movie": tmp_path / "movie", "voxel_size_um": [0.5, 0.5]}
    with pytest.raises(InputError, match=r"t1\.tif and t3\.tif.*missing_frames"):
        cellpose.open_movie(SegmentCellpose.checked(given))
    p = SegmentCellpose.checked(given | {"missing_frames": "empty"})
    assert cellpose.open_movie(p).empty_frames == {2}
    table = "movie_id,movie,missing_frames\nm,movie,empty\n"
    path = _experiment(tmp_path, table, {"07_segment_cellpose": {}}, voxel_size_um=[0.5, 0.5])
    assert main(["run", str(path), "--dry-run"]) == 0
    (tmp_path / "own.csv").write_text("movie_id,movie\nm,movie\n")
    assert main(["run", str(path), "--dry-run"]) == 2
    assert "set missing_frames" in capsys.readouterr().err


@pytest.mark.parametrize(("path", "words"), [("x" * 300 + ".tif", "cannot be opened: File name too long"), ("mask.h5", "a mask, not an image"), ("loop.tif", "no such file")])  # fmt: skip
def test_a_movie_that_cannot_be_one_is_told(tmp_path: Path, capsys, path: str, words: str) -> None:
    with h5py.File(tmp_path / "mask.h5", "w") as file:
        file["mask"] = np.ones((2, 4, 8, 8), bool)
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    table = f"movie_id,movie\nm,{path}\n"
    experiment = _experiment(tmp_path, table, {"07_segment_cellpose": {}}, voxel_size_um=[1, 1, 1])
    assert main(["run", str(experiment), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "own.csv, line 2, column movie" in error and words in error


def test_frames_are_shown_at_the_size_that_networks_know() -> None:
    frame = np.zeros((4, 40, 60), np.float32)
    frame[:, 10:30, 20:40] = 100
    inner = Threshold(at=50)
    found = ResampledSegmenter(inner, (1.0, 0.5, 0.5), (1.0, 1.0, 1.0))(frame)
    assert inner.seen[-1].shape == (4, 20, 30)
    assert found.main.shape == frame.shape
    assert np.mean((found.main > 0) == (frame > 0)) > 0.95
    fine = ResampledSegmenter(inner, (2.0, 0.5, 0.5), (1.0, 0.25, 0.25))(frame)
    assert inner.seen[-1].shape == (8, 80, 120)
    assert np.mean((fine.main > 0) == (frame > 0)) > 0.95


def test_far_intensities_are_remarked(cells: Path, tmp_path: Path) -> None:
    import json

    p = _segment(tmp_path, movie=cells / "raw.ome.tif")
    (tmp_path / "run" / "dataset").mkdir(parents=True)
    low, high = np.percentile(open_movie(p).frame(0), (1, 99.8))
    for factor, told in ((1.0, 0), (2.0, 0), (20.0, 1), (0.05, 1)):
        about = {"pmin": 1, "pmax": 99.8, "intensities": [factor * low, factor * high]}
        (tmp_path / "run" / "dataset" / "dataset.json").write_text(json.dumps(about))
        assert len(training_remarks(p, open_movie(p))) == told


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[("[4,1,1]", (4, 1, 1)), ("(4, 1, 1)", (4, 1, 1)), ("4,1,1", (4, 1, 1)), ([0.5, 0.5], (0.5, 0.5))],
        *[("None", None), ("", None)],
    ],
)
def test_a_voxel_size_as_papermills_p_gives_it(value: object, expected: object) -> None:
    assert Segment.checked({"voxel_size_um": value}).voxel_size_um == expected


def test_a_2d_movie_takes_two_numbers(tmp_path: Path) -> None:
    flat, deep = tmp_path / "flat.ome.tif", tmp_path / "deep.ome.tif"
    write_movie(flat, np.zeros((2, 8, 8), np.uint8), axes="TYX", voxel_size=(1, 1))
    write_movie(deep, np.zeros((2, 8, 8), np.uint8), axes="ZYX", voxel_size=(1, 1, 1))
    assert open_movie(_segment(tmp_path, movie=flat, voxel_size_um=[0.5, 0.5])).voxel_size == (1.0, 0.5, 0.5)
    with pytest.raises(InputError, match=r"voxel_size.*\(z, y, x\)"):
        open_movie(_segment(tmp_path, movie=deep, voxel_size_um=[0.5, 0.5]))

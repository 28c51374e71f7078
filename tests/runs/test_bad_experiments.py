"""Experiments that cannot be run are refused before anything starts, at once, by an `InputError` that names the place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from helpers.errors import InputError
from helpers.runs import job, lock
from helpers.runs.parameters import Segment, Track
from helpers.runs.plan import Job, open_experiment
from helpers.runs.run import Run, content_hash, why_not_done
from helpers.runs.steps import dataset, evaluation

STEPS = {"06_segment": {}, "10_track": {}}


def _yaml(**changes: object) -> str:
    return yaml.safe_dump({"name": "x", "movies": "movies.csv", "steps": STEPS} | changes, sort_keys=False)


def _bomb(opening: str, item: str, closing: str) -> str:
    levels = [f"a0: &a0 {opening}{item.format('1', n=0)}{closing}"]
    levels += [
        f"a{i}: &a{i} {opening}{', '.join(item.format(f'*a{i - 1}', n=n) for n in range(9))}{closing}"
        for i in range(1, 12)
    ]
    return "\n".join(["name: x", *levels]) + "\n"


def _bomb_of_one_line() -> str:
    levels = ["&a0 [1, 1]"]
    levels += [f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return f"[{', '.join(levels)}]"


def _steps(step: str, **given: object) -> str:
    return _yaml(steps=STEPS | {step: given})


#: Text of the experiment file → what the error says.
BAD_FILES = {
    "a bomb of lists": (_bomb("[", "{0}", "]"), r"x\.yaml.*values.*anchors"),
    "a bomb of mappings": (_bomb("{{", "k{n}: {0}", "}}").replace("{{", "{").replace("}}", "}"), r"x\.yaml.*values.*anchors"),
    "an anchor that contains itself": ("name: x\nsteps: &a {06_segment: *a}\n", r"x\.yaml, line 2.*contains itself"),
    "a list that contains itself": ("name: &a [*a]\n", r"x\.yaml, line 1.*contains itself"),
    "brackets": ("name: " + "[" * 5000, r"x\.yaml"),
    "open mappings": ("a: {" * 3000, r"x\.yaml"),
    "a wrong date": ("name: 2026-99-99\n", r"x\.yaml"),
    "a large file": ("# " + "x" * 1_100_000, r"x\.yaml.*bytes"),
    "zero bytes": ("name: \0", r"x\.yaml"),
    "a list": ("- a\n- b\n", r"x\.yaml.*keys"),
    "an object": ("name: !!python/object/apply:os.system [ls]\n", r"x\.yaml"),
    "NaN": (_steps("06_segment", prob_thresh=float("nan")), "06_segment.prob_thresh.*finite"),
    "infinity": (_steps("10_track", max_distance_um=float("inf")), "10_track.max_distance_um.*finite"),
    "infinity in a mapping": (_steps("10_track", penalties={"a": float("inf")}), "10_track.penalties.*finite"),
    "a boolean for a number": (_steps("10_track", max_distance_um=True), "10_track.max_distance_um.*(true or false|valid number)"),
    "a boolean in a list": (_steps("06_segment", voxel_size_um=[True, 1, 1]), "06_segment.voxel_size_um.*true or false"),
    "a boolean for a path": (_steps("06_segment", tissue_mask=False), "06_segment.tissue_mask.*true or false"),
    "four tiles": (_steps("06_segment", n_tiles=[1, 1, 1, 1]), "06_segment.n_tiles"),
    "one tile": (_steps("06_segment", n_tiles=[1]), "06_segment.n_tiles"),
    "no tile": (_steps("06_segment", n_tiles=[0, 1, 1]), "06_segment.n_tiles"),
    "two voxel sides too many": (_steps("06_segment", voxel_size_um=[1, 1, 1, 1, 1]), "06_segment.voxel_size_um"),
    "a boolean for the results": (_yaml(run_dir=True), r"x\.yaml, line \d.*run_dir.*name in quotes"),
    "a boolean for the table": (_yaml(movies=False), r"x\.yaml, line \d.*movies.*name in quotes"),
    "results below a file": (_yaml(run_dir="TAKEN"), r"run_dir.*a\.tif is a file"),
    "results among the stacks": (_yaml(run_dir="RUN", movies="stacks.csv"), r"run_dir.*stacks.*another run_dir"),
}  # fmt: skip

#: Text of the table of movies → what the error says.
BAD_TABLES = {
    "a huge cell": ("movie,note\na.tif," + "x" * 400_000, r"movies\.csv"),
    "brackets in a cell": ("movie,voxel_size_um\na.tif,\"" + "[" * 5000 + "\"", r"movies\.csv.*voxel_size_um"),
    "a bomb in a cell": ("movie,voxel_size_um\na.tif,\"" + _bomb_of_one_line() + "\"", r"movies\.csv.*voxel_size_um"),
    "a cell that contains itself": ("movie,voxel_size_um\na.tif,\"&a [*a, *a]\"\na.tif,\"[&a [*a]]\"", r"movies\.csv.*voxel_size_um"),
    "a huge number": ("movie,channel\na.tif," + "9" * 5000, r"movies\.csv.*channel"),
    "NaN in a cell": ("movie,max_distance_um\na.tif,.nan", r"movies\.csv.*max_distance_um"),
    "a boolean in a cell": ("movie,max_distance_um\na.tif,true", r"movies\.csv.*max_distance_um"),
    "zero bytes": ("movie\n\0\0.tif", r"movies\.csv.*byte 6"),
    "two names that macOS takes for one": ("movie_id,movie\ne\u0301,a.tif\n\u00e9,a.tif", r"movies\.csv, line 3.*twice"),
}  # fmt: skip


def _write(folder: Path, text: str, table: str) -> Path:
    (folder / "stacks").mkdir()
    (folder / "stacks" / "t0.tif").touch()
    (folder / "a.tif").touch()
    (folder / "stacks.csv").write_text("movie\nstacks\n")
    (folder / "movies.csv").write_text(table)
    text = text.replace("RUN", str(folder / "stacks" / "run")).replace("TAKEN", str(folder / "a.tif" / "run"))
    (folder / "x.yaml").write_text(text)
    return folder / "x.yaml"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_experiment_is_refused_at_once(what: str, tmp_path: Path) -> None:
    text, expected = BAD_FILES[what]
    with pytest.raises(InputError, match=expected):
        open_experiment(_write(tmp_path, text, "movie\na.tif\n"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_bad_table_of_movies_is_refused_at_once(what: str, tmp_path: Path) -> None:
    text, expected = BAD_TABLES[what]
    with pytest.raises(InputError, match=expected) as refusal:
        open_experiment(_write(tmp_path, _yaml(), text))
    assert len(str(refusal.value)) < 20_000


@pytest.mark.timeout(120)
def test_a_pipe_is_no_input(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match=r"pipe\.csv.*give a file"):
        content_hash(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(InputError, match="no such file"):
        open_experiment(tmp_path / "x.yaml")


#: What JSON files may hold after a bad day.
DAMAGED = ("", "{", "[]", "null", "3", '"text"', "\0\xff", "[" * 100_000, "{}", '{"pid": "x", "host": 3}')


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_marks_of_a_run_hold_nobody_up(text: str, tmp_path: Path) -> None:
    mark = tmp_path / ".batch" / "runner.json"
    mark.parent.mkdir()
    mark.write_text(text, encoding="latin-1")
    assert not lock.is_at_work(mark)
    with lock.alone_in(tmp_path):
        assert lock.is_at_work(mark)


@pytest.mark.parametrize("text", DAMAGED[:8], ids=range(8))
def test_damaged_records_of_a_step_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "movies" / "m").mkdir(parents=True)
    for name in (
        "dataset/training.npz",
        "dataset/training.made_from.json",
        "movies/m/segmentation.json",
        "truth.tif",
    ):
        (tmp_path / name).write_text(text, encoding="latin-1")
    from helpers.runs.parameters import CreateDataset, EvaluateSegmentation

    with pytest.raises(InputError, match=r"training\.made_from\.json.*delete it"):
        dataset.make(CreateDataset(run_dir=tmp_path), [])
    labels = tmp_path / "truth.zarr"
    from helpers.data.label_movies import LabelMovie

    LabelMovie.create(labels, (1, 1, 4, 4), voxel_size=(1, 1, 1))
    with pytest.raises(InputError, match=r"segmentation\.json.*delete it"):
        evaluation.truth_and_labels(EvaluateSegmentation(run_dir=tmp_path, movie_id="m", truth=labels))


def test_a_job_that_fails_says_in_its_line_which_file(tmp_path: Path) -> None:
    p = Segment(run_dir=tmp_path, movie=tmp_path / "a.tif", movie_id="a")
    words = job.in_words(ZeroDivisionError("division by zero"), Job(p.step, p, "a"))
    assert words == f"ZeroDivisionError: division by zero (while reading {tmp_path / 'a.tif'})"
    named = InputError(str(tmp_path / "a.tif"), "x", "y")
    assert job.in_words(named, Job(p.step, p, "a")) == str(named)


def test_a_step_of_a_damaged_record_is_to_do_and_starts(
    experiment_of: Callable[..., Path], tmp_path: Path
) -> None:
    p = Track(run_dir=tmp_path, movie_id="a", objects=experiment_of("a").parent / "a" / "objects.csv")
    Run.start(p).finish()
    (tmp_path / "steps" / "10_track-a" / "done.json").write_text('{"outputs": 3}')
    assert "damaged" in str(why_not_done(p))
    Run.start(p).finish()
    assert why_not_done(p) is None

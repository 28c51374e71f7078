"""The run folder: what makes a step run again, and errors before anything is computed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from helpers.errors import InputError
from helpers.runs import run
from helpers.runs.parameters import CreateDataset, EvaluateSegmentation, Segment
from helpers.runs.run import Run, content_hash, read_done, why_not_done, write_json


@pytest.fixture
def parameters(tmp_path: Path) -> CreateDataset:
    for name in ("raw", "label"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tif").write_bytes(name.encode())
    return CreateDataset(run_dir=tmp_path / "run", raw_dir=tmp_path / "raw", label_dir=tmp_path / "label")


def test_a_finished_step_is_not_run_again(parameters: CreateDataset) -> None:
    assert why_not_done(parameters) == "not run yet"
    Run.start(parameters).finish({"patches": 3})
    assert why_not_done(parameters) is None
    done = read_done(run.step_folder(parameters))
    assert done is not None
    assert done["results"] == {"patches": 3}
    assert done["seed"] == parameters.seed
    assert done["packages"]["numpy"]


def test_done_says_what_the_networks_computed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow  # noqa: F401 - a step that ran networks has it loaded

    from helpers.models import precision

    monkeypatch.setattr(precision, "_of_this_machine", lambda: ("bfloat16", "some processor"))
    for asked, said in (("auto", "bfloat16"), ("float32", "float32")):
        p = Segment(run_dir=tmp_path, movie_id=asked, precision=asked)
        assert Run(p, tmp_path).finish()["precision"] == said
    assert Run(EvaluateSegmentation(run_dir=tmp_path), tmp_path).finish()["precision"] is None


def test_figures_are_written_in_the_formats_that_the_run_names(parameters: CreateDataset) -> None:
    from matplotlib.figure import Figure

    for formats in (["png", "pdf"], ["svg"]):
        step = Run.start(parameters.model_copy(update={"figure_formats": formats, "overwrite": True}))
        written = step.save(Figure(), "empty")
        assert [path.suffix[1:] for path in written] == formats
        starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
        assert all(path.read_bytes().startswith(starts[path.suffix[1:]]) for path in written)


def test_a_changed_parameter_runs_it_again(parameters: CreateDataset) -> None:
    Run.start(parameters).finish()
    changed = parameters.model_copy(update={"patches_per_image": 99})
    assert why_not_done(changed) == "patches_per_image changed from 16 to 99"


def test_a_changed_input_runs_it_again(parameters: CreateDataset) -> None:
    Run.start(parameters).finish()
    assert parameters.raw_dir is not None
    (parameters.raw_dir / "a.tif").write_bytes(b"other")
    assert str(why_not_done(parameters)).endswith("raw changed")


def test_a_new_file_in_a_folder_runs_it_again(parameters: CreateDataset) -> None:
    Run.start(parameters).finish()
    assert parameters.label_dir is not None
    (parameters.label_dir / "b.tif").write_bytes(b"new")
    assert str(why_not_done(parameters)).endswith("label changed")


def test_another_package_version_runs_it_again(parameters: CreateDataset) -> None:
    Run.start(parameters).finish()
    path = run.step_folder(parameters) / "done.json"
    done = json.loads(path.read_text())
    done["packages"]["numpy"] = "1.0"
    path.write_text(json.dumps(done))
    assert "numpy changed from 1.0" in str(why_not_done(parameters))


def test_a_truncated_done_is_no_done(parameters: CreateDataset) -> None:
    Run.start(parameters).finish()
    path = run.step_folder(parameters) / "done.json"
    path.write_text(path.read_text()[:40])
    assert why_not_done(parameters) == f"{path} is damaged"


def test_steps_on_movies_have_a_folder_each(tmp_path: Path) -> None:
    a, b = (EvaluateSegmentation(run_dir=tmp_path, movie_id=name) for name in "ab")
    assert run.step_folder(a) != run.step_folder(b)


def test_a_missing_input_names_its_parameter(tmp_path: Path) -> None:
    p = CreateDataset(run_dir=tmp_path, raw_dir=tmp_path / "nowhere", label_dir=tmp_path)
    with pytest.raises(InputError, match=r"^raw_dir = .*nowhere.*no such file or folder"):
        Run.start(p)


def test_a_missing_training_set_says_who_makes_it(tmp_path: Path) -> None:
    from helpers.runs.parameters import TrainSegmentation

    with pytest.raises(InputError, match="notebook 03_create_dataset makes it"):
        Run.start(TrainSegmentation(run_dir=tmp_path))


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match=r"^run_dir = .*cannot be written"):
        Run.start(CreateDataset(run_dir=tmp_path / "file" / "run"))


def test_hashes_follow_content_not_dates(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"x" * 1000)
    before = content_hash(file)
    os.utime(file, (1, 1))
    assert content_hash(file) == before
    file.write_bytes(b"y" * 1000)
    assert content_hash(file) != before


def test_large_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_HASH_WHOLE", 2**20)
    file = tmp_path / "movie"
    file.write_bytes(bytes(3 * 2**20))
    before = content_hash(file)
    with file.open("r+b") as stream:
        stream.seek(3 * 2**20 - 1)
        stream.write(b"!")
    assert content_hash(file) != before


def test_json_is_plain_and_written_whole(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "x.json"
    write_json(path, {"a": np.float32(0.5), "b": float("nan"), "c": (Path("p"), np.arange(2))})
    assert json.loads(path.read_text()) == {"a": 0.5, "b": None, "c": ["p", [0, 1]]}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_what_tracking_writes_later_is_no_input_of_the_scores_of_labels(tmp_path):
    p = EvaluateSegmentation(run_dir=tmp_path, movie_id="m")
    for name in ("labels.zarr", "labels_unet.zarr", "labels_tracked.zarr"):
        p.movie_path(name).mkdir(parents=True)
    assert [path.name for path in p.inputs()] == ["labels.zarr", "labels_unet.zarr"]

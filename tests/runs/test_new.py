"""An experiment written for a folder of images is right, explains itself, and replaces nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from helpers.__main__ import main
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.runs.inputs import look_at_inputs
from helpers.runs.new import new_experiment
from helpers.runs.parameters import STEPS
from helpers.runs.plan import open_experiment


@pytest.fixture
def data(cells: Path, tmp_path: Path) -> Path:
    """Return a folder with two movies, one of them with truth, and two training pairs."""
    folder = tmp_path / "my data"
    for name in ("movies", "truth", "train/raw", "train/label"):
        (folder / name).mkdir(parents=True)
    for name in ("b", "a"):
        shutil.copy(cells / "raw.ome.tif", folder / "movies" / f"{name}.ome.tif")
        for kind, source in (("raw", "raw"), ("label", "labels")):
            stack = Movie.open(cells / f"{source}.ome.tif")
            write_movie(folder / "train" / kind / f"{name}.ome.tif", stack.frame(0), axes="ZYX", voxel_size=stack.require_voxel_size())  # fmt: skip
    shutil.copy(cells / "labels.ome.tif", folder / "truth" / "a.ome.tif")
    return folder


def test_the_experiment_is_right_as_it_is(data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my data"]) == 0
    assert "2 movies" in capsys.readouterr().out
    experiment, jobs = open_experiment(tmp_path / "my_data.yaml")
    look_at_inputs(experiment, jobs).all.raise_all()
    assert [m["movie_id"] for m in experiment.movies] == ["a", "b"]
    assert [job.name for job in jobs if job.step < "09"] == [
        "03_create_dataset", "04_train_segmentation", "05_optimize_thresholds", "06_segment [a]", "06_segment [b]",
    ]  # fmt: skip
    assert [job.name for job in jobs if job.step[:2] == "09"] == ["09_evaluate_segmentation [a]"]
    assert jobs[0].parameters.plain()["patch_size"] == [64, 64], "2D, and no larger than the images"
    assert main(["new", "my data"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_border_between_cells_is_chosen_from_the_labels_and_explained(
    cells: Path, data: Path, tmp_path: Path
) -> None:
    size = Movie.open(cells / "raw.ome.tif").voxel_size
    assert size is not None
    cell_ids = Movie.open(cells / "labels.ome.tif").frame(0)
    widths = {}
    for kind, labels in (("touching", cell_ids), ("one", (cell_ids > 0).astype("uint16"))):
        for name, stack in (("raw", Movie.open(cells / "raw.ome.tif").frame(0)), ("label", labels)):
            for path in sorted((data / "train" / name).iterdir()):
                write_movie(path, stack, voxel_size=size, axes="ZYX")
        (tmp_path / kind).mkdir()
        said = new_experiment(data, into=tmp_path / kind)
        _, jobs = open_experiment(tmp_path / kind / "my_data.yaml")
        widths[kind] = jobs[0].parameters.plain()["boundary_width_um"]
        assert "# Chosen from the labels: cells " in (tmp_path / kind / "my_data.yaml").read_text()
        assert f"boundary_width_um {widths[kind]:g}" in said
    assert widths == {"touching": pytest.approx(size[1]), "one": 0}


def test_every_parameter_can_be_turned_on(data: Path, tmp_path: Path) -> None:
    new_experiment(data, into=tmp_path)
    path = tmp_path / "my_data.yaml"
    lines = path.read_text().splitlines()
    start = lines.index("steps:")
    on = [line.replace("# ", "", 1) if line.startswith("  # ") else line for line in lines[start:]]
    on = [line for line in on if ": null " not in line and ': ""' not in line]
    path.write_text("\n".join(lines[:start] + on))
    experiment, _ = open_experiment(path)
    assert set(experiment.steps) == set(STEPS)
    assert all(experiment.steps.values())


def test_without_pairs_cellpose_segments_and_unknown_voxel_sizes_are_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    tifffile.imwrite(folder / "x.tif", np.zeros((8, 32, 32), np.uint16))
    said = new_experiment(folder, into=tmp_path)
    assert "TO DO: write voxel_size_um" in said
    assert "x.tif" in said
    _, jobs = open_experiment(tmp_path / "plain.yaml")
    assert [job.step[:2] for job in jobs] == ["07", "10", "15"]


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        new_experiment(tmp_path, into=tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        new_experiment(tmp_path / "nowhere", into=tmp_path)

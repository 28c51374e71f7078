"""Notebook 01_annotate: drawing with the mouse or elsewhere, and from there to a training set."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

from helpers.data.movies import write_movie
from helpers.errors import InputError
from helpers.runs.execute import execute_notebook
from helpers.runs.parameters import Annotate, CreateDataset, OptimizeThresholds
from helpers.runs.run import Run, read_done
from helpers.runs.steps import annotation as step
from helpers.runs.steps import dataset, thresholds
from helpers.view.annotation_canvas import AnnotationCanvas
from helpers.view.annotation_plots import drawn_stacks

VOXEL = (2.0, 0.5, 0.5)


def square(y: float, x: float, size: float = 8) -> np.ndarray:
    return np.array([[y, x], [y, x + size], [y + size, x + size], [y + size, x]])


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    frames = np.random.default_rng(0).poisson(100, (2, 6, 32, 48)).astype(np.uint16)
    return write_movie(tmp_path / "m.ome.tif", frames, voxel_size=VOXEL, frame_interval=60, axes="TZYX")


def parameters(path: Path, **changes) -> Annotate:
    return Annotate.checked({"run_dir": path.parent / "run", "movie": path, "frame": 1, **changes})


def test_strokes_of_the_mouse_become_labels_that_train(movie: Path) -> None:
    p = parameters(movie)
    drawing = step.open_drawing(p)
    canvas = AnnotationCanvas(drawing)
    assert (drawing.labels == -1).all() and canvas.cell == 1
    for z in (1, 3):
        canvas.z = z
        canvas.stroke(square(10, 10))
    canvas.next_cell()
    assert (drawing.labels[2, 10:18, 10:18] == 1).all() and canvas.cell == 2
    canvas.stroke(square(20, 30))
    canvas.undo()
    assert not (drawing.labels == 2).any()
    canvas.tool = "background"
    canvas.stroke(square(6, 6, 16))
    assert (drawing.labels[3, 10:18, 10:18] == 1).all() and drawing.labels[3, 8, 8] == 0
    canvas.tool = "eraser"
    canvas.stroke(square(6, 6, 2))
    assert drawing.labels[3, 6, 6] == -1
    drawing.save()
    again = step.open_drawing(p)
    assert np.array_equal(again.labels, drawing.labels) and np.array_equal(again.raw, drawing.raw)
    folder = p.path("annotations")
    made = CreateDataset.checked(
        {"raw_dir": folder / "raw", "annotation_dir": folder / "drawn", "patch_size": [4, 16, 16], "network_depth": 2,
         "run_dir": p.run_dir}
    )  # fmt: skip
    patches = dataset.make(made, dataset.find_pairs(made))
    assert "1 drawn cells in 1 stacks" in dataset.annotation(patches)
    assert "No validation" in dataset.annotation(patches)
    shown = dataset.drawn(made, dataset.find_pairs(made), patches)
    assert [name for name, *_ in shown] == ["m_t0001_c0"] and np.array_equal(shown[0][2], drawing.labels)
    (axes,) = drawn_stacks(shown, voxel_size=VOXEL).axes
    share = 100 * (drawing.labels >= 0).mean()
    assert axes.get_title("left") == "m_t0001_c0, z 3"
    assert axes.get_xlabel() == f"1 cell drawn, {share:.2g} % annotated"


def test_the_canvas_is_shown(movie: Path) -> None:
    canvas = AnnotationCanvas(step.open_drawing(parameters(movie)))
    canvas.stroke(square(10, 10))
    picture = canvas.picture()
    assert picture.shape == (32, 48, 3) and not np.array_equal(picture[12, 12], picture[12, 12][::-1])
    box = canvas.widget()
    tools = box.children[0].children[1]
    tools.value = "background"
    assert canvas.tool == "background" and "1 drawn" in box.children[-1].value
    canvas.go_to({"z": 5})
    assert canvas.z == 5


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"movie": None}, "name the movie"),
        ({"frame": 2}, "frame = 2: less than 2"),
        ({"channel": 1}, "channel = 1: less than 1"),
        ({"annotation": "small.tif"}, "shape of the frame"),
        ({"annotation": "drawn.tif"}, "only background"),
        ({"annotation": "drawn.tif", "unannotated": 0}, "background_label"),
    ],
)
def test_what_cannot_be_drawn_in_is_refused(movie: Path, changes: dict, error: str) -> None:
    tifffile.imwrite(movie.parent / "small.tif", np.ones((6, 32, 40), np.uint8))
    tifffile.imwrite(
        movie.parent / "drawn.tif", np.zeros((6, 32, 48), np.int16) - np.eye(32, 48, dtype=np.int16)
    )
    if "annotation" in changes:
        changes = changes | {"annotation": movie.parent / changes["annotation"]}
    with pytest.raises(InputError, match=error):
        step.open_drawing(parameters(movie, **changes))


@pytest.mark.slow
def test_the_notebook_reads_what_napari_drew(movie: Path, tmp_path: Path) -> None:
    drawn = np.zeros((6, 32, 48), np.uint8)
    drawn[1:5, 4:24, 4:24], drawn[2:4, 8:20, 8:20] = 1, 2
    tifffile.imwrite(tmp_path / "napari.tif", drawn)
    p = parameters(movie, annotation=tmp_path / "napari.tif", unannotated=0, background_label=1)
    execute_notebook("01_annotate", p, tmp_path / "16.ipynb")
    done = read_done(p.path("steps", "01_annotate"))
    assert done is not None and done["results"]["drawn_cells"] == 1 and done["results"]["places"] == 0
    labels = tifffile.imread(p.path("annotations", "drawn", "m_t0001_c0.tif")).reshape(drawn.shape)
    assert np.array_equal(labels, np.where(drawn == 0, -1, np.where(drawn == 1, 0, 2)))


def test_thresholds_are_judged_by_the_cells_held_back_or_else_by_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in "ab":
        labels = np.full((4, 24, 144), -1, np.int16)
        for i in range(6):
            labels[:, 2:22, 24 * i : 24 * i + 22], labels[1:3, 6:18, 24 * i + 4 : 24 * i + 16] = 0, i + 1
        for folder, stack in (("raw", rng.poisson(100, labels.shape).astype(np.uint16)), ("drawn", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_movie(tmp_path / folder / f"{name}.tif", stack, voxel_size=VOXEL, axes="ZYX")
    stacks = {}
    for fraction in (0.25, 0.0):
        p = CreateDataset.checked(
            {"run_dir": tmp_path / f"run{fraction}", "raw_dir": tmp_path / "raw", "annotation_dir": tmp_path / "drawn",
             "patch_size": [4, 16, 16], "network_depth": 2, "validation_fraction": fraction, "patches_per_image": 4}
        )  # fmt: skip
        run = Run.start(p)
        run.finish(dataset.results(dataset.make(p, dataset.find_pairs(p))))
        stacks[fraction] = thresholds.validation_stacks(OptimizeThresholds.checked({"run_dir": p.run_dir}))
    for fraction, cells, words in ((0.25, 3, "only where they are annotated"), (0.0, 12, "too good")):
        found = sum(len(np.unique(stack.truth[stack.truth > 0])) for stack in stacks[fraction])
        said = thresholds.about(stacks[fraction])
        assert found == cells and f"Judged by {cells} cells" in said and words in said
        assert all((stack.truth == 0).any() and (stack.truth < 0).any() for stack in stacks[fraction])
    assert "too good" not in thresholds.about(stacks[0.25])


def test_where_to_draw_is_written_before_anything_is_drawn(
    movie: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = pd.DataFrame({"z": [1], "y": [2], "x": [3]})
    monkeypatch.setattr(step, "are_trained", lambda _: True)
    found = SimpleNamespace(doubt=np.zeros((6, 32, 48)), places=places)
    monkeypatch.setattr(step, "predict", lambda *_, **__: found)
    p = parameters(movie)
    assert step.suggest(p, step.open_drawing(p)) is not None
    pd.testing.assert_frame_equal(pd.read_csv(p.path("annotations", "where_to_draw.csv")), places)

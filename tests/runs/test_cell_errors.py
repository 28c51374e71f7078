"""Notebook 09_evaluate_segmentation, cell by cell: errors of all frames, and how exactly those that were found are measured."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import write_movie
from helpers.runs.parameters import EvaluateSegmentation
from helpers.runs.steps import evaluation as step
from helpers.view import cell_errors, score_plots

VOXEL = (2.0, 0.5, 0.5)


def movies(tmp_path, truth: np.ndarray, found: np.ndarray) -> tuple[LabelMovie, LabelMovie]:
    for name, labels in (("truth", truth), ("found", found)):
        write_movie(tmp_path / f"{name}.ome.tif", labels, voxel_size=VOXEL, axes="TZYX")
    return LabelMovie.open(tmp_path / "truth.ome.tif"), LabelMovie.open(tmp_path / "found.ome.tif")


@pytest.fixture
def compared(tmp_path):
    truth = np.zeros((3, 3, 40, 60), np.int32)
    truth[:, :, 5:15, 5:15], truth[:, :, 5:15, 30:40] = 1, 7
    found = np.zeros_like(truth)
    found[:, :, 5:15, 5:14] = 4  # a tenth smaller, half a pixel to the left
    found[:2, :, 5:15, 30:40] = 9
    found[1, :, 25:30, 50:55] = 2  # none
    pair = movies(tmp_path, truth, found)
    return *pair, step.compare_cells(*pair)


def test_cells_of_all_frames_are_compared(compared) -> None:
    _, _, cells = compared
    assert cells["outcome"].value_counts().to_dict() == {"TP": 5, "FN": 1, "FP": 1}
    assert cells.loc[cells["outcome"] == "FN", ["frame", "truth"]].to_numpy().tolist() == [[2, 7]]
    smaller = cells[cells["predicted"] == 4]
    np.testing.assert_allclose(smaller["volume_error"], -0.1)
    np.testing.assert_allclose(smaller["distance_um"], 0.25)
    assert cells.loc[cells["outcome"] != "TP", "volume_error"].isna().all()


def test_how_exactly_cells_are_measured_is_said(compared) -> None:
    kept, words = step.exactness(compared[2])
    assert kept == {
        "cells_compared": 5,
        "volume_error": pytest.approx(-0.1),
        "centroid_error_um": pytest.approx(0.25),
    }
    assert "n = 5" in words and "10.0 % smaller than the true ones" in words and "0.25 µm off" in words
    kept, words = step.exactness(compared[2].query("outcome != 'TP'"))
    assert kept == {"cells_compared": 0} and "No cell was found" in words


def test_the_frame_with_most_errors_is_shown_unless_one_is_named(compared, tmp_path) -> None:
    _, _, cells = compared
    three = cells.assign(outcome=np.where(cells["frame"] == 2, "FP", cells["outcome"]))
    p = EvaluateSegmentation.checked({"run_dir": tmp_path, "movie_id": "m"})
    assert step.frame_to_show(p, three) == 2
    assert step.frame_to_show(p.model_copy(update={"show_frame": 0}), three) == 0
    assert step.frame_to_show(p, cells.query("outcome == 'TP'")) == 0


def test_figures_show_the_worst_of_all_frames(compared) -> None:
    truth, found, cells = compared
    figure = cell_errors.worst_cells(cells, truth, found, n=3)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["frame 2, cell 7\nIoU 0.00", "frame 0, cell 1\nIoU 0.90", "frame 1, cell 1\nIoU 0.90"]
    left, right = cell_errors.errors_over_time(cells).axes
    assert [line.get_ydata().tolist() for line in left.lines] == [[0, 0, 1], [0, 1, 0]]
    np.testing.assert_allclose(right.lines[0].get_ydata(), [-5, -5, -10])


@pytest.mark.parametrize("shape", [(2, 3, 20, 20), (1, 1, 20, 20)])
def test_frames_without_cells_and_2d_are_compared_too(tmp_path, shape) -> None:
    truth = np.zeros(shape, np.int32)
    found = truth.copy()
    cells = step.compare_cells(*movies(tmp_path, truth, found))
    assert cells.empty
    cell_errors.errors_over_time(cells)
    truth[0, :, 3:9, 3:9] = 1
    pair = movies(tmp_path, truth, truth)
    cells = step.compare_cells(*pair)
    assert cells["volume_error"].tolist() == [0] and step.exactness(cells)[0]["centroid_error_um"] == 0
    cell_errors.errors_over_time(cells)
    cell_errors.worst_cells(cells, *pair)


def test_curves_are_drawn_where_they_change() -> None:
    import pandas as pd

    tau = np.round(np.arange(0.1, 1, 0.1), 1)
    accuracy = [1, 1, 1, 1, 1, 0.9, 0.4, 0, 0]
    table = pd.DataFrame(
        {"method": "vollseg", "iou_threshold": tau, "accuracy": accuracy, "f1": accuracy, "tp": 5, "fn": 0}
    )
    low, high = score_plots.score_curves(table).axes[0].get_xlim()
    assert (low, high) == (pytest.approx(0.45), pytest.approx(0.85))
    low, high = score_plots.score_curves(table.assign(accuracy=1.0)).axes[0].get_xlim()
    assert (low, high) == (pytest.approx(0.05), pytest.approx(0.95))

"""Pictures of where and how cells differ from the true ones, over all frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.view.planes import draw_outlines, draw_raw
from helpers.view.plots import ERROR_COLORS
from helpers.view.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What is shown around a cell, in its own lengths.
_AROUND = 0.75


@styled
def errors_over_time(cells: pd.DataFrame) -> Figure:
    """Draw how many cells are missed and invented in each frame, and the error of the volume of those found.

    Parameters
    ----------
    cells : DataFrame
        Of `helpers.runs.steps.evaluation.compare_cells`: ``frame, outcome, volume_error``.
    """
    figure = new_figure(8.0, 2.9)
    left, right = figure.subplots(1, 2)
    frames = np.arange(int(cells["frame"].max()) + 1) if len(cells) else np.arange(1)
    for outcome, name in (("FN", "missed (FN)"), ("FP", "not in the truth (FP)")):
        counts = cells.loc[cells["outcome"] == outcome, "frame"].value_counts().reindex(frames, fill_value=0)
        left.plot(frames, counts, marker="o", markersize=4, color=ERROR_COLORS[outcome], label=name)
    left.set_xlabel("frame")
    left.set_ylabel("cells")
    left.set_ylim(bottom=0)
    left.yaxis.get_major_locator().set_params(integer=True)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # a peak may lie anywhere inside
    found = cells[cells["outcome"] == "TP"]
    errors = (100 * found["volume_error"]).groupby(found["frame"])
    low, middle, high = (errors.quantile(q).reindex(frames) for q in (0.25, 0.5, 0.75))
    if len(found):
        right.fill_between(frames, low, high, color="#bbbbbb", label="quartiles")
        right.plot(
            frames,
            middle,
            color="black",
            marker="o",
            markersize=4,
            label=f"median, n = {len(found)} cells × frames",
        )
        right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)  # the band leaves no room inside
    right.axhline(0, color="#777777", linewidth=1, linestyle=":")
    right.set_xlabel("frame")
    right.set_ylabel("error of the volume (%)")
    return figure


@styled
def worst_cells(cells: pd.DataFrame, truth: Any, found: Any, raw: Any = None, *, n: int = 8) -> Figure:
    """Show the true cells of all frames that are met worst, each in the plane through its middle.

    Parameters
    ----------
    cells : DataFrame
        Of `helpers.runs.steps.evaluation.compare_cells`.
    truth, found : label movie
        Anything with ``frame(t)``.
    raw : movie, optional
        Black without it.
    n : int
        How many cells, at most.
    """
    true_cells = cells[cells["truth"] > 0].sort_values(["iou", "frame", "truth"]).head(n)
    columns = min(4, max(len(true_cells), 1))
    rows = -(-max(len(true_cells), 1) // columns)
    figure = new_figure(2.1 * columns, 2.3 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(true_cells) :]:
        panel.set_axis_off()
    places = {key: panel for key, panel in zip(true_cells.index, panels, strict=False)}
    for frame, part in true_cells.groupby("frame"):
        true, labels = (_stack(movie.frame(frame)) for movie in (truth, found))
        image = np.zeros(true.shape, np.float32) if raw is None else raw.frame(frame)
        for row in part.itertuples():
            z, box = _window(true == row.truth)
            picture = np.reshape(image, true.shape)[z][box]
            title = f"frame {frame}, cell {row.truth}\nIoU {row.iou:.2f}"
            panel = places[row.Index]
            draw_raw(panel, picture, title=title, bar=False)
            draw_outlines(panel, labels[z][box], "#ffffff", 1.0)
            draw_outlines(panel, np.where(true[z][box] == row.truth, 1, 0), ERROR_COLORS["FN"], 1.8)
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=ERROR_COLORS["FN"], linewidth=2, label="the true cell"),
        Line2D([], [], color="#999999", linewidth=1.2, label="what was found (white)"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2)
    return figure


def _stack(labels: np.ndarray) -> np.ndarray:
    return labels if labels.ndim == 3 else labels[np.newaxis]


def _window(cell: np.ndarray) -> tuple[int, tuple[slice, slice]]:
    """Return the plane in which a cell is largest, and a box around it there."""
    z = int(np.count_nonzero(cell, axis=(1, 2)).argmax())
    sides = []
    for axis in (0, 1):
        at = np.flatnonzero(cell[z].any(axis=1 - axis))
        room = int(np.ceil(_AROUND * (at[-1] - at[0] + 1)))
        sides.append(slice(max(0, at[0] - room), at[-1] + 1 + room))
    return z, (sides[0], sides[1])

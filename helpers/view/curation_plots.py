"""Pictures of a place to be corrected, before and after, and of scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.view.planes import draw_labels, draw_outlines, draw_raw
from helpers.view.style import OKABE_ITO, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Half the side of what is shown around a place, in diameters of the cell.
_AROUND = 2.5
#: Scores that are drawn, with their names.
_SCORES = {"iou": "IoU", "dice": "Dice", "ap50": "AP50", "f1_50": "F1 at IoU 0.5"}


@styled
def strip(
    labels: Any,
    raw: Any,
    frame: int,
    point: Sequence[float],
    voxel_size: Sequence[float],
    diameter: float,
    *,
    frames: Sequence[int] | None = None,
    z: int | None = None,
    points: Sequence[Sequence[float]] = (),
    marked: Collection[tuple[int, int]] = (),
) -> Figure:
    """Draw the frame before a place, its own and the next: outlines with their labels on the raw movie.

    Parameters
    ----------
    labels : label movie
        Anything with ``shape`` and ``frame(t)``.
    raw : Movie or None
        Without it the labels are drawn in colours.
    frame : int
        Of the place.
    point : sequence of float
        (z, y, x) in µm.
    voxel_size : sequence of float
        (z, y, x) in µm.
    diameter : float
        Of a typical cell, in µm.
    frames : sequence of int, optional
        Other frames to draw than these three; those that the movie has not are left out.
    z : int, optional
        The slice to draw, by default that of the place.
    points : sequence of (z, y, x) in voxels
        Marked where they lie in this slice.
    marked : collection of (frame, label)
        Cells whose outline is drawn in a colour of its own.

    Returns
    -------
    Figure
        The gid of each of its axes is the frame; data coordinates are pixels of `window`.
    """
    middle, box = window(labels.shape, point, voxel_size, diameter)
    z = middle if z is None else z
    frames = [t for t in frames or (frame - 1, frame, frame + 1) if 0 <= t < labels.shape[0]]
    figure = new_figure(2.2 * len(frames), 2.4)
    for k, t in enumerate(frames):
        axes = figure.add_subplot(1, len(frames), k + 1)
        plane = labels.frame(t)[z][box]
        if raw is not None:
            draw_raw(axes, raw.frame(t)[z][box], title=f"frame {t}", bar=False)
            draw_outlines(axes, plane, OKABE_ITO["yellow"])
        else:
            draw_raw(axes, np.zeros(plane.shape), title=f"frame {t}", limits=(0.0, 1.0), bar=False)
            draw_labels(axes, plane, 1.0)
        for label in (label for of, label in marked if of == t):
            draw_outlines(axes, plane == label, OKABE_ITO["vermillion"], 2.0, gid="marked")
        _name_cells(axes, plane)
        for py, px in ((p[-2], p[-1]) for p in points if len(p) < 3 or round(p[0]) == z):
            axes.plot(px - box[1].start, py - box[0].start, "x", color=OKABE_ITO["vermillion"], markersize=6)
        axes.set_gid(str(t))
        axes.title.set_fontweight("bold" if t == frame else "normal")
    return figure


def window(
    shape: Sequence[int], point: Sequence[float], voxel_size: Sequence[float], diameter: float
) -> tuple[int, tuple[slice, slice]]:
    """Return the slice of a place (µm) and what of (Y, X) is shown around it."""
    at = np.rint(np.asarray(point, float) / voxel_size).astype(int)
    half = np.maximum(np.ceil(_AROUND * diameter / 2 / np.asarray(voxel_size)).astype(int), 4)
    sides = [slice(max(0, at[k] - half[k]), min(shape[k + 1], at[k] + half[k] + 1)) for k in (1, 2)]
    return int(np.clip(at[0], 0, shape[1] - 1)), (sides[0], sides[1])


def _name_cells(axes: Axes, plane: np.ndarray) -> None:
    for label in np.unique(plane[plane > 0]):
        y, x = np.argwhere(plane == label).mean(axis=0)
        box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.6, "linewidth": 0}
        axes.text(x, y, str(label), ha="center", va="center", fontsize=7, color="black", bbox=box)


@styled
def score_history(scores: pd.DataFrame) -> Figure:
    """Draw the scores of each time and result on the curated frames, with the fault value below.

    Parameters
    ----------
    scores : DataFrame
        From `helpers.curation.evaluation.keep_scores`.
    """
    chosen = scores[scores["frames"] != "all"].reset_index(drop=True)
    figure = new_figure(6.4, 4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    names = [f"{row.result}\nframes {row.frames}\n{row.edits} edits" for row in chosen.itertuples()]
    at = np.arange(len(chosen))
    colors = list(OKABE_ITO.values())
    for k, (name, shown) in enumerate(_SCORES.items()):
        above.plot(at, chosen[name], marker="o", color=colors[k], label=shown)
    above.set_ylim(0, 1.05)
    above.set_ylabel("score")
    above.legend(ncols=4, frameon=False, loc="lower left")
    values = chosen["fault_value"] if "fault_value" in chosen else pd.Series(np.nan, chosen.index)
    below.bar(at, values.fillna(0), color=colors[4])
    below.set_ylabel("fault value")
    below.set_xticks(at[-8:], names[-8:])
    below.set_xlim(len(chosen) - 8.5 if len(chosen) > 8 else -0.5, len(chosen) - 0.5)
    return figure

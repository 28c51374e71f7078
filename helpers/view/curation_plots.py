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

Key = tuple[int, int]
#: Half the side of what is shown around a place, in diameters of the cell.
_AROUND = 2.5
#: Scores that are drawn, with their names.
_SCORES: dict[str, str] = {"iou": "IoU", "dice": "Dice", "ap50": "AP50", "f1_50": "F1 at IoU 0.5"}


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
    marked: Collection[Key] = (),
    confirmed: Collection[Key] = (),
    complete: Collection[int] = (),
    links: Collection[tuple[Key, Key, bool]] = (),
) -> Figure:
    """Draw the frame before a place, its own and the next: outlines with their labels on the raw movie.

    What a person confirmed is green.

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
    confirmed : collection of (frame, label)
        Cells that a person confirmed.
    complete : collection of int
        Frames that a person confirmed.
    links : collection of (source, target, confirmed)
        Drawn as arrows from frame to frame, between cells as (frame, label).

    Returns
    -------
    Figure
        The gid of each of its axes is the frame; data coordinates are pixels of `window`.
    """
    middle, box = window(labels.shape, point, voxel_size, diameter)
    z = middle if z is None else z
    frames = [t for t in frames or (frame - 1, frame, frame + 1) if 0 <= t < labels.shape[0]]
    figure = new_figure(2.2 * len(frames), 2.4)
    panels: dict[int, Axes] = {}
    for k, t in enumerate(frames):
        axes = figure.add_subplot(1, len(frames), k + 1)
        plane = labels.frame(t)[z][box]
        title = f"frame {t}: complete" if t in complete else f"frame {t}"
        panels[t] = axes
        if raw is not None:
            draw_raw(axes, raw.frame(t)[z][box], title=title, bar=False)
            draw_outlines(axes, plane, OKABE_ITO["yellow"])
        else:
            draw_raw(axes, np.zeros(plane.shape), title=title, limits=(0.0, 1.0), bar=False)
            draw_labels(axes, plane, 1.0)
        for label in (label for of, label in marked if of == t):
            draw_outlines(axes, plane == label, OKABE_ITO["vermillion"], 2.0, gid="marked")
        _name_cells(axes, plane, {label for of, label in confirmed if of == t})
        for py, px in ((p[-2], p[-1]) for p in points if len(p) < 3 or round(p[0]) == z):
            axes.plot(px - box[1].start, py - box[0].start, "x", color=OKABE_ITO["vermillion"], markersize=6)
        axes.set_gid(str(t))
        axes.title.set_fontweight("bold" if t == frame else "normal")
        axes.title.set_color(OKABE_ITO["green"] if t in complete else "black")
    for source, target, right in links:
        if source[0] in panels and target[0] in panels:
            _arrow(figure, panels, labels, box, (source, target), right)
    return figure


def _arrow(
    figure: Figure,
    panels: dict[int, Axes],
    labels: Any,
    box: tuple[slice, slice],
    ends: tuple[Key, Key],
    right: bool,
) -> None:
    """Draw a link between the centres of its cells, where both are within what is shown."""
    from matplotlib.patches import ConnectionPatch

    places = []
    for t, label in ends:
        y, x = np.argwhere((labels.frame(t) == label).any(axis=0)).mean(axis=0)
        if not (box[0].start <= y < box[0].stop and box[1].start <= x < box[1].stop):
            return
        places.append((x - box[1].start, y - box[0].start))
    first, last = (panels[t] for t, _ in ends)
    color = OKABE_ITO["green" if right else "sky"]
    arrow = ConnectionPatch(
        xyA=places[0], xyB=places[1], coordsA=first.transData, coordsB=last.transData,
        arrowstyle="-|>", color=color, linewidth=1.5,
    )  # fmt: skip
    arrow.set_gid("confirmed link" if right else "link")
    figure.add_artist(arrow)


def window(
    shape: Sequence[int], point: Sequence[float], voxel_size: Sequence[float], diameter: float
) -> tuple[int, tuple[slice, slice]]:
    """Return the slice of a place (µm) and what of (Y, X) is shown around it."""
    at = np.rint(np.asarray(point, float) / voxel_size).astype(int)
    half = np.maximum(np.ceil(_AROUND * diameter / 2 / np.asarray(voxel_size)).astype(int), 4)
    sides = [slice(max(0, at[k] - half[k]), min(shape[k + 1], at[k] + half[k] + 1)) for k in (1, 2)]
    return int(np.clip(at[0], 0, shape[1] - 1)), (sides[0], sides[1])


def _name_cells(axes: Axes, plane: np.ndarray, confirmed: Collection[int]) -> None:
    for label in np.unique(plane[plane > 0]):
        y, x = np.argwhere(plane == label).mean(axis=0)
        back, ink, alpha = ("white", "black", 0.6)
        if label in confirmed:
            back, ink, alpha = (OKABE_ITO["green"], "white", 1.0)
        box = {"boxstyle": "round,pad=0.1", "facecolor": back, "alpha": alpha, "linewidth": 0}
        axes.text(x, y, str(label), ha="center", va="center", fontsize=7, color=ink, bbox=box)


@styled
def score_history(scores: pd.DataFrame) -> Figure:
    """Draw the scores of each time and result on the curated frames, with the fault value below.

    Parameters
    ----------
    scores : DataFrame
        From `helpers.curation.evaluation.keep_scores`.
    """
    # The first row of each is of all curated frames together.
    chosen = scores.groupby(["time", "result"], sort=False).head(1).reset_index(drop=True)
    figure = new_figure(6.4, 4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    names = [f"{row.result}\nframes {row.frames}\n{row.edits} edits" for row in chosen.itertuples()]
    at = np.arange(len(chosen))
    colors = list(OKABE_ITO.values())
    for k, (name, shown) in enumerate(_SCORES.items()):
        aside = at + 0.06 * (k - (len(_SCORES) - 1) / 2)  # equal scores would hide each other
        above.plot(aside, chosen[name], marker="osD^"[k], markersize=5, color=colors[k], label=shown)
    above.set_ylim(0, 1.05)
    above.set_ylabel("score")
    above.legend(ncols=4, frameon=False, loc="lower left")
    values = chosen["fault_value"] if "fault_value" in chosen else pd.Series(np.nan, chosen.index)
    below.bar(at, values.fillna(0), color=colors[4])
    below.set_ylim(0, max(1.0, 1.1 * float(values.fillna(0).max())))
    below.set_ylabel("fault value")
    below.set_xticks(at[-8:], names[-8:])
    below.set_xlim(len(chosen) - 8.5 if len(chosen) > 8 else -0.5, len(chosen) - 0.5)
    return figure

"""What is drawn in a frame, and where to draw next, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.view.planes import draw_outlines, draw_raw
from helpers.view.style import OKABE_ITO, new_figure, styled


@styled
def annotation_overview(
    raw: np.ndarray,
    labels: np.ndarray,
    *,
    doubt: np.ndarray | None = None,
    places: pd.DataFrame | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Figure:
    """Show the slice in which most is drawn, and beside it the doubt of the networks with the places to draw next.

    Parameters
    ----------
    raw, labels : (Z, Y, X) ndarray
        Labels -1 where nothing is annotated.
    doubt : (Z, Y, X) ndarray, optional
        0 to 1; its maximum along z is shown.
    places : DataFrame, optional
        With ``rank, y, x``.
    voxel_size : (z, y, x) in µm, optional
        For the scale bar.
    """
    figure = new_figure(8.4 if doubt is not None else 4.2, 4.2)
    axes = figure.subplots(1, 2 if doubt is not None else 1, squeeze=False)[0]
    z = _draw_drawn(axes[0], raw, labels, voxel_size)
    axes[0].set_title(f"drawn, z {z} (orange: cells, blue: background)")
    if doubt is not None:
        axes[1].imshow(doubt.max(axis=0), cmap="magma", vmin=0, vmax=1)
        axes[1].set_axis_off()
        axes[1].set_title("doubt of the networks, and where to draw next")
        for place in () if places is None else places.itertuples():
            axes[1].text(
                place.x, place.y, str(place.rank), color="white", ha="center", va="center", fontsize=7
            )
    return figure


@styled
def drawn_stacks(
    stacks: Sequence[tuple[str, np.ndarray, np.ndarray]], *, voxel_size: Sequence[float] | None = None
) -> Figure:
    """Show of each stack the slice in which most is drawn: cells orange, background blue, the rest not annotated.

    Parameters
    ----------
    stacks : sequence of (name, raw, labels)
        At least one; (Z, Y, X) ndarrays, labels -1 where nothing is annotated.
    voxel_size : (z, y, x) in µm, optional
        For the scale bar.
    """
    figure = new_figure(2.4 * len(stacks) + 0.2, 2.8)
    for axes, (name, raw, labels) in zip(
        figure.subplots(1, len(stacks), squeeze=False)[0], stacks, strict=True
    ):
        z = _draw_drawn(axes, raw, labels, voxel_size)
        n_cells = len(np.unique(labels[labels > 0]))
        axes.set_title(f"{name}, z {z}", loc="left")
        axes.set_xlabel(
            f"{n_cells} cell{'' if n_cells == 1 else 's'} drawn, {100 * (labels >= 0).mean():.2g} % annotated"
        )
    return figure


def _draw_drawn(axes: Axes, raw: np.ndarray, labels: np.ndarray, voxel_size: Sequence[float] | None) -> int:
    """Draw the slice in which most is annotated, and return its number."""
    annotated = (labels >= 0).sum(axis=(1, 2))
    z = int(np.argmax(annotated)) if annotated.any() else len(raw) // 2
    draw_raw(axes, raw[z], voxel_size=voxel_size)
    draw_outlines(axes, np.maximum(labels[z], 0), OKABE_ITO["orange"])
    draw_outlines(axes, labels[z] == 0, OKABE_ITO["sky"])
    return z

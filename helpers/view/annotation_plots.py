"""What is drawn in a frame, and where to draw next, as figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
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
    z = int(np.argmax((labels >= 0).sum(axis=(1, 2)))) if (labels >= 0).any() else len(raw) // 2
    draw_raw(axes[0], raw[z], voxel_size=voxel_size)
    draw_outlines(axes[0], np.maximum(labels[z], 0), OKABE_ITO["orange"])
    draw_outlines(axes[0], labels[z] == 0, OKABE_ITO["sky"])
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

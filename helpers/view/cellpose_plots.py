"""Figures to tune Cellpose on: one crop, several values of a parameter, and the quality of what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.view.planes import check_same_shape, draw_labels, draw_outlines, draw_raw, plane
from helpers.view.style import OKABE_ITO, logarithmic, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4


@styled
def value_grid(
    raw: np.ndarray,
    labels: Mapping[float, np.ndarray],
    name: str,
    *,
    z: int | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Figure:
    """Show one plane with its labels for several values of a parameter, with the number of cells of each.

    Parameters
    ----------
    raw : ndarray, (Z, Y, X) or (Y, X)
        Intensities.
    labels : mapping of float to ndarray of int, shape of `raw`
        Labels by value.
    name : str
        Of the parameter.
    z : int, optional
        Plane; None takes the central one.
    voxel_size : sequence of float, optional
        (z, y, x) or (y, x) in µm.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there are no labels, or their shape is not that of `raw`.
    """
    if not labels:
        raise InputError("values", [], "at least one value to show")
    image = plane(raw, z, "raw")
    columns = min(_COLUMNS, len(labels))
    rows = -(-len(labels) // columns)
    height, width = image.shape
    side = 2.4
    figure = new_figure(columns * side, rows * (side * min(height / width, 2.0) + 0.45))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for k, (value, found) in enumerate(labels.items()):
        check_same_shape(raw=raw, labels=found)
        cells = plane(found, z, "labels")
        count = np.count_nonzero(np.unique(found))
        title = f"{name} = {value:g}\n{count} {'cell' if count == 1 else 'cells'}"
        draw_raw(panels[k], image, voxel_size=voxel_size, title=title, bar=k == 0)
        draw_labels(panels[k], cells, alpha=0.4)
        draw_outlines(panels[k], cells, "white", 0.6)
    for panel in panels[len(labels) :]:
        panel.set_axis_off()
    return figure


@styled
def quality_histogram(objects: pd.DataFrame, column: str = "cell_probability_mean") -> Figure:
    """Show the quality of the cells, and beside it quality and size of each, where specks lie apart.

    Parameters
    ----------
    objects : DataFrame
        With `column` and ``volume_um3``, in 2D ``area_um2``.
    column : str
        The quality.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If a column is missing.
    """
    sizes = {"volume_um3": "volume (µm³)", "area_um2": "area (µm²)"}
    size = next((name for name in sizes if name in objects), None)
    if size is None or column not in objects:
        raise InputError(
            "objects", list(objects.columns), f"a table with {column} and volume_um3 or area_um2"
        )
    figure = new_figure(7.4, 2.8)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
    quality = objects[column].to_numpy(float)
    left.set_title(f"n = {len(objects)} cells × frames, of {objects['frame'].nunique()} frames", loc="left")
    if len(quality):
        left.hist(quality, 30, color=OKABE_ITO["purple"])
        median = float(np.median(quality))
        left.axvline(median, color=OKABE_ITO["vermillion"], label=f"median {median:.3g}")
        left.legend(frameon=False)
        right.plot(quality, objects[size], ".", color=OKABE_ITO["purple"], markersize=3, alpha=0.5)
        logarithmic(right.yaxis)
    name = "mean cell probability" if column == "cell_probability_mean" else column
    left.set_xlabel(name)
    left.set_ylabel("cells × frames")
    right.set_xlabel(name)
    right.set_ylabel(sizes[size])
    return figure

"""Figures of measured cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.errors import InputError
from helpers.view.style import OKABE_ITO, new_figure, styled


@styled
def size_histogram(objects: pd.DataFrame) -> Figure:
    """Show how large the cells are, on a logarithmic axis, so that specks stand apart from cells.

    Parameters
    ----------
    objects : DataFrame
        With ``volume_um3``, in 2D ``area_um2``.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If the table has neither column.
    """
    names = {"volume_um3": "volume (µm³)", "area_um2": "area (µm²)"}
    column = next((name for name in names if name in objects), None)
    if column is None:
        raise InputError("objects", list(objects.columns), "a table with volume_um3 or area_um2")
    figure = new_figure(4.8, 2.8)
    axes = figure.subplots()
    sizes = objects[column].to_numpy(float)
    sizes = sizes[sizes > 0]
    if len(sizes):
        edges = np.geomspace(sizes.min() * 0.95, sizes.max() * 1.05, 40)
        axes.hist(sizes, edges, color=OKABE_ITO["blue"])
        axes.axvline(
            float(np.median(sizes)), color=OKABE_ITO["vermillion"], label=f"median {np.median(sizes):.3g}"
        )
        axes.set_xscale("log")
        axes.legend(frameon=False)
    axes.set_xlabel(names[column])
    axes.set_ylabel("cells")
    axes.set_title(f"{len(objects)} cells in {objects['frame'].nunique()} frames", loc="left")
    return figure


@styled
def removal_bars(*removed: pd.DataFrame, n_objects: int) -> Figure:
    """Show how many cells each filter removed.

    Parameters
    ----------
    *removed : DataFrame
        Of the filters, with a column ``reason``; may be empty.
    n_objects : int
        Cells before any filter.

    Returns
    -------
    Figure
    """
    reasons = pd.concat([table["reason"] for table in removed if len(table)] or [pd.Series(dtype=object)])
    counts = reasons.value_counts()
    counts["kept"] = n_objects - len(reasons)
    figure = new_figure(5.2, 0.9 + 0.35 * len(counts))
    axes = figure.subplots()
    colors = [OKABE_ITO["blue"] if name == "kept" else OKABE_ITO["vermillion"] for name in counts.index]
    bars = axes.barh([str(name) for name in counts.index], counts.to_numpy(), color=colors)
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("cells, all frames together")
    return figure

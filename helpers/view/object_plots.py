"""Figures of measured cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.errors import InputError
from helpers.view.background_image import BackgroundImage
from helpers.view.style import OKABE_ITO, logarithmic, new_figure, styled


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
    names = {"volume_um3": ("volume", "µm³"), "area_um2": ("area", "µm²")}
    column = next((name for name in names if name in objects), None)
    if column is None:
        raise InputError("objects", list(objects.columns), "a table with volume_um3 or area_um2")
    word, unit = names[column]
    figure = new_figure(4.8, 2.8)
    axes = figure.subplots()
    sizes = objects[column].to_numpy(float)
    sizes = sizes[sizes > 0]
    if len(sizes):
        edges = np.geomspace(sizes.min() * 0.95, sizes.max() * 1.05, 40)
        axes.hist(sizes, edges, color=OKABE_ITO["blue"])
        median = float(np.median(sizes))
        said = f"median {float(f'{median:.3g}'):g} {unit}"
        axes.axvline(median, color=OKABE_ITO["vermillion"], label=said)
        logarithmic(axes.xaxis)
        axes.legend(loc="best")
    axes.set_xlabel(f"{word} ({unit})")
    axes.set_ylabel("cells × frames")
    axes.set_title(f"n = {len(objects)} cells × frames, of {objects['frame'].nunique()} frames", loc="left")
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
    axes.set_xlabel("cells × frames")
    return figure


@styled
def removed_over_projection(
    image: np.ndarray | None,
    kept: pd.DataFrame,
    *removed: pd.DataFrame,
    voxel_size: Sequence[float] | None = None,
) -> Figure:
    """Show where the cells lie that each filter removed, over a maximum projection of the image.

    Parameters
    ----------
    image : ndarray, (T, Z, Y, X), (Z, Y, X) or (Y, X), or None
        Usually one frame; None draws on black.
    kept : DataFrame
        Cells that passed all filters, with ``y, x`` in µm.
    *removed : DataFrame
        Of the filters, with a column ``reason``; may be empty.
    voxel_size : sequence of float, optional
        (z, y, x) of the image in µm.

    Returns
    -------
    Figure
        A dot for each cell and frame, kept ones small and grey, with a marker and a colour per filter.

    Raises
    ------
    InputError
        If the image has no voxel size.
    """
    tables = [table.loc[:, ["y", "x", "reason"]] for table in removed if len(table)]
    gone = pd.concat(tables) if tables else kept.head(0).assign(reason="")
    background = BackgroundImage.of(
        image, pd.concat([kept.loc[:, ["y", "x"]], gone.loc[:, ["y", "x"]]]), voxel_size
    )
    figure, axes = background.draw()
    y, x = background.pixels(kept).T
    axes.plot(x, y, ".", color="0.75", markersize=2.5, label=f"kept: {len(kept)}", gid="kept")
    colors = [
        OKABE_ITO[name] for name in ("vermillion", "sky", "orange", "purple", "green", "yellow", "blue")
    ]
    for k, reason in enumerate(gone["reason"].unique()):
        cells = gone.loc[gone["reason"] == reason, :]
        y, x = background.pixels(cells).T
        axes.plot(
            x, y, "XsD^vPo"[k % 7], color=colors[k % 7], markersize=4.5, markeredgecolor="white",
            markeredgewidth=0.3, label=f"{reason}: {len(cells)}", gid=str(reason),
        )  # fmt: skip
    background.frame(axes)
    figure.legend(loc="outside lower center", ncols=2)
    return figure

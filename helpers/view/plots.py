"""Pictures of raw stacks, labels and what is wrong with them. Every function returns a `Figure` and shows nothing.

Over 400 lines: a list of figures, each short.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.view.figure_files import save_figure
from helpers.view.palette import contrasting
from helpers.view.planes import (
    check_same_shape,
    draw_labels,
    draw_outlines,
    draw_raw,
    outline_segments,
    plane,
)
from helpers.view.style import OKABE_ITO, gray_limits, new_figure, pixel_size, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "denoising_comparison",
    "error_overlay",
    "label_overlay",
    "orthogonal_views",
    "outline_segments",
    "patch_preview",
    "save_figure",
]

#: What is drawn in `error_overlay`: outcome, colour, what it says in the legend.
ERROR_COLORS = {"TP": "#f2f2f2", "FP": OKABE_ITO["orange"], "FN": OKABE_ITO["sky"]}
_ERROR_NAMES = {"TP": "found (TP)", "FP": "not in the truth (FP)", "FN": "missed (FN)"}


@styled
def patch_preview(
    x: np.ndarray,
    labels: np.ndarray,
    n: int = 4,
    *,
    voxel_size: Sequence[float] | None = None,
) -> Figure:
    """Show the central planes of training patches: raw above, the same with its labels below.

    Parameters
    ----------
    x : ndarray, (S, 1, Z, Y, X), (S, 1, Y, X) or without the channel
        Normalised raw patches; may be memory-mapped, only those shown are read.
    labels : ndarray of int, (S, Z, Y, X) or (S, Y, X)
        Their instances.
    n : int
        How many, spread evenly over the set.
    voxel_size : sequence of float, optional
        (z, y, x) or (y, x) in µm, for the scale bar.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        If there are no patches, or raw and labels do not belong together.
    """
    if n < 1 or len(x) == 0:
        raise InputError("n", f"{n} of {len(x)} patches", "at least one patch to show")
    if len(x) != len(labels) or np.size(x[0]) != np.size(labels[0]):
        raise InputError("labels", f"shape {labels.shape}", f"labels of the patches, of shape {x.shape}")
    chosen = np.unique(np.linspace(0, len(x) - 1, min(n, len(x))).round().astype(int))
    figure = new_figure(1.9 * len(chosen) + 0.2, 4.2)
    axes = figure.subplots(2, len(chosen), squeeze=False)
    for column, index in enumerate(chosen):
        instances = np.asarray(labels[index])
        instances = instances.reshape(instances.shape[-3:] if instances.ndim > 2 else instances.shape)
        raw = np.asarray(x[index]).reshape(instances.shape)
        shown = plane(raw, None, "x")
        cells = np.maximum(plane(instances, None, "labels"), 0)  # what is not annotated is not a cell
        draw_raw(axes[0, column], shown, voxel_size=voxel_size, title=f"patch {index}", bar=column == 0)
        draw_raw(axes[1, column], shown, voxel_size=voxel_size, bar=False)
        draw_labels(axes[1, column], cells, alpha=0.4)
        draw_outlines(axes[1, column], cells, "white", 0.8)
        n_cells = np.count_nonzero(np.unique(cells))
        axes[1, column].set_xlabel(f"{n_cells} {'cell' if n_cells == 1 else 'cells'}")
    return figure


@styled
def label_overlay(
    raw: np.ndarray,
    labels: np.ndarray,
    z: int | None = None,
    *,
    voxel_size: Sequence[float] | None = None,
    title: str = "labels",
) -> Figure:
    """Show a plane of a stack beside the same plane with its labels.

    Parameters
    ----------
    raw, labels : ndarray, (Z, Y, X) or (Y, X)
        Intensities and labels of one shape.
    z : int, optional
        Plane; None takes the central one.
    voxel_size : sequence of float, optional
        (z, y, x) or (y, x) in µm, for proportions and scale bar.
    title : str
        Above the labels.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        For different shapes or a plane that is not there.
    """
    check_same_shape(raw=raw, labels=labels)
    image, cells = plane(raw, z, "raw"), plane(labels, z, "labels")
    figure = new_figure(*_panels_size(image.shape, 2, voxel_size))
    left, right = figure.subplots(1, 2)
    where = "" if np.ndim(raw) == 2 else f", z = {np.shape(raw)[0] // 2 if z is None else z}"
    draw_raw(left, image, voxel_size=voxel_size, title=f"raw{where}")
    n_cells = np.count_nonzero(np.unique(cells))
    draw_raw(right, image, voxel_size=voxel_size, title=f"{title}: {n_cells} in this plane", bar=False)
    draw_labels(right, cells, alpha=0.45, palette=contrasting(cells))
    draw_outlines(right, cells, "white", 0.6)
    return figure


@styled
def denoising_comparison(
    raw: np.ndarray,
    denoised: np.ndarray,
    truth: np.ndarray | None = None,
    *,
    z: int | None = None,
    y: int | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Figure:
    """Show a plane before and after denoising, and the intensities along one line through it.

    Parameters
    ----------
    raw, denoised : ndarray, (Z, Y, X) or (Y, X)
        Before and after, on one scale of intensities.
    truth : ndarray, optional
        The noise-free image on the same scale; the titles then tell the peak signal-to-noise ratio (over the whole
        stack, peak = range of the truth).
    z, y : int, optional
        Plane and line; None takes the central ones.
    voxel_size : sequence of float, optional
        (z, y, x) or (y, x) in µm.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        For different shapes, or a plane or line that is not there.
    """
    stacks = {"raw": raw, "denoised": denoised} | ({} if truth is None else {"truth": truth})
    check_same_shape(**stacks)
    planes = {name: np.asarray(plane(stack, z, name), float) for name, stack in stacks.items()}
    height, width = planes["raw"].shape
    y = int(height // 2 if y is None else y)
    if not 0 <= y < height:
        raise InputError("y", y, f"a line from 0 to {height - 1}")
    size = pixel_size(voxel_size)
    colors = {"raw": "#999999", "denoised": OKABE_ITO["blue"], "truth": OKABE_ITO["vermillion"]}
    picture_width, picture_height = _panels_size(planes["raw"].shape, len(stacks), voxel_size)
    figure = new_figure(picture_width, picture_height + 2.1)
    grid = figure.add_gridspec(2, len(stacks), height_ratios=[picture_height, 2.1])
    limits = gray_limits(planes["raw"])
    for column, (name, image) in enumerate(planes.items()):
        axes = figure.add_subplot(grid[0, column])
        title = name
        if truth is not None and name != "truth":
            title += f", PSNR {_psnr(truth, stacks[name]):.1f} dB"
        draw_raw(axes, image, voxel_size=voxel_size, title=title, limits=limits, bar=column == 0)
        axes.axhline(y, color=OKABE_ITO["yellow"], linewidth=0.9, linestyle=(0, (4, 3)))
    profile = figure.add_subplot(grid[1, :])
    x = np.arange(width) * (1.0 if size is None else size[1])
    for name, image in planes.items():
        profile.plot(
            x,
            image[y],
            color=colors[name],
            label=name,
            linewidth=0.9 if name == "raw" else 1.6,
            linestyle="--" if name == "truth" else "-",
            zorder=1 if name == "raw" else 2,
        )
    profile.set_xlim(0, x[-1] if width > 1 else 1)
    profile.set_xlabel("x (pixels)" if size is None else "x (µm)")
    profile.set_ylabel("intensity")
    profile.legend(loc="upper right", ncols=len(stacks), bbox_to_anchor=(1, 1.16))
    profile.set_title("along the dashed line", loc="left")
    return figure


@styled
def error_overlay(
    raw: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    match: pd.DataFrame | None = None,
    *,
    z: int | None = None,
    voxel_size: Sequence[float] | None = None,
    title: str = "",
) -> Figure:
    """Show which cells were found (outlined), missed and invented (coloured).

    Parameters
    ----------
    raw, truth, predicted : ndarray, (Z, Y, X) or (Y, X)
        Intensities, true and predicted labels of one shape.
    match : DataFrame, optional
        Of `helpers.segmentation.scores.match_table`; made here at an IoU of 0.5 if missing.
    z : int, optional
        Plane; None takes the central one. The legend counts over the whole stack.
    voxel_size : sequence of float, optional
        (z, y, x) or (y, x) in µm.
    title : str
        Above the overlay.

    Returns
    -------
    Figure
        The raw plane, and the same with the found cells' predicted outlines in white, invented ones orange with
        hatching and missed ones filled blue, so that they differ without colour as well.

    Raises
    ------
    InputError
        For different shapes, a plane that is not there, or a table without the columns needed.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    check_same_shape(raw=raw, truth=truth, predicted=predicted)
    if match is None:
        from helpers.segmentation.matching import match_table

        match = match_table(truth, predicted)
    assert match is not None
    if missing := {"truth", "predicted", "outcome"} - set(match.columns):
        raise InputError("match", sorted(missing), "these columns too, as `match_table` gives them")
    image = plane(raw, z, "raw")
    true_cells, cells = plane(truth, z, "truth"), plane(predicted, z, "predicted")
    outcome = match["outcome"].to_numpy()

    def of(column: str, kind: str, labels: np.ndarray) -> np.ndarray:
        return np.where(np.isin(labels, match[column].to_numpy()[outcome == kind]), labels, 0)

    parts = {
        "TP": of("predicted", "TP", cells),
        "FN": of("truth", "FN", true_cells),
        "FP": of("predicted", "FP", cells),
    }
    width, height = _panels_size(image.shape, 2, voxel_size)
    figure = new_figure(width, height + 0.45)
    left, right = figure.subplots(1, 2)
    where = "" if np.ndim(raw) == 2 else f", z = {np.shape(raw)[0] // 2 if z is None else z}"
    draw_raw(left, image, voxel_size=voxel_size, title=f"raw{where}")
    draw_raw(right, image, voxel_size=voxel_size, title=title or "errors", bar=False, dim=1.6)
    _fill(right, parts["FN"] > 0, ERROR_COLORS["FN"], 0.55)
    _hatch(right, parts["FP"] > 0, ERROR_COLORS["FP"])
    for kind, line_width in (("TP", 0.9), ("FN", 1.4), ("FP", 1.4)):
        draw_outlines(right, parts[kind], ERROR_COLORS[kind], line_width, gid=kind)
    counts = {kind: int(np.sum(outcome == kind)) for kind in parts}
    handles = [
        # White on white paper: the line in the legend carries a dark rim.
        Line2D([], [], color="#777777", linewidth=1.2, label=f"{_ERROR_NAMES['TP']}: {counts['TP']}"),
        Patch(
            facecolor="none",
            edgecolor=ERROR_COLORS["FP"],
            hatch="////",
            label=f"{_ERROR_NAMES['FP']}: {counts['FP']}",
        ),
        Patch(facecolor=ERROR_COLORS["FN"], alpha=0.8, label=f"{_ERROR_NAMES['FN']}: {counts['FN']}"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


@styled
def orthogonal_views(
    raw: np.ndarray,
    labels: np.ndarray | None,
    voxel_size: Sequence[float],
    *,
    z: int | None = None,
    y: int | None = None,
    title: str = "",
) -> Figure:
    """Show a stack from above (xy) and from the side (xz), in its true proportions.

    Parameters
    ----------
    raw : ndarray, (Z, Y, X)
        Intensities.
    labels : ndarray of int, (Z, Y, X), optional
        Drawn over a second pair of views.
    voxel_size : sequence of float
        (z, y, x) in µm.
    z, y : int, optional
        Where to cut; None takes the middle. Each view shows with a dashed line where the other is cut.
    title : str
        Above all, such as the frame and its time.

    Returns
    -------
    Figure

    Raises
    ------
    InputError
        For a stack that has no z, other shapes, or a missing voxel size.
    """
    if np.ndim(raw) != 3:
        raise InputError("raw", f"shape {np.shape(raw)}", "a stack (Z, Y, X); a 2D image has no side view")
    if voxel_size is None or len(voxel_size) != 3:
        raise InputError(
            "voxel_size", voxel_size, "(z, y, x) in µm: without z the side view has no proportions"
        )
    pixel_size(voxel_size)
    if labels is not None:
        check_same_shape(raw=raw, labels=labels)
    depth, height, width = raw.shape
    z = depth // 2 if z is None else z
    y = int(height // 2 if y is None else y)
    if not 0 <= y < height:
        raise InputError("y", y, f"a row from 0 to {height - 1}")
    size_z, size_y, size_x = (float(value) for value in voxel_size)
    tall, deep, wide = height * size_y, depth * size_z, width * size_x
    columns = 1 if labels is None else 2
    shown_width = min(3.6, 5.5 * wide / (tall + deep))
    figure = new_figure(columns * shown_width + 0.6, shown_width * (tall + deep) / wide + 0.8)
    axes = figure.subplots(
        2, columns, squeeze=False, gridspec_kw={"height_ratios": [tall, deep]}, sharex="col"
    )
    if title:
        figure.suptitle(title, fontsize=10)
    limits = gray_limits(raw[z])
    cuts = (
        (plane(raw, z, "raw"), None if labels is None else labels[z], size_y, "y (µm)", y, "xy"),
        (raw[:, y], None if labels is None else labels[:, y], size_z, "z (µm)", z, "xz"),
    )
    palette = None if labels is None else contrasting(labels[z], labels[:, y])
    for row, (image, cells, size, name, line, view) in enumerate(cuts):
        for column in range(columns):
            panel = axes[row, column]
            draw_raw(panel, image, limits=limits, bar=False)
            panel.set_aspect(size / size_x)
            if column and cells is not None:
                draw_labels(panel, cells, alpha=0.4, palette=palette)
                draw_outlines(panel, cells, "white", 0.6)
            panel.axhline(line, color=OKABE_ITO["yellow"], linewidth=0.8, linestyle=(0, (4, 3)))
            panel.set_title(f"{view}{', labels' if column else ''}", loc="left")
            _micrometre_ticks(panel.xaxis, width, size_x)
            _micrometre_ticks(panel.yaxis, image.shape[0], size)
            panel.set_xlabel("x (µm)" if row else "")
            panel.set_ylabel(name if column == 0 else "")
    return figure


def _psnr(truth: np.ndarray, image: np.ndarray) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    truth, image = np.asarray(truth, float), np.asarray(image, float)
    if np.array_equal(truth, image):
        return float("inf")
    return float(peak_signal_noise_ratio(truth, image, data_range=float(np.ptp(truth)) or 1.0))


def _micrometre_ticks(axis, n: int, size: float) -> None:
    """Ticks at round micrometres on an axis that counts pixels (whose edge is at −0.5)."""
    from helpers.view.style import nice_length

    step = nice_length(n * size / 2)
    values = np.arange(0, n * size + 1e-9, step)
    axis.set_ticks(values / size - 0.5, [f"{value:g}" for value in values])


def _panels_size(
    shape: tuple[int, ...], columns: int, voxel_size: Sequence[float] | None
) -> tuple[float, float]:
    """Width and height in inches of pictures of one shape side by side, with room for their titles."""
    size = pixel_size(voxel_size) or (1.0, 1.0)
    ratio = shape[0] * size[0] / (shape[1] * size[1])
    width = min(max(2.2, min(3.4, 4.5 / ratio)), 10 / columns)
    return columns * width + 0.2, min(max(width * ratio, 0.8), 6.0) + 0.4


def _fill(axes, mask: np.ndarray, color: str, alpha: float) -> None:
    from matplotlib.colors import to_rgb

    rgba = np.zeros((*mask.shape, 4))
    rgba[mask] = (*to_rgb(color), alpha)
    axes.imshow(rgba, interpolation="nearest", aspect=axes.get_aspect())


def _hatch(axes, mask: np.ndarray, color: str) -> None:
    """Shade a mask lightly with diagonal lines, finer than a pixel where pixels are large."""
    _fill(axes, mask, color, 0.25)
    factor = max(1, round(400 / max(mask.shape)))
    fine = np.kron(mask, np.ones((factor, factor), bool))
    rows, columns = np.indices(fine.shape)
    period = max(8, round(max(fine.shape) / 40))
    stripes = fine & ((rows + columns) % period < max(2, period // 4))
    from matplotlib.colors import to_rgb

    rgba = np.zeros((*fine.shape, 4))
    rgba[stripes] = (*to_rgb(color), 0.95)
    height, width = mask.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(rgba, interpolation="nearest", extent=extent, aspect=axes.get_aspect())

"""Planes of stacks: which one is shown, and how raw, labels and outlines are drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.errors import InputError
from helpers.view.palette import Palette, painted
from helpers.view.style import gray_limits, label_colors, pixel_size, scale_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as MplPath

# More short lines than this make a vector file that no viewer opens quickly.
_MAX_VECTOR_SEGMENTS = 20_000


def plane(stack: np.ndarray, z: int | None, name: str) -> np.ndarray:
    """Return the plane of a stack that is shown.

    Parameters
    ----------
    stack : ndarray, (Z, Y, X) or (Y, X)
        Raw or labels.
    z : int, optional
        Which plane; None takes the central one.
    name : str
        The parameter, for the error.

    Returns
    -------
    ndarray, (Y, X)

    Raises
    ------
    InputError
        For other than two or three axes, an empty stack, or a plane that is not there.
    """
    stack = np.asarray(stack)
    if stack.ndim not in (2, 3) or stack.size == 0:
        raise InputError(name, f"shape {stack.shape}", "a stack (Z, Y, X) or an image (Y, X)")
    if stack.ndim == 2:
        if z not in (None, 0):
            raise InputError("z", z, "None or 0 for a 2D image")
        return stack
    z = int(stack.shape[0] // 2 if z is None else z)
    if not 0 <= z < stack.shape[0]:
        raise InputError("z", z, f"a plane from 0 to {stack.shape[0] - 1}")
    return stack[z]


def check_same_shape(**stacks: np.ndarray) -> None:
    """Refuse stacks of different shapes, naming the parameter that differs from the first."""
    (first_name, first), *others = stacks.items()
    for name, stack in others:
        if np.shape(stack) != np.shape(first):
            raise InputError(
                name, f"shape {np.shape(stack)}", f"the shape of {first_name}, {np.shape(first)}"
            )


def outline_segments(labels: np.ndarray) -> np.ndarray:
    """Return the borders of all labels as lines along the edges of pixels.

    Parameters
    ----------
    labels : ndarray of int or bool, (Y, X)
        A plane of labels.

    Returns
    -------
    ndarray of float, (n, 2, 2)
        Start and end (x, y) in pixel coordinates (the middle of the first pixel is 0). Where two cells touch there
        is one line; an object cut by the picture's edge is closed along it. Edges in one row are one line.
    """
    padded = np.pad(np.asarray(labels), 1)
    # A border above row r of column c lies between padded[r, c + 1] and padded[r + 1, c + 1].
    horizontal = padded[:-1, 1:-1] != padded[1:, 1:-1]
    vertical = padded[1:-1, :-1] != padded[1:-1, 1:]
    rows, starts, ends = _runs(horizontal)
    along_x = np.stack([np.stack([starts, rows], -1), np.stack([ends, rows], -1)], 1)
    columns, tops, bottoms = _runs(vertical.T)
    along_y = np.stack([np.stack([columns, tops], -1), np.stack([columns, bottoms], -1)], 1)
    return np.concatenate([along_x, along_y]).astype(float) - 0.5


def _runs(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, first and one past the last column of every run of True."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, ends = np.nonzero(steps == -1)
    return rows, starts, ends


def draw_outlines(
    axes: Axes, labels: np.ndarray, color: Any, width: float = 1.0, gid: str = "outlines"
) -> None:
    """Draw the borders of a plane of labels in one colour.

    Parameters
    ----------
    axes : Axes
        Showing the plane in pixel coordinates.
    labels : ndarray of int or bool, (Y, X)
        The plane.
    color
        Any of matplotlib's colours.
    width : float
        Points.
    gid : str
        Name of the lines within the figure.
    """
    from matplotlib.collections import PathCollection

    segments = outline_segments(labels)
    axes.add_collection(
        PathCollection(
            [as_path(segments)],
            facecolors="none",
            edgecolors=[color],
            linewidths=width,
            capstyle="projecting",
            gid=gid,
            rasterized=len(segments) > _MAX_VECTOR_SEGMENTS,
        ),
        autolim=False,
    )


def as_path(segments: np.ndarray) -> MplPath:
    """Return lines (n, 2, 2) that look alike as one path: drawn many times faster than one by one."""
    from matplotlib.path import Path as MplPath

    codes = np.tile(np.array([MplPath.MOVETO, MplPath.LINETO], MplPath.code_type), len(segments))
    return MplPath(segments.reshape(-1, 2), codes)


def draw_labels(axes: Axes, labels: np.ndarray, alpha: float, palette: Palette | None = None) -> None:
    """Lay a plane of labels over what the axes show, each in its own colour.

    Parameters
    ----------
    axes : Axes
        Showing the raw plane in pixel coordinates.
    labels : ndarray of int, (Y, X)
        The plane; 0 is see-through.
    alpha : float
        Opacity of the labels.
    palette : Palette, optional
        Their colours, from `helpers.view.palette.contrasting`; else those that a label has in every frame and figure.
    """
    rgb = label_colors(labels) if palette is None else painted(labels, palette)
    rgba = np.concatenate([rgb, np.where(labels > 0, alpha, 0.0)[..., np.newaxis]], axis=-1)
    axes.imshow(rgba, interpolation="nearest", aspect=axes.get_aspect())


def draw_raw(
    axes: Axes,
    image: np.ndarray,
    *,
    voxel_size: Sequence[float] | None = None,
    title: str = "",
    limits: tuple[float, float] | None = None,
    bar: bool = True,
    dim: float = 1.0,
) -> None:
    """Show a plane of raw intensities in grey, in its true proportions, with a scale bar if its size is known.

    Parameters
    ----------
    axes : Axes
        To draw on.
    image : ndarray, (Y, X)
        Intensities.
    voxel_size : sequence of float, optional
        (z, y, x) or (y, x) in µm.
    title : str
        Above the picture.
    limits : (float, float), optional
        Black and white; else from the plane's percentiles.
    bar : bool
        Whether a scale bar is drawn.
    dim : float
        Above 1 nothing is shown brighter than 1/dim of white, so that light outlines stand out.
    """
    size = pixel_size(voxel_size)
    black, white = limits or gray_limits(image)
    white = black + dim * (white - black)
    aspect = 1.0 if size is None else size[0] / size[1]
    # Labels can be handed in as raw; bool cannot be shown in grey otherwise.
    shown = np.asarray(image, np.float32)
    if dim > 1:
        shown = np.minimum(shown, black + (white - black) / dim)
    axes.imshow(shown, cmap="gray", vmin=black, vmax=white, aspect=aspect)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title)
    if bar and size is not None:
        scale_bar(axes, image.shape[1], size[1])

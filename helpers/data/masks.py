"""Instance labels and binary masks, each made from the other.

A network that predicts foreground merges cells that touch. Masks in which borders between touching cells are eroded by
``boundary_width`` on each side teach it to leave a gap; borders with the background or the image's edge are not::

    labels   1 1 1 1 2 2 2 2 0 0         one voxel = 0.5 µm
    binary   1 1 1 0 0 1 1 1 0 0         boundary_width = 0.5 µm
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np
from scipy import ndimage

from helpers.data.calibration import spacing_of
from helpers.errors import InputError


def binary_from_instances(
    labels: np.ndarray, *, voxel_size: Sequence[float] | None, boundary_width: float = 0.0
) -> np.ndarray:
    """Return the foreground of `labels`, borders between touching cells eroded.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) integer ndarray
        Instances, 0 is background.
    voxel_size : (z, y, x) or (y, x) in µm
    boundary_width : float
        µm. A voxel whose centre lies this near to the centre of a voxel of another cell becomes background,
        on both sides. Distances are physical: with a width below the z spacing only interfaces within a
        slice are eroded. 0 gives ``labels > 0``.

    Returns
    -------
    bool ndarray, the shape of `labels`

    Raises
    ------
    InputError
        `boundary_width` is negative, or so small that no voxel lies that near to another.
    """
    labels = np.asarray(labels)
    if labels.ndim not in (2, 3) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            "labels", f"{labels.dtype} of shape {labels.shape}", "give integer labels (Z, Y, X) or (Y, X)"
        )
    if not (math.isfinite(boundary_width) and boundary_width >= 0):
        raise InputError("boundary_width", boundary_width, "a width in µm, 0 or more")
    if boundary_width == 0:
        return labels > 0
    spacing = spacing_of(voxel_size, labels.ndim)
    if boundary_width < min(spacing) * (1 - 1e-6):
        raise InputError(
            "boundary_width",
            boundary_width,
            f"is less than one voxel and would erode nothing: 0, or at least {min(spacing):g} µm",
        )
    stack = labels if labels.ndim == 3 else labels[None]
    if stack.dtype.itemsize > 4 or not stack.dtype.isnative:
        stack = stack.astype(np.int64)
    offsets = _offsets_within(boundary_width, spacing)
    return _erode_borders(np.ascontiguousarray(stack), offsets).reshape(labels.shape)


def erosion_reach(boundary_width: float, voxel_size: Sequence[float] | None) -> tuple[int, ...]:
    """Return how many voxels away a cell can still erode another, along z, y and x."""
    if boundary_width == 0:
        return 0, 0, 0
    return tuple(int(boundary_width * (1 + 1e-6) / s) for s in spacing_of(voxel_size, 3))


def instances_from_binary(binary: np.ndarray) -> np.ndarray:
    """Return the components of `binary`, connected through faces, as int32 labels from 1."""
    mask = np.asarray(binary) != 0
    labels = np.empty(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    return labels


def _offsets_within(radius: float, spacing: tuple[float, ...]) -> np.ndarray:
    """Voxel offsets (n, 3) no longer than `radius` µm, nearest first: most searches end at the first few."""
    spacing = (math.inf,) * (3 - len(spacing)) + spacing  # 2D: nothing above or below
    reach = tuple(int(radius * (1 + 1e-6) / s) for s in spacing)
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    lengths = np.sqrt(((grid * np.where(np.isinf(spacing), 0, spacing)) ** 2).sum(1))
    near = (lengths > 0) & (lengths <= radius * (1 + 1e-6))
    return grid[near][np.argsort(lengths[near], kind="stable")].astype(np.int64)


@numba.njit(nogil=True, cache=True)
def _erode_borders(labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    depth, height, width = labels.shape
    kept = np.zeros(labels.shape, np.bool_)
    for row in range(depth * height):
        z, y = row // height, row % height
        for x in range(width):
            own = labels[z, y, x]
            if own == 0:
                continue
            alone = True
            for k in range(offsets.shape[0]):
                w, v, u = z + offsets[k, 0], y + offsets[k, 1], x + offsets[k, 2]
                if 0 <= w < depth and 0 <= v < height and 0 <= u < width:
                    other = labels[w, v, u]
                    if other != 0 and other != own:
                        alone = False
                        break
            kept[z, y, x] = alone
    return kept

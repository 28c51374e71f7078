"""Which cells of a frame are kept: neither too small nor too large, and at least half of them in the tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from helpers.data.calibration import spacing_of
from helpers.errors import InputError


def voxel_counts(
    labels: NDArray, mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return how many voxels each label has, and how many of them lie in the tissue.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) ndarray of int
    mask : ndarray of bool, optional
        The tissue, of as many voxels; None: everywhere.

    Raises
    ------
    InputError
        If the mask is of another size.
    """
    counts = np.bincount(labels.ravel())
    if mask is None:
        return counts, counts
    if np.size(mask) != labels.size:
        raise InputError("mask", np.shape(mask), f"the shape of the frame, {labels.shape}")
    return counts, np.bincount(labels[np.reshape(mask, labels.shape)], minlength=len(counts))


def kept_cells(
    counts: NDArray,
    inside: NDArray,
    voxel_size: Sequence[float] | None,
    *,
    planar: bool,
    smallest: float | None = None,
    largest: float | None = None,
) -> NDArray[np.bool_]:
    """Return which labels are kept.

    Parameters
    ----------
    counts, inside : (n,) ndarray of int
        Of `voxel_counts`.
    voxel_size : sequence of float
        (z, y, x) in µm.
    planar : bool
        Whether the frame has one slice: sizes are then areas.
    smallest, largest : float, optional
        µm³ (µm² where planar); None: any.

    Returns
    -------
    (n,) ndarray of bool
        The first, of the background where `counts` has one, is for the caller to take out.
    """
    keep = (counts > 0) & (2 * inside >= counts)
    size = counts * float(np.prod(spacing_of(voxel_size, 2 if planar else 3)))
    if smallest is not None:
        keep &= size >= smallest
    if largest is not None:
        keep &= size <= largest
    return keep


def renumbered(labels: NDArray, keep: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the labels with those kept numbered 1…n in their order, and the others, and 0, as 0."""
    ids = np.zeros(len(keep), np.int32)
    chosen = np.flatnonzero(keep[1:]) + 1
    ids[chosen] = np.arange(1, len(chosen) + 1)
    return ids[labels]

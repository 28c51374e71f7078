"""Slices segmented one by one become a stack: a cell goes on where it overlaps one of the slice before.

A cell goes on with the cell before it of the highest IoU, among those whose best follower it is, so a chain does not
branch::

    slice z      AAAA  BB        C is A's best follower, and goes on with it
    slice z+1    CCCC DDDD       B–D: IoU too low, D begins a new cell

It is the rule of ``cellpose.utils.stitch3D``, which fills a matrix of all cells so far for every slice, and begins to count
anew after an early empty slice, which makes one cell of two; neither is done here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError


def stitch_slices(slices: Sequence[NDArray] | NDArray, iou_threshold: float = 0.25) -> NDArray[np.int32]:
    """Join the labels of consecutive slices.

    Parameters
    ----------
    slices : sequence of ndarray of int, (Y, X)
        Labels of each slice, numbered independently.
    iou_threshold : float
        Least intersection over union of two outlines that are one cell.

    Returns
    -------
    ndarray of int32, (Z, Y, X)
        Labels 1…n in the order of their first slices.

    Raises
    ------
    InputError
        If the threshold is not between 0 and 1.
    """
    if not 0 < iou_threshold <= 1:
        raise InputError("stitch_threshold", iou_threshold, "above 0 and at most 1")
    result = np.zeros((len(slices), *slices[0].shape), np.int32)
    n_cells = 0
    for z, labels in enumerate(slices):
        own = np.bincount(labels.ravel())
        own[:1] = 0  # background
        ids = np.zeros(len(own), np.int32)
        if z:
            before, here = _joined(result[z - 1], labels, own, iou_threshold)
            ids[here] = before
        new = np.flatnonzero((ids == 0) & (own > 0))
        ids[new] = np.arange(n_cells + 1, n_cells + len(new) + 1)
        n_cells += len(new)
        result[z] = ids[labels]
    return result


def _joined(before: NDArray, here: NDArray, own: NDArray, iou_threshold: float) -> NDArray:
    """Return (2, n) labels of two slices that are one cell; of equal labels of the second, the last pair counts."""
    both = (before > 0) & (here > 0)
    pairs, shared = np.unique(np.stack([before[both], here[both]]), axis=1, return_counts=True)
    sizes = np.bincount(before.ravel())
    iou = shared / (sizes[pairs[0]] + own[pairs[1]] - shared)
    best = np.zeros(len(sizes))
    np.maximum.at(best, pairs[0], iou)
    kept = np.flatnonzero((iou >= iou_threshold) & (iou == best[pairs[0]]))
    # Of several cells before it the one with the highest IoU comes last; of equals the first.
    return pairs[:, kept[np.lexsort((-pairs[0][kept], iou[kept]))]]

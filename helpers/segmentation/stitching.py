"""Slices segmented one by one become a stack: cells are joined with those they overlap in the slice before.

Two cells are joined where each is the other's best overlap and their IoU reaches the threshold, so a chain never
branches::

    slice z      AAAA  BB        A–C: best for both, joined
    slice z+1    CCCC DDDD       B–D: IoU too low, D begins a new cell
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError


def stitch_slices(slices: Sequence[NDArray], iou_threshold: float = 0.25) -> NDArray[np.int32]:
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
        ids = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        if z:
            for before, here in _mutual_best(result[z - 1], labels, iou_threshold):
                ids[here] = before
        new = np.setdiff1d(np.unique(labels), np.append(np.flatnonzero(ids), 0))
        ids[new] = np.arange(n_cells + 1, n_cells + len(new) + 1)
        n_cells += len(new)
        result[z] = ids[labels]
    return result


def _mutual_best(before: NDArray, here: NDArray, iou_threshold: float) -> list[tuple[int, int]]:
    both = (before > 0) & (here > 0)
    pairs, shared = np.unique(np.stack([before[both], here[both]]), axis=1, return_counts=True)
    if shared.size == 0:
        return []
    size_before, size_here = np.bincount(before.ravel()), np.bincount(here.ravel())
    iou = shared / (size_before[pairs[0]] + size_here[pairs[1]] - shared)
    order = np.argsort(-iou, kind="stable")
    first_before = _first_seen(pairs[0][order])
    first_here = _first_seen(pairs[1][order])
    chosen = order[first_before & first_here & (iou[order] >= iou_threshold)]
    return [(int(a), int(b)) for a, b in pairs[:, chosen].T]


def _first_seen(values: NDArray) -> NDArray[np.bool_]:
    seen = np.zeros(len(values), bool)
    seen[np.unique(values, return_index=True)[1]] = True
    return seen

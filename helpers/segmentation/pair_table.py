"""A table of pairs of labels for compiled loops: how often each was met, and the sum of its values.

Keys, counts and sums are three arrays, and a loop goes on with larger ones when they are half full::

    at = slot(keys, (low << 32) | high)
    counts[at] += 1
    sums[at] += value
    if counts[at] == 1:
        used += 1
        if 2 * used > keys.size:
            keys, counts, sums = doubled(keys, counts, sums)

Where arrays change hands numba counts their references, which may take five times as long as all the rest: never let that
happen once a voxel. A loop in which it does goes row by row (`helpers.segmentation.regions.contacts`).
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Of a key that is none.
FREE = -1


@njit(cache=True, nogil=True)
def new_table(size: int) -> Any:
    """Return keys, counts and sums of an empty table; `size` is a power of two."""
    return np.full(size, FREE, np.int64), np.zeros(size, np.int64), np.zeros(size, np.float64)


@njit(cache=True, nogil=True)
def slot(keys: Any, key: Any) -> Any:
    """Return where a key ≥ 0 is; one that is new is put there."""
    mask = keys.size - 1
    # The low bits of a product know the low bits of its factors only: the high ones are mixed in.
    mixed = key * np.int64(0x9E3779B97F4A7C1)
    at = (mixed ^ (mixed >> 32)) & mask
    while keys[at] != FREE and keys[at] != key:
        at = (at + 1) & mask
    keys[at] = key
    return at


@njit(cache=True, nogil=True)
def doubled(keys: Any, counts: Any, sums: Any) -> Any:
    """Return a table of twice the size that holds the same."""
    more_keys, more_counts, more_sums = new_table(2 * keys.size)
    for k in range(keys.size):
        if keys[k] != FREE:
            at = slot(more_keys, keys[k])
            more_counts[at], more_sums[at] = counts[k], sums[k]
    return more_keys, more_counts, more_sums


def overlapping(one: NDArray, other: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return the labels above 0 of two arrays of one shape that share voxels, ascending, and how many they share.

    Runs of voxels are counted, not voxels: for labels of cells that takes half the time of `shared`.
    """
    a, b = one.ravel(), other.ravel()
    starts = np.flatnonzero(
        np.concatenate([np.ones(min(a.size, 1), bool), (a[1:] != a[:-1]) | (b[1:] != b[:-1])])
    )
    lengths = np.diff(starts, append=a.size)
    both = (a[starts] > 0) & (b[starts] > 0)
    starts = starts[both]
    keys, at = np.unique((a[starts].astype(np.int64) << 32) | b[starts], return_inverse=True)
    counts = np.bincount(at, weights=lengths[both], minlength=len(keys)).astype(np.int64)
    return keys >> 32, keys & 0xFFFFFFFF, counts


@njit(cache=True, nogil=True)
def shared(one: Any, other: Any) -> Any:
    """Return the pairs of labels above 0 that stand at the same places of two raveled arrays, and at how many.

    Pairs are ``label << 32 | label``, unordered.
    """
    keys, counts, sums = new_table(1024)
    used, at, before = 0, 0, np.int64(FREE)
    for i in range(one.size):
        if one[i] <= 0 or other[i] <= 0:
            continue
        key = (np.int64(one[i]) << 32) | np.int64(other[i])
        if key != before:  # rows hold runs of the same pair
            at, before = slot(keys, key), key
        counts[at] += 1
        if counts[at] == 1:
            used += 1
            if 2 * used > keys.size:
                keys, counts, sums = doubled(keys, counts, sums)
                before = np.int64(FREE)
    filled = keys != FREE
    return keys[filled], counts[filled]

"""Steepest descent: most voxels of a watershed need no queue.

Where the lowest neighbour of a voxel is lower than it, and leads down to a marker in the same way, the flood comes
from there: the neighbour leaves the queue before all others, and the voxel is its marker's::

    height   ╲         ╱╲        ╱      a a a a ? ? ? b b b b
              ╲   ╭╮  ╱  ╲      ╱       only the hollow without a marker, the plateaus and
               ╲_╱  ╲╱    ╲____╱        what equally low neighbours dispute is left to the queue
                a    ?       b

Each path is walked once, cells lie side by side in memory, and all cores can walk.
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import get_num_threads, njit

from helpers.segmentation.watershed.neighbourhood import longer, neighbours_of

#: A voxel whose path leads to no marker, while others are walked.
_LEFT = -(1 << 31) + 1
#: Voxels from which on a second core is worth its start.
_MANY = 1 << 16


def label_by_descent(
    keys: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], zero: int, descending: bool
) -> int:
    """Label all voxels that are 0 and lead down to a marker, in place; return how many are left.

    Parameters
    ----------
    keys : ndarray of integers, raveled
        The elevation map (see `height_of`).
    labels : ndarray of int32, raveled
        Markers > 0, to be flooded 0, all else < 0.
    shape : tuple
        (Z, Y, X).
    zero, descending
        See `height_of`.
    """
    n = min(get_num_threads(), max(1, labels.size // _MANY))
    edges = np.linspace(0, labels.size, n + 1).astype(int)
    # Paths cross from one part into the other; what two cores write to a voxel is the same.
    with ThreadPoolExecutor(n) as pool:
        list(
            pool.map(lambda k: _walk(keys, labels, shape, zero, descending, edges[k], edges[k + 1]), range(n))
        )
    return int(_reopen(labels))


@njit(cache=True, nogil=True, inline="always")
def height_of(raw: Any, zero: int, descending: bool) -> Any:
    """Order the bits of floats like the floats (sign and magnitude; both zeros are one), integers as they are."""
    value = np.int64(raw)
    if zero and value < 0:
        value = zero - value
    return -value if descending else value


@njit(cache=True, nogil=True)
def _walk(keys: Any, labels: Any, shape: Any, zero: int, descending: bool, begin: int, end: int) -> None:
    stack = np.empty(1024, np.int64)
    neighbours = np.empty(6, np.int64)
    for start in range(begin, end):
        if labels[start] != 0:
            continue
        stack[0] = start
        n = 1
        while n > 0:
            i = stack[n - 1]
            if labels[i] != 0:
                n -= 1
                continue
            neighbours_of(i, shape, neighbours)
            lowest = height_of(keys[i], zero, descending)
            label = np.int32(_LEFT)
            ahead = np.int64(-1)
            for k in range(6):
                j = neighbours[k]
                its = labels[j]
                if its < 0 and its != _LEFT:
                    continue
                height = height_of(keys[j], zero, descending)
                if height < lowest:
                    lowest = height
                    label = its
                    ahead = j if its == 0 else np.int64(-1)
                elif height == lowest and j != i and label != _LEFT:
                    # Equally low: both must be known, and of one label.
                    if its == 0:
                        ahead = j
                    elif label == 0:
                        continue
                    elif its != label:
                        label = np.int32(_LEFT)
                        ahead = np.int64(-1)
            if ahead < 0:
                labels[i] = label
                n -= 1
                continue
            if n == stack.size:
                stack = longer(stack, n)
            stack[n] = ahead
            n += 1


@njit(cache=True, nogil=True)
def _reopen(labels: Any) -> int:
    n = 0
    for i in range(labels.size):
        if labels[i] == _LEFT:
            labels[i] = 0
            n += 1
    return n

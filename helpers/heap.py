"""A binary heap in two arrays, keys and entries, for compiled code: of equal keys the smaller entry comes first."""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def push(heap_key: Any, heap_entry: Any, n: int, key: int, entry: int) -> None:
    """Add to a heap of `n` entries; the arrays have room for one more."""
    i = n
    while i > 0:
        parent = (i - 1) >> 1
        if key > heap_key[parent] or (key == heap_key[parent] and entry > heap_entry[parent]):
            break
        heap_key[i] = heap_key[parent]
        heap_entry[i] = heap_entry[parent]
        i = parent
    heap_key[i] = key
    heap_entry[i] = entry


@njit(cache=True, nogil=True)
def pop(heap_key: Any, heap_entry: Any, n: int) -> None:
    """Remove the first of a heap's `n` entries, which is ``heap_key[0], heap_entry[0]``."""
    # Sink the hole to the bottom, then lift the last entry into place: half the comparisons.
    last = n - 1
    i = 0
    child = 1
    while child + 1 < last:
        child += np.int64(
            (heap_key[child + 1] < heap_key[child])
            | ((heap_key[child + 1] == heap_key[child]) & (heap_entry[child + 1] < heap_entry[child]))
        )
        heap_key[i] = heap_key[child]
        heap_entry[i] = heap_entry[child]
        i = child
        child = 2 * i + 1
    if child < last:
        heap_key[i] = heap_key[child]
        heap_entry[i] = heap_entry[child]
        i = child
    push(heap_key, heap_entry, i, heap_key[last], heap_entry[last])

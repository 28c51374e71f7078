"""Connected components of what a watershed has to flood, as runs of voxels along x."""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline="always")
def _takes_part(labels: Any, i: int, x: int, y: int, z: int, shape: Any) -> bool:
    """Whether a voxel is to be flooded, or touches one that is: what lies deep in a marker is neither."""
    nz, ny, nx = shape
    if labels[i] <= 0:
        return labels[i] == 0
    return (
        (x > 0 and labels[i - 1] == 0)
        or (x < nx - 1 and labels[i + 1] == 0)
        or (y > 0 and labels[i - nx] == 0)
        or (y < ny - 1 and labels[i + nx] == 0)
        or (z > 0 and labels[i - ny * nx] == 0)
        or (z < nz - 1 and labels[i + ny * nx] == 0)
    )


@njit(cache=True, nogil=True)
def count_runs(labels: Any, shape: Any) -> int:
    """Count the runs along x of voxels that take part."""
    nz, ny, nx = shape
    n = 0
    for row in range(nz * ny):
        before = False
        for x in range(nx):
            inside = _takes_part(labels, row * nx + x, x, row % ny, row // ny, shape)
            n += inside and not before
            before = inside
    return n


@njit(cache=True, nogil=True)
def _root(parent: Any, run: int) -> Any:
    while parent[run] != run:
        parent[run] = parent[parent[run]]
        run = np.int64(parent[run])
    return run


@njit(cache=True, nogil=True)
def components(labels: Any, shape: Any, n_runs: int) -> Any:
    """Cut what takes part into runs along x and join them: (first voxel, voxel behind the last, component) of each."""
    nz, ny, nx = shape
    start = np.empty(n_runs, np.int32)
    stop = np.empty(n_runs, np.int32)
    parent = np.empty(n_runs, np.int32)
    first = np.empty(nz * ny + 1, np.int32)
    n = 0
    for row in range(nz * ny):
        first[row] = n
        before = False
        for x in range(nx):
            i = row * nx + x
            inside = _takes_part(labels, i, x, row % ny, row // ny, shape)
            if inside and not before:
                start[n] = i
                parent[n] = n
                n += 1
            if inside:
                stop[n - 1] = i + 1
            before = inside
        first[row + 1] = n
        for step in (1, ny):
            if (step == 1 and row % ny == 0) or row < step:
                continue
            a, b = np.int64(first[row - step]), np.int64(first[row])
            shift = step * nx
            while a < first[row - step + 1] and b < n:
                if stop[a] + shift > start[b] and start[a] + shift < stop[b]:
                    root_a, root_b = _root(parent, a), _root(parent, b)
                    if root_a < root_b:
                        parent[root_b] = root_a
                    else:
                        parent[root_a] = root_b
                if stop[a] + shift < stop[b]:
                    a += 1
                else:
                    b += 1
    count = 0
    for k in range(n_runs):
        # A root comes before all that hang on it.
        if parent[k] == k:
            parent[k] = count
            count += 1
        else:
            parent[k] = parent[parent[k]]
    return start, stop, parent

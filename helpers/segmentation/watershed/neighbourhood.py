"""What loops over raveled voxels share: the neighbours of one, and arrays that grow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline="always")
def neighbours_of(i: Any, shape: Any, neighbours: Any) -> None:
    """Write the positions of a voxel's six neighbours into an array, in scikit-image's order; `i` where there is none."""
    nz, ny, nx = shape
    plane = ny * nx
    row = i // nx
    x = i - row * nx
    z = row // ny
    y = row - z * ny
    neighbours[0] = i - plane if z > 0 else i
    neighbours[1] = i - nx if y > 0 else i
    neighbours[2] = i - 1 if x > 0 else i
    neighbours[3] = i + 1 if x < nx - 1 else i
    neighbours[4] = i + nx if y < ny - 1 else i
    neighbours[5] = i + plane if z < nz - 1 else i


@njit(cache=True, nogil=True)
def longer(array: Any, by: int) -> Any:
    """Return a longer array that begins with what is in this one."""
    new = np.empty(array.size + by, array.dtype)
    new[: array.size] = array
    return new

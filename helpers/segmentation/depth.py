"""How deep a voxel lies inside its region: chamfer distances, in two bytes a voxel.

A chamfer transform (Borgefors, Comput. Vis. Graph. Image Process. 34, 1986) sweeps twice over the 26 neighbours
with their true anisotropic distances. It exceeds the Euclidean distance by less than a tenth on nearly isotropic
voxels and costs time only where the regions are.
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numba import get_num_threads, njit

#: Depths are stored as multiples of the smallest voxel side divided by this.
_STEPS_PER_VOXEL = 16
#: Rows of a plane that one core sweeps at a time.
_ROWS = 32


def depth_unit(spacing: tuple[float, float, float]) -> float:
    """Return the length in µm of one step of depth."""
    return min(spacing) / _STEPS_PER_VOXEL


def depth_inside(
    array: np.ndarray, low: int, high: int, spacing: tuple[float, float, float], dtype: type = np.uint16
) -> np.ndarray:
    """Return how deep inside a region every voxel lies: the length of the shortest way out.

    Parameters
    ----------
    array : ndarray, (Z, Y, X)
    low, high : int
        The region is where the array is from `low` to `high`. The volume's faces are no way out.
    spacing : tuple of float
        Voxel size (z, y, x), µm.
    dtype : {np.uint16, np.uint8}
        Of the depths; both end where their range ends.

    Returns
    -------
    ndarray of `dtype`, (Z, Y, X)
        In steps of `depth_unit`; 0 outside, the largest value where there is no way out (or it is longer).
    """
    steps, lengths = _chamfer(array.shape, spacing)
    depth = np.empty(array.shape, dtype)
    far = np.iinfo(dtype).max
    for sign in (1, -1):
        _sweep(array, low, high, depth, sign * steps, lengths, far)
    return depth


def depth_of_regions(labels: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Return the depth of every region at once: where two regions touch is a way out of both.

    Parameters
    ----------
    labels : ndarray of int32, (Z, Y, X)
        As in `helpers.segmentation.regions`: a label and -1 - label are one region, 0 is one,
        and -1 is outside of all.
    spacing : tuple of float
        Voxel size (z, y, x), µm.

    Returns
    -------
    ndarray of uint16, (Z, Y, X)
        As `depth_inside`.
    """
    steps, lengths = _chamfer(labels.shape, spacing)
    depth = np.empty(labels.shape, np.uint16)
    n_planes, n_bands, n_cores = labels.shape[0], -(-labels.shape[1] // _ROWS), get_num_threads()
    with ThreadPoolExecutor(n_cores) as pool:
        for sign in (1, -1):
            sweep = partial(_sweep_regions, labels, depth, sign * steps, lengths)
            # A band of rows needs the band before it, and in the plane before it the band behind it too:
            # those of one diagonal do not need each other, and all cores sweep them.
            for diagonal in range(2 * n_planes + n_bands - 2):
                planes = np.arange(
                    max(0, -(-(diagonal - n_bands + 1) // 2)), min(n_planes, diagonal // 2 + 1)
                )
                shares = [planes[core::n_cores] for core in range(min(n_cores, len(planes)))]
                list(pool.map(partial(sweep, diagonal), shares))
    return depth


def _chamfer(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the 13 neighbours that come before a voxel (fewer in a plane), and how far they are."""
    offsets = [(z, y, x) for z in (-1, 0) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) < (0, 0, 0)]
    steps = np.array([o for o in offsets if all(o[k] == 0 or shape[k] > 1 for k in range(3))], np.int64)
    steps = steps.reshape(-1, 3)
    lengths = np.sqrt(((steps * np.asarray(spacing)) ** 2).sum(1)) / depth_unit(spacing)
    return steps, np.minimum(np.round(lengths), np.iinfo(np.uint16).max).astype(np.int64)


@njit(cache=True, nogil=True)
def _row_steps(
    steps: Any, lengths: Any, z: int, y: int, shape: Any, near: Any, aside: Any, length: Any
) -> Any:
    """Keep the steps that lead from a row into the volume: as positions (raveled), along x, and lengths."""
    nz, ny, nx = shape
    n = 0
    for k in range(lengths.size):
        if 0 <= z + steps[k, 0] < nz and 0 <= y + steps[k, 1] < ny:
            near[n] = (steps[k, 0] * ny + steps[k, 1]) * nx + steps[k, 2]
            aside[n] = steps[k, 2]
            length[n] = lengths[k]
            n += 1
    return n


@njit(cache=True, nogil=True)
def _sweep(array: Any, low: int, high: int, depth: Any, steps: Any, lengths: Any, far: int) -> None:
    """Sweep towards the steps' origin; the first of two sweeps goes forward and sets the background."""
    nz, ny, nx = array.shape
    backward = steps.size > 0 and (steps[0, 0] > 0 or steps[0, 1] > 0 or steps[0, 2] > 0)
    flat, flat_depth = array.reshape(-1), depth.reshape(-1)
    near, aside, length = np.empty(13, np.int64), np.empty(13, np.int64), np.empty(13, np.int64)
    for a in range(nz * ny):
        row = nz * ny - 1 - a if backward else a
        n = _row_steps(steps, lengths, row // ny, row % ny, array.shape, near, aside, length)
        for c in range(nx):
            x = nx - 1 - c if backward else c
            i = row * nx + x
            if not low <= flat[i] <= high:
                flat_depth[i] = 0
                continue
            shortest = np.int64(flat_depth[i]) if backward else np.int64(far)
            at_end = x == 0 or x == nx - 1
            for k in range(n):
                if length[k] < shortest and not (at_end and not 0 <= x + aside[k] < nx):
                    shortest = min(shortest, np.int64(flat_depth[i + near[k]]) + length[k])
            flat_depth[i] = shortest


@njit(cache=True, nogil=True)
def _sweep_regions(labels: Any, depth: Any, steps: Any, lengths: Any, diagonal: int, planes: Any) -> None:
    """Sweep one band of rows of each of the planes: the one on the diagonal; planes and bands count from the start."""
    nz, ny, nx = labels.shape
    backward = steps.size > 0 and (steps[0, 0] > 0 or steps[0, 1] > 0 or steps[0, 2] > 0)
    flat, flat_depth = labels.reshape(-1), depth.reshape(-1)
    near, aside, length = np.empty(13, np.int64), np.empty(13, np.int64), np.empty(13, np.int64)
    for plane in planes:
        band = diagonal - 2 * plane
        for a in range(plane * ny + band * _ROWS, plane * ny + min(ny, (band + 1) * _ROWS)):
            row = nz * ny - 1 - a if backward else a
            n = _row_steps(steps, lengths, row // ny, row % ny, labels.shape, near, aside, length)
            for c in range(nx):
                x = nx - 1 - c if backward else c
                i = row * nx + x
                label = flat[i]
                if label == -1:
                    flat_depth[i] = 0
                    continue
                # Left-over foreground (0) has no part outside the foreground.
                beyond = label if label == 0 else -1 - label
                shortest = np.int64(flat_depth[i]) if backward else np.int64(65535)
                at_end = x == 0 or x == nx - 1
                for k in range(n):
                    if length[k] >= shortest or (at_end and not 0 <= x + aside[k] < nx):
                        continue
                    other = flat[i + near[k]]
                    same = (other == label) | (other == beyond)
                    shortest = min(shortest, length[k] + np.int64(same) * np.int64(flat_depth[i + near[k]]))
                flat_depth[i] = shortest

"""3D stars as voxels: how large they are, and which voxels of a row are theirs.

Suppression and rendering both go through a star's box row by row, and look up each voxel in the table of rays
(`helpers.models.stardist.table`). A row of voxels is one bit each, so that counting what two stars share is ``&`` and a
count of ones.
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import get_num_threads, njit
from numpy.typing import NDArray

from helpers.models.stardist.table import is_inside


@dataclass(frozen=True)
class Stars:
    """Stars and what is known of each.

    Attributes
    ----------
    points : ndarray of int64, (n, 3)
        Centres in voxels.
    distances : ndarray of float32, (n, rays)
        Lengths of the rays in voxels.
    volumes : ndarray of float64, (n,)
        Volumes of the polyhedra in voxels.
    boxes : ndarray of int32, (n, 6)
        First and last voxel along z, y and x: z0, z1, y0, y1, x0, x1, both inside.
    inner, outer : ndarray of float64, (n,)
        Radii of the largest sphere inside and the smallest outside around the centre, with axes scaled by `scale`.
    scale : ndarray of float64, (3,)
        Makes stars as long along each axis.
    """

    points: NDArray[np.int64]
    distances: NDArray[np.float32]
    volumes: NDArray[np.float64]
    boxes: NDArray[np.int32]
    inner: NDArray[np.float64]
    outer: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def extent(self) -> NDArray[np.int64]:
        """How far they reach from their centres along z, y and x."""
        before, after = self.points - self.boxes[:, ::2], self.boxes[:, 1::2] - self.points
        return np.maximum(before, after).max(axis=0, initial=0) + 1

    @property
    def arrays(self) -> tuple[NDArray, ...]:
        """What compiled functions take."""
        return (
            self.points,
            self.distances,
            self.volumes,
            self.boxes,
            self.inner,
            self.outer,
            self.scale,
        )


def measure(distances: NDArray, points: NDArray, rays: Any) -> Stars:
    """Measure volumes, bounding boxes and spheres of stars.

    Parameters
    ----------
    distances : ndarray of float, (n, rays)
        Lengths of the rays, in voxels.
    points : ndarray of int, (n, 3)
        Centres, in voxels.
    rays : stardist.rays3d.Rays_Base
        Directions and faces.
    """
    n = len(points)
    scale = np.asarray(rays.kwargs.get("anisotropy") or (1, 1, 1), float)
    stars = Stars(
        points=np.ascontiguousarray(points, np.int64),
        distances=np.ascontiguousarray(distances, np.float32),
        volumes=np.empty(n),
        boxes=np.empty((n, 6), np.int32),
        inner=np.empty(n),
        outer=np.empty(n),
        scale=scale / scale.min(),
    )
    vertices, faces = rays.vertices.astype(np.float32), rays.faces.astype(np.int64)
    in_parts(lambda start, stop: _measure(*stars.arrays, vertices, faces, start, stop), n)
    return stars


def in_parts(work: Callable[[int, int], object], n: int, smallest: int = 64) -> None:
    """Run ``work(start, stop)`` over the parts of a range, on all of numba's threads."""
    threads = max(1, min(get_num_threads(), n // smallest))
    if threads == 1:
        work(0, n)
        return
    # More parts than threads: the work of stars differs.
    edges = np.linspace(0, n, 1 + min(8 * threads, n // smallest)).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1].tolist(), edges[1:].tolist()))


@njit(cache=True, nogil=True)
def _measure(points, distances, volumes, boxes, inner, outer, scale, vertices, faces, start, stop):  # type: ignore[no-untyped-def]
    corner = np.empty((3, 3))
    for i in range(start, stop):
        for axis in range(3):
            low, high = np.inf, -np.inf
            for k in range(len(vertices)):
                at = np.rint(np.float32(points[i, axis]) + distances[i, k] * vertices[k, axis])
                low, high = min(low, at), max(high, at)
            boxes[i, 2 * axis], boxes[i, 2 * axis + 1] = int(low), int(high)
        farthest = 0.0
        for k in range(len(vertices)):
            squared = 0.0
            for axis in range(3):
                squared += (scale[axis] * distances[i, k] * vertices[k, axis]) ** 2
            farthest = max(farthest, squared)
        volume, nearest = 0.0, np.inf
        for f in range(len(faces)):
            for k in range(3):
                ray = faces[f, k]
                for axis in range(3):
                    corner[k, axis] = scale[axis] * distances[i, ray] * vertices[ray, axis]
            # Normal of the face, outwards as StarDist orders its corners.
            nz = (corner[1, 2] - corner[0, 2]) * (corner[2, 1] - corner[0, 1]) - (
                corner[1, 1] - corner[0, 1]
            ) * (corner[2, 2] - corner[0, 2])
            ny = (corner[1, 0] - corner[0, 0]) * (corner[2, 2] - corner[0, 2]) - (
                corner[1, 2] - corner[0, 2]
            ) * (corner[2, 0] - corner[0, 0])
            nx = (corner[1, 1] - corner[0, 1]) * (corner[2, 0] - corner[0, 0]) - (
                corner[1, 0] - corner[0, 0]
            ) * (corner[2, 1] - corner[0, 1])
            height = corner[0, 0] * nz + corner[0, 1] * ny + corner[0, 2] * nx
            volume += height / 6
            nearest = min(nearest, height / (np.sqrt(nz * nz + ny * ny + nx * nx) + 1e-10))
        volumes[i] = volume / (scale[0] * scale[1] * scale[2])
        inner[i], outer[i] = nearest, np.sqrt(farthest)


@njit(cache=True, nogil=True)
def chord(j, z, y, points, boxes, outer, scale):  # type: ignore[no-untyped-def]
    """Return the first and last x of a row that a star's outer sphere and box leave."""
    dz, dy = scale[0] * (z - points[j, 0]), scale[1] * (y - points[j, 1])
    rest = outer[j] * outer[j] * (1 + 1e-6) - dz * dz - dy * dy
    if rest < 0:
        return 0, -1
    half = int(np.sqrt(rest) / scale[2])
    return max(boxes[j, 4], points[j, 2] - half), min(boxes[j, 5], points[j, 2] + half)


@njit(cache=True, nogil=True)
def draw_row(row, j, z, y, points, boxes, outer, scale, table, inverse):  # type: ignore[no-untyped-def]
    """Set the bits of a star's voxels in one row of its box."""
    dz, dy = z - points[j, 0], y - points[j, 1]
    x0, x1 = chord(j, z, y, points, boxes, outer, scale)
    first = (boxes[j, 4] >> 6) << 6
    face = 0
    for x in range(x0, x1 + 1):
        inside, face = is_inside(table, inverse, face, dz, dy, x - points[j, 2])
        if inside:
            at = x - first
            row[at >> 6] |= np.uint64(1) << np.uint64(at & 63)


@njit(cache=True, nogil=True, inline="always")
def count_ones(word):  # type: ignore[no-untyped-def]
    """Count a word's bits."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))

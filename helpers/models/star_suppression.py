"""Non-maximum suppression of 3D stars: StarDist's rule, counted on voxels that are looked up.

From the most probable down, a star is suppressed by any survivor with which it shares more than a threshold of the
smaller one's volume. StarDist's ``non_maximum_suppression_3d_inds`` asks, for every pair, first spheres and bounding
boxes, then the kernels and convex hulls (an intersection of half-spaces each, by Qhull), and counts common voxels
last. Here the spheres and boxes are asked as there, and then the voxels are counted at once::

    survivors so far       bits of their voxels, one row of x in a word or two
         │
    a star, plane by plane from its centre: bits from the table, & with each neighbour's, counted;
         │                 out as soon as one shares too much
         ▼
    stars are taken in batches: all against the survivors before the batch (all cores), then the rest of the
    batch among itself, in order

What survives is therefore StarDist's but for pairs about which its kernels and hulls, which measure continuous
volumes, decide otherwise than its own last rule, the count of voxels; and for its spheres, whose anisotropy StarDist
takes from the mean of all candidates (so that what survives depends on those below), and which here is the rays'.

References
----------
Weigert et al., Star-convex polyhedra for 3D object detection and segmentation in microscopy, WACV 2020.
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

from helpers.models.star_table import StarTable, is_inside, table_for

#: Stars in the first batch and the largest: the first holds survivors mostly, which must wait for each other.
_FIRST, _LARGEST = 128, 8192


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


def suppress(
    distances: NDArray, points: NDArray, scores: NDArray, rays: Any, threshold: float
) -> NDArray[np.bool_]:
    """Say which stars survive the non-maximum suppression.

    Parameters
    ----------
    distances : ndarray of float, (n, rays)
        Lengths of the rays, in voxels, > 0.
    points : ndarray of int, (n, 3)
        Centres, in whole voxels.
    scores : ndarray of float, (n,)
        Probabilities; of equal ones, the first goes first.
    rays : stardist.rays3d.Rays_Base
        The model's; their faces surround the centre (`helpers.models.star_table.surround`).
    threshold : float
        Part of the smaller volume that a star may share with a more probable one.

    Returns
    -------
    ndarray of bool, (n,)
        As `stardist.nms.non_maximum_suppression_3d_inds` returns them; see the head of the module for what differs.
        The same for any number of threads, and for any set of less probable stars beside.
    """
    kept = np.zeros(len(points), bool)
    if len(points) == 0:
        return kept
    order = np.argsort(-np.asarray(scores), kind="stable")
    stars = measure(np.asarray(distances)[order], np.asarray(points)[order], rays)
    table = table_for(rays, stars.extent)
    kept[order[_survivors(stars, table, float(np.float32(threshold)))]] = True
    return kept


def _survivors(stars: Stars, table: StarTable, threshold: float) -> NDArray[np.int64]:
    """Return the survivors' indices among stars in order of their probability."""
    n = len(stars.points)
    alive = np.ones(n, bool)
    first = np.zeros(n, np.int64)  # where a survivor's voxels begin
    voxels = np.zeros(0, np.uint64)
    survivors = np.zeros(0, np.int64)
    used = start = 0
    size = _FIRST
    while start < n:
        stop = min(n, start + size)
        bins = _Bins.of(stars, survivors)

        def against_before(
            a: int, b: int, start: int = start, bins: Any = bins, voxels: Any = voxels
        ) -> None:
            _test_batch(
                alive, start + a, start + b, stars.arrays, table.arrays, bins.arrays, first, voxels, threshold
            )

        in_parts(against_before, stop - start, smallest=16)
        left = start + np.flatnonzero(alive[start:stop])
        voxels = _with_room(voxels, used, used + int(_words(stars.boxes[left]).sum()))
        used = _settle(alive, left, stars.arrays, table.arrays, first, voxels, used, threshold)
        survivors = np.concatenate([survivors, left[alive[left]]])
        start, size = stop, min(2 * size, _LARGEST)
    return survivors


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


@dataclass(frozen=True)
class _Bins:
    """Survivors by the place of their centres: those in bin b are ``members[begin[b]:begin[b + 1]]``."""

    origin: NDArray[np.int64]
    size: NDArray[np.int64]
    number: NDArray[np.int64]
    begin: NDArray[np.int64]
    members: NDArray[np.int64]
    extent: NDArray[np.int64]

    @classmethod
    def of(cls, stars: Stars, survivors: NDArray[np.int64]) -> _Bins:
        points, boxes = stars.points[survivors], stars.boxes[survivors]
        if len(survivors) == 0:
            ones, none = np.ones(3, np.int64), np.zeros(0, np.int64)
            return cls(0 * ones, ones, ones, np.zeros(2, np.int64), none, ones)
        size = np.maximum(np.median(boxes[:, 1::2] - boxes[:, ::2], axis=0).astype(np.int64), 4)
        origin = points.min(axis=0)
        where = (points - origin) // size
        number = where.max(axis=0) + 1
        index = (where[:, 0] * number[1] + where[:, 1]) * number[2] + where[:, 2]
        order = np.argsort(index, kind="stable")
        begin = np.searchsorted(index[order], np.arange(np.prod(number) + 1))
        extent = np.maximum(points - boxes[:, ::2], boxes[:, 1::2] - points).max(axis=0)
        return cls(origin, size, number, begin, survivors[order], extent)

    @property
    def arrays(self) -> tuple[NDArray[np.int64], ...]:
        return self.origin, self.size, self.number, self.begin, self.members, self.extent


def _words(boxes: NDArray) -> NDArray[np.int64]:
    """Words that the voxels of boxes take, one bit each, rows beginning at a multiple of 64."""
    b = boxes.astype(np.int64)
    return (b[:, 1] - b[:, 0] + 1) * (b[:, 3] - b[:, 2] + 1) * ((b[:, 5] >> 6) - (b[:, 4] >> 6) + 1)


def _with_room(voxels: NDArray[np.uint64], used: int, needed: int) -> NDArray[np.uint64]:
    if needed <= len(voxels):
        return voxels
    larger = np.zeros(max(needed, len(voxels) * 3 // 2), np.uint64)
    larger[:used] = voxels[:used]
    return larger


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
def _common_ball(r1, r2, d):  # type: ignore[no-untyped-def]
    """Return the volume that two balls share whose centres lie so far apart."""
    if d > r1 + r2:
        return 0.0
    small, large = min(r1, r2), max(r1, r2)
    if large >= d + small - 1e-10:
        return np.pi * 4 / 3 * small**3
    t = (r1 + r2 - d) / 2 / d
    h1, h2 = (r2 - r1 + d) * t, (r1 - r2 + d) * t
    return np.pi / 3 * (h1 * h1 * (3 * r1 - h1) + h2 * h2 * (3 * r2 - h2))


#: What spheres and boxes say of a pair: shares too little, too much, or its voxels must be counted.
_APART, _OVER, _COUNT = 0, 1, 2


@njit(cache=True, nogil=True)
def _by_bounds(i, j, points, volumes, boxes, inner, outer, scale, threshold):  # type: ignore[no-untyped-def]
    box = 1.0
    for axis in range(3):
        low = max(boxes[i, 2 * axis], boxes[j, 2 * axis])
        high = min(boxes[i, 2 * axis + 1], boxes[j, 2 * axis + 1])
        if high <= low:
            return _APART
        box *= high - low
    squared = 0.0
    for axis in range(3):
        squared += (scale[axis] * (points[i, axis] - points[j, axis])) ** 2
    d = np.sqrt(squared)
    unscale = scale[0] * scale[1] * scale[2]
    smaller = min(volumes[i], volumes[j]) + 1e-10
    most = min(box, _common_ball(outer[i], outer[j], d) / unscale)
    if most < 1e-10 or min(1.0, most / smaller) <= threshold:
        return _APART
    if inner[i] > 0 and inner[j] > 0:
        least = _common_ball(inner[i], inner[j], d) / unscale
        if least / smaller > threshold:
            return _OVER
    return _COUNT


@njit(cache=True, nogil=True)
def _add_near(i, j, n, near, limits, stars, threshold):  # type: ignore[no-untyped-def]
    """Note a survivor whose shared voxels must be counted; return how many are noted, -1 if bounds suppress `j`."""
    points, _, volumes, boxes, inner, outer, scale = stars
    said = _by_bounds(i, j, points, volumes, boxes, inner, outer, scale, threshold)
    if said == _OVER:
        return -1
    if said == _COUNT:
        near[n] = i
        limits[n] = threshold * (min(volumes[i], volumes[j]) + 1e-10)
        n += 1
    return n


@njit(cache=True, nogil=True)
def _test_batch(alive, start, stop, stars, table, bins, first, voxels, threshold):  # type: ignore[no-untyped-def]
    """Suppress those of a batch that share too much with a survivor before it."""
    distances, boxes = stars[1], stars[3]
    origin, size, number, begin, members, extent = bins
    near = np.empty(len(members), np.int64)
    limits, counts = np.empty(len(members)), np.empty(len(members), np.int64)
    inverse = np.empty(distances.shape[1], np.float32)
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for j in range(start, stop):
        for axis in range(3):
            a = (boxes[j, 2 * axis] - extent[axis] - origin[axis]) // size[axis]
            b = (boxes[j, 2 * axis + 1] + extent[axis] - origin[axis]) // size[axis]
            low[axis], high[axis] = max(a, 0), min(b, number[axis] - 1)
        n = 0
        for z in range(low[0], high[0] + 1):
            for y in range(low[1], high[1] + 1):
                row = (z * number[1] + y) * number[2]
                for m in range(begin[row + low[2]], begin[row + max(high[2], low[2] - 1) + 1]):
                    n = _add_near(members[m], j, n, near, limits, stars, threshold)
                    if n < 0:
                        break
                if n < 0:
                    break
            if n < 0:
                break
        if n < 0 or (
            n > 0 and _shares_too_much(j, near[:n], limits, counts, stars, table, inverse, first, voxels)
        ):
            alive[j] = False


@njit(cache=True, nogil=True)
def _settle(alive, left, stars, table, first, voxels, used, threshold):  # type: ignore[no-untyped-def]
    """Suppress those of a batch that share too much with a survivor in it; keep the survivors' voxels."""
    points, distances, _, boxes, _, outer, scale = stars
    new, near = np.empty(len(left), np.int64), np.empty(len(left), np.int64)
    limits, counts = np.empty(len(left)), np.empty(len(left), np.int64)
    inverse = np.empty(distances.shape[1], np.float32)
    n_new = 0
    for j in left:
        n = 0
        for m in range(n_new):
            n = _add_near(new[m], j, n, near, limits, stars, threshold)
            if n < 0:
                break
        if n < 0 or (
            n > 0 and _shares_too_much(j, near[:n], limits, counts, stars, table, inverse, first, voxels)
        ):
            alive[j] = False
            continue
        new[n_new] = j
        n_new += 1
        first[j] = used
        for k in range(distances.shape[1]):
            inverse[k] = np.float32(1) / distances[j, k]
        words = (boxes[j, 5] >> 6) - (boxes[j, 4] >> 6) + 1
        for z in range(boxes[j, 0], boxes[j, 1] + 1):
            for y in range(boxes[j, 2], boxes[j, 3] + 1):
                draw_row(voxels[used : used + words], j, z, y, points, boxes, outer, scale, table, inverse)
                used += words
    return used


@njit(cache=True, nogil=True)
def _shares_too_much(j, near, limits, counts, stars, table, inverse, first, voxels):  # type: ignore[no-untyped-def]
    """Say whether a star shares more voxels with a survivor than it may; planes from its centre outwards."""
    points, distances, _, boxes, _, outer, scale = stars
    for k in range(distances.shape[1]):
        inverse[k] = np.float32(1) / distances[j, k]
    counts[: len(near)] = 0
    z0, z1, y0, y1 = boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3]
    w0 = boxes[j, 4] >> 6
    words = (boxes[j, 5] >> 6) - w0 + 1
    row = np.empty(words, np.uint64)
    for step in range(2 * (z1 - z0 + 1) + 1):
        z = points[j, 0] + ((step + 1) // 2 if step % 2 else -(step // 2))
        if z < z0 or z > z1:
            continue
        for y in range(y0, y1 + 1):
            drawn = False
            for m in range(len(near)):
                i = near[m]
                if z < boxes[i, 0] or z > boxes[i, 1] or y < boxes[i, 2] or y > boxes[i, 3]:
                    continue
                if not drawn:
                    row[:] = 0
                    draw_row(row, j, z, y, points, boxes, outer, scale, table, inverse)
                    drawn = True
                v0 = boxes[i, 4] >> 6
                wide = (boxes[i, 5] >> 6) - v0 + 1
                at = first[i] + ((z - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 2] + 1) + y - boxes[i, 2]) * wide
                for w in range(max(v0, w0), min(v0 + wide, w0 + words)):
                    counts[m] += _ones(row[w - w0] & voxels[at + w - v0])
                if counts[m] > limits[m]:
                    return True
    return False


@njit(cache=True, nogil=True, inline="always")
def _ones(word):  # type: ignore[no-untyped-def]
    """Count a word's bits."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


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

"""What a server answers, drawn as labels: outlines in 2D, surfaces in 3D.

A voxel is a cell's where its centre lies inside, told by the parity of crossings on the row through that centre. So outlines
along the edges of pixels, and surfaces half-way between voxels, give back the very voxels they were drawn around::

    centre  ·   · | ·   ·   · | ·      two crossings: what lies between them is inside
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

#: By how much of a voxel rows are moved off whole numbers along z and y, so that none runs through a corner of a surface.
_ASIDE = (7.548e-5, 5.698e-5)


@dataclass(frozen=True)
class Shape:
    """One cell of an answer.

    Attributes
    ----------
    points : ndarray of float, (N, 3)
        (z, y, x) of the corners in voxels, centres at whole numbers; z = 0 in 2D.
    faces : ndarray of int, (M, 3), or None
        Triangles of a surface; None for an outline in 2D.
    score : float
    mask : ndarray of bool, (Z, Y, X), optional
        Its voxels, from the first of `points` on: nothing is to be drawn.
    """

    points: NDArray[np.float64]
    faces: NDArray[np.int64] | None
    score: float
    mask: NDArray[np.bool_] | None = None


def draw(shapes: Sequence[Shape], size: tuple[int, int, int]) -> tuple[NDArray[np.int32], pd.DataFrame]:
    """Draw cells as labels; where two overlap, the voxel is that of the higher score.

    Parameters
    ----------
    shapes : sequence of Shape
    size : tuple of int
        (Z, Y, X) of the frame.

    Returns
    -------
    labels : ndarray of int32, (Z, Y, X)
        1…n in the order of the answer; cells without a voxel are left out.
    cells : DataFrame
        ``label``, ``quality`` (the score) and, of surfaces, ``watertight``: 1, or 0 where it was closed here.
    """
    drawn = np.zeros(size, np.int32)
    watertight = np.ones(len(shapes) + 1, np.int64)
    for i in sorted(range(len(shapes)), key=lambda i: (shapes[i].score, -i)):
        where, inside, watertight[i + 1] = voxels(shapes[i], size)
        drawn[where][inside] = i + 1
    kept = 1 + np.flatnonzero(np.bincount(drawn.ravel(), minlength=1)[1:])
    if len(kept) < len(shapes):
        numbers = np.zeros(len(shapes) + 1, np.int32)
        numbers[kept] = np.arange(1, len(kept) + 1)
        drawn = numbers[drawn]
    columns: dict[str, Any] = {
        "label": np.arange(1, len(kept) + 1),
        "quality": [shapes[i - 1].score for i in kept],
    }
    if shapes and (size[0] > 1 or any(shape.faces is not None for shape in shapes)):
        columns["watertight"] = watertight[kept]
    return drawn, pd.DataFrame(columns)


def voxels(shape: Shape, size: tuple[int, int, int]) -> tuple[tuple[slice, ...], NDArray[np.bool_], bool]:
    """Return where in the frame a cell may lie, which voxels there are its own, and whether its surface was closed."""
    if shape.mask is not None:
        return (*_clipped(shape.points[0].astype(int), shape.mask, size), True)
    points, faces, closed = shape.points, shape.faces, True
    if faces is not None:
        points, faces, closed = closed_surface(points, faces)
    low = np.zeros(3) if not len(points) else np.floor(points.min(0))
    high = np.zeros(3) if not len(points) else np.ceil(points.max(0)) + 1
    low, high = (np.clip(end, 0, size).astype(int) for end in (low, high))
    where = tuple(map(slice, low, high))
    inside = np.zeros(tuple(high - low), bool)
    if inside.size and len(points) > 2:
        if faces is None:
            _cross_edges(points[:, 1:] - low[1:], inside[0])
        else:
            _cross_faces(points - low + np.array([*_ASIDE, 0.0]), faces, inside)
    return where, np.logical_xor.accumulate(inside, axis=-1) if inside.size else inside, closed


def _clipped(
    first: NDArray[np.int64], mask: NDArray[np.bool_], size: tuple[int, int, int]
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Return where in the frame a mask lies, and its part there."""
    low, high = (np.clip(end, 0, size) for end in (first, first + mask.shape))
    return tuple(map(slice, low, high)), mask[tuple(map(slice, low - first, high - first))]


def closed_surface(
    points: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], bool]:
    """Close a surface: each hole by a fan from its middle; points without faces by their convex hull.

    Returns
    -------
    points : ndarray of float, (N, 3)
        Corners at one place are one.
    faces : ndarray of int, (M, 3)
    watertight : bool
        Whether it was closed as it came.
    """
    if not len(faces):
        try:
            return points, ConvexHull(points).simplices.astype(np.int64), False
        except (QhullError, ValueError):  # fewer than four points, or all in one plane
            return points, faces, False
    if _each_edge_twice(faces):
        return points, faces, True
    points, own = np.unique(points, axis=0, return_inverse=True)
    faces = own.reshape(-1)[faces]
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, counts = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0, return_counts=True)
    rim = edges[counts % 2 == 1]
    if not len(rim):
        return points, faces, True
    graph = coo_array((np.ones(len(rim)), rim.T), shape=(len(points),) * 2)
    hole = connected_components(graph, directed=False)[1][rim[:, 0]]
    numbers, hole = np.unique(hole, return_inverse=True)
    middles = np.array([points[np.unique(rim[hole == k])].mean(0) for k in range(len(numbers))])
    fan = np.column_stack([rim, len(points) + hole])
    return np.concatenate([points, middles]), np.concatenate([faces, fan]), False


def _each_edge_twice(faces: NDArray[np.int64]) -> bool:
    """Say whether every edge is that of two faces, or four …: nothing is open then, wherever the corners are."""
    ends = np.roll(faces, -1, axis=1)
    edges = np.sort((np.minimum(faces, ends) * (int(faces.max()) + 1) + np.maximum(faces, ends)).ravel())
    return len(edges) % 2 == 0 and bool((edges[::2] == edges[1::2]).all())


@njit(cache=True, nogil=True)
def _cross_edges(points: Any, crossed: Any) -> None:
    """Toggle, in each row, the first pixel behind every edge of an outline; `points` are (y, x)."""
    n, rows, columns = len(points), crossed.shape[0], crossed.shape[1]
    for i in range(n):
        y0, x0 = points[i]
        y1, x1 = points[(i + 1) % n]
        for row in range(max(0, int(np.floor(min(y0, y1)))), min(rows, int(np.ceil(max(y0, y1))) + 1)):
            if (y0 <= row) != (y1 <= row):
                column = max(0, int(np.ceil(x0 + (row - y0) / (y1 - y0) * (x1 - x0))))
                if column < columns:
                    crossed[row, column] = not crossed[row, column]


@njit(cache=True, nogil=True)
def _cross_faces(points: Any, faces: Any, crossed: Any) -> None:
    """Toggle, in each row along x, the first voxel behind every triangle; `points` are (z, y, x)."""
    depth, rows, columns = crossed.shape
    for i in range(len(faces)):
        az, ay, ax = points[faces[i, 0]]
        bz, by, bx = points[faces[i, 1]]
        cz, cy, cx = points[faces[i, 2]]
        area = (by - ay) * (cz - az) - (bz - az) * (cy - ay)
        if area == 0.0:
            continue
        z_first, z_end = max(0, int(np.ceil(min(az, bz, cz)))), min(depth, int(max(az, bz, cz)) + 1)
        y_first, y_end = max(0, int(np.ceil(min(ay, by, cy)))), min(rows, int(max(ay, by, cy)) + 1)
        for z in range(z_first, z_end):
            for y in range(y_first, y_end):
                a = ((by - y) * (cz - z) - (bz - z) * (cy - y)) / area
                b = ((cy - y) * (az - z) - (cz - z) * (ay - y)) / area
                c = ((ay - y) * (bz - z) - (az - z) * (by - y)) / area
                if a < 0 or b < 0 or c < 0:
                    continue
                column = max(0, int(np.ceil(a * ax + b * bx + c * cx)))
                if column < columns:
                    crossed[z, y, column] = not crossed[z, y, column]

"""Drawing 3D stars into a label image, their voxels looked up as in the suppression.

Every plane is drawn by itself, the most probable star first, and no voxel twice: the labels are those of StarDist's
``polyhedron_to_label``, for any number of threads.
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from helpers.models.stardist.shapes import chord, in_parts, measure
from helpers.models.stardist.table import is_inside, table_for


def draw(distances: NDArray, points: NDArray, rays: Any, shape: Sequence[int]) -> NDArray[np.int32]:
    """Draw stars, each over all that follow.

    Parameters
    ----------
    distances : ndarray of float, (n, rays)
        Lengths of the rays, in voxels, > 0; the most probable star first.
    points : ndarray of int, (n, 3)
        Centres, in whole voxels.
    rays : stardist.rays3d.Rays_Base
        The model's; their faces surround the centre (`helpers.models.stardist.table.surround`).
    shape : sequence of int
        (Z, Y, X) of the image.

    Returns
    -------
    ndarray of int32, (Z, Y, X)
        0 background; the k-th star is k, from 1 on.
    """
    labels = np.zeros(tuple(shape), np.int32)
    if len(points) == 0:
        return labels
    stars = measure(distances, points, rays)
    table = table_for(rays, stars.extent).arrays
    in_parts(lambda a, b: _draw_planes(labels, stars.arrays, table, a, b), len(labels), smallest=1)
    return labels


@njit(cache=True, nogil=True)
def _draw_planes(labels, stars, table, start, stop):  # type: ignore[no-untyped-def]
    points, distances, _, boxes, _, outer, scale = stars
    inverse = np.empty(distances.shape[1], np.float32)
    for j in range(len(points)):
        z0, z1 = max(boxes[j, 0], start), min(boxes[j, 1], stop - 1)
        if z0 > z1:
            continue
        for k in range(distances.shape[1]):
            inverse[k] = np.float32(1) / distances[j, k]
        for z in range(z0, z1 + 1):
            for y in range(max(boxes[j, 2], 0), min(boxes[j, 3], labels.shape[1] - 1) + 1):
                dz, dy = z - points[j, 0], y - points[j, 1]
                x0, x1 = chord(j, z, y, points, boxes, outer, scale)
                face = 0
                for x in range(max(x0, 0), min(x1, labels.shape[2] - 1) + 1):
                    if labels[z, y, x] == 0:
                        inside, face = is_inside(table, inverse, face, dz, dy, x - points[j, 2])
                        if inside:
                            labels[z, y, x] = j + 1

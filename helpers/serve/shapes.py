"""Labels as the shapes of `biopb.image`: polygons of a plane, closed meshes of a stack.

The centre of pixel i lies at i, as in TrackMate, so that a pixel spans i − ½ … i + ½. A polygon runs along the edges of
pixels and a mesh half way between the centres of voxels inside and outside: drawn again, both give the label exactly.

Points and faces are written as the bytes that the messages have on the wire, rows of equal length, since a Python
object for each of a stack's million points would take longer than the network.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from biopb.image import ROI, Mesh, Polygon, ScoredROI  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray

from helpers.serve.outlines import joined, rings_of_labels
from helpers.tracking.formats.trackmate_shapes import meshes_from_labels

_FLOATS = {2: 0x0D, 1: 0x15, 0: 0x1D}  # tags of x, y and z of a Point, by the axis of (z, y, x)


def polygons(labels: NDArray[np.int32], offset: tuple[int, ...]) -> Iterator[tuple[int, ROI]]:
    """Yield every label of a plane (Y, X) and its polygon, in pixels, moved by `offset` (z, y, x)."""
    for label, rings in rings_of_labels(labels):
        corners = joined(rings) - 0.5 + offset[1:]
        yield label, ROI(polygon=Polygon.FromString(_points(corners, 0x0A)))


def meshes(labels: NDArray[np.int32], offset: tuple[int, ...]) -> Iterator[tuple[int, ROI]]:
    """Yield every label of a stack (Z, Y, X) and its surface, in voxels, moved by `offset` (z, y, x)."""
    for label, (vertices, faces) in meshes_from_labels(labels, voxel_size=(1, 1, 1)).items():
        body = _points(vertices + offset, 0x0A) + _faces(faces, 0x12)
        yield label, ROI(mesh=Mesh.FromString(body))


def scored(found: Iterator[tuple[int, ROI]], scores: NDArray[np.float64]) -> Iterator[ScoredROI]:
    """Yield the shapes with the scores of their labels, `scores[label - 1]`."""
    for label, roi in found:
        yield ScoredROI(roi=roi, score=float(scores[label - 1]))


def _points(corners: NDArray, tag: int) -> bytes:
    """Return rows (…, y, x) as a repeated field of Points."""
    axes = range(3 - corners.shape[1], 3)
    rows = np.empty((len(corners), 2 + 5 * corners.shape[1]), np.uint8)
    rows[:, 0], rows[:, 1] = tag, 5 * corners.shape[1]
    for column, axis in enumerate(reversed(axes)):  # x first
        at = 2 + 5 * column
        rows[:, at] = _FLOATS[axis]
        values = np.ascontiguousarray(corners[:, axis - axes.start], "<f4")
        rows[:, at + 1 : at + 5] = values.view(np.uint8).reshape(-1, 4)
    return rows.tobytes()


def _faces(faces: NDArray, tag: int) -> bytes:
    """Return rows of three vertices as a repeated field of Faces; each number in five bytes, zeros among them."""
    rows = np.empty((len(faces), 20), np.uint8)
    rows[:, 0], rows[:, 1] = tag, 18
    for corner in range(3):
        at = 2 + 6 * corner
        rows[:, at] = 8 * (corner + 1)
        numbers = faces[:, corner].astype(np.uint32)
        for byte in range(5):
            rows[:, at + 1 + byte] = (numbers >> np.uint32(7 * byte)) & 0x7F | (0x80 if byte < 4 else 0)
    return rows.tobytes()

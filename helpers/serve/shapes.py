"""Labels as the shapes of `biopb.image`: polygons of a plane, closed meshes of a stack, or masks for who asks for them.

The centre of pixel i lies at i, as in TrackMate, so that a pixel spans i − ½ … i + ½. A polygon runs along the edges of
pixels and a mesh half way between the centres of voxels inside and outside: drawn again, both give the label exactly.

A mask is a box of pixels and a bit for each: of a stack's cells a fiftieth of what their meshes are, and exact.

Polygons and meshes are written as the bytes that the messages have on the wire, points and faces as rows of equal length, since a Python
object for each of a stack's million points would take longer than the network.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from biopb.image import BinData, Mask, Point, Rectangle  # pyright: ignore[reportAttributeAccessIssue]
from numpy.typing import NDArray
from scipy import ndimage

from helpers.data.rings import joined, rings_of_labels
from helpers.serve.wire import written
from helpers.tracking.formats.trackmate_shapes import surface

#: A label, the tag of its shape in a ROI, and the bytes of the shape.
Drawn = tuple[int, int, bytes]
#: Tags of fields that hold a message: the first field's, and those of a polygon, a mesh and a mask in a ROI.
_FIRST, _POLYGON, _MESH, _MASK = 0x0A, 0x22, 0x2A, 0x32
#: Tags of numbers in four bytes: x, y and z of a Point, by the axis of (z, y, x), and the score of a ScoredROI.
_FLOATS, _SCORE = {2: 0x0D, 1: 0x15, 0: 0x1D}, 0x15


def polygons(labels: NDArray[np.int32], offset: tuple[int, ...]) -> Iterator[Drawn]:
    """Yield every label of a plane (Y, X) and its polygon, in pixels, moved by `offset` (z, y, x)."""
    for label, rings in rings_of_labels(labels):
        yield label, _POLYGON, _points(joined(rings) - 0.5 + offset[1:], _FIRST)


def meshes(labels: NDArray[np.int32], offset: tuple[int, ...]) -> Iterator[Drawn]:
    """Yield every label of a stack (Z, Y, X) and its surface, in voxels, moved by `offset` (z, y, x)."""
    for i, window in enumerate(ndimage.find_objects(labels)):
        if window is not None:
            vertices, faces = surface(labels[window] == i + 1)
            corner = [part.start + first for part, first in zip(window, offset, strict=True)]
            yield i + 1, _MESH, _points(vertices + corner, _FIRST) + _faces(faces, 0x12)


def masks(labels: NDArray[np.int32], offset: tuple[int, ...]) -> Iterator[Drawn]:
    """Yield every label of a stack (Z, Y, X) and its mask, moved by `offset` (z, y, x).

    The rectangle goes from its first voxel to behind its last one; the bits follow in C order of (z, y, x), the highest of
    a byte first.
    """
    for i, window in enumerate(ndimage.find_objects(labels)):
        if window is None:
            continue
        (z, y, x), (z_end, y_end, x_end) = (
            [getattr(part, end) + first for part, first in zip(window, offset, strict=True)]
            for end in ("start", "stop")
        )
        corners = Rectangle(top_left=Point(x=x, y=y, z=z), bottom_right=Point(x=x_end, y=y_end, z=z_end))
        bits = np.packbits(labels[window] == i + 1).tobytes()
        yield i + 1, _MASK, Mask(rectangle=corners, bin_data=BinData(data=bits)).SerializeToString()


def answer(found: Iterator[Drawn], scores: NDArray[np.float64]) -> tuple[bytes, int]:
    """Return a `DetectionResponse` with the shapes and the scores of their labels, `scores[label - 1]`, and their number."""
    parts, count = [], 0
    for count, (label, tag, shape) in enumerate(found, 1):  # noqa: B007 - how many there were
        score = bytes([_SCORE]) + np.float32(scores[label - 1]).tobytes()
        of_shape = _head(tag, len(shape))
        of_roi = _head(_FIRST, len(of_shape) + len(shape))
        size = len(of_roi) + len(of_shape) + len(shape) + len(score)
        parts += [_head(_FIRST, size), of_roi, of_shape, shape, score]
    return b"".join(parts), count


def _head(tag: int, size: int) -> bytes:
    """Return the bytes that stand before a message within another."""
    return bytes([tag]) + written(size)


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
    """Return rows of three vertices as a repeated field of Faces, each number in as many bytes as the largest needs."""
    width = max(1, -(-int(faces.max(initial=0)).bit_length() // 7))
    rows = np.empty((len(faces), 2 + 3 * (1 + width)), np.uint8)
    rows[:, 0], rows[:, 1] = tag, 3 * (1 + width)
    for corner in range(3):
        at = 2 + (1 + width) * corner
        rows[:, at] = 8 * (corner + 1)
        numbers = faces[:, corner].astype(np.uint32)
        for byte in range(width):
            rows[:, at + 1 + byte] = (numbers >> np.uint32(7 * byte)) & 0x7F | (
                0x80 if byte < width - 1 else 0
            )
    return rows.tobytes()

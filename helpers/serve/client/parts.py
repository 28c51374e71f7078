"""A frame larger than a message goes in parts.

Volltrack's server puts the parts of ``RunDetectionOnGrid`` together and looks at the whole frame, so that its cells are those of
one message. Other servers are not trusted with it (Lacss 0.15 misplaces parts): theirs overlap, and are joined here::

    part 1  |----------·····|           whole cells before those that a cut touches, then by score;
    part 2           |·····----------|  what is half covered by a cell of another part goes
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.lazy import Region
from helpers.segmentation.blocks.tiling import cut
from helpers.serve.client.connection import Connection
from helpers.serve.client.drawing import Shape, voxels
from helpers.serve.client.messages import DetectionParameters, request, shapes

#: Voxels (z, y, x) that parts share on either side; cells should be smaller than twice that.
OVERLAP = (16, 64, 64)
#: Share of the smaller of two cells, from which they are one.
_SAME = 0.5
#: Share of a message that is pixels.
_PIXELS = 0.95


@dataclass(frozen=True)
class _Found:
    shape: Shape
    part: int
    cut_through: bool


def detect_in_parts(
    connection: Connection,
    stack: NDArray,
    voxel_size: Sequence[float],
    settings: DetectionParameters,
    limit: int,
) -> list[Shape]:
    """Return the cells of a frame that needs several messages.

    Parameters
    ----------
    connection : Connection
    stack : ndarray, (C, Z, Y, X)
    voxel_size : sequence of float
        (z, y, x) in µm.
    settings : DetectionParameters
    limit : int
        Bytes of a message.

    Raises
    ------
    InputError, MessageTooLarge
        As `Connection.detect`.
    """
    size, planar = stack.shape[1:], stack.shape[1] == 1
    room = float(_PIXELS * limit / (stack.nbytes / np.prod(size)))
    if connection.joins_parts:

        def grid() -> Iterator[Any]:
            for tile in cut(size, (0, 0, 0), (1, 1, 1), room):
                part = stack[(slice(None), *tile.write)]
                yield request(
                    part, voxel_size, settings, [where.start for where in tile.write], planar=planar
                )

        return shapes(connection.detect(grid).detections, planar=planar)
    overlap = [0 if n == 1 else m for n, m in zip(size, OVERLAP, strict=True)]
    found: list[_Found] = []
    for number, tile in enumerate(cut(size, overlap, (1, 1, 1), room)):
        part = stack[(slice(None), *tile.read)]
        answer = connection.detect(request(part, voxel_size, settings, planar=planar))
        found += _placed(shapes(answer.detections, planar=planar), number, tile.read, size)
    return _joined(found, (size[0], size[1], size[2]))


def _placed(own: list[Shape], number: int, where: Region, size: Sequence[int]) -> Iterator[_Found]:
    """Move the cells of a part to their place in the frame."""
    first = np.array([w.start for w in where])
    last = np.array([w.stop - 1 for w in where])
    inner = np.stack([first > 0, last < np.array(size) - 1])
    for shape in own:
        points = shape.points + first
        if not len(points):
            continue
        touches = np.stack([points.min(0) <= first + 0.5, points.max(0) >= last - 0.5])
        yield _Found(replace(shape, points=points), number, bool((touches & inner).any()))


def _joined(found: list[_Found], size: tuple[int, int, int]) -> list[Shape]:
    """Leave out what another part has found too."""
    kept: list[tuple[_Found, tuple[slice, ...], NDArray[np.bool_]]] = []
    for one in sorted(found, key=lambda one: (one.cut_through, -one.shape.score)):
        where, inside, _ = voxels(one.shape, size)
        rivals = (k for k in kept if k[0].part != one.part)
        if not any(_shared(where, inside, there, others) > _SAME for _, there, others in rivals):
            kept.append((one, where, inside))
    return [one.shape for one, _, _ in kept]


def _shared(
    where: tuple[slice, ...], inside: NDArray[np.bool_], there: tuple[slice, ...], others: NDArray[np.bool_]
) -> float:
    """Return what two cells share, of the smaller."""
    both = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(where, there, strict=True)]
    if any(first >= end for first, end in both):
        return 0.0
    cuts = [
        tuple(slice(first - w.start, end - w.start) for (first, end), w in zip(both, own, strict=True))
        for own in (where, there)
    ]
    smaller = min(np.count_nonzero(inside), np.count_nonzero(others))
    return np.count_nonzero(inside[cuts[0]] & others[cuts[1]]) / max(smaller, 1)

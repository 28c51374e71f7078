"""How a frame is cut into blocks that fit the memory, margins included."""

from __future__ import annotations

import math
from collections.abc import Sequence

from helpers.data.lazy import Region
from helpers.models.inference import Tile, iterate_tiles


def cut(shape: Sequence[int], margin: Sequence[int], multiple: Sequence[int], voxels: float) -> list[Tile]:
    """Cut a frame into as few blocks as fit.

    Parameters
    ----------
    shape : sequence of int
        Of the frame.
    margin : sequence of int
        What is read around a block, in voxels along each axis.
    multiple : sequence of int
        Where blocks, and what is read, may begin.
    voxels : float
        That may be read at once. Blocks are never thinner than their margin, for most of the work would be done twice.

    Returns
    -------
    list of Tile
        What each reads and decides, inside the frame.
    """
    padded = [-(-n // m) * m for n, m in zip(shape, multiple, strict=True)]
    margin = [-(-r // m) * m for r, m in zip(margin, multiple, strict=True)]
    number = [1] * len(shape)

    def length(axis: int, n: int) -> int:
        inner = math.ceil(padded[axis] / multiple[axis] / n) * multiple[axis]
        return padded[axis] if n == 1 else min(padded[axis], inner + 2 * margin[axis])

    while math.prod(length(a, n) for a, n in enumerate(number)) > voxels:
        thinner = {
            a: length(a, n) / length(a, n + 1)
            for a, n in enumerate(number)
            if padded[a] // (n + 1) >= max(multiple[a], margin[a])
        }
        if not thinner:
            break
        # The longest side of what is decided, of equals the one that shrinks most: margins stay small beside blocks.
        axis = max(thinner, key=lambda a: (padded[a] / number[a] / max(margin[a], 1), thinner[a]))
        number[axis] += 1
    return [
        Tile(_inside(tile.read, shape), _inside(tile.write, shape))
        for tile in iterate_tiles(padded, number, margin, multiple)
    ]


def _inside(where: Region, shape: Sequence[int]) -> Region:
    return tuple(slice(w.start, min(n, w.stop)) for w, n in zip(where, shape, strict=True))


def common(a: Region, b: Region) -> Region | None:
    """Return what two regions share; None where that is nothing."""
    shared = tuple(slice(max(p.start, q.start), min(p.stop, q.stop)) for p, q in zip(a, b, strict=True))
    return None if any(s.start >= s.stop for s in shared) else shared


def within(where: Region, outer: Region) -> Region:
    """Return a region in the coordinates of another one that holds it."""
    return tuple(slice(w.start - o.start, w.stop - o.start) for w, o in zip(where, outer, strict=True))


def size_of(where: Region) -> tuple[int, ...]:
    """Return the lengths of a region's sides."""
    return tuple(w.stop - w.start for w in where)


def neighbours(tiles: Sequence[Tile]) -> list[tuple[int, int, int]]:
    """Return the pairs of blocks that share a face: first, second, and the axis that leads from one to the other."""
    at = {tuple(w.start for w in tile.write): k for k, tile in enumerate(tiles)}
    found = []
    for k, tile in enumerate(tiles):
        for axis, side in enumerate(tile.write):
            start = tuple(side.stop if a == axis else w.start for a, w in enumerate(tile.write))
            if start in at:
                found.append((k, at[start], axis))
    return found


def coarser(where: Region, grid: Sequence[int]) -> Region:
    """Return the grid points of a region that begins at one."""
    return tuple(slice(w.start // g, -(-w.stop // g)) for w, g in zip(where, grid, strict=True))

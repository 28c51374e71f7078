"""How a frame is cut into blocks that fit the memory, margins included."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from helpers.data.lazy import Region
from helpers.models.inference import Tile, iterate_tiles


def cut(shape: Sequence[int], margin: Sequence[int], multiple: Sequence[int], voxels: float) -> list[Tile]:
    """Cut a frame into blocks that fit, of the sides for which the least is read twice.

    Parameters
    ----------
    shape : sequence of int
        Of the frame.
    margin : sequence of int
        What is read around a block, in voxels along each axis.
    multiple : sequence of int
        Where blocks, and what is read, may begin.
    voxels : float
        That may be read at once. Blocks are never thinner than their margin, for most of the work would be done twice:
        where even such ones do not fit, those are taken.

    Returns
    -------
    list of Tile
        What each reads and decides, inside the frame.
    """
    padded = [-(-n // m) * m for n, m in zip(shape, multiple, strict=True)]
    margin = [-(-r // m) * m for r, m in zip(margin, multiple, strict=True)]
    choices = [_sides(n, r, m) for n, r, m in zip(padded, margin, multiple, strict=True)]
    number, size = ([np.array([c[k] for c in axis]) for axis in choices] for k in (0, 1))
    one = functools.reduce(np.multiply.outer, size).astype(float)
    every = one * functools.reduce(np.multiply.outer, number)
    fits = one <= voxels
    best = np.where(fits, every, np.inf) if fits.any() else one
    chosen = np.unravel_index(int(best.argmin()), best.shape)
    tiles = iterate_tiles(padded, [int(n[k]) for n, k in zip(number, chosen, strict=True)], margin, multiple)
    return [Tile(_inside(tile.read, shape), _inside(tile.write, shape)) for tile in tiles]


def _sides(n: int, margin: int, multiple: int) -> list[tuple[int, int]]:
    """Return how many blocks an axis may be cut into, each with the length that one of them reads."""
    found = [(1, n)]
    for inner in range(max(multiple, margin), n, multiple):
        # As `iterate_tiles` cuts: the blocks are as even as they can be.
        number = -(-n // inner)
        even = -(-n // multiple // number) * multiple
        found.append((number, min(n, even + 2 * margin)))
    return list(dict.fromkeys(found))


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

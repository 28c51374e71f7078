"""Outlines of labels along the edges of their pixels, with all their parts and holes.

The inside lies on the right hand of every edge (y down), so outer rings run clockwise as one sees them, holes the other
way round. Where two pixels of a label touch at a corner only, a ring stays with its pixel, as parts that touch there are
two parts::

    ┌───┐
    │   │            one label in two parts (or, with a way round elsewhere, one ring
    └───┼───┐        that passes this corner twice)
        │   │
        └───┘
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Corners (y, x) of a ring in pixels, pixel (0, 0) spanning 0…1; the first is not repeated.
Ring = NDArray[np.float64]


def rings_of_labels(labels: NDArray) -> Iterator[tuple[int, list[Ring]]]:
    """Yield every label of a plane (Y, X) with its rings, the outer ones first, the longest of them at the front."""
    for i, window in enumerate(ndimage.find_objects(labels)):
        if window is None:
            continue
        corner = np.array([part.start for part in window], float)
        rings = [ring + corner for ring in rings_of_mask(labels[window] == i + 1)]
        yield i + 1, sorted(rings, key=area, reverse=True)


def area(ring: Ring) -> float:
    """Return the area of a ring in pixels; negative of a hole."""
    y, x = ring.T
    return float(np.dot(np.roll(y, -1), x) - np.dot(y, np.roll(x, -1))) / 2


def joined(rings: list[Ring]) -> Ring:
    """Return all rings of a label as one polygon, for those who draw one polygon a cell.

    The others are reached from the first over bridges that run there and back along the edges of pixels: they enclose
    nothing and cross no pixel's centre, so that the polygon, drawn again, gives the label's pixels.
    """
    first, *others = rings
    parts = [first]
    for ring in others:
        start, end = first[0], ring[0]
        bend = np.array([[end[0], start[1]]])
        parts += [first[:1], bend, ring, ring[:1], bend]
    if others:
        parts.append(first[:1])
    return np.concatenate(parts)


def rings_of_mask(mask: NDArray[np.bool_]) -> list[Ring]:
    """Return the rings of a mask (Y, X)."""
    ways = _edges(np.pad(mask, 1).astype(np.int8))
    rings = []
    while ways:
        at = start = next(iter(ways))
        corners: list[tuple[int, int]] = []
        before: tuple[int, int] | None = None
        while at in ways:
            way = _way_on(ways, at, before)
            if way != before:
                corners.append(at)
            at, before = (at[0] + way[0], at[1] + way[1]), way
            if at == start and (at not in ways or _right(before) not in ways[at]):
                break
        if len(corners) > 2 and before == _first_way(corners):  # it began in the middle of a side
            corners.pop(0)
        rings.append(np.array(corners, float))
    return rings


def _edges(full: NDArray[np.int8]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return, for every corner, the ways (dy, dx) on from it along an edge with the inside on the right."""
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(starts: NDArray, way: tuple[int, int]) -> None:
        for y, x in starts.tolist():
            ways.setdefault((y, x), []).append(way)

    # The padding moves every pixel by one: an edge between rows y and y + 1 of `full` lies at y of the mask.
    down, right = np.diff(full, axis=0), np.diff(full, axis=1)
    add(np.argwhere(down > 0) - [0, 1], (0, 1))
    add(np.argwhere(down < 0), (0, -1))
    add(np.argwhere(right > 0), (-1, 0))
    add(np.argwhere(right < 0) - [1, 0], (1, 0))
    return ways


def _way_on(
    ways: dict[tuple[int, int], list[tuple[int, int]]],
    at: tuple[int, int],
    before: tuple[int, int] | None,
) -> tuple[int, int]:
    """Take the way on from a corner: of two the one to the right, around the same pixel."""
    there = ways[at]
    right = _right(before) if before else there[0]
    way = right if right in there else there[0]
    there.remove(way)
    if not there:
        del ways[at]
    return way


def _right(way: tuple[int, int]) -> tuple[int, int]:
    return way[1], -way[0]


def _first_way(corners: list[tuple[int, int]]) -> tuple[int, int]:
    (y0, x0), (y1, x1) = corners[:2]
    return int(np.sign(y1 - y0)), int(np.sign(x1 - x0))

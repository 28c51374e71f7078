"""Tracks that begin or end where no cell should, are very short, or run into each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial import KDTree

from helpers.curation.suspects.signs import Cells, Sign

#: Frames after its end within which a cell that appears near by may be the same one.
_NEAR_FRAMES = 3
#: Scores of a cell that vanishes or appears, at the border and well away from it.
_AT_BORDER, _INSIDE = 0.1, 0.55
#: Score of a track of one frame, and of two.
_SHORT = {1: 0.35, 2: 0.2}


def signs(cells: Cells) -> Iterator[Sign]:
    """Yield the signs about beginnings and ends."""
    last = cells.shape[0] - 1
    linked_in, linked_out = cells.tracks.in_degree > 0, cells.tracks.out_degree > 0
    ends = np.flatnonzero(~linked_out & (cells.frames < last))
    begins = np.flatnonzero(~linked_in & (cells.frames > 0))
    partner = _partners(cells, ends, begins)
    for row in ends:
        other = partner.get(int(row), -1)
        reason = "vanishes before the movie ends"
        score = _away_from_border(cells, int(row))
        if other >= 0:
            reason += f", and {cells.name(other)} appears near by: the same one?"
            score = max(score, _INSIDE) + 0.2
        yield Sign("vanishes", int(row), score, reason, cells.marks_of_cell(int(row))[:1], other)
    explained = set(partner.values())
    for row in begins:
        if int(row) not in explained:
            reason = "appears after the movie began"
            yield Sign(
                "appears",
                int(row),
                _away_from_border(cells, int(row)),
                reason,
                cells.marks_of_cell(int(row))[:1],
            )
    yield from _short(cells)
    yield from _merging(cells)


def _away_from_border(cells: Cells, row: int) -> float:
    # A cell that touches the border has its centre half a diameter away.
    share = float(np.clip(cells.border_distance[row] / cells.diameter - 0.5, 0, 1))
    return _AT_BORDER + (_INSIDE - _AT_BORDER) * share


def _partners(cells: Cells, ends: np.ndarray, begins: np.ndarray) -> dict[int, int]:
    """Return the cell that appears soon after and near a cell that vanishes, each used once, the nearest first."""
    if len(ends) == 0 or len(begins) == 0:
        return {}
    tree = KDTree(cells.points[begins])
    pairs = []
    for row, near in zip(ends, tree.query_ball_point(cells.points[ends], cells.diameter), strict=True):
        for k in near:
            wait = cells.frames[begins[k]] - cells.frames[row]
            if 0 < wait <= _NEAR_FRAMES:
                distance = float(np.linalg.norm(cells.points[begins[k]] - cells.points[row]))
                pairs.append((distance, int(row), int(begins[k])))
    found: dict[int, int] = {}
    for _, end, begin in sorted(pairs):
        if end not in found and begin not in found.values():
            found[end] = begin
    return found


def _short(cells: Cells) -> Iterator[Sign]:
    tracklet = cells.tracks.tracklet_ids
    lengths = np.bincount(tracklet, minlength=cells.tracks.n_tracklets)
    _, first = np.unique(tracklet, return_index=True)
    for row in first:
        n = int(lengths[tracklet[row]])
        whole = cells.shape[0] > 2 * n
        founder = cells.tracks.in_degree[row] == 0  # daughters are looked at as such
        divides = tracklet[row] in cells.tracks.children  # it goes on as its daughters
        if n in _SHORT and whole and founder and not divides:
            reason = f"is tracked in {n} frame{'s' if n > 1 else ''} only"
            yield Sign("short track", int(row), _SHORT[n], reason, cells.marks_of_cell(int(row))[:1])


def _merging(cells: Cells) -> Iterator[Sign]:
    for row in np.flatnonzero(cells.tracks.in_degree > 1):
        source = cells.tracks.link_rows[cells.tracks.link_rows[:, 1] == row, 0]
        marks = tuple(mark for a in source for mark in cells.marks_of_link(int(a), int(row)))
        n = int(cells.tracks.in_degree[row])
        yield Sign("tracks merge", int(row), 0.7, f"{n} tracks run into it", marks[:1], int(source[0]))

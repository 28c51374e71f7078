"""Who is who from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def link(draft: Draft, cells: Sequence[Cell], replace: bool = False) -> None:
    """Link cells of different frames into one track, over gaps too, in the order of their frames.

    Parameters
    ----------
    draft : Draft
    cells : sequence of Cell
        Two or more.
    replace : bool
        Take the links away that are in the way. Without it such cells are refused: a second link out of a cell is a
        division (`set_division`).

    Raises
    ------
    InputError
        Fewer than two cells, two in one frame, or a cell that goes on, or comes from, elsewhere.
    """
    ordered = sorted(cells, key=lambda cell: cell.frame)
    frames = [cell.frame for cell in ordered]
    twice = sorted({t for t in frames if frames.count(t) > 1})
    if len(ordered) < 2:
        raise InputError("cells", len(ordered), "two cells or more")
    if twice:
        raise InputError("cells", f"several in frames {twice}", "one cell a frame")
    ids = [draft.id_of(cell) for cell in ordered]
    for source, target, cell, following in zip(ids, ids[1:], ordered, ordered[1:], strict=False):
        others = draft.targets(source) - {target}, draft.sources(target) - {source}
        if any(others) and not replace:
            where, what = (cell, "goes on") if others[0] else (following, "comes from")
            elsewhere = [str(draft.state.cell(i)) for i in sorted(others[0] or others[1])]
            raise InputError(
                str(where), f"{what} elsewhere: {', '.join(elsewhere)}", "unlink it first, or replace = True"
            )
        for other in others[0]:
            draft.unlink(source, other)
        for other in others[1]:
            draft.unlink(other, target)
        draft.link(source, target)


@operation
def unlink(draft: Draft, first: Cell, last: Cell) -> None:
    """Take the links of a track away between two of its cells; the cells between are in no track then.

    Raises
    ------
    InputError
        The same cell twice, two tracks, or a cell in no track.
    """
    first, last = sorted((first, last), key=lambda cell: cell.frame)
    if first.key == last.key:
        raise InputError("first, last", str(first), "two cells of one track")
    path = draft.graph.path(draft.known_id(first), draft.known_id(last))
    if path is None:
        raise InputError(
            "first, last", f"{first}, {last}", "two cells of one track, the second after the first"
        )
    for source, target in pairwise(path):
        draft.unlink(source, target)


@operation
def cut(draft: Draft, cell: Cell) -> None:
    """Begin a new track with this cell.

    Raises
    ------
    InputError
        A track begins with it already.
    """
    i = draft.known_id(cell)
    if not draft.sources(i):
        raise InputError(str(cell), "the first of its track", "a cell that is linked to an earlier one")
    for source in draft.sources(i):
        draft.unlink(source, i)


@operation
def swap(draft: Draft, one: Cell, other: Cell) -> None:
    """Exchange two tracks from this frame on: each goes on as the other.

    Raises
    ------
    InputError
        Cells of different frames, the same cell twice, or two that both begin a track.
    """
    if one.frame != other.frame or one.label == other.label:
        raise InputError("one, other", f"{one}, {other}", "two cells of one frame")
    ids = [draft.known_id(cell) for cell in (one, other)]
    before = [draft.sources(i) for i in ids]
    if before[0] == before[1]:
        raise InputError("one, other", f"{one}, {other}", "cells that come from different cells")
    for i, sources, others in zip(ids, before, reversed(before), strict=True):
        for source in sources - others:
            draft.unlink(source, i)
        for source in others - sources:
            draft.link(source, i)


@operation
def delete_tracks(draft: Draft, cells: Sequence[Cell]) -> None:
    """Take whole tracks, each named by one of its cells, out of the tables; their labels stay.

    Raises
    ------
    InputError
        No cell, or one that is in no track.
    """
    if not cells:
        raise InputError("cells", "none", "a cell of each track to delete")
    for i in sorted({j for cell in cells for j in draft.graph.track_of(draft.known_id(cell))}):
        draft.drop(i)

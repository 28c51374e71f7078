"""Overlap tracking of a single cell, from a click on."""

from __future__ import annotations

import numpy as np

from helpers.curation.cells import Cell
from helpers.curation.changes import Link
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def follow(draft: Draft, cell: Cell, min_overlap: float = 0.7, replace: bool = False) -> None:
    """Follow a cell from its frame on: the next is the label under most of its voxels (mmv_h4tracks' rule).

    Where the cell, or one it was followed to, is linked already, the way goes on along the link as long as it leads to the
    same cell. It joins a track that begins on it, fills a gap that it closes, and stops before the middle of another track,
    where it would contradict a link, at a division, and where less than `min_overlap` of the cell's voxels lie on one label.

    Parameters
    ----------
    draft : Draft
    cell : Cell
    min_overlap : float
        Share of a cell's voxels that the next one covers at least, from 0 to 1.
    replace : bool
        Take links that are in the way away, but for confirmed ones: the cell is tracked anew from here on.

    Raises
    ------
    InputError
        There is no such cell, or nothing to link it to.
    """
    if not 0 <= min_overlap <= 1:
        raise InputError("min_overlap", min_overlap, "a share from 0 to 1")
    now, n_links = cell, 0
    draft.voxels(cell)
    while (following := _next(draft, now, min_overlap)) is not None:
        source, target = draft.id_of(now), draft.id_of(following)
        others = _in_the_way(draft, source, target)
        if any(("link", *link) in draft.graph.marks for link in others):
            break
        if others and not replace and not _closes_gap(draft, others, source, following, min_overlap):
            break
        for link in others:
            draft.unlink(*link)
        n_links += target not in draft.targets(source)
        draft.link(source, target)
        now = following
    if n_links == 0:
        raise InputError(
            str(cell),
            "nothing to link",
            f"a cell that overlaps by more than {min_overlap:g} with a next one that is free",
        )


def _next(draft: Draft, cell: Cell, min_overlap: float) -> Cell | None:
    """Return the cell of the next frame under most voxels of a cell, where it covers enough of them."""
    if cell.frame + 1 >= draft.state.shape[0]:
        return None
    index = draft.voxels(cell)
    labels, counts = np.unique(draft.seen(cell.frame + 1).reshape(-1)[index], return_counts=True)
    best = int(counts.argmax())
    if labels[best] == 0 or counts[best] / len(index) <= min_overlap:
        return None
    return Cell(cell.frame + 1, int(labels[best]))


def _in_the_way(draft: Draft, source: int, target: int) -> list[Link]:
    """Return the links that two cells have with others than each other, where a link between them would be."""
    out = [(source, other) for other in sorted(draft.targets(source) - {target})]
    return out + [(other, target) for other in sorted(draft.sources(target) - {source})]


def _closes_gap(draft: Draft, others: list[Link], source: int, cell: Cell, min_overlap: float) -> bool:
    """Whether the only link in the way leads over missed frames to where the cell is followed to through them."""
    if len(others) > 1 or others[0][0] != source:
        return False
    goal, at = others[0][1], cell
    end = draft.graph.cell_of[goal]
    while at.frame < end[0]:
        i = draft.graph.id_at.get(at.key, -1)
        if draft.targets(i) or draft.sources(i) or (found := _next(draft, at, min_overlap)) is None:
            return False
        at = found
    return at.key == end

"""Labels that are not cells, labels that are one cell, and cells that are two."""

from __future__ import annotations

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.pieces import clicked_piece
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def remove(draft: Draft, cell: Cell) -> None:
    """Remove the clicked piece of a cell in this frame; the whole cell where no voxel was clicked.

    With its last voxel the cell leaves its track, which is cut there.
    """
    draft.fill(cell.frame, clicked_piece(draft, cell), 0)


@operation
def remove_from_here_on(draft: Draft, cell: Cell) -> None:
    """Remove a cell, and all cells that follow it in its track."""
    for i in draft.graph.from_here_on(draft.known_id(cell)):
        follower = Cell(*draft.graph.cell_of[i])
        draft.fill(follower.frame, draft.voxels(follower), 0)


@operation
def merge(draft: Draft, keep: Cell, other: Cell) -> None:
    """Give the clicked piece of `other` to the cell `keep` of the same frame.

    Where `other` is used up and `keep` has no link into the past or the future, it takes over those of `other`.
    """
    if keep.frame != other.frame:
        raise InputError("keep, other", (keep.frame, other.frame), "two cells of one frame")
    if keep.label == other.label:
        raise InputError("other", str(other), "another cell; to join pieces, paint between them")
    draft.voxels(keep)
    piece, whole = clicked_piece(draft, other), draft.voxels(other)
    draft.fill(keep.frame, piece, keep.label)
    if len(piece) == len(whole) and other.key in draft.graph.id_at:
        _inherit(draft, draft.id_of(keep), draft.id_of(other))


def _inherit(draft: Draft, heir: int, other: int) -> None:
    sources, targets = draft.sources(other), draft.targets(other)
    draft.isolate(other)
    if not draft.sources(heir):
        for source in sources:
            draft.link(source, heir)
    if not draft.targets(heir):
        for target in targets:
            draft.link(heir, target)


@operation
def separate(draft: Draft, cell: Cell) -> None:
    """Make the clicked piece of a cell a cell of its own; the tracks stay with the others.

    Raises
    ------
    InputError
        The cell is in one piece, or no voxel was clicked.
    """
    if cell.at is None:
        raise InputError("cell", str(cell), "click on the piece (at) that is to be a cell of its own")
    piece = clicked_piece(draft, cell)
    if len(piece) == len(draft.voxels(cell)):
        raise InputError(str(cell), "in one piece", "a cell of several pieces; split this one along a line")
    draft.fill(cell.frame, piece, draft.free_label())

"""Outlines drawn by hand: a stroke is one edit."""

from __future__ import annotations

import numpy as np

from helpers.curation.cells import Cell, Stroke
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def paint(draft: Draft, stroke: Stroke, cell: Cell | None = None, only_background: bool = False) -> None:
    """Give what was drawn to a cell of the frame, or to a new one.

    Parameters
    ----------
    draft : Draft
    stroke : Stroke
    cell : Cell, optional
        Without it a new cell arises, with the next free label.
    only_background : bool
        Leave other cells as they are.
    """
    stroke = draft.checked(stroke)
    index = stroke.index
    if only_background:
        index = index[draft.seen(stroke.frame).reshape(-1)[index] == 0]
        if len(index) == 0:
            raise InputError("stroke", "other cells only", "voxels of background, or only_background = False")
    draft.fill(stroke.frame, index, _label(draft, stroke, cell))


@operation
def erase(draft: Draft, stroke: Stroke, cell: Cell | None = None) -> None:
    """Make background of what was drawn; only of one cell's voxels where it is named."""
    stroke = draft.checked(stroke)
    index = stroke.index
    if cell is not None:
        label = _label(draft, stroke, cell)
        index = index[draft.seen(stroke.frame).reshape(-1)[index] == label]
    draft.fill(stroke.frame, index, 0)


@operation
def outline(draft: Draft, stroke: Stroke, cell: Cell | None = None) -> None:
    """Give a cell exactly the voxels that were drawn; without a cell a new one arises."""
    stroke = draft.checked(stroke)
    label = _label(draft, stroke, cell)
    if cell is not None:
        draft.fill(stroke.frame, np.setdiff1d(draft.voxels(cell), stroke.index, assume_unique=True), 0)
    draft.fill(stroke.frame, stroke.index, label)


def _label(draft: Draft, stroke: Stroke, cell: Cell | None) -> int:
    if cell is None:
        return draft.free_label()
    if cell.frame != stroke.frame:
        raise InputError("cell", str(cell), f"a cell of frame {stroke.frame}, where the stroke is")
    draft.voxels(cell)
    return cell.label

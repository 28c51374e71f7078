"""Holes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.pieces import flat_index
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def fill_holes(draft: Draft, cell: Cell) -> None:
    """Give a cell the background that it encloses, in space; other cells within it stay.

    Raises
    ------
    InputError
        It encloses none.
    """
    mask, box = draft.mask(cell)
    flat = mask.shape[0] == 1
    filled = ndimage.binary_fill_holes(mask[0])[None] if flat else ndimage.binary_fill_holes(mask)  # type: ignore[index]
    holes = np.asarray(filled) & (draft.seen(cell.frame)[box] == 0)
    if not holes.any():
        raise InputError(str(cell), "no holes", "a cell that encloses background")
    draft.fill(cell.frame, flat_index(holes, box, draft.state.shape[1:]), cell.label)

"""The pieces of a cell that do not touch."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.errors import InputError


def pieces_of(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the connected pieces of a mask, 1…n, corners touching, and how many they are."""
    return ndimage.label(mask, np.ones((3,) * mask.ndim))  # type: ignore[return-value]


def clicked_piece(draft: Draft, cell: Cell) -> np.ndarray:
    """Return the flat index of the piece of a cell that was clicked; of the whole cell where no voxel is named.

    Raises
    ------
    InputError
        There is no such cell, or the click is not on it.
    """
    whole = draft.voxels(cell)
    if cell.at is None:
        return whole
    shape = draft.state.shape[1:]
    if not all(0 <= at < size for at, size in zip(cell.at, shape, strict=True)):
        raise InputError("at", cell.at, f"a voxel (z, y, x) inside {shape}")
    mask, box = draft.mask(cell)
    at = tuple(a - part.start for a, part in zip(cell.at, box, strict=True))
    inside = all(0 <= a < size for a, size in zip(at, mask.shape, strict=True))
    if not inside or not mask[at]:
        raise InputError("at", cell.at, f"a voxel of {cell}")
    pieces, _ = pieces_of(mask)
    return flat_index(pieces == pieces[at], box, shape)


def flat_index(mask: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Return the flat index, in a frame of the `shape`, of the voxels of a mask within a box, ascending."""
    at = np.nonzero(mask)
    where = tuple(a + part.start for a, part in zip(at, box, strict=True))
    return np.asarray(np.ravel_multi_index(where, shape))

"""Frames in which a cell was missed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def interpolate(draft: Draft, first: Cell, last: Cell) -> None:
    """Draw a cell in the frames that are missing between two of its outlines, and link them.

    Shapes are interpolated by their signed distances (Raya and Udupa, IEEE Trans. Med. Imaging 9, 1990), in µm, after both
    outlines were moved to where the cell's centre is expected. Other cells stay as they are. A link over the gap becomes
    links without one.

    Raises
    ------
    InputError
        No frame is missing between them; either goes on, or comes from, elsewhere; other cells lie where it is expected.
    """
    if last.frame - first.frame < 2:
        raise InputError(
            "first, last", (first.frame, last.frame), "two frames with at least one between them"
        )
    source, target = draft.id_of(first), draft.id_of(last)
    if draft.targets(source) - {target} or draft.sources(target) - {source}:
        raise InputError(
            "first, last", f"{first}, {last}", "the ends of a gap; unlink what lies between first"
        )
    masks = [_padded(draft, cell) for cell in (first, last)]
    draft.unlink(source, target)
    label = first.label
    for t in range(first.frame + 1, last.frame):
        index = _between(draft, masks, (t - first.frame) / (last.frame - first.frame))
        index = index[draft.seen(t).reshape(-1)[index] == 0]
        if len(index) == 0:
            raise InputError(f"frame {t}", "other cells", "background where the cell is expected")
        if (draft.seen(t) == label).any():
            label = draft.free_label()
        draft.fill(t, index, label)
        new = draft.id_of(Cell(t, label))
        draft.link(source, new)
        source = new
    draft.link(source, target)


def _padded(draft: Draft, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    """Return a cell's mask with a rim of one voxel, and its corner (z, y, x)."""
    mask, box = draft.mask(cell)
    return np.pad(mask, 1), np.array([part.start - 1 for part in box])


def _between(draft: Draft, masks: list[tuple[np.ndarray, np.ndarray]], part: float) -> np.ndarray:
    """Return the flat index of the shape `part` of the way from the first to the last outline."""
    centres = [corner + np.argwhere(mask).mean(axis=0) for mask, corner in masks]
    centre = (1 - part) * centres[0] + part * centres[1]
    shifts = [np.rint(centre - old).astype(int) for old in centres]
    low = np.min([corner + shift for (_, corner), shift in zip(masks, shifts, strict=True)], axis=0)
    ends = [corner + shift + mask.shape for (mask, corner), shift in zip(masks, shifts, strict=True)]
    size = np.max(ends, axis=0) - low
    distance = np.zeros(size)
    for (mask, corner), shift, weight in zip(masks, shifts, (1 - part, part), strict=True):
        whole = np.zeros(size, bool)
        start = corner + shift - low
        whole[tuple(slice(a, a + n) for a, n in zip(start, mask.shape, strict=True))] = mask
        distance += weight * _signed(whole, draft.voxel_size)
    at = np.argwhere(distance > 0) + low
    shape = draft.state.shape[1:]
    at = at[((at >= 0) & (at < shape)).all(axis=1)]
    return np.sort(np.ravel_multi_index(tuple(at.T), shape))


def _signed(mask: np.ndarray, size: tuple[float, float, float]) -> np.ndarray:
    inside = ndimage.distance_transform_edt(mask, sampling=size)
    outside = ndimage.distance_transform_edt(~mask, sampling=size)
    return np.asarray(inside) - np.asarray(outside)

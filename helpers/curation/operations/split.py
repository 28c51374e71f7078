"""Two cells that were taken for one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.pieces import flat_index
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def split_by_plane(draft: Draft, cell: Cell, points: Sequence[Sequence[float]]) -> None:
    """Split a cell along a line or plane; the larger part keeps the label and the links.

    Parameters
    ----------
    draft : Draft
    cell : Cell
    points : sequence of (z, y, x) in voxels
        Two points of a line drawn in a slice, which cuts through all slices; or three of a plane. In 2D (y, x) will do.

    Raises
    ------
    InputError
        Points that make no line or plane, or all of the cell on one side of it.
    """
    mask, box = draft.mask(cell)
    at = np.asarray([[0.0] * (3 - len(p)) + list(p) for p in points], float)
    if at.shape not in ((2, 3), (3, 3)):
        raise InputError("points", points, "two points of a line, or three of a plane")
    along = at[1:] - at[0]
    normal = np.cross(along[0], along[1] if len(at) == 3 else [1.0, 0.0, 0.0])
    if not np.isfinite(normal).all() or not normal.any():
        raise InputError("points", points, "different points, not all on one line (in 3D: not along z)")
    corner = np.array([part.start for part in box])
    side = np.argwhere(mask) + corner - at[0]
    ahead = np.zeros(mask.shape, np.int32)
    ahead[mask] = np.where(side @ normal > 0, 2, 1)
    if len(np.unique(ahead[mask])) < 2:
        raise InputError("points", points, f"a line through {cell}: all of it lies on one side")
    _part(draft, cell, ahead, box)


@operation
def split_by_seeds(draft: Draft, cell: Cell, seeds: Sequence[Sequence[float]]) -> None:
    """Split a cell into as many as there are seeds; the largest part keeps the label and the links.

    What is flooded is the depth inside the cell, as in the fusion where no star marks a cell
    (`helpers.segmentation.fusion`): the parts meet where the cell is thinnest.

    Parameters
    ----------
    draft : Draft
    cell : Cell
    seeds : sequence of (z, y, x) in voxels
        Two or more voxels of the cell; in 2D (y, x) will do.

    Raises
    ------
    InputError
        Fewer than two seeds, the same voxel twice, or a seed outside the cell.
    """
    from helpers.segmentation.depth import depth_inside
    from helpers.segmentation.watershed import flood

    mask, box = draft.mask(cell)
    markers = np.where(mask, 0, -1).astype(np.int32)
    corner = np.array([part.start for part in box])
    for number, seed in enumerate(seeds, start=1):
        at = tuple((np.rint([0.0] * (3 - len(seed)) + list(seed)).astype(int) - corner).tolist())
        inside = len(at) == 3 and all(0 <= a < size for a, size in zip(at, mask.shape, strict=True))
        if not inside or markers[at] < 0:
            raise InputError("seeds", list(seed), f"a voxel of {cell}")
        if markers[at] > 0:
            raise InputError("seeds", list(seed), "each voxel once")
        markers[at] = number
    if len(seeds) < 2:
        raise InputError("seeds", seeds, "two seeds or more")
    # A rim of background, so that the cell's border is the way out.
    depth = depth_inside(np.pad(mask, 1).astype(np.uint8), 1, 1, draft.voxel_size)[1:-1, 1:-1, 1:-1]
    flood(np.ascontiguousarray(depth), markers, descending=True, by_descent=True)
    # Pieces without a seed stay with the first part.
    markers[mask & (markers == 0)] = 1
    _part(draft, cell, np.maximum(markers, 0), box)


def _part(draft: Draft, cell: Cell, parts: np.ndarray, box: tuple[slice, ...]) -> None:
    """The largest part keeps the label, the others become cells; `parts` numbers them from 1."""
    sizes = np.bincount(parts.reshape(-1))
    largest = int(sizes[1:].argmax()) + 1
    for number in range(1, len(sizes)):
        if number != largest and sizes[number]:
            index = flat_index(parts == number, box, draft.state.shape[1:])
            draft.fill(cell.frame, index, draft.free_label())

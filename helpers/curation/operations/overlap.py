"""Overlap tracking of a single cell, from a click on."""

from __future__ import annotations

import numpy as np

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def follow(draft: Draft, cell: Cell, min_overlap: float = 0.7) -> None:
    """Follow a cell from its frame on: the next is the label under most of its voxels (mmv_h4tracks' rule).

    Where the cell, or one it was followed to, is linked already, the way goes on along the link as long as it leads to the
    same cell. It joins a track that begins on it, and stops before the middle of another track, where it would contradict a
    link, at a division, and where less than `min_overlap` of the cell's voxels lie on one label.

    Parameters
    ----------
    draft : Draft
    cell : Cell
    min_overlap : float
        Share of a cell's voxels that the next one covers at least, from 0 to 1.

    Raises
    ------
    InputError
        There is no such cell, or nothing to link it to.
    """
    if not 0 <= min_overlap <= 1:
        raise InputError("min_overlap", min_overlap, "a share from 0 to 1")
    now, n_links = cell, 0
    draft.voxels(cell)
    for t in range(cell.frame + 1, draft.state.shape[0]):
        label, share = _under(draft, now, t)
        if label == 0 or share <= min_overlap:
            break
        following = Cell(t, label)
        source, target = draft.id_of(now), draft.id_of(following)
        if draft.targets(source) - {target} or draft.sources(target) - {source}:
            break
        n_links += target not in draft.targets(source)
        draft.link(source, target)
        now = following
    if n_links == 0:
        raise InputError(
            str(cell),
            "nothing to link",
            f"a cell that overlaps by more than {min_overlap:g} with a next one that is free",
        )


def _under(draft: Draft, cell: Cell, t: int) -> tuple[int, float]:
    """Return the label of frame `t` under most voxels of a cell, and the share of them it covers; 0 is background."""
    index = draft.voxels(cell)
    labels, counts = np.unique(draft.seen(t).reshape(-1)[index], return_counts=True)
    best = int(counts.argmax())
    return int(labels[best]), float(counts[best] / len(index))

"""Cells whose outline cannot be right: tiny, huge, in pieces, or in no track."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from helpers.curation.operations.pieces import pieces_of
from helpers.curation.suspects.signs import Cells, Sign

#: Shares of the median size below which a cell is tiny, and above which it is huge.
_TINY, _HUGE = 0.25, 2.2
#: Largest share of a cell's voxels that a piece may have without a word.
_CRUMB = 0.02


def signs(cells: Cells) -> Iterator[Sign]:
    """Yield the signs about sizes, compared with the cells of the same frame."""
    for t in np.unique(cells.frames):
        rows = np.flatnonzero(cells.frames == t)
        median = float(np.nanmedian(cells.sizes[rows]))
        if len(rows) < 4 or not median > 0:
            continue
        for row, share in zip(rows.tolist(), (cells.sizes[rows] / median).tolist(), strict=True):
            if share < _TINY:
                score, words = 0.3 + 0.5 * (1 - share / _TINY), "small"
            elif share > _HUGE:
                score, words = min(0.8, 0.3 + 0.3 * (share / _HUGE - 1)), "large"
            else:
                continue
            reason = f"is {share:.2g} times as large as the others of its frame"
            yield Sign(f"very {words}", row, score, reason, cells.marks_of_cell(row))


def in_labels(cells: Cells, labels) -> Iterator[tuple[Sign, tuple[int, int, tuple[float, float, float]]]]:
    """Yield the signs that only the labels tell, each with frame, label and centre (µm): pieces, and untracked cells."""
    table = cells.tracks.objects
    rows = {
        key: k for k, key in enumerate(zip(table["frame"].tolist(), table["label"].tolist(), strict=True))
    }
    for t in range(cells.shape[0]):
        frame = labels.frame(t)
        present = np.unique(frame)
        boxes = ndimage.find_objects(frame)
        for label in present[present > 0].tolist():
            box = boxes[label - 1]
            mask = frame[box] == label
            row = rows.get((t, label), -1)
            where = _centre(mask, box, cells.voxel_size)
            marks = cells.marks_of_cell(row) if row >= 0 else (("frame", t),)
            if row < 0:
                yield Sign("untracked", -1, 0.3, "is in no track", marks), (t, label, where)
            share = _second_piece(mask)
            if share > _CRUMB:
                reason = f"is in several pieces; the second has {100 * share:.0f} % of its voxels"
                yield Sign("pieces", row, min(0.85, 0.4 + 1.5 * share), reason, marks), (t, label, where)


def _centre(mask: np.ndarray, box, voxel_size) -> tuple[float, float, float]:
    at = (np.argwhere(mask).mean(axis=0) + [part.start for part in box]) * voxel_size
    return float(at[0]), float(at[1]), float(at[2])


def _second_piece(mask: np.ndarray) -> float:
    """Return the share of a mask's voxels that its second-largest piece has."""
    pieces, n = pieces_of(mask)
    if n < 2:
        return 0.0
    sizes = np.sort(np.bincount(pieces.reshape(-1))[1:])
    return float(sizes[-2] / sizes.sum())

"""Numbers of cells."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from helpers.curation.draft import Draft
from helpers.curation.operations.pieces import flat_index, pieces_of
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def relabel_fragments(draft: Draft, frame: int) -> None:
    """Make each piece of a frame a cell of its own; the largest piece of a cell keeps its label and links.

    Raises
    ------
    InputError
        All cells are in one piece.
    """
    labels = draft.seen(frame).copy()
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        pieces, n = pieces_of(labels[box] == number)
        if n < 2:
            continue
        largest = int(np.bincount(pieces.reshape(-1))[1:].argmax()) + 1
        for piece in range(1, n + 1):
            if piece != largest:
                draft.fill(frame, flat_index(pieces == piece, box, labels.shape), draft.free_label())
    if np.array_equal(labels, draft.seen(frame)):
        raise InputError("frame", frame, "a frame with a cell of several pieces")


@operation
def align_labels(draft: Draft) -> None:
    """Give each tracked cell the number of its tracklet as label, from 1; other cells get numbers above all.

    Tracklets (between divisions) are numbered by their first frame, then by the object's id.
    """
    number = _tracklet_numbers(draft)
    above = max(number.values(), default=0) + 1
    for t in range(draft.state.shape[0]):
        labels = np.unique(draft.seen(t))
        labels = labels[labels > 0]
        ids = [draft.graph.id_at.get((t, label)) for label in labels.tolist()]
        after = np.array([0 if i is None else number[i] for i in ids], np.int64)
        free = np.setdiff1d(np.arange(above, above + 2 * len(labels) + 1), after)
        after[after == 0] = free[: (after == 0).sum()]
        if not np.array_equal(labels, after):
            draft.rename(t, labels, after)


def _tracklet_numbers(draft: Draft) -> dict[int, int]:
    graph = draft.graph
    number: dict[int, int] = {}
    next_number = 1
    for i in graph.in_time(graph.cell_of):
        sources = graph.sources.get(i, set())
        only = next(iter(sources)) if len(sources) == 1 else None
        if only is not None and len(graph.targets.get(only, ())) == 1:
            number[i] = number[only]
        else:
            number[i] = next_number
            next_number += 1
    return number

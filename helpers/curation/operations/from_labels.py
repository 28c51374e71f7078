"""Tracks out of labels that keep their number through the frames."""

from __future__ import annotations

from helpers.curation.cells import Cell
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation


@operation
def tracks_from_labels(draft: Draft) -> None:
    """Link cells of like label in frames that follow each other, where neither is linked that way yet.

    As mmv_h4tracks' key Ctrl+T; links that are there stay.
    """
    for (t, label), i in sorted(draft.graph.id_at.items()):
        following = draft.graph.id_at.get((t + 1, label))
        if following is not None and not draft.targets(i) and not draft.sources(following):
            draft.link(draft.id_of(Cell(t, label)), following)

"""The edits of a second person, made on a copy of the run: those that do not contradict ours are repeated here.

::

    automatic ── common edits ──┬── ours
                                └── theirs     a conflict: what they change we have changed, too

An edit that depends on one in conflict is in conflict, too. Nothing of theirs is dropped in silence.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.curation import log as logs
from helpers.curation.arguments import from_plain
from helpers.curation.automatic import difference
from helpers.curation.log import Edit, active
from helpers.curation.session import Curation, check_movie
from helpers.curation.state import State
from helpers.curation.voxels import decode, index_of
from helpers.errors import InputError

_CONFLICTS = ["edit", "operation", "author", "time", "why"]


@dataclass(frozen=True)
class Merged:
    """What came of their edits.

    Attributes
    ----------
    added : int
        Edits of theirs that are in our log now.
    same : int
        Edits that both had made.
    conflicts : DataFrame
        One row per edit of theirs that is not: ``edit, operation, author, time, why``.
    """

    added: int
    same: int
    conflicts: pd.DataFrame


@dataclass
class _Touched:
    """What edits change: objects, by id, and voxels, by frame."""

    ids: set[Any] = field(default_factory=set)
    voxels: dict[int, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))

    def add(self, other: _Touched) -> None:
        self.ids |= other.ids
        for t, parts in other.voxels.items():
            self.voxels[t] += parts

    def meets(self, other: _Touched) -> bool:
        if self.ids & other.ids:
            return True
        return any(
            np.isin(np.concatenate(parts), np.concatenate(other.voxels[t])).any()
            for t, parts in self.voxels.items()
            if t in other.voxels
        )


def merge_log(curation: Curation, path: str | Path) -> Merged:
    """Repeat the edits of another log of this movie and result.

    Parameters
    ----------
    curation : Curation
        Ours.
    path : path-like
        Their log.

    Raises
    ------
    InputError
        A log of another movie, or of another segmentation or tracking.
    """
    automatic = curation.state.automatic
    content = logs.read_log(Path(path))
    check_movie(Path(path), content, automatic)
    if differs := difference(content.header["automatic"], automatic.fingerprint):
        raise InputError(str(path), f"{differs} differ", "a log that was made on the same automatic result")
    theirs, ours = active(content.edits)[0], list(curation.state.done)
    ids = {edit.first_id for edit in theirs}, {edit.first_id for edit in ours}
    common = [edit for edit in ours if edit.first_id in ids[0]]
    rows = [_row(edit, "undone by them, kept here") for edit in ours if _undone(edit, content.edits, ids[0])]
    own = [edit for edit in ours if edit.first_id not in ids[0]]
    new = [edit for edit in theirs if edit.first_id not in ids[1]]
    highest = curation.state.highest_label
    ours_touched = _Touched()
    for touched in _touched_by(State(automatic, common, highest), own):
        ours_touched.add(touched)
    known = {_what(edit) for edit in own}
    added = same = 0
    for edit, touched in zip(new, _touched_by(State(automatic, common, highest), new), strict=True):
        if _what(edit) in known:
            same += 1
            continue
        why = (
            "changes what we have changed, or depends on such an edit"
            if touched.meets(ours_touched)
            else None
        )
        if why is None:
            try:
                arguments = from_plain(edit.arguments, curation.state.labels)
                curation.repeat(edit.operation, arguments, edit.author, edit.time, edit.first_id)
                added += 1
                continue
            except InputError as error:
                why = str(error)
        ours_touched.add(touched)
        rows.append(_row(edit, why))
    return Merged(added, same, pd.DataFrame(rows, columns=_CONFLICTS))


def _undone(edit: Edit, their_lines: list[Edit], theirs: set[str]) -> bool:
    return edit.first_id not in theirs and edit.id in {line.id for line in their_lines}


def _row(edit: Edit, why: str) -> list[str]:
    return [edit.first_id, edit.operation, edit.author, edit.time, why]


def _what(edit: Edit) -> str:
    return repr((edit.operation, edit.arguments))


def _touched_by(state: State, edits: list[Edit]) -> list[_Touched]:
    """Return what each of some edits, done one after the other, changes."""
    fork, found = state.graph.next_id, []
    for edit in edits:
        touched, changes, graph = _Touched(), edit.changes, state.graph
        for part in changes.voxels:
            start, length, _, _ = decode(part.text, 4)
            touched.voxels[part.frame].append(index_of(start, length))
            keys = [(part.frame, int(label)) for label in part.labels()]
            touched.ids |= {graph.id_at.get(key, key) for key in keys if key in graph.id_at}
        for part in changes.renamings:
            touched.ids |= {
                graph.id_at.get((part.frame, int(b)), (part.frame, int(b))) for b in part.pairs()[0]
            }
        touched.ids |= {i for c in changes.cells for i in (c.before, c.after) if i is not None}
        touched.ids |= {i for link in (*changes.unlinked, *changes.linked) for i in link}
        touched.ids |= {
            i for mark in (*changes.marked, *changes.unmarked) if mark[0] != "frame" for i in mark[1:]
        }
        # Ids that arose after the fork mean other objects in the other log.
        ours = {(id(edits), i) if isinstance(i, int) and i >= fork else i for i in touched.ids}
        found.append(_Touched(ours, touched.voxels))
        state.do(edit)
    return found

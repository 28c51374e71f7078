"""Who is linked to whom: the curated tracks while they are edited.

An object keeps its id for good; the label it has in its frame may change. A cell without an id is in no track and
not in the table of objects, such as one that notebook 10_track left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from helpers.curation.changes import Changes, Link, Mark
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks

Key = tuple[int, int]


class Graph:
    """Objects, links and what a person found correct.

    Parameters
    ----------
    tracks : Tracks
        The automatic ones, with ``label`` among the columns of their objects.

    Attributes
    ----------
    id_at : dict
        (frame, label) → id.
    cell_of : dict
        id → (frame, label).
    ids_in : dict of set
        frame → ids of its objects.
    targets, sources : dict of set
        id → ids of the next, of the cells before; without an entry where there are none.
    marks : set of Mark
    next_id : int
        Above all ids that were ever given.
    """

    def __init__(self, tracks: Tracks) -> None:
        if "label" not in tracks.objects:
            raise InputError(
                "tracks",
                list(tracks.objects.columns),
                "add the column label: cells are corrected where they lie in the label movie",
            )
        table = tracks.objects[["id", "frame", "label"]].to_numpy(np.int64)
        self.cell_of: dict[int, Key] = {i: (t, label) for i, t, label in table.tolist()}
        self.id_at: dict[Key, int] = {key: i for i, key in self.cell_of.items()}
        if len(self.id_at) < len(self.cell_of):
            raise InputError("tracks", "a label twice in a frame", "one object for each label of a frame")
        self.ids_in: dict[int, set[int]] = defaultdict(set)
        for i, (t, _) in self.cell_of.items():
            self.ids_in[t].add(i)
        self.targets: dict[int, set[int]] = defaultdict(set)
        self.sources: dict[int, set[int]] = defaultdict(set)
        for source, target in tracks.links[["source", "target"]].to_numpy(np.int64).tolist():
            self.targets[source].add(target)
            self.sources[target].add(source)
        self.marks: set[Mark] = set()
        self.next_id = int(table[:, 0].max(initial=-1)) + 1

    def links(self) -> set[Link]:
        """Return all (source, target)."""
        return {(source, target) for source, targets in self.targets.items() for target in targets}

    def apply(self, changes: Changes, *, backwards: bool = False) -> None:
        """Do what an edit changes, or undo it."""
        off, on = (changes.unlinked, changes.linked), (changes.unmarked, changes.marked)
        unlinked, linked = reversed(off) if backwards else off
        unmarked, marked = reversed(on) if backwards else on
        for source, target in unlinked:
            self.targets[source].discard(target)
            self.sources[target].discard(source)
        self._apply_cells(changes, backwards)
        for source, target in linked:
            self.targets[source].add(target)
            self.sources[target].add(source)
        self.marks.difference_update(unmarked)
        self.marks.update(marked)

    def _apply_cells(self, changes: Changes, backwards: bool) -> None:
        moves = [
            (c.frame, c.label, c.after, c.before) if backwards else (c.frame, c.label, c.before, c.after)
            for c in changes.cells
        ]
        for frame, label, before, _ in moves:
            if before is not None:
                del self.id_at[frame, label], self.cell_of[before]
                self.ids_in[frame].discard(before)
        for frame, label, _, after in moves:
            if after is not None:
                self.id_at[frame, label], self.cell_of[after] = after, (frame, label)
                self.ids_in[frame].add(after)
                self.next_id = max(self.next_id, after + 1)
        for renaming in changes.renamings:
            before, after = (part.tolist() for part in renaming.pairs(backwards=backwards))
            ids = [self.id_at.pop((renaming.frame, label), None) for label in before]
            for i, label in zip(ids, after, strict=True):
                if i is not None:
                    self.id_at[renaming.frame, label], self.cell_of[i] = i, (renaming.frame, label)

    def track_of(self, i: int) -> list[int]:
        """Return the ids of an object's whole track (tree), in order of time."""
        return self._reached(i, lambda j: self.targets.get(j, set()) | self.sources.get(j, set()))

    def from_here_on(self, i: int) -> list[int]:
        """Return an object and all that follow it, in order of time."""
        return self._reached(i, lambda j: self.targets.get(j, set()))

    def path(self, first: int, last: int) -> list[int] | None:
        """Return the ids from one object to a later one of the same track along the links; None where there is no way."""
        back = {last: last}
        waiting = [last]
        while waiting:
            i = waiting.pop()
            if i == first:
                found = [i]
                while i != last:
                    i = back[i]
                    found.append(i)
                return found
            for source in sorted(self.sources.get(i, ())):
                if source not in back:
                    back[source] = i
                    waiting.append(source)
        return None

    def _reached(self, i: int, neighbours) -> list[int]:
        found, waiting = {i}, [i]
        while waiting:
            new = neighbours(waiting.pop()) - found
            found |= new
            waiting.extend(new)
        return self.in_time(found)

    def in_time(self, ids: Iterable[int]) -> list[int]:
        """Return ids ordered by frame, then by id."""
        return sorted(ids, key=lambda i: (self.cell_of[i][0], i))

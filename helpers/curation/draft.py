"""An edit while it is made: operations change a draft, and what they changed becomes the edit.

The draft keeps labels, objects and links together, whatever an operation does: a cell whose last voxel goes takes its
object and links along; a label that appears becomes an object; what was found correct and is changed is so no longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from helpers.curation.cells import Cell, Stroke, voxels_of
from helpers.curation.changes import CellChange, Changes, Link, Mark
from helpers.curation.state import State
from helpers.curation.voxels import Renaming, VoxelChange
from helpers.errors import InputError

#: Frames that a draft holds at a time.
_OPEN_FRAMES = 4
#: Arguments that are named of an edit that changes nothing.
_NAMED = 3


@dataclass(frozen=True)
class _FrameChange:
    """A frame's change, the labels in it, and those that vanish from and appear in the frame."""

    change: VoxelChange
    labels: list[int]
    vanished: list[int]
    appeared: list[int]


class Draft:
    """What an operation works on.

    Parameters
    ----------
    state : State
        Stays as it is.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.graph = state.graph
        self.voxel_size = state.automatic.voxel_size
        self._frames: dict[int, np.ndarray] = {}
        self._closed: dict[int, _FrameChange] = {}
        self._renamings: dict[int, Renaming] = {}
        self._ids: dict[tuple[int, int], int | None] = {}
        self._targets: dict[int, set[int]] = {}
        self._sources: dict[int, set[int]] = {}
        self._marked: set[Mark] = set()
        self._unmarked: set[Mark] = set()
        self._next_id = state.graph.next_id
        self._next_label = state.highest_label + 1

    # ---- labels --------------------------------------------------------------------------------------

    def seen(self, t: int) -> np.ndarray:
        """Return a frame's labels (Z, Y, X) to be read."""
        if not 0 <= t < self.state.shape[0]:
            raise InputError("frame", t, f"0 to {self.state.shape[0] - 1}")
        return self.frame(t) if t in self._frames or t in self._closed else self.state.labels.frame(t)

    def frame(self, t: int) -> np.ndarray:
        """Return a frame's labels (Z, Y, X) to be changed in place, until another few frames were asked for."""
        if t not in self._frames:
            self._frames[t] = self.state.labels.frame(t).copy()
            if (closed := self._closed.pop(t, None)) is not None:
                closed.change.apply(self._frames[t])
            while len(self._frames) > _OPEN_FRAMES:
                self._close(next(iter(self._frames)))
        return self._frames[t]

    def _close(self, t: int) -> None:
        before, after = self.state.labels.frame(t), self._frames.pop(t)
        if (change := VoxelChange.between(t, before, after)) is not None:
            left, came = change.sides()  # which are there before, and after, without a look
            was = left | _present(before, came - left)
            will = came | _present(after, left - came)
            self._closed[t] = _FrameChange(
                change, sorted(left | came), sorted(was - will), sorted(will - was)
            )

    def voxels(self, cell: Cell) -> np.ndarray:
        """Return the flat index of a cell's voxels.

        Raises
        ------
        InputError
            There is no such cell.
        """
        index = np.flatnonzero(self.seen(cell.frame).reshape(-1) == cell.label) if cell.label > 0 else []
        if len(index) == 0:
            raise InputError(str(cell), "not there", "a cell of that frame; on background nothing is done")
        return np.asarray(index)

    def mask(self, cell: Cell) -> tuple[np.ndarray, tuple[slice, ...]]:
        """Return a cell's mask within its bounding box, and the box."""
        at = np.unravel_index(self.voxels(cell), self.state.shape[1:])
        box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in at)
        return self.seen(cell.frame)[box] == cell.label, box

    def fill(self, t: int, index: np.ndarray, label: int) -> None:
        """Give voxels of a frame a label."""
        self.frame(t).reshape(-1)[index] = label

    def free_label(self) -> int:
        """Return the next label that no cell of the movie has, nor ever had."""
        self._next_label += 1
        return self._next_label - 1

    def checked(self, stroke: Stroke) -> Stroke:
        """Return a stroke that lies in its frame and draws something."""
        size = self.seen(stroke.frame).size
        if len(stroke.index) == 0 or stroke.index[0] < 0 or stroke.index[-1] >= size:
            raise InputError("stroke", f"{len(stroke.index)} voxels", f"voxels inside frame {stroke.frame}")
        return stroke

    def rename(self, t: int, before: np.ndarray, after: np.ndarray) -> None:
        """Give labels of a frame, which nothing else changes, other numbers, one to one."""
        self._renamings[t] = Renaming.of(t, before.astype(np.int64), after.astype(np.int64))

    # ---- objects and links ---------------------------------------------------------------------------

    def id_of(self, cell: Cell) -> int:
        """Return the id of a cell's object; a cell that is in no table yet gets one.

        Raises
        ------
        InputError
            There is no such cell.
        """
        known = self._ids[cell.key] if cell.key in self._ids else self.graph.id_at.get(cell.key)
        if known is None:
            self.voxels(cell)
            known = self._ids[cell.key] = self._new_id()
        return known

    def known_id(self, cell: Cell) -> int:
        """Return the id of a cell's object.

        Raises
        ------
        InputError
            There is no such cell, or it is in no track.
        """
        self.voxels(cell)
        if (found := self.graph.id_at.get(cell.key)) is None:
            raise InputError(str(cell), "in no track", "a cell that is tracked")
        return found

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def targets(self, i: int) -> set[int]:
        """Return the ids that an object is linked to, later."""
        return set(self._targets.get(i, self.graph.targets.get(i, ())))

    def sources(self, i: int) -> set[int]:
        """Return the ids that are linked to an object, earlier."""
        return set(self._sources.get(i, self.graph.sources.get(i, ())))

    def link(self, source: int, target: int) -> None:
        """Link two objects."""
        self._targets[source] = self.targets(source) | {target}
        self._sources[target] = self.sources(target) | {source}

    def unlink(self, source: int, target: int) -> None:
        """Take a link away."""
        self._targets[source] = self.targets(source) - {target}
        self._sources[target] = self.sources(target) - {source}

    def isolate(self, i: int) -> None:
        """Take all links of an object away."""
        for target in self.targets(i):
            self.unlink(i, target)
        for source in self.sources(i):
            self.unlink(source, i)

    def drop(self, i: int) -> None:
        """Take an object out of the tracks; its label stays."""
        self.isolate(i)
        self._ids[self.graph.cell_of[i]] = None

    def mark(self, mark: Mark) -> None:
        """Note that something is correct."""
        self._marked.add(mark)

    def unmark(self, mark: Mark) -> None:
        """Take the note back."""
        self._unmarked.add(mark)

    # ---- the edit ------------------------------------------------------------------------------------

    def finish(self) -> Changes:
        """Return all that was changed."""
        while self._frames:
            self._close(next(iter(self._frames)))
        closed = [self._closed[t] for t in sorted(self._closed)]
        touched = {(part.change.frame, label) for part in closed for label in part.labels}
        for part in closed:
            self._keep_objects(part)
        cells = [
            CellChange(*key, self.graph.id_at.get(key), after)
            for key, after in sorted(self._ids.items())
            if self.graph.id_at.get(key) != after
        ]
        gone = {c.before for c in cells if c.before is not None}
        unlinked, linked = self._links()
        changed = gone | {self.graph.id_at[key] for key in touched if key in self.graph.id_at}
        marks = self._marked - self.graph.marks
        unmarked = self._no_longer(changed, gone, touched, unlinked | linked) - self._marked
        return Changes(
            tuple(part.change for part in closed),
            tuple(self._renamings[t] for t in sorted(self._renamings)),
            tuple(cells),
            tuple(sorted(unlinked)),
            tuple(sorted(linked)),
            tuple(sorted((unmarked | self._unmarked) & self.graph.marks)),
            tuple(sorted(marks)),
        )

    def _links(self) -> tuple[set[Link], set[Link]]:
        """Return the links that go and those that come."""
        before = {(i, j) for i in self._targets for j in self.graph.targets.get(i, ())}
        after = {(i, j) for i, targets in self._targets.items() for j in targets}
        return before - after, after - before

    def _keep_objects(self, part: _FrameChange) -> None:
        """A label that appears in a frame becomes an object, one that vanishes takes its object along."""
        t = part.change.frame
        for label in part.vanished:
            if (i := self.graph.id_at.get((t, label))) is not None:
                self.drop(i)
        for label in part.appeared:
            if self._ids.get((t, label)) is None:
                self._ids[t, label] = self._new_id()

    def _no_longer(
        self, changed: set[int], gone: set[int], touched: set[tuple[int, int]], links: set[Link]
    ) -> set[Mark]:
        """Return the marks of what this edit changes."""
        ends = {i for link in links for i in link if i in self.graph.cell_of}
        frames = {t for t, _ in touched} | {self.graph.cell_of[i][0] for i in ends | gone}
        return (
            {("cell", i) for i in changed}
            | {("frame", t) for t in frames}
            | {("link", *link) for link in links}
            | {("division", i) for i in gone | {source for source, _ in links}}
        )


def _present(labels: np.ndarray, wanted: set[int]) -> set[int]:
    """Return which labels occur in a frame."""
    if len(wanted) <= 4:
        return {label for label in wanted if (labels == label).any()}
    return {label for label, index in voxels_of(labels, sorted(wanted)).items() if len(index)}


class NothingToDo(InputError):
    """An edit that would change nothing."""


def finished(changes: Changes, what: str, values: Iterable[object] = ()) -> Changes:
    """Return changes that are some.

    Raises
    ------
    NothingToDo
        Nothing would change.
    """
    if not changes:
        parts = [
            str(part) for value in values for part in (value if isinstance(value, (list, tuple)) else [value])
        ]
        said = ", ".join(parts[:_NAMED]) + (" …" if len(parts) > _NAMED else "")
        raise NothingToDo(what, said, "something that changes; it is so already")
    return changes

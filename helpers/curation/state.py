"""The curated state: the automatic result, and the edits in force."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from helpers.curation.automatic import Automatic
from helpers.curation.cells import Cell
from helpers.curation.changes import Changes
from helpers.curation.graph import Graph
from helpers.curation.log import Edit, active
from helpers.errors import InputError

#: Frames kept in memory.
_FRAMES = 4


class CuratedLabels:
    """Label frames with the edits in force; a few are kept in memory, others made anew from the log.

    Attributes
    ----------
    shape : tuple of int
        (T, Z, Y, X).
    """

    def __init__(self, automatic: Automatic, frames_in_memory: int = _FRAMES) -> None:
        self._automatic = automatic
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._most = frames_in_memory
        self._changes: dict[int, list[Changes]] = {}
        self.shape = automatic.labels.shape

    @property
    def changed_frames(self) -> list[int]:
        """Frames that edits in force touch."""
        return sorted(t for t, changes in self._changes.items() if changes)

    def frame(self, t: int) -> np.ndarray:
        """Return one frame, (Z, Y, X) int32; a copy is made where it is to be changed."""
        if t not in self._kept:
            labels = self._automatic.labels.frame(t)
            for changes in self._changes.get(t, ()):
                _apply(changes, t, labels)
            self._kept[t] = labels
        self._kept.move_to_end(t)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[t]

    def apply(self, changes: Changes, *, backwards: bool = False) -> None:
        """Do what an edit changes, or undo the last one."""
        for t in sorted(changes.frames):
            if t in self._kept:
                _apply(changes, t, self._kept[t], backwards)
            if not backwards:
                self._changes.setdefault(t, []).append(changes)
            else:
                self._changes[t].pop()


def _apply(changes: Changes, t: int, labels: np.ndarray, backwards: bool = False) -> None:
    for part in (*changes.voxels, *changes.renamings):
        if part.frame == t:
            part.apply(labels, backwards=backwards)


class State:
    """Labels and graph after some edits.

    Parameters
    ----------
    automatic : Automatic
    edits : iterable of Edit
        Lines of a log.
    highest_label : int
        Of the automatic labels.

    Attributes
    ----------
    labels : CuratedLabels
    graph : Graph
    done, undone : list of Edit
        In force; what a redo would bring back, the next one last.
    highest_label : int
        Above 0, no label that was ever used is higher.
    watchers : list of callable
        Each is called with the `Changes` of every edit that is done, undone or redone from now on.
    """

    def __init__(self, automatic: Automatic, edits: Iterable[Edit] = (), highest_label: int = 0) -> None:
        self.automatic = automatic
        self.labels = CuratedLabels(automatic)
        self.graph = Graph(automatic.tracks)
        self.watchers: list[Callable[[Changes], None]] = []
        edits = list(edits)
        self.done, self.undone = active(edits)
        self.highest_label = highest_label
        for edit in self.done:
            self.labels.apply(edit.changes)
            self.graph.apply(edit.changes)
        for edit in edits:  # what was undone has used its labels and ids, too
            self._remember(edit.changes)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, Z, Y, X)."""
        return self.labels.shape

    def do(self, edit: Edit) -> None:
        """Add an edit."""
        self._change(edit.changes)
        self.done.append(edit)
        self.undone.clear()

    def undo(self) -> None:
        """Take the last edit in force back."""
        self._change(self.done[-1].changes, backwards=True)
        self.undone.append(self.done.pop())

    def redo(self) -> None:
        """Bring the edit back that was taken back last."""
        self._change(self.undone[-1].changes)
        self.done.append(self.undone.pop())

    def _change(self, changes: Changes, *, backwards: bool = False) -> None:
        self.labels.apply(changes, backwards=backwards)
        self.graph.apply(changes, backwards=backwards)
        self._remember(changes)
        for watcher in self.watchers:
            watcher(changes)

    def _remember(self, changes: Changes) -> None:
        self.highest_label = max(self.highest_label, changes.highest_label)
        ids = [c.after for c in changes.cells if c.after is not None]
        self.graph.next_id = max([self.graph.next_id, *(i + 1 for i in ids)])

    def cell_at(self, frame: int, at: Sequence[float]) -> Cell:
        """Return the cell under a click.

        Parameters
        ----------
        frame : int
        at : sequence of float
            (z, y, x) in voxels, in 2D (y, x) will do; rounded.

        Raises
        ------
        InputError
            Outside the movie, or on background.
        """
        n_frames, *shape = self.shape
        point = np.rint(np.asarray(at, float)).astype(int)
        if len(point) == 2 and shape[0] == 1:
            point = np.array([0, *point])
        if not 0 <= frame < n_frames:
            raise InputError("frame", frame, f"0 to {n_frames - 1}")
        if len(point) != 3 or (point < 0).any() or (point >= shape).any():
            raise InputError("at", tuple(at), f"a voxel (z, y, x) inside {tuple(shape)}")
        where = (int(point[0]), int(point[1]), int(point[2]))
        label = int(self.labels.frame(frame)[where])
        if label == 0:
            raise InputError("at", where, f"this is background in frame {frame}; click on a cell")
        return Cell(frame, label, where)

    def cell(self, i: int) -> Cell:
        """Return the cell of an object.

        Raises
        ------
        InputError
            There is no such object.
        """
        if i not in self.graph.cell_of:
            raise InputError("id", i, "the id of an object of the curated tracks")
        return Cell(*self.graph.cell_of[i])

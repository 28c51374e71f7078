"""Where cells are, for those who draw them: measured anew, when asked for, where an edit changed the outline."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from helpers.curation.cells import voxels_of
from helpers.curation.changes import Changes
from helpers.curation.state import State


class Positions:
    """Centres of the cells of a state, which it follows through all edits.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        self._state = state
        objects = state.automatic.tracks.objects
        points = objects[["z", "y", "x"]].to_numpy(float)
        self._known: dict[int, np.ndarray] = dict(zip(objects["id"].tolist(), points, strict=True))
        changed = set(state.labels.changed_frames)
        for i, (frame, _) in state.graph.cell_of.items():
            if frame in changed:
                self._known.pop(i, None)
        state.watchers.append(self._forget)

    def of(self, ids: Iterable[int]) -> np.ndarray:
        """Return the centres (n, 3) of objects, (z, y, x) in µm."""
        ids = list(ids)
        missing: dict[int, list[int]] = {}
        for i in ids:
            if i not in self._known:
                missing.setdefault(self._state.graph.cell_of[i][0], []).append(i)
        for t, wanted in missing.items():
            self._measure(t, wanted)
        return np.array([self._known[i] for i in ids], float).reshape(-1, 3)

    def _measure(self, t: int, ids: list[int]) -> None:
        frame = self._state.labels.frame(t)
        label_of = {i: self._state.graph.cell_of[i][1] for i in ids}
        found = voxels_of(frame, list(label_of.values()))
        size = np.array(self._state.automatic.voxel_size)
        for i, label in label_of.items():
            at = np.stack(np.unravel_index(found[label], frame.shape), axis=1)
            self._known[i] = at.mean(axis=0) * size if len(at) else np.full(3, np.nan)

    def _forget(self, changes: Changes) -> None:
        ids = self._state.graph.id_at
        for part in changes.voxels:
            for label in part.labels().tolist():
                self._known.pop(ids.get((part.frame, label), -1), None)
        for change in changes.cells:
            for i in (change.before, change.after):
                if i is not None:
                    self._known.pop(i, None)

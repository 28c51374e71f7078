"""The tree of a track: branches between divisions (and merges), each with its place in a drawing.

::

    row 0              ┌──o──o      a daughter
    row ½   o──o──o────┤            her mother
    row 1              └──o         the other daughter
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.curation.changes import Changes
from helpers.curation.graph import Graph


@dataclass
class Branch:
    """Objects that follow each other without a division or a merge.

    Attributes
    ----------
    ids : list of int
        In order of time.
    sources : list of int
        Ids that its first object comes from; of other branches.
    row : float
        Its place in a drawing: leaves have whole numbers from 0, others lie amid those that come from them.
    """

    ids: list[int]
    sources: list[int]
    row: float = 0.0


def begins_branch(graph: Graph, i: int) -> bool:
    """Whether a branch begins with an object: it comes from none, from several, or from one that divides."""
    sources = graph.sources.get(i, set())
    return len(sources) != 1 or len(graph.targets.get(next(iter(sources)), ())) != 1


def tree_of(graph: Graph, i: int) -> list[Branch]:
    """Return the branches of the track that an object is in, mothers before daughters."""
    branches: dict[int, Branch] = {}
    for first in graph.track_of(i):
        if begins_branch(graph, first):
            branches[first] = Branch(_along(graph, first), sorted(graph.sources.get(first, ())))
    _place(graph, branches)
    return list(branches.values())


def _along(graph: Graph, first: int) -> list[int]:
    ids = [first]
    while len(targets := graph.targets.get(ids[-1], set())) == 1:
        following = next(iter(targets))
        if begins_branch(graph, following):
            break
        ids.append(following)
    return ids


def _place(graph: Graph, branches: dict[int, Branch]) -> None:
    """Give rows: leaves in the order in which they are met, from the founders on; the others amid their daughters."""
    n_leaves, placed = 0, set()
    for founder in branches:
        waiting = [founder]
        while waiting:
            first = waiting[-1]
            daughters = [j for j in sorted(graph.targets.get(branches[first].ids[-1], ())) if j in branches]
            new = [j for j in reversed(daughters) if j not in placed]
            if first not in placed and new:
                placed.add(first)
                waiting.extend(new)
                continue
            waiting.pop()
            if daughters:
                branches[first].row = float(np.mean([branches[j].row for j in daughters]))
            elif first not in placed:
                branches[first].row, n_leaves = float(n_leaves), n_leaves + 1
            placed.add(first)


class Founders:
    """The first object of the track of each object, by which a track is named whatever else is edited.

    Parameters
    ----------
    graph : Graph
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[int, int] = {}
        self._members: dict[int, list[int]] = {}

    def forget(self, changes: Changes) -> None:
        """Look anew at the tracks that an edit touched."""
        ids = {i for link in (*changes.linked, *changes.unlinked) for i in link}
        ids |= {i for change in changes.cells for i in (change.before, change.after) if i is not None}
        for i in ids:
            for member in self._members.pop(self._known.get(i, -1), ()):
                self._known.pop(member, None)

    def of(self, i: int) -> int:
        """Return the id of the first object (the lowest id of several) of an object's track."""
        if i not in self._known:
            ids = self._graph.track_of(i)
            self._known.update(dict.fromkeys(ids, ids[0]))
            self._members[ids[0]] = ids
        return self._known[i]

    def tracks(self) -> dict[int, list[int]]:
        """Return the ids of the objects of all tracks of two objects or more, in order of time, by their founder."""
        found: dict[int, list[int]] = {}
        for i in self._graph.in_time(self._graph.cell_of):
            found.setdefault(self.of(i), []).append(i)
        return {founder: ids for founder, ids in found.items() if len(ids) > 1}

"""Corrections made in another program, such as napari-track-edit: what differs from ours becomes edits.

::

    curated/tracks.geff  ──edited there──>  theirs.geff  ──take_over──>  outline, remove, unlink, link … in the log

Each of their nodes is our cell with its id, where it lies where that cell does; else the cell at its place. The id alone
says nothing: funtracks adds 1 to all where one is 0. Where they give outlines, each is the cell that it covers best
(highest IoU, one to one), and the outlines become ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.curation.cells import Cell, Stroke, voxels_of
from helpers.curation.positions import Positions
from helpers.curation.session import Curation
from helpers.curation.state import State
from helpers.errors import InputError
from helpers.tracking.formats.geff_masks import Outline
from helpers.tracking.tracks import Tracks

Key = tuple[int, int]
_Drawn = dict[Key, np.ndarray]


@dataclass(frozen=True)
class TakenOver:
    """What came of their corrections.

    Attributes
    ----------
    edits : int
        Edits that are in the log now.
    missed : DataFrame
        One row for each that could not be made: ``what, why``.
    """

    edits: int
    missed: pd.DataFrame


def take_over(curation: Curation, theirs: Tracks, outlines: Mapping[int, Outline] | None = None) -> TakenOver:
    """Make edits of what their tracks have other than the curated ones: outlines, links that went or came, cells taken out.

    Parameters
    ----------
    curation : Curation
        Open for editing, in the state that was given away, or later.
    theirs : Tracks
        Read from what the other program wrote, positions in µm.
    outlines : mapping, optional
        The outline of each node, where that program has labels; without them labels stay as they are.

    Raises
    ------
    InputError
        Fewer than half of their nodes lie on cells of this movie, or outlines that do not fit into it.
    """
    taking = _Taking(curation)
    if outlines:
        cells = taking.outlines(theirs.objects, outlines)
    else:
        cells = _at_places(curation.state, theirs.objects)
        _check_same_movie(len(cells), len(theirs.objects))
        for node in theirs.objects["id"]:
            if node not in cells:
                taking.miss(f"node {node}", "no cell of ours is at its place")
    pairs = theirs.links[["source", "target"]].to_numpy().tolist()
    wanted = {(cells[a], cells[b]) for a, b in pairs if a in cells and b in cells}
    for operation, arguments in _link_edits(curation.state, wanted, set(cells.values()), not outlines):
        taking.do(operation, **arguments)
    return TakenOver(taking.edits, pd.DataFrame(taking.missed, columns=["what", "why"]))


def _check_same_movie(found: int, nodes: int) -> None:
    if found < nodes / 2:  # another movie: what is not found would be deleted
        words = f"only {found} lie on a cell of it" if found else "none lies on a cell of it"
        raise InputError("tracks", f"{nodes} nodes", f"tracks of this movie: {words}")


class _Taking:
    """Edits that are made, and those that were refused."""

    def __init__(self, curation: Curation) -> None:
        self.curation, self.state = curation, curation.state
        self.edits = 0
        self.missed: list[dict[str, str]] = []

    def miss(self, what: str, why: str) -> None:
        self.missed.append({"what": what, "why": why})

    def do(self, operation: str, **arguments: Any) -> bool:
        try:
            self.curation.do(operation, **arguments)
        except InputError as error:
            self.miss(operation, str(error))
            return False
        self.edits += 1
        return True

    def outlines(self, objects: pd.DataFrame, outlines: Mapping[int, Outline]) -> dict[int, Key]:
        """Give cells the outlines of their nodes; return {node: (frame, label)}."""
        shape = self.state.shape[1:]
        nodes: dict[int, dict[int, np.ndarray]] = {t: {} for t in range(self.state.shape[0])}
        for node, t in zip(objects["id"].tolist(), objects["frame"].tolist(), strict=True):
            if t not in nodes:
                raise InputError(
                    "tracks", f"a node in frame {t}", f"tracks of this movie: {len(nodes)} frames"
                )
            if node in outlines:
                nodes[t][node] = outlines[node].index(shape)
        matched = {t: _best_covered(self.state.labels.frame(t), of_frame) for t, of_frame in nodes.items()}
        _check_same_movie(sum(map(len, matched.values())), len(objects))
        cells: dict[int, Key] = {}
        for t, of_frame in nodes.items():
            cells |= self._frame(t, of_frame, matched[t])
        return cells

    def _frame(self, t: int, nodes: dict[int, np.ndarray], matched: dict[int, int]) -> dict[int, Key]:
        """Remove cells that have no node, then draw what differs."""
        kept = set(matched.values())
        for label in sorted(self.state.graph.cell_of[i][1] for i in self.state.graph.ids_in[t]):
            if label not in kept:
                self.do("remove", cell=Cell(t, label))
        ours = voxels_of(self.state.labels.frame(t), sorted(kept))
        cells = {node: (t, label) for node, label in matched.items()}
        todo = [n for n in nodes if n not in matched or not np.array_equal(ours[matched[n]], nodes[n])]
        while todo:
            # One that covers another's voxels waits until that one has its own outline: it would vanish otherwise.
            node = next((n for n in todo if not self._covers(t, nodes[n], matched.get(n))), todo[0])
            todo.remove(node)
            cell = Cell(t, matched[node]) if node in matched else None
            if self.do("outline", stroke=Stroke(t, nodes[node]), cell=cell) and cell is None:
                cells[node] = (t, self.state.highest_label)
        return cells

    def _covers(self, t: int, index: np.ndarray, own: int | None) -> bool:
        under = self.state.labels.frame(t).reshape(-1)[index]
        return bool(((under != 0) & (under != (own or 0))).any())


def _best_covered(frame: np.ndarray, nodes: dict[int, np.ndarray]) -> dict[int, int]:
    """Return {node: label} of the cells that outlines cover best, one to one, the highest IoU first."""
    flat = frame.reshape(-1)
    sizes = np.bincount(flat)
    pairs = []
    for node, index in nodes.items():
        labels, common = np.unique(flat[index], return_counts=True)
        pairs += [
            (n / (sizes[label] + len(index) - n), node, int(label))
            for label, n in zip(labels, common, strict=True)
            if label
        ]
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, node, label in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
        if node not in found and label not in taken:
            found[node] = label
            taken.add(label)
    return found


def _at_places(state: State, objects: pd.DataFrame) -> dict[int, Key]:
    """Return {node: (frame, label)} by the nodes' places."""
    size = np.array(state.automatic.voxel_size)
    places = objects[["z", "y", "x"]].to_numpy(float) / size
    # funtracks writes no unit; our µm, read as voxels, are voxels once too often then.
    return max((_cells_at(state, objects, each) for each in (places, places / size)), key=len)


def _cells_at(state: State, objects: pd.DataFrame, places: np.ndarray) -> dict[int, Key]:
    """As `_at_places`; `places` are (z, y, x) in voxels."""
    size = np.array(state.automatic.voxel_size)
    found: dict[int, Key] = {}
    positions = Positions(state)
    nodes = zip(objects["id"].tolist(), objects["frame"].tolist(), strict=True)
    for (node, frame), at in zip(nodes, places, strict=True):
        known = state.graph.cell_of.get(node)
        if known is not None and known[0] == frame and _is_there(positions.of([node])[0] / size, at):
            found[node] = known
            continue
        try:
            key = state.cell_at(frame, at.tolist()).key
        except InputError:
            continue
        if key in state.graph.id_at:
            found[node] = key
    return found


def _is_there(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether a cell has stayed where it was, to a voxel."""
    return bool((np.abs(ours - theirs) <= 1).all())


def _link_edits(
    state: State, wanted: set[tuple[Key, Key]], there: set[Key], delete: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield an operation for each difference; links go first, so that cells are free for those that come."""
    graph = state.graph
    gone = [i for i, key in graph.cell_of.items() if key not in there] if delete else []
    lone = [i for i in gone if not graph.targets.get(i) and not graph.sources.get(i)]
    linked = {(graph.cell_of[a], graph.cell_of[b]) for a, b in graph.links()}
    for source, target in sorted(linked - wanted):
        yield "unlink", {"first": Cell(*source), "last": Cell(*target)}
    for source, target in sorted(wanted - linked):
        cells = [Cell(*source), Cell(*target)]
        if graph.targets.get(graph.id_at.get(source, -1)):
            yield "set_parent", {"daughter": cells[1], "parent": cells[0]}
        else:
            yield "link", {"cells": cells}
    for i in sorted(gone):
        if i in graph.cell_of and i not in lone:
            yield "delete_tracks", {"cells": [Cell(*graph.cell_of[i])]}

"""Corrections made in another program, such as napari-track-edit: what differs from ours becomes edits.

::

    curated/tracks.geff  ──edited there──>  theirs.geff  ──take_over──>  unlink, link, set_parent, delete … in the log

Each of their nodes is our cell with its id, where it lies where that cell does; else the cell at its place. The id alone
says nothing: funtracks adds 1 to all where one is 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.curation.cells import Cell
from helpers.curation.changes import Link
from helpers.curation.positions import Positions
from helpers.curation.session import Curation
from helpers.curation.state import State
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks


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


def take_over(curation: Curation, theirs: Tracks) -> TakenOver:
    """Make edits of what their tracks have other than the curated ones: links that went or came, cells taken out.

    Parameters
    ----------
    curation : Curation
        Open for editing, in the state that was given away, or later.
    theirs : Tracks
        Read from what the other program wrote, positions in µm.

    Raises
    ------
    InputError
        Fewer than half of their nodes lie on cells of this movie.
    """
    state, missed = curation.state, []
    size = np.array(state.automatic.voxel_size)
    places = theirs.objects[["z", "y", "x"]].to_numpy(float) / size
    # funtracks writes no unit; our µm, read as voxels, are voxels once too often then.
    ids = max((_our_ids(state, theirs.objects, each) for each in (places, places / size)), key=len)
    nodes = len(theirs.objects)
    if len(ids) < nodes / 2:  # another movie: what is not found would be deleted
        found = f"only {len(ids)} lie on a cell of it" if ids else "none lies on a cell of it"
        raise InputError("tracks", f"{nodes} nodes", f"tracks of this movie: {found}")
    for node in theirs.objects["id"]:
        if node not in ids:
            missed.append({"what": f"node {node}", "why": "no cell of ours is at its place"})
    pairs = theirs.links[["source", "target"]].to_numpy().tolist()
    wanted = {(ids[a], ids[b]) for a, b in pairs if a in ids and b in ids}
    n = 0
    for operation, arguments in _edits(state, wanted, set(ids.values())):
        try:
            curation.do(operation, **arguments)
            n += 1
        except InputError as error:
            missed.append({"what": operation, "why": str(error)})
    return TakenOver(n, pd.DataFrame(missed, columns=["what", "why"]))


def _our_ids(state: State, objects: pd.DataFrame, places: np.ndarray) -> dict[int, int]:
    """Return their id → ours; `places` are (z, y, x) in voxels."""
    size = np.array(state.automatic.voxel_size)
    found: dict[int, int] = {}
    positions = Positions(state)
    nodes = zip(objects["id"].tolist(), objects["frame"].tolist(), strict=True)
    for (node, frame), at in zip(nodes, places, strict=True):
        known = state.graph.cell_of.get(node)
        if known is not None and known[0] == frame and _is_there(positions.of([node])[0] / size, at):
            found[node] = node
            continue
        try:
            cell = state.cell_at(frame, at.tolist())
        except InputError:
            continue
        if (ours := state.graph.id_at.get(cell.key)) is not None:
            found[node] = ours
    return found


def _is_there(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether a cell has stayed where it was, to a voxel."""
    return bool((np.abs(ours - theirs) <= 1).all())


def _edits(state: State, wanted: set[Link], there: set[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield an operation for each difference; links go first, so that cells are free for those that come."""
    graph = state.graph
    gone = set(graph.cell_of) - there
    lone = [i for i in gone if not graph.targets.get(i) and not graph.sources.get(i)]
    for source, target in sorted(graph.links() - wanted):
        yield "unlink", {"first": state.cell(source), "last": state.cell(target)}
    for source, target in sorted(wanted - graph.links()):
        cells = [state.cell(source), state.cell(target)]
        if graph.targets.get(source):
            yield "set_parent", {"daughter": cells[1], "parent": cells[0]}
        else:
            yield "link", {"cells": cells}
    for i in sorted(gone):
        if i in graph.cell_of and i not in lone:
            yield "delete_tracks", {"cells": [Cell(*graph.cell_of[i])]}

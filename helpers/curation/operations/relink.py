"""Tracking anew of what no person has confirmed, with the trackers of notebook 10_track."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from helpers.curation.changes import Link
from helpers.curation.draft import Draft
from helpers.curation.graph import Graph
from helpers.curation.operations.registry import operation
from helpers.curation.state import State
from helpers.curation.tables import curated_tracks
from helpers.errors import InputError, nearest
from helpers.tracking.tracks import Tracks

#: Makes a cell that the labels have not dearer, for the global tracker, than all that it could be worth.
_NO_OTHER_CELL = 1e3


@operation
def relink(draft: Draft, tracker: str = "lap", **parameters: Any) -> None:
    """Link all cells anew; links and divisions that were confirmed stand, and labels stay as they are.

    Parameters
    ----------
    draft : Draft
    tracker : {"lap", "overlap", "global"}
        Of notebook 10_track. The global one chooses links here, no other cells.
    **parameters
        Of `helpers.tracking.linking.LapParameters`, `helpers.tracking.overlap.OverlapParameters` or
        `helpers.tracking.global_tracker.costs.GlobalParameters`; the defaults where left out.

    Raises
    ------
    InputError
        Another tracker, a parameter that it has not, or as the tracker.
    """
    if tracker not in _TRACKERS:
        raise InputError("tracker", tracker, nearest(tracker, _TRACKERS))
    confirmed = sorted(confirmed_links(draft.graph))
    fixed = pd.DataFrame(confirmed, columns=["source", "target"], dtype="int64")
    try:
        found = _TRACKERS[tracker](draft.state, curated_tracks(draft.state), fixed, parameters)
    except TypeError as error:  # an unknown keyword
        raise InputError(
            "parameters", sorted(parameters), f"those of the tracker {tracker}: {error}"
        ) from None
    wanted, before = set(zip(found.links["source"], found.links["target"], strict=True)), draft.graph.links()
    for source, target in before - wanted:
        draft.unlink(source, target)
    for source, target in wanted - before:
        draft.link(int(source), int(target))


def _lap(state: State, tracks: Tracks, fixed: pd.DataFrame, given: dict[str, Any]) -> Tracks:
    from helpers.tracking.linking import LapParameters, link
    from helpers.tracking.overlap import overlap_table

    parameters = LapParameters(**{"gap_closing": "gap_closing_max_distance" in given, **given})
    overlaps = overlap_table(state.labels, tracks.objects) if parameters.overlap_weight else None
    return link(tracks.objects, parameters, overlaps=overlaps, fixed=fixed)


def _overlap(state: State, tracks: Tracks, fixed: pd.DataFrame, given: dict[str, Any]) -> Tracks:
    from helpers.tracking.overlap import link_overlap

    size = state.automatic.voxel_size
    return link_overlap(state.labels, voxel_size=size, objects=tracks.objects, fixed=fixed, **given)


def _global(state: State, tracks: Tracks, fixed: pd.DataFrame, given: dict[str, Any]) -> Tracks:
    from helpers.tracking.global_tracker.costs import GlobalParameters
    from helpers.tracking.global_tracker.tracker import link_global

    parameters = replace(GlobalParameters(**given), edit=_NO_OTHER_CELL)
    size = state.automatic.voxel_size
    return link_global(
        [state.labels], tracks.objects, voxel_size=size, parameters=parameters, fixed=fixed
    ).tracks


_TRACKERS: dict[str, Callable[..., Tracks]] = {"lap": _lap, "overlap": _overlap, "global": _global}


def confirmed_links(graph: Graph) -> set[Link]:
    """Return the links that a person found correct; those of confirmed divisions are among them."""
    return {(mark[1], mark[2]) for mark in graph.marks if mark[0] == "link"}


def usual_tracker(state: State) -> dict[str, Any]:
    """Return the arguments of `relink` with which notebook 10_track tracked the movie.

    Where it does not say, or took a tracker that keeps no fixed links: LAP, with a reach of twice that within which 95 % of
    the automatic links stay.
    """
    folder = state.automatic.folder.resolve()
    for done in sorted(folder.parent.parent.glob(f"steps/*_track-{folder.name}/done.json")):
        try:
            known = json.loads(done.read_text(encoding="utf-8"))["results"]["tracker"]
            if known["tracker"] in _TRACKERS:
                return dict(known)
        except (OSError, ValueError, KeyError, TypeError):  # another version's, or damaged
            continue
    return {"tracker": "lap", "max_distance": _usual_reach(state)}


def _usual_reach(state: State) -> float:
    """Return a largest move (µm); without links the shortest side of the picture."""
    tracks = state.automatic.tracks
    points, rows = tracks.objects[["z", "y", "x"]].to_numpy(float), tracks.link_rows
    if len(rows) == 0:
        return float(min(np.array(state.shape[2:]) * np.array(state.automatic.voxel_size)[1:]))
    steps = np.linalg.norm(points[rows[:, 1]] - points[rows[:, 0]], axis=1)
    return max(2 * float(np.quantile(steps, 0.95)), float(min(state.automatic.voxel_size)))

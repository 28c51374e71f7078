"""Tracking anew of what no person has confirmed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.curation.changes import Link
from helpers.curation.draft import Draft
from helpers.curation.graph import Graph
from helpers.curation.operations.registry import operation
from helpers.curation.state import State


@operation
def relink(
    draft: Draft,
    max_distance: float,
    gap_closing_distance: float | None = None,
    max_frame_gap: int = 2,
) -> None:
    """Link all cells anew with notebook 08's LAP tracker; links and divisions that were confirmed stand.

    Parameters
    ----------
    draft : Draft
    max_distance : float
        Largest move from one frame to the next, µm.
    gap_closing_distance : float, optional
        Largest move over a gap, µm; without it gaps are not closed.
    max_frame_gap : int
        Largest difference of frames over a gap.

    Raises
    ------
    InputError
        As `helpers.tracking.linking.link`.
    """
    from helpers.curation.tables import curated_tracks
    from helpers.tracking.linking import LapParameters, link

    confirmed = confirmed_links(draft.graph)
    parameters = LapParameters(
        max_distance=max_distance,
        gap_closing=gap_closing_distance is not None,
        gap_closing_max_distance=gap_closing_distance or 0.0,
        max_frame_gap=max_frame_gap,
    )
    objects = curated_tracks(draft.state).objects[["id", "frame", "z", "y", "x"]]
    fixed = pd.DataFrame(sorted(confirmed), columns=["source", "target"], dtype="int64")
    found = link(objects, parameters, fixed=fixed).links[["source", "target"]].to_numpy().tolist()
    wanted, before = {(source, target) for source, target in found}, draft.graph.links()
    for source, target in before - wanted:
        draft.unlink(source, target)
    for source, target in wanted - before:
        draft.link(source, target)


def confirmed_links(graph: Graph) -> set[Link]:
    """Return the links that a person found correct; those of confirmed divisions are among them."""
    return {(mark[1], mark[2]) for mark in graph.marks if mark[0] == "link"}


def usual_reach(state: State) -> float:
    """Return a largest move (µm) to track with: twice that within which 95 % of the automatic links stay.

    Without links it is the shortest side of the picture.
    """
    tracks = state.automatic.tracks
    points, rows = tracks.objects[["z", "y", "x"]].to_numpy(float), tracks.link_rows
    if len(rows) == 0:
        return float(min(np.array(state.shape[2:]) * np.array(state.automatic.voxel_size)[1:]))
    steps = np.linalg.norm(points[rows[:, 1]] - points[rows[:, 0]], axis=1)
    return max(2 * float(np.quantile(steps, 0.95)), float(min(state.automatic.voxel_size)))

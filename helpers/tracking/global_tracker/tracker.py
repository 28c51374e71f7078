"""Global tracker: it chooses the cells and their links at once, among the segmentations that there are.

What one segmentation merges another one splits; frame by frame nobody can tell who is right, over time one can. The regions
of all segmentations (and what time suggests, see `hypotheses`) compete in one integer linear program (`program`), as
in Ultrack (Bragantini et al. 2025), solved without a licence. Costs: `costs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.tracking.global_tracker.costs import GlobalParameters
from helpers.tracking.global_tracker.hypotheses import Hypotheses, hypotheses_of
from helpers.tracking.global_tracker.margins import margins
from helpers.tracking.global_tracker.program import Solution, solve
from helpers.tracking.objects import measure
from helpers.tracking.tracks import Tracks, check_links, check_objects


@dataclass(frozen=True)
class ChosenLabels:
    """The labels of the chosen cells: as in the first set where they are its cells, new numbers above where not.

    Attributes
    ----------
    shape : tuple of int
        (T, Z, Y, X).
    """

    hypotheses: Hypotheses
    chosen: list[np.ndarray]
    labels: list[np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, Z, Y, X)."""
        return (len(self.chosen), *self.hypotheses.frames[0].shape)

    def frame(self, t: int) -> np.ndarray:
        """Return the (Z, Y, X) int32 labels of frame `t`."""
        return self.hypotheses.frames[t].paint(self.chosen[t], self.labels[t])


@dataclass(frozen=True)
class GlobalResult:
    """Tracks, the labels they are of, and how they came about.

    Attributes
    ----------
    tracks : Tracks
        ``links`` carry ``cost``, ``iou`` and ``margin``.
    labels : ChosenLabels
    hypotheses, candidate_links, candidate_divisions : int
        Size of the program.
    changed : int
        Chosen cells that the first set has not.
    cost : float
        Of what is chosen.
    optimal : bool
        Whether every part was solved to the optimum within its time.
    """

    tracks: Tracks
    labels: ChosenLabels
    hypotheses: int
    candidate_links: int
    candidate_divisions: int
    changed: int
    cost: float
    optimal: bool


def link_global(
    sets: Sequence[Any],
    objects: pd.DataFrame,
    *,
    voxel_size: Sequence[float],
    parameters: GlobalParameters | None = None,
    fixed: pd.DataFrame | None = None,
    intensity: Any = None,
    frame_interval: float | None = None,
) -> GlobalResult:
    """Choose cells and links at once.

    Parameters
    ----------
    sets : sequence of LabelMovie, or of iterables of (Z, Y, X) or (Y, X) int ndarray
        Label movies of one shape. The first is the segmentation; the others compete with it. One is enough.
    objects : DataFrame
        Cells of the first set, with ``frame``, ``label`` and what else was measured; others of its labels are passed over.
    voxel_size : sequence of float
        (z, y, x), in 2D (y, x) as well, µm.
    parameters : GlobalParameters, optional
        The defaults if left out.
    fixed : DataFrame, optional
        ``source, target``: ids of objects whose link is given, such as those that a person confirmed; both are then cells.
        Two from one object are a division. Over a gap, and into three, they are kept beside the program.
    intensity : movie, optional
        Anything with ``.frame(t)``: shows where borders are, and is measured in cells that the first set has not.
    frame_interval : float, optional
        Seconds, for the Tracks.

    Returns
    -------
    GlobalResult
        Rows of cells that the first set has stay as they were, with their ids; new ones follow.

    Raises
    ------
    InputError
        Frames of different shapes, objects that are not in the frames, fixed links between objects that are not there, or
        that cannot all be.
    """
    p = parameters or GlobalParameters()
    table = check_objects(objects)
    if "label" not in table:
        raise InputError(
            "objects", list(table.columns), "add the column label, the value in the label frames"
        )
    size = np.array((1.0, *voxel_size)[-3:], float)
    found = hypotheses_of(sets, table, size, p, _rows_of_fixed(table, fixed), intensity)
    solution = solve(found.problem, window=p.window, overlap=p.window_overlap, time_limit=p.time_limit)
    chosen, labels = _chosen_labels(found, solution)
    painted = ChosenLabels(found, chosen, labels)
    new_table, ids = _measured(table, painted, found, size, intensity)
    links = _links(found, solution, ids)
    n_changed = len(ids[ids >= 0]) - int(np.isin(ids[ids >= 0], table["id"]).sum())
    return GlobalResult(
        Tracks(new_table, links, tuple(size), frame_interval),  # type: ignore[arg-type]
        painted,
        len(found.problem),
        len(found.problem.links),
        len(found.problem.divisions),
        n_changed,
        solution.cost,
        solution.optimal,
    )


def _rows_of_fixed(objects: pd.DataFrame, fixed: pd.DataFrame | None) -> np.ndarray:
    """Return (k, 4): frame and label of source and target."""
    given = check_links(fixed, objects, "fixed")
    known = objects.set_index("id")[["frame", "label"]]
    ends = [known.loc[given[side]].to_numpy(np.int64) for side in ("source", "target")]
    return np.concatenate(ends, axis=1)


def _chosen_labels(found: Hypotheses, solution: Solution) -> tuple[list[np.ndarray], list[np.ndarray]]:
    chosen = [np.flatnonzero(solution.cells[a:b]) for a, b in zip(found.start, found.start[1:], strict=False)]
    labels = []
    for regions, rows in zip(found.frames, chosen, strict=True):
        own = regions.label[rows]
        new = own == 0
        first = int(regions.label.max(initial=0)) + 1
        own[new] = first + np.arange(new.sum())
        labels.append(own)
    return chosen, labels


def _measured(
    objects: pd.DataFrame, painted: ChosenLabels, found: Hypotheses, size: np.ndarray, intensity: Any
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the table of chosen cells, and the id of each hypothesis (−1: not chosen)."""
    ids = np.full(int(found.start[-1]), -1, np.int64)
    own = {
        key: i
        for key, i in zip(zip(objects["frame"], objects["label"], strict=True), objects["id"], strict=True)
    }
    following = int(objects["id"].max()) + 1 if len(objects) else 0
    kept: set[int] = set()
    parts = []
    for t, (rows, labels) in enumerate(zip(painted.chosen, painted.labels, strict=True)):
        given = np.array([own.get((t, label), -1) for label in labels.tolist()], np.int64)
        # A cell that lost a rim to a chosen neighbour of another set is measured anew, but keeps its id.
        new = given < 0
        if new.any():
            frame = painted.frame(t)
            table = measure(
                frame, None if intensity is None else intensity.frame(t), voxel_size=tuple(size), frame=t
            )
            table = table.set_index("label").loc[labels[new]].reset_index()
            given[new] = table["id"] = following + np.arange(new.sum())
            following += int(new.sum())
            parts.append(table)
        kept.update(given[~new].tolist())
        ids[found.start[t] + rows] = given
    before = objects[objects["id"].isin(kept)]
    if not parts:
        return before, ids
    added = pd.concat(parts, ignore_index=True).reindex(columns=objects.columns)
    joined = pd.concat([before, added], ignore_index=True)
    return joined.sort_values(["frame", "id"], ignore_index=True), ids


def _links(found: Hypotheses, solution: Solution, ids: np.ndarray) -> pd.DataFrame:
    problem = found.problem
    link_margin, division_margin = margins(problem, solution)
    link, division = np.flatnonzero(solution.links), np.flatnonzero(solution.divisions)
    straight = pd.DataFrame(
        {
            "source": ids[problem.links[link, 0]],
            "target": ids[problem.links[link, 1]],
            "cost": problem.link_cost[link],
            "iou": found.iou[link],
            "margin": link_margin[link],
        }
    )
    forks = [
        pd.DataFrame(
            {
                "source": ids[problem.divisions[division, 0]],
                "target": ids[problem.divisions[division, k]],
                "cost": problem.division_cost[division] / 2,
                "iou": found.division_iou[division],
                "margin": division_margin[division],
            }
        )
        for k in (1, 2)
    ]
    beyond = pd.DataFrame(ids[found.beyond], columns=["source", "target"])
    parts = [part for part in (straight, *forks, beyond) if len(part)] or [straight]
    return pd.concat(parts, ignore_index=True).sort_values(["source", "target"], ignore_index=True)

"""The fault value of mmv_h4tracks: what it would take to correct a result into the curated one.

::

    FV = FP + 10 FN + 5 SC + DE + 1.5 AE        the weights of AOGM (Matula et al., PLoS ONE 10, 2015)

Rules and thresholds are those of mmv_h4tracks 1.3.0, but for two errors of it: the last frame's edges count, and edges are
compared by their cells, not by rounded centroids. An edge is a link that is no division, as its tracks have no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np
import pandas as pd

from helpers.tracking.overlap import Frame, overlaps_within
from helpers.tracking.tracks import Tracks

#: Least IoU of a cell with its partner, and the IoU above (below) which a second partner counts (does not).
MATCH, SECOND = 0.4, 0.2
_WEIGHTS = (1.0, 10.0, 5.0, 1.0, 1.5)


@dataclass(frozen=True)
class Faults:
    """Counts over some frames.

    Attributes
    ----------
    false_positives : int
    false_negatives : float
        Halves arise where two cells fit one equally well.
    split_cells : int
        Cells of the result that hold two true ones, and need a split.
    deleted_edges, added_edges : int
        Edges of the result that the truth lacks; true edges that the result lacks.
    """

    false_positives: int = 0
    false_negatives: float = 0.0
    split_cells: int = 0
    deleted_edges: int = 0
    added_edges: int = 0

    @property
    def value(self) -> float:
        """The fault value."""
        return float(np.dot(_WEIGHTS, astuple(self)))


def partners(truth: np.ndarray, found: np.ndarray) -> pd.DataFrame:
    """Return all pairs of cells that touch in a frame: ``truth, found`` (labels), ``iou``; the best of each cell first."""
    frames = []
    for labels in (truth, found):
        present = np.unique(labels)
        present = present[present > 0].astype(np.int64)
        frames.append(Frame.of(labels, present, present))
    pairs = overlaps_within(frames[0], frames[1])[["source", "target", "iou"]]
    pairs = pairs.rename(columns={"source": "truth", "target": "found"})
    return pairs.sort_values(["iou", "truth", "found"], ascending=[False, True, True], ignore_index=True)


def frame_faults(truth: np.ndarray, found: np.ndarray) -> tuple[Faults, dict[int, int], dict[int, int]]:
    """Return a frame's faults without edges, and who matches whom: true → found label, found → true label."""
    pairs = partners(truth, found)
    of_found: dict[int, list[float]] = {label: [] for label in _labels(found)}
    of_truth: dict[int, list[tuple[float, int]]] = {label: [] for label in _labels(truth)}
    best: dict[int, tuple[float, int]] = {}
    for a, b, iou in pairs.itertuples(index=False):
        of_found[b].append(iou)
        of_truth[a].append((iou, b))
        best.setdefault(b, (iou, a))
    false_positives = sum(
        not ious or (ious[0] < MATCH and not (len(ious) > 1 and ious[1] < SECOND))
        for ious in of_found.values()
    )
    split_cells = sum(len(ious) > 1 and ious[1] > SECOND for ious in of_found.values())
    false_negatives = sum(_missed(mine, of_found) for mine in of_truth.values())
    to_found = {a: mine[0][1] for a, mine in of_truth.items() if mine and mine[0][0] >= MATCH}
    to_truth = {b: a for b, (iou, a) in best.items() if iou >= MATCH}
    return Faults(false_positives, false_negatives, split_cells), to_found, to_truth


def _missed(mine: list[tuple[float, int]], of_found: dict[int, list[float]]) -> float:
    """Return 1 for a true cell that was missed, ½ where its partner fits another one equally well, else 0."""
    if not mine or not mine[0][0] > MATCH:
        return 1.0
    iou, partner = mine[0]
    theirs = of_found[partner]
    if theirs[0] > iou:
        return 1.0
    return 0.5 if len(theirs) > 1 and theirs[1] == theirs[0] else 0.0


def _labels(frame: np.ndarray) -> list[int]:
    found = np.unique(frame)
    return found[found > 0].tolist()


def faults(
    truth_labels,
    found_labels,
    frames: Iterable[int],
    truth: Tracks | None = None,
    found: Tracks | None = None,
) -> Faults:
    """Count the faults of a result in some frames.

    Parameters
    ----------
    truth_labels, found_labels : label movies
        Anything with ``frame(t)``.
    frames : iterable of int
        Edges count between these.
    truth, found : Tracks, optional
        With ``label``; without them no edges are counted.
    """
    frames = sorted(set(frames))
    counts = np.zeros(3)
    to_found: dict[tuple[int, int], tuple[int, int]] = {}
    to_truth: dict[tuple[int, int], tuple[int, int]] = {}
    for t in frames:
        of_frame, there, back = frame_faults(truth_labels.frame(t), found_labels.frame(t))
        counts += (of_frame.false_positives, of_frame.false_negatives, of_frame.split_cells)
        to_found |= {(t, a): (t, b) for a, b in there.items()}
        to_truth |= {(t, b): (t, a) for b, a in back.items()}
    added = deleted = 0
    if truth is not None and found is not None:
        true_edges, found_edges = _edges(truth, frames), _edges(found, frames)
        added = sum((to_found.get(a), to_found.get(b)) not in found_edges for a, b in true_edges)
        deleted = sum((to_truth.get(a), to_truth.get(b)) not in true_edges for a, b in found_edges)
    return Faults(int(counts[0]), float(counts[1]), int(counts[2]), deleted, added)


def _edges(tracks: Tracks, frames: list[int]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the links within tracklets, as pairs of (frame, label), whose ends both lie in the frames."""
    source, target = tracks.link_rows.T
    keys = tracks.objects[["frame", "label"]].to_numpy(np.int64)
    within = (tracks.out_degree[source] == 1) & (tracks.in_degree[target] == 1)
    within &= np.isin(keys[source, 0], frames) & np.isin(keys[target, 0], frames)
    ends = (map(tuple, keys[rows[within]].tolist()) for rows in (source, target))
    return set(zip(*ends, strict=True))

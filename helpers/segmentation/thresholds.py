"""Find the thresholds that give the best labels, judged on the labels that are finally written.

The networks run once; only what comes after them (non-maximum suppression, fusion) is repeated for every set of
thresholds tried. `helpers.segmentation.threshold_search` chooses the sets, since each costs a fusion.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from helpers.data.atomic import atomic_path
from helpers.errors import InputError, reads
from helpers.progress import progress
from helpers.segmentation.matching import check_thresholds, match_counts
from helpers.segmentation.sparse_truth import judged
from helpers.segmentation.threshold_search import plateau_middle, search

#: The axes, in the order in which they are searched: from the one that matters most.
AXES = ("prob", "foreground", "nms")

PROB_THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NMS_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
FOREGROUND_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)

#: Where cells may end: values of the U-Net's foreground.
OUTLINES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Measure = Literal["f1", "accuracy"]
#: What a file of thresholds may hold.
_WRITTEN = {
    "prob",
    "nms",
    "foreground",
    "outline",
    "divide",
    "divided",
    "score",
    "measure",
    "iou_thresholds",
    "tried",
}

#: How far beyond its grid an axis is searched where the best value lies at the end.
LIMITS: Mapping[str, tuple[float, float]] = {
    "prob": (0.1, 0.98),
    "nms": (0.0, 0.8),
    "foreground": (0.02, 0.995),
}


@dataclass(frozen=True)
class Thresholds:
    """The best thresholds and all that were tried.

    Attributes
    ----------
    prob, nms, foreground : float or None
        StarDist's probability and overlap thresholds and the foreground network's cut; None for what was not sought.
    score : float
        What these reach.
    measure : str
        ``"f1"`` or ``"accuracy"`` of objects, averaged over `iou_thresholds`.
    iou_thresholds : tuple of float
    table : DataFrame
        Every set tried, in order: the thresholds, ``score``, and (for objects) ``n_true, n_predicted`` and the
        measure at each IoU threshold, as ``f1_50``.
    outline : float, optional
        Value of the foreground at which cells end (`optimize_outline`).
    divide : str, optional
        Which stars divide a component of the foreground (`helpers.segmentation.fusion`).
    divided : mapping, optional
        Each way to divide → its own best ``prob``, ``nms`` and ``foreground``, and the ``score`` that they reached.
    """

    prob: float | None
    nms: float | None
    foreground: float | None
    score: float
    measure: str
    iou_thresholds: tuple[float, ...]
    table: pd.DataFrame
    outline: float | None = None
    divide: str | None = None
    divided: Mapping[str, Mapping[str, float]] | None = None

    @property
    def highest(self) -> float:
        """The highest score tried; above `score` where the middle of a plateau was taken."""
        return float(self.table["score"].max()) if "score" in self.table else self.score

    @property
    def values(self) -> dict[str, float]:
        """The thresholds that were searched, by name: what `labels_from_outputs` was called with."""
        found = {"prob": self.prob, "nms": self.nms, "foreground": self.foreground}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def choices(self) -> dict[str, Any]:
        """The thresholds and what was chosen beside them, by name: what a segmenter is given."""
        beside = {"outline": self.outline, "divide": self.divide}
        return {**self.values, **{name: value for name, value in beside.items() if value is not None}}


def optimize(
    outputs: Sequence[Any],
    truths: Sequence[np.ndarray],
    labels_from_outputs: Callable[..., np.ndarray],
    *,
    prob_thresholds: Sequence[float] | None = PROB_THRESHOLDS,
    nms_thresholds: Sequence[float] | None = NMS_THRESHOLDS,
    foreground_thresholds: Sequence[float] | None = FOREGROUND_THRESHOLDS,
    iou_thresholds: Sequence[float] = (0.3, 0.5, 0.7),
    measure: Measure = "f1",
    start: Mapping[str, float] | None = None,
    refinements: int = 2,
    desc: str = "Thresholds",
) -> Thresholds:
    """Search the thresholds under which the written labels agree best with the truth.

    Parameters
    ----------
    outputs : sequence
        What the networks gave for each validation frame; of any kind, handed to `labels_from_outputs` as it is.
    truths : sequence of ndarray of int
        The true labels of the same frames; -1 where they are not annotated (`helpers.segmentation.sparse_truth`).
    labels_from_outputs : callable
        ``labels_from_outputs(output, prob=…, nms=…, foreground=…) -> labels``: the segmenter's own way from
        networks' outputs to written labels.
    prob_thresholds, nms_thresholds, foreground_thresholds : sequence of float, optional
        Values in 0 … 1 to sweep, and beyond their ends up to `LIMITS` where the best lies there. A single value is
        kept fixed; None leaves the keyword away altogether, such as the foreground when StarDist's own optimum is
        sought.
    iou_thresholds : sequence of float
        IoU thresholds over which the measure is averaged.
    measure : {"f1", "accuracy"}
        Measure to raise; TP, FP and FN are pooled over the frames.
    start : mapping, optional
        Values by axis to begin with, such as StarDist's own optimum; else the middles of the grids.
    refinements : int
        How often the step around the best value is halved after the sweeps.
    desc : str
        Name of the progress bar.

    Returns
    -------
    Thresholds
        Deterministic: the same input gives the same thresholds.

    Raises
    ------
    InputError
        For thresholds outside 0 … 1, an unknown measure, unequal or empty lists, truth without any object, and
        whatever `helpers.segmentation.matching.check_pair` refuses.
    """
    ious = check_thresholds(iou_thresholds)
    if measure not in ("f1", "accuracy"):
        raise InputError("measure", measure, '"f1" or "accuracy"')
    if refinements < 0:
        raise InputError("refinements", refinements, "0 or more halvings of the step")
    if len(outputs) != len(truths) or not len(truths):
        found = f"{len(outputs)} outputs, {len(truths)} truths"
        raise InputError("truths", found, "one truth per output, and at least one pair")
    if not any(np.any(truth > 0) for truth in truths):
        raise InputError("truths", "no objects", "validation frames with labelled objects")
    grids = _grids(
        {"prob": prob_thresholds, "nms": nms_thresholds, "foreground": foreground_thresholds}, start or {}
    )
    rows: dict[tuple[float, ...], dict[str, float]] = {}
    expected = sum(len(grid) - 1 for grid in grids.values()) + 1
    expected += 2 * refinements * sum(len(grid) > 1 for grid in grids.values())

    with progress(desc=desc, unit="evaluation", total=expected) as bar:

        def score(values: Mapping[str, float]) -> float:
            key = tuple(values[axis] for axis in grids)
            if key not in rows:
                counts = [
                    match_counts(*judged(truth, labels_from_outputs(output, **values)), iou_thresholds=ious)
                    for output, truth in zip(outputs, truths, strict=True)
                ]
                rows[key] = {**values, **_row(counts, measure)}
                bar.total = max(int(bar.total or 0), len(rows))
                bar.update()
            return rows[key]["score"]

        # What one cell is worth.
        n_cells = sum(len(np.unique(truth[truth > 0])) for truth in map(np.asarray, truths))
        best = search(grids, dict(start or {}), score, refinements, 1 / n_cells, LIMITS)
        bar.total = len(rows)

    table = pd.DataFrame(list(rows.values()))
    return Thresholds(
        prob=best.get("prob"),
        nms=best.get("nms"),
        foreground=best.get("foreground"),
        score=score(best),
        measure=measure,
        iou_thresholds=ious,
        table=table,
    )


def optimize_outline(
    foregrounds: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    inside: Callable[[np.ndarray, float], np.ndarray],
    *,
    outlines: Sequence[float] = OUTLINES,
) -> float:
    """Find the value of the foreground at which cells end, voxel by voxel.

    Parameters
    ----------
    foregrounds : sequence of ndarray of float
        The U-Net's output of each validation frame.
    truths : sequence of ndarray
        True masks or labels (> 0 is foreground) of the same shapes.
    inside : callable
        ``inside(foreground, outline) -> mask``: where the segmenter lets cells grow.
    outlines : sequence of float
        Values in 0 … 1 to try.

    Returns
    -------
    float
        The one with the largest overlap (IoU) of mask and truth, pooled over the frames; of equals, the middle.

    Raises
    ------
    InputError
        For outlines outside 0 … 1, unequal or empty lists, or no foreground in the truth.
    """
    if len(foregrounds) != len(truths) or not any(np.any(truth > 0) for truth in truths):
        found = f"{len(foregrounds)} foregrounds, {len(truths)} truths"
        raise InputError("truths", found, "one truth per foreground, and labelled objects in one of them")
    grid = _check_grid("outlines", outlines)
    scores = []
    for outline in grid:
        shared, either = 0, 0
        for foreground, truth in zip(foregrounds, truths, strict=True):
            mask, true = inside(foreground, outline), np.asarray(truth) > 0
            shared += np.count_nonzero(mask & true)
            either += np.count_nonzero((mask | true) & (np.asarray(truth) >= 0))
        scores.append(shared / either)
    return grid[plateau_middle(np.array(scores))]


def save(thresholds: Thresholds, path: str | Path) -> Path:
    """Write thresholds and everything tried as JSON, whole or not at all.

    Parameters
    ----------
    thresholds : Thresholds
        What `optimize` found.
    path : path-like
        ``thresholds.json`` of the experiment. StarDist's own optimum belongs into its model's folder besides, where
        `stardist` looks for it: `helpers.models.stardist.save_thresholds`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If it cannot be written there.
    """
    content = {
        "prob": thresholds.prob,
        "nms": thresholds.nms,
        "foreground": thresholds.foreground,
        "outline": thresholds.outline,
        "divide": thresholds.divide,
        "divided": {way: dict(own) for way, own in (thresholds.divided or {}).items()} or None,
        "score": thresholds.score,
        "measure": thresholds.measure,
        "iou_thresholds": list(thresholds.iou_thresholds),
        "tried": thresholds.table.to_dict("records"),
    }
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2))
    return path


@reads("thresholds, as notebook 05_optimize_thresholds or StarDist writes them")
def load(path: str | Path) -> Thresholds:
    """Read what `save` wrote.

    Parameters
    ----------
    path : path-like
        ``thresholds.json``. Also one of StarDist's own, which has ``prob`` and ``nms`` only.

    Returns
    -------
    Thresholds
        With a NaN score and an empty table where the file has none.

    Raises
    ------
    InputError
        If the file is missing or no JSON, or a threshold is not in 0 … 1.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            str(path), "no such file", "thresholds written by the notebook 05_optimize_thresholds"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        unknown = sorted(set(content) - _WRITTEN)
        found = {name: content.get(name) for name in ("prob", "nms", "foreground", "outline")}
    except (ValueError, AttributeError) as error:
        raise InputError(str(path), str(error), "a JSON file with prob, nms and foreground") from error
    if unknown:
        raise InputError(str(path), unknown, f"no such thresholds; known are {', '.join(sorted(_WRITTEN))}")
    for name, value in found.items():
        if value is not None:
            _check_grid(f"{name} in {path}", (value,))
    return Thresholds(
        **found,
        score=float(content.get("score", "nan")),
        measure=content.get("measure", "f1"),
        iou_thresholds=tuple(content.get("iou_thresholds", ())),
        table=pd.DataFrame(content.get("tried", [])),
        divide=content.get("divide"),
        divided=content.get("divided"),
    )


def _row(counts: Sequence[pd.DataFrame], measure: str) -> dict[str, float]:
    """The measure at every IoU threshold from the summed counts, and their mean."""
    ious = counts[0]["iou_threshold"].to_numpy(float)
    tp, fp, fn = (sum(frame[name].to_numpy(float) for frame in counts) for name in ("tp", "fp", "fn"))
    below = 2 * tp + fp + fn if measure == "f1" else tp + fp + fn
    values = np.asarray((2 * tp if measure == "f1" else tp) / below, dtype=float)
    by_iou = {f"{measure}_{round(100 * iou)}": float(v) for iou, v in zip(ious, values, strict=True)}
    n_true, n_predicted = int(np.max(tp + fn)), int(np.max(tp + fp))
    return {"score": float(values.mean()), "n_true": n_true, "n_predicted": n_predicted, **by_iou}


def _grids(
    given: Mapping[str, Sequence[float] | None], start: Mapping[str, float]
) -> dict[str, tuple[float, ...]]:
    grids = {
        axis: _check_grid(f"{axis}_thresholds", values)
        for axis in AXES
        if (values := given[axis]) is not None
    }
    if not grids:
        raise InputError("prob_thresholds", None, "at least one list of thresholds to try")
    for axis, value in start.items():
        if axis not in grids:
            raise InputError("start", axis, f"one of {', '.join(grids)}")
        _check_grid(f"start[{axis!r}]", (value,))
    return grids


def _check_grid(name: str, values: Sequence[float]) -> tuple[float, ...]:
    expected = "one or more numbers from 0 to 1"
    try:
        grid = tuple(sorted({float(value) for value in values}))
    except (TypeError, ValueError) as error:
        raise InputError(name, values, expected) from error
    if not grid or not all(0 <= value <= 1 for value in grid):
        raise InputError(name, list(values), expected)
    return grid

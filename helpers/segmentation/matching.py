"""Which predicted object is which true one: one to one, at an intersection over union (IoU) of at least τ.

The matching is StarDist's own (`stardist.matching`, an optimal assignment), the one that the VollSeg paper scores
with::

    truth      predicted     IoU        τ = 0.5     τ = 0.7
    1          7             0.8        TP          TP
    2          8             0.6        TP          FN and FP
    3          –             –          FN          FN
    –          9             –          FP          FP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.checks import check_labels
from helpers.errors import InputError

#: IoU thresholds τ of the paper's figure.
IOU_THRESHOLDS: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def match_counts(
    truth: np.ndarray, predicted: np.ndarray, *, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> pd.DataFrame:
    """Count TP, FP and FN only, without the costlier rest of `score_frame`.

    Parameters
    ----------
    truth, predicted, iou_thresholds
        As `score_frame`.

    Returns
    -------
    DataFrame
        ``iou_threshold, tp, fp, fn, iou_sum``.

    Raises
    ------
    InputError
        As `score_frame`.
    """
    from stardist.matching import matching

    thresholds: Any = check_thresholds(iou_thresholds)
    stats: Any = matching(*check_pair(truth, predicted), thresh=thresholds)
    rows = [(s.thresh, s.tp, s.fp, s.fn, float(s.mean_matched_score) * s.tp) for s in stats]
    return pd.DataFrame(rows, columns=["iou_threshold", "tp", "fp", "fn", "iou_sum"])


def match_table(truth: np.ndarray, predicted: np.ndarray, *, iou_threshold: float = 0.5) -> pd.DataFrame:
    """Return which labels are found, missed and invented.

    Parameters
    ----------
    truth, predicted : ndarray of int, (Z, Y, X) or (Y, X)
        Label images of one shape.
    iou_threshold : float
        IoU from which on two objects match, in (0, 1].

    Returns
    -------
    DataFrame
        ``truth, predicted, iou, outcome``: a TP has both labels; an FN has ``predicted`` 0, an FP ``truth`` 0, and
        their ``iou`` is the best with any object (how nearly they matched). Sorted TP, FP, FN, then by label.

    Raises
    ------
    InputError
        As `score_frame`.
    """
    (threshold,) = check_thresholds((iou_threshold,))
    truth, predicted = check_pair(truth, predicted, keep_ids=True)
    compact_truth, truth_ids = _compact(truth)
    compact_predicted, predicted_ids = _compact(predicted)
    rows: list[tuple[int, int, float, str]] = []
    found_truth, found_predicted = np.zeros(len(truth_ids), bool), np.zeros(len(predicted_ids), bool)
    if len(truth_ids) > 1 and len(predicted_ids) > 1:
        from stardist.matching import matching

        stats: Any = matching(compact_truth, compact_predicted, thresh=threshold, report_matches=True)
        for index in stats.matched_tps:
            i, j = stats.matched_pairs[index]
            found_truth[i] = found_predicted[j] = True
            rows.append((int(truth_ids[i]), int(predicted_ids[j]), float(stats.matched_scores[index]), "TP"))
    rows.sort()
    best_truth, best_predicted = _best_iou(compact_truth, compact_predicted)
    rows += [
        (0, int(predicted_ids[j]), float(best_predicted[j]), "FP")
        for j in range(1, len(predicted_ids))
        if not found_predicted[j]
    ]
    rows += [
        (int(truth_ids[i]), 0, float(best_truth[i]), "FN")
        for i in range(1, len(truth_ids))
        if not found_truth[i]
    ]
    return pd.DataFrame(rows, columns=["truth", "predicted", "iou", "outcome"]).astype(
        {"truth": np.int64, "predicted": np.int64, "iou": float, "outcome": str}
    )


def seg_sum(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the SEG score of the Cell Tracking Challenge (Maška et al. 2014), summed over the true objects.

    Parameters
    ----------
    truth, predicted : ndarray of int
        Label images of one shape.

    Returns
    -------
    float
        A true object scores its IoU with the predicted one that covers *more than half* of it, else 0; divided by
        the number of true objects this is SEG.

    Raises
    ------
    InputError
        As `check_pair`.
    """
    _, _, iou, covered = _overlaps(*check_pair(truth, predicted))
    return float(iou[covered > 0.5].sum())


def check_pair(
    truth: np.ndarray, predicted: np.ndarray, *, keep_ids: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Refuse a pair of label frames that cannot be scored, and return both as int32.

    Parameters
    ----------
    truth, predicted : ndarray of int, (Z, Y, X) or (Y, X)
        Label images of one shape.
    keep_ids : bool
        Keep the ids. Otherwise ids larger than the image are renumbered: tables of overlaps are as long as the
        largest id.

    Returns
    -------
    (ndarray, ndarray)
        Truth and prediction.

    Raises
    ------
    InputError
        As `helpers.data.checks.check_labels`, or for different shapes.
    """
    truth, predicted = check_labels(truth, "truth"), check_labels(predicted, "predicted")
    if truth.shape != predicted.shape:
        raise InputError("predicted", f"shape {predicted.shape}", f"the shape of the truth, {truth.shape}")
    if keep_ids:
        return truth, predicted
    return _narrow(truth), _narrow(predicted)


def _narrow(labels: np.ndarray) -> np.ndarray:
    return _compact(labels)[0] if int(labels.max()) > labels.size else labels


def check_thresholds(iou_thresholds: Sequence[float]) -> tuple[float, ...]:
    """Return the IoU thresholds as floats.

    Parameters
    ----------
    iou_thresholds : sequence of float
        Different numbers in (0, 1].

    Returns
    -------
    tuple of float

    Raises
    ------
    InputError
        Otherwise.
    """
    values = tuple(float(round(value, 6)) for value in iou_thresholds)
    if not values or not all(0 < value <= 1 for value in values) or len(set(values)) != len(values):
        raise InputError("iou_thresholds", list(iou_thresholds), "one or more different numbers in (0, 1]")
    return values


def _overlaps(
    truth: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Overlapping pairs of objects (no background): true label, predicted label, IoU, covered share of the truth."""
    from skimage.metrics import contingency_table

    table = contingency_table(truth, predicted, sparse_type="array").tocoo()
    i, j = table.coords
    n = table.data.astype(np.float64)
    n_true, n_predicted = np.bincount(truth.ravel()), np.bincount(predicted.ravel())
    objects = (i > 0) & (j > 0) & (n > 0)
    i, j, n = i[objects], j[objects], n[objects]
    return i, j, n / (n_true[i] + n_predicted[j] - n), n / n_true[i]


def _best_iou(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each label's best IoU with any object of the other side, indexed by label."""
    i, j, iou, _ = _overlaps(truth, predicted)
    best_truth, best_predicted = np.zeros(int(truth.max()) + 1), np.zeros(int(predicted.max()) + 1)
    np.maximum.at(best_truth, i, iou)
    np.maximum.at(best_predicted, j, iou)
    return best_truth, best_predicted


def _compact(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the objects 1…n; returns int32 labels and the former id of each (0 for the background)."""
    from skimage.segmentation import relabel_sequential

    compact, _, former = relabel_sequential(labels)
    return compact.astype(np.int32, copy=False), np.asarray(former)

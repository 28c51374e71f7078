"""How good a segmentation is, against a truth: objects (AP, F1, SEG) and foreground (MSE, SSIM).

Objects are matched one to one (`helpers.segmentation.matching`) at an intersection over union of at least τ, and

    accuracy ("AP") = TP / (TP + FP + FN)      F1 = 2 TP / (2 TP + FP + FN)

Over a movie TP, FP and FN are *summed* and the ratios taken once, so that a frame of 900 cells weighs more than a
frame of 3. A frame that is empty on both sides therefore counts nothing; if no frame holds an object, nothing was
done wrong and every ratio is 1.

Over 400 lines, mostly definitions of measures and where they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.progress import progress
from helpers.segmentation.matching import (
    IOU_THRESHOLDS,
    check_pair,
    check_thresholds,
    match_counts,
    match_table,
    seg_sum,
)

__all__ = [
    "IOU_THRESHOLDS",
    "FrameScores",
    "MovieScores",
    "binary_mse",
    "binary_ssim",
    "frames_table",
    "match_counts",
    "match_table",
    "pool",
    "score_frame",
    "score_movie",
    "scores_table",
    "summary",
]

_COUNTS = ["tp", "fp", "fn", "iou_sum"]
_SSIM_WINDOW = 7


@dataclass(frozen=True)
class FrameScores:
    """Scores of one frame.

    Attributes
    ----------
    counts : DataFrame
        One row per threshold: ``iou_threshold, tp, fp, fn, iou_sum`` (IoU summed over the TP).
    n_true, n_predicted : int
        Objects in the truth and in the prediction.
    seg_sum : float
        Sum over the true objects of their SEG score; divided by `n_true` it is SEG.
    mse, ssim : float
        Of the binarised frames.
    """

    counts: pd.DataFrame
    n_true: int
    n_predicted: int
    seg_sum: float
    mse: float
    ssim: float


@dataclass(frozen=True)
class MovieScores:
    """Scores of one method on one movie, or on several pooled.

    Attributes
    ----------
    method : str
        ``"vollseg"``, ``"stardist"``, ``"unet"``, ``"cellpose"``, …
    counts : DataFrame
        One row per frame and threshold: ``frame, iou_threshold, tp, fp, fn, iou_sum``.
    frames : DataFrame
        One row per frame: ``frame, n_true, n_predicted, seg_sum, mse, ssim``.
    """

    method: str
    counts: pd.DataFrame
    frames: pd.DataFrame

    def by_threshold(self) -> pd.DataFrame:
        """Return the pooled scores, one row per IoU threshold.

        Returns
        -------
        DataFrame
            ``method, iou_threshold, tp, fp, fn, accuracy, f1, precision, recall, mean_matched_iou``.
        """
        pooled: Any = self.counts.groupby("iou_threshold", sort=True)[_COUNTS].sum()
        tp, fp, fn, iou_sum = (pooled[name].to_numpy(float) for name in _COUNTS)
        scores = pd.DataFrame(
            {
                "method": self.method,
                "iou_threshold": np.asarray(pooled.index, float),
                "tp": tp.astype(int),
                "fp": fp.astype(int),
                "fn": fn.astype(int),
            }
        )
        nothing = tp + fp + fn == 0
        for name, above, below in (
            ("accuracy", tp, tp + fp + fn),
            ("f1", 2 * tp, 2 * tp + fp + fn),
            ("precision", tp, tp + fp),
            ("recall", tp, tp + fn),
            ("mean_matched_iou", iou_sum, tp),
        ):
            ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
            scores[name] = np.where(nothing, 1.0, ratio)
        return scores

    @property
    def seg(self) -> float:
        """SEG of the Cell Tracking Challenge, over the true objects of all frames."""
        n_true, n_predicted, seg = (
            self.frames[name].to_numpy().sum() for name in ("n_true", "n_predicted", "seg_sum")
        )
        if n_true == 0:
            return 0.0 if n_predicted else 1.0
        return float(seg / n_true)

    @property
    def mse(self) -> float:
        """Mean squared error of the binarised result, averaged over the frames."""
        return float(self.frames["mse"].to_numpy().mean())

    @property
    def ssim(self) -> float:
        """Structural similarity of the binarised result, averaged over the frames."""
        return float(self.frames["ssim"].to_numpy().mean())


def score_frame(
    truth: np.ndarray, predicted: np.ndarray, *, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> FrameScores:
    """Score one label frame against its truth.

    Parameters
    ----------
    truth, predicted : ndarray of int, (Z, Y, X) or (Y, X)
        Label images of one shape, 0 background. Any ids; they need not agree or be consecutive.
    iou_thresholds : sequence of float
        The τ at which objects are matched, each in (0, 1].

    Returns
    -------
    FrameScores

    Raises
    ------
    InputError
        For labels that are not integers ≥ 0, different shapes, or thresholds out of range.

    Notes
    -----
    Matching is `stardist.matching.matching`. SEG follows the Cell Tracking Challenge (Maška et al. 2014): a true
    object is matched by the predicted one that covers *more than half* of it and scores their IoU, else 0.
    """
    thresholds = check_thresholds(iou_thresholds)
    truth, predicted = check_pair(truth, predicted)
    return FrameScores(
        counts=match_counts(truth, predicted, iou_thresholds=thresholds),
        n_true=_n_objects(truth),
        n_predicted=_n_objects(predicted),
        seg_sum=seg_sum(truth, predicted),
        mse=binary_mse(truth, predicted),
        ssim=binary_ssim(truth, predicted),
    )


def score_movie(
    truth_frames: Iterable[np.ndarray],
    predicted_frames: Iterable[np.ndarray],
    *,
    method: str,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
) -> MovieScores:
    """Score a movie frame by frame; only one frame of each side is held at a time.

    Parameters
    ----------
    truth_frames, predicted_frames : iterable of ndarray of int
        As many frames on both sides, each as `score_frame` takes them; generators are welcome.
    method : str
        Name under which the scores appear in tables and figures.
    iou_thresholds : sequence of float
        The τ at which objects are matched.

    Returns
    -------
    MovieScores

    Raises
    ------
    InputError
        As `score_frame` (naming the frame), or if one side has more frames than the other or none.
    """
    thresholds = check_thresholds(iou_thresholds)
    total = len(truth_frames) if hasattr(truth_frames, "__len__") else None  # type: ignore[arg-type]
    missing: Any = object()
    counts, rows = [], []
    pairs = zip_longest(truth_frames, predicted_frames, fillvalue=missing)
    for frame, (truth, predicted) in enumerate(
        progress(pairs, desc=f"Score {method}", unit="frame", total=total)
    ):
        if truth is missing or predicted is missing:
            side = "predicted_frames" if predicted is missing else "truth_frames"
            raise InputError(side, f"{frame} frames", "as many frames as the other side has; it has more")
        try:
            scores = score_frame(truth, predicted, iou_thresholds=thresholds)
        except InputError as error:
            raise InputError(f"frame {frame}, {error.name}", error.value, error.expected) from error
        scores.counts.insert(0, "frame", frame)
        counts.append(scores.counts)
        rows.append(
            {
                "frame": frame,
                "n_true": scores.n_true,
                "n_predicted": scores.n_predicted,
                "seg_sum": scores.seg_sum,
                "mse": scores.mse,
                "ssim": scores.ssim,
            }
        )
    if not rows:
        raise InputError("truth_frames", "no frames", "at least one frame to score")
    long = pd.concat(counts, ignore_index=True)
    return MovieScores(method, long, pd.DataFrame(rows))


def pool(results: Sequence[MovieScores]) -> MovieScores:
    """Pool the scores that one method reached on several movies, as if they were one movie.

    Parameters
    ----------
    results : sequence of MovieScores
        All of one method and with the same thresholds. Frames are numbered on.

    Returns
    -------
    MovieScores

    Raises
    ------
    InputError
        If there is nothing to pool, or methods or thresholds differ.
    """
    methods = sorted({result.method for result in results})
    if len(methods) != 1:
        raise InputError("results", methods, "scores of exactly one method; pool each method by itself")
    if len({tuple(sorted(set(result.counts["iou_threshold"]))) for result in results}) != 1:
        raise InputError("iou_thresholds", "different between movies", "the same thresholds for every movie")
    counts, frames, offset = [], [], 0
    for result in results:
        counts.append(result.counts.assign(frame=result.counts["frame"] + offset))
        frames.append(result.frames.assign(frame=result.frames["frame"] + offset))
        offset += len(result.frames)
    return MovieScores(methods[0], pd.concat(counts, ignore_index=True), pd.concat(frames, ignore_index=True))


def scores_table(results: Sequence[MovieScores]) -> pd.DataFrame:
    """Return all methods' scores in long form, one row per method and IoU threshold.

    Parameters
    ----------
    results : sequence of MovieScores
        One per method, in the order in which figures shall show them.

    Returns
    -------
    DataFrame
        As `MovieScores.by_threshold`, one method below the other.
    """
    return pd.concat([result.by_threshold() for result in results], ignore_index=True)


def frames_table(results: Sequence[MovieScores]) -> pd.DataFrame:
    """Return all methods' scores of single frames: ``method, frame, n_true, n_predicted, seg, mse, ssim``.

    Parameters
    ----------
    results : sequence of MovieScores
        One per method.

    Returns
    -------
    DataFrame
        One row per method and frame. ``seg`` is 1 for a frame without objects on both sides.
    """
    tables = []
    for result in results:
        frames = result.frames.copy()
        n_true, n_predicted = frames["n_true"].to_numpy(), frames["n_predicted"].to_numpy()
        seg = frames.pop("seg_sum").to_numpy(float) / np.maximum(n_true, 1)
        frames.insert(3, "seg", np.where((n_true == 0) & (n_predicted == 0), 1.0, seg))
        frames.insert(0, "method", result.method)
        tables.append(frames)
    return pd.concat(tables, ignore_index=True)


def summary(result: MovieScores) -> dict[str, float]:
    """Return the scores that a run says of itself.

    Parameters
    ----------
    result : MovieScores
        Scored at τ = 0.5, among others.

    Returns
    -------
    dict
        ``f1_50, precision_50, recall_50, mean_matched_iou`` (all at τ = 0.5), ``f1_70`` where τ = 0.7 was scored,
        ``mse, ssim``; plain floats.

    Raises
    ------
    InputError
        If 0.5 is not among the thresholds.
    """
    curve = result.by_threshold()
    at_half = curve[np.isclose(curve["iou_threshold"], 0.5)]
    if at_half.empty:
        found = curve["iou_threshold"].tolist()
        raise InputError("iou_thresholds", found, "thresholds with 0.5 among them, which the summary reports")
    row = at_half.iloc[0]
    found = {"f1_50": float(row["f1"])}
    if not (stricter := curve[np.isclose(curve["iou_threshold"], 0.7)]).empty:
        found["f1_70"] = float(stricter.iloc[0]["f1"])
    return found | {
        "precision_50": float(row["precision"]),
        "recall_50": float(row["recall"]),
        "mean_matched_iou": float(row["mean_matched_iou"]),
        "mse": result.mse,
        "ssim": result.ssim,
    }


def binary_mse(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean squared error between two label images once both are binarised (label > 0).

    Parameters
    ----------
    truth, predicted : ndarray
        Labels or masks of one shape.

    Returns
    -------
    float
        The fraction of voxels on which the two disagree, 0 (same) … 1.
    """
    return float(np.mean((truth > 0) != (predicted > 0)))


def binary_ssim(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return the structural similarity (Wang et al. 2004) of two label images once both are binarised.

    Parameters
    ----------
    truth, predicted : ndarray, (Z, Y, X) or (Y, X)
        Labels or masks of one shape, at least 3 pixels in y and x.

    Returns
    -------
    float
        −1 … 1, 1 for equal foregrounds.

    Raises
    ------
    InputError
        For images of fewer than 3 pixels in y or x.

    Notes
    -----
    `skimage.metrics.structural_similarity` with a uniform window of 7 voxels along every axis and data range 1.
    A stack of fewer than 7 slices cannot hold that window: it is scored slice by slice with the flat 7×7 window
    and averaged, so that the window (and the meaning of the number) stays the same in y and x.
    Only where y or x is narrower than 7 pixels, the window shrinks to the largest odd number that fits.
    """
    from skimage.metrics import structural_similarity

    smallest = min(truth.shape[-2:])
    if smallest < 3:
        raise InputError(
            "truth", f"shape {truth.shape}", "at least 3 pixels in y and in x, to compute the SSIM"
        )
    window = min(_SSIM_WINDOW, smallest - (smallest + 1) % 2)
    # float32 halves the memory of float64 and is exact for 0 and 1; scipy's filter sums in double anyway.
    first, second = (truth > 0).astype(np.float32), (predicted > 0).astype(np.float32)
    if truth.ndim == 2 or truth.shape[0] >= window:
        pairs = [(first, second)]
    else:
        pairs = list(zip(first, second, strict=True))
    values: list[Any] = [structural_similarity(a, b, win_size=window, data_range=1.0) for a, b in pairs]
    return float(np.mean(values))


def _n_objects(labels: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(labels.ravel())[1:]))

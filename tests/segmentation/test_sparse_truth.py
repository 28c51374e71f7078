"""Scores and thresholds on validation stacks in which only some cells are drawn."""

from __future__ import annotations

import numpy as np

from helpers.segmentation.matching import match_counts
from helpers.segmentation.sparse_truth import judged
from helpers.segmentation.thresholds import optimize, optimize_outline


def stack() -> tuple[np.ndarray, np.ndarray]:
    """Return six cells in a row, and a truth in which two of them are drawn with what lies around."""
    full = np.zeros((1, 12, 72), np.int32)
    for i in range(6):
        full[:, 2:10, 12 * i + 2 : 12 * i + 10] = i + 1
    truth = np.full_like(full, -1)
    truth[..., :24] = full[..., :24]
    return full, truth


def counts(truth: np.ndarray, predicted: np.ndarray) -> tuple[int, int, int]:
    row = match_counts(*judged(truth, predicted), iou_thresholds=(0.5,)).iloc[0]
    return int(row["tp"]), int(row["fp"]), int(row["fn"])


def test_only_what_is_annotated_is_judged() -> None:
    full, truth = stack()
    assert counts(truth, full) == (2, 0, 0)  # four cells lie where nobody looked
    assert counts(truth, np.where(full == 2, 0, full)) == (1, 0, 1)
    wrong = full.copy()
    wrong[:, :2, :24] = 9
    assert counts(truth, wrong) == (2, 1, 0)  # an object in drawn background
    merged = full.copy()
    merged[:, 2:10, 2:22] = 1
    assert counts(truth, merged) == (0, 1, 2)  # two cells in one
    assert counts(full, full) == (6, 0, 0)


def test_what_reaches_into_the_unknown_is_not_cut_off() -> None:
    full, truth = stack()
    predicted = np.where(full == 1, 5, 0)
    predicted[:, 2:10, 14:29] = 1  # the second cell, and five columns too far on the right
    assert counts(truth, predicted) == (2, 0, 0)
    predicted[:, :, 14:29] = 1
    assert counts(truth, predicted) == (1, 1, 1)


def test_thresholds_are_found_on_what_is_annotated() -> None:
    full, truth = stack()
    outputs = np.where(full > 0, 0.7, 0.1)
    outputs[..., 24:] = np.where(full > 0, 0.3, 0.2)[..., 24:]  # what no one drew asks for a lower one

    def labels(output, *, foreground: float) -> np.ndarray:
        return np.where(output > foreground, full, 0) if foreground > 0.1 else np.ones_like(full)

    found = optimize(
        [outputs], [truth], labels, prob_thresholds=None, nms_thresholds=None,
        foreground_thresholds=(0.05, 0.5, 0.8),
    )  # fmt: skip
    assert found.score == 1.0 and found.table["n_true"].max() == 2
    assert 0.1 < (found.foreground or 0) < 0.7
    outline = optimize_outline([outputs], [truth], lambda f, at: f > at, outlines=(0.05, 0.15, 0.5, 0.8))
    assert outline in (0.15, 0.5)

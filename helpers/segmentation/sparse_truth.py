"""Judging labels by a truth in which only some cells are drawn."""

from __future__ import annotations

import numpy as np


def judged(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and predicted labels that may be scored against each other.

    Parameters
    ----------
    truth : ndarray of int
        0 background, ≥ 1 a cell, -1 not annotated.
    predicted : ndarray of int
        Labels, 0 background.

    Returns
    -------
    truth : ndarray of int
        0 where nothing is annotated.
    predicted : ndarray of int
        Without the objects that lie for the most part where nothing is annotated: they may be right. Of the others nothing
        is cut off, since a drawn cell is drawn whole: what reaches beyond it is too much. An object so large that most
        of it is unknown does not count as found, although it covers a drawn cell; that cell is missed.
    """
    truth = np.asarray(truth)
    unknown = truth < 0
    if not unknown.any():
        return truth, predicted
    predicted = np.asarray(predicted)
    sizes = np.bincount(predicted.ravel())
    seen = np.bincount(predicted[~unknown], minlength=len(sizes))
    kept = 2 * seen > sizes
    kept[0] = False
    return np.where(unknown, 0, truth), np.where(kept[predicted], predicted, 0)

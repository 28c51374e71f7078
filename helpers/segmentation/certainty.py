"""How sure networks are of each cell they found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from helpers.data.lazy import pieces


def certainty(labels: Any, *, probability: Any = None, foreground: Any = None) -> pd.DataFrame:
    """Return how sure the networks are of each cell, between 0 and 1.

    StarDist's word is its highest probability in the cell, the U-Net's the mean of its foreground there, and that of both
    the mean of the two: a cell that only one of them sees has a low score.

    Parameters
    ----------
    labels : ndarray or LazyStack of int, (Z, Y, X) or (Y, X)
        1…n.
    probability : ndarray or LazyStack of float32, shape of `labels`, optional
        StarDist's.
    foreground : ndarray or LazyStack of float32, shape of `labels`, optional
        The U-Net's.

    Returns
    -------
    DataFrame
        ``label`` and ``score``.
    """
    regions = list(pieces(labels.shape))
    n = 1 + max((int(labels[where].max(initial=0)) for where in regions), default=0)
    highest, total, voxels = np.zeros(n, np.float32), np.zeros(n), np.zeros(n)
    for where in regions:
        part = labels[where].ravel()
        voxels += np.bincount(part, minlength=n)
        if probability is not None:
            np.maximum.at(highest, part, probability[where].ravel())
        if foreground is not None:
            total += np.bincount(part, foreground[where].ravel(), minlength=n)
    words = [highest] if probability is not None else []
    words += [total / np.maximum(voxels, 1)] if foreground is not None else []
    return pd.DataFrame({"label": np.arange(1, n), "score": np.clip(np.mean(words, axis=0), 0.0, 1.0)[1:]})

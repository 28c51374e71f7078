"""How sure networks are of each cell they found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numba import njit

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
    found = []
    for word in (probability, foreground):
        highest, total, voxels = np.zeros(n, np.float32), np.zeros(n), np.zeros(n, np.int64)
        if word is not None:
            for where in regions:
                _gather(labels[where].ravel(), word[where].ravel(), highest, total, voxels)
            found.append(highest if word is probability else total / np.maximum(voxels, 1))
    return pd.DataFrame({"label": np.arange(1, n), "score": np.clip(np.mean(found, axis=0), 0.0, 1.0)[1:]})


@njit(cache=True, nogil=True)
def _gather(labels: Any, values: Any, highest: Any, total: Any, voxels: Any) -> None:
    """Add values to what is known of their labels."""
    for i in range(len(labels)):
        label = labels[i]
        if label > 0:
            highest[label] = max(highest[label], values[i])
            total[label] += values[i]
            voxels[label] += 1

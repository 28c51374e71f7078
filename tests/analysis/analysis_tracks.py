"""Tracks made of rows of values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.tracking.tracks import Tracks


def straight(values: np.ndarray, interval: float, column: str = "intensity_mean") -> Tracks:
    """Make one tracklet a row of `values` (n, frames); NaN is kept as an object without a value."""
    n, length = values.shape
    frame = np.tile(np.arange(length), n)
    objects = pd.DataFrame(
        {"id": np.arange(n * length), "frame": frame, "y": 10.0 * np.repeat(np.arange(n), length), "x": 0.0, column: values.ravel()}
    )  # fmt: skip
    ids = np.arange(n * length).reshape(n, length)
    links = pd.DataFrame({"source": ids[:, :-1].ravel(), "target": ids[:, 1:].ravel()})
    return Tracks(objects, links, (1.0, 1.0, 1.0), interval)

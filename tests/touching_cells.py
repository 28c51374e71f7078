"""Cells in rows that touch, and an image of the borders between them."""

from __future__ import annotations

from itertools import product

import numpy as np

#: Of a cell, y and x.
SIZE = (11, 13)


def tissue(
    border: float, *, rows: int = 5, columns: int = 6, n_slices: int = 4, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells that touch, (Z, Y, X), and intensities: 100 inside, `border` where two meet, and noise."""
    labels = np.zeros((n_slices + 2, rows * SIZE[0] + 6, columns * SIZE[1] + 6), np.int32)
    for k, (y, x) in enumerate(product(range(rows), range(columns))):
        at = (3 + SIZE[0] * y, 3 + SIZE[1] * x)
        labels[1:-1, at[0] : at[0] + SIZE[0], at[1] : at[1] + SIZE[1]] = k + 1
    meets = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        differs = np.diff(labels, axis=axis) != 0
        for side in ((1, 0), (0, 1)):
            meets |= np.pad(differs, [side if a == axis else (0, 0) for a in range(3)])
    noise = np.random.default_rng(seed).normal(0, 5, labels.shape)
    return labels, (np.where(meets & (labels > 0), border, 100.0) + noise).astype(np.float32)

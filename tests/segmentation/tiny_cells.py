"""Discs of about 12 pixels, as tiny networks find them."""

from __future__ import annotations

import numpy as np

VOXEL = (2.0, 0.5, 0.5)


def discs(shape: tuple[int, int], n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a raw image of cells of about 12 pixels across, some touching, and its labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    yy, xx = np.indices(shape)
    for i in range(1, n + 1):
        y, x = rng.uniform(4, shape[0] - 4), rng.uniform(4, shape[1] - 4)
        labels[((yy - y) ** 2 + (xx - x) ** 2 < 36) & (labels == 0)] = i
    raw = 400 + 800 * (labels > 0) + rng.normal(0, 120, shape)
    return np.clip(raw, 0, 65535).astype(np.uint16), labels

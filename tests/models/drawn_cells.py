"""Drawn cells, and training sets of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from helpers.data.npz_stream import NpzWriter
from helpers.data.training_set import TrainingSet


def draw_cells(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy normalised image of cells of about 12 voxels, flatter in z, and its labels."""
    labels = np.zeros(shape, np.int32)
    radii = np.array([4.0, 6.0, 6.0])[-len(shape) :]
    for i in range(1, n + 1):
        centre = [rng.uniform(0, s) for s in shape]
        away = sum(((g - c) / r) ** 2 for g, c, r in zip(np.indices(shape), centre, radii, strict=True))
        labels[(away < 1) & (labels == 0)] = i
    return ((labels > 0) + rng.normal(0, 0.2, shape)).astype(np.float32), labels


def write_set(path: Path, patch: tuple[int, ...], n: int, seed: int = 0, scale: float = 1) -> TrainingSet:
    """Write `n` patches, a quarter of them for validation, and open them."""
    rng = np.random.default_rng(seed)
    members = {
        "X": ((n, 1, *patch), "float32"),
        "Y": ((n, 1, *patch), "float32"),
        "axes": ((), "U5"),
        "labels": ((n, *patch), "uint16"),
        "validation": ((n,), "bool"),
        "settings": ((), "U200"),
    }
    with NpzWriter(path, members) as npz:
        npz.append("axes", np.array("SCZYX" if len(patch) == 3 else "SCYX", "U5"))
        npz.append("settings", np.array(json.dumps({"voxel_size": [1.5, 1.0, 1.0]}), "U200"))
        npz.append("validation", np.arange(n) >= n - max(1, n // 4))
        for _ in range(n):
            image, labels = draw_cells(patch, 6, rng)
            npz.append("X", image * np.float32(scale))
            npz.append("Y", (labels > 0).astype(np.float32))
            npz.append("labels", labels.astype(np.uint16))
    return TrainingSet.open(path)

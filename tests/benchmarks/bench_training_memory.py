"""Peak memory of training beside the size of the set: four steps on a small set and on one eight times as large.

There is no peer: csbdeep and StarDist load the whole set (`bench_patches` has their reading). The larger set stands
in the peer's columns, so that `ratio` should be about 1 and the peak memories equal. Both networks are small.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import entry, measure_side

PATCH = (16, 64, 64)
VOXEL = (2.0, 0.5, 0.5)
SIZES = (256, 2048)
STEPS = 4


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    with tempfile.TemporaryDirectory(prefix="volltrack-benchmark-") as folder:
        for count in SIZES:
            write_set(Path(folder) / f"{count}.npz", count)
        for network in ("unet", "stardist"):
            small, large = (
                measure_side(
                    f"bench_training_memory.py:{network}",
                    {},
                    repeats=1,
                    path=str(Path(folder) / f"{count}.npz"),
                )
                for count in SIZES
            )
            megabytes = [os.path.getsize(Path(folder) / f"{count}.npz") / 2**20 for count in SIZES]
            yield entry(
                f"training memory, {network}",
                f"{STEPS} steps, {SIZES[0]} patches ({megabytes[0]:.0f} MB)",
                small,
                f"ours, {SIZES[1]} patches ({megabytes[1]:.0f} MB)",
                large,
                equal=f"peak memory {large.peak_mb / small.peak_mb:.2f} times",
            )


def write_set(path: Path, count: int) -> None:
    """Write a training set of `count` patches with boxes for cells."""
    from helpers.data.patches import create_training_set

    rng = np.random.default_rng(0)
    z, y, x = np.indices((32, 256, 256))
    labels = ((1 + z // 8) * 10_000 + (y // 16) * 100 + x // 16) * ((z % 8 > 0) & (y % 16 > 1) & (x % 16 > 1))
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint16)
    raw = (100 + 400 * (labels > 0) + rng.normal(0, 30, labels.shape)).astype(np.uint16)
    create_training_set(
        [(raw, labels)] * 8, path, patch_size=PATCH, patches_per_image=count // 8, copies=0, voxel_size=VOXEL,
        validation_fraction=0.0625, overwrite=True,
    )  # fmt: skip


def _train(module: Any, path: str, **settings: Any) -> None:
    from helpers.data.training_set import TrainingSet

    common = {"epochs": 1, "steps_per_epoch": STEPS, "batch_size": 2, "depth": 2, "validation_patches": 4}
    with tempfile.TemporaryDirectory() as folder:
        network = module.__name__.rsplit(".", 1)[-1]
        kind = module.UNetSettings if network == "unet" else module.StarDistSettings
        module.train(TrainingSet.open(path), Path(folder) / network, kind(**common, **settings))


def unet(path: str) -> None:
    """Train a U-Net."""
    from helpers.models import unet as module

    _train(module, path, n_first=16)


def stardist(path: str) -> None:
    """Train a StarDist network."""
    from helpers.models import stardist as module

    _train(module, path, rays=32, n_filter_base=16, features=32, grid=(1, 4, 4))

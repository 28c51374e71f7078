"""The training set against csbdeep's: making and writing it, reading it, and the peak memory of both.

csbdeep gets the same stacks, masks and patch size, with its own defaults (its filter for background included)
and without its filter; ours writes the instance labels as well. ``VOLLTRACK_BENCHMARK_PAPER=1`` adds the
paper's own set, 11,264 augmented patches: it takes minutes and 30 GB of disk, and csbdeep cannot make it in
less than 24 GB of memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import OURS_PYTHON, compare, measure_side

PATCH = (16, 128, 128)
VOXEL = (3.0, 0.52, 0.52)
FILE = Path("training.npz")


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    inputs = stacks(8)
    for per_image in (16, 64):
        for peer, name in (
            ("csbdeep_create", "csbdeep create_patches"),
            ("csbdeep_create_unfiltered", "csbdeep create_patches, no filter"),
        ):
            yield compare(
                "training set, created and written",
                f"{8 * per_image} patches of 16×128×128",
                inputs,
                ours="bench_patches.py:ours_create",
                peer=f"bench_patches.py:{peer}",
                peer_name=name,
                peer_python=OURS_PYTHON,  # csbdeep is one of our own dependencies
                per_image=per_image,
            )
    for count in (128, 512):
        yield compare(
            "training set, every patch read once",
            f"{count} patches of 16×128×128",
            {},
            ours="bench_patches.py:ours_read",
            peer="bench_patches.py:numpy_read",
            peer_name="numpy.load, as csbdeep",
            peer_python=OURS_PYTHON,
            equal=lambda a, b: bool(np.allclose(a, b)),
            count=count,
        )
    if os.environ.get("VOLLTRACK_BENCHMARK_PAPER"):
        measured = measure_side(
            "bench_patches.py:ours_create",
            stacks(16),
            repeats=1,
            warmups=0,
            timeout_s=7200,
            per_image=16,
            copies=43,
        )
        yield {
            "subject": "training set, created and written",
            "case": "11264 patches of 16×128×128, augmented (the paper's)",
            "ours_s": round(measured.seconds, 1),
            "peer": "csbdeep create_patches: needs 24 GB",
            "peer_s": None,
            "ratio": None,
            "ours_peak_mb": round(measured.peak_mb, 1),
            "peer_peak_mb": None,
            "equal": None,
        }


def stacks(count: int) -> dict[str, np.ndarray]:
    """Return raw (N, Z, Y, X) uint16 and labels uint16 of densely packed cells, 22×512×512 each."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    shape = (22, 512, 512)
    grid = np.indices(shape).reshape(3, -1).T * np.array(VOXEL)
    points = rng.random((900, 3)) * shape * VOXEL
    distance, cell = cKDTree(points).query(grid, k=2)
    labels = (cell[:, 0] + 1).reshape(shape).astype(np.uint16)
    labels[:, :60] = 0
    membrane = np.exp(-(distance[:, 1] - distance[:, 0])).reshape(shape) * (labels > 0)
    raw = [rng.poisson(100 + 400 * membrane).astype(np.uint16) for _ in range(count)]
    return {"raw": np.stack(raw), "labels": np.stack([labels] * count)}


def ours_create(raw: np.ndarray, labels: np.ndarray, per_image: int, copies: int = 0) -> None:
    """Make and write the set with this suite."""
    from helpers.data.patches import create_training_set

    create_training_set(
        list(zip(raw, labels, strict=True)), FILE, patch_size=PATCH, patches_per_image=per_image, copies=copies,
        voxel_size=VOXEL, validation_fraction=0, overwrite=True,
    )  # fmt: skip


def csbdeep_create(raw: np.ndarray, labels: np.ndarray, per_image: int) -> None:
    """Make and write the set with csbdeep's defaults."""
    from csbdeep.data import RawData, create_patches

    create_patches(_csbdeep_data(RawData, raw, labels), PATCH, per_image, save_file=str(FILE), verbose=False)


def csbdeep_create_unfiltered(raw: np.ndarray, labels: np.ndarray, per_image: int) -> None:
    """Make and write the set with csbdeep, patches drawn anywhere and one pair of percentiles."""
    from csbdeep.data import RawData, create_patches, norm_percentiles

    create_patches(
        _csbdeep_data(RawData, raw, labels), PATCH, per_image, save_file=str(FILE), verbose=False,
        patch_filter=None, normalization=norm_percentiles((1, 99.8)),
    )  # fmt: skip


def _csbdeep_data(kind: Any, raw: np.ndarray, labels: np.ndarray) -> Any:
    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray, str, None]]:
        for image, cells in zip(raw, labels, strict=True):
            yield image, (cells > 0).astype(np.float32), "ZYX", None

    return kind(generator=pairs, size=len(raw), description="benchmark")


def _written(count: int) -> Path:
    """Write a set of `count` patches, once for all repeats."""
    from helpers.data.npz_stream import NpzWriter

    if not FILE.exists():
        shape = (count, 1, *PATCH)
        rng = np.random.default_rng(0)
        with NpzWriter(FILE, {"X": (shape, np.float32), "Y": (shape, np.float32)}) as npz:
            for _ in range(count):
                patch = rng.random(PATCH, np.float32)
                npz.append("X", patch)
                npz.append("Y", patch > 0.5)
    return FILE


def ours_read(count: int) -> np.ndarray:
    """Read patch by patch."""
    from helpers.data.training_set import TrainingSet

    patches = TrainingSet.open(_written(count))
    total = np.zeros(2)
    for i in range(len(patches)):
        total += [patches.read("X", i).sum(dtype=float), patches.read("Y", i).sum(dtype=float)]
    return total


def numpy_read(count: int) -> np.ndarray:
    """Load the arrays whole, as `csbdeep.io.load_training_data` does."""
    with np.load(_written(count)) as file:
        x, y = file["X"], file["Y"]
    return np.array([x.sum(dtype=float), y.sum(dtype=float)])

"""Object measurement against scikit-image's regionprops_table, for the columns that both have.

Ours measures the exposed surface as well; regionprops has no such number in 3D. scikit-image gets whole
frames, as in its own examples, and is one of our own dependencies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from _harness import OURS_PYTHON, compare

VOXEL = {2: (0.52, 0.52), 3: (3.0, 0.52, 0.52)}


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    for shape, n_cells in (((22, 512, 512), 900), ((64, 512, 512), 5000), ((2048, 2048), 5000)):
        yield compare(
            "object measurement",
            f"{'×'.join(map(str, shape))}, {n_cells} cells",
            frame(shape, n_cells),
            ours="bench_objects.py:ours",
            peer="bench_objects.py:regionprops",
            peer_name="skimage regionprops_table",
            peer_python=OURS_PYTHON,
            equal=same,
            repeats=5,
            peer_repeats=2,
        )


def frame(shape: tuple[int, ...], n_cells: int) -> dict[str, np.ndarray]:
    """Return int32 labels of densely packed cells and a uint16 image of their membranes."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    size = np.array(VOXEL[len(shape)])
    tree = cKDTree(rng.random((n_cells, len(shape))) * shape * size)
    distance, cell = tree.query(np.indices(shape).reshape(len(shape), -1).T * size, k=2, workers=-1)
    labels = (cell[:, 0] + 1).reshape(shape).astype(np.int32)
    labels[..., :30] = 0
    membrane = np.exp(distance[:, 0] - distance[:, 1]).reshape(shape) * (labels > 0)
    return {"labels": labels, "intensity": rng.poisson(100 + 400 * membrane).astype(np.uint16)}


def ours(labels: np.ndarray, intensity: np.ndarray) -> dict[str, np.ndarray]:
    """Measure with this suite."""
    from helpers.tracking.objects import measure

    table = measure(labels, intensity, voxel_size=VOXEL[labels.ndim])
    return {str(name): column.to_numpy() for name, column in table.items()}


def regionprops(labels: np.ndarray, intensity: np.ndarray) -> dict[str, np.ndarray]:
    """Measure with scikit-image and give the columns our names."""
    from skimage.measure import regionprops_table

    size = VOXEL[labels.ndim]
    found = regionprops_table(
        labels, intensity, spacing=size,
        properties=(
            "label", "centroid", "area", "num_pixels", "bbox", "intensity_mean", "intensity_std",
            "intensity_min", "intensity_max", "axis_major_length", "axis_minor_length",
            "inertia_tensor_eigvals",
        ),
    )  # fmt: skip
    table = {
        "label": found["label"],
        "volume_um3" if labels.ndim == 3 else "area_um2": found["area"],
        "n_voxels": found["num_pixels"],
        "intensity_sum": found["intensity_mean"] * found["num_pixels"],
        "intensity_mean": found["intensity_mean"],
        "intensity_sd": found["intensity_std"],
        "intensity_min": found["intensity_min"],
        "intensity_max": found["intensity_max"],
        "axis_major_um": found["axis_major_length"],
        "axis_minor_um": found["axis_minor_length"],
    }
    for k, axis in enumerate("zyx"[-labels.ndim :]):
        table[axis] = found[f"centroid-{k}"]
        table[f"extent_{axis}_um"] = (found[f"bbox-{k + labels.ndim}"] - found[f"bbox-{k}"]) * size[k]
    if labels.ndim == 3:
        a, b, c = (found[f"inertia_tensor_eigvals-{k}"] for k in range(3))
        table["axis_middle_um"] = np.sqrt(10 * np.maximum(a - b + c, 0))
    return table


def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    """Whether every column of theirs is ours within rounding (an axis is the root of a rounded number)."""
    return all(
        ours[name].shape == column.shape
        and np.allclose(ours[name], column, rtol=1e-9, atol=1e-5 if name.startswith("axis") else 1e-9)
        for name, column in theirs.items()
    )

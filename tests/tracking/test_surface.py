"""Surface and perimeter are those of the formula, for balls and ellipsoids at any place, orientation and anisotropy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import ellipe

from helpers.analysis.migration import shapes
from helpers.tracking.objects import measure
from helpers.tracking.surface import directions

#: Half axes in voxels of the longest side of a voxel.
SMALLEST = 4.0


def solid(half_axes: np.ndarray, turn: np.ndarray, size: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the voxels whose centres lie in an ellipsoid (ellipse) about a place within a voxel."""
    reach = [int(half_axes.max() / s) + 2 for s in size]
    grid = np.meshgrid(*[np.arange(-n, n + 1) * s for n, s in zip(reach, size, strict=True)], indexing="ij")
    points = np.stack(grid, axis=-1) - shift * size
    return ((points @ turn / half_axes) ** 2).sum(axis=-1) <= 1


def surface_of(a: float, b: float, c: float) -> float:
    """Return the surface of an ellipsoid, integrated."""
    u, v = np.linspace(0, np.pi, 401), np.linspace(0, 2 * np.pi, 801)
    u, v = np.meshgrid((u[1:] + u[:-1]) / 2, (v[1:] + v[:-1]) / 2, indexing="ij")
    normal = np.stack(
        [
            b * c * np.sin(u) ** 2 * np.cos(v),
            a * c * np.sin(u) ** 2 * np.sin(v),
            a * b * np.sin(u) * np.cos(u),
        ]
    )
    return float(np.linalg.norm(normal, axis=0).sum() * (np.pi / 400) * (2 * np.pi / 800))


@pytest.mark.parametrize("anisotropy", [1.0, 1.5, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("ratios", [(1.0, 1.0, 1.0), (2.0, 1.4, 1.0), (1.6, 1.6, 1.0), (2.0, 1.0, 1.0)])
def test_the_surface_of_ellipsoids(anisotropy: float, ratios: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    size = np.array([anisotropy, 1.0, 1.0])
    half_axes = SMALLEST * anisotropy * np.array(ratios)
    found = []
    for _ in range(6):
        turn = Rotation.random(rng=rng).as_matrix()
        mask = solid(half_axes, turn, size, rng.random(3) - 0.5)
        found.append(measure(mask.astype(np.uint8), voxel_size=tuple(size)).iloc[0])
    table = pd.DataFrame(found)
    assert table["surface_um2"].mean() == pytest.approx(surface_of(*half_axes), rel=0.03)
    if ratios == (1.0, 1.0, 1.0):
        assert shapes(table)["sphericity"].mean() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("anisotropy", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 3.0])
def test_the_perimeter_of_ellipses(anisotropy: float, ratio: float) -> None:
    rng = np.random.default_rng(2)
    size = np.array([anisotropy, 1.0])
    a, b = SMALLEST * anisotropy * ratio, SMALLEST * anisotropy
    found = []
    for angle in rng.uniform(0, np.pi, 12):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        mask = solid(np.array([a, b]), turn, size, rng.random(2) - 0.5)
        found.append(measure(mask.astype(np.uint8), voxel_size=tuple(size))["perimeter_um"][0])
    assert np.mean(found) == pytest.approx(4 * a * ellipe(1 - (b / a) ** 2), rel=0.03)


@pytest.mark.parametrize("size", [(1.0, 1.0, 1.0), (3.0, 0.52, 0.52), (0.4, 1.0, 1.0), (1.0, 0.3, 0.5)])
def test_directions_cover_all_there_are_once(size: tuple[float, ...]) -> None:
    steps, worth = directions(np.array(size), is_2d=False)
    assert len(np.unique(steps, axis=0)) == 13 and set(steps[:, 0]) <= {0, 1}
    length = np.linalg.norm(steps * size, axis=1)
    assert (worth * length / np.prod(size)).sum() == pytest.approx(4)
    flat, worth = directions(np.array(size), is_2d=True)
    length = np.linalg.norm(flat * size, axis=1)
    assert (worth * length / (size[1] * size[2])).sum() == pytest.approx(np.pi)

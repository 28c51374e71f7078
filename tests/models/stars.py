"""Candidates as a network gives them, made from cells that are drawn: many a cell, their rays a little wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum
from scipy.spatial import cKDTree


def make_candidates(
    shape: tuple[int, ...] = (16, 72, 72),
    n_cells: int = 25,
    grid: tuple[int, ...] = (1, 4, 4),
    n_rays: int = 32,
    anisotropy: tuple[float, ...] = (2.0, 1.0, 1.0),
    noise: float = 0.08,
    floor: float = 0.5,
    most: int = 250,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any]:
    """Return points (n, 3), scores (n,), all different, distances (n, rays) and the rays."""
    from stardist.geometry import star_dist3D
    from stardist.rays3d import Rays_GoldenSpiral

    rng = np.random.default_rng(seed)
    scale = np.array(anisotropy)
    voxels = np.indices(shape).reshape(3, -1).T * scale
    distance, cell = cKDTree(rng.uniform(size=(n_cells, 3)) * np.array(shape) * scale).query(voxels, k=2)
    labels = np.where(distance[:, 1] - distance[:, 0] > 2, cell[:, 0] + 1, 0).reshape(shape)
    rays = Rays_GoldenSpiral(n_rays, anisotropy=anisotropy)
    lengths = star_dist3D(labels, rays, grid=grid)
    wrong = gaussian_filter(rng.normal(size=lengths.shape), (1, 1, 1, 0))
    lengths = np.maximum(lengths * np.exp(noise * wrong / wrong.std()), 1e-3).astype(np.float32)
    depth = distance_transform_edt(labels > 0, sampling=scale)
    depth /= np.maximum(maximum(depth, labels, np.arange(n_cells + 1)), 1)[labels]
    depth = depth[tuple(slice(None, None, g) for g in grid)]
    probability = (depth + rng.normal(0, 0.05, depth.shape)).astype(np.float32)
    found = np.argwhere((probability > floor) & (lengths[..., 0] > 1e-3))
    found = found[np.sort(rng.permutation(len(found))[:most])]
    at = tuple(found.T)
    return (found * np.array(grid)).astype(np.int32), probability[at], lengths[at], rays

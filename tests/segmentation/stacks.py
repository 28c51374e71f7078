"""Synthetic stacks for the fusion: cells that are known, and what imperfect networks would make of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Stack:
    """Truth, and what the networks gave.

    Attributes
    ----------
    truth : ndarray of int32, (Z, Y, X)
    probability : ndarray of float32
    star_labels : ndarray of int32
        A fifth of the cells is missing.
    foreground : ndarray of bool
        Another tenth is missing.
    missed : ndarray of int
        Labels that StarDist missed.
    """

    truth: np.ndarray
    probability: np.ndarray
    star_labels: np.ndarray
    foreground: np.ndarray
    missed: np.ndarray


def make_stack(
    shape: tuple[int, int, int],
    n_cells: int,
    *,
    kind: str = "ellipsoids",
    elevation: str = "found",
    touching: float = 1.0,
    shrink: int = 0,
    spacing: tuple[float, float, float] = (2.0, 0.5, 0.5),
    seed: int = 0,
) -> Stack:
    """Make cells on a jittered grid.

    Parameters
    ----------
    shape, n_cells
        The grid is the smallest with at least `n_cells` places; the rest stays empty.
    kind : {"ellipsoids", "voronoi", "boxes"}
        Ellipsoids that overlap are divided in the middle; "voronoi" fills all space.
    elevation : {"found", "all", "union", "blurred", "flat"}
        Where the probability is: in the cells StarDist found, in all cells (from 1 in the middle to 0 at the
        border), the depth of the foreground as a whole, the blurred cells, or 1 in all of the foreground.
    touching : float
        Radius as a part of the distance between neighbours: 0.5 touches.
    shrink : int
        How many voxels (y, x) the stars are smaller than the cells on every side.
    """
    rng = np.random.default_rng(seed)
    extent = np.array(shape) * spacing
    best = None
    for nz in range(1, 12):
        ny = int(np.ceil(np.sqrt(n_cells / nz * extent[1] / extent[2])))
        nx = int(np.ceil(n_cells / nz / ny))
        pitch = extent / (nz, ny, nx)
        if best is None or pitch.max() / pitch.min() < best[0]:
            best = (pitch.max() / pitch.min(), (nz, ny, nx), pitch)
    assert best is not None
    _, grid, pitch = best
    places = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in grid], indexing="ij"), -1).reshape(-1, 3)
    places = places[np.sort(rng.choice(len(places), n_cells, replace=False))]
    jitter = 0.0 if kind == "boxes" else 0.12
    centres = (places + rng.uniform(-jitter, jitter, places.shape)) * pitch
    radii = (
        pitch
        * 0.5
        * touching
        * (np.ones((n_cells, 1)) if kind == "boxes" else rng.uniform(0.85, 1.1, (n_cells, 1)))
    )

    truth = np.zeros(shape, np.int32)
    depth = np.zeros(shape, np.float32)
    grids = [(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)]
    if kind == "voronoi":
        points = np.stack(np.meshgrid(*grids, indexing="ij"), -1).reshape(-1, 3)
        near, index = cKDTree(centres / pitch).query(points / pitch, k=2)
        truth = (index[:, 0] + 1).reshape(shape).astype(np.int32)
        depth = (1 - near[:, 0] / near[:, 1]).reshape(shape).astype(np.float32)
    else:
        nearest = np.full(shape, np.inf, np.float32)
        for k in range(n_cells):
            where = tuple(
                slice(*np.searchsorted(g, [c - r, c + r + 1e-9]))
                for g, c, r in zip(grids, centres[k], radii[k], strict=True)
            )
            axes = [
                ((g[w] - c) / r) ** 2 if kind != "boxes" else np.abs(g[w] - c) / r
                for g, w, c, r in zip(grids, where, centres[k], radii[k], strict=True)
            ]
            z, y, x = np.ix_(*axes)
            away = np.maximum(np.maximum(z, y), x) if kind == "boxes" else np.sqrt(z + y + x)
            closer = (away < np.minimum(nearest[where], 1)).astype(bool)
            truth[where][closer] = k + 1
            nearest[where][closer] = away[closer]
        depth = np.where(truth > 0, 1 - nearest, 0).astype(np.float32)

    order = rng.permutation(n_cells) + 1
    missed = np.sort(order[: n_cells // 5])
    unseen = order[n_cells // 5 : n_cells // 5 + n_cells // 10]
    found = np.ones(n_cells + 1, bool)
    found[missed] = found[0] = False
    seen = np.ones(n_cells + 1, bool)
    seen[unseen] = seen[0] = False
    star_labels = np.where(found[truth], truth, 0).astype(np.int32)
    foreground = seen[truth]
    if shrink:
        size = (1, 2 * shrink + 1, 2 * shrink + 1)
        low = ndimage.minimum_filter(star_labels, size)
        star_labels = np.where(low == ndimage.maximum_filter(star_labels, size), star_labels, 0)
    if elevation == "all":
        probability = depth
    elif elevation == "found":
        probability = np.where(star_labels > 0, depth, 0).astype(np.float32)
    elif elevation == "union":
        probability = ndimage.distance_transform_edt(foreground | (star_labels > 0), sampling=spacing)
        probability = (probability / probability.max()).astype(np.float32)
    elif elevation == "blurred":
        probability = ndimage.gaussian_filter((truth > 0).astype(np.float32), (0.5, 2, 2))
    else:
        probability = (foreground | (star_labels > 0)).astype(np.float32)
    return Stack(truth, probability, star_labels, foreground, missed)


def recovered(truth: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Return the true cells that some label matches with at least this IoU (it is the only one above 0.5)."""
    n = int(labels.max()) + 1
    pairs, counts = np.unique(truth.astype(np.int64) * n + labels, return_counts=True)
    cell, label = pairs // n, pairs % n
    iou = counts / (np.bincount(truth.ravel())[cell] + np.bincount(labels.ravel())[label] - counts)
    return np.unique(cell[(cell > 0) & (label > 0) & (iou >= threshold)])

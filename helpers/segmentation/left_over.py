"""What the stars leave over of the foreground: its seeds, and which of the regions that grow from them are cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from helpers.segmentation import seeds
from helpers.segmentation.depth import depth_unit
from helpers.segmentation.typical import Sizes, Typical

#: Below this fraction of the stars' the probability in a region's middle says that StarDist is silent about it.
_SILENT = 0.3
#: Times the largest stars: no cell is larger.
_TOO_LARGE = 1.15


@dataclass
class LeftOver:
    """Seeds in the left-over foreground.

    Attributes
    ----------
    voxels, seed : ndarray, (N,)
        Positions (raveled), and of which seed (from 0).
    middles, depths : ndarray, (number of seeds,)
        Mean probability, and depth of the deepest voxel in µm.
    """

    voxels: np.ndarray
    seed: np.ndarray
    middles: np.ndarray
    depths: np.ndarray

    @classmethod
    def none(cls) -> LeftOver:
        """Return no seeds."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0), np.zeros(0))


def seed(
    probability: np.ndarray,
    labels: np.ndarray,
    depth: np.ndarray,
    first: int,
    typical: Typical,
    thinnest: int,
    split: float,
    spacing: tuple[float, float, float],
) -> LeftOver:
    """Put a seed for every thick middle of the left-over foreground into `labels`, from `first` on.

    Parameters
    ----------
    probability : ndarray, (Z, Y, X)
    labels : ndarray of int32, same shape
        Roles (`seeds.census`).
    depth : ndarray of uint16, same shape
    first : int
        The first label that is no star's.
    typical : Typical
    thinnest : int
        Depth from which on left-over foreground is thick, in steps.
    split : float
        See `helpers.segmentation.fusion.fuse`.
    spacing : tuple of float
        Voxel size (z, y, x), µm.
    """
    flat = labels.reshape(-1)
    voxels = seeds.thick_left_over(flat, depth.reshape(-1), thinnest)
    if not voxels.size:
        return LeftOver.none()
    depths = depth.reshape(-1)[voxels]
    height = depths / np.float32(typical.radius)
    values = probability.reshape(-1)[voxels].astype(np.float32)
    if typical.telling:
        # Where the probability knows of the cell, its dips divide as narrow places do.
        height += np.clip(values / np.float32(typical.middle), 0, 1)
    order = np.argsort(-height, kind="stable")
    count = seeds.find_peaks(height[order], voxels[order], flat, labels.shape, first, split)
    peak = flat[voxels] - first
    middles = np.bincount(peak, weights=values, minlength=count) / np.bincount(peak, minlength=count)
    deepest = np.zeros(count)
    np.maximum.at(deepest, peak, depths * depth_unit(spacing))
    return LeftOver(voxels, peak, middles, deepest)


def split_oversize(
    labels: np.ndarray,
    left_over: LeftOver,
    first: int,
    typical: Typical,
    sizes: Sizes,
    spacing: tuple[float, float, float],
) -> bool:
    """Divide new regions that are larger than any star and of which the probability knows nothing.

    Cells that touch all over have no neck. So many as would be of the usual size are taken for the number, and
    the middle of the region is divided among them by k-means. The regions are emptied in `labels` and seeded
    anew, and `left_over` is brought up to date; False if there was nothing to do.
    """
    count = len(left_over.middles)
    if not count or not np.isfinite(sizes.usual):
        return False
    grown = seeds.count_labels(labels.reshape(-1), first + count - 1)[first:]
    silent = left_over.middles < _SILENT * typical.middle if typical.telling else np.ones(count, bool)
    oversize = np.flatnonzero(silent & (grown > _TOO_LARGE * sizes.largest))
    if not oversize.size:
        return False
    flat = labels.reshape(-1)
    names = first + np.arange(count, dtype=np.int32)
    names[oversize] = 0
    seeds.relabel(flat, first, names)
    order = np.argsort(left_over.seed, kind="stable")
    bounds = np.searchsorted(left_over.seed[order], np.arange(count + 1))
    for k in oversize:
        own = order[bounds[k] : bounds[k + 1]]
        n = max(2, round(grown[k] / sizes.usual))
        points = np.stack(np.unravel_index(left_over.voxels[own], labels.shape), 1) * np.array(spacing)
        thinned = points[:: max(1, len(points) // 20_000)]
        centres, _ = kmeans2(thinned, min(n, len(thinned)), minit="++", rng=np.random.default_rng(0))
        part = KDTree(centres).query(points)[1]
        used, part = np.unique(part, return_inverse=True)
        new = np.concatenate([[k], len(left_over.middles) + np.arange(len(used) - 1)])
        left_over.seed[own] = new[part]
        left_over.middles = np.concatenate([left_over.middles, np.full(len(used) - 1, left_over.middles[k])])
        left_over.depths = np.concatenate([left_over.depths, np.full(len(used) - 1, left_over.depths[k])])
    flat[left_over.voxels] = first + left_over.seed
    return True


def which_are_cells(
    probability: np.ndarray,
    labels: np.ndarray,
    first: int,
    left_over: LeftOver,
    count: int,
    typical: Typical | None,
    sizes: Sizes,
    spacing: tuple[float, float, float],
    *,
    smallest: float,
    min_volume: float,
    max_pass: float,
    max_neck: float,
    cut: tuple[slice | int, ...] = (),
) -> np.ndarray:
    """Tell which of the `count` new regions are cells; see `helpers.segmentation.fusion.fuse`.

    Those behind the seeds are whole components of the foreground. Components that reach one of the planes `cut`
    (indices into `labels`) may go on there: it is not known that they have no star.
    """
    region, other, voxel, axis = seeds.contacts(labels, first)
    grown = seeds.count_labels(labels.reshape(-1), first + count - 1)
    volumes = grown[first:]
    kept = volumes >= smallest
    if typical is None or not (region.size or cut):
        return kept
    passed = probability.reshape(-1)[voxel].astype(np.float64)
    if labels.shape[0] == 1:
        area = np.array([0.0, spacing[2], spacing[1]])[axis]
    else:
        area = (np.prod(spacing) / np.array(spacing))[axis]
    to_star = other < first
    # One component of the foreground: regions joined by contacts. Without a star, its largest is a cell.
    pairs = (region[~to_star], other[~to_star] - first)
    n_groups, group = connected_components(
        coo_matrix((np.ones(len(pairs[0]), bool), pairs), (count, count)), directed=False
    )
    starred = np.zeros(n_groups, bool)
    starred[group[region[to_star]]] = True
    for plane in cut:
        reaching = np.unique(labels[plane])
        starred[group[reaching[reaching >= first] - first]] = True
    by_size = np.argsort(-volumes, kind="stable")
    largest = np.zeros(count, bool)
    largest[by_size[np.unique(group[by_size], return_index=True)[1]]] = True
    certain = largest & ~starred[group]

    # What touches each region, face by face; largest regions first.
    order = np.argsort(region, kind="stable")
    bounds = np.searchsorted(region[order], np.arange(count + 1))
    accepted = np.zeros(first + count, bool)
    accepted[:first] = True
    for k in by_size:
        if kept[k] and not certain[k]:
            kept[k] = volumes[k] >= min_volume * typical.size
            faces = order[bounds[k] : bounds[k + 1]]
            faces = faces[accepted[other[faces]]]
            if kept[k] and faces.size and typical.telling:
                neighbours, which = np.unique(other[faces], return_inverse=True)
                areas = np.bincount(which, weights=area[faces])
                widest = int(np.argmax(areas))
                width = areas[widest] / 2 if labels.shape[0] == 1 else np.sqrt(areas[widest] / np.pi)
                level = max(left_over.middles[k], _SILENT * typical.middle)
                kept[k] = (
                    passed[faces].mean() <= max_pass * level
                    or width <= max_neck * left_over.depths[k]
                    or volumes[k] + grown[neighbours[widest]] > _TOO_LARGE * sizes.largest
                )
        accepted[first + k] = kept[k]
    return kept

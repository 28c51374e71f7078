"""What the stars leave over of the foreground: its seeds, and which of the regions that grow from them are cells."""

from __future__ import annotations

from collections.abc import Iterator
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
#: Voxels that are looked at together.
_PART = 1 << 18


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
    # One array of heights (upper half, falling) and positions (lower half) is sorted in place: half the memory.
    keys = np.empty(voxels.size, "<u8")
    for part in _parts(voxels.size):
        height = depth.reshape(-1)[voxels[part]] / np.float32(typical.radius)
        if typical.telling:
            # Where the probability knows of the cell, its dips divide as narrow places do.
            values = probability.reshape(-1)[voxels[part]].astype(np.float32)
            height += np.clip(values / np.float32(typical.middle), 0, 1)
        keys[part] = ~height.view(np.uint32)
        keys[part] <<= np.uint64(32)
        keys[part] |= voxels[part].astype(np.uint64)
    del voxels
    keys.sort()
    keys ^= np.uint64(0xFFFFFFFF00000000)
    voxels = keys.view("<i4")[::2]
    count = seeds.find_peaks(keys.view("<f4")[1::2], voxels, flat, labels.shape, first, split)
    voxels = np.sort(voxels)
    del keys
    peak = flat[voxels]
    peak -= first
    sums, counts, deepest = np.zeros(count), np.bincount(peak, minlength=count), np.zeros(count)
    for part in _parts(voxels.size):
        at = voxels[part]
        np.add.at(sums, peak[part], probability.reshape(-1)[at].astype(np.float32).astype(np.float64))
        np.maximum.at(deepest, peak[part], depth.reshape(-1)[at] * depth_unit(spacing))
    return LeftOver(voxels, peak, sums / counts, deepest)


def _parts(n: int) -> Iterator[slice]:
    """Cut `n` items into parts whose temporaries are small."""
    return (slice(k, k + _PART) for k in range(0, n, _PART))


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
    is_oversize = np.zeros(count, bool)
    is_oversize[oversize] = True
    # Seeds (upper half) and positions (lower half), sorted in place.
    keys = np.concatenate(
        [_keys_of(left_over.seed, part, is_oversize) for part in _parts(len(left_over.seed))]
    )
    keys.sort()
    bounds = np.searchsorted(keys, np.stack([oversize, oversize + 1], 1).astype("<u8") << np.uint64(32))
    for k, (begin, end) in zip(oversize, bounds, strict=True):
        own = keys.view("<i4")[::2][begin:end]
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
    for part in _parts(len(left_over.seed)):
        flat[left_over.voxels[part]] = first + left_over.seed[part]
    return True


def _keys_of(seed: np.ndarray, part: slice, chosen: np.ndarray) -> np.ndarray:
    """Return (seed << 32) | position of what belongs to a chosen seed."""
    own = np.flatnonzero(chosen[seed[part]])
    return (seed[part][own].astype("<u8") << np.uint64(32)) | (part.start + own).astype("<u8")


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
    cut: tuple[tuple[slice | int, ...], ...] = (),
) -> np.ndarray:
    """Tell which of the `count` new regions are cells; see `helpers.segmentation.fusion.fuse`.

    Those behind the seeds are whole components of the foreground. Components that reach one of the planes `cut`
    (indices into `labels`) may go on there: it is not known that they have no star.
    """
    region, other, faces, passed = _contacts(probability, labels, first)
    grown = seeds.count_labels(labels.reshape(-1), first + count - 1)
    volumes = grown[first:]
    kept = volumes >= smallest
    if typical is None or not (region.size or cut):
        return kept
    if labels.shape[0] == 1:
        area = faces @ np.array([0.0, spacing[2], spacing[1]])
    else:
        area = faces @ (np.prod(spacing) / np.array(spacing))
    n_faces = faces.sum(1)
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

    # What touches each region; largest regions first.
    bounds = np.searchsorted(region, np.arange(count + 1))
    accepted = np.zeros(first + count, bool)
    accepted[:first] = True
    for k in by_size:
        if kept[k] and not certain[k]:
            kept[k] = volumes[k] >= min_volume * typical.size
            around = np.arange(bounds[k], bounds[k + 1])
            around = around[accepted[other[around]]]
            if kept[k] and around.size and typical.telling:
                widest = around[np.argmax(area[around])]
                width = area[widest] / 2 if labels.shape[0] == 1 else np.sqrt(area[widest] / np.pi)
                level = max(left_over.middles[k], _SILENT * typical.middle)
                kept[k] = (
                    passed[around].sum() / n_faces[around].sum() <= max_pass * level
                    or width <= max_neck * left_over.depths[k]
                    or volumes[k] + grown[other[widest]] > _TOO_LARGE * sizes.largest
                )
        accepted[first + k] = kept[k]
    return kept


def _contacts(
    probability: np.ndarray, labels: np.ndarray, first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return which new region (from 0) touches which label, sorted; faces (n, 3) by their axis; sums of probability."""
    found = [(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))]
    planes = max(1, _PART // max(1, labels[:1].size))
    for z in range(0, len(labels), planes):
        region, other, voxel, axis = seeds.contacts(labels, first, z, min(z + planes, len(labels)))
        values = probability.reshape(-1)[voxel].astype(np.float64)
        found.append(_summed((region.astype(np.int64) << 32) | other, np.eye(3)[axis], values))
    keys, faces, passed = _summed(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    return keys >> 32, keys & 0xFFFFFFFF, faces, passed


def _summed(
    keys: np.ndarray, faces: np.ndarray, passed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keys, which = np.unique(keys, return_inverse=True)
    n = len(keys)
    by_axis = np.stack([np.bincount(which, faces[:, k], n) for k in range(3)], 1)
    return keys, by_axis, np.bincount(which, passed, n)

"""VollSeg's fusion: StarDist's cells and the U-Net's foreground become one set of cells.

StarDist finds most cells but approximates them; the U-Net finds their exact outline but not where one cell ends
and the next begins. As in VollSeg (Kapoor et al., "VollSeg", 2022) seeds from both are pooled, and a watershed
on StarDist's probability grows them inside the U-Net's foreground::

    StarDist      (a) (b)          (d)        every star is a seed, by all its voxels
    U-Net          ▓▓▓▓▓▓▓▓  ▓▓▓▓             its components without a star are seeds,
    seeds          a   b  c   e     d         and so is what looks like a cell in what the stars leave over (c)
    result         aaabbbcc  eeee  (d)        watershed inside ▓; beyond it a star keeps its shape

Unlike in the published programs a component's own voxels decide, not its box; touching cells may share a
component; no seed erodes another, none is made up at the origin, and labels are 32 bits wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.ndimage import binary_erosion
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from helpers.data.masks import spacing_of
from helpers.errors import InputError
from helpers.segmentation import seeds
from helpers.segmentation.watershed import MAX_VOXELS, flood

#: Stars whose thickness is measured to know what a cell looks like.
_SAMPLED_STARS = 256
#: Below this fraction of the stars' the probability in a region's middle says that StarDist is silent about it.
_SILENT = 0.3
#: The landscape tells borders from middles if it is below this fraction of the middles at the stars' rims.
_TELLING = 0.9
#: Times the largest stars: no cell is larger.
_TOO_LARGE = 1.15
#: So many stars tell how large cells are.
_ENOUGH_STARS = 10


def fuse(
    probability: np.ndarray,
    star_labels: np.ndarray,
    foreground: np.ndarray,
    *,
    voxel_size: Sequence[float] | None,
    boundary_width: float = 0.0,
    min_size: float = 0.0,
    min_depth: float = 0.5,
    min_volume: float = 0.2,
    max_pass: float = 0.5,
    max_neck: float = 0.9,
    split: float = 0.9,
    core: float = 1.0,
) -> np.ndarray:
    """Fuse StarDist's labels with the U-Net's foreground.

    Every star survives with its own label, and outside the foreground with its own shape. The foreground goes,
    by watershed, to the star or new cell whose probability leads there. New cells are the components of the foreground
    without a star, and regions of left-over foreground that look like a cell in all of:

    - *thickness*: at least `min_depth` of the median star's inscribed radius (a rim is thin);
    - *volume*: at least `min_volume` of the median star's;
    - *a border of their own*: the mean probability where they touch other cells is at most `max_pass` of that
      in their middle; or the widest contact with one of them is a neck (its radius is at most `max_neck` of
      the region's inscribed radius); or the two together would be larger than any star. What a star failed to
      cover of its own cell is joined to it broadly and by high probability. Where the landscape says nothing
      (it is as high at the stars' rims as in their middles) thickness and volume decide.

    Parameters
    ----------
    probability : ndarray of float, (Y, X) or (Z, Y, X)
        What is flooded from its high values: StarDist's object probability, or a distance landscape.
    star_labels : ndarray of integers, same shape
        StarDist's instances, 0 is background.
    foreground : ndarray of bool (or numbers, non-zero is foreground), same shape
        The U-Net's foreground.
    voxel_size : sequence of float
        (z, y, x), in 2D (y, x) or (z, y, x), µm.
    boundary_width : float
        µm by which the U-Net was taught to carve touching cells apart, on each side. Seeds come from the
        carved foreground; then it is grown back by this much for the cells to meet.
    min_size : float
        Smallest new cell, µm³ (2D: µm²). Stars are never removed.
    min_depth, min_volume, max_pass, max_neck : float
        See above; fractions.
    split : float
        Left-over foreground is divided where it narrows (or its probability dips) below this fraction of
        its thickness (and probability) on both sides.
    core : float
        Stars and new cells grow from their cores: the voxels at least this fraction as deep as the deepest.
        0: stars keep all their voxels and only what they leave over is shared out. So it is also where the
        foreground is carved, and where the landscape tells nothing (see above).

    Returns
    -------
    labels : ndarray of int32, same shape
        0 is background; stars keep their labels, new cells follow the largest of them.

    Raises
    ------
    InputError
        Shapes or dimensions differ, the probability holds NaN or infinity, labels are not integers ≥ 0, the
        voxel size is missing, or a parameter is out of range.
    """
    probability = np.asarray(probability)
    star_labels = np.asarray(star_labels)
    foreground = np.asarray(foreground)
    spacing = _check(probability, star_labels, foreground, voxel_size)
    for name, value in (
        ("min_depth", min_depth),
        ("max_pass", max_pass),
        ("max_neck", max_neck),
        ("split", split),
        ("core", core),
    ):
        if not 0 <= value <= 1:
            raise InputError(name, value, "a fraction from 0 to 1")
    for name, value in (
        ("boundary_width", boundary_width),
        ("min_size", min_size),
        ("min_volume", min_volume),
    ):
        if not 0 <= value < np.inf:
            raise InputError(name, value, "0 or more")
    shape = probability.shape
    volume_shape = (1,) * (3 - len(shape)) + shape
    if foreground.dtype != bool:
        foreground = foreground != 0
    stars, names = _compact(star_labels)
    n_stars = len(names) - 1 if names is not None else int(stars.max(initial=0))

    labels = np.empty(volume_shape, np.int32)
    flat = labels.reshape(-1)
    volume_foreground = np.ascontiguousarray(foreground).reshape(volume_shape)
    volume_stars = np.ascontiguousarray(stars).reshape(volume_shape)
    # A star's voxels outside the foreground keep their label but hand it on to nobody: a component of the
    # foreground that merely touches them has no star.
    sizes, boxes = seeds.census(volume_stars, volume_foreground, labels, n_stars)
    first = n_stars + 1
    left_over = _LeftOver.none()
    typical = None
    if (sizes > 0).any():
        typical = _typical(probability.reshape(volume_shape), labels, sizes, boxes, spacing)
        left_over = _seed_left_over(probability, labels, first, typical, min_depth, split, spacing)
    flood(probability, labels.reshape(shape), descending=True)
    if typical is not None and _split_oversize(labels, left_over, first, typical, spacing):
        flood(probability, labels.reshape(shape), descending=True)
    n_seeds = len(left_over.middles)
    count = int(seeds.label_unreached(flat, volume_shape, first + n_seeds)) - first
    kept = np.zeros(0, bool)
    if count:
        smallest = min_size / float(np.prod(spacing[-len(shape) :]))
        kept = _cells(
            probability, labels, first, left_over, count, typical, spacing,
            smallest, min_volume, max_pass, max_neck,
        )  # fmt: skip
        count = int(np.count_nonzero(kept))
    new = np.zeros(len(kept), np.int32)
    new[kept] = first + np.arange(count, dtype=np.int32)
    seeds.relabel(flat, first, new)
    if typical is not None and typical.telling and core and not boundary_width:
        # Now that it is known what is a cell, all grow from their middles.
        depth = seeds.depth_of_labels(volume_stars, spacing).reshape(-1)
        whole = first + int(np.count_nonzero(kept[:n_seeds]))
        seeds.keep_cores(
            flat, volume_stars.reshape(-1), depth, volume_foreground.reshape(-1), core, n_stars, whole
        )
        del depth
        flat[left_over.voxels] = new[left_over.seed]
        flood(probability, labels.reshape(shape), descending=True)
    elif not kept.all():
        flood(probability, labels.reshape(shape), descending=True)
    if boundary_width:
        # As long a way as the carving measured it, between voxel centres.
        outwards = seeds.depth_inside(volume_foreground, False, spacing)
        farthest = int(boundary_width * (1 + 1e-6) / seeds.depth_unit(spacing) + 0.5)
        seeds.open_near(flat, outwards.reshape(-1), farthest)
        del outwards
        flood(probability, labels.reshape(shape), descending=True)
    seeds.restore(flat)
    if names is not None:
        new_names = names[-1] + 1 + np.arange(count)
        seeds.relabel(flat, 0, np.concatenate([names, new_names]).astype(np.int32))
    return labels.reshape(shape)


@dataclass(frozen=True)
class _Typical:
    """What a cell looks like, learnt from the stars.

    Attributes
    ----------
    radius : float
        Median inscribed radius, in steps of depth.
    size : float
        Median size, voxels.
    middle : float
        Median probability in their middles.
    telling : bool
        Whether the probability falls from their middles to their rims.
    """

    radius: float
    size: float
    middle: float
    telling: bool


@dataclass
class _LeftOver:
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
    def none(cls) -> _LeftOver:
        return cls(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0), np.zeros(0))


def _seed_left_over(
    probability: np.ndarray,
    labels: np.ndarray,
    first: int,
    typical: _Typical,
    min_depth: float,
    split: float,
    spacing: tuple[float, float, float],
) -> _LeftOver:
    """Put a seed for every thick middle of the left-over foreground into `labels`, from `first` on.

    Returns them with the mean probability of each.
    """
    depth = seeds.depth_inside(labels, 0, spacing)
    voxels = seeds.voxels_at_least(depth, max(1, round(min_depth * typical.radius)))
    if not voxels.size:
        return _LeftOver.none()
    depths = depth.reshape(-1)[voxels]
    del depth
    height = depths / np.float32(typical.radius)
    values = probability.reshape(-1)[voxels].astype(np.float32)
    if typical.telling:
        # Where the probability knows of the cell, its dips divide as narrow places do.
        height += np.clip(values / np.float32(typical.middle), 0, 1)
    order = np.argsort(-height, kind="stable")
    flat = labels.reshape(-1)
    count = seeds.find_peaks(height[order], voxels[order], flat, labels.shape, first, split)
    seed = flat[voxels] - first
    middles = np.bincount(seed, weights=values, minlength=count) / np.bincount(seed, minlength=count)
    deepest = np.zeros(count)
    np.maximum.at(deepest, seed, depths * seeds.depth_unit(spacing))
    return _LeftOver(voxels, seed, middles, deepest)


def _split_oversize(
    labels: np.ndarray,
    left_over: _LeftOver,
    first: int,
    typical: _Typical,
    spacing: tuple[float, float, float],
) -> bool:
    """Divide new regions that are larger than any star and of which the probability knows nothing.

    Cells that touch all over have no neck. So many as would be of median size are taken for the number, and
    the middle of the region is divided among them by k-means. The regions are emptied in `labels` and seeded
    anew, and `left_over` is brought up to date; False if there was nothing to do.
    """
    count = len(left_over.middles)
    sizes = seeds.count_labels(labels.reshape(-1), first + count - 1)
    # What stars are with their rims.
    stars = sizes[1:first][sizes[1:first] > 0]
    if not count or len(stars) < _ENOUGH_STARS:
        return False
    sizes = sizes[first:]
    usual, largest = np.median(stars), np.quantile(stars, 0.99)
    silent = left_over.middles < _SILENT * typical.middle if typical.telling else np.ones(count, bool)
    oversize = np.flatnonzero(silent & (sizes > _TOO_LARGE * largest))
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
        n = max(2, round(sizes[k] / usual))
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


def _cells(
    probability: np.ndarray,
    labels: np.ndarray,
    first: int,
    left_over: _LeftOver,
    count: int,
    typical: _Typical | None,
    spacing: tuple[float, float, float],
    smallest: float,
    min_volume: float,
    max_pass: float,
    max_neck: float,
) -> np.ndarray:
    """Tell which of the new regions are cells; see `fuse`. Those behind the seeds are whole components."""
    region, other, voxel, axis = seeds.contacts(labels, first)
    all_sizes = seeds.count_labels(labels.reshape(-1), first + count - 1)
    sizes = all_sizes[first:]
    kept = sizes >= smallest
    if typical is None or not region.size:
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
    by_size = np.argsort(-sizes, kind="stable")
    largest = np.zeros(count, bool)
    largest[by_size[np.unique(group[by_size], return_index=True)[1]]] = True
    certain = largest & ~starred[group]

    # What touches each region, face by face; largest regions first.
    order = np.argsort(region, kind="stable")
    bounds = np.searchsorted(region[order], np.arange(count + 1))
    accepted = np.zeros(first + count, bool)
    accepted[:first] = True
    stars = all_sizes[1:first][all_sizes[1:first] > 0]
    largest_star = np.quantile(stars, 0.99) if stars.size else np.inf
    for k in by_size:
        if kept[k] and not certain[k]:
            kept[k] = sizes[k] >= min_volume * typical.size
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
                    or sizes[k] + all_sizes[neighbours[widest]] > _TOO_LARGE * largest_star
                )
        accepted[first + k] = kept[k]
    return kept


def _check(
    probability: np.ndarray,
    star_labels: np.ndarray,
    foreground: np.ndarray,
    voxel_size: Sequence[float] | None,
) -> tuple[float, float, float]:
    if probability.ndim not in (2, 3):
        raise InputError("probability", probability.shape, "a (Y, X) image or a (Z, Y, X) stack")
    for name, array in (("star_labels", star_labels), ("foreground", foreground)):
        if array.shape != probability.shape:
            raise InputError(name, array.shape, f"the shape of probability, {probability.shape}")
    if probability.size > MAX_VOXELS:
        raise InputError("probability", probability.shape, "fewer than 2³¹ voxels: use fuse_blockwise")
    if probability.dtype.kind not in "fiub":
        raise InputError("probability", probability.dtype, "real numbers")
    if not np.issubdtype(star_labels.dtype, np.integer):
        raise InputError("star_labels", star_labels.dtype, "integers, 0 is background")
    if foreground.dtype.kind not in "fiub":
        raise InputError("foreground", foreground.dtype, "bool: true inside cells")
    if probability.dtype.kind == "f" and probability.size:
        # A sum would need no memory either but may overflow; the extremes tell NaN and infinity apart.
        low, high = probability.min(), probability.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError("probability", "NaN or infinity", "finite values")
    if star_labels.size and star_labels.min() < 0:
        raise InputError("star_labels", int(star_labels.min()), "labels of 0 and more")
    spacing = spacing_of(voxel_size, probability.ndim)
    # A plane has no depth: any z spacing will do.
    return (max(spacing), *spacing) if probability.ndim == 2 else spacing  # type: ignore[return-value]


def _compact(star_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Number sparse labels 1…n so that tables over them stay small; the names are None where they are dense."""
    largest = int(star_labels.max(initial=0))
    if largest <= max(100_000, star_labels.size // 8):
        return star_labels, None
    if largest > np.iinfo(np.int32).max - star_labels.size:
        raise InputError(
            "star_labels", largest, "labels that leave room for new ones below 2³¹: relabel them"
        )
    names, numbered = np.unique(star_labels, return_inverse=True)
    if names[0] != 0:
        names = np.concatenate([[0], names])
        numbered = numbered + 1
    return numbered.reshape(star_labels.shape).astype(np.int32), names.astype(np.int64)


def _typical(
    probability: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray,
    boxes: np.ndarray,
    spacing: tuple[float, float, float],
) -> _Typical:
    """Measure what a cell looks like on some of the stars."""
    present = np.flatnonzero(sizes)
    sample = present[np.linspace(0, len(present) - 1, min(len(present), _SAMPLED_STARS)).astype(int)]
    radii, middles, rims = [], [], []
    for star in sample:
        z0, z1, y0, y1, x0, x1 = boxes[star]
        # One voxel more on every side, where there is one: the volume's faces bound no cell.
        where = np.s_[max(z0 - 1, 0) : z1 + 2, max(y0 - 1, 0) : y1 + 2, max(x0 - 1, 0) : x1 + 2]
        crop = labels[where]
        inside = (crop == star) | (crop == -1 - star)
        depth = seeds.depth_inside(inside, True, spacing)
        deepest = int(depth.max())
        if deepest == seeds.FAR:
            continue
        values = probability[where].astype(np.float32)
        radii.append(deepest)
        middles.append(values[depth >= deepest / 2].mean())
        rims.append(values[inside & ~binary_erosion(inside, border_value=1)].mean())
    size = float(np.median(sizes[present]))
    if not radii:
        return _Typical(1.0, size, 0.0, False)
    middle = float(np.median(middles))
    telling = middle > 0 and float(np.median(rims)) < _TELLING * middle
    return _Typical(float(np.median(radii)), size, middle, telling)

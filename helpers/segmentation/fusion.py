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
from dataclasses import dataclass, fields

import numpy as np

from helpers.data.masks import spacing_of
from helpers.errors import InputError
from helpers.segmentation import left_over, seeds
from helpers.segmentation.depth import depth_inside, depth_of_regions, depth_unit
from helpers.segmentation.landscape import Landscape, landscape
from helpers.segmentation.typical import Sizes, Typical, learn, sample, surroundings
from helpers.segmentation.watershed import MAX_VOXELS, flood

Spacing = tuple[float, float, float]


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
    rules = Rules(boundary_width, min_size, min_depth, min_volume, max_pass, max_neck, split, core)
    probability = np.asarray(probability)
    star_labels = np.asarray(star_labels)
    foreground = np.asarray(foreground)
    spacing = check_inputs(probability, star_labels, foreground, voxel_size)
    shape = probability.shape
    volume_shape = (1,) * (3 - len(shape)) + shape
    stars, names = compact(star_labels)
    probability, stars = probability.reshape(volume_shape), np.ascontiguousarray(stars).reshape(volume_shape)
    mask = np.ascontiguousarray(foreground != 0 if foreground.dtype != bool else foreground)
    mask = mask.reshape(volume_shape)
    n_stars = len(names) - 1 if names is not None else int(stars.max(initial=0))

    labels = np.empty(volume_shape, np.int32)
    sizes, boxes = seeds.census(stars, mask, labels, n_stars)
    typical = None
    if (sizes > 0).any():
        crops = (
            (probability[where], labels[where], int(star), open_end)
            for star in sample(sizes)
            for where, open_end in [surroundings(boxes[star], volume_shape)]
        )
        typical = learn(crops, float(np.median(sizes[sizes > 0])), spacing)
    count = fuse_roles(probability, stars, mask, labels, n_stars, typical, rules, spacing)
    if names is not None:
        new_names = names[-1] + 1 + np.arange(count)
        seeds.relabel(labels.reshape(-1), 0, np.concatenate([names, new_names]).astype(np.int32))
    return labels.reshape(shape)


@dataclass(frozen=True)
class Rules:
    """The parameters of `fuse` by which left-over foreground is judged, checked."""

    boundary_width: float = 0.0
    min_size: float = 0.0
    min_depth: float = 0.5
    min_volume: float = 0.2
    max_pass: float = 0.5
    max_neck: float = 0.9
    split: float = 0.9
    core: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("boundary_width", "min_size", "min_volume"):
                if not 0 <= value < np.inf:
                    raise InputError(field.name, value, "0 or more")
            elif not 0 <= value <= 1:
                raise InputError(field.name, value, "a fraction from 0 to 1")


def share_out(
    probability: np.ndarray,
    stars: np.ndarray,
    labels: np.ndarray,
    n_stars: int,
    typical: Typical,
    rules: Rules,
    spacing: Spacing,
) -> tuple[left_over.LeftOver, np.ndarray, Landscape]:
    """Seed the left-over foreground and flood it from there and from the stars as they are, in place.

    Returns the seeds, the stars' cores (positions, raveled) and the landscape.
    """
    depth = depth_of_regions(labels, spacing)
    cores = seeds.cores(labels.reshape(-1), depth.reshape(-1), rules.core, n_stars)
    thinnest = max(1, round(rules.min_depth * typical.radius))
    seeded = left_over.seed(probability, labels, depth, n_stars + 1, typical, thinnest, rules.split, spacing)
    heights = landscape(probability, stars, labels, depth, n_stars + 1, typical, thinnest, spacing)
    heights.flood(labels)
    return seeded, cores, heights


def fuse_roles(
    probability: np.ndarray,
    stars: np.ndarray,
    foreground: np.ndarray,
    labels: np.ndarray,
    n_stars: int,
    typical: Typical | None,
    rules: Rules,
    spacing: Spacing,
    *,
    sizes: Sizes | None = None,
    cut: tuple[tuple[slice | int, ...], ...] = (),
) -> int:
    """Turn the roles of the voxels into the labels of cells, in place.

    Parameters
    ----------
    probability, stars, foreground : ndarray, (Z, Y, X)
    labels : ndarray of int32, same shape
        Roles: what `seeds.census` wrote of them.
    n_stars : int
        The largest label of a star.
    typical : Typical or None
        What a cell looks like; None if there is no star.
    rules : Rules
    spacing : tuple of float
        Voxel size (z, y, x), µm.
    sizes : Sizes, optional
        How large cells are; from these stars when left out.
    cut : tuple of indices
        Planes of `labels` behind which the stack goes on.

    Returns
    -------
    int
        Number of new cells, whose labels follow `n_stars`.
    """
    first = n_stars + 1
    flat = labels.reshape(-1)
    seeded, cores, heights = left_over.LeftOver.none(), np.zeros(0, np.int32), None
    if typical is not None:
        seeded, cores, heights = share_out(probability, stars, labels, n_stars, typical, rules, spacing)
        sizes = sizes or Sizes.of(seeds.count_labels(flat, n_stars)[1:])
        if left_over.split_oversize(labels, seeded, first, typical, sizes, spacing):
            heights.flood(labels)
    n_seeds = len(seeded.middles)
    count = int(seeds.label_unreached(flat, labels.shape, first + n_seeds)) - first
    kept = np.zeros(0, bool)
    if count:
        kept = left_over.which_are_cells(
            probability, labels, first, seeded, count, typical, sizes or Sizes.of(np.zeros(0)), spacing,
            smallest=rules.min_size / float(np.prod(spacing if labels.shape[0] > 1 else spacing[1:])),
            min_volume=rules.min_volume, max_pass=rules.max_pass, max_neck=rules.max_neck, cut=cut,
        )  # fmt: skip
        count = int(np.count_nonzero(kept))
    new = np.zeros(len(kept), np.int32)
    new[kept] = first + np.arange(count, dtype=np.int32)
    seeds.relabel(flat, first, new)
    if (
        heights is not None
        and typical is not None
        and typical.telling
        and rules.core
        and not rules.boundary_width
    ):
        # Now that it is known what is a cell, all that meet another grow from their middles.
        whole = first + int(np.count_nonzero(kept[:n_seeds]))
        disputed = seeds.contested(labels, first + count)
        disputed[whole:] = False
        seeds.empty(flat, disputed)
        flat[cores] = stars.reshape(-1)[cores]
        flat[seeded.voxels] = new[seeded.seed]
        heights.flood(labels)
    elif heights is not None and not kept.all():
        heights.flood(labels)
    del heights, cores, seeded
    if rules.boundary_width:
        # As long a way as the carving measured it, between voxel centres.
        outwards = depth_inside(foreground, 0, 0, spacing)
        farthest = int(rules.boundary_width * (1 + 1e-6) / depth_unit(spacing) + 0.5)
        seeds.open_near(flat, outwards.reshape(-1), farthest)
        del outwards
        flood(probability, labels, descending=True)
    seeds.restore(flat)
    return count


def check_inputs(
    probability: np.ndarray,
    star_labels: np.ndarray,
    foreground: np.ndarray,
    voxel_size: Sequence[float] | None,
) -> Spacing:
    """Refuse what cannot be fused (see `fuse`), and return the voxel size as (z, y, x)."""
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


def compact(star_labels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
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

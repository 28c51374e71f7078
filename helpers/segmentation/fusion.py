"""VollSeg's fusion: StarDist's cells and the U-Net's foreground become one set of cells.

StarDist finds most cells but draws them as star-shaped bodies; the U-Net follows their outline but does not know where
one cell ends and the next begins. As in VollSeg (Kapoor et al., "VollSeg", 2022) both give seeds, and a
watershed on the probability grows them inside the U-Net's foreground::

    StarDist      (a) (b)          (d)        a star marks a cell by what it shares with one component
    U-Net          ▓▓▓▓▓▓▓▓  ▓▓▓▓             a component without a star is a cell (e),
    seeds          a   b  c   e     d         and so is the thick part of what the stars leave over (c)
    result         aaabbbcc  eeee  (d)        watershed inside ▓; a star that the U-Net does not see keeps its shape

What decides whether something is a cell, in this order, each rule with its number in `Rules`:

1. **Seen** (`seen`): a star of which at least so much lies where the U-Net sees cells is a cell there, and grows from what
   the two share. Others keep their whole shape: the U-Net has missed them.
2. **Thick** (`min_depth`): foreground that no star marks holds a cell where it is at least so thick, compared with
   the median star. Rims around stars are thinner.
3. **Neck** (`neck`): two such places are two cells if the foreground between them narrows, or the probability
   dips, below this part of the smaller one's.
4. **Fragment** (`min_volume`): a new cell that is smaller than this part of the median star is none.
5. **Border** (`max_contact`): two cells have a border between them. Where stars of this frame touch, the probability at
   their contact is a usual part of that in their middles; a contact above that, by this part of the way to no dip at
   all, is not a border: a new region is the star's that it touches so, and of two such stars the less probable is not a cell.

Then the image has its word: two more rules (`helpers.segmentation.image_borders`).

Whose word counts where the two networks differ, `divide` says, and notebook 05_optimize_thresholds chooses it on the validation stacks. "always":
every star is a cell and keeps its shape (rule 5 is for new regions only). "borders": the probability decides; rule 5 is for
stars too, and a star is only a seed: its `core`, in the component that it shares most with. "never": a component is one
cell.

Unlike in the published programs a component's own voxels decide, not its box; touching cells may share a
component; no seed erodes another, none is made up at the origin, and labels are 32 bits wide.

Over 400 lines, for the rules are to be read on one page, with the code that applies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

import edt
import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from helpers.data.calibration import spacing_of
from helpers.errors import InputError
from helpers.segmentation import regions
from helpers.segmentation.depth import depth_inside, depth_of_regions
from helpers.segmentation.watershed import MAX_VOXELS, flood

Spacing = tuple[float, float, float]
Divide = Literal["always", "borders", "never"]
DIVIDE: tuple[Divide, ...] = get_args(Divide)

#: So many contacts between stars tell what a border looks like; with fewer it is a dip to the half.
_ENOUGH_CONTACTS, _USUAL_CONTACT = 5, 0.5
#: Voxels that are looked at together.
_PART = 1 << 18


@dataclass(frozen=True)
class Rules:
    """The numbers of the fusion; what each is worth: ``tests/benchmarks/fusion_rules.md``.

    Attributes
    ----------
    seen : float
        Least part of a star that lies where the U-Net sees cells.
    min_depth : float
        Least thickness of a new cell, in median inscribed radii of the stars.
    neck : float
        Part of the thickness and probability above which a narrow place divides nothing.
    min_volume : float
        Least volume of a new cell, in volumes of the median star.
    max_contact : float
        How far a contact may rise from a usual border (0) towards the probability in the cells' middles (1).
    core : float
        Where borders divide: part of a star's depth from which on a voxel is its seed.
    divides, joins : float
        Least contrast in the image, of a usual border, that divides a cell between two stars; and contrast below which two
        cells are one (`helpers.segmentation.image_borders`).
    """

    seen: float = 0.3
    min_depth: float = 0.5
    neck: float = 0.9
    min_volume: float = 0.2
    max_contact: float = 1 / 3
    core: float = 0.5
    divides: float = 0.3
    joins: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise InputError(field.name, getattr(self, field.name), "a fraction from 0 to 1")


@dataclass(frozen=True)
class CellStatistics:
    """What the stars of a frame are like: what new cells, and borders, are compared with.

    Attributes
    ----------
    depth : float
        Median depth of a star, in steps of `helpers.segmentation.depth`; 0 where there are none.
    middle : float
        Median of the mean probability in a star.
    size : float
        Median size of a star in voxels; 0 where there are none.
    contact : float
        Usual probability where stars touch, as a part of that in their middles.
    """

    depth: float
    middle: float
    size: float
    contact: float

    @classmethod
    def of(cls, size: np.ndarray, depth: np.ndarray, middle: np.ndarray, ratio: np.ndarray) -> CellStatistics:
        """Return the medians of sizes, depths and middles of stars (0: of no account), and of ratios of contacts."""
        known = depth > 0
        enough = len(ratio) >= _ENOUGH_CONTACTS
        return cls(
            depth=float(np.median(depth[known])) if known.any() else 0.0,
            middle=float(np.median(middle[known])) if known.any() else 0.0,
            size=float(np.median(size[size > 0])) if (size > 0).any() else 0.0,
            contact=float(np.median(np.minimum(ratio, 1))) if enough else _USUAL_CONTACT,
        )


@dataclass(frozen=True)
class Samples:
    """What `CellStatistics` is made of: sizes, depths and middles of the stars from 0 on; contacts of two stars, their ratios."""

    size: np.ndarray
    depth: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    ratio: np.ndarray


def fuse(
    probability: np.ndarray,
    star_labels: np.ndarray,
    foreground: np.ndarray,
    *,
    voxel_size: Sequence[float] | None,
    territory: np.ndarray | None = None,
    divide: Divide = "always",
    rules: Rules | None = None,
) -> np.ndarray:
    """Fuse StarDist's labels with the U-Net's foreground.

    Parameters
    ----------
    probability : ndarray of float, (Y, X) or (Z, Y, X)
        What is flooded from its high values: StarDist's object probability, a distance map, or the geometric mean
        of both networks' probabilities.
    star_labels : ndarray of integers, same shape
        StarDist's instances, 0 is background.
    foreground : ndarray of bool (or numbers, non-zero is foreground), same shape
        The U-Net's foreground. Its components are what stars are compared with.
    voxel_size : sequence of float
        (z, y, x), in 2D (y, x) or (z, y, x), µm.
    territory : ndarray of bool, same shape, optional
        Where cells may grow to beyond the foreground: gaps between eroded cells, a lower cut of the U-Net.
    divide : {"always", "borders", "never"}
        Which stars divide a component of the foreground: all of them; those with a border between them; none, so that
        components are cells and stars only add what the U-Net has missed.
    rules : Rules, optional
        The numbers; see the head of the module.

    Returns
    -------
    labels : ndarray of int32, same shape
        0 is background; stars keep their labels, new cells follow the largest of them.

    Raises
    ------
    InputError
        Shapes or dimensions differ, the probability holds NaN or infinity, labels are not integers ≥ 0, the
        voxel size is missing, or a parameter is out of range.

    Notes
    -----
    Where stars divide always, every star keeps its label and its voxels inside the foreground, and one that the U-Net
    does not see all its voxels; no two stars share a label. A component without a star is a cell, or refused as a
    fragment. Neither the order of the labels nor what lies far away changes a cell, but through the medians.
    """
    return fuse_part(
        probability, star_labels, foreground, voxel_size=voxel_size, territory=territory, divide=divide, rules=rules
    )[0]  # fmt: skip


def fuse_part(
    probability: np.ndarray,
    star_labels: np.ndarray,
    foreground: np.ndarray,
    *,
    voxel_size: Sequence[float] | None,
    territory: np.ndarray | None = None,
    divide: Divide = "always",
    rules: Rules | None = None,
    components: np.ndarray | None = None,
    statistics: CellStatistics | None = None,
) -> tuple[np.ndarray, Samples]:
    """Fuse a part of a frame as `fuse` does, and return what was seen of the stars as well.

    Parameters
    ----------
    components : ndarray of int32, shape of the part, optional
        The components of the foreground, where they are known of the whole frame.
    statistics : CellStatistics, optional
        What the stars of the whole frame are like, likewise.

    Returns
    -------
    labels : ndarray of int32, same shape
    samples : Samples
        Of the stars by their numbers in the part; where these are sparse, by their order.
    """
    rules = rules or Rules()
    if divide not in DIVIDE:
        raise InputError("divide", divide, f"one of {', '.join(DIVIDE)}")
    probability, star_labels = np.asarray(probability), np.asarray(star_labels)
    if probability.dtype == np.float16:
        probability = probability.astype(np.float32)  # numba knows no half precision
    mask = np.asarray(foreground)
    spacing = _checked(probability, star_labels, mask, voxel_size)
    shape = probability.shape
    stack = (1,) * (3 - len(shape)) + shape
    stars, names = _compact(star_labels)
    mask = np.ascontiguousarray(mask != 0 if mask.dtype != bool else mask).reshape(stack)
    grow = mask
    if territory is not None:
        grow = np.asarray(territory, bool)
        if grow.shape != shape:
            raise InputError("territory", grow.shape, f"the shape of probability, {shape}")
        grow = np.ascontiguousarray(grow.reshape(stack) | mask)
    stars = np.ascontiguousarray(stars).reshape(stack)
    known = None if components is None else components.reshape(stack)
    fusion = _Fusion(
        np.ascontiguousarray(probability.reshape(stack)),
        stars,
        mask,
        grow,
        spacing,
        divide,
        rules,
        known,
        statistics,
    )
    return fusion.run(names).reshape(shape), fusion.samples


class _Fusion:
    """One fusion: the arrays that its steps share."""

    def __init__(
        self,
        probability: np.ndarray,
        stars: np.ndarray,
        mask: np.ndarray,
        territory: np.ndarray,
        spacing: Spacing,
        divide: Divide,
        rules: Rules,
        components: np.ndarray | None,
        statistics: CellStatistics | None,
    ) -> None:
        self.statistics = statistics
        self.probability, self.spacing, self.divide, self.rules = probability, spacing, divide, rules
        self.territory, self.grows = territory, territory is not mask
        self.labels = np.empty(stars.shape, np.int32)
        self.flat = self.labels.reshape(-1)
        self.n_stars = int(stars.max(initial=0))
        self.first = self.n_stars + 1
        if components is None:
            ndimage.label(mask, output=self.labels)
        else:
            self.labels[...] = components
        self.sizes = self._mark(stars)

    def run(self, names: np.ndarray | None) -> np.ndarray:
        """Return the labels, under the stars' `names`."""
        depth = depth_of_regions(self.labels, self.spacing)
        middle, deepest = regions.middles(
            self.flat, self.probability.reshape(-1), depth.reshape(-1), self.n_stars
        )
        n = 0
        statistics = self.statistics or CellStatistics.of(self.sizes, deepest, middle, np.zeros(0))
        if statistics.depth > 0 and self.divide != "never":
            n = self._seed(depth, statistics.depth, statistics.middle)
            probability = self.probability.reshape(-1)
            middle, _ = regions.middles(self.flat, probability, depth.reshape(-1), self.n_stars + n)
        if self.divide == "borders":
            regions.reduce_to_cores(self.flat, depth.reshape(-1), deepest, self.rules.core)
        del depth
        flood(self.probability, self.labels, descending=True)
        last = int(regions.label_unreached(self.flat, self.labels.shape, self.first + n))
        middle = np.concatenate([middle, np.zeros(last - len(middle))])
        touching = regions.contacts(self.labels, self.probability)
        together = touching[0]
        if self.grows:
            regions.open_territory(self.flat, self.territory.reshape(-1))
            flood(self.probability, self.labels, descending=True)
            touching = regions.contacts(self.labels, self.probability)
        cell = self._cells(deepest, middle, together, touching)
        if not cell.all():
            regions.empty(self.flat, ~cell)
            flood(self.probability, self.labels, descending=True)
        self._name(cell, names)
        return self.labels

    def _mark(self, stars: np.ndarray) -> np.ndarray:
        """Turn the components into encoded labels, and return the stars' sizes."""
        arrays = stars.reshape(-1), self.flat, self.territory.reshape(-1)
        size, inside, own, most = regions.overlaps(*arrays, self.n_stars)
        seen = inside >= self.rules.seen * np.maximum(size, 1)
        own[~seen] = 0
        marks = np.ones(len(size), bool)
        if self.divide == "never":
            # A component is the star's that shares most with it; of equals, the first label's.
            best = np.lexsort((np.arange(len(own)), -most, own))
            marks[best[1:]] = own[best[1:]] != own[best[:-1]]
            marks[own == 0] = True
        regions.encode_labels(*arrays, own, seen, marks, self.divide == "always")
        return size

    def _seed(self, depth: np.ndarray, radius: float, middle: float) -> int:
        """Give thick foreground that no star marks seeds, and return their number (rules 2 and 3)."""
        thinnest = max(1, round(self.rules.min_depth * radius))
        voxels = regions.thick(self.flat, depth.reshape(-1), thinnest)
        if not voxels.size:
            return 0
        # One array of heights (upper half, falling) and positions (lower half) is sorted in place: half the memory.
        keys = np.empty(voxels.size, "<u8")
        for part in (slice(k, k + _PART) for k in range(0, voxels.size, _PART)):
            height = depth.reshape(-1)[voxels[part]] / np.float32(radius)
            if middle > 0:
                # Where the probability knows of the cell, its dips divide as narrow places do.
                values = self.probability.reshape(-1)[voxels[part]].astype(np.float32)
                height += np.clip(values / np.float32(middle), 0, 1)
            keys[part] = ~height.view(np.uint32)
            keys[part] <<= np.uint64(32)
            keys[part] |= voxels[part].astype(np.uint64)
        del voxels
        keys.sort()
        keys ^= np.uint64(0xFFFFFFFF00000000)
        heights, voxels = keys.view("<f4")[1::2], keys.view("<i4")[::2]
        n = int(
            regions.find_peaks(heights, voxels, self.flat, self.labels.shape, self.first, self.rules.neck)
        )
        del keys, heights, voxels
        # All that a ball of that thickness reaches inside the foreground is the new cells' (an opening).
        kind = np.uint8 if thinnest < np.iinfo(np.uint8).max else np.uint16
        away = depth_inside(self.labels, np.iinfo(np.int32).min, self.first - 1, self.spacing, kind)
        regions.set_aside(self.flat, away.reshape(-1), self.first, thinnest)
        del away
        flood(depth, self.labels, descending=True)
        regions.bring_back(self.flat)
        return n

    def _cells(
        self, deepest: np.ndarray, middle: np.ndarray, together: np.ndarray, touching: tuple[np.ndarray, ...]
    ) -> np.ndarray:
        """Return which labels are cells (rules 4 and 5).

        `together` are the pairs that touch in one component, `touching` the contacts of the cells as they have grown.
        """
        n = len(middle)
        cell = np.ones(n, bool)
        pair, faces, level = touching
        order = np.argsort(pair)
        pair, faces, level = pair[order], faces[order], level[order]
        low, high = pair >> 32, pair & 0xFFFFFFFF
        between_stars = high < self.first
        ratio = level / np.maximum(np.minimum(middle[low], middle[high]), 1e-6)
        self.samples = Samples(
            self.sizes, deepest, middle[: self.first], low[between_stars], high[between_stars], ratio[between_stars]
        )  # fmt: skip
        statistics = self.statistics or CellStatistics.of(
            self.sizes, deepest, middle[: self.first], ratio[between_stars]
        )
        if not statistics.size:
            return cell
        volume = regions.count_labels(self.flat, n - 1)
        cell[self.first :] = volume[self.first :] >= self.rules.min_volume * statistics.size
        usual = statistics.contact
        most = usual + (1 - usual) * self.rules.max_contact + 1e-6
        if self.divide == "borders":
            divided = between_stars & (ratio > most) & np.isin(pair, together)
            self._refuse_stars(cell, low[divided], high[divided], ratio[divided], middle)
        # A new region against all stars that it touches, in components that have a star.
        one = (low < self.first) & ~between_stars
        own_ratio = level[one] / np.maximum(middle[low[one]], 1e-6)
        total = np.bincount(high[one], faces[one], n)
        mean = np.bincount(high[one], faces[one] * own_ratio, n) / np.maximum(total, 1)
        cell[(total > 0) & (mean > most) & self._starred(together, n)] = False
        return cell

    def _refuse_stars(
        self, cell: np.ndarray, low: np.ndarray, high: np.ndarray, ratio: np.ndarray, middle: np.ndarray
    ) -> None:
        """Of two stars without a border the less probable is not a cell; the clearest pairs come first."""
        weight = np.stack([middle[: self.first], self.sizes[: self.first]])
        for k in np.lexsort((low, high, -ratio)):
            a, b = low[k], high[k]
            if cell[a] and cell[b]:
                cell[a if tuple(weight[:, a]) < tuple(weight[:, b]) else b] = False

    def _starred(self, together: np.ndarray, n: int) -> np.ndarray:
        """Return which labels lie in a component that a star marks."""
        low, high = together >> 32, together & 0xFFFFFFFF
        joined = coo_matrix((np.ones(len(low), bool), (low, high)), (n, n))
        n_groups, group = connected_components(joined, directed=False)
        starred = np.zeros(n_groups, bool)
        starred[group[: self.first]] = True
        return starred[group]

    def _name(self, cell: np.ndarray, names: np.ndarray | None) -> None:
        """Number the new cells behind the stars, and give the stars their names."""
        if names is None:
            names = np.arange(self.first)
        new = np.zeros(len(cell) - self.first, np.int64)
        kept = cell[self.first :]
        new[kept] = names[-1] + 1 + np.arange(np.count_nonzero(kept))
        regions.rename(self.flat, np.concatenate([names, new]).astype(np.int32))


def close_gaps(mask: np.ndarray, width: float, spacing: Sequence[float]) -> np.ndarray:
    """Fill gaps up to twice `width` µm across and leave outer borders where they are (morphological closing).

    Parameters
    ----------
    mask : ndarray of bool, (Z, Y, X) or (Y, X)
    width : float
        µm.
    spacing : sequence of float
        Voxel size in µm, one per axis.
    """
    spacing = tuple(float(s) for s in spacing)
    # Beyond the image nothing is known: the closing treats it as more of the same.
    reach = [int(np.ceil(width / s)) for s in spacing]
    padded = np.pad(mask, [(r, r) for r in reach])
    # Of bytes, for of bool edt takes three times as long.
    grown = edt.edt((~padded).view(np.uint8), anisotropy=spacing, parallel=0) <= width * (1 + 1e-6)
    shrunk = edt.edt(grown.view(np.uint8), anisotropy=spacing, parallel=0) > width * (1 + 1e-6)
    inner = tuple(slice(r, r + n) for r, n in zip(reach, mask.shape, strict=True))
    return mask | shrunk[inner]


def _checked(
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
        raise InputError("probability", probability.shape, "fewer than 2³¹ voxels")
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

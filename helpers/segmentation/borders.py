"""What the image says of the border between two regions: is there one, as between two cells, or none, as within a cell?

Membranes are bright between cells, between nuclei it is dark; how bright or dark, the image itself tells. The *contrast* of two
regions is the mean intensity where they touch, less that inside them. Where cells of a segmentation touch there is a border;
where one of them is cut through its middle there is none. `BorderScale` puts any other contrast between the two: 0 is
none, 1 a usual border. Where the two cannot be told apart, as in an image of something else than borders, nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import edt
import numpy as np
from numba import njit
from numpy.typing import NDArray

from helpers.segmentation.pair_table import FREE, doubled, new_table, slot

#: Fewest voxels on which a contrast rests.
_FEWEST = 8
#: So many contacts, and cuts, tell what a border looks like.
_ENOUGH = 20
#: Borders are told from none if their medians lie so many spreads (of no border) apart.
_APART = 3.0


@dataclass(frozen=True)
class BorderScale:
    """How contrasts are read in one image or movie.

    Attributes
    ----------
    none, usual : float
        Median contrast within a cell, and between two cells.
    tells : bool
        Whether the two can be told apart.
    """

    none: float
    usual: float
    tells: bool

    @classmethod
    def of(cls, cuts: Sequence[NDArray], contacts: Sequence[NDArray]) -> BorderScale:
        """Return the scale of the contrasts of cells cut in two, and of cells that touch; NaN are left out."""
        cut, contact = (np.concatenate([*parts, np.empty(0)]) for parts in (cuts, contacts))
        cut, contact = cut[np.isfinite(cut)], contact[np.isfinite(contact)]
        if min(len(cut), len(contact)) < _ENOUGH:
            return cls(0.0, 1.0, False)
        none, usual = float(np.median(cut)), float(np.median(contact))
        spread = 1.4826 * float(np.median(np.abs(cut - none)))
        return cls(none, usual, abs(usual - none) > _APART * spread)

    def place(self, contrast: NDArray) -> NDArray[np.float64]:
        """Return where contrasts lie, from 0 (no border) to 1 (a usual one); NaN where the image does not tell."""
        if not self.tells:
            return np.full(len(contrast), np.nan)
        return np.clip((contrast - self.none) / (self.usual - self.none), 0, 1)


def contrasts(labels: NDArray, image: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the contrast of all regions that touch.

    Parameters
    ----------
    labels : (Z, Y, X) int ndarray
        0 is background.
    image : (Z, Y, X) ndarray
        Intensities.

    Returns
    -------
    pairs : (p, 2) int ndarray
        Labels i < j, ascending.
    contrast : (p,) float ndarray
        In the image's units; NaN where they share too little to say.
    """
    labels = np.ascontiguousarray(labels, np.int32)
    image = np.ascontiguousarray(image, np.float32)
    n = int(labels.max(initial=0)) + 1
    keys, voxels, level, count, total = _look(labels, image, n)
    order = np.argsort(keys)
    keys, voxels = keys[order], voxels[order]
    level = level[order] / np.maximum(voxels, 1)
    pairs = np.column_stack([keys >> 32, keys & 0xFFFFFFFF])
    within = count[pairs].sum(axis=1)
    inside = total[pairs].sum(axis=1) / np.maximum(within, 1)
    return pairs, np.where((voxels >= _FEWEST) & (within >= _FEWEST), level - inside, np.nan)


def cut_contrasts(labels: NDArray, image: NDArray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return cells of a frame, and the contrast of each, cut through its centre across its longest side; NaN where it is too small."""
    halves, found = contrasts(_cut_in_two(np.ascontiguousarray(labels, np.int32)), image)
    own = (halves[:, 0] % 2 == 1) & (halves[:, 1] == halves[:, 0] + 1)
    return halves[own, 1] // 2, found[own]


def touching(labels: NDArray) -> NDArray[np.int64]:
    """Return the pairs i < j of labels, (p, 2) and ascending, that have a face in common; 0 is background."""
    pairs = [np.empty((0, 2), np.int64)]
    for axis in range(labels.ndim):
        a = np.moveaxis(labels, axis, 0)[:-1]
        b = np.moveaxis(labels, axis, 0)[1:]
        meet = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.sort(np.column_stack([a[meet], b[meet]]), axis=1))
    return np.unique(np.concatenate(pairs), axis=0).astype(np.int64)


def nearest(labels: NDArray, names: NDArray, spacing: Sequence[float] | NDArray) -> NDArray[np.int64]:
    """Return for each voxel which of the regions `names` of the labels is nearest, by its place in `names`."""
    away = [edt.edt((labels != name).view(np.uint8), anisotropy=tuple(spacing), parallel=1) for name in names]
    return np.argmin(away, axis=0)


@njit(cache=True, nogil=True)
def _look(labels, image, n):  # pragma: no cover - compiled
    """Return of the voxels that touch just one other region their pairs, how many they are and the sum of their values.

    And of the voxels inside of each region, below n, the same.
    """
    depth, height, width = labels.shape
    count, total = np.zeros(n, np.int64), np.zeros(n)
    keys, voxels, values = new_table(4096)
    used = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                own = labels[z, y, x]
                if own == 0:
                    continue
                faced = 0
                for dz, dy, dx in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)):
                    a, b, c = z + dz, y + dy, x + dx
                    if a < 0 or a >= depth or b < 0 or b >= height or c < 0 or c >= width:
                        continue
                    other = labels[a, b, c]
                    if other != own:
                        faced = other if other > 0 and (faced == 0 or faced == other) else -1
                        if faced < 0:
                            break
                if faced > 0:
                    at = slot(keys, (np.int64(min(own, faced)) << 32) | np.int64(max(own, faced)))
                    voxels[at] += 1
                    values[at] += image[z, y, x]
                    if voxels[at] == 1:
                        used += 1
                        if 2 * used > keys.size:
                            keys, voxels, values = doubled(keys, voxels, values)
                elif faced == 0:
                    count[own] += 1
                    total[own] += image[z, y, x]
    filled = keys != FREE
    return keys[filled], voxels[filled], values[filled], count, total


@njit(cache=True, nogil=True)
def _cut_in_two(labels):  # pragma: no cover - compiled
    """Return labels 2k − 1 and 2k for the halves of cell k."""
    depth, height, width = labels.shape
    n = labels.max() + 1 if labels.size else 1
    size, centre, spread = np.zeros(n), np.zeros((n, 3)), np.zeros((n, 3))
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                k = labels[z, y, x]
                if k > 0:
                    size[k] += 1
                    centre[k, 0] += z
                    centre[k, 1] += y
                    centre[k, 2] += x
    for k in range(n):
        if size[k] > 0:
            centre[k] /= size[k]
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                k = labels[z, y, x]
                if k > 0:
                    spread[k, 0] += (z - centre[k, 0]) ** 2
                    spread[k, 1] += (y - centre[k, 1]) ** 2
                    spread[k, 2] += (x - centre[k, 2]) ** 2
    axis = np.zeros(n, np.int64)
    for k in range(n):
        axis[k] = np.argmax(spread[k])
    result = np.zeros(labels.shape, np.int32)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                k = labels[z, y, x]
                if k > 0:
                    place = z if axis[k] == 0 else y if axis[k] == 1 else x
                    result[z, y, x] = 2 * k - 1 + (place > centre[k, axis[k]])
    return result

"""What the image says of the border between two regions: is there one, as between two cells, or none, as within a cell?

Membranes are bright between cells, between nuclei it is dark; how bright or dark, the movie itself tells. The *contrast* of two
regions is the mean intensity where they touch, less that inside them. Where cells of the segmentation touch there is a border;
where one of them is cut through its middle there is none. `BorderScale` puts any other contrast between the two: 0 is
none, 1 a usual border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

#: Fewest voxels on which a contrast rests.
_FEWEST = 8
#: So many contacts, and cuts, tell what a border looks like.
_ENOUGH = 20
#: Borders are told from none if their medians lie so many spreads (of no border) apart.
_APART = 3.0


@dataclass(frozen=True)
class BorderScale:
    """How contrasts are read in one movie.

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
    def of(cls, cuts: Sequence[np.ndarray], contacts: Sequence[np.ndarray]) -> BorderScale:
        """Return the scale of the contrasts of cells cut in two, and of cells that touch; NaN are left out."""
        cut, contact = (np.concatenate([*parts, np.empty(0)]) for parts in (cuts, contacts))
        cut, contact = cut[np.isfinite(cut)], contact[np.isfinite(contact)]
        if min(len(cut), len(contact)) < _ENOUGH:
            return cls(0.0, 1.0, False)
        none, usual = float(np.median(cut)), float(np.median(contact))
        spread = 1.4826 * float(np.median(np.abs(cut - none)))
        return cls(none, usual, abs(usual - none) > _APART * spread)

    def place(self, contrast: np.ndarray) -> np.ndarray:
        """Return where contrasts lie, from 0 (no border) to 1 (a usual one); NaN where the image does not tell."""
        if not self.tells:
            return np.full(len(contrast), np.nan)
        return np.clip((contrast - self.none) / (self.usual - self.none), 0, 1)


def contrasts(labels: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
    n = int(labels.max(initial=0)) + 1
    faced = _faced(np.ascontiguousarray(labels, np.int32)).ravel()
    flat, values = labels.ravel(), image.ravel()
    inner = np.flatnonzero(faced == 0)
    count = np.bincount(flat[inner], minlength=n)
    total = np.bincount(flat[inner], values[inner], n)
    at = np.flatnonzero(faced > 0)
    low = np.minimum(flat[at], faced[at]).astype(np.int64)
    high = np.maximum(flat[at], faced[at]).astype(np.int64)
    keys, which = np.unique(low * n + high, return_inverse=True)
    pairs = np.column_stack([keys // n, keys % n])
    voxels = np.bincount(which, minlength=len(keys))
    level = np.bincount(which, values[at], len(keys)) / np.maximum(voxels, 1)
    within = count[pairs].sum(axis=1)
    inside = total[pairs].sum(axis=1) / np.maximum(within, 1)
    enough = (voxels >= _FEWEST) & (within >= _FEWEST)
    return pairs, np.where(enough, level - inside, np.nan)


def cut_in_two(labels: np.ndarray) -> np.ndarray:
    """Return the cells of a frame (Z, Y, X), each cut through its centre across its longest side: 2k − 1 and 2k are of cell k."""
    n = int(labels.max(initial=0)) + 1
    flat = labels.ravel()
    size = np.maximum(np.bincount(flat, minlength=n), 1)
    places = [np.broadcast_to(_along(labels.shape, axis), labels.shape).ravel() for axis in range(3)]
    centre = np.array([np.bincount(flat, place, n) / size for place in places])
    spread = [
        np.bincount(flat, (place - c[flat]) ** 2, n) / size for place, c in zip(places, centre, strict=True)
    ]
    longest = np.argmax(spread, axis=0)
    beyond = np.zeros(len(flat), bool)
    for axis, place in enumerate(places):
        beyond |= (longest == axis)[flat] & (place > centre[axis][flat])
    return np.where(flat > 0, 2 * flat - 1 + beyond, 0).reshape(labels.shape)


def _along(shape: tuple[int, ...], axis: int) -> np.ndarray:
    return np.arange(shape[axis], dtype=float).reshape([-1 if k == axis else 1 for k in range(3)])


@njit(cache=True, nogil=True)
def _faced(labels):  # pragma: no cover - compiled
    """Return which one other region each voxel touches; 0 if it touches none, −1 if several, or background."""
    depth, height, width = labels.shape
    faced = np.zeros(labels.shape, np.int32)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                own = labels[z, y, x]
                if own == 0:
                    faced[z, y, x] = -1
                    continue
                found = 0
                for dz, dy, dx in ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)):
                    a, b, c = z + dz, y + dy, x + dx
                    if a < 0 or a >= depth or b < 0 or b >= height or c < 0 or c >= width:
                        continue
                    other = labels[a, b, c]
                    if other != own:
                        found = other if other > 0 and (found == 0 or found == other) else -1
                        if found < 0:
                            break
                faced[z, y, x] = found
    return faced

"""Colours in which no two cells that touch are alike."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from helpers.view.style import label_colors

#: Least difference between cells that touch (CIE76, ΔE in Lab): far above what can just be seen, 2.3.
LEAST_DIFFERENCE = 25.0
#: Colours that are tried for a cell.
_TRIED = 48

#: Labels in order, and the colour of each, RGB in 0 … 1.
Palette = tuple[np.ndarray, np.ndarray]


def contrasting(*planes: np.ndarray) -> Palette:
    """Give each label its own colour of `label_colors`, or another one where a label that it touches has one too like it.

    Parameters
    ----------
    *planes : ndarray of int
        Views of the same cells, shown together; 0 is background.

    Returns
    -------
    ids : ndarray of int, (n,)
        The labels, in order.
    rgb : ndarray of float, (n, 3)
        Labels that touch (share an edge of a pixel) differ by `LEAST_DIFFERENCE` at least, wherever some colour allows it.
    """
    from skimage.color import rgb2lab

    ids = np.unique(np.concatenate([np.unique(plane) for plane in planes]))
    ids = ids[ids > 0]
    touching = contacts(planes)
    colours: dict[int, np.ndarray] = {}
    seen: dict[int, np.ndarray] = {}
    for label in map(int, ids):
        candidates = label_colors(label + np.arange(_TRIED))
        lab = rgb2lab(candidates[np.newaxis])[0]
        around = np.array([seen[other] for other in touching[label] if other in seen]).reshape(-1, 3)
        apart = np.linalg.norm(lab[:, np.newaxis] - around, axis=-1).min(axis=1, initial=np.inf)
        fits = apart >= LEAST_DIFFERENCE
        chosen = int(np.argmax(fits)) if fits.any() else int(np.argmax(apart))
        colours[label], seen[label] = candidates[chosen], lab[chosen]
    return ids, np.array([colours[int(label)] for label in ids]).reshape(-1, 3)


def painted(labels: np.ndarray, palette: Palette) -> np.ndarray:
    """Return the colour of each pixel, RGB in 0 … 1; background is black."""
    ids, rgb = palette
    table = np.vstack([np.zeros((1, 3)), rgb])
    return table[np.where(labels > 0, np.searchsorted(ids, labels) + 1, 0)]


def contacts(planes: tuple[np.ndarray, ...]) -> dict[int, set[int]]:
    """Return for each label those that it shares an edge of a pixel with."""
    touching: dict[int, set[int]] = defaultdict(set)
    for plane in planes:
        for axis in range(plane.ndim):
            first = np.moveaxis(plane, axis, 0)[:-1]
            second = np.moveaxis(plane, axis, 0)[1:]
            meet = (first != second) & (first > 0) & (second > 0)
            for a, b in np.unique(np.stack([first[meet], second[meet]], axis=1), axis=0).tolist():
                touching[a].add(b)
                touching[b].add(a)
    return touching

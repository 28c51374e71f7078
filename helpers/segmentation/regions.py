"""Loops over the voxels of a stack of labels, which the fusion is made of; compiled, and in place.

While the fusion works, a voxel's label says what it is::

    n > 0      a star, or a new cell
    0          foreground that is nobody's yet
    -1         neither foreground nor star
    -1 - n     star n where the U-Net sees nothing: it keeps its shape
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from helpers.segmentation.pair_table import FREE, doubled, new_table, shared, slot
from helpers.segmentation.watershed.neighbourhood import longer, neighbours_of

#: Set aside while other labels spread: foreground, and (minus the label) a star.
_ASIDE = -(1 << 31)
_STAR_ASIDE = -(1 << 30)


@njit(cache=True, nogil=True)
def overlaps(stars: Any, components: Any, territory: Any, n_stars: int) -> Any:
    """Measure the stars and what they share with the components of the foreground.

    Parameters
    ----------
    stars, components : ndarray of integers, raveled
    territory : ndarray of bool, raveled
        Where the U-Net sees cells.
    n_stars : int
        The largest star.

    Returns
    -------
    size, inside : ndarray of int64, (n_stars + 1,)
        Voxels of each star, and those of them in the territory.
    best, most : ndarray of int64, (n_stars + 1,)
        The component that a star shares most voxels with (of equals, the first in memory), and how many.
    """
    size = np.zeros(n_stars + 1, np.int64)
    inside = np.zeros(n_stars + 1, np.int64)
    for i in range(stars.size):
        star = np.int64(stars[i])
        if star > 0:
            size[star] += 1
            inside[star] += territory[i]
    best = np.zeros(n_stars + 1, np.int64)
    most = np.zeros(n_stars + 1, np.int64)
    keys, counts = shared(stars, components)
    for k in range(keys.size):
        star, component = keys[k] >> 32, keys[k] & 0xFFFFFFFF
        if counts[k] > most[star] or (counts[k] == most[star] and component < best[star]):
            best[star], most[star] = component, counts[k]
    return size, inside, best, most


@njit(cache=True, nogil=True)
def encode_labels(
    stars: Any, labels: Any, territory: Any, own: Any, seen: Any, marks: Any, whole: bool
) -> None:
    """Turn the components in `labels` into what each voxel is (see the head of the module), in place.

    Parameters
    ----------
    stars, territory : ndarray, raveled
    labels : ndarray of int32, raveled
        Components of the foreground.
    own : ndarray of int64, (n_stars + 1,)
        The component that each star counts in; 0: none.
    seen : ndarray of bool, (n_stars + 1,)
        Whether the U-Net sees the star.
    marks : ndarray of bool, (n_stars + 1,)
        Whether the star marks a cell.
    whole : bool
        Stars mark all of the foreground that they cover, not only their own component.
    """
    for i in range(labels.size):
        star = np.int64(stars[i])
        component = np.int64(labels[i])
        if star > 0 and not seen[star]:
            labels[i] = -1 - star
        elif component > 0:
            mine = star > 0 and marks[star] and (whole or own[star] == component)
            labels[i] = star if mine else 0
        elif star > 0 and own[star] == 0 and territory[i]:
            labels[i] = star
        else:
            labels[i] = -1


@njit(cache=True, nogil=True)
def middles(labels: Any, probability: Any, depth: Any, n: int) -> Any:
    """Return the mean probability of the labels from 0 to `n`, and the depth of their deepest voxel."""
    counts = np.zeros(n + 1, np.int64)
    sums = np.zeros(n + 1, np.float64)
    deepest = np.zeros(n + 1, np.int64)
    for i in range(labels.size):
        label = labels[i]
        if label > 0:
            counts[label] += 1
            sums[label] += np.float64(probability[i])
            deepest[label] = max(deepest[label], np.int64(depth[i]))
    return sums / np.maximum(counts, 1), deepest


@njit(cache=True, nogil=True)
def reduce_to_cores(labels: Any, depth: Any, deepest: Any, core: float) -> None:
    """Take from the stars what is less deep than `core` times their deepest voxel: it is nobody's again. In place."""
    for i in range(labels.size):
        label = labels[i]
        if 0 < label < deepest.size and depth[i] < core * deepest[label]:
            labels[i] = 0


@njit(cache=True, nogil=True)
def thick(labels: Any, depth: Any, least: int) -> Any:
    """Return the positions (raveled) of nobody's foreground whose depth is at least `least`, as int32."""
    n = 0
    for i in range(labels.size):
        n += labels[i] == 0 and depth[i] >= least
    found = np.empty(n, np.int32)
    n = 0
    for i in range(labels.size):
        if labels[i] == 0 and depth[i] >= least:
            found[n] = i
            n += 1
    return found


@njit(cache=True, nogil=True)
def find_peaks(height: Any, voxels: Any, labels: Any, shape: Any, first: int, neck: float) -> Any:
    """Label the peaks of an elevation map given on some voxels; peaks that no real saddle divides are one.

    Voxels come from the highest to the lowest. Where two peaks meet at a height of at least `neck` times
    the lower one's, they become one (the dynamics of Grimaud, 1992, as a ratio); elsewhere the voxel joins
    the higher peak.

    Parameters
    ----------
    height : ndarray of float32, (N,)
        Falling.
    voxels : ndarray of int32, (N,)
        Their positions.
    labels : ndarray of int32, raveled
        The voxels become ``first``, ``first + 1``, …; all others must be lower than `first`.
    shape : tuple
        Of the volume.
    first : int
        Lowest label to give.
    neck : float
        Between 0 and 1.

    Returns
    -------
    int
        Number of peaks.
    """
    parent = np.empty(1024, np.int64)
    peak = np.empty(1024, np.float32)
    n = 0
    neighbours = np.empty(6, np.int64)
    for k in range(voxels.size):
        i = np.int64(voxels[k])
        neighbours_of(i, shape, neighbours)
        best = np.int64(-1)
        for m in range(6):
            root = np.int64(labels[neighbours[m]]) - first
            if root < 0:
                continue
            while parent[root] != root:
                parent[root] = parent[parent[root]]
                root = parent[root]
            if best < 0:
                best = root
            elif root != best:
                lower = (
                    min(root, best)
                    if peak[root] == peak[best]
                    else (root if peak[root] < peak[best] else best)
                )
                higher = root + best - lower
                if height[k] >= neck * peak[lower]:
                    parent[lower] = higher
                best = higher
        if best < 0:
            if n == parent.size:
                parent = longer(parent, n)
                peak = longer(peak, n)
            parent[n] = n
            peak[n] = height[k]
            best = np.int64(n)
            n += 1
        labels[i] = first + best
    names = np.full(max(n, 1), -1, np.int64)
    count = 0
    for k in range(voxels.size):
        root = np.int64(labels[voxels[k]]) - first
        while parent[root] != root:
            root = parent[root]
        if names[root] < 0:
            names[root] = count
            count += 1
        labels[voxels[k]] = first + names[root]
    return count


@njit(cache=True, nogil=True)
def set_aside(labels: Any, away: Any, first: int, farthest: int) -> None:
    """Keep stars from spreading, and nobody's foreground farther than `farthest` from being reached, in place."""
    for i in range(labels.size):
        if 0 < labels[i] < first:
            labels[i] = _STAR_ASIDE - labels[i]
        elif labels[i] == 0 and away[i] > farthest:
            labels[i] = _ASIDE


@njit(cache=True, nogil=True)
def bring_back(labels: Any) -> None:
    """Undo `set_aside`, in place."""
    for i in range(labels.size):
        if labels[i] == _ASIDE:
            labels[i] = 0
        elif labels[i] < _STAR_ASIDE:
            labels[i] = _STAR_ASIDE - labels[i]


@njit(cache=True, nogil=True)
def label_unreached(labels: Any, shape: Any, first: int) -> Any:
    """Give each connected component of the voxels that are 0 a label of its own, from `first` on.

    Returns the first label not used.
    """
    nz, ny, nx = shape
    plane = ny * nx
    stack = np.empty(1024, np.int32)
    for start in range(labels.size):
        if labels[start] != 0:
            continue
        labels[start] = first
        stack[0] = start
        n = 1
        while n > 0:
            n -= 1
            i = np.int64(stack[n])
            x = i % nx
            row = i // nx
            y = row % ny
            z = row // ny
            for k in range(6):
                j = i
                if k == 0 and z > 0:
                    j = i - plane
                elif k == 1 and y > 0:
                    j = i - nx
                elif k == 2 and x > 0:
                    j = i - 1
                elif k == 3 and x < nx - 1:
                    j = i + 1
                elif k == 4 and y < ny - 1:
                    j = i + nx
                elif k == 5 and z < nz - 1:
                    j = i + plane
                if labels[j] != 0:
                    continue
                labels[j] = first
                if n == stack.size:
                    stack = longer(stack, n)
                stack[n] = j
                n += 1
        first += 1
    return first


@njit(cache=True, nogil=True)
def _add_contacts(
    labels: Any, level: Any, first: int, last: int, step: int, keys: Any, counts: Any, sums: Any
) -> Any:
    """Add the contacts of a row of voxels with those one step further; return how many pairs are new."""
    new = 0
    for i in range(first, last):
        label, other = np.int64(labels[i]), np.int64(labels[i + step])
        if label == other or label <= 0 or other <= 0:
            continue
        at = slot(keys, (min(label, other) << 32) | max(label, other))
        counts[at] += 1
        sums[at] += min(np.float64(level[i]), np.float64(level[i + step]))
        new += counts[at] == 1
    return new


@njit(cache=True, nogil=True)
def contacts(labels: Any, probability: Any) -> Any:
    """Measure where labels touch.

    Parameters
    ----------
    labels : ndarray of int32, (Z, Y, X)
    probability : ndarray, same shape

    Returns
    -------
    pair : ndarray of int64, (N,)
        ``lower << 32 | higher`` label, unordered.
    faces : ndarray of int64, (N,)
        Voxel faces between the two.
    level : ndarray of float64, (N,)
        Mean over the faces of the lower probability of the two sides.
    """
    nz, ny, nx = labels.shape
    flat, level = labels.reshape(-1), probability.reshape(-1)
    keys, counts, sums = new_table(4096)
    used = 0
    for step, ends in ((1, (nz, ny, nx - 1)), (nx, (nz, ny - 1, nx)), (ny * nx, (nz - 1, ny, nx))):
        for z in range(ends[0]):
            for y in range(ends[1]):
                while 2 * (used + nx) > keys.size:
                    keys, counts, sums = doubled(keys, counts, sums)
                first = (z * ny + y) * nx
                used += _add_contacts(flat, level, first, first + ends[2], step, keys, counts, sums)
    filled = keys != FREE
    return keys[filled], counts[filled], sums[filled] / counts[filled]


@njit(cache=True, nogil=True)
def count_labels(labels: Any, n: int) -> Any:
    """Return how many voxels have each label from 0 to n."""
    counts = np.zeros(n + 1, np.int64)
    for i in range(labels.size):
        if 0 <= labels[i] <= n:
            counts[labels[i]] += 1
    return counts


@njit(cache=True, nogil=True)
def empty(labels: Any, flags: Any) -> None:
    """Take their label from the voxels of the labels whose flag is set, in place."""
    for i in range(labels.size):
        if labels[i] > 0 and flags[labels[i]]:
            labels[i] = 0


@njit(cache=True, nogil=True)
def open_territory(labels: Any, territory: Any) -> None:
    """Let labels spread over what is neither foreground nor star inside the territory, in place."""
    for i in range(labels.size):
        if labels[i] == -1 and territory[i]:
            labels[i] = 0


@njit(cache=True, nogil=True)
def rename(labels: Any, names: Any) -> None:
    """Give every label its name, and stars that the U-Net does not see their own; all else becomes 0. In place."""
    for i in range(labels.size):
        label = labels[i] if labels[i] >= 0 else -1 - labels[i]
        labels[i] = names[label]

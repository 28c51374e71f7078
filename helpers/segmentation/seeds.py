"""Where the foreground that StarDist left over holds cells of its own, and where it is only a rim.

Left-over foreground is of three kinds, and only the third is a cell::

      ┌───────┐       ┌────────────┐        ┌───────┐┌──────┐
      │╭─────╮│       │╭────╮      │        │╭─────╮││      │
      ││star ││ rim   ││star│ tail │        ││star │││ cell │
      │╰─────╯│       │╰────╯      │        │╰─────╯││      │
      └───────┘       └────────────┘        └───────┘└──────┘
      too thin        deep, but the probability   the probability dips
                      runs on into the star       in between (or is silent)

Its depth tells how thick it is, `find_peaks` where its separate middles are, `contacts` what lies between them and the
stars. All functions here are loops over the voxels of a stack of labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from helpers.segmentation.raster import longer, neighbours_of


@njit(cache=True, nogil=True)
def census(stars: Any, foreground: Any, labels: Any, n: int) -> Any:
    """Write the voxels' roles into `labels`.

    A star's label inside the foreground; -1 - label in a star outside it; 0 foreground without star; -1 neither.

    Returns the size of every star and its bounding box (z0, z1, y0, y1, x0, x1; ends included).
    """
    nz, ny, nx = stars.shape
    sizes = np.zeros(n + 1, np.int64)
    boxes = np.empty((n + 1, 6), np.int32)
    boxes[:, 0::2] = 2**31 - 1
    boxes[:, 1::2] = -1
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                label = np.int64(stars[z, y, x])
                if label > 0:
                    labels[z, y, x] = label if foreground[z, y, x] else -1 - label
                    if sizes[label] == 0:
                        boxes[label, 0] = z
                    sizes[label] += 1
                    boxes[label, 1] = z
                    boxes[label, 2] = min(boxes[label, 2], y)
                    boxes[label, 3] = max(boxes[label, 3], y)
                    boxes[label, 4] = min(boxes[label, 4], x)
                    boxes[label, 5] = max(boxes[label, 5], x)
                else:
                    labels[z, y, x] = 0 if foreground[z, y, x] else -1
    return sizes, boxes


@njit(cache=True, nogil=True)
def thick_left_over(labels: Any, depth: Any, least: int) -> Any:
    """Return the positions (raveled) of left-over foreground whose depth is at least `least`, as int32."""
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
def find_peaks(height: Any, voxels: Any, labels: Any, shape: Any, first: int, split: float) -> Any:
    """Label the peaks of a landscape given on some voxels; peaks that no real saddle divides are one.

    Voxels come from the highest to the lowest. Where two peaks meet at a height of at least `split` times
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
    split : float
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
                if height[k] >= split * peak[lower]:
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
def contacts(labels: Any, first: int, begin: int, end: int) -> Any:
    """Return every face between a new region and another region, as four arrays; planes from `begin` to `end`.

    Returns
    -------
    region, other, voxel, axis : ndarray, (F,)
        The new region (from 0), the label on the other side, the new region's voxel (raveled), and the axis
        that the face is normal to.
    """
    nz, ny, nx = labels.shape
    region = np.empty(1024, np.int32)
    other = np.empty(1024, np.int32)
    voxel = np.empty(1024, np.int32)
    axis = np.empty(1024, np.uint8)
    n = 0
    for z in range(begin, end):
        for y in range(ny):
            for x in range(nx):
                label = labels[z, y, x]
                if label < first:
                    continue
                for k in range(6):
                    u = z + (k == 5) - (k == 0)
                    v = y + (k == 4) - (k == 1)
                    w = x + (k == 3) - (k == 2)
                    if u < 0 or v < 0 or w < 0 or u >= nz or v >= ny or w >= nx:
                        continue
                    beyond = labels[u, v, w]
                    if beyond <= 0 or beyond == label:
                        continue
                    if n == region.size:
                        region = longer(region, n)
                        other = longer(other, n)
                        voxel = longer(voxel, n)
                        axis = longer(axis, n)
                    region[n] = label - first
                    other[n] = beyond
                    voxel[n] = (z * ny + y) * nx + x
                    axis[n] = min(k, 5 - k)
                    n += 1
    return region[:n], other[:n], voxel[:n], axis[:n]


@njit(cache=True, nogil=True)
def count_labels(labels: Any, n: int) -> Any:
    """Return how many voxels have each label from 0 to n."""
    counts = np.zeros(n + 1, np.int64)
    for i in range(labels.size):
        if 0 <= labels[i] <= n:
            counts[labels[i]] += 1
    return counts


@njit(cache=True, nogil=True)
def relabel(labels: Any, first: int, new: Any) -> None:
    """Replace the label ``first + k`` by ``new[k]`` (in place) and what is negative by nothing: it stays."""
    for i in range(labels.size):
        if labels[i] >= first:
            labels[i] = new[labels[i] - first]


@njit(cache=True, nogil=True)
def rays(roles: Any, star: int, step: Any, open_end: Any) -> Any:
    """Return how much left-over foreground lies before every face of a star, along the face's normal.

    Parameters
    ----------
    roles : ndarray of int32, (Z, Y, X)
        The star and its surroundings, as `census` writes them.
    star : int
        Its label.
    step : ndarray, (3,)
        Voxel size (z, y, x).
    open_end : ndarray of bool, (6,)
        Whether the crop goes on behind its faces (z low, y low, x low, x high, y high, z high): a ray that ends
        there is infinite. At the volume's own faces it is left out.

    Returns
    -------
    ndarray, (N,)
        Half the length where the ray ends at another star, for each has a part in it; the length elsewhere.
    """
    nz, ny, nx = roles.shape
    lengths = np.empty(1024, np.float64)
    n = 0
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if roles[z, y, x] != star:
                    continue
                for k in range(6):
                    dz, dy, dx = (k == 5) - (k == 0), (k == 4) - (k == 1), (k == 3) - (k == 2)
                    u, v, w = z + dz, y + dy, x + dx
                    passed = 0
                    while 0 <= u < nz and 0 <= v < ny and 0 <= w < nx and roles[u, v, w] == 0:
                        passed += 1
                        u, v, w = u + dz, v + dy, w + dx
                    length = passed * step[min(k, 5 - k)]
                    if 0 <= u < nz and 0 <= v < ny and 0 <= w < nx:
                        if roles[u, v, w] == star or roles[u, v, w] == -1 - star:
                            continue
                        if roles[u, v, w] != -1:
                            length /= 2
                    elif open_end[k]:
                        length = np.inf
                    else:
                        continue
                    if n == lengths.size:
                        lengths = longer(lengths, n)
                    lengths[n] = length
                    n += 1
    return lengths[:n]


@njit(cache=True, nogil=True)
def cores(labels: Any, depth: Any, core: float, n: int) -> Any:
    """Return the positions (raveled) of the stars' cores: the voxels at least `core` times as deep as the deepest."""
    deepest = np.zeros(n + 1, np.int64)
    for i in range(labels.size):
        if labels[i] > 0:
            deepest[labels[i]] = max(deepest[labels[i]], np.int64(depth[i]))
    count = 0
    for i in range(labels.size):
        count += labels[i] > 0 and depth[i] >= core * deepest[labels[i]]
    found = np.empty(count, np.int32)
    count = 0
    for i in range(labels.size):
        if labels[i] > 0 and depth[i] >= core * deepest[labels[i]]:
            found[count] = i
            count += 1
    return found


@njit(cache=True, nogil=True)
def contested(labels: Any, n: int) -> Any:
    """Return for the labels from 0 to `n` whether they touch foreground that is another's or nobody's."""
    nz, ny, nx = labels.shape
    flags = np.zeros(n + 1, np.bool_)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                label = labels[z, y, x]
                if label < 0:
                    continue
                for k in range(3):
                    u, v, w = z + (k == 0), y + (k == 1), x + (k == 2)
                    if u < nz and v < ny and w < nx and labels[u, v, w] >= 0 and labels[u, v, w] != label:
                        flags[label] = True
                        flags[labels[u, v, w]] = True
    return flags


@njit(cache=True, nogil=True)
def empty(labels: Any, flags: Any) -> None:
    """Take their label from the voxels of the labels whose flag is set, in place."""
    for i in range(labels.size):
        if labels[i] > 0 and flags[labels[i]]:
            labels[i] = 0


@njit(cache=True, nogil=True)
def restore(labels: Any) -> None:
    """Give stars outside the foreground (-1 - label) their label back and the rest of the outside 0, in place."""
    for i in range(labels.size):
        if labels[i] < 0:
            labels[i] = -1 - labels[i]


@njit(cache=True, nogil=True)
def open_near(labels: Any, distance: Any, farthest: int) -> None:
    """Make voxels outside (-1) that lie at most `farthest` away floodable (0), in place."""
    for i in range(labels.size):
        if labels[i] == -1 and distance[i] <= farthest:
            labels[i] = 0

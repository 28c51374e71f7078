"""From weighted points to voxels: paint the cells and the fluorescence of their membranes, keep cells whole."""

from __future__ import annotations

import numpy as np
from numba import njit
from skimage.measure import label as label_components

#: Samples per voxel along z for the membranes: slices are thick, and a thin sheet would fall between two of them.
_Z_SAMPLES = 3


def paint(
    surface: np.ndarray,
    warp: np.ndarray,
    warp_step: tuple[int, int, int],
    points: np.ndarray,
    weights: np.ndarray,
    cells: np.ndarray,
    brightness: np.ndarray,
    pair_salt: np.ndarray,
    *,
    voxel_size: tuple[float, float, float],
    thickness: float,
    pair_variation: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a power diagram in a warped space and the membranes between and around its cells.

    Parameters
    ----------
    surface : ndarray (Z, Y, X) float32
        Signed distance to the tissue's surface in µm, positive inside.
    warp : ndarray (z, y, x, 3) float32
        Displacement in µm on a coarse grid whose nodes are `warp_step` voxels apart.
    points, weights, cells : ndarray (n, 3), (n,), (n,)
        As in `helpers.data.synthetic.tissue.Seeds`.
    brightness : ndarray (m,)
        Membrane brightness of each cell.
    pair_salt : ndarray (m,) uint64
        One random number per cell; two of them give the brightness of the wall these cells share.
    voxel_size : tuple
        (z, y, x) in µm.
    thickness : float
        Standard deviation in µm of the membrane's profile.
    pair_variation : float
        Relative spread of the walls' brightness, 0 to 1.

    Returns
    -------
    labels : ndarray (Z, Y, X) int32
        1 + index of the cell inside the tissue, 0 outside.
    membrane : ndarray (Z, Y, X) float32
        Fluorescence of the membranes before any optics.
    """
    flat = surface.shape[0] == 1
    size = np.array(voxel_size, dtype=np.float64)
    # Blocks of about a cell's radius: small enough that few points compete for a block, large enough to pay off.
    spacing = (np.prod(np.array(surface.shape) * size) / len(points)) ** (1 / 3)
    block = np.clip(np.round(0.5 * spacing / size), 2, 24).astype(np.int64)
    return _paint(
        surface,
        warp,
        np.array(warp_step, dtype=np.float64),
        np.ascontiguousarray(points, dtype=np.float64),
        np.ascontiguousarray(weights, dtype=np.float64),
        np.ascontiguousarray(cells, dtype=np.int64),
        np.ascontiguousarray(brightness, dtype=np.float64),
        pair_salt,
        size,
        thickness,
        pair_variation,
        block,
        1 if flat else _Z_SAMPLES,
    )


@njit(cache=True)
def _wall(a, b, brightness, salt, variation):
    """Brightness of the wall between cells a and b: the same in every frame, and from either side."""
    mixed = (salt[a] ^ salt[b]) * np.uint64(0x9E3779B97F4A7C15)
    chance = np.float64(mixed >> np.uint64(11)) / 9007199254740992.0
    return 0.5 * (brightness[a] + brightness[b]) * (1.0 + variation * (2.0 * chance - 1.0))


@njit(cache=True)
def _warped(warp, step, z, y, x, size, out):
    """Position in µm of the voxel coordinate (z, y, x), displaced by the trilinearly interpolated warp."""
    cz, cy, cx = z / step[0], y / step[1], x / step[2]
    iz = min(max(int(np.floor(cz)), 0), warp.shape[0] - 2)
    iy = min(max(int(np.floor(cy)), 0), warp.shape[1] - 2)
    ix = min(max(int(np.floor(cx)), 0), warp.shape[2] - 2)
    fz, fy, fx = cz - iz, cy - iy, cx - ix
    for k in range(3):
        near = (warp[iz, iy, ix, k] * (1 - fx) + warp[iz, iy, ix + 1, k] * fx) * (1 - fy) + (
            warp[iz, iy + 1, ix, k] * (1 - fx) + warp[iz, iy + 1, ix + 1, k] * fx
        ) * fy
        far = (warp[iz + 1, iy, ix, k] * (1 - fx) + warp[iz + 1, iy, ix + 1, k] * fx) * (1 - fy) + (
            warp[iz + 1, iy + 1, ix, k] * (1 - fx) + warp[iz + 1, iy + 1, ix + 1, k] * fx
        ) * fy
        out[k] = near * (1 - fz) + far * fz
    out[0] += z * size[0]
    out[1] += y * size[1]
    out[2] += x * size[2]


@njit(cache=True)
def _paint(
    surface,
    warp,
    step,
    points,
    weights,
    cells,
    brightness,
    salt,
    size,
    thickness,
    variation,
    block,
    n_sub,
):
    nz, ny, nx = surface.shape
    labels = np.zeros((nz, ny, nx), np.int32)
    membrane = np.zeros((nz, ny, nx), np.float32)
    n = len(points)
    reach = 3.0 * thickness
    # A z sample may lie outside although the voxel's centre is inside, and the other way round.
    skip = -(reach + (0.0 if n_sub == 1 else 0.5 * size[0]))
    buffer = np.empty((block[0] * block[1] * block[2] * n_sub, 3))
    lower = np.empty(n)
    candidates = np.empty(n, np.int64)
    position = np.empty(3)
    for bz in range(0, nz, block[0]):
        for by in range(0, ny, block[1]):
            for bx in range(0, nx, block[2]):
                z1, y1, x1 = min(bz + block[0], nz), min(by + block[1], ny), min(bx + block[2], nx)
                lo = np.full(3, np.inf)
                hi = np.full(3, -np.inf)
                k = 0
                for z in range(bz, z1):
                    for y in range(by, y1):
                        for x in range(bx, x1):
                            if surface[z, y, x] < skip:
                                continue
                            for s in range(n_sub):
                                zs = z + (s - (n_sub - 1) / 2) / n_sub
                                _warped(warp, step, zs, y, x, size, position)
                                for d in range(3):
                                    buffer[k, d] = position[d]
                                    lo[d] = min(lo[d], position[d])
                                    hi[d] = max(hi[d], position[d])
                                k += 1
                if k == 0:
                    continue
                # Which points can be first, or first of another cell, anywhere in this block?
                best, second, best_cell = np.inf, np.inf, -1
                for i in range(n):
                    near2, far2 = 0.0, 0.0
                    for d in range(3):
                        p = points[i, d]
                        gap = max(lo[d] - p, p - hi[d], 0.0)
                        span = max(hi[d] - p, p - lo[d])
                        near2 += gap * gap
                        far2 += span * span
                    lower[i] = near2 - weights[i]
                    upper = far2 - weights[i]
                    c = cells[i]
                    if upper < best:
                        if c != best_cell:
                            second = best
                            best_cell = c
                        best = upper
                    elif upper < second and c != best_cell:
                        second = upper
                m = 0
                for i in range(n):
                    if lower[i] <= second:
                        candidates[m] = i
                        m += 1
                k = 0
                for z in range(bz, z1):
                    for y in range(by, y1):
                        for x in range(bx, x1):
                            if surface[z, y, x] < skip:
                                continue
                            light = 0.0
                            for s in range(n_sub):
                                first, other = np.inf, np.inf
                                i1, i2 = -1, -1
                                for j in range(m):
                                    i = candidates[j]
                                    dz = buffer[k, 0] - points[i, 0]
                                    dy = buffer[k, 1] - points[i, 1]
                                    dx = buffer[k, 2] - points[i, 2]
                                    d2 = dz * dz + dy * dy + dx * dx - weights[i]
                                    if d2 < first:
                                        if i1 >= 0 and cells[i] != cells[i1]:
                                            other, i2 = first, i1
                                        first, i1 = d2, i
                                    elif d2 < other and cells[i] != cells[i1]:
                                        other, i2 = d2, i
                                k += 1
                                offset = (s - (n_sub - 1) / 2) / n_sub
                                depth = surface[z, y, x]
                                if offset < 0 and z > 0:
                                    depth += offset * (depth - surface[z - 1, y, x])
                                elif offset > 0 and z < nz - 1:
                                    depth += offset * (surface[z + 1, y, x] - depth)
                                a = cells[i1]
                                if s == n_sub // 2 and surface[z, y, x] > 0:
                                    labels[z, y, x] = a + 1
                                glow = 0.0
                                if abs(depth) < reach:
                                    glow = brightness[a] * np.exp(-0.5 * (depth / thickness) ** 2)
                                if i2 >= 0 and depth > -thickness:
                                    apart = 0.0
                                    for d in range(3):
                                        apart += (points[i1, d] - points[i2, d]) ** 2
                                    gap = (other - first) / (2 * np.sqrt(apart) + 1e-9)
                                    if gap < reach:
                                        wall = _wall(a, cells[i2], brightness, salt, variation)
                                        glow = max(glow, wall * np.exp(-0.5 * (gap / thickness) ** 2))
                                light += glow
                            membrane[z, y, x] = light / n_sub
    return labels, membrane


def keep_whole(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give every detached fragment of a cell to the neighbours around it.

    Parameters
    ----------
    labels : ndarray of int
        0 is background.

    Returns
    -------
    labels : ndarray of int
        Every label is one face-connected component; background is unchanged.
    moved : ndarray of bool
        The voxels that changed hands.
    """
    parts = np.asarray(label_components(labels, background=0, connectivity=1))
    sizes = np.bincount(parts.ravel())
    owner = np.zeros(len(sizes), labels.dtype)
    owner[parts.ravel()] = labels.ravel()
    largest = np.zeros(int(labels.max()) + 1, np.int64)
    order = np.argsort(sizes[1:], kind="stable") + 1
    largest[owner[order]] = order
    keep = np.zeros(len(sizes), bool)
    keep[largest] = True
    keep[0] = True
    moved = ~keep[parts]
    result = np.where(moved, 0, labels)
    waiting = np.argwhere(moved)
    padded = np.pad(result, 1)
    while len(waiting):
        around = np.zeros(len(waiting), labels.dtype)
        for axis in range(labels.ndim):
            for shift in (-1, 1):
                at = waiting + 1
                at[:, axis] += shift
                near = padded[tuple(at.T)]
                around = np.where(around == 0, near, around)
        found = around > 0
        if not found.any():  # a fragment that touches nothing but background
            break
        padded[tuple(waiting[found].T + 1)] = around[found]
        waiting = waiting[~found]
    inner = tuple(slice(1, -1) for _ in range(labels.ndim))
    return padded[inner].copy(), moved

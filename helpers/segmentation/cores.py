"""What is carved apart is grown together again: stars reduced to cores, and gaps between cells closed.

A U-Net that learned carved masks (`helpers.data.masks.binary_from_instances`) tells neighbours apart better than the
outlines of stars do. So in front of such a foreground a star counts by its core, the seed, and not by its outline::

    stars        (aaaaaaa)(bbbbbb)       outlines that are rough where cells are not star-shaped
    foreground     ▓▓▓▓▓▓  ▓▓▓ ▓▓▓       carved: a gap at each membrane
    seeds            aaa    bb           the middle of a star, in the component that holds most of it
                                         the third component has no seed, and becomes a cell of its own
"""

from __future__ import annotations

from collections.abc import Sequence

import edt
import numpy as np
from numpy.typing import NDArray

#: Part of a star's depth from which on a voxel belongs to its core.
_CORE = 0.5
#: Part of a star's core that the foreground must hold for the foreground to decide about the cell's shape.
_SEEN = 0.3
#: A star explains a cell from this part of the overlap (IoU) on that stars usually have with cells they are alone in…
_EXPLAINED = 2 / 3
#: …which is this where too few are alone to tell.
_USUAL, _ENOUGH = 0.75, 5
#: Part of a star's volume below which a component inside it is a crumb of its foreground, not a cell.
_CRUMB = 0.25


def star_cores(
    stars: NDArray[np.int32],
    cells: NDArray[np.int32],
    foreground: NDArray[np.bool_],
    spacing: Sequence[float],
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Reduce each star to what it tells of the cells that the U-Net separates.

    Parameters
    ----------
    stars : ndarray of int32, (Z, Y, X) or (Y, X)
        StarDist's instances.
    cells : ndarray of int32, same shape
        The U-Net's: components of `foreground`, grown together again.
    foreground : ndarray of bool, same shape
        Carved, so that neighbours are different components.
    spacing : sequence of float
        Voxel size in µm, one per axis.

    Returns
    -------
    cores : ndarray of int32, same shape
        Seeds with the labels of stars; a star that the U-Net has not seen keeps its whole shape.
    unseen : ndarray of bool, same shape
        The voxels of stars that the U-Net has not seen.
    """
    n_stars, n_cells = int(stars.max(initial=0)), int(cells.max(initial=0))
    if n_stars == 0:
        return stars, np.zeros(stars.shape, bool)
    depth = edt.edt(stars.astype(np.uint32), anisotropy=tuple(spacing), black_border=False, parallel=0)
    deepest = np.zeros(n_stars + 1, np.float32)
    np.maximum.at(deepest, stars.ravel(), depth.ravel())
    core = (stars > 0) & (depth >= _CORE * deepest[stars])
    star_sizes, cell_sizes = np.bincount(stars.ravel()), np.bincount(cells.ravel())
    star, cell, shared = _overlaps(stars, cells)
    held_star, held_cell, held = _overlaps(np.where(core, stars, 0), cells)
    order = np.argsort(held, kind="stable")  # the largest share is written last
    best, most = np.zeros(n_stars + 1, np.int32), np.zeros(n_stars + 1, np.int64)
    best[held_star[order]], most[held_star[order]] = held_cell[order], held[order]
    seen = most >= _SEEN * np.maximum(np.bincount(stars[core], minlength=n_stars + 1), 1)
    best[~seen] = 0
    unseen = (stars > 0) & ~seen[stars]

    # A cell that one of its stars explains, as well as stars here explain cells, is that star's alone.
    own = (best[star] == cell) & (best[star] > 0)
    iou = np.where(own, shared / (star_sizes[star] + cell_sizes[cell] - shared), 0)
    order = np.argsort(iou, kind="stable")
    first, fit = np.zeros(n_cells + 1, np.int32), np.zeros(n_cells + 1)
    first[cell[order]], fit[cell[order]] = star[order], iou[order]
    n_own = np.bincount(cell[own], minlength=n_cells + 1)
    lone = fit[n_own == 1]
    usual = np.median(lone) if len(lone) >= _ENOUGH else _USUAL
    alone = (n_own == 1) | ((n_own > 1) & (fit >= _EXPLAINED * usual))
    # A small cell inside a star that holds no star of its own is a crumb of the star's.
    crumb = (
        (2 * shared > cell_sizes[cell]) & (cell_sizes[cell] < _CRUMB * star_sizes[star]) & (n_own[cell] == 0)
    )
    first[cell[crumb]], alone[cell[crumb]] = star[crumb], True
    owner = np.where(alone, first, 0).astype(np.int32)
    whole = owner[cells] * foreground
    divided = core & (cells == best[stars]) & (cells > 0) & ~alone[cells] & foreground
    return np.where(whole > 0, whole, np.where(divided | unseen, stars, 0)).astype(
        np.int32, copy=False
    ), unseen


def _overlaps(
    stars: NDArray[np.int32], cells: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return star, cell and number of shared voxels of all pairs that overlap."""
    both = (stars > 0) & (cells > 0)
    n = int(cells.max(initial=0)) + 1
    pairs, shared = np.unique(stars[both].astype(np.int64) * n + cells[both], return_counts=True)
    return pairs // n, pairs % n, shared


def close_gaps(mask: NDArray[np.bool_], width: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
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

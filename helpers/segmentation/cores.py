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
from scipy import ndimage

#: Part of a star's depth from which on a voxel belongs to its core.
_CORE = 0.5
#: Part of a star's core that the foreground must hold for the foreground to decide about the cell's shape.
_SEEN = 0.3
#: Part of a star's volume below which a component inside it is a crumb of its foreground, not a cell.
_CRUMB = 0.25


def star_cores(
    stars: NDArray[np.int32], foreground: NDArray[np.bool_], spacing: Sequence[float]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Reduce each star to its core within one component of the foreground.

    Parameters
    ----------
    stars : ndarray of int32, (Z, Y, X) or (Y, X)
        StarDist's instances.
    foreground : ndarray of bool, same shape
        Carved, so that neighbours are different components.
    spacing : sequence of float
        Voxel size in µm, one per axis.

    Returns
    -------
    cores : ndarray of int32, same shape
        Each star by its core, and by crumbs of foreground inside it that are too small for cells; one that the
        foreground has not seen keeps its whole shape.
    unseen : ndarray of bool, same shape
        The voxels of stars that the foreground has not seen.
    """
    count = int(stars.max(initial=0))
    if count == 0:
        return stars, np.zeros(stars.shape, bool)
    depth = edt.edt(stars.astype(np.uint32), anisotropy=tuple(spacing), black_border=False)
    deepest = np.asarray(ndimage.maximum(depth, stars, np.arange(count + 1)), np.float32)
    core = (stars > 0) & (depth >= _CORE * deepest[stars])
    components = np.empty(foreground.shape, np.int32)
    n_components = int(ndimage.label(foreground, output=components))  # type: ignore[arg-type]
    star, component = stars[core].astype(np.int64), components[core].astype(np.int64)
    sizes = np.bincount(star, minlength=count + 1)
    pairs, held = np.unique(
        star[component > 0] * (n_components + 1) + component[component > 0], return_counts=True
    )
    best, most = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    order = np.argsort(held, kind="stable")  # the largest share is written last
    best[pairs[order] // (n_components + 1)] = pairs[order] % (n_components + 1)
    most[pairs[order] // (n_components + 1)] = held[order]
    seen = (most >= _SEEN * sizes) & (sizes > 0)
    unseen = (stars > 0) & ~seen[stars]
    keep = unseen | (core & (components == best[stars])) | _fragments(stars, components, n_components, best)
    return np.where(keep, stars, 0).astype(np.int32), unseen


def _fragments(
    stars: NDArray[np.int32], components: NDArray[np.int32], n_components: int, best: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Mark components that are crumbs of a star: mostly inside it, small beside it, and no star's own component."""
    inside = (stars > 0) & (components > 0)
    pairs, held = np.unique(
        stars[inside].astype(np.int64) * (n_components + 1) + components[inside], return_counts=True
    )
    star, component = pairs // (n_components + 1), pairs % (n_components + 1)
    sizes, volumes = np.bincount(components.ravel(), minlength=n_components + 1), np.bincount(stars.ravel())
    crumb = (2 * held > sizes[component]) & (sizes[component] < _CRUMB * volumes[star])
    crumb &= ~np.isin(component, best)
    owner = np.zeros(n_components + 1, np.int64)
    owner[component[crumb]] = star[crumb]
    return (owner[components] == stars) & inside


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
    grown = edt.edt(~padded, anisotropy=spacing) <= width * (1 + 1e-6)
    shrunk = edt.edt(np.ascontiguousarray(grown), anisotropy=spacing) > width * (1 + 1e-6)
    inner = tuple(slice(r, r + n) for r, n in zip(reach, mask.shape, strict=True))
    return mask | shrunk[inner]

"""What the ELEPHANT network learns from cells, and how cells are drawn from what it found: ellipsoids.

A uniform ellipsoid has the variance a²/(D + 2) along a semi-axis a, in D dimensions. The ellipsoid of a cell is the one with
its centre and second moments; of the distance in it, q, the outline is at q = 1 and the centre region within q = 1/4, which is
half its size::

    q    1      1/4     0     1/4      1
         |-------|------+------|-------|
    0 0 0 1 1 1 1 2 2 2 2 2 2 2 1 1 1 1 1 0 0      0 background, 1 outer, 2 centre

Far from all that was drawn, the network has learnt nothing of the background and may take it for a centre: specks, and blobs as
wide as many cells. Two things tell them from cells: how large the drawn cells are (`size_limits`), and that around the centre of
a cell the network sees the cell's outer part.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import gamma

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Fewest voxels of a centre.
_LEAST = 9
#: Centre regions are half as large as cells.
_SHRINK = 2.0
#: Sizes of cells, as parts of the median drawn cell's. Of ten drawn nuclei the others of the same image were found best from 0.2
#: to 0.5 on, and up to 2 to 3.
_SMALLEST, _LARGEST = 0.2, 3.0
#: Least mean probability of being outer, in a cell around its centre.
_LEAST_OUTER = 0.5


def targets(labels: NDArray) -> NDArray[np.float32]:
    """Return what the network should say of each voxel.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int ndarray
        Cells, 0 background, -1 not annotated.

    Returns
    -------
    ndarray of float32
        0 background, 1 outer, 2 centre, -1 not annotated. Cells that the sides of the slices cut are -1: where their centre lies
        is not known.
    """
    result = np.where(labels < 0, -1, labels > 0).astype(np.float32)
    cut = _cut(labels)
    for number, box in enumerate(ndimage.find_objects(np.maximum(labels, 0)), start=1):
        if box is None:
            continue
        if number in cut:
            result[box][labels[box] == number] = -1
            continue
        where = np.argwhere(labels[box] == number)
        q = _distance(where, *_ellipsoid(where))
        least = np.partition(q, min(_LEAST, len(q)) - 1)[min(_LEAST, len(q)) - 1]
        result[box][tuple(where[q <= max(1 / _SHRINK**2, least)].T)] = 2
    return result


def size_limits(patches: Iterable[NDArray], voxel_volume: float) -> tuple[float, float] | None:
    """Return how small and how large a cell may be, by those that were drawn.

    Parameters
    ----------
    patches : iterable of (Z, Y, X) or (Y, X) int ndarray
        Labels as in `targets`. Cells that the edge of a patch cuts do not count, but where it cuts all of them in z, as in
        flat stacks.
    voxel_volume : float
        µm³, in 2D µm².

    Returns
    -------
    (smallest, largest) or None
        µm³, in 2D µm²; None where no cell is whole.
    """
    whole: list[int] = []
    flat: list[int] = []
    for labels in patches:
        count = np.bincount(np.maximum(labels, 0).ravel())
        count[0] = 0
        count[_cut(labels)] = 0
        flat.extend(count[count > 0].tolist())
        if labels.ndim == 3:
            count[np.maximum(labels[[0, -1]], 0)] = 0
            whole.extend(count[count > 0].tolist())
    sizes = whole or flat
    median = float(np.median(sizes)) * voxel_volume if sizes else 0.0
    return (_SMALLEST * median, _LARGEST * median) if sizes else None


def _cut(labels: NDArray) -> NDArray:
    """Return the numbers of the cells at the sides of the slices."""
    sides = np.unique(np.concatenate([labels[..., (0, -1)].ravel(), labels[..., (0, -1), :].ravel()]))
    return sides[sides > 0]


def draw(
    outer: NDArray[np.float32],
    centre: NDArray[np.float32],
    threshold: float,
    limits: tuple[float, float] | None = None,
) -> NDArray[np.int32]:
    """Draw each connected region of centres as the ellipsoid of twice its size; neighbours share at equal distance.

    Parameters
    ----------
    outer, centre : (Z, Y, X) or (Y, X) ndarray of float
        Probabilities of being in a cell's outer part and in its centre. A region that is not in such a part is not drawn.
    threshold : float
        Above it is a centre.
    limits : (smallest, largest), optional
        Voxels of an ellipsoid; others are not drawn.

    Returns
    -------
    int32 ndarray
        Cells from 1, 0 background; a number whose ellipsoid is not drawn is left out.
    """
    smallest, largest = limits or (0.0, np.inf)
    unit = np.pi ** (centre.ndim / 2) / gamma(centre.ndim / 2 + 1)  # the volume of a ball of radius 1
    components, _ = ndimage.label(centre > threshold)  # type: ignore[misc]
    nearest = np.ones(centre.shape, np.float32)
    labels = np.zeros(centre.shape, np.int32)
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        where = np.argwhere(components[box] == number) + [s.start for s in box]
        middle, squared = _ellipsoid(where)
        if not smallest <= unit * np.sqrt(np.linalg.det(squared * _SHRINK**2)) <= largest:
            continue
        reach = np.ceil(_SHRINK * np.sqrt(squared.diagonal())).astype(int) + 1
        region = tuple(
            slice(max(0, int(m) - r), min(n, int(m) + r + 2))
            for m, r, n in zip(middle, reach, centre.shape, strict=True)
        )
        grid = np.moveaxis(np.asarray(np.mgrid[region]), 0, -1)
        q = _distance(grid.reshape(-1, centre.ndim), middle, squared).reshape(grid.shape[:-1]) / _SHRINK**2
        around = outer[region][(q < 1) & (components[region] == 0)]
        if around.size and around.mean() < _LEAST_OUTER:
            continue
        won = q < nearest[region]
        labels[region][won] = number
        nearest[region][won] = q[won]
    return labels


def _ellipsoid(where: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre and squared semi-axes (a matrix) of the ellipsoid with the moments of voxels, each as wide as it is."""
    middle = where.mean(axis=0)
    spread = where - middle
    n_dim = where.shape[1]
    return middle, (spread.T @ spread / len(where) + np.eye(n_dim) / 12) * (n_dim + 2)


def _distance(points: NDArray, middle: NDArray, squared: NDArray) -> NDArray[np.float64]:
    """Return the squared distance of points from the centre of an ellipsoid, 1 on its surface."""
    away = points - middle
    return np.einsum("ni,ij,nj->n", away, np.linalg.inv(squared), away)

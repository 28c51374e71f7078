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
        q = _distance(where, where)
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
        count[[number for number in _cut(labels) if number >= 0]] = 0
        flat.extend(count[count > 0].tolist())
        if labels.ndim == 3:
            count[np.unique(np.maximum(labels[[0, -1]], 0))] = 0
            whole.extend(count[count > 0].tolist())
    sizes = whole or flat
    median = float(np.median(sizes)) * voxel_volume if sizes else 0.0
    return (_SMALLEST * median, _LARGEST * median) if sizes else None


def _cut(labels: NDArray) -> set[int]:
    """Return the numbers at the sides of the slices."""
    sides = np.concatenate([labels[..., (0, -1)].ravel(), labels[..., (0, -1), :].ravel()])
    return set(np.unique(sides).tolist())


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
    components, _ = ndimage.label(centre > threshold)  # type: ignore[misc]
    nearest = np.ones(centre.shape, np.float32)
    labels = np.zeros(centre.shape, np.int32)
    for number, box in enumerate(ndimage.find_objects(components), start=1):
        where = np.argwhere(components[box] == number) + [s.start for s in box]
        if not smallest <= _volume(where) <= largest:
            continue
        reach = np.ceil(_SHRINK * np.sqrt(_variance(where).diagonal() * (centre.ndim + 2))).astype(int) + 1
        middle = where.mean(axis=0)
        region = tuple(
            slice(max(0, int(m) - r), min(n, int(m) + r + 2))
            for m, r, n in zip(middle, reach, centre.shape, strict=True)
        )
        grid = np.moveaxis(np.asarray(np.mgrid[region]), 0, -1)
        q = _distance(grid.reshape(-1, centre.ndim), where).reshape(grid.shape[:-1]) / _SHRINK**2
        around = outer[region][(q < 1) & (components[region] == 0)]
        if around.size and around.mean() < _LEAST_OUTER:
            continue
        won = q < nearest[region]
        labels[region][won] = number
        nearest[region][won] = q[won]
    return labels


def _variance(where: NDArray) -> NDArray[np.float64]:
    """Return the second moments of voxels, each as wide as it is."""
    spread = where - where.mean(axis=0)
    return spread.T @ spread / len(where) + np.eye(where.shape[1]) / 12


def _volume(where: NDArray) -> float:
    """Return the volume of the ellipsoid (in 2D the area of the ellipse) of twice the size of a centre region, in voxels."""
    n_dim = where.shape[1]
    unit = np.pi ** (n_dim / 2) / gamma(n_dim / 2 + 1)
    return float(unit * np.sqrt(np.linalg.det(_variance(where) * (n_dim + 2) * _SHRINK**2)))


def _distance(points: NDArray, where: NDArray) -> NDArray[np.float64]:
    """Return the squared distance of points from the centre of a cell's voxels, 1 on its ellipsoid."""
    away = points - where.mean(axis=0)
    inverse = np.linalg.inv(_variance(where) * (where.shape[1] + 2))
    return np.einsum("ni,ij,nj->n", away, inverse, away)

"""Shapes of labelled objects as TrackMate keeps them: outlines in 2D, triangle meshes in 3D.

The centre of pixel (z, y, x) lies at (z, y, x) times the voxel size, as for the positions of the objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy import ndimage
from skimage import measure

from helpers.data.calibration import spacing_of
from helpers.data.rings import rings_of_mask
from helpers.errors import InputError

#: Vertices (N, 3) float, (z, y, x) in µm; faces (M, 3) int rows of vertices, counter-clockwise seen from outside.
Mesh = tuple[np.ndarray, np.ndarray]


def contours_from_labels(
    labels: np.ndarray, *, voxel_size: Sequence[float], only: Iterable[int] | None = None
) -> dict[int, np.ndarray]:
    """Return the outline of every label of a 2D frame.

    The outline follows the edges of the pixels, so the area inside equals the area of the pixels. A contour
    is one polygon, as in TrackMate: of a label in several pieces the largest is drawn, and holes are filled.

    Parameters
    ----------
    labels : (Y, X) or (1, Y, X) int ndarray
        0 is background.
    voxel_size : sequence of float
        (z, y, x) or (y, x) in µm.
    only : iterable of int, optional
        Labels to draw; all by default.

    Returns
    -------
    dict of int to (N, 2) float ndarray
        Vertices (y, x) in µm, without repeating the first one.
    """
    labels, pixel = _plane(labels, voxel_size)
    result = {}
    for label, window in _windows(labels, only):
        mask = labels[window] == label
        pieces, count = ndimage.label(mask)  # type: ignore[misc]
        if count > 1:
            mask = pieces == np.bincount(pieces[mask]).argmax()
        corner = np.array([part.start for part in window]) - 0.5
        (ring,) = rings_of_mask(np.asarray(ndimage.binary_fill_holes(mask)))
        result[label] = (ring + corner) * pixel
    return result


def meshes_from_labels(
    labels: np.ndarray, *, voxel_size: Sequence[float], only: Iterable[int] | None = None
) -> dict[int, Mesh]:
    """Return the surface of every label of a 3D frame by marching cubes (`skimage.measure.marching_cubes`).

    Parameters
    ----------
    labels : (Z, Y, X) int ndarray
        0 is background.
    voxel_size : sequence of float
        (z, y, x) in µm.
    only : iterable of int, optional
        Labels to draw; all by default.

    Returns
    -------
    dict of int to (vertices, faces)
        See `Mesh`.
    """
    labels = np.asarray(labels)
    if labels.ndim != 3:
        raise InputError("labels", labels.shape, "a mesh needs one 3D frame (Z, Y, X)")
    voxel = _sizes(voxel_size, 3)
    result = {}
    for label, window in _windows(labels, only):
        vertices, faces = surface(labels[window] == label)
        result[label] = ((vertices + [part.start for part in window]) * voxel, faces)
    return result


def surface(mask: np.ndarray) -> Mesh:
    """Return the closed surface of a mask (Z, Y, X), in voxels, half way between the centres of those inside and outside."""
    vertices, faces, _, _ = measure.marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
    # Read as (x, y, z), as PLY has them, skimage's faces are counter-clockwise seen from outside.
    return vertices - 1, faces


def _plane(labels: np.ndarray, voxel_size: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    labels = np.asarray(labels)
    if labels.ndim == 3 and labels.shape[0] == 1:
        labels = labels[0]
    if labels.ndim != 2:
        raise InputError("labels", labels.shape, "a contour needs one 2D frame (Y, X)")
    return labels, _sizes(voxel_size, 2)


def _sizes(voxel_size: Sequence[float], axes: int) -> np.ndarray:
    return np.array(spacing_of(voxel_size, axes))


def _windows(labels: np.ndarray, only: Iterable[int] | None) -> Iterator[tuple[int, tuple[slice, ...]]]:
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError("labels", str(labels.dtype), "labels are integers")
    # find_objects makes a list as long as the highest label, so labels are numbered first.
    present = np.unique(labels)
    present = present[present > 0]
    if only is not None:
        present = np.intersect1d(present, np.fromiter(only, np.int64))
    position = np.searchsorted(present, labels)
    numbered = np.zeros(labels.shape, np.int32)
    if len(present):
        position = np.minimum(position, len(present) - 1)
        np.copyto(numbered, position + 1, where=present[position] == labels, casting="unsafe")
    yield from zip(present.tolist(), ndimage.find_objects(numbered), strict=True)

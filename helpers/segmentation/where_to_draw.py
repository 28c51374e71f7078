"""Where the next drawn cell would teach most: where StarDist and the U-Net disagree, or are unsure.

Two networks of different kinds that learned from the same few cells are right where they agree more often than where they do
not (query by committee, Seung, Opper and Sompolinsky 1992), and a network that finds something else in a mirrored frame is not
sure either::

    doubt of a voxel = largest of   1 where one finds a cell and the other does not
                                    4 f (1 - f), f being the U-Net's foreground, mean over the frame and its mirror images
    places           = the highest peaks of the doubt, averaged over the size of a cell
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from helpers.data.calibration import spacing_of
from helpers.errors import InputError

#: Columns of the list of places.
COLUMNS = ("rank", "frame", "z", "y", "x", "doubt", "reason")
_REASONS = (
    "StarDist finds a cell, the U-Net does not",
    "the U-Net finds a cell, StarDist does not",
    "the U-Net is unsure",
)


def doubt(
    star_labels: NDArray, unet_labels: NDArray, foreground: NDArray, annotated: NDArray | None = None
) -> NDArray[np.float32]:
    """Return how doubtful each voxel is, 0 to 1; what is annotated is not.

    Parameters
    ----------
    star_labels, unet_labels : (Z, Y, X) int ndarray
        What either network finds alone.
    foreground : (Z, Y, X) ndarray of float
        The U-Net's probability, such as `over_flips` returns it.
    annotated : (Z, Y, X) int ndarray, optional
        Labels, -1 where nothing is annotated.
    """
    found, seen = star_labels > 0, unet_labels > 0
    result = np.maximum(found != seen, 4 * foreground * (1 - foreground)).astype(np.float32)
    if annotated is not None:
        if annotated.shape != result.shape:
            raise InputError("annotated", annotated.shape, f"the shape of the frame, {result.shape}")
        result[annotated >= 0] = 0
    return result


def over_flips(predict: Callable[[NDArray], NDArray], frame: NDArray, found: NDArray) -> NDArray:
    """Return the mean of a prediction over a frame, where it is `found` already, and the frame mirrored in y and in x.

    Parameters
    ----------
    predict : callable
        Frame → prediction of its shape.
    frame, found : (Z, Y, X) ndarray
    """
    mirrored = [np.flip(predict(np.flip(frame, axis)), axis) for axis in (-2, -1)]
    return np.mean([found, *mirrored], axis=0)


def where_to_draw(
    star_labels: NDArray,
    unet_labels: NDArray,
    foreground: NDArray,
    *,
    voxel_size: Sequence[float],
    annotated: NDArray | None = None,
    frame: int = 0,
    n_places: int = 20,
    cell_um: float | None = None,
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Map the doubt of a frame, and rank the places where drawing is worth most.

    Parameters
    ----------
    star_labels, unet_labels, foreground, annotated
        As `doubt` takes them.
    voxel_size : (z, y, x) in µm
    frame : int
        Stands in the list.
    n_places : int
        At most so many.
    cell_um : float, optional
        Diameter of a cell; None: the median of what the networks find, or of a hundredth of the frame's volume.

    Returns
    -------
    map : (Z, Y, X) ndarray of float32
        The doubt, averaged over the size of a cell.
    places : DataFrame
        ``rank`` (from 1), ``frame``, ``z, y, x`` (voxels, from 0), ``doubt`` (0 to 1), ``reason``. Places lie at least a cell's
        diameter apart.
    """
    spacing = np.array(spacing_of(voxel_size, 3))
    of_voxels = doubt(star_labels, unet_labels, foreground, annotated)
    size = cell_um or _diameter((star_labels, unet_labels), spacing)
    # A plane has no neighbours that its doubt could be averaged with.
    sigma = np.where(np.array(of_voxels.shape) > 1, size / 4 / spacing, 0)
    smooth = np.asarray(ndimage.gaussian_filter(of_voxels, sigma, mode="constant"), np.float32)
    reach = np.maximum(1, np.ceil(size / spacing / 2)).astype(int)
    peaks = (smooth == ndimage.maximum_filter(smooth, size=2 * reach + 1)) & (smooth > 0.05)
    if annotated is not None:
        peaks &= annotated < 0
    at = np.argwhere(peaks)
    at = at[np.argsort(-smooth[tuple(at.T)], kind="stable")]
    chosen: list[NDArray] = []
    for point in at:
        if all(np.linalg.norm((point - other) * spacing) >= size for other in chosen):
            chosen.append(point)
        if len(chosen) == n_places:
            break
    rows = [
        (
            rank,
            frame,
            *map(int, point),
            float(smooth[tuple(point)]),
            _reason(point, reach, star_labels, unet_labels),
        )
        for rank, point in enumerate(chosen, start=1)
    ]
    return smooth, pd.DataFrame(rows, columns=list(COLUMNS))


def _reason(point: NDArray, reach: NDArray, star_labels: NDArray, unet_labels: NDArray) -> str:
    box = tuple(slice(max(0, p - r), p + r + 1) for p, r in zip(point, reach, strict=True))
    found, seen = star_labels[box] > 0, unet_labels[box] > 0
    alone = np.count_nonzero(found & ~seen), np.count_nonzero(seen & ~found)
    if max(alone) < 0.1 * found.size:
        return _REASONS[2]
    return _REASONS[int(np.argmax(alone))]


def _diameter(labels: Sequence[NDArray], spacing: NDArray) -> float:
    """Return the diameter (µm) of the sphere, in a plane the disc, with the median size of the cells."""
    sizes = np.concatenate([np.bincount(own.ravel())[1:] for own in labels])
    n_voxels = float(np.median(sizes[sizes > 0])) if (sizes > 0).any() else labels[0].size / 100
    if len(labels[0]) == 1:
        return 2 * (n_voxels * float(np.prod(spacing[1:])) / np.pi) ** (1 / 2)
    return 2 * (3 * n_voxels * float(np.prod(spacing)) / (4 * np.pi)) ** (1 / 3)

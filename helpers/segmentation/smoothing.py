"""Smooth the outlines of labels: each voxel goes to the label that is most frequent around it.

Flows and watersheds leave steps of a voxel. A Gaussian over each cell's own mask, and then for each voxel the cell of
the highest value, rounds them off without opening gaps between cells that touch and without moving flat outlines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from helpers.data.checks import check_labels
from helpers.errors import InputError

#: A Gaussian is cut off at this many standard deviations.
_REACH = 3


def smooth_labels(labels: NDArray, sigma: float) -> NDArray[np.int32]:
    """Smooth labels in voxels, as Cellpose's 3D outlines need it most.

    Parameters
    ----------
    labels : ndarray of int, (Z, Y, X) or (Y, X)
        0 background.
    sigma : float
        Standard deviation of the Gaussian in voxels; 0 changes nothing. Cells much smaller than it would vanish: such
        a cell keeps its old outline.

    Returns
    -------
    ndarray of int32, shape of `labels`
        The same labels. Background competes like a cell: the outside of an edge that is flat stays where it is.

    Raises
    ------
    InputError
        If `sigma` is negative or these are no labels.
    """
    if not sigma >= 0:
        raise InputError("smooth_labels", sigma, "0 (off) or a number of voxels")
    labels = check_labels(labels, "labels")
    if sigma == 0:
        return labels.copy()
    reach = int(np.ceil(_REACH * sigma))
    result = np.zeros_like(labels)
    highest = np.full(
        labels.shape, 0.5, np.float32
    )  # what is left to the background: less than half of a cell
    total = np.zeros(labels.shape, np.float32)
    windows = [
        (label, tuple(slice(max(0, s.start - reach), s.stop + reach) for s in where))
        for label, where in enumerate(ndimage.find_objects(labels), start=1)
        if where is not None
    ]
    for label, where in windows:
        total[where] += _smoothed(labels[where] == label, sigma)
    # Between cells that touch, their values sum to one: there the highest wins, however low.
    highest[total >= 0.5] = 0
    for label, where in windows:
        value = _smoothed(labels[where] == label, sigma)
        wins = value > highest[where]
        highest[where][wins] = value[wins]
        result[where][wins] = label
    for label, where in windows:
        if not (result[where] == label).any():
            result[where][labels[where] == label] = label
    return result


def _smoothed(mask: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter(mask.astype(np.float32), sigma, mode="nearest", truncate=_REACH)
    return np.asarray(smooth, np.float32)

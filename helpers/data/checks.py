"""What makes an image or labels unusable, found before anything is computed from them."""

from __future__ import annotations

import numpy as np

from helpers.errors import InputError


def check_image(image: np.ndarray, name: str) -> np.ndarray:
    """Refuse an intensity image that no method can use.

    Parameters
    ----------
    image : ndarray, shape (Z, Y, X) or (Y, X)
        Raw intensities.
    name : str
        The file or parameter, for the error.

    Returns
    -------
    ndarray
        `image`, unchanged.

    Raises
    ------
    InputError
        Empty, a type that is no real number (complex, object, bool), NaN or infinite voxels (says how
        many), or one value everywhere.
    """
    image = np.asarray(image)
    if image.dtype.kind not in "uif":
        raise InputError(name, image.dtype.name, "an image must hold integers or real numbers")
    _check_dimensions(image, name)
    if image.dtype.kind == "f":
        _check_finite(image, name)
    if image.min() == image.max():
        value = image.flat[0].item()
        raise InputError(
            name, f"{value} everywhere", "a constant image shows nothing; check the channel and the export"
        )
    return image


def whole_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Return labels that a file holds as real numbers, as Fiji's 32-bit label images do, as integers.

    Parameters
    ----------
    labels : ndarray of float
        As read.
    name : str
        What is checked, for the error.

    Raises
    ------
    InputError
        Values that are not whole, or so large that this type does not tell neighbours apart.
    """
    broken = int(np.count_nonzero(~np.isfinite(labels) | (labels != np.floor(labels))))
    if broken:
        raise InputError(
            name,
            f"{labels.dtype.name}, {broken} of {labels.size} voxels are not whole numbers",
            "labels must be integers; this is an intensity image, or labels that were interpolated",
        )
    exact = 2 ** (np.finfo(labels.dtype).nmant + 1)
    if np.abs(labels).max(initial=0) > exact:
        raise InputError(
            name, f"{labels.dtype.name}, values above {exact}", "are not exact; save the labels as uint32"
        )
    return labels.astype(np.int64)


def check_labels(labels: np.ndarray, name: str, *, lowest: int = 0) -> np.ndarray:
    """Refuse labels that are not integers ≥ 0, and return the others as int32.

    Parameters
    ----------
    labels : ndarray, shape (Z, Y, X) or (Y, X)
        0 is background, every other number one cell.
    name : str
        The file or parameter, for the error.
    lowest : int
        The least number allowed; below 0 for labels in which some voxels are not annotated.

    Returns
    -------
    ndarray of int32
        A copy only where the type differs.

    Raises
    ------
    InputError
        Empty; floats, whole or not (labels saved as floats were probably interpolated, and float16 has lost
        ids above 2048 already); a boolean mask; negative labels; labels above 2,147,483,647.
    """
    labels = np.asarray(labels)
    if labels.dtype.kind == "f":
        _check_finite(labels, name)
        broken = int(np.count_nonzero(labels != np.floor(labels)))
        found = (
            f"{labels.dtype.name}, {broken} of {labels.size} voxels are not whole numbers"
            if broken
            else f"{labels.dtype.name}, all whole numbers"
        )
        hint = (
            "this is an intensity image, or labels that were interpolated; labels must be integers"
            if broken
            else "labels must be integers; save them as uint16 or uint32 if they are meant as labels"
        )
        raise InputError(name, found, hint)
    if labels.dtype.kind == "b":
        raise InputError(
            name,
            "bool",
            "a binary mask does not tell cells apart; labels must be integers, one for each cell",
        )
    if labels.dtype.kind not in "ui":
        raise InputError(name, labels.dtype.name, "labels must be integers")
    _check_dimensions(labels, name)
    if labels.dtype.kind == "i" and int(labels.min()) < lowest:
        negative = int(np.count_nonzero(labels < lowest))
        raise InputError(
            name,
            f"{negative} voxels below {lowest} (smallest {int(labels.min())})",
            "labels must be integers ≥ 0, 0 is background"
            + (", or -1 where nothing is annotated" if lowest < 0 else ""),
        )
    if labels.dtype.itemsize >= 4 and int(labels.max()) > np.iinfo(np.int32).max:
        raise InputError(name, int(labels.max()), f"labels must not be larger than {np.iinfo(np.int32).max}")
    return labels.astype(np.int32, copy=False)


def _check_dimensions(array: np.ndarray, name: str) -> None:
    if array.ndim not in (2, 3):
        raise InputError(name, array.shape, "must have the dimensions Z, Y, X, or Y, X in 2D; give axes")
    if array.size == 0:
        raise InputError(name, array.shape, "is empty")


def _check_finite(array: np.ndarray, name: str) -> None:
    broken = int(np.count_nonzero(~np.isfinite(array)))
    if broken:
        nans = int(np.count_nonzero(np.isnan(array)))
        raise InputError(
            name,
            f"{nans} NaN and {broken - nans} infinite of {array.size} voxels",
            "every voxel must be a finite number; replace them before",
        )

"""Full labels as if only a few cells had been drawn: to try what little annotation is enough for, where truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from helpers.data.calibration import spacing_of
from helpers.data.sparse_labels import UNANNOTATED
from helpers.errors import InputError

#: Choices of cells that are tried.
_TRIES = 100
#: Radius of the brush that background is painted with, in pixels of a slice.
_BRUSH = 6


def draw_few_cells(
    labels: np.ndarray,
    n_cells: int,
    rng: np.random.Generator,
    *,
    voxel_size: Sequence[float],
    rim_um: float = 0.5,
    strokes: int = 10,
    max_share: float = 1.0,
) -> np.ndarray:
    """Return sparse labels as a person would draw them.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int ndarray
        Every cell.
    n_cells : int
        Cells to draw, chosen at random among those that do not touch the image's border; all of them, if there are fewer.
    rng : numpy.random.Generator
    voxel_size : (z, y, x) or (y, x) in µm
    rim_um : float
        Width of the background that is drawn around the cells, as far as it is background.
    strokes : int
        Dots of a round brush elsewhere in the background, each in one slice; every other one close to a cell, as the
        notebook that they are drawn in asks for.
    max_share : float
        Choose other cells while more than this share of the voxels is annotated.

    Returns
    -------
    int32 ndarray
        -1 not annotated, 0 background, the chosen cells with their numbers.

    Raises
    ------
    InputError
        If there is no such cell, or none of many choices is small enough.
    """
    labels = np.asarray(labels)
    # A stack is so flat that in z most cells are cut: only the sides of its slices count.
    sides = [labels[..., (0, -1)], labels[..., (0, -1), :]]
    cut = np.unique(np.concatenate([side.ravel() for side in sides]))
    whole = np.setdiff1d(np.unique(labels[labels > 0]), cut)
    if not len(whole):
        raise InputError("labels", "no cell", "at least one that does not touch the border")
    for _ in range(_TRIES):
        chosen = np.isin(labels, rng.choice(whole, min(n_cells, len(whole)), replace=False))
        drawn = _drawn(labels, chosen, rng, spacing_of(voxel_size, labels.ndim), rim_um, strokes)
        if (drawn >= 0).mean() <= max_share:
            return drawn
    raise InputError("max_share", max_share, f"more: {n_cells} cells are larger")


def _drawn(
    labels: np.ndarray,
    chosen: np.ndarray,
    rng: np.random.Generator,
    spacing: tuple[float, ...],
    rim_um: float,
    strokes: int,
) -> np.ndarray:
    near = ndimage.distance_transform_edt(~chosen, sampling=spacing) <= rim_um  # type: ignore[operator]
    beside = ndimage.distance_transform_edt(labels == 0, sampling=spacing) <= 2 * _BRUSH * spacing[-1]  # type: ignore[operator]
    dots = [
        _strokes(place & (labels == 0), n, rng)
        for place, n in ((beside, strokes // 2), (~beside, strokes - strokes // 2))
    ]
    painted = near | dots[0] | dots[1]
    drawn = np.full(labels.shape, UNANNOTATED, np.int32)
    drawn[painted & (labels == 0)] = 0
    drawn[chosen] = labels[chosen]
    return drawn


def _strokes(background: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    painted = np.zeros(background.shape, bool)
    places = np.argwhere(background)
    y, x = np.indices(background.shape[-2:])
    for place in places[rng.integers(len(places), size=n)] if len(places) else ():
        dot = (y - place[-2]) ** 2 + (x - place[-1]) ** 2 <= _BRUSH**2
        painted[(*place[:-2], ...)] |= dot
    return painted

"""Sparse labels: a few cells and some background drawn, the rest left open.

One convention from the files to the losses::

    -1  not annotated: nobody looked, so it teaches nothing
     0  background
    ≥ 1 a cell, drawn whole

What borders on a drawn cell and is not annotated may be another cell or background; that the drawn cell ends there is
known all the same. The convention and the idea are those of Cellsparse (Sugawara, "Training deep learning models for cell
image segmentation with sparse annotations", bioRxiv 2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from helpers.data.checks import check_labels
from helpers.data.masks import binary_from_instances
from helpers.errors import InputError

#: Label of a voxel that nobody annotated.
UNANNOTATED = -1
#: With fewer cells held back, a validation loss is chance.
_LEAST_HELD_BACK = 2


def is_sparse(labels: np.ndarray) -> bool:
    """Whether some voxels are not annotated."""
    return labels.dtype.kind == "i" and bool((labels < 0).any())


def read_labels(
    labels: np.ndarray, name: str, *, unannotated: int | None = None, background: int = 0
) -> np.ndarray:
    """Check labels that may be sparse, and bring them to the one convention.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) integer ndarray
        As stored. -1 always means "not annotated".
    name : str
        The file, for errors.
    unannotated : int, optional
        Another value that means "not annotated".
    background : int
        The value of drawn background.

    Returns
    -------
    int32 ndarray
        -1 not annotated, 0 background, ≥ 1 a cell with its own number. Full labels come back as they are.

    Raises
    ------
    InputError
        What `check_labels` refuses; negative numbers other than -1; and in sparse labels: nothing annotated, no cell, or a
        cell in several pieces.
    """
    labels = translated(labels, name, unannotated=unannotated, background=background)
    if is_sparse(labels):
        _check_drawn(labels, name)
    return labels


def translated(
    labels: np.ndarray, name: str, *, unannotated: int | None = None, background: int = 0
) -> np.ndarray:
    """Bring the values of a label file to the one convention; as `read_labels`, without looking at what is drawn."""
    if unannotated == background:
        raise InputError(
            "unannotated",
            unannotated,
            f"another value than that of the background: where {background} means 'not annotated', give the value of drawn "
            "background as background_label, such as 1",
        )
    labels = check_labels(labels, name, lowest=min(UNANNOTATED, unannotated or 0))
    nobody = labels == UNANNOTATED
    if unannotated is not None:
        nobody |= labels == unannotated
    if background != 0:
        neither = (labels == 0) & ~nobody
        if neither.any():
            raise InputError(
                name,
                f"{int(np.count_nonzero(neither))} voxels of 0",
                f"no 0, where background_label is {background}; set unannotated to 0 if nobody annotated them",
            )
        labels = np.where(labels == background, np.int32(0), labels)
    labels = np.where(nobody, np.int32(UNANNOTATED), labels) if nobody.any() else labels
    if int(labels.min()) < UNANNOTATED:
        raise InputError(
            name, int(labels.min()), "-1 (not annotated), 0 (background) or the number of a cell, 1 and more"
        )
    return labels


def _check_drawn(labels: np.ndarray, name: str) -> None:
    """Refuse sparse labels that cannot teach what a cell is."""
    if not (labels >= 0).any():
        raise InputError(
            name, "nothing annotated", "some cells, each with its own number, and some background (0)"
        )
    if not (labels > 0).any():
        raise InputError(
            name,
            "only background is annotated",
            "at least one drawn cell; leave the stack out if it has none",
        )
    for cell, box in enumerate(ndimage.find_objects(np.maximum(labels, 0)), start=1):
        if box is None:
            continue
        pieces, n = ndimage.label(labels[box] == cell, np.ones((3,) * labels.ndim))  # type: ignore[misc]
        if n > 1:
            corners = [
                tuple(int(s.start + b.start) for s, b in zip(piece, box, strict=True))
                for piece in ndimage.find_objects(pieces)
            ]
            raise InputError(
                name,
                f"cell {cell} in {n} pieces, at {' and '.join(map(str, corners[:3]))}",
                "each cell in one piece and with its own number: two cells drawn with one number need two; a stray stroke "
                "is to be erased",
            )


def foreground(
    labels: np.ndarray, *, voxel_size: Sequence[float] | None, boundary_width: float = 0.0
) -> np.ndarray:
    """Return the mask that a U-Net learns: 1 in cells, 0 in the background, -1 where nothing is annotated.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int ndarray
    voxel_size : (z, y, x) or (y, x) in µm
    boundary_width : float
        µm left out on each side of a border between cells (`binary_from_instances`). A cell's border with what is not
        annotated is left out too, as if another cell lay there.

    Returns
    -------
    ndarray of bool, or of int8 for sparse labels
    """
    mask = binary_from_instances(labels, voxel_size=voxel_size, boundary_width=boundary_width)
    if not is_sparse(labels):
        return mask
    mask = mask.astype(np.int8)
    mask[labels < 0] = UNANNOTATED
    return mask


def annotated_regions(labels: np.ndarray, voxel_size: Sequence[float]) -> np.ndarray:
    """Give every annotated voxel to the drawn cell that is nearest to it.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) int ndarray
        With at least one cell.
    voxel_size : sequence of float
        µm, one an axis.

    Returns
    -------
    int32 ndarray
        Number of the cell, in the cell as in the background around it; -1 where nothing is annotated.
    """
    nearest = ndimage.distance_transform_edt(
        labels <= 0, sampling=tuple(voxel_size)[-labels.ndim :], return_distances=False, return_indices=True
    )
    regions = labels[tuple(nearest)].astype(np.int32)  # type: ignore[arg-type]
    regions[labels < 0] = UNANNOTATED
    return regions


def only_regions(labels: np.ndarray, regions: np.ndarray, cells: Sequence[int], *, keep: bool) -> np.ndarray:
    """Return the labels with only (`keep`) or without the regions of some cells; the rest becomes not annotated."""
    return np.where(np.isin(regions, list(cells)) == keep, labels, np.int32(UNANNOTATED))


@dataclass(frozen=True)
class HeldBack:
    """Which drawn cells are kept from training.

    Attributes
    ----------
    cells : mapping
        Name of a stack → numbers of its cells that are held back, with the background nearest to them.
    n_cells : int
        Drawn cells of all stacks.
    why : str
        What was held back in words, and why none was.
    """

    cells: Mapping[str, tuple[int, ...]]
    n_cells: int
    why: str


def hold_back(cells: Mapping[str, Sequence[int]], fraction: float, seed: int) -> HeldBack:
    """Choose drawn cells to hold back for validation, spread over the stacks.

    Parameters
    ----------
    cells : mapping
        Name of a stack → numbers of its drawn cells.
    fraction : float
        Share of all cells to hold back. Where that is less than two cells, none is.
    seed : int

    Returns
    -------
    HeldBack
    """
    n_cells = sum(map(len, cells.values()))
    if fraction == 0:
        return HeldBack({}, n_cells, "no validation: validation_fraction is 0")
    count = round(fraction * n_cells)
    if count < _LEAST_HELD_BACK or n_cells - count < 1:
        return HeldBack(
            {},
            n_cells,
            f"no validation: {fraction:g} of {n_cells} drawn cells are too few to judge by; draw more, or name whole stacks "
            "in validation_stacks",
        )
    rng = np.random.default_rng([seed, n_cells])
    shuffled = {name: rng.permutation(sorted(own)).tolist() for name, own in cells.items()}
    # One of each stack in turn, the stacks with most cells first: no stack is emptied before it must be.
    turns = [(turn / len(own), name, cell) for name, own in shuffled.items() for turn, cell in enumerate(own)]
    order = rng.permutation(len(turns))
    chosen = sorted((turns[i] for i in order), key=lambda one: one[0])[:count]
    held = {name: tuple(sorted(int(c) for _, own, c in chosen if own == name)) for name in cells}
    held = {name: own for name, own in held.items() if own}
    return HeldBack(
        held,
        n_cells,
        f"validation on {count} of {n_cells} drawn cells, held back with the background nearest to them",
    )

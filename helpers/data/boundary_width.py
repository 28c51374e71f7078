"""How wide a border between touching cells the U-Net's mask leaves out, chosen from the labels.

A network that predicts foreground merges cells that touch; one that has learned a border between them does not. Two
kinds of images are told apart by how much of the cells' surface touches another cell: of nuclei a few percent, of
cells between membranes most of it. Nuclei are parted by one voxel along the finest axis. Where cells are packed they
touch along every axis, and only a border as wide as a voxel along the coarsest parts them along all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.data.masks import binary_from_instances
from helpers.data.stacks import Stack

#: Share of the surface below which cells hardly touch, and from which they are packed. The samples have 0.06 (nuclei),
#: 0.75 and 1.0 (membranes).
HARDLY, PACKED = 0.001, 0.3
#: Least share of its volume that a border leaves a typical cell.
_KEPT = 0.4
#: Stacks that are looked at, evenly spaced among all.
_STACKS = 8


@dataclass(frozen=True)
class BoundaryWidth:
    """A width and what it was chosen by.

    Attributes
    ----------
    width : float
        µm on each side of the border; 0 leaves touching cells joined.
    contact : float
        Share of the cells' surface that touches another cell, 0 … 1.
    why : str
        The choice in words.
    """

    width: float
    contact: float
    why: str


def choose_boundary_width(stacks: Sequence[Stack]) -> BoundaryWidth:
    """Choose the width of the border from the labels of stacks.

    Parameters
    ----------
    stacks : sequence of Stack
        All of one voxel size; at most eight of them, evenly spaced, are read. Only those with labels count: components
        of a binary mask never touch.

    Returns
    -------
    BoundaryWidth
    """
    labelled = [stack for stack in stacks if stack.pair.labels is not None and stack.pair.binary is None]
    if not labelled:
        return BoundaryWidth(0.0, 0.0, "the masks are given as they are")
    labelled = labelled[:: max(1, -(-len(labelled) // _STACKS))]
    sizes = labelled[0].voxel_size[1:] if labelled[0].is_2d else labelled[0].voxel_size
    finest, coarsest = min(sizes), max(sizes)
    touching = surface = 0.0
    kept: dict[float, list[np.ndarray]] = {finest: [], coarsest: []}
    for stack in labelled:
        labels = stack.load_masks()[0]
        labels = labels[0] if stack.is_2d else labels
        own_touching, own_surface = contact(labels, sizes)
        touching, surface = touching + own_touching, surface + own_surface
        for width, shares in kept.items():
            shares.append(_kept(labels, sizes, width))
    share = touching / surface if surface else 0.0
    return _choose(share, {width: float(np.median(np.concatenate(s))) for width, s in kept.items()})


def contact(labels: np.ndarray, voxel_size: Sequence[float]) -> tuple[float, float]:
    """Return the area of the cells' surface that touches another cell, and all of it, without the image's border.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) integer ndarray
    voxel_size : sequence of float
        µm, one an axis.

    Returns
    -------
    tuple of float
        µm² (in 2D µm), counted on both sides of a face between two cells.
    """
    touching = surface = 0.0
    for axis, size in enumerate(voxel_size):
        moved = np.moveaxis(labels, axis, 0)
        first, second = moved[:-1], moved[1:]
        between_cells = int(np.count_nonzero((first != second) & (first > 0) & (second > 0)))
        known = (first >= 0) & (second >= 0)  # what a cell borders on where nothing is annotated is not known
        to_background = int(np.count_nonzero(((first > 0) != (second > 0)) & known))
        area = float(np.prod(voxel_size)) / size
        touching += 2 * between_cells * area
        surface += (2 * between_cells + to_background) * area
    return touching, surface


def _kept(labels: np.ndarray, sizes: Sequence[float], width: float) -> np.ndarray:
    """Return the share of its volume that each cell keeps."""
    mask = binary_from_instances(labels, voxel_size=sizes, boundary_width=width)
    _, cell, before = np.unique(labels, return_inverse=True, return_counts=True)
    after = np.bincount(cell.ravel(), mask.ravel(), len(before))
    return (after / before)[int((labels == 0).any()) :]


def _choose(share: float, kept: dict[float, float]) -> BoundaryWidth:
    finest, coarsest = min(kept), max(kept)
    surface = f"{100 * share:.2g} % of their surface"
    if share < HARDLY:
        return BoundaryWidth(0.0, share, f"cells hardly touch each other ({surface}): no border is left out")
    if share < PACKED:
        width, kind = finest, f"cells touch here and there, as nuclei do ({surface})"
    else:
        width, kind = coarsest, f"cells are packed, as between membranes (they touch over {surface})"
        if kept[coarsest] < _KEPT:
            width = finest
    if kept[width] < _KEPT:
        return BoundaryWidth(
            0.0,
            share,
            f"{kind}, but so small that a border of one voxel would leave a typical cell {100 * kept[width]:.0f} % of its "
            "volume: none is left out",
        )
    along = (
        ""
        if finest == coarsest
        else (" along the coarsest axis" if width == coarsest else " along the finest axis")
    )
    return BoundaryWidth(
        width,
        share,
        f"{kind}: {width:g} µm on each side of a border, one voxel{along}, parts them and leaves a typical cell "
        f"{100 * kept[width]:.0f} % of its volume",
    )

"""Outlines of cells inside a GEFF, as tracksdata keeps them: napari-track-edit opens and writes labels so.

::

    nodes/props/mask     for each node the voxels within its box, bool, of any size
    nodes/props/bbox     its box: first (z,) y, x, and those behind the last
    extra.tracksdata     shape (T, (Z,) Y, X) of the labels, scale ((z,) y, x) in µm

Read from tracksdata 0.1 and funtracks 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from scipy import ndimage

from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError, reads

MASK, BOX = "mask", "bbox"
#: Voxels of all boxes together; a GEFF with more is left without masks, since who opens it has all of it in memory.
MOST_VOXELS = 2**30


@dataclass(frozen=True)
class Outline:
    """The voxels of a cell.

    Attributes
    ----------
    mask : ndarray of bool
        (Z, Y, X) within its box.
    start : tuple of int
        The box's first voxel (z, y, x).
    """

    mask: np.ndarray
    start: tuple[int, ...]

    def index(self, shape: Sequence[int]) -> np.ndarray:
        """Return the ascending flat index in a frame (Z, Y, X).

        Raises
        ------
        InputError
            It does not lie in a frame of this shape.
        """
        at = np.argwhere(self.mask) + self.start
        if min(self.start) < 0 or (at >= np.asarray(shape)).any():
            end = tuple(int(a + n) for a, n in zip(self.start, self.mask.shape, strict=True))
            raise InputError("tracks", f"a cell at voxels up to {end}", f"cells inside {tuple(shape)}")
        return np.asarray(np.ravel_multi_index(tuple(at.T), tuple(shape)), np.int64)


def properties(objects: pd.DataFrame, labels: LabelMovie) -> dict[str, Any] | None:
    """Return the two properties of all nodes.

    Parameters
    ----------
    objects : DataFrame
        ``frame, label``, one row per node.
    labels : LabelMovie

    Returns
    -------
    dict or None
        None where a node has no voxels, or all boxes are larger than `MOST_VOXELS`.
    """
    from geff.core_io._utils import construct_var_len_props

    masks: list[np.ndarray | None] = [None] * len(objects)
    boxes = np.zeros((len(objects), 4 if labels.is_2d else 6), np.int64)
    voxels = 0
    by_frame = pd.Series(objects["label"].to_numpy(), index=np.arange(len(objects))).groupby(
        objects["frame"].to_numpy()
    )
    for t, wanted in by_frame:
        frame = labels.frame(int(t))  # type: ignore[arg-type]
        frame = frame[0] if labels.is_2d else frame
        found = ndimage.find_objects(frame)
        for row, label in wanted.items():
            box = found[label - 1] if 0 < label <= len(found) else None
            if box is None:
                return None
            masks[row] = frame[box] == label  # type: ignore[call-overload]
            boxes[row] = [*(s.start for s in box), *(s.stop for s in box)]  # type: ignore[call-overload]
            voxels += masks[row].size  # type: ignore[call-overload, union-attr]
        if voxels > MOST_VOXELS:
            return None
    if not masks:
        return None
    return {MASK: dict(construct_var_len_props(masks)), BOX: {"values": boxes, "missing": None}}


def node_properties(path: Path) -> set[str]:
    """Return the names of the nodes' properties; geff's own reader of metadata makes a group of any folder.

    Raises
    ------
    KeyError, OSError
        No GEFF.
    """
    return set(zarr.open_group(str(path), mode="r").attrs["geff"]["node_props_metadata"])  # type: ignore[index, call-overload, arg-type]


def has_masks(path: Path) -> bool:
    """Whether a GEFF holds outlines."""
    return {MASK, BOX} <= node_properties(path)


@reads("a GEFF")
def read(path: str | Path) -> dict[int, Outline] | None:
    """Read the outline of each node: {id: outline}; None where the GEFF holds none.

    Raises
    ------
    InputError
        No GEFF that can be read.
    """
    from geff.core_io._base_read import read_to_memory

    path = Path(path)
    if not has_masks(path):
        return None
    memory = read_to_memory(path, node_props=[MASK, BOX], edge_props=[])
    masks, boxes = (memory["node_props"][name]["values"] for name in (MASK, BOX))
    outlines = {}
    for i, mask, box in zip(memory["node_ids"].tolist(), masks, boxes, strict=True):
        flat = len(box) == 4
        start = (0, *box[:2].tolist()) if flat else tuple(box[:3].tolist())
        outlines[i] = Outline(np.asarray(mask, bool)[None] if flat else np.asarray(mask, bool), start)
    return outlines

"""What edits speak of: a cell in a frame, and voxels that were drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cell:
    """A cell in one frame, perhaps the piece of it that was clicked.

    Attributes
    ----------
    frame : int
    label : int
        Its value in the label frame.
    at : tuple of int, optional
        The voxel (z, y, x) that was clicked.
    """

    frame: int
    label: int
    at: tuple[int, int, int] | None = None

    def __str__(self) -> str:
        return f"cell {self.label} in frame {self.frame}"

    @property
    def key(self) -> tuple[int, int]:
        """(frame, label)."""
        return self.frame, self.label


@dataclass(frozen=True, eq=False)
class Stroke:
    """Voxels drawn in one frame.

    Attributes
    ----------
    frame : int
    index : ndarray of int64
        Their positions in the flattened (Z, Y, X) frame, ascending, each once.
    """

    frame: int
    index: np.ndarray

    @classmethod
    def of_mask(cls, frame: int, mask: np.ndarray) -> Stroke:
        """Return the stroke of the voxels where a (Z, Y, X) mask, in 2D (Y, X), holds."""
        return cls(frame, np.flatnonzero(np.asarray(mask)))

    @classmethod
    def of_points(cls, frame: int, points: Iterable[Sequence[int]], shape: Sequence[int]) -> Stroke:
        """Return the stroke of some voxels (z, y, x) of a frame of the `shape` (Z, Y, X); those outside are cut off."""
        at = np.asarray(list(points), np.int64).reshape(-1, 3)
        at = at[((at >= 0) & (at < np.asarray(shape))).all(axis=1)]
        return cls(frame, np.unique(np.ravel_multi_index(tuple(at.T), tuple(shape))).astype(np.int64))


def voxels_of(labels: np.ndarray, wanted: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the flat index of the voxels of each wanted label of a frame; empty where it does not occur.

    Few labels are looked for one by one; many by sorting all voxels once.
    """
    flat = labels.reshape(-1)
    if len(wanted) <= 8:
        return {int(label): np.flatnonzero(flat == label) for label in wanted}
    inside = np.flatnonzero(flat)
    order = inside[np.argsort(flat[inside], kind="stable")]
    found = flat[order]
    low, high = (np.searchsorted(found, np.asarray(wanted), side=side) for side in ("left", "right"))
    return {int(w): order[a:b] for w, a, b in zip(wanted, low, high, strict=True)}

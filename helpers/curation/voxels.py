"""Voxels of a frame as runs: short in a log, quick to apply.

A set of voxels is kept as runs along the flattened frame, written as text: start, length (and the labels before and
after) of all runs, start as the step from the run before, as 64-bit integers, deflated, in base 64. An outline of a cell
of 30,000 voxels takes about a kilobyte.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from helpers.errors import InputError


def encode(rows: np.ndarray) -> str:
    """Write a (k, n) array of integers, whose first row ascends, as text."""
    rows = np.array(rows, dtype="<i8", ndmin=2)
    rows[0] = np.diff(rows[0], prepend=0)
    return base64.b64encode(zlib.compress(rows.tobytes(), 6)).decode("ascii")


def decode(text: str, k: int) -> np.ndarray:
    """Read what `encode` wrote of an array of `k` rows.

    Raises
    ------
    InputError
        The text was damaged.
    """
    try:
        rows = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<i8").reshape(k, -1)
    except (ValueError, zlib.error) as error:
        raise InputError("voxels", text[:40], f"runs as the log writes them ({error})") from error
    rows = rows.astype(np.int64)
    rows[0] = np.cumsum(rows[0])
    return rows


def runs_of(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (start, length) of the runs of an ascending flat index."""
    if len(index) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first = np.flatnonzero(np.diff(index, prepend=index[0] - 2) != 1)
    return index[first].astype(np.int64), np.diff(first, append=len(index)).astype(np.int64)


def index_of(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the flat index of runs."""
    ends = np.cumsum(length)
    return np.repeat(start - (ends - length), length) + np.arange(ends[-1] if len(ends) else 0)


def voxels_text(index: np.ndarray) -> str:
    """Write an ascending flat index as text."""
    return encode(np.stack(runs_of(np.asarray(index, np.int64))))


def voxels_index(text: str) -> np.ndarray:
    """Read the flat index that `voxels_text` wrote."""
    return index_of(*decode(text, 2))


@dataclass(frozen=True)
class VoxelChange:
    """Labels of some voxels of one frame, before and after.

    Attributes
    ----------
    frame : int
    text : str
        Runs: start, length, label before, label after.
    highest : int
        The highest label after.
    """

    frame: int
    text: str
    highest: int

    @classmethod
    def between(cls, frame: int, before: np.ndarray, after: np.ndarray) -> VoxelChange | None:
        """Return what turns one (Z, Y, X) frame of labels into another; None where they are equal."""
        old, new = before.reshape(-1), after.reshape(-1)
        index = np.flatnonzero(old != new)
        if len(index) == 0:
            return None
        a, b = old[index].astype(np.int64), new[index].astype(np.int64)
        begins = np.ones(len(index), bool)
        begins[1:] = (np.diff(index) != 1) | (np.diff(a) != 0) | (np.diff(b) != 0)
        first = np.flatnonzero(begins)
        rows = np.stack([index[first], np.diff(first, append=len(index)), a[first], b[first]])
        return cls(frame, encode(rows), int(b.max()))

    def apply(self, labels: np.ndarray, *, backwards: bool = False) -> None:
        """Change a (Z, Y, X) frame in place.

        Raises
        ------
        InputError
            The frame does not hold the labels that it should hold before the change.
        """
        start, length, before, after = decode(self.text, 4)
        if backwards:
            before, after = after, before
        index, flat = index_of(start, length), labels.reshape(-1)
        fits = len(index) == 0 or (start[0] >= 0 and int(index[-1]) < len(flat))
        if not fits or not np.array_equal(flat[index], np.repeat(before, length)):
            raise InputError(
                f"frame {self.frame}", "other labels", "the labels that the log's edit was made on"
            )
        flat[index] = np.repeat(after, length)

    def labels(self) -> np.ndarray:
        """Return the labels that occur in it, before or after, without the background."""
        left, came = self.sides()
        return np.array(sorted(left | came), np.int64)

    def sides(self) -> tuple[set[int], set[int]]:
        """Return the labels whose voxels get others, and those that voxels get; without the background."""
        _, _, before, after = decode(self.text, 4)
        return set(np.unique(before).tolist()) - {0}, set(np.unique(after).tolist()) - {0}


@dataclass(frozen=True)
class Renaming:
    """Labels of one frame that get other numbers, one to one; their voxels stay.

    Attributes
    ----------
    frame : int
    text : str
        Label before, label after.
    highest : int
        The highest label after.
    """

    frame: int
    text: str
    highest: int

    @classmethod
    def of(cls, frame: int, before: np.ndarray, after: np.ndarray) -> Renaming:
        """Return the renaming of the labels `before`, each once, to `after`, each once."""
        order = np.argsort(before)
        return cls(frame, encode(np.stack([before[order], after[order]])), int(after.max()))

    def pairs(self, *, backwards: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels before, ascending, and after."""
        before, after = decode(self.text, 2)
        if not backwards:
            return before, after
        order = np.argsort(after)
        return after[order], before[order]

    def apply(self, labels: np.ndarray, *, backwards: bool = False) -> None:
        """Change a frame in place."""
        before, after = self.pairs(backwards=backwards)
        at = np.minimum(np.searchsorted(before, labels), len(before) - 1)
        labels[...] = np.where(before[at] == labels, after[at], labels)

"""Stacks that are read piece by piece, and the pieces that fit the memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Region = tuple[slice, ...]

#: Voxels of a piece.
_PIECE = 1 << 25


@dataclass(frozen=True)
class LazyStack:
    """A stack on disk of which only what is asked for is read.

    Parameters
    ----------
    shape : tuple of int
        (Z, Y, X), or (Y, X).
    dtype : dtype
        Of the voxels.
    read : callable
        Takes a slice for each axis, with a start and a stop inside the stack, and returns that region.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Region], NDArray]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray:
        """Read a region; `index` is an integer or a slice without a step for each axis, or for the first ones."""
        given = index if isinstance(index, tuple) else (index,)
        given += (slice(None),) * (self.ndim - len(given))
        where, alone = [], []
        for axis, (one, n) in enumerate(zip(given, self.shape, strict=True)):
            if isinstance(one, slice):
                start, stop, _ = one.indices(n)
                where.append(slice(start, max(start, stop)))
            else:
                where.append(slice(int(one), int(one) + 1))
                alone.append(axis)
        return np.squeeze(self.read(tuple(where)), tuple(alone))

    def mapped(self, function: Callable[[NDArray], NDArray], dtype: Any) -> LazyStack:
        """Return the stack with a function of single voxels applied to what is read."""
        return LazyStack(self.shape, np.dtype(dtype), lambda where: function(self.read(where)))


class Planes:
    """The planes of a lazy stack (Z, Y, X), which are asked for one after the other; some are read at once.

    Parameters
    ----------
    stack : LazyStack
    """

    def __init__(self, stack: LazyStack) -> None:
        self.shape, self.dtype = stack.shape, stack.dtype
        self._stack = stack
        self._depth = max(1, _PIECE // (stack.shape[1] * stack.shape[2]))
        self._first, self._read = 0, stack[:0]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, z: int) -> NDArray:
        if not self._first <= z < self._first + len(self._read):
            self._first = z - z % self._depth
            self._read = self._stack[self._first : self._first + self._depth]
        return self._read[z - self._first]


def pieces(shape: Sequence[int]) -> Iterator[Region]:
    """Yield regions of about `_PIECE` voxels, whole rows of x, that cover a stack in the order in which it lies in memory.

    Parameters
    ----------
    shape : sequence of int
        (Z, Y, X), or (Y, X).
    """
    *depth, height, width = shape
    planes = max(1, _PIECE // (height * width))
    rows = height if planes > 1 else min(height, max(1, _PIECE // width))
    return pieces_of(shape, (*(min(n, planes) for n in depth), rows, width))


def pieces_of(shape: Sequence[int], size: Sequence[int]) -> Iterator[Region]:
    """Yield the regions of a size that cover a stack, in the order of Zarr's chunks; the last ones are smaller."""
    starts = (range(0, n, step) for n, step in zip(shape, size, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(a, min(n, a + step)) for a, n, step in zip(corner, shape, size, strict=True))

"""Where patches are drawn in a stack."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.data.augment import mirrored
from helpers.data.sparse_labels import is_sparse

#: Tries to find a patch with enough foreground; in the second half all are drawn on foreground.
_TRIES = 100


@dataclass(frozen=True)
class PatchSampling:
    """Where patches are drawn.

    Attributes
    ----------
    patch_size : (z, y, x)
    foreground_probability : float
        Chance that a patch is placed so that it holds a foreground voxel drawn at random; the others are
        placed anywhere.
    min_foreground : float
        Patches with a smaller fraction of foreground are drawn again; where cells are too sparse for it, the fullest
        of many is taken. Sparse labels need neither: every other patch holds some of a drawn cell, every other some drawn background.
    """

    patch_size: tuple[int, int, int]
    foreground_probability: float
    min_foreground: float

    def starts(
        self, binary: np.ndarray, rng: np.random.Generator, name: str
    ) -> Iterator[tuple[int, int, int]]:
        """Yield corners (z, y, x) of patches without end, where `binary` (-1: not annotated) has cells; warn where none of the stack `name` has `min_foreground`."""
        if is_sparse(binary):
            yield from self._sparse_starts(binary, rng)
        on_foreground = _Holding(binary, self.patch_size)
        room = [given - wanted for given, wanted in zip(binary.shape, self.patch_size, strict=True)]
        least = self.min_foreground
        while True:
            best, fullest = 0.0, (0, 0, 0)
            for attempt in range(_TRIES):
                if rng.random() < self.foreground_probability or attempt >= _TRIES // 2:
                    z, y, x = on_foreground(rng)
                else:
                    z, y, x = (int(rng.integers(most + 1)) for most in room)
                held = np.count_nonzero(region(binary, (z, y, x), self.patch_size))
                fraction = held / math.prod(self.patch_size)
                if fraction >= least:
                    yield z, y, x
                    break
                if fraction > best:
                    best, fullest = fraction, (z, y, x)
            else:
                if least == self.min_foreground:
                    warnings.warn(
                        f"{name}: cells are sparse, no patch of {self.patch_size} is filled to min_foreground = "
                        f"{least:g} (the fullest of {_TRIES}: {best:.4f}); the fullest are taken",
                        stacklevel=2,
                    )
                least = best / 2  # so that the next ones are found sooner
                yield fullest

    def _sparse_starts(self, binary: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
        """Yield corners of patches that hold something of a drawn cell, and in turn something of the drawn background.

        Cells and background are few, and far from each other as often as not: drawn by their sizes, one of them would hardly
        be seen.
        """
        masks = [mask for mask in (binary > 0, binary == 0) if mask.any()]
        draws = [_Holding(mask, self.patch_size) for mask in masks]
        while True:
            for draw in draws:
                yield draw(rng)


class _Holding:
    """Draws patches that hold a voxel of a mask, each of its voxels with the same chance."""

    def __init__(self, mask: np.ndarray, patch_size: tuple[int, int, int]) -> None:
        self.mask, self.patch_size = mask, patch_size
        self.per_row = np.cumsum(np.count_nonzero(mask, axis=2).ravel())  # finds voxel n without listing all

    def __call__(self, rng: np.random.Generator) -> tuple[int, int, int]:
        n = int(rng.integers(self.per_row[-1]))
        row = int(np.searchsorted(self.per_row, n, side="right"))
        z, y = divmod(row, self.mask.shape[1])
        x = int(rng.choice(np.flatnonzero(self.mask[z, y])))
        # Any patch that holds the voxel, not the one centred on it: those would pile up at the borders.
        corner = [
            int(rng.integers(max(0, at - wanted + 1), min(at, have - wanted) + 1))
            for at, wanted, have in zip((z, y, x), self.patch_size, self.mask.shape, strict=True)
        ]
        return corner[0], corner[1], corner[2]


def region(array: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Return a box of `array`, mirrored where it reaches beyond."""
    if all(s >= 0 and s + n <= have for s, n, have in zip(start, size, array.shape, strict=True)):
        return array[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))]
    index = [mirrored(np.arange(s, s + n), have) for s, n, have in zip(start, size, array.shape, strict=True)]
    return array[np.ix_(*index)]

"""A segmenter that is shown frames at the voxel size it knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from helpers.segmentation.segmenter import Segmentation, Segmenter


@dataclass(frozen=True)
class ResampledSegmenter:
    """Resamples frames before, and labels after, so that cells have the size in voxels that networks were trained on.

    Parameters
    ----------
    segmenter : Segmenter
        Told that voxels are of the size `known`.
    voxel_size, known : tuple of float
        (z, y, x) in µm, of the movie and of the training set.
    """

    segmenter: Segmenter
    voxel_size: tuple[float, ...]
    known: tuple[float, ...]

    def __call__(self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Segmentation:
        """Segment one frame (Z, Y, X); labels are of its shape, and the nearest voxel decides."""
        shape = np.array(frame.shape[-3:])
        ratio = np.array(self.voxel_size[-3:]) / np.array(self.known[-3:])
        ratio[shape == 1] = 1.0
        there = tuple(np.maximum(1, np.rint(shape * ratio)).astype(int))
        seen = _linear(np.asarray(frame, np.float32), there)
        inside = None if mask is None else _nearest(np.asarray(mask), there)
        result = self.segmenter(seen, mask=inside)
        labels = {name: _nearest(found, tuple(shape)) for name, found in result.labels.items()}
        return replace(result, labels=labels)


def _places(of: tuple[int, ...], on: tuple[int, ...]) -> list[NDArray]:
    """Return, along each axis, where the centres of `of` voxels lie among `on` voxels of the same extent."""
    return [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(of, on, strict=True)]


def _linear(image: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    # Fewer voxels than before would pick out the noise of single ones.
    shrunk = [max(0.0, (old / new - 1) / 2) for old, new in zip(image.shape, shape, strict=True)]
    smooth: Any = gaussian_filter(image, shrunk, mode="nearest") if any(shrunk) else image
    grid = np.meshgrid(*_places(shape, image.shape), indexing="ij")
    seen: Any = map_coordinates(smooth, grid, order=1, mode="nearest", output=np.float32)
    return seen


def _nearest(image: NDArray, shape: tuple[int, ...]) -> NDArray:
    index = [
        np.clip(np.rint(p).astype(int), 0, n - 1)
        for p, n in zip(_places(shape, image.shape), image.shape, strict=True)
    ]
    return image[np.ix_(*index)]

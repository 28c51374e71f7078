"""The smaller copies of a label movie that viewers show when zoomed out, and what OME-Zarr says of labels.

Each level takes every second voxel of the one before (labels are never averaged), along z only once z is no coarser than
y and x. Voxel 0 stays where it is, so that a level differs from the first in its scale alone.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from helpers.data.calibration import VoxelSize
from helpers.data.lazy import LazyStack, Region, pieces_of
from helpers.data.ome_zarr import multiscales_attributes

#: Levels are added until a plane is no wider or higher than this many voxels.
_SMALLEST = 64
#: Labels that get a colour of their own in the metadata; viewers colour the others.
_COLOURED = 255
#: Turn of the colour wheel from one label to the next: neighbours in number are far apart in hue.
_GOLDEN = 0.618034


def factors(shape: Sequence[int], size: VoxelSize) -> list[tuple[int, int, int]]:
    """Return how much coarser (z, y, x) each level is than the first.

    Parameters
    ----------
    shape : sequence of int
        Of which the last three are Z, Y, X.
    size : tuple of float
        Voxel size (z, y, x) in µm.
    """
    z, y, x = shape[-3:]
    found = [(1, 1, 1)]
    while max(y // found[-1][1], x // found[-1][2]) > _SMALLEST:
        fz, fy, fx = found[-1]
        thin = size[0] * fz <= max(size[1] * fy, size[2] * fx) and z // fz > 1
        found.append((2 * fz if thin else fz, 2 * fy, 2 * fx))
    return found


def level_name(array: str, level: int) -> str:
    """Return the name of a level's array: "0", "0_1", "0_2" …"""
    return f"{array}_{level}" if level else array


def level_shape(shape: Sequence[int], factor: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a level, the axes before Z, Y, X unchanged."""
    reduced = (-(-n // f) for n, f in zip(shape[-3:], factor, strict=True))
    return (*shape[:-3], *reduced)


def attributes(
    name: str,
    size: VoxelSize,
    interval: float | None,
    paths: Sequence[str],
    levels: Sequence[Sequence[int]],
    version: str = "0.4",
) -> dict[str, Any]:
    """Return the OME-Zarr attributes of a label image with its levels.

    Parameters
    ----------
    name : str
        Of the image.
    size : tuple of float
        Voxel size (z, y, x) in µm.
    interval : float, optional
        Seconds between frames.
    paths : sequence of str
        The arrays, the finest first.
    levels : sequence of (z, y, x)
        How much coarser each is.
    version : {"0.4", "0.5"}
        Of OME-Zarr; in 0.5 all stands below ``ome``, and says its version there.
    """
    found = multiscales_attributes("TZYX", size, interval, name=name, array=paths[0])
    (image,) = found["multiscales"]
    first = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    image["datasets"] = [
        {
            "path": path,
            "coordinateTransformations": [
                {
                    "type": "scale",
                    "scale": [first[0], *(s * f for s, f in zip(first[1:], level, strict=True))],
                }
            ],
        }
        for path, level in zip(paths, levels, strict=True)
    ]
    image["type"] = "nearest"
    labels: dict[str, Any] = {"version": version, "colors": _colours()}
    if version == "0.4":
        return {**found, "image-label": labels}
    del image["version"], labels["version"]
    return {"ome": {"version": version, **found, "image-label": labels}}


def _colours() -> list[dict[str, Any]]:
    background = {"label-value": 0, "rgba": [0, 0, 0, 0]}
    return [background] + [
        {"label-value": label, "rgba": [*(round(255 * c) for c in _colour(label)), 255]}
        for label in range(1, _COLOURED + 1)
    ]


def _colour(label: int) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(label * _GOLDEN % 1, (0.9, 0.65, 0.8)[label % 3], (1.0, 0.9, 0.75)[label % 3])


def write_levels(
    arrays: Sequence[Any], t: int, labels: np.ndarray | LazyStack, levels: Sequence[Sequence[int]]
) -> None:
    """Write the coarser levels of one frame, the first of which is written.

    Parameters
    ----------
    arrays : sequence of zarr.Array, axes T, Z, Y, X
        All levels, the finest first.
    t : int
        The frame.
    labels : ndarray or LazyStack, shape (Z, Y, X)
        At the finest level. Of a lazy stack each level is made from the one before, as it lies on the disk.
    levels : sequence of (z, y, x)
        How much coarser each level is.
    """
    for before, target, coarse, fine in zip(arrays, arrays[1:], levels[1:], levels, strict=False):
        if isinstance(labels, LazyStack):
            step = tuple(c // f for c, f in zip(coarse, fine, strict=True))
            read = _every(step, lambda where, array=before: array[(t, *where)])
        else:
            read = _every(tuple(coarse), lambda where: labels[where])
        for chunk in pieces_of(target.shape[1:], target.chunks[1:]):
            target[(t, *chunk)] = read(chunk).astype(target.dtype)


def _every(step: Sequence[int], read: Callable[[Region], np.ndarray]) -> Callable[[Region], np.ndarray]:
    """Return what reads a region of every n-th voxel."""

    def at(where: Region) -> np.ndarray:
        return read(
            tuple(slice(w.start * n, (w.stop - 1) * n + 1, n) for w, n in zip(where, step, strict=True))
        )

    return at


def levels_are_whole(
    arrays: Sequence[Any], t: int, labels: LazyStack, levels: Sequence[Sequence[int]]
) -> bool:
    """Whether the coarser levels of a frame say what the finest does."""
    try:
        return all(
            np.array_equal(
                array[(t, *chunk)], _every(tuple(level), lambda where: _strided(labels, where))(chunk)
            )
            for array, level in zip(arrays[1:], levels[1:], strict=True)
            for chunk in pieces_of(array.shape[1:], array.chunks[1:])
        )
    except Exception:  # what a damaged chunk makes of its decoder is no one kind of error
        return False


def _strided(labels: LazyStack, where: Region) -> np.ndarray:
    whole = labels[tuple(slice(w.start, w.stop) for w in where)]
    return whole[tuple(slice(None, None, w.step) for w in where)]

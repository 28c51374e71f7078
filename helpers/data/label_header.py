"""The header of a label movie (see `helpers.data.label_movies`): written, and restored where a part of it is lost."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from helpers.data import label_pyramid
from helpers.data.atomic import atomic_path
from helpers.data.calibration import VoxelSize
from helpers.data.ome_zarr import create_frame_array

#: Attribute that says that the chunk files tell which frames are finished.
MARK = "volltrack"


def write_header(
    path: Path, name: str, shape: tuple[int, ...], size: VoxelSize, interval: float | None, array: str
) -> None:
    """Write a label movie without frames.

    Parameters
    ----------
    path : Path
        Its folder, which does not exist yet.
    name : str
        Name of the image.
    shape : tuple of int
        Sizes of T, Z, Y, X.
    size : tuple of float
        Voxel size (z, y, x) in µm.
    interval : float, optional
        Seconds between frames.
    array : {"0", "1"}
        Name of the array: "0" holds 16 bits, "1" 32.
    """
    attributes = header_attributes(name, shape, size, interval, array)
    zarr.create_group(str(path), zarr_format=2, attributes=attributes)
    for level, factor in enumerate(label_pyramid.factors(shape, size)):
        create_level(path, shape, array, level, factor)


def header_attributes(
    name: str, shape: tuple[int, ...], size: VoxelSize, interval: float | None, array: str
) -> dict[str, Any]:
    """Return the attributes of a label movie; the parameters are those of `write_header`."""
    levels = label_pyramid.factors(shape, size)
    paths = [label_pyramid.level_name(array, level) for level in range(len(levels))]
    return label_pyramid.attributes(name, size, interval, paths, levels) | {MARK: {"kind": "labels"}}


def create_level(path: Path, shape: tuple[int, ...], array: str, level: int, factor: Sequence[int]) -> None:
    """Create the array of one level, `factor` times coarser (z, y, x); where it is there, it stays."""
    goal = path / label_pyramid.level_name(array, level)
    if not (goal / ".zarray").exists():
        with atomic_path(goal, replace=False) as temporary:
            reduced = label_pyramid.level_shape(shape, factor)
            create_frame_array(temporary, reduced, np.uint32 if array == "1" else np.uint16)


def levels_of(attributes: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Return how much coarser (z, y, x) each level of a label movie is, by its attributes."""
    scales = [
        np.array(one["coordinateTransformations"][0]["scale"][1:])
        for one in attributes["multiscales"][0]["datasets"]
    ]
    return [tuple(int(n) for n in np.round(scale / scales[0])) for scale in scales]  # type: ignore[misc]


def restore_header(path: Path, array: str, write: Callable[[Path], None]) -> None:
    """Put back the files of a header that are gone, or no JSON; the frames stay.

    Nothing is done where what is left of the header does not show that this is such a label movie.

    Parameters
    ----------
    path : Path
        The label movie.
    array : str
        Name of the array that holds the frames.
    write : callable
        Writes the header of the same movie into another folder.
    """
    levels = sorted(folder.name for folder in path.glob(f"{array}_*"))
    names = (".zgroup", ".zattrs", f"{array}/.zarray", *(f"{level}/.zarray" for level in levels))
    lost = [name for name in names if not isinstance(_read(path / name), dict)]
    if not lost or not (path / array).is_dir():
        return
    marked = MARK in (_read(path / ".zattrs") or {})
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / path.name
        write(fresh)
        if marked or _read(path / names[2]) == _read(fresh / names[2]):
            for name in lost:
                with atomic_path(path / name) as temporary:
                    shutil.copyfile(fresh / name, temporary)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None

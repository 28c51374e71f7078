"""The header of a label movie (see `helpers.data.label_movies`): written, and restored where a part of it is lost."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from helpers.data.atomic import atomic_path
from helpers.data.ome_zarr import create_frame_array, multiscales_attributes
from helpers.data.source import VoxelSize

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
    attributes = multiscales_attributes("TZYX", size, interval, name=name, array=array)
    attributes[MARK] = {"kind": "labels"}
    zarr.create_group(str(path), zarr_format=2, attributes=attributes)
    create_frame_array(path / array, shape, np.uint32 if array == "1" else np.uint16)


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
    names = (".zgroup", ".zattrs", f"{array}/.zarray")
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

"""The arrays of a label movie as files (see `helpers.data.label_movies`): their chunks, attributes, and how one is put in its place."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr

from helpers.data.ome_zarr import frame_chunks
from helpers.errors import InputError


def put(part: Path, goal: Path) -> None:
    """Move a file to where there is none yet; where there is one, it stays."""
    goal.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(part, goal)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not goal.exists():
            os.replace(part, goal)


def chunks_of(array: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """Return the chunks of an array on disk; what they would be where its header is gone."""
    try:
        return _written_chunks(array / ".zarray", (array / ".zarray").stat().st_mtime_ns)
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return frame_chunks(tuple(shape))


@functools.lru_cache
def _written_chunks(header: Path, _changed: int) -> tuple[int, ...]:
    return tuple(int(n) for n in json.loads(header.read_text(encoding="utf-8"))["chunks"])


def counts_of(shape: Sequence[int], chunks: Sequence[int]) -> list[int]:
    """Return how many chunks a frame of a movie has along z, y and x."""
    return [-(-n // chunk) for n, chunk in zip(shape[-3:], chunks[-3:], strict=True)]


def attributes_of(path: Path) -> dict[str, Any]:
    """Return the attributes of a label movie; none where there are none, and InputError where they are damaged."""
    file = path / ".zattrs"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, RecursionError) as error:
        found = error
    if isinstance(found, dict):
        return found
    raise InputError(str(file), str(found), "is damaged; run the step that wrote it again, which restores it")


def open_array(path: Path, *, writable: bool = False) -> Any:
    """Open an array of a label movie."""
    array = zarr.open_array(str(path), mode="r+" if writable else "r", zarr_format=2)
    # zarr leaves out chunks that hold only background; ours must be there to be finished.
    return array.with_config({"write_empty_chunks": True})

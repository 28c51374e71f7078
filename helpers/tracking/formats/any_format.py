"""Tracks in whichever format a file or folder is."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.errors import InputError
from helpers.tracking.formats import btrackmate, ctc, geff, mmv_h4tracks, table, trackmate, trackmate_csv
from helpers.tracking.tracks import Tracks


def read(
    path: str | Path, *, voxel_size: Sequence[float] | None = None, frame_interval: float | None = None
) -> Tracks:
    """Read tracks of TrackMate (XML, or its tables as CSV), GEFF, the Cell Tracking Challenge, BTrackMate or mmv_h4tracks, or a plain table.

    Parameters
    ----------
    path : path-like
        The file or folder.
    voxel_size : sequence of float, optional
        (z, y, x) in µm, in 2D (y, x) will do; wins over the file. Needed where the format counts voxels.
    frame_interval : float, optional
        Seconds; wins over the file.

    Raises
    ------
    InputError
        As the format's own ``read``; without a voxel size naming ``voxel_size_um``.
    """
    path = inside(Path(path))
    reader, needed = _format_of(path)
    if needed and voxel_size is None:
        raise InputError("voxel_size_um", None, f"{path} {needed}; give [z, y, x] in µm")
    scale: dict[str, Any] = {"voxel_size": voxel_size, "frame_interval": frame_interval}
    tracks = reader.read(path, **scale)
    if voxel_size is not None and len(voxel_size) == 2 and tracks.objects["z"].nunique() > 1:
        raise InputError("voxel_size_um", tuple(voxel_size), f"{path} is 3D; give [z, y, x] in µm")
    return tracks


def inside(path: Path) -> Path:
    """Return the GEFF within a folder that napari-track-edit exported (tracks.geff beside segmentation), else `path`."""
    return path / "tracks.geff" if geff.is_geff(path / "tracks.geff") else path


def has_table(path: Path) -> bool:
    """Whether a folder holds tracks as tables or graphs: not the masks of the Cell Tracking Challenge, which take long to read."""
    return _format_of(inside(path))[0] is not ctc


def _format_of(path: Path) -> tuple[Any, str]:
    """Return the format's module, and why it needs a voxel size, if it does."""
    if path.suffix.lower() == ".xml":
        return trackmate, ""
    if path.suffix.lower() == ".geff" or geff.is_geff(path):
        return geff, ""
    if mmv_h4tracks.is_mmv(path):
        return mmv_h4tracks, "is a .zarr of mmv_h4tracks, which counts pixels"
    if path.is_dir() and not (path / "objects.csv").is_file():
        return ctc, "holds masks, which have no scale"
    header = _header(path) if path.is_file() else []
    if _is_btrackmate(header):
        return btrackmate, "is a table of BTrackMate, which counts pixels"
    return (trackmate_csv if trackmate_csv.is_spots(header) else table), ""


def _header(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return [cell.strip() for cell in next(csv.reader(stream), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []  # the reader of tables says what is wrong


def _is_btrackmate(first: list[str]) -> bool:
    named = first[1:6] if first[:1] == [""] else first[:5]
    bare = len(first) == len(btrackmate.COLUMNS) and all(map(btrackmate.is_number, first))
    return tuple(named) == btrackmate.COLUMNS[:5] or bare

"""TrackMate XML, as TrackMate 2.1 to 9, pycellin and other programs write it.

Spot IDs are the object ids. ``POSITION_X, Y, Z`` become ``x, y, z`` and FRAME ``frame``; every other feature of a
Spot or an Edge stays a column under its TrackMate name (``RADIUS``, ``QUALITY``, ``MEAN_INTENSITY_CH1`` …), converted
to µm and s like the positions where its declared dimension says so. Columns of ours are written as declared features,
and read back to the same values, types and order.

TrackMate's graph has no direction: an edge that runs backwards in time is turned round, with a warning.

geff's converter (1.3.1) reads such files, too, into a GEFF. It writes none, loses the voxel size, and makes nothing of
meshes and of the settings of trackers; of 2,000 tracks over 100 frames (80 MB) it takes 2.9 times the processor time, and
six times the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers.tracking.formats.trackmate_meshes import write_meshes
from helpers.tracking.formats.trackmate_read import read_file
from helpers.tracking.formats.trackmate_settings import OtherTracker, read_tracker
from helpers.tracking.formats.trackmate_shapes import Mesh, contours_from_labels, meshes_from_labels
from helpers.tracking.formats.trackmate_write import write_file
from helpers.tracking.tracks import Tracks

__all__ = [
    "Mesh",
    "OtherTracker",
    "contours_from_labels",
    "meshes_from_labels",
    "read",
    "read_tracker",
    "write",
    "write_meshes",
]


def read(
    path: str | Path,
    *,
    voxel_size: Sequence[float] | None = None,
    frame_interval: float | None = None,
    contours: bool = True,
) -> Tracks:
    """Read a TrackMate file.

    All spots and all tracks are read, whatever filters TrackMate has set: the column ``track_shown`` is False for
    the objects of tracks that its track filters hide (a warning says how many), and ``VISIBILITY`` is 0 for spots
    that its spot filters hide.

    Parameters
    ----------
    path : path
        The XML file.
    voxel_size : sequence of float, optional
        (z, y, x) in µm. Needed only for a file whose unit is "pixel": its positions are then converted. Without
        it they stay in pixels, ``Tracks.voxel_size`` is None, and a warning says so.
    frame_interval : float, optional
        Seconds between frames, for a file whose unit of time is "frame".
    contours : bool
        Whether to read the outlines of 2D spots into the column ``contour``: (N, 2) arrays (y, x) in µm relative
        to the object's position, None for spots without one.

    Returns
    -------
    Tracks
        ``links.cost`` is LINK_COST (−1: linked by hand; NaN: not stated). A spot without POSITION_Z has z = 0.

    Raises
    ------
    InputError
        The file is damaged or not TrackMate's, or TrackMate itself could not open it: version, AllSpots,
        AllTracks, FilteredTracks or a needed part of Settings is missing, an attribute is not numeric, a contour
        begins with white space, an edge dangles, occurs twice, joins one frame, or edges run in a circle.
    """
    return read_file(path, voxel_size=voxel_size, frame_interval=frame_interval, contours=contours)


def write(
    tracks: Tracks,
    path: str | Path,
    *,
    labels: Iterable[np.ndarray] | Any | None = None,
    meshes: Mapping[int, Mesh] | None = None,
    image: str | Path | None = None,
    shape: tuple[int, ...] | None = None,
    tracker: Any = None,
    radius: float = 5.0,
    log: str = "Written by Volltrack.",
) -> None:
    """Write a TrackMate file, with contours (2D) or a mesh side-car (3D) if the shapes are given.

    Parameters
    ----------
    tracks : Tracks
        ``RADIUS`` and ``QUALITY`` are computed from ``volume_um3`` or ``area_um2`` where they are no columns:
        the radius of the sphere or circle, and the count of voxels. Ids lie between 0 and 2³¹−1.
    path : path
        Where to write. An older mesh side-car there is removed.
    labels : LabelMovie or iterable of label frames, optional
        One frame per time point, (Z, Y, X) or (Y, X); draws the contours or meshes of all objects by their
        column ``label``. One frame is held in memory at a time.
    meshes : mapping of int to (vertices, faces), optional
        Meshes by object id, see `write_meshes`.
    image : path, optional
        The movie that TrackMate shall open with the file.
    shape : tuple of int, optional
        (T, Z, Y, X) or (T, Y, X) of the movie. By default that of `labels`, else just around the objects.
    tracker : LapParameters, OverlapParameters, KalmanParameters, AdvancedKalmanParameters or OtherTracker, optional
        Linking parameters to state, so that TrackMate starts from them.
    radius : float
        µm, for objects that state no size.
    log : str
        Text for TrackMate's log.

    Raises
    ------
    InputError
        Ids beyond TrackMate's, columns that hold neither numbers nor text, label frames that disagree in shape
        or lack a label that an object has.
    """
    write_file(
        tracks,
        path,
        labels=labels,
        meshes=meshes,
        image=image,
        shape=shape,
        tracker=tracker,
        radius=radius,
        log=log,
    )

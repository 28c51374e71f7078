"""What notebooks 13_analyze_boundary_distance to 15_analyze_migration share: tracks are read, shown on their movie, and described in tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie, labels_of_tracks
from helpers.data.movies import Movie
from helpers.data.tables import write_table
from helpers.errors import InputError
from helpers.runs.parameters.analysis import TrackedMovie
from helpers.tracking.formats import any_format
from helpers.tracking.tracks import Tracks


def open_tracks(p: TrackedMovie) -> Tracks:
    """Read the tracks, in any format, with the voxel size and frame interval that the parameters give them.

    Raises
    ------
    InputError
        If there are none, or their format is not known; if edits were made on another result.
    """
    if p.is_curated():
        from helpers.runs.curation import curated

        found = curated(p.movie_path())
        print(f"Curated tracks: {found.edits} edits by {', '.join(found.authors) or 'nobody'}.")
    path = p.tracks_path()
    if not path.exists():
        raise InputError(
            "tracks", str(path), "there are no such tracks; run notebook 10_track, or name your own"
        )
    return any_format.read(path, voxel_size=p.voxel_size_um, frame_interval=p.frame_interval_s)


def background(p: TrackedMovie) -> np.ndarray | None:
    """Return what to draw cells on: the first frame of the raw movie or of its labels; None where there is neither."""
    own = None if p.raw else p.found_labels()
    return first_frame(p.raw, LabelMovie.open(own) if own else None)


def first_frame(
    raw: str | Path | None, labels: LabelMovie | None, voxel_size: Sequence[float] | None = None
) -> np.ndarray | None:
    """Return the first frame of a raw movie, or of labels where none is named (1 in cells), or None."""
    if raw:
        return Movie.open(raw, voxel_size=voxel_size, missing_frames="empty").frame(0)
    return None if labels is None else (labels.frame(0) > 0).astype(np.float32)


def write_tables(p: TrackedMovie, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Write tables into the movie's folder of analyses; return their names."""
    folder = p.analysis_path()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in tables.items():
        write_table(content, folder / f"{name}.csv")
    return [f"analysis/{name}.csv" for name in tables]


def write_animation(p: TrackedMovie, tracks: Tracks, name: str, color_by: str) -> list[str]:
    """Write an animation of the movie with its tracks into the folder of analyses; return its name, if any."""
    kind = getattr(p, "animation", "none")
    if kind == "none" or tracks.voxel_size is None:
        return []
    labels = labels_of_tracks(p.movie_path())
    from helpers.view.animation import animate

    movie = Movie.open(p.raw, missing_frames="empty") if p.raw else None
    animate(
        p.analysis_path(f"{name}.{kind}"),
        movie,
        tracks,
        labels=LabelMovie.open(labels) if p.tracks is None and labels.exists() else None,
        color_by=color_by,
    )
    return [f"analysis/{name}.{kind}"]

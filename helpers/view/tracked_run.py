"""What a run folder holds of one movie: its tracks with their measures, its images, and the tissue's boundary."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.analysis.boundary import HullBoundary, RoiBoundary, is_planar
from helpers.curation.files import bring_up_to_date, is_curated
from helpers.data.label_movies import LabelMovie, labels_of_tracks
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.tracking.formats import table
from helpers.tracking.tracks import Tracks

#: Tables of notebooks 13_analyze_boundary_distance and 15_analyze_migration whose columns tracks can be coloured by.
OBJECT_TABLES = ("boundary_objects.csv", "migration_objects.csv")
#: Most voxels of a frame on which a drawn region or a hull is shown.
_FINEST = 1_000_000


@dataclass(frozen=True)
class TrackedRun:
    """What a run folder holds of one movie.

    Attributes
    ----------
    name : str
        The movie's.
    folder : Path
        ``<run>/movies/<name>``.
    tracks : Tracks
        With all corrections, where someone curated them, and with the measures of notebooks 13_analyze_boundary_distance and 15_analyze_migration among the
        columns of their objects, as far as these ran.
    voxel_size : tuple of float
        (z, y, x) in µm.
    movie : Movie or None
        The raw movie, where a notebook named it.
    labels : LabelMovie or None
        Of notebook 06_segment or 07_segment_cellpose.
    tissue : Movie, SampledTissue or None
        What notebook 13_analyze_boundary_distance measured distances to.
    """

    name: str
    folder: Path
    tracks: Tracks
    voxel_size: tuple[float, float, float]
    movie: Movie | None
    labels: LabelMovie | None
    tissue: Movie | SampledTissue | None

    @property
    def is_flat(self) -> bool:
        """Whether it is a movie of one plane."""
        for source in (self.movie, self.labels):
            if source is not None:
                return source.shape[-3] == 1
        return is_planar(self.tracks)


@dataclass(frozen=True)
class SampledTissue:
    """A drawn region, or the hull of the cells, as a mask: what lies inside, on a grid of voxels.

    Attributes
    ----------
    boundary : RoiBoundary or HullBoundary
        Where the tissue ends.
    shape : tuple of int
        (T, Z, Y, X).
    voxel_size : tuple of float
        (z, y, x) in µm.
    """

    boundary: RoiBoundary | HullBoundary
    shape: tuple[int, int, int, int]
    voxel_size: tuple[float, float, float]

    @classmethod
    def like(
        cls, boundary: RoiBoundary | HullBoundary, shape: Any, voxel_size: tuple[float, float, float]
    ) -> SampledTissue:
        """Return it on the grid of a movie (…, Z, Y, X), or, where that is too fine to wait for, on a coarser one."""
        voxels = np.array(shape[-3:])
        steps = np.ones(3, int)
        while np.prod(-(-voxels // steps)) > _FINEST:
            steps = np.minimum(steps + 1, voxels)
        sampled = tuple(int(n) for n in -(-voxels // steps))
        size = tuple(float(s) for s in np.array(voxel_size) * steps)
        return cls(boundary, (shape[0], *sampled), size)  # type: ignore[arg-type]

    def frame(self, t: int) -> np.ndarray:
        """Return whether each voxel's centre lies inside in frame `t`, (Z, Y, X)."""
        points = np.indices(self.shape[1:]).reshape(3, -1).T * np.array(self.voxel_size)
        try:
            inside = self.boundary.field(t).at(points) > 0
        except InputError:  # too few cells for a hull in this frame
            inside = np.zeros(len(points), bool)
        return inside.reshape(self.shape[1:])


def read_run(run_folder: str | Path, movie: str | None = None) -> TrackedRun:
    """Read what a run holds of one movie.

    Parameters
    ----------
    run_folder : path-like
        Such as ``runs/demo``.
    movie : str, optional
        Its name in the run; needed where the run has several.

    Raises
    ------
    InputError
        If the run or its tracks are not there, or several movies are; if nothing says the size of a voxel.
    """
    folder = Path(run_folder)
    tracked = tracked_movies(folder, movie)
    if len(tracked) > 1:
        raise InputError("movie", None, f"this run has several movies; name one of {', '.join(tracked)}")
    (name,) = tracked
    own = folder / "movies" / name
    named = _named_files(folder, name)
    raw = Movie.open(path, missing_frames="empty") if (path := named.get("raw")) is not None else None
    result = _result(own, raw)
    tracks = _with_measures(table.read(result / "tracks.csv"), own / "analysis")
    own_labels = labels_of_tracks(result)
    labels = LabelMovie.open(own_labels) if own_labels.exists() else None
    # The tracks know the size that a person gave where a file says none, or a wrong one.
    sizes = [source.voxel_size for source in (tracks, labels, raw) if source is not None]
    size = next((size for size in sizes if size is not None), None)
    if size is None and sizes[1:]:
        raise InputError(
            "voxel_size_um",
            None,
            "neither tracks nor movie say the size of a voxel; give it to notebook 10_track",
        )
    size = size or (1.0, 1.0, 1.0)  # tracks without a movie are in µm already
    tissue = _tissue(folder, named, tracks, labels, raw, size, name)
    return TrackedRun(name, own, tracks, size, raw, labels, tissue)


def tracked_movies(run_folder: str | Path, movie: str | None = None) -> list[str]:
    """Return the movies of a run that are tracked, or the one that is named.

    Raises
    ------
    InputError
        If nothing is tracked, or there is no such movie.
    """
    tracked = sorted(path.parent.name for path in Path(run_folder).glob("movies/*/tracks.csv"))
    if not tracked:
        raise InputError(
            "run_folder", str(run_folder), "there are no tracks in this run; run notebook 10_track first"
        )
    if movie is not None and movie not in tracked:
        raise InputError("movie", movie, f"one of {', '.join(tracked)}")
    return tracked if movie is None else [movie]


def read_tracks(run_folder: str | Path, movie: str) -> Tracks:
    """Read the tracks of a movie alone: with all corrections and measures, as in `TrackedRun`.

    Raises
    ------
    InputError
        If they are not there.
    """
    folder = Path(run_folder)
    own = folder / "movies" / movie
    raw = None
    if is_curated(own) and (path := _named_files(folder, movie).get("raw")) is not None:
        raw = Movie.open(path, missing_frames="empty")
    return _with_measures(table.read(_result(own, raw) / "tracks.csv"), own / "analysis")


def _result(own: Path, raw: Movie | None) -> Path:
    """Return the folder of the tracks in force: the curated ones, brought up to date, where someone curated."""
    return bring_up_to_date(own, raw).tracks.parent if is_curated(own) else own


def _with_measures(tracks: Tracks, analysis: Path) -> Tracks:
    """The tracks with what notebooks 13_analyze_boundary_distance and 15_analyze_migration measured of the same objects."""
    objects = tracks.objects
    for file in OBJECT_TABLES:
        if (analysis / file).is_file():
            measured = pd.read_csv(analysis / file)
            if measured["id"].tolist() == objects["id"].tolist():
                known = {*objects, "track_id", "tracklet_id", "generation"}
                objects = objects.assign(
                    **{str(c): measured[c].to_numpy() for c in measured if c not in known}
                )
    return Tracks(objects, tracks.links, tracks.voxel_size, tracks.frame_interval)


def _named_files(run: Path, name: str) -> dict[str, Path | None]:
    """The raw movie that a notebook of this movie names, and the mask or region of notebook 13_analyze_boundary_distance; None for what is gone."""
    found: dict[str, Path | None] = {}
    for path in sorted(run.glob(f"steps/*-{name}/done.json")):
        with path.open(encoding="utf-8") as stream:
            given = json.load(stream)["parameters"]
        kinds = [("raw", "raw"), ("movie", "raw")]
        if "analyze_boundary_distance" in path.parent.name:
            kinds += [("tissue_mask", "tissue_mask"), ("roi", "roi")]
        for parameter, kind in kinds:
            if given.get(parameter) and found.get(kind) is None:
                path = Path(given[parameter])
                found[kind] = path if path.exists() else None
                if found[kind] is None:
                    warnings.warn(f"{path} is no longer there and not shown ({parameter})", stacklevel=3)
    return found


def _tissue(
    folder: Path,
    named: dict[str, Path | None],
    tracks: Tracks,
    labels: LabelMovie | None,
    movie: Movie | None,
    size: tuple[float, float, float],
    name: str,
) -> Movie | SampledTissue | None:
    """What notebook 13_analyze_boundary_distance measured distances to: a mask, a drawn region, or the hull of the cells."""
    mask, roi = named.get("tissue_mask"), named.get("roi")
    if mask is not None:
        return Movie.open(mask, missing_frames="empty")
    grid = labels or movie
    lost = (mask is None and "tissue_mask" in named) or (roi is None and "roi" in named)
    if lost or grid is None or not any(folder.glob(f"steps/*_analyze_boundary_distance-{name}/done.json")):
        return None
    if roi is not None:
        boundary: RoiBoundary | HullBoundary = RoiBoundary.read(roi, size)
    else:
        points = tracks.objects[["z", "y", "x"]].to_numpy(float)
        boundary = HullBoundary(tracks.objects["frame"].to_numpy(), points, is_planar(tracks), labels)
    return SampledTissue.like(boundary, grid.shape, size)

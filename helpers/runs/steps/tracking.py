"""Notebooks 08 and 09: what is tracked, by which tracker, and where the tracks are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs.parameters import EvaluateTracking, Track
from helpers.runs.run import read_done, step_folder
from helpers.tracking import filters, scores
from helpers.tracking.formats import btrackmate, ctc, geff, table, trackmate
from helpers.tracking.kalman import AdvancedKalmanParameters, KalmanParameters, link_kalman, link_nearest
from helpers.tracking.linking import LapParameters, link
from helpers.tracking.objects import measure
from helpers.tracking.overlap import OverlapParameters, link_overlap, overlap_table
from helpers.tracking.segments import SegmentParameters
from helpers.tracking.tracks import Tracks


@dataclass(frozen=True)
class Cells:
    """What is tracked: measured cells, with their labels where there are any.

    Attributes
    ----------
    objects : DataFrame
        One row a cell and frame.
    labels : LabelMovie or None
        None where a table alone is tracked.
    voxel_size : tuple of float or None
        (z, y, x) in µm.
    frame_interval : float or None
        Seconds.
    """

    objects: pd.DataFrame
    labels: LabelMovie | None
    voxel_size: tuple[float, ...] | None
    frame_interval: float | None


def open_cells(p: Track) -> Cells:
    """Read the table of cells, and open the labels where there are any.

    Raises
    ------
    InputError
        If the table is not there or no table of cells.
    """
    path = p.objects_path()
    if not path.is_file():
        raise InputError(
            "objects", str(path), "there is no such table; run notebook 05 or 06, or name your own"
        )
    objects = pd.read_csv(path)
    labels = LabelMovie.open(p.labels_path()) if p.labels_path() else None  # type: ignore[arg-type]
    return Cells(
        objects,
        labels,
        p.voxel_size_um or (labels.voxel_size if labels else None),
        p.frame_interval_s or (labels.frame_interval if labels else None),
    )


def keep_cells(cells: Cells, p: Track) -> tuple[Cells, pd.DataFrame]:
    """Leave out cells that are too small, too large, too dim, of low quality or outside the region of interest.

    Returns
    -------
    kept : Cells
    left_out : DataFrame
        With a column ``reason``.
    """
    size = "volume_um3" if "volume_um3" in cells.objects else "area_um2"
    quality = "quality" if "quality" in cells.objects else "QUALITY"
    minimum = {size: p.min_size_um3, "intensity_mean": p.min_intensity, quality: p.min_quality}
    kept = filters.filter_objects(
        cells.objects,
        minimum={name: value for name, value in minimum.items() if value is not None},
        maximum={size: p.max_size_um3} if p.max_size_um3 is not None else {},
        mask=_open_mask(p.roi_mask, p),
        voxel_size=cells.voxel_size,
    )
    return Cells(kept.kept, cells.labels, cells.voxel_size, cells.frame_interval), kept.removed


def _open_mask(path: Path | None, p: Track) -> Any:
    """Open a mask as a movie, or as one stack that serves all frames."""
    if path is None:
        return None
    mask = Movie.open(path, voxel_size=p.voxel_size_um)
    return mask if mask.n_frames > 1 else mask.frame(0)


def tracker_parameters(p: Track) -> Any:
    """Return the tracker's own parameters, in the library's words."""
    segments = {
        "gap_closing": p.gap_closing,
        "gap_closing_max_distance": p.gap_closing_max_distance_um,
        "max_frame_gap": p.max_frame_gap,
        "splitting": p.splitting,
        "splitting_max_distance": p.splitting_max_distance_um,
        "merging": p.merging,
        "merging_max_distance": p.merging_max_distance_um,
    }
    kalman = {
        "initial_search_radius": p.max_distance_um,
        "search_radius": p.search_radius_um,
        "max_frame_gap": p.max_frame_gap,
        "penalties": p.penalties,
    }
    if p.tracker == "overlap":
        return OverlapParameters(min_iou=p.min_iou, scale_factor=p.scale_factor, min_fraction=p.min_fraction)
    if p.tracker == "kalman":
        return KalmanParameters(**kalman)
    if p.tracker == "advanced_kalman":
        return AdvancedKalmanParameters(**kalman, segments=SegmentParameters(**segments))
    return LapParameters(
        **segments, max_distance=p.max_distance_um, penalties=p.penalties, overlap_weight=p.overlap_weight
    )


def track(cells: Cells, p: Track) -> Tracks:
    """Link the cells with the chosen tracker.

    Raises
    ------
    InputError
        If the overlap is asked for without labels, or the table has not the columns that are.
    """
    scale: dict[str, Any] = {"voxel_size": cells.voxel_size, "frame_interval": cells.frame_interval}
    if cells.labels is None and (p.tracker == "overlap" or p.overlap_weight):
        raise InputError("labels", None, "the overlap of cells is measured in labels: name the label movie")
    parameters = tracker_parameters(p)
    if p.tracker == "overlap":
        return link_overlap(
            cells.labels,
            objects=cells.objects,
            min_iou=p.min_iou,
            scale_factor=p.scale_factor,
            min_fraction=p.min_fraction,
            **scale,
        )
    if p.tracker == "nearest":
        return link_nearest(cells.objects, p.max_distance_um, **scale)
    if p.tracker == "lap":
        overlaps = overlap_table(cells.labels, cells.objects) if p.overlap_weight else None
        return link(cells.objects, parameters, overlaps=overlaps, **scale)
    return link_kalman(cells.objects, parameters, **scale)


def keep_tracks(tracks: Tracks, p: Track) -> tuple[Tracks, pd.DataFrame]:
    """Remove what biology makes unlikely; return the others, and the cells removed with reasons."""
    removed = []
    if p.min_tracklet_s > 0:
        tracks, gone = filters.remove_short_tracklets(tracks, p.min_tracklet_s, seconds=True)
        removed.append(gone)
    if p.min_track_frames > 1:
        tracks, gone = filters.filter_tracks(tracks, min_frames=p.min_track_frames)
        removed.append(gone)
    if p.tissue_mask is not None:
        tracks, gone = filters.tracks_inside_tissue(tracks, _open_mask(p.tissue_mask, p))
        removed.append(gone)
    return tracks, pd.concat(removed, ignore_index=True) if removed else pd.DataFrame(columns=["reason"])


def silhouette(cells: Cells) -> np.ndarray:
    """Return what to draw tracks on where no raw movie is named: the first frame's cells, or nothing."""
    if cells.labels is not None:
        return (cells.labels.frame(0) > 0).astype(np.float32)
    size = np.array(cells.voxel_size or (1.0, 1.0, 1.0))[-2:]
    reach = cells.objects[["y", "x"]].to_numpy(float).max(axis=0, initial=1.0) / size
    return np.zeros(tuple(np.ceil(reach).astype(int) + 1), np.float32)


def first_feature(tracks: Tracks) -> str:
    """Return a measured column to colour tracks by: the first that a biologist would ask for."""
    wanted = ("intensity_mean", "volume_um3", "area_um2", "frame")
    return next(name for name in wanted if name in tracks.objects)


def write_all(tracks: Tracks, cells: Cells, p: Track) -> dict[str, str]:
    """Write the tracks in every format that the data allow.

    Returns
    -------
    dict
        Name of the file or folder → who reads it.
    """
    folder = p.movie_path()
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "tracks.csv": "pandas, Excel",
        "tracks.xml": "TrackMate",
        "tracks.geff": "geff, motile, napari",
    }
    table.write(tracks, folder / "tracks.csv")
    trackmate.write(
        tracks, folder / "tracks.xml", labels=cells.labels, image=p.raw, tracker=tracker_parameters(p)
    )
    geff.write(tracks, folder / "tracks.geff", labels="../labels.zarr" if cells.labels else None)
    if cells.voxel_size is not None and "label" in tracks.objects:
        btrackmate.write(tracks, folder / "btrackmate.csv")
        written["btrackmate.csv"] = "BTrackMate"
    if cells.labels is not None:
        ctc.write(tracks, folder / "ctc", cells.labels)
        written["ctc"] = "Cell Tracking Challenge"
    return written


def results(tracks: Tracks, left_out: pd.DataFrame, removed: pd.DataFrame) -> dict[str, Any]:
    """Return the counts that ``done.json`` keeps."""
    return {
        "objects": len(tracks.objects),
        "links": len(tracks.links),
        "tracks": tracks.n_tracks,
        "divisions": len(tracks.divisions),
        "left_out": left_out["reason"].value_counts().to_dict() if len(left_out) else {},
        "removed": removed["reason"].value_counts().to_dict() if len(removed) else {},
    }


def read_tracks(path: Path, labels: LabelMovie) -> Tracks:
    """Read true tracks in any of the formats, told by the name."""
    if path.suffix == ".xml":
        return trackmate.read(path)
    if path.suffix == ".geff":
        return geff.read(path)
    if path.is_dir() and not (path / "objects.csv").is_file():
        return ctc.read(path, voxel_size=labels.voxel_size or (1.0, 1.0, 1.0))
    return table.read(path, voxel_size=labels.voxel_size, frame_interval=labels.frame_interval)


@dataclass(frozen=True)
class Scored:
    """Tracks, their scores, and where their links are wrong."""

    name: str
    tracks: Tracks
    scores: dict[str, float]
    errors: pd.DataFrame


def evaluate(p: EvaluateTracking) -> list[Scored]:
    """Score the tracks of notebook 08 and, with `track_true_labels`, those of its tracker on the true labels.

    Raises
    ------
    InputError
        If the truth is missing, or does not fit the movie.
    """
    for name in ("truth", "truth_tracks"):
        if getattr(p, name) is None:
            raise InputError(name, None, "name the true labels and the true tracks of this movie")
    assert p.truth is not None and p.truth_tracks is not None
    true_labels = LabelMovie.open(p.truth)
    truth = read_tracks(p.truth_tracks, true_labels)
    predicted = table.read(p.movie_path("tracks.csv"))
    pairs = [("predicted_labels", predicted, LabelMovie.open(p.movie_path("labels.zarr")))]
    if p.track_true_labels:
        pairs.insert(0, ("true_labels", _track_truth(p, true_labels), true_labels))
    found = []
    for name, tracks, labels in pairs:
        matching = scores.match_objects(tracks, truth, labels, true_labels)
        found.append(
            Scored(
                name,
                tracks,
                scores.score(tracks, truth, matching=matching, frame_buffer=p.frame_buffer),
                scores.wrong_links(tracks, truth, matching, frame_buffer=p.frame_buffer),
            )
        )
    return found


def _track_truth(p: EvaluateTracking, labels: LabelMovie) -> Tracks:
    """Track the true labels as notebook 08 tracked the found ones."""
    folder = step_folder(p).with_name(step_folder(p).name.replace(p.step, Track.step))
    done = read_done(folder)
    if done is None:
        raise InputError("movie_id", p.movie_id, "this movie is not tracked yet; run notebook 08 first")
    settings = Track.checked({**done["parameters"], "objects": None, "labels": p.truth, "tissue_mask": None})
    voxel_size = settings.voxel_size_um or labels.voxel_size
    if voxel_size is None:
        raise InputError(
            "truth", str(p.truth), "does not say its voxel size; set voxel_size_um in notebook 08"
        )
    frames = [measure(labels.frame(t), voxel_size=voxel_size, frame=t) for t in range(labels.n_frames)]
    objects = pd.concat(frames, ignore_index=True)
    objects["id"] = range(len(objects))
    interval = settings.frame_interval_s or labels.frame_interval
    return track(Cells(objects, labels, voxel_size, interval), settings)

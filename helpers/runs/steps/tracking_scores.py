"""Notebook 11_evaluate_tracking: tracks are compared with the true ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from helpers.data.label_movies import CHOSEN, LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs.parameters import EvaluateTracking, Track
from helpers.runs.run import read_done, step_folder
from helpers.runs.steps.tracked import first_frame
from helpers.tracking import scores
from helpers.tracking.formats import any_format, table
from helpers.tracking.tracks import Tracks


@dataclass(frozen=True)
class Scored:
    """Tracks, their scores, and where their links are wrong."""

    name: str
    tracks: Tracks
    scores: dict[str, float]
    errors: pd.DataFrame


def evaluate(p: EvaluateTracking) -> list[Scored]:
    """Score the tracks of notebook 10_track and, with `track_true_labels`, those of its tracker on the true labels.

    Raises
    ------
    InputError
        If the truth is missing, or does not fit the movie.
    """
    true_labels, truth = open_truth(p)
    settings = tracked_with(p)
    labels_path = settings.labels_path()
    if settings.tracker == "global":
        labels_path = p.movie_path(CHOSEN)
    if labels_path is None:
        raise InputError(
            "labels",
            None,
            "notebook 10_track tracked a table alone; cells are compared by their labels: name them there",
        )
    predicted = table.read(p.movie_path("tracks.csv"))
    pairs = [("predicted_labels", predicted, LabelMovie.open(labels_path))]
    if p.track_true_labels:
        pairs.insert(0, ("true_labels", _track_truth(p, settings, true_labels), true_labels))
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


def open_truth(p: EvaluateTracking) -> tuple[LabelMovie, Tracks]:
    """Open the true labels and the true tracks.

    Raises
    ------
    InputError
        If one is missing, or cannot be read.
    """
    for name in ("truth", "truth_tracks"):
        if getattr(p, name) is None:
            raise InputError(name, None, "name the true labels and the true tracks of this movie")
    assert p.truth is not None and p.truth_tracks is not None
    labels = LabelMovie.open(
        p.truth,
        voxel_size=p.voxel_size_um,  # type: ignore[arg-type]
        frame_interval=p.frame_interval_s,
    )
    tracks = any_format.read(
        p.truth_tracks, voxel_size=labels.voxel_size, frame_interval=labels.frame_interval
    )
    return labels, tracks


def under_errors(p: EvaluateTracking, result: Scored) -> dict[str, Any]:
    """Return the movie that wrong links are drawn in: its frames, and the cells of its first frame."""
    assert p.truth is not None
    labels = LabelMovie.open(p.truth)
    return {
        "n_frames": labels.n_frames,
        "frame_interval": result.tracks.frame_interval,
        "image": first_frame(None, labels),
        "voxel_size": labels.voxel_size or result.tracks.voxel_size,
    }


def tracked_with(p: EvaluateTracking) -> Track:
    """Return the parameters that notebook 10_track tracked this movie with."""
    folder = step_folder(p).with_name(step_folder(p).name.replace(p.step, Track.step))
    done = read_done(folder)
    if done is None:
        raise InputError("movie_id", p.movie_id, "this movie is not tracked yet; run notebook 10_track first")
    settings = done["results"].get("trackmate_settings", {})
    return Track.checked({**done["parameters"], **settings, "run_dir": p.run_dir})


def _track_truth(p: EvaluateTracking, settings: Track, labels: LabelMovie) -> Tracks:
    """Track the true labels as notebook 10_track tracked the found ones."""
    from helpers.runs.steps.tracking import Cells, track
    from helpers.tracking.objects import measure

    voxel_size = labels.voxel_size or settings.voxel_size_um
    if voxel_size is None:
        raise InputError("voxel_size_um", None, f"{p.truth} does not say it; give [z, y, x] in µm")
    # Penalties may ask for intensities.
    raw = Movie.open(settings.raw, voxel_size=voxel_size, missing_frames="empty") if settings.raw else None
    frames = [
        measure(labels.frame(t), raw.frame(t) if raw else None, voxel_size=voxel_size, frame=t)
        for t in range(labels.n_frames)
    ]
    objects = pd.concat(frames, ignore_index=True)
    objects["id"] = range(len(objects))
    interval = settings.frame_interval_s or labels.frame_interval
    return track(Cells(objects, labels, voxel_size, interval), settings)

"""Notebook 10_track: what is tracked, by which tracker, and where the tracks are written."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.label_movies import CHOSEN, LabelMovie, labels_of_tracks
from helpers.data.movies import Movie
from helpers.data.tables import read_table
from helpers.errors import InputError
from helpers.runs.parameters import Track
from helpers.runs.steps.trackmate_settings import settings_of
from helpers.tracking import filters
from helpers.tracking.formats import btrackmate, ctc, geff, table, trackmate
from helpers.tracking.global_tracker.costs import GlobalParameters
from helpers.tracking.global_tracker.tracker import GlobalResult, link_global
from helpers.tracking.kalman import AdvancedKalmanParameters, KalmanParameters, link_kalman, link_nearest
from helpers.tracking.linking import LapParameters, link
from helpers.tracking.objects import as_measured
from helpers.tracking.overlap import OverlapParameters, link_overlap, overlap_table
from helpers.tracking.plausibility import judge_divisions
from helpers.tracking.segments import SegmentParameters
from helpers.tracking.tracks import Tracks, check_objects


@dataclass(frozen=True)
class Cells:
    """What is tracked: measured cells, with their labels where there are any.

    Attributes
    ----------
    objects : DataFrame
        One row per cell and frame.
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
        If the table is not there, has no column to colour by, or lies beside a movie that does not say its voxel size.
    """
    path = p.objects_path()
    if not path.is_file():
        raise InputError(
            "objects",
            str(path),
            "there is no such table; run notebook 06_segment or 07_segment_cellpose, or name your own",
        )
    objects = as_measured(check_objects(read_table(path, "objects"), "objects"))
    check_color(p, objects)
    labels = LabelMovie.open(p.labels_path()) if p.labels_path() else None  # type: ignore[arg-type]
    voxel_size = p.voxel_size_um or (labels.voxel_size if labels else None)
    interval = p.frame_interval_s or (labels.frame_interval if labels else None)
    if p.raw:
        raw = Movie.open(p.raw, voxel_size=voxel_size, frame_interval=interval, missing_frames="empty")
        voxel_size, interval = raw.require_voxel_size(), raw.frame_interval
    if labels is not None and voxel_size is None:
        raise InputError("voxel_size_um", None, f"{p.labels_path()} does not say it; give [z, y, x] in µm")
    return Cells(objects, labels, voxel_size, interval)


def check_color(p: Track, objects: pd.DataFrame) -> None:
    """Raise `InputError` where tracks are to be coloured by a column that neither the table nor tracking gives."""
    known = Tracks(objects.head(0)).annotated().columns
    if p.color_by and p.color_by not in known:
        raise InputError("color_by", p.color_by, f"one of the columns {', '.join(known)}")


def quality_column(objects: pd.DataFrame) -> str:
    """Return the name of the column that holds the quality of cells: ours, or TrackMate's."""
    return "quality" if "quality" in objects else "QUALITY"


def keep_cells(cells: Cells, p: Track) -> tuple[Cells, pd.DataFrame]:
    """Leave out cells that are too small, too large, too dim, of low quality or outside the region of interest.

    Returns
    -------
    kept : Cells
    left_out : DataFrame
        With a column ``reason``.

    Raises
    ------
    InputError
        If a filter asks for a column that the table has not, or a mask does not fit the labels.
    """
    size = "volume_um3" if "volume_um3" in cells.objects else "area_um2"
    minimum = {
        size: p.min_size_um3,
        "intensity_mean": p.min_intensity,
        quality_column(cells.objects): p.min_quality,
    }
    kept = filters.filter_objects(
        cells.objects,
        minimum={name: value for name, value in minimum.items() if value is not None},
        maximum={size: p.max_size_um3} if p.max_size_um3 is not None else {},
        mask=_open_mask("roi_mask", p.roi_mask, cells),
        voxel_size=cells.voxel_size,
    )
    return replace(cells, objects=kept.kept), kept.removed


def counts(removed: pd.DataFrame) -> pd.DataFrame | None:
    """Return how many cells each filter removed, the largest number first; None where it is none."""
    if removed.empty:
        return None
    return removed["reason"].value_counts().rename_axis("filter").to_frame("cells")


def _open_mask(name: str, path: Path | None, cells: Cells) -> Any:
    """Open a mask as a movie, or as one stack that serves all frames."""
    if path is None:
        return None
    if cells.voxel_size is None:
        raise InputError("voxel_size_um", None, f"{name} is laid over positions in µm: give [z, y, x] in µm")
    mask = Movie.open(path, voxel_size=cells.voxel_size, missing_frames="empty")  # type: ignore[arg-type]
    if cells.labels is not None:
        ours, theirs = cells.labels.shape, mask.shape
        if theirs[-2:] != ours[-2:] or theirs[-3] not in (1, ours[-3]) or theirs[0] not in (1, ours[0]):
            raise InputError(
                name,
                f"{path}: (T, Z, Y, X) = {(theirs[0], *theirs[-3:])}",
                f"the shape of the labels, {ours}, or one plane or one frame of it",
            )
    return mask if mask.n_frames > 1 else mask.frame(0)


def tracker_parameters(p: Track) -> Any:
    """Return the tracker's own parameters, in the library's words."""
    costs: dict[str, Any] = {
        k: v for k, v in p.tracker_options.items() if k not in ("competing_labels", "fixed_links")
    }
    if p.tracker == "global":
        return GlobalParameters(max_distance=p.max_distance_um, **costs)
    segments: dict[str, Any] = {"max_frame_gap": p.max_frame_gap, **costs}
    for name in ("gap_closing", "splitting", "merging"):
        distance = getattr(p, f"{name}_max_distance_um")
        segments |= {name: False} if distance is None else {name: True, f"{name}_max_distance": distance}
    kalman = {
        "initial_search_radius": p.max_distance_um,
        "search_radius": p.search_radius_um,
        "max_frame_gap": p.max_frame_gap,
        "penalties": p.penalties,
    }
    if p.tracker == "overlap":
        return OverlapParameters(**_own_parameters(p))
    if p.tracker == "kalman":
        return KalmanParameters(**kalman)
    if p.tracker == "advanced_kalman":
        return AdvancedKalmanParameters(**kalman, segments=SegmentParameters(**segments))
    return LapParameters(
        **segments, max_distance=p.max_distance_um, penalties=p.penalties, overlap_weight=p.overlap_weight
    )


def fixed_links(p: Track) -> pd.DataFrame | None:
    """Read the links that are certain, such as those that a person confirmed; None where no table is named."""
    path = p.fixed_links_path()
    return read_table(path, "fixed_links") if path else None


def track(cells: Cells, p: Track, fixed: pd.DataFrame | None = None) -> Tracks:
    """Link the cells with the chosen tracker; `fixed` are links (``source, target``) that stand already.

    Raises
    ------
    InputError
        If the overlap is asked for without labels, or the table has not the columns that are.
    """
    scale: dict[str, Any] = {"voxel_size": cells.voxel_size, "frame_interval": cells.frame_interval}
    if cells.labels is None and (p.tracker in ("overlap", "global") or p.overlap_weight):
        raise InputError("labels", None, "the overlap of cells is measured in labels: name the label movie")
    parameters = tracker_parameters(p)
    if p.tracker == "overlap":
        return link_overlap(cells.labels, objects=cells.objects, fixed=fixed, **_own_parameters(p), **scale)
    if p.tracker == "global":
        return link_global([cells.labels], cells.objects, parameters=parameters, fixed=fixed, **scale).tracks
    if p.tracker == "nearest":
        return link_nearest(cells.objects, p.max_distance_um, **scale)
    if p.tracker == "lap":
        overlaps = overlap_table(cells.labels, cells.objects) if p.overlap_weight else None
        return link(cells.objects, parameters, overlaps=overlaps, fixed=fixed, **scale)
    return _without_long_gaps(link_kalman(cells.objects, parameters, **scale), p.max_frame_gap)


def _without_long_gaps(tracks: Tracks, longest: int) -> Tracks:
    """Leave out links over more than so many frames: TrackMate's Kalman filters bridge one frame more than its LAP."""
    frames = tracks.objects["frame"].to_numpy()[tracks.link_rows]
    kept = frames[:, 1] - frames[:, 0] <= longest
    return Tracks(tracks.objects, tracks.links[kept], tracks.voxel_size, tracks.frame_interval)


def track_movie(cells: Cells, p: Track) -> tuple[Cells, Tracks, dict[str, Any]]:
    """Link the cells with the chosen tracker; the global one chooses the cells too, and writes their labels.

    Returns
    -------
    cells : Cells
        As they were tracked.
    tracks : Tracks
    about : dict
        What the global tracker chose from, for ``done.json``; empty for the others.

    Raises
    ------
    InputError
        As `track`; competing labels or fixed links that do not fit the labels.
    """
    path = p.movie_path(CHOSEN)
    shutil.rmtree(path, ignore_errors=True)  # of tracks that are made anew
    if p.tracker != "global" or cells.labels is None:
        return cells, track(cells, p, fixed_links(p)), {}
    found = choose(cells, p, tracker_parameters(p))
    part = path.with_name(f"{path.name}.part")  # one name, so that what a killed run left is removed
    shutil.rmtree(part, ignore_errors=True)
    chosen = LabelMovie.create(
        part,
        cells.labels.shape,
        voxel_size=cells.voxel_size,  # type: ignore[arg-type]
        frame_interval=cells.frame_interval,
    )
    for t in range(chosen.n_frames):
        chosen.write_frame(t, found.labels.frame(t))
    part.rename(path)
    about = {
        "label_movies": 1 + len(p.competing_paths()),
        "hypotheses": found.hypotheses,
        "candidate_links": found.candidate_links,
        "cells_not_in_labels": found.changed,
        "optimal": found.optimal,
    }
    return replace(cells, labels=LabelMovie.open(path)), found.tracks, about


def choose(cells: Cells, p: Track, parameters: GlobalParameters) -> GlobalResult:
    """Choose cells and links with the global tracker, among all label movies, in view of the raw one."""
    raw = Movie.open(p.raw, voxel_size=cells.voxel_size, missing_frames="empty") if p.raw else None  # type: ignore[arg-type]
    return link_global(
        [cells.labels, *(LabelMovie.open(other) for other in p.competing_paths())],
        cells.objects,
        voxel_size=cells.voxel_size,  # type: ignore[arg-type]
        parameters=parameters,
        fixed=fixed_links(p),
        intensity=raw,
        frame_interval=cells.frame_interval,
    )


def keep_tracks(tracks: Tracks, cells: Cells, p: Track) -> tuple[Tracks, pd.DataFrame]:
    """Remove what biology makes unlikely; return the others, and the cells removed with reasons.

    Raises
    ------
    InputError
        If a filter asks for a quality or a place that the data do not have.
    """
    removed = []
    if p.min_tracklet_frames > 0:
        tracks, gone = filters.remove_short_tracklets(tracks, p.min_tracklet_frames, keep_last=True)
        removed.append(gone)
    bounds = p.track_filters
    tracks, gone = filters.filter_tracks(
        tracks,
        min_frames=p.min_track_frames if p.min_track_frames > 1 else None,
        min_displacement=bounds.get("min_displacement_um"),
        starts=(None, bounds.get("latest_start_frame")),  # type: ignore[arg-type]
        ends=(bounds.get("earliest_end_frame"), None),  # type: ignore[arg-type]
        min_quality=bounds.get("min_quality"),
        quality_column=quality_column(tracks.objects),
    )
    removed.append(gone)
    if p.tissue_mask is not None:
        mask = _open_mask("tissue_mask", p.tissue_mask, cells)
        tracks, gone = filters.tracks_inside_tissue(tracks, mask)
        removed.append(gone)
    return tracks, pd.concat([gone for gone in removed if len(gone)] or removed[:1], ignore_index=True)


def by_division(tracks: Tracks) -> tuple[Tracks, Tracks, pd.DataFrame]:
    """Separate tracks with divisions from those without, as BTrackMate does.

    Returns
    -------
    dividing, others : Tracks
        A lone cell is among the others.
    table : DataFrame
        A row for each: tracks, cells, divisions, median length in frames, median displacement in µm.
    """
    parts = dict(zip(("with divisions", "without"), filters.split_dividing(tracks), strict=True))
    rows = {}
    for name, part in parts.items():
        summary = filters.track_summary(part)
        rows[name] = {
            "tracks": part.n_tracks,
            "cells": len(part.objects),
            "divisions": len(part.divisions),
            "median_frames": np.median(summary["last"] - summary["first"] + 1) if len(summary) else np.nan,
            "median_displacement_um": np.median(summary["displacement"]) if len(summary) else np.nan,
        }
    return parts["with divisions"], parts["without"], pd.DataFrame.from_dict(rows, orient="index")


def first_feature(tracks: Tracks, p: Track) -> str:
    """Return the column to colour tracks by: the one asked for, else the first that a biologist would."""
    if p.color_by:
        return p.color_by
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
    table.write(tracks, folder / "tracks.csv", six_digits=True)
    # TrackMate has no tracker like the global one.
    tracker = None if p.tracker == "global" else tracker_parameters(p)
    others = write_formats(tracks, folder, cells.labels, image=p.raw, tracker=tracker)
    return {"tracks.csv": "pandas, Excel", **others}


def write_formats(
    tracks: Tracks, folder: Path, labels: LabelMovie | None, *, masks: bool = False, **about: Any
) -> dict[str, str]:
    """Write the tracks in every format that the data allow, beside our own table; return as `write_all`.

    `masks` says whether the GEFF holds labels, too; `about` is what TrackMate's file says of the movie: ``image``,
    ``tracker``.
    """
    written = {"tracks.xml": "TrackMate", "tracks.geff": "geff, motile, napari"}
    trackmate.write(tracks, folder / "tracks.xml", labels=labels, **about)
    related = f"../{labels_of_tracks(folder).name}" if labels else None
    geff.write(tracks, folder / "tracks.geff", labels=related, masks=labels if masks else None)
    if tracks.voxel_size is not None and "label" in tracks.objects:
        btrackmate.write(tracks, folder / "btrackmate.csv")
        written["btrackmate.csv"] = "BTrackMate"
    if labels is not None and "label" in tracks.objects:
        ctc.write(tracks, folder / "ctc", labels)
        written["ctc"] = "Cell Tracking Challenge"
    return written


def results(tracks: Tracks, left_out: pd.DataFrame, removed: pd.DataFrame, p: Track) -> dict[str, Any]:
    """Return the counts that ``done.json`` keeps, and what notebook 12_curate tracks with once more (`tracker`)."""
    length = filters.track_summary(tracks)["n"]
    return {
        "tracker": {"tracker": p.tracker} | _own_parameters(p),
        **({"trackmate_settings": settings_of(p)} if p.trackmate_settings else {}),
        "objects": len(tracks.objects),
        "links": len(tracks.links),
        "tracks": tracks.n_tracks,
        "one_frame_tracks": int((length == 1).sum()),
        "plausible_divisions": int(judge_divisions(tracks)["plausible"].sum()),
        "divisions": len(tracks.divisions),
        "tracks_with_divisions": filters.split_dividing(tracks)[0].n_tracks,
        "left_out": left_out["reason"].value_counts().to_dict() if len(left_out) else {},
        "removed": removed["reason"].value_counts().to_dict() if len(removed) else {},
    }


def _own_parameters(p: Track) -> dict[str, Any]:
    if p.tracker == "overlap":  # masks know no outlines, so no `precise`
        return {"min_iou": p.min_iou, "scale_factor": p.scale_factor, "min_fraction": p.min_fraction}
    return {} if p.tracker == "nearest" else asdict(tracker_parameters(p))

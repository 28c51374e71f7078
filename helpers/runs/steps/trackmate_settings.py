"""TrackMate's own tracker settings, from one of its files, as parameters of notebook 10_track."""

from __future__ import annotations

from typing import Any

from helpers.errors import InputError
from helpers.runs.parameters import Track
from helpers.tracking.formats.trackmate_settings import read_tracker
from helpers.tracking.kalman import AdvancedKalmanParameters, KalmanParameters
from helpers.tracking.linking import LapParameters
from helpers.tracking.overlap import OverlapParameters
from helpers.tracking.segments import SegmentParameters

_SET = (
    *("tracker", "max_distance_um", "search_radius_um", "max_frame_gap", "penalties", "tracker_options"),
    *("gap_closing_max_distance_um", "splitting_max_distance_um", "merging_max_distance_um"),
    *("min_iou", "scale_factor"),
)


def with_trackmate_settings(p: Track) -> Track:
    """Return the parameters with the tracker that a TrackMate file was tracked with, where `trackmate_settings` names one.

    Parameters
    ----------
    p : Track
        What its file does not say stays as it is here: filters, masks, names.

    Raises
    ------
    InputError
        If there are no such settings in the file, or they are of a tracker that has no counterpart here.
    """
    if p.trackmate_settings is None:
        return p
    found = read_tracker(p.trackmate_settings, voxel_size=p.voxel_size_um)
    if isinstance(found, LapParameters):
        given = {"tracker": "lap", "max_distance_um": found.max_distance, "penalties": dict(found.penalties)}
        given |= _of_segments(found)
    elif isinstance(found, OverlapParameters):
        given = {"tracker": "overlap", "min_iou": found.min_iou, "scale_factor": found.scale_factor}
    elif isinstance(found, KalmanParameters | AdvancedKalmanParameters):
        given = {
            "tracker": "kalman",
            "max_distance_um": found.initial_search_radius,
            "search_radius_um": found.search_radius,
            "max_frame_gap": found.max_frame_gap,
        }
        if isinstance(found, AdvancedKalmanParameters):
            given |= {"tracker": "advanced_kalman", "penalties": dict(found.penalties)}
            given |= _of_segments(found.segments)
    else:
        raise InputError(
            "trackmate_settings",
            f"{p.trackmate_settings}: {found.name}",
            "a file that was tracked by LAP, overlap or Kalman; or set tracker and its parameters here",
        )
    return Track.checked({**dict(p), **given}, source=f"{p.trackmate_settings}, as written in it")


def _of_segments(found: SegmentParameters) -> dict[str, Any]:
    """Return gaps, divisions and merges, distances that are not allowed as None."""
    given: dict[str, Any] = {"max_frame_gap": found.max_frame_gap}
    options: dict[str, Any] = {
        "alternative_linking_cost_factor": found.alternative_linking_cost_factor,
        "cutoff_percentile": found.cutoff_percentile,
    }
    for name in ("gap_closing", "splitting", "merging"):
        allowed = getattr(found, name)
        given[f"{name}_max_distance_um"] = getattr(found, f"{name}_max_distance") if allowed else None
        if allowed and (weights := getattr(found, f"{name}_penalties")):
            options[f"{name}_penalties"] = dict(weights)
    return given | {"tracker_options": options}


def settings_of(p: Track) -> dict[str, Any]:
    """Return the parameters that a TrackMate file may set, as they are now."""
    return {name: p.plain()[name] for name in _SET}


def in_words(p: Track) -> str:
    """Say which tracker and settings a TrackMate file gave."""
    changed = {
        name: value
        for name, value in settings_of(p).items()
        if getattr(p, name) != Track.model_fields[name].get_default()
    }
    lines = [
        f"Tracker and settings of {p.trackmate_settings}:",
        *(f"  {name} = {value!r}" for name, value in changed.items()),
    ]
    return "\n".join(lines)

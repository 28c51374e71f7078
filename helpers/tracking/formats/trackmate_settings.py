"""The tracker settings of a TrackMate file, and ours in TrackMate's form."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

from helpers.errors import InputError, reads
from helpers.tracking.formats.storage import existing
from helpers.tracking.formats.trackmate_read import calibration
from helpers.tracking.formats.trackmate_xml import POSITIONS

if TYPE_CHECKING:
    from helpers.tracking.segments import SegmentParameters

# The trackers are imported where their settings are read or written, for most who read tracks need none.

_LAP = {
    "SPARSE_LAP_TRACKER", "SIMPLE_SPARSE_LAP_TRACKER", "LAP_TRACKER", "SIMPLE_LAP_TRACKER", "FAST_LAP_TRACKER",
    "SIMPLE_FAST_LAP_TRACKER",
}  # fmt: skip
_COLUMNS = POSITIONS | {"FRAME": "frame", "LABEL": "label"}
_FEATURES = {column: feature for feature, column in _COLUMNS.items()}


@dataclass(frozen=True)
class OtherTracker:
    """A tracker for which there are no parameters here: its name in TrackMate and its settings.

    Parameters
    ----------
    name : str
        TrackMate's ``TRACKER_NAME``.
    settings : dict
        Attributes by TrackMate's names, as numbers, booleans or text; elements within as dicts. Distances are
        in the file's own unit.
    """

    name: str
    settings: dict[str, Any]


@reads("a TrackMate XML file")
def read_tracker(path: str | Path, *, voxel_size=None) -> Any:
    """Read the parameters that the tracks of a TrackMate file were linked with.

    Parameters
    ----------
    path : path
        A TrackMate XML file.
    voxel_size : sequence of float, optional
        (z, y, x) in µm, for a file whose unit is the pixel; without it such distances stay in pixels.

    Returns
    -------
    LapParameters, OverlapParameters, KalmanParameters, AdvancedKalmanParameters or OtherTracker
        What the tracker of the same name here takes (`helpers.tracking.linking`, ``overlap``, ``kalman``),
        distances in µm and penalties by the column names of `read`; for any other tracker its name and its
        settings as they are. Keep in mind that a file states the last settings that were tried, and that
        links may have been edited since.

    Raises
    ------
    InputError
        No XML, or no TrackerSettings in it.
    """
    path = existing(path, "a TrackMate XML file")
    units: tuple[str | None, str | None] = (None, None)
    image: dict[str, str] = {}
    element = None
    try:
        for event, found in ET.iterparse(path, events=("start", "end")):
            if event == "start" and found.tag == "Model":
                units = (found.get("spatialunits"), found.get("timeunits"))
            elif event == "end" and found.tag == "ImageData":
                image = dict(found.attrib)
            elif event == "end" and found.tag == "TrackerSettings":
                element = found
            elif event == "end" and found.tag in ("SpotsInFrame", "Track"):
                found.clear()
    except ET.ParseError as error:
        raise InputError(
            "path", str(path), f"a TrackMate XML file; it is damaged or no XML ({error})"
        ) from error
    from helpers.tracking.kalman import AdvancedKalmanParameters, KalmanParameters
    from helpers.tracking.linking import LapParameters
    from helpers.tracking.overlap import OverlapParameters
    from helpers.tracking.segments import SegmentParameters

    name = None if element is None else element.get("TRACKER_NAME")
    if element is None or name is None:
        raise InputError(
            "path", str(path), "the file states no tracker: TrackerSettings@TRACKER_NAME is missing"
        )
    scale, *_ = calibration(units, image, voxel_size, None)
    length = scale.length
    if name in _LAP:
        linking = _present(
            max_distance=_distance(element, "Linking", "LINKING_MAX_DISTANCE", length),
            penalties=penalties(element.find("Linking")),
        )
        return LapParameters(**_segments(element, length), **linking)
    if name == "OVERLAP_TRACKER":
        precise = {None: None, "PRECISE": True, "FAST": False}.get(element.get("IOU_CALCULATION"))
        scale_factor, min_iou = _value(element, "SCALE_FACTOR"), _value(element, "MIN_IOU")
        return OverlapParameters(**_present(min_iou=min_iou, scale_factor=scale_factor, precise=precise))
    if name in ("KALMAN_TRACKER", "ADVANCED_KALMAN_TRACKER"):
        advanced = name.startswith("ADVANCED")
        where = "Linking" if advanced else None
        kalman = _present(
            initial_search_radius=_distance(element, where, "LINKING_MAX_DISTANCE", length),
            search_radius=_distance(element, None, "KALMAN_SEARCH_RADIUS", length),
        )
        if not advanced:
            return KalmanParameters(**kalman, **_present(max_frame_gap=_value(element, "MAX_FRAME_GAP")))
        segments = SegmentParameters(**_segments(element, length))
        return AdvancedKalmanParameters(
            **kalman,
            max_frame_gap=segments.max_frame_gap,
            penalties=penalties(element.find("Linking")),
            segments=segments,
        )
    return OtherTracker(name, _settings(element))


def _segments(element: ET.Element, length: float) -> dict[str, Any]:
    """Return the fields of `SegmentParameters` that an element states."""
    parts = (
        ("GapClosing", "gap_closing", "GAP_CLOSING_MAX_DISTANCE", "ALLOW_GAP_CLOSING"),
        ("TrackSplitting", "splitting", "SPLITTING_MAX_DISTANCE", "ALLOW_TRACK_SPLITTING"),
        ("TrackMerging", "merging", "MERGING_MAX_DISTANCE", "ALLOW_TRACK_MERGING"),
    )
    given: dict[str, Any] = {
        "alternative_linking_cost_factor": _value(element, "ALTERNATIVE_LINKING_COST_FACTOR"),
        "cutoff_percentile": _value(element, "CUTOFF_PERCENTILE"),
        "max_frame_gap": _value(element.find("GapClosing"), "MAX_FRAME_GAP"),
    }
    for tag, name, distance, allow in parts:
        part = element.find(tag)
        given[name] = _value(part, allow)
        given[f"{name}_max_distance"] = _distance(element, tag, distance, length)
        given[f"{name}_penalties"] = penalties(part)
    return _present(**given)


def _present(**values: Any) -> dict[str, Any]:
    """Leave out what the file does not state, so that TrackMate's default holds."""
    return {name: value for name, value in values.items() if value is not None}


def _distance(element: ET.Element, tag: str | None, name: str, length: float) -> float | None:
    value = _value(element.find(tag) if tag else element, name)
    return None if value is None else value * length


def penalties(part: ET.Element | None) -> dict[str, float]:
    """Return the weights in a ``FeaturePenalties`` element, by the column names of `read`."""
    found = None if part is None else part.find("FeaturePenalties")
    attributes = {} if found is None else found.attrib
    return {_COLUMNS.get(feature, feature): float(weight) for feature, weight in attributes.items()}


def _settings(element: ET.Element) -> dict[str, Any]:
    values: dict[str, Any] = {
        key: _typed(text) for key, text in element.attrib.items() if key != "TRACKER_NAME"
    }
    values.update((child.tag, _settings(child)) for child in element)
    return values


def _value(element: ET.Element | None, name: str) -> Any:
    text = None if element is None else element.get(name)
    if text is None:
        return None
    value = _typed(text)
    if isinstance(value, str):
        raise InputError(name, text, "a number, or true or false")
    return value


def _typed(text: str) -> bool | int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def tracker_element(parameters: Any) -> str:
    """Return the ``TrackerSettings`` element of linking parameters; of TrackMate's manual tracker without any.

    What only we know (``overlap_weight``, ``min_fraction``, ``measurement_std``) has no place there.
    """
    return _element("TrackerSettings", _tracker_settings(parameters), 4)


def _tracker_settings(p: Any) -> dict[str, Any]:
    from helpers.tracking.kalman import AdvancedKalmanParameters, KalmanParameters
    from helpers.tracking.linking import LapParameters
    from helpers.tracking.overlap import OverlapParameters

    match p:
        case None:
            return {"TRACKER_NAME": "MANUAL_TRACKER"}
        case OtherTracker():
            return {"TRACKER_NAME": p.name, **p.settings}
        case LapParameters():
            linking = {"LINKING_MAX_DISTANCE": float(p.max_distance), **_weights(p.penalties)}
            return {"TRACKER_NAME": "SPARSE_LAP_TRACKER", "Linking": linking, **_segment_settings(p)}
        case OverlapParameters():
            return {
                "TRACKER_NAME": "OVERLAP_TRACKER",
                "SCALE_FACTOR": float(p.scale_factor),
                "MIN_IOU": float(p.min_iou),
                "IOU_CALCULATION": "PRECISE" if p.precise else "FAST",
            }
        case AdvancedKalmanParameters():
            first = {"LINKING_MAX_DISTANCE": float(p.initial_search_radius), **_weights(p.penalties)}
            settings = _segment_settings(p.segments)
            settings["GapClosing"]["MAX_FRAME_GAP"] = int(p.max_frame_gap)
            return {
                "TRACKER_NAME": "ADVANCED_KALMAN_TRACKER",
                "KALMAN_SEARCH_RADIUS": float(p.search_radius),
                "Linking": first,
                **settings,
            }
        case KalmanParameters():
            return {
                "TRACKER_NAME": "KALMAN_TRACKER",
                "KALMAN_SEARCH_RADIUS": float(p.search_radius),
                "LINKING_MAX_DISTANCE": float(p.initial_search_radius),
                "MAX_FRAME_GAP": int(p.max_frame_gap),
            }
    raise InputError(
        "tracker", type(p).__name__, "give the parameters of a tracker, or what read_tracker returned"
    )


def _segment_settings(p: SegmentParameters) -> dict[str, Any]:
    return {
        "CUTOFF_PERCENTILE": float(p.cutoff_percentile),
        "ALTERNATIVE_LINKING_COST_FACTOR": float(p.alternative_linking_cost_factor),
        "BLOCKING_VALUE": float("inf"),
        "GapClosing": {
            "ALLOW_GAP_CLOSING": p.gap_closing,
            "GAP_CLOSING_MAX_DISTANCE": float(p.gap_closing_max_distance),
            "MAX_FRAME_GAP": int(p.max_frame_gap),
            **_weights(p.gap_closing_penalties),
        },
        "TrackSplitting": {
            "ALLOW_TRACK_SPLITTING": p.splitting,
            "SPLITTING_MAX_DISTANCE": float(p.splitting_max_distance),
            **_weights(p.splitting_penalties),
        },
        "TrackMerging": {
            "ALLOW_TRACK_MERGING": p.merging,
            "MERGING_MAX_DISTANCE": float(p.merging_max_distance),
            **_weights(p.merging_penalties),
        },
    }


def _weights(weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {
        "FeaturePenalties": {_FEATURES.get(name, name): float(weight) for name, weight in weights.items()}
    }


def _element(tag: str, values: Mapping[str, Any], indent: int) -> str:
    attributes, inside = "", ""
    for key, value in values.items():
        if isinstance(value, Mapping):
            inside += _element(key, value, indent + 2)
            continue
        text = {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)
        attributes += f" {key}={quoteattr({'inf': 'Infinity', 'nan': 'NaN'}.get(text, text))}"
    space = " " * indent
    return (
        f"{space}<{tag}{attributes}>\n{inside}{space}</{tag}>\n"
        if inside
        else f"{space}<{tag}{attributes} />\n"
    )

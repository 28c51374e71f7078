"""The tracker settings of a TrackMate file, and ours in TrackMate's form."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from helpers.errors import InputError
from helpers.tracking.formats.storage import existing
from helpers.tracking.formats.trackmate_read import calibration
from helpers.tracking.formats.trackmate_xml import POSITIONS
from helpers.tracking.linking import LapParameters

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
    LapParameters or OtherTracker
        For TrackMate's LAP trackers what `helpers.tracking.linking.link` takes, distances in µm and penalties
        by the column names of `read`; else the name and the settings as they are. Keep in mind that a file
        states the last settings that were tried, and that links may have been edited since.

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
    name = None if element is None else element.get("TRACKER_NAME")
    if element is None or name is None:
        raise InputError(
            "path", str(path), "the file states no tracker: TrackerSettings@TRACKER_NAME is missing"
        )
    scale, *_ = calibration(units, image, voxel_size, None)
    if name in _LAP:
        return _lap(element, scale.length)
    return OtherTracker(name, _settings(element))


def _lap(element: ET.Element, scale: float) -> LapParameters:
    given: dict[str, Any] = {
        "alternative_linking_cost_factor": _value(element, "ALTERNATIVE_LINKING_COST_FACTOR"),
        "cutoff_percentile": _value(element, "CUTOFF_PERCENTILE"),
    }
    parts = (
        ("Linking", "", "LINKING_MAX_DISTANCE", None),
        ("GapClosing", "gap_closing", "GAP_CLOSING_MAX_DISTANCE", "ALLOW_GAP_CLOSING"),
        ("TrackSplitting", "splitting", "SPLITTING_MAX_DISTANCE", "ALLOW_TRACK_SPLITTING"),
        ("TrackMerging", "merging", "MERGING_MAX_DISTANCE", "ALLOW_TRACK_MERGING"),
    )
    for tag, name, distance, allow in parts:
        part = element.find(tag)
        if part is None:
            continue
        prefix = f"{name}_" if name else ""
        found = _value(part, distance)
        given[f"{prefix}max_distance"] = None if found is None else found * scale
        given[f"{prefix}penalties"] = penalties(part)
        if allow:
            given[name] = _value(part, allow)
        if tag == "GapClosing":
            given["max_frame_gap"] = _value(part, "MAX_FRAME_GAP")
    return LapParameters(**{key: value for key, value in given.items() if value is not None})


def penalties(part: ET.Element) -> dict[str, float]:
    """Return the weights in a ``FeaturePenalties`` element, by the column names of `read`."""
    found = part.find("FeaturePenalties")
    attributes = {} if found is None else found.attrib
    return {_COLUMNS.get(feature, feature): float(weight) for feature, weight in attributes.items()}


def _settings(element: ET.Element) -> dict[str, Any]:
    values: dict[str, Any] = {
        key: _typed(text) for key, text in element.attrib.items() if key != "TRACKER_NAME"
    }
    values.update((child.tag, _settings(child)) for child in element)
    return values


def _value(element: ET.Element, name: str) -> Any:
    text = element.get(name)
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
    """Return the ``TrackerSettings`` element of linking parameters; of TrackMate's manual tracker without any."""
    if parameters is None:
        return '    <TrackerSettings TRACKER_NAME="MANUAL_TRACKER" />\n'
    if isinstance(parameters, OtherTracker):
        return _element("TrackerSettings", {"TRACKER_NAME": parameters.name, **parameters.settings}, 4)
    if not isinstance(parameters, LapParameters):
        raise InputError(
            "tracker", type(parameters).__name__, "give LapParameters, or what read_tracker returned"
        )
    p = parameters
    settings = {
        "TRACKER_NAME": "SPARSE_LAP_TRACKER",
        "CUTOFF_PERCENTILE": p.cutoff_percentile,
        "ALTERNATIVE_LINKING_COST_FACTOR": p.alternative_linking_cost_factor,
        "BLOCKING_VALUE": float("inf"),
        "Linking": {"LINKING_MAX_DISTANCE": float(p.max_distance), **_weights(p.penalties)},
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
    return _element("TrackerSettings", settings, 4)


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

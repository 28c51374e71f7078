"""One pass over the XML of a TrackMate file, with the refusals of TrackMate's own reader."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.errors import InputError
from helpers.tracking.formats.trackmate_units import DIMENSIONS
from helpers.tracking.formats.trackmate_xml import (
    IDENTITY,
    PRIVATE_METADATA,
    REQUIRED_IN_MODEL,
    REQUIRED_IN_SETTINGS,
)

_CHUNK = 20_000  # rows kept as text before they become numbers


@dataclass
class Columns:
    """Rows of attributes, turned into columns of numbers a chunk at a time to bound the memory."""

    element: str
    naming: tuple[str, ...]
    rows: list[dict[str, str]] = field(default_factory=list)
    chunks: dict[str, list[tuple[int, np.ndarray]]] = field(default_factory=dict)
    count: int = 0

    def add(self, attributes: dict[str, str]) -> None:
        self.rows.append(attributes)
        if len(self.rows) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        keys: dict[str, None] = {}
        for row in self.rows:
            keys.update(dict.fromkeys(row))
        for key in keys:
            if key not in IDENTITY or key == "ID":
                values = self._numbers(key, [row.get(key) for row in self.rows])
                self.chunks.setdefault(key, []).append((self.count, values))
        self.count += len(self.rows)
        self.rows = []

    def _numbers(self, key: str, texts: list[str | None]) -> np.ndarray:
        if key in self.naming:
            return np.array([_integer(f"{self.element} {key}", text) for text in texts], np.int64)
        try:
            values = np.array([float(text) for text in texts])  # type: ignore[arg-type]
        except (TypeError, ValueError):
            values = np.array([self._number(key, row) for row in self.rows])
        for row in np.flatnonzero(~np.isfinite(values)).tolist():
            # Python reads "nan" and "inf" too; Java stops there.
            text = texts[row]
            if text is not None and text.strip().lstrip("+-") not in ("NaN", "Infinity"):
                self._refuse(key, self.rows[row])
        return values

    def _number(self, key: str, row: dict[str, str]) -> float:
        text = row.get(key)
        if text is None:
            return np.nan
        try:
            return float(text)
        except ValueError:
            return self._refuse(key, row)

    def _refuse(self, key: str, row: dict[str, str]) -> float:
        which = " ".join(f"{name}={row.get(name)}" for name in self.naming)
        raise InputError(
            f"{key} of {self.element} {which}",
            row[key],
            "TrackMate reads every attribute of a Spot or Edge but ID, name and ROI_N_POINTS as a number",
        )

    def table(self) -> dict[str, np.ndarray]:
        self.flush()
        columns = {}
        for key, chunks in self.chunks.items():
            if sum(len(values) for _, values in chunks) == self.count:
                columns[key] = np.concatenate([values for _, values in chunks])
            else:
                columns[key] = np.full(self.count, np.nan)
                for start, values in chunks:
                    columns[key][start : start + len(values)] = values
        return columns


@dataclass
class ParsedFile:
    """What one pass over the XML found."""

    name: str
    spots: Columns = field(default_factory=lambda: Columns("Spot", ("ID",)))
    edges: Columns = field(default_factory=lambda: Columns("Edge", ("SPOT_SOURCE_ID", "SPOT_TARGET_ID")))
    frames: list[int] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    contours: dict[int, np.ndarray] = field(default_factory=dict)
    edge_tracks: list[int] = field(default_factory=list)
    track_names: dict[int, str] = field(default_factory=dict)
    filtered: set[int] = field(default_factory=set)
    dimensions: dict[str, str] = field(default_factory=dict)
    integers: set[str] = field(default_factory=set)
    units: tuple[str | None, str | None] = (None, None)
    image: dict[str, str] = field(default_factory=dict)
    kept: dict = field(default_factory=dict)


def parse(path: Path, *, contours: bool = True) -> ParsedFile:
    """Go once through the XML; raise `InputError` wherever TrackMate would stop."""
    found = ParsedFile(path.name)
    root = model = settings = None
    seen: set[str] = set()
    try:
        for event, element in ET.iterparse(path, events=("start", "end")):
            if event == "start":
                if root is None:
                    root = element
                    _check_root(path, root)
                elif element.tag == "Model":
                    model = element
                    found.units = (element.get("spatialunits"), element.get("timeunits"))
                continue
            match element.tag:
                case "SpotsInFrame":
                    _take_frame(found, element, contours)
                    element.clear()
                case "Track":
                    _take_track(found, element)
                    element.clear()
                case "Feature":
                    _take_feature(found, element)
                case "FilteredTracks":
                    ids = [child.get("TRACK_ID") for child in element.iter("TrackID")]
                    found.filtered = {_integer("TRACK_ID of FilteredTracks", value) for value in ids}
                case "Settings":
                    settings = element
                case tag if tag == PRIVATE_METADATA:
                    found.kept = _kept(element.text)
            if model is not None and element.tag in REQUIRED_IN_MODEL:
                seen.add(element.tag)
    except ET.ParseError as error:
        raise InputError(
            "path", str(path), f"a TrackMate XML file; this one is damaged, cut off or no XML ({error})"
        ) from error
    if model is None:
        raise InputError("path", str(path), "a TrackMate file has a Model element; this one has none")
    for tag in REQUIRED_IN_MODEL:
        if tag not in seen:
            raise InputError("path", str(path), f"the Model has no {tag} element; TrackMate cannot open it")
    if settings is not None:
        for tag in REQUIRED_IN_SETTINGS:
            if settings.find(tag) is None:
                raise InputError(
                    "path", str(path), f"the Settings have no {tag} element; TrackMate cannot open the file"
                )
        found.image = dict(settings.find("ImageData").attrib)  # type: ignore[union-attr]
    return found


def _check_root(path: Path, root: ET.Element) -> None:
    if root.tag != "TrackMate":
        raise InputError("path", str(path), f"a TrackMate file; the root of this XML is <{root.tag}>")
    version = root.get("version")
    if version is None:
        raise InputError("path", str(path), "TrackMate@version is missing; TrackMate cannot open the file")
    numbers = re.match(r"\s*v?(\d+)(?:\.(\d+))?", version)
    if not numbers:
        raise InputError("TrackMate@version", version, "a version number such as 7.11.1")
    if (int(numbers[1]), int(numbers[2] or 0)) < (2, 1):
        raise InputError(
            "TrackMate@version", version, "2.1.0 or newer; open and save the file with a current TrackMate"
        )


def _integer(name: str, text: str | None) -> int:
    try:
        value = int(text or "")
    except ValueError:  # of too many digits, too
        value = None
    if value is None or abs(value) >= 2**63:
        raise InputError(name, text, "TrackMate needs an integer here, of at most 63 bits")
    return value


def _take_feature(found: ParsedFile, element: ET.Element) -> None:
    feature, dimension = element.get("feature"), element.get("dimension")
    if feature is None or element.get("name") is None or element.get("shortname") is None:
        return  # TrackMate reports it and goes on.
    if dimension not in DIMENSIONS:
        raise InputError(
            f"dimension of the feature {feature}", dimension, f"one of {', '.join(sorted(DIMENSIONS))}"
        )
    found.dimensions[feature] = dimension
    if element.get("isint") == "true":
        found.integers.add(feature)


def _take_frame(found: ParsedFile, element: ET.Element, contours: bool) -> None:
    frame = _integer("SpotsInFrame@frame", element.get("frame"))
    for spot in element:
        if spot.tag != "Spot":
            continue
        attributes = spot.attrib
        if "ID" not in attributes:
            raise InputError(f"Spot in frame {frame}", attributes.get("name"), "every Spot needs an ID")
        if attributes.get("ROI_N_POINTS", "0") not in ("0", "1", "2"):
            contour = _contour(attributes, spot.text)
            if contours:
                found.contours[len(found.frames)] = contour
        attributes.setdefault("POSITION_Z", "0")  # Some detectors know only a plane.
        found.frames.append(frame)
        found.names.append(attributes.get("name"))
        found.spots.add(attributes)


def _contour(attributes: dict[str, str], text: str | None) -> np.ndarray:
    name = f"ROI of Spot ID={attributes['ID']}"
    points = _integer(name, attributes["ROI_N_POINTS"])
    if points <= 2:
        return np.empty((0, 2))
    text = text or ""
    if text[:1].isspace():
        raise InputError(
            name,
            text[:20],
            "the text starts with white space, at which TrackMate stops; never pretty-print Spots",
        )
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise InputError(name, text[:40], "numbers x0 y0 x1 y1 …, separated by spaces") from error
    if len(values) < 2 * points:
        raise InputError(name, f"{len(values)} numbers", f"{points} points need {2 * points} numbers")
    return values[: 2 * points].reshape(points, 2)[:, ::-1]


def _take_track(found: ParsedFile, element: ET.Element) -> None:
    track = _integer("Track@TRACK_ID", element.get("TRACK_ID"))
    found.track_names[track] = element.get("name", "")
    for edge in element:
        if edge.tag == "Edge":
            for side in found.edges.naming:
                if side not in edge.attrib:
                    raise InputError(
                        f"Edge of track {track}", dict(edge.attrib), f"every Edge needs a {side}"
                    )
            found.edges.add(edge.attrib)
            found.edge_tracks.append(track)


def _kept(text: str | None) -> dict:
    try:
        kept = json.loads(text or "")
    except json.JSONDecodeError:
        return {}
    return kept if isinstance(kept, dict) else {}

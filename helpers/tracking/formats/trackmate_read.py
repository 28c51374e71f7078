"""Reading a TrackMate file: one pass over the XML, and the same refusals as TrackMate's own reader."""

from __future__ import annotations

import json
import re
import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from helpers.errors import InputError
from helpers.tracking.formats.storage import existing, with_dtypes
from helpers.tracking.formats.trackmate_units import DIMENSIONS, Scale, micrometres, seconds
from helpers.tracking.formats.trackmate_xml import (
    CONTOUR,
    IDENTITY,
    KEEPSAKE,
    POSITIONS,
    REQUIRED_IN_MODEL,
    REQUIRED_IN_SETTINGS,
    SHOWN,
    dimension_of,
)
from helpers.tracking.tracks import Tracks

_CHUNK = 20_000  # rows kept as text before they become numbers


@dataclass
class _Columns:
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
            try:
                return np.array([int(text) for text in texts], np.int64)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                wrong = next(text for text in texts if not re.fullmatch(r"\s*[+-]?\d+\s*", text or ""))
                raise InputError(f"{self.element} {key}", wrong, "TrackMate needs an integer here") from None
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
class _File:
    """What one pass over the XML found."""

    name: str
    spots: _Columns = field(default_factory=lambda: _Columns("Spot", ("ID",)))
    edges: _Columns = field(default_factory=lambda: _Columns("Edge", ("SPOT_SOURCE_ID", "SPOT_TARGET_ID")))
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


def read_file(
    path: str | Path, *, voxel_size=None, frame_interval: float | None = None, contours: bool = True
) -> Tracks:
    """Read a TrackMate file; see `helpers.tracking.formats.trackmate.read`."""
    path = existing(path, "a TrackMate XML file")
    found = parse(path, contours=contours)
    scale, sizes, frame_interval, unit = calibration(found.units, found.image, voxel_size, frame_interval)
    objects = _objects(found, scale, contours)
    links, edge_tracks = _links(found, objects, scale)
    objects[SHOWN] = _shown(found, objects, links, edge_tracks)
    objects, links = _restore(found.kept, objects, links)
    if not contours:
        objects = objects.drop(columns=CONTOUR, errors="ignore")
    if found.kept and voxel_size is None and not found.kept.get("voxel_size"):
        sizes = None  # TrackMate demands a size, so that a file of ours states 1 where none is known.
    if unit != "µm":
        objects.attrs["spatial_unit"] = unit
        warnings.warn(
            f"{path.name} is not calibrated: its unit of length is {unit!r}, so that z, y and x are in "
            f"{unit}s, not in µm. Give voxel_size=(z, y, x) in µm to convert them.",
            stacklevel=3,
        )
    return Tracks(objects, links, sizes, frame_interval)


def parse(path: Path, *, contours: bool = True) -> _File:
    """Go once through the XML; raise `InputError` wherever TrackMate would stop."""
    found = _File(path.name)
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
                case tag if tag == KEEPSAKE:
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


def calibration(
    units: tuple[str | None, str | None], image: dict[str, str], voxel_size, frame_interval: float | None
) -> tuple[Scale, tuple | None, float | None, str]:
    """Return the scale from the file's units, voxel size (µm), frame interval (s) and the unit of the result."""
    sizes = [_positive(image.get(key)) for key in ("voxeldepth", "pixelheight", "pixelwidth")]
    if voxel_size is not None:
        voxel_size = Tracks(pd.DataFrame({"frame": [], "y": [], "x": []}), voxel_size=voxel_size).voxel_size
    micrometre = micrometres(units[0]) if voxel_size is None or _known(units[0]) else None
    unit = "µm"
    if micrometre is not None:
        factors = (micrometre,) * 3
        if voxel_size is None and None not in sizes:
            voxel_size = tuple(size * micrometre for size in sizes)  # type: ignore[operator]
    elif voxel_size is not None:
        # Uncalibrated positions count pixels of the stated size, which is 1 unless somebody changed it.
        factors = tuple(real / (size or 1.0) for real, size in zip(voxel_size, sizes, strict=True))
    else:
        factors, unit = (1.0, 1.0, 1.0), "pixel"
    second = seconds(units[1])
    interval = _positive(image.get("timeinterval"))
    if second is not None:
        time = second
        frame_interval = frame_interval or (interval and interval * second)
    else:
        time = frame_interval / (interval or 1.0) if frame_interval else 1.0
    return Scale(factors, time), voxel_size, frame_interval, unit  # type: ignore[arg-type]


def _known(unit: str | None) -> bool:
    try:
        return micrometres(unit) is not None
    except InputError:
        return False


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if 0 < value < np.inf else None


def _integer(name: str, text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise InputError(name, text, "TrackMate needs an integer here") from None


def _take_feature(found: _File, element: ET.Element) -> None:
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


def _take_frame(found: _File, element: ET.Element, contours: bool) -> None:
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


def _take_track(found: _File, element: ET.Element) -> None:
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


def _objects(found: _File, scale: Scale, contours: bool) -> pd.DataFrame:
    columns = found.spots.table()
    n = found.spots.count
    empty = np.empty(0)
    for attribute in ("POSITION_X", "POSITION_Y"):
        if n and attribute not in columns:
            raise InputError(attribute, None, "every Spot needs a position")
    data: dict[str, object] = {
        "id": columns.pop("ID", empty.astype(np.int64)),
        "frame": np.array(found.frames, np.int64),
    }
    columns.pop("FRAME", None)
    renamed = found.kept.get("attributes", {}) if found.kept else {}
    if "LABEL" in columns and "label" not in columns:
        renamed = {"LABEL": "label", **renamed}
    for attribute, column in POSITIONS.items():
        values = columns.pop(attribute, empty)
        factor = scale.factor(attribute, "POSITION")
        data[column] = values if factor == 1 else values * factor
    if n and any(name != f"ID{i}" for name, i in zip(found.names, data["id"], strict=True)):  # type: ignore[call-overload]
        data["name"] = pd.Series(found.names, dtype="str")
    for attribute, values in columns.items():
        column = renamed.get(attribute, attribute)
        data[column] = _feature(found, attribute, values, scale)
    table = pd.DataFrame(data)
    if contours and found.contours:
        _, fy, fx = scale.zyx
        unscaled = fy == fx == 1
        table[CONTOUR] = pd.Series(
            [
                None if contour is None else contour if unscaled else contour * (fy, fx)
                for contour in map(found.contours.get, range(n))
            ],
            dtype=object,
        )
    return table


def _feature(found: _File, feature: str, values: np.ndarray, scale: Scale) -> np.ndarray:
    if feature in found.integers and np.isfinite(values).all() and (values == np.rint(values)).all():
        return values.astype(np.int64)
    factor = scale.factor(feature, found.dimensions.get(feature) or dimension_of(feature))
    return values if factor == 1 else values * factor


def _links(found: _File, objects: pd.DataFrame, scale: Scale) -> tuple[pd.DataFrame, np.ndarray]:
    columns = found.edges.table()
    source = columns.pop("SPOT_SOURCE_ID", np.empty(0, np.int64))
    target = columns.pop("SPOT_TARGET_ID", np.empty(0, np.int64))
    cost = columns.pop("LINK_COST", np.full(len(source), np.nan))
    ids = objects["id"]
    if ids.duplicated().any():
        raise InputError(
            "Spot ID", ids[ids.duplicated()].unique()[:5].tolist(), "IDs occur once; these repeat"
        )
    index = pd.Index(ids)
    rows = np.column_stack([index.get_indexer(source), index.get_indexer(target)]).astype(np.int64)
    for side, values in enumerate((source, target)):
        unknown = values[rows[:, side] < 0]
        if len(unknown):
            raise InputError(
                "Edge", np.unique(unknown)[:5].tolist(), "an edge dangles: the file has no Spot with this ID"
            )
    _check_edges(np.column_stack([source, target]), rows, objects["frame"].to_numpy())
    step = objects["frame"].to_numpy()[rows]
    backwards = step[:, 1] < step[:, 0]
    source, target = np.where(backwards, target, source), np.where(backwards, source, target)
    renamed = found.kept.get("link_attributes", {}) if found.kept else {}
    features = {
        renamed.get(feature, feature): _feature(found, feature, values, scale)
        for feature, values in columns.items()
    }
    links = pd.DataFrame({"source": source, "target": target, "cost": cost, **features})
    return links, np.array(found.edge_tracks, np.int64)


def _check_edges(edges: np.ndarray, rows: np.ndarray, frames: np.ndarray) -> None:
    if (same := edges[rows[:, 0] == rows[:, 1]]).size:
        raise InputError("Edge", same[:3].tolist(), "an edge joins a spot with itself")
    _, first = np.unique(np.sort(rows, axis=1), axis=0, return_index=True)
    if len(first) < len(rows):
        again = np.delete(edges, first, axis=0)
        raise InputError("Edge", again[:3].tolist(), "an edge occurs twice (in one direction or in both)")
    step = frames[rows[:, 1]] - frames[rows[:, 0]]
    if (flat := edges[step == 0]).size:
        raise InputError("Edge", flat[:3].tolist(), "an edge joins two spots of one frame")
    if (step < 0).any():
        n = len(frames)
        graph = coo_array((np.ones(len(rows), np.int8), (rows[:, 0], rows[:, 1])), shape=(n, n))
        count, circle = connected_components(graph, directed=True, connection="strong")
        if count < n:
            on_it = edges[circle[rows[:, 0]] == circle[rows[:, 1]]]
            raise InputError("Edge", on_it[:5].tolist(), "these edges run in a circle; a track follows time")
        # TrackMate's graph has no direction, and links drawn by hand are saved either way round.
        warnings.warn(
            f"{int((step < 0).sum())} edges run backwards in time; they were turned round.", stacklevel=6
        )


def _shown(found: _File, objects: pd.DataFrame, links: pd.DataFrame, edge_tracks: np.ndarray) -> np.ndarray:
    shown = np.ones(len(objects), bool)
    hidden = links[~np.isin(edge_tracks, list(found.filtered))]
    if len(hidden):
        shown[objects["id"].isin(np.unique(hidden[["source", "target"]].to_numpy()))] = False
    if not shown.all():
        warnings.warn(
            f"{found.name}: TrackMate's track filters hide {len(set(found.track_names) - found.filtered)} of "
            f"{len(found.track_names)} tracks; they were read all the same. objects[{SHOWN!r}] is False for "
            f"their {int((~shown).sum())} objects.",
            stacklevel=4,
        )
    return shown


def _restore(kept: dict, objects: pd.DataFrame, links: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the tables back what XML attributes cannot carry, if the file is one of ours."""
    if not kept:
        return objects, links
    added = [column for column in kept.get("added", ()) if column in objects]
    objects = objects.drop(columns=added)
    if CONTOUR in kept.get("objects", {}) and CONTOUR not in objects:
        objects[CONTOUR] = pd.Series([None] * len(objects), dtype=object)
    for column, texts in kept.get("text", {}).items():
        objects[column] = [texts.get(str(i)) for i in objects["id"]]
    for column, texts in kept.get("link_text", {}).items():
        pairs = zip(links["source"], links["target"], strict=True)
        links[column] = [texts.get(f"{source} {target}") for source, target in pairs]
    if sorted(order := kept.get("order", [])) == list(range(len(objects))):
        objects = objects.iloc[np.argsort(order)].reset_index(drop=True)
    if sorted(order := kept.get("link_order", [])) == list(range(len(links))):
        links = links.iloc[np.argsort(order)].reset_index(drop=True)
    tables = []
    for table, wanted in ((objects, kept.get("objects", {})), (links, kept.get("links", {}))):
        if table.empty:  # Without a row there are no attributes to name the columns.
            table = table.reindex(columns=list(dict.fromkeys([*table.columns, *wanted])))
        tables.append(with_dtypes(table, wanted))
    return tables[0], tables[1]

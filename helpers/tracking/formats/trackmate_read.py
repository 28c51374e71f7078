"""From the parsed TrackMate file to Tracks: units, features, links, filters, and what only our files keep."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from helpers.errors import InputError, reads
from helpers.tracking.formats.storage import existing, with_dtypes
from helpers.tracking.formats.trackmate_parse import ParsedFile, parse
from helpers.tracking.formats.trackmate_units import Scale, micrometres, seconds
from helpers.tracking.formats.trackmate_xml import CONTOUR, POSITIONS, SHOWN, dimension_of
from helpers.tracking.tracks import Tracks


@reads("a TrackMate XML file")
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


def _objects(found: ParsedFile, scale: Scale, contours: bool) -> pd.DataFrame:
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


def _feature(found: ParsedFile, feature: str, values: np.ndarray, scale: Scale) -> np.ndarray:
    if feature in found.integers and np.isfinite(values).all() and (values == np.rint(values)).all():
        return values.astype(np.int64)
    factor = scale.factor(feature, found.dimensions.get(feature) or dimension_of(feature))
    return values if factor == 1 else values * factor


def _links(found: ParsedFile, objects: pd.DataFrame, scale: Scale) -> tuple[pd.DataFrame, np.ndarray]:
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
    rows = np.column_stack([index.get_indexer(pd.Index(side)) for side in (source, target)]).astype(np.int64)
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


def _shown(
    found: ParsedFile, objects: pd.DataFrame, links: pd.DataFrame, edge_tracks: np.ndarray
) -> np.ndarray:
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

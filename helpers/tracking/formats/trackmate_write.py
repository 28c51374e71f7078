"""Writing a TrackMate file: everything that TrackMate's reader demands, and values it cannot stumble over."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pandas as pd

from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.tracking.formats.storage import dtypes, frames_of, is_missing
from helpers.tracking.formats.trackmate_attributes import INT32, Attributes, java_numbers
from helpers.tracking.formats.trackmate_meshes import mesh_path, write_meshes
from helpers.tracking.formats.trackmate_settings import tracker_element
from helpers.tracking.formats.trackmate_shapes import Mesh, contours_from_labels, meshes_from_labels
from helpers.tracking.formats.trackmate_xml import (
    CONTOUR,
    DECLARED,
    POSITIONS,
    PRIVATE_METADATA,
    SHOWN,
    dimension_of,
)
from helpers.tracking.tracks import Tracks

#: Written into TrackMate@version: the oldest TrackMate whose files look like these.
_VERSION = "7.11.1"
#: TrackMate takes what is missing here as null and then fails to draw, so that all of it is stated.
_DISPLAY = {
    "name": "Volltrack", "spotVisible": True, "spotDisplayedAsRoi": True, "spotShowName": False, "spotFilled": True,
    "spotTransparencyAlpha": 0.5, "spotDisplayRadius": 1.0, "spotColorByType": "TRACKS",
    "spotColorByFeature": "TRACK_INDEX", "spotMin": 0.0, "spotMax": 10.0, "spotUniformColor": "204, 51, 204, 255",
    "trackVisible": True, "trackDisplayMode": "FULL", "trackColorByType": "TRACKS",
    "trackColorByFeature": "TRACK_INDEX", "trackMin": 0.0, "trackMax": 10.0, "trackUniformColor": "204, 204, 51, 255",
    "fadeTracks": True, "fadeTrackRange": 30, "colormap": "Jet", "limitZDrawingDepth": False, "drawingZDepth": 10.0,
    "undefinedValueColor": "0, 0, 0, 255", "missingValueColor": "89, 89, 89, 255",
    "highlightColor": "51, 230, 51, 255", "useAntialiasing": True, "lineThickness": 1.0,
    "selectionLineThickness": 4.0, "trackschemeBackgroundColor1": "128, 128, 128, 255",
    "trackschemeBackgroundColor2": "192, 192, 192, 255", "trackschemeForegroundColor": "0, 0, 0, 255",
    "trackschemeDecorationColor": "0, 0, 0, 255", "trackschemeFillBox": False,
    "font": {"name": "Arial", "style": 1, "size": 12, "pointSize": 12.0, "fontSerializedDataVersion": 1},
}  # fmt: skip


def write_file(
    tracks: Tracks,
    path: str | Path,
    *,
    labels: Iterable[np.ndarray] | Any | None,
    meshes: Mapping[int, Mesh] | None,
    image: str | Path | None,
    shape: tuple[int, ...] | None,
    tracker: Any,
    radius: float,
    log: str,
) -> None:
    """Write `tracks`; see `helpers.tracking.formats.trackmate.write`."""
    objects = tracks.objects
    ids = objects["id"]
    if len(ids) and not (ids.min() >= 0 and ids.max() <= INT32):
        raise InputError(
            "objects.id", [int(ids.min()), int(ids.max())], f"TrackMate's IDs go from 0 to {INT32}"
        )
    if labels is not None:
        drawn, shape = _draw(tracks, labels, shape)
        if drawn and isinstance(next(iter(drawn.values())), np.ndarray):
            objects = objects.assign(**{CONTOUR: _relative(objects, drawn)})
        elif meshes is None:
            meshes = drawn  # type: ignore[assignment]
    spatial_unit = objects.attrs.get("spatial_unit", "micrometer")
    if tracks.voxel_size is None and spatial_unit == "micrometer":
        warnings.warn(
            "tracks.voxel_size is not known; the TrackMate file states a pixel size of 1 µm. Positions are right, "
            "but TrackMate will draw them beside the cells of an image whose pixels are not 1 µm.",
            stacklevel=3,
        )
    spots = Attributes(_spot_columns(tracks, objects, radius), objects, "objects")
    edges = Attributes(tracks.links.drop(columns=["source", "target"]), tracks.links, "links")
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<TrackMate version="{_VERSION}">\n')
            file.write(
                f"  <{PRIVATE_METADATA}>{escape(_private_metadata(tracks, objects, spots, edges))}</{PRIVATE_METADATA}>\n"
            )
            file.write(f"  <Log>{escape(_printable(log))}</Log>\n")
            timeunits = "second" if tracks.frame_interval else "frame"
            file.write(f'  <Model spatialunits={quoteattr(spatial_unit)} timeunits="{timeunits}">\n')
            _write_declarations(file, spots, edges)
            n_frames = max([int(objects["frame"].max()) + 1 if len(objects) else 0, (shape or (0,))[0]])
            _write_spots(file, objects, spots, n_frames)
            _write_tracks(file, tracks, objects, edges)
            file.write("  </Model>\n")
            quality = spots.numbers.get("QUALITY", np.zeros(0))
            _write_settings(file, tracks, image, _extent(tracks, shape, n_frames), tracker, quality, radius)
            file.write('  <GUIState state="ConfigureViews" />\n')
            file.write(f"  <DisplaySettings>{escape(json.dumps(_DISPLAY))}</DisplaySettings>\n")
            file.write("</TrackMate>\n")
        # An older side-car would give TrackMate the meshes of other spots.
        mesh_path(path).unlink(missing_ok=True)
        if meshes:
            frames = dict(zip(ids.tolist(), objects["frame"].tolist(), strict=True))
            write_meshes(meshes, frames, path)


def _printable(text: str) -> str:
    """Leave out the control characters that no XML may contain."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)


def _private_metadata(tracks: Tracks, objects: pd.DataFrame, spots: Attributes, edges: Attributes) -> str:
    """Return as JSON what a reader of ours needs to restore the tables exactly."""
    ids = list(map(str, objects["id"].tolist()))
    pairs = [f"{s} {t}" for s, t in zip(tracks.links["source"], tracks.links["target"], strict=True)]
    keep: dict[str, Any] = {
        "objects": dtypes(objects),
        "links": dtypes(tracks.links),
        "attributes": spots.renamed,
        "link_attributes": edges.renamed,
        "added": [name for name in _added(spots, objects)],
        "text": {column: dict(zip(ids, values, strict=True)) for column, values in spots.kept.items()},
        "link_text": {column: dict(zip(pairs, values, strict=True)) for column, values in edges.kept.items()},
        "voxel_size": tracks.voxel_size,
        "frame_interval": tracks.frame_interval,
    }
    for key, order in (("order", _spot_order(objects)), ("link_order", _edge_order(tracks))):
        if (np.diff(order) < 0).any():
            keep[key] = order.tolist()
    return json.dumps(keep)


def _added(spots: Attributes, objects: pd.DataFrame) -> list[str]:
    columns = {spots.renamed.get(attribute, attribute) for attribute in spots.texts} | {SHOWN, "name"}
    return sorted(columns - set(objects.columns))


def _spot_order(objects: pd.DataFrame) -> np.ndarray:
    return np.argsort(objects["frame"].to_numpy(), kind="stable")


def _edge_order(tracks: Tracks) -> np.ndarray:
    return np.argsort(tracks.track_ids[tracks.link_rows[:, 0]], kind="stable")


def _spot_columns(tracks: Tracks, objects: pd.DataFrame, radius: float) -> pd.DataFrame:
    """Return the features of every spot: those TrackMate demands, then all columns of the table."""
    columns = objects.drop(columns=["id", "frame", "z", "y", "x"])
    needed: dict[str, np.ndarray | float] = {
        "VISIBILITY": 1,
        "RADIUS": radius,
        "QUALITY": 1.0,
        "POSITION_T": objects["frame"].to_numpy() * (tracks.frame_interval or 1.0),
    }
    flat = "volume_um3" not in objects
    size = objects["area_um2"] if flat and "area_um2" in objects else objects.get("volume_um3")
    if size is not None:
        size = size.to_numpy(float)
        needed["RADIUS"] = np.sqrt(size / np.pi) if flat else np.cbrt(size * 3 / (4 * np.pi))
        if tracks.voxel_size is not None:
            needed["QUALITY"] = np.rint(size / np.prod(tracks.voxel_size[1 if flat else 0 :]))
    for feature, value in needed.items():
        if feature not in columns:
            columns.insert(0, feature, value)  # type: ignore[arg-type]
    return columns


def _relative(objects: pd.DataFrame, drawn: Mapping[int, np.ndarray]) -> pd.Series:
    positions = zip(objects["id"].tolist(), objects["y"].tolist(), objects["x"].tolist(), strict=True)
    contours = [drawn[i] - (y, x) if i in drawn else None for i, y, x in positions]
    return pd.Series(contours, index=objects.index, dtype=object)


def _draw(
    tracks: Tracks, labels: Any, shape: tuple[int, ...] | None
) -> tuple[dict[int, Any], tuple[int, ...]]:
    """Return contours (one plane) or meshes by object id, and the shape of the label movie."""
    objects = tracks.objects
    if "label" not in objects:
        raise InputError(
            "objects", list(objects.columns), "shapes need the column label: each object's label in its frame"
        )
    if tracks.voxel_size is None:
        raise InputError("voxel_size", None, "shapes need tracks.voxel_size, (z, y, x) in µm")
    drawn: dict[int, Any] = {}
    size: tuple[int, ...] = ()
    rows = {frame: table for frame, table in objects.groupby("frame")}
    count = 0
    for frame, plane in enumerate(frames_of(labels)):
        size = plane.shape
        count += 1
        if frame not in rows:
            continue
        wanted = dict(zip(rows[frame]["label"].tolist(), rows[frame]["id"].tolist(), strict=True))
        flat = plane.ndim == 2 or plane.shape[0] == 1
        make = contours_from_labels if flat else meshes_from_labels
        found = make(plane, voxel_size=tracks.voxel_size, only=wanted)
        if missing := set(wanted) - set(found):
            raise InputError(
                f"labels[{frame}]", sorted(missing)[:5], "objects have these labels, the frame does not"
            )
        drawn.update((wanted[label], outline) for label, outline in found.items())
    if (last := int(objects["frame"].max()) if len(objects) else -1) >= count:
        raise InputError("labels", f"{count} frames", f"there are objects in frame {last}")
    full = (1,) * (3 - len(size)) + size
    return drawn, shape or (count, *full[-3:])


def _declaration(feature: str, integer: bool) -> str:
    plain = feature.replace("_", " ").strip() or feature
    name, short, dimension, _ = DECLARED.get(feature, (plain, plain, dimension_of(feature), integer))
    return (
        f'        <Feature feature="{feature}" name={quoteattr(name)} shortname={quoteattr(short)} '
        f'dimension="{dimension}" isint="{str(integer).lower()}" />\n'
    )


_TRACK_FEATURES = [feature for feature in DECLARED if feature.startswith(("TRACK_", "NUMBER_"))]


def _write_declarations(file: TextIO, spots: Attributes, edges: Attributes) -> None:
    groups = {
        "SpotFeatures": [*[(name, name == "FRAME") for name in (*POSITIONS, "FRAME")], *spots.declarations()],
        "EdgeFeatures": [("SPOT_SOURCE_ID", True), ("SPOT_TARGET_ID", True), *edges.declarations()],
        "TrackFeatures": [(name, DECLARED[name][3]) for name in _TRACK_FEATURES],
    }
    file.write("    <FeatureDeclarations>\n")
    for group, features in groups.items():
        file.write(f"      <{group}>\n")
        file.writelines(_declaration(feature, integer) for feature, integer in features)
        file.write(f"      </{group}>\n")
    file.write("    </FeatureDeclarations>\n")


def _write_spots(file: TextIO, objects: pd.DataFrame, spots: Attributes, n_frames: int) -> None:
    order = _spot_order(objects)
    ids, frames = objects["id"].tolist(), objects["frame"].tolist()
    names = [f'"ID{i}"' for i in ids]
    if "name" in objects:
        names = [
            default if is_missing(name) or str(name) == "" else quoteattr(_printable(str(name)))
            for name, default in zip(objects["name"], names, strict=True)
        ]
    position = {feature: java_numbers(objects[column].to_numpy()) for feature, column in POSITIONS.items()}
    features = [(name, texts) for name, texts in (position | spots.texts).items()]
    contours = objects[CONTOUR].tolist() if CONTOUR in objects else [None] * len(objects)
    file.write(f'    <AllSpots nspots="{len(objects)}">\n')
    at = 0
    for frame in range(n_frames):
        file.write(f'      <SpotsInFrame frame="{frame}">\n')
        while at < len(order) and frames[order[at]] == frame:
            row = int(order[at])
            attributes = " ".join(f'{name}="{texts[row]}"' for name, texts in features)
            start = f'        <Spot ID="{ids[row]}" name={names[row]} FRAME="{frame}" {attributes}'
            file.write(start + _end_of_spot(contours[row], ids[row]))
            at += 1
        file.write("      </SpotsInFrame>\n")
    file.write("    </AllSpots>\n")


def _end_of_spot(contour: object, spot: int) -> str:
    if is_missing(contour):
        return " />\n"
    points = np.asarray(contour, float)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise InputError(
            f"objects.{CONTOUR} of id {spot}", points.shape, "(N, 2) finite numbers, N at least 3"
        )
    # No white space around the numbers: Java stops at an empty word.
    return f' ROI_N_POINTS="{len(points)}">{" ".join(java_numbers(points[:, ::-1].ravel()))}</Spot>\n'


def _write_tracks(file: TextIO, tracks: Tracks, objects: pd.DataFrame, edges: Attributes) -> None:
    order = _edge_order(tracks)
    link_tracks = tracks.track_ids[tracks.link_rows[:, 0]][order]
    source, target = tracks.links["source"].tolist(), tracks.links["target"].tolist()
    features = list(edges.texts.items())
    shown = objects[SHOWN].to_numpy(bool) if SHOWN in objects else np.ones(len(objects), bool)
    visible = np.ones(tracks.n_tracks, bool)
    visible[tracks.track_ids[~shown & (tracks.track_ids >= 0)]] = False
    described = _track_attributes(tracks)
    starts = np.searchsorted(link_tracks, np.arange(tracks.n_tracks + 1))
    file.write("    <AllTracks>\n")
    for track in range(tracks.n_tracks):
        attributes = " ".join(f'{name}="{texts[track]}"' for name, texts in described.items())
        file.write(f'      <Track name="Track_{track}" {attributes}>\n')
        for row in order[starts[track] : starts[track + 1]].tolist():
            more = "".join(f' {name}="{texts[row]}"' for name, texts in features)
            file.write(
                f'        <Edge SPOT_SOURCE_ID="{source[row]}" SPOT_TARGET_ID="{target[row]}"{more} />\n'
            )
        file.write("      </Track>\n")
    file.write("    </AllTracks>\n    <FilteredTracks>\n")
    file.writelines(f'      <TrackID TRACK_ID="{track}" />\n' for track in np.flatnonzero(visible).tolist())
    file.write("    </FilteredTracks>\n")


def _track_attributes(tracks: Tracks) -> dict[str, list[str]]:
    """Return TrackMate's main track features, one text per track."""
    n = tracks.n_tracks
    member = tracks.track_ids
    linked = member >= 0
    table = tracks.objects.loc[linked, ["frame", "z", "y", "x"]].assign(track=member[linked])
    table = table.sort_values("frame", kind="stable").groupby("track")
    first, last = table.first(), table.last()
    interval = tracks.frame_interval or 1.0
    frames = tracks.objects["frame"].to_numpy()[tracks.link_rows]
    of_link = member[tracks.link_rows[:, 0]]

    def count(where: np.ndarray) -> np.ndarray:
        return np.bincount(where, minlength=n)

    moved = (last[["z", "y", "x"]] - first[["z", "y", "x"]]).to_numpy()
    values = {
        "TRACK_ID": np.arange(n),
        "TRACK_INDEX": np.arange(n),
        "NUMBER_SPOTS": count(member[linked]),
        "NUMBER_GAPS": count(of_link[frames[:, 1] - frames[:, 0] > 1]),
        "NUMBER_SPLITS": count(member[tracks.out_degree > 1]),
        "NUMBER_MERGES": count(member[tracks.in_degree > 1]),
        "TRACK_DURATION": (last["frame"] - first["frame"]).to_numpy() * interval,
        "TRACK_START": first["frame"].to_numpy() * interval,
        "TRACK_STOP": last["frame"].to_numpy() * interval,
        "TRACK_DISPLACEMENT": np.linalg.norm(moved, axis=1),
    }
    return {name: java_numbers(column) for name, column in values.items()}


def _extent(tracks: Tracks, shape: tuple[int, ...] | None, n_frames: int) -> tuple[int, int, int, int]:
    """Return (T, Z, Y, X) of the image: as given, else just around the objects."""
    if shape is not None:
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise InputError("shape", shape, "give (T, Z, Y, X), or (T, Y, X) for a movie of one plane")
        full = tuple(int(size) for size in shape)
        full = full if len(full) == 4 else (full[0], 1, *full[1:])
        return max(full[0], n_frames), full[1], full[2], full[3]
    voxel = np.array(tracks.voxel_size or (1.0, 1.0, 1.0))
    highest = tracks.objects[["z", "y", "x"]].max().fillna(0).to_numpy() / voxel
    z, y, x = (int(size) + 1 for size in np.maximum(np.ceil(highest), 0))
    return max(n_frames, 1), z, y, x


def _write_settings(
    file: TextIO,
    tracks: Tracks,
    image: str | Path | None,
    extent: tuple[int, int, int, int],
    tracker: Any,
    quality: np.ndarray,
    radius: float,
) -> None:
    frames, slices, height, width = extent
    depth, pixel_y, pixel_x = tracks.voxel_size or (1.0, 1.0, 1.0)
    path = Path(image) if image else None
    folder = "" if path is None or str(path.parent) == "." else f"{path.parent}/"
    finite = quality[np.isfinite(quality.astype(float))]
    # Below every quality, so that this filter never hides a spot.
    threshold = float(np.floor(finite.min(initial=0.0))) - 1
    file.write(
        "  <Settings>\n"
        f"    <ImageData filename={quoteattr(path.name if path else '')} folder={quoteattr(folder)} "
        f'width="{width}" height="{height}" nslices="{slices}" nframes="{frames}" pixelwidth="{pixel_x!r}" '
        f'pixelheight="{pixel_y!r}" voxeldepth="{depth!r}" timeinterval="{tracks.frame_interval or 1.0!r}" />\n'
        f'    <BasicSettings xstart="0" xend="{width - 1}" ystart="0" yend="{height - 1}" zstart="0" '
        f'zend="{slices - 1}" tstart="0" tend="{frames - 1}" />\n'
        f'    <DetectorSettings DETECTOR_NAME="MANUAL_DETECTOR" TARGET_CHANNEL="1" RADIUS="{float(radius)!r}" />\n'
        f'    <InitialSpotFilter feature="QUALITY" value="{threshold!r}" isabove="true" />\n'
        "    <SpotFilterCollection />\n"
        f"{tracker_element(tracker)}"
        "    <TrackFilterCollection />\n"
        "    <AnalyzerCollection>\n      <SpotAnalyzers />\n      <EdgeAnalyzers />\n      <TrackAnalyzers />\n"
        "    </AnalyzerCollection>\n"
        "  </Settings>\n"
    )

"""GEFF, the Graph Exchange File Format: a zarr group of nodes and edges with their properties.

Nodes are objects: ``t`` (frame), ``z, y, x`` (µm; no ``z`` in 2D), ``seg_id`` (the label in its frame),
``tracklet_id`` and ``lineage_id``, then all other columns. Outlines in 2D are GEFF's polygons; masks of cells are
`helpers.tracking.formats.geff_masks`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from helpers.data.atomic import atomic_path
from helpers.data.label_movies import LabelMovie
from helpers.data.ome_zarr import missing_chunks
from helpers.errors import InputError, reads
from helpers.tracking.formats import geff_masks
from helpers.tracking.formats.storage import dtypes, existing, is_missing, numbers, with_dtypes
from helpers.tracking.formats.trackmate_units import micrometres, seconds
from helpers.tracking.formats.trackmate_xml import CONTOUR
from helpers.tracking.tracks import Tracks

_EXTRA = "volltrack"
_TRACKLET, _LINEAGE, _LABEL = "tracklet_id", "lineage_id", "seg_id"


def write(
    tracks: Tracks,
    path: str | Path,
    *,
    labels: str | Path | None = None,
    masks: LabelMovie | None = None,
) -> None:
    """Write a GEFF (zarr format 2) and validate it.

    Parameters
    ----------
    tracks : Tracks
        Ids must not be negative.
    path : path
        The folder to write, such as ``tracks.geff``; an older GEFF there is replaced.
    labels : path, optional
        The label movie that ``seg_id`` refers to, as a path relative to `path`.
    masks : LabelMovie, optional
        Write the outline of each cell, too, so that napari-track-edit shows and edits labels.

    Raises
    ------
    InputError
        Negative ids, columns that hold neither numbers nor text, another folder in the way.
    """
    from geff.core_io._base_write import write_arrays
    from geff_spec import Axis, GeffMetadata, RelatedObject

    path = Path(path)
    if path.exists() and not _is_geff(path):
        raise InputError("path", str(path), "there is something else; give a new path or an older GEFF")
    objects = tracks.objects
    if len(objects) and objects["id"].min() < 0:
        raise InputError("objects.id", int(objects["id"].min()), "GEFF's node ids are not negative")
    flat = not objects["z"].any()
    spatial = ["y", "x"] if flat else ["z", "y", "x"]
    renamed = {"frame": "t", "label": _LABEL}
    taken = {"t", *spatial, _LABEL, _TRACKLET, _LINEAGE}
    nodes, node_names = _properties(
        objects.drop(columns=["id", *([] if not flat else ["z"])]), renamed, taken, "objects"
    )
    component = tracks.track_ids.copy()
    lone = component < 0
    component[lone] = tracks.n_tracks + np.arange(int(lone.sum()))
    nodes[_TRACKLET] = {"values": tracks.tracklet_ids, "missing": None}
    nodes[_LINEAGE] = {"values": component, "missing": None}
    polygon = None
    if flat and CONTOUR in objects and any(not is_missing(value) for value in objects[CONTOUR]):
        polygon = CONTOUR
        nodes[CONTOUR] = _polygons(objects[CONTOUR])
    outlines = geff_masks.properties(objects, masks) if masks is not None and "label" in objects else None
    nodes.update(outlines or {})
    edges, edge_names = _properties(tracks.links.drop(columns=["source", "target"]), {}, set(), "links")
    related = None
    if labels is not None:
        related = [
            RelatedObject(type="labels", path=str(labels), node_prop=_LABEL if _LABEL in nodes else None)
        ]
    interval = tracks.frame_interval
    metadata = GeffMetadata(
        directed=True,
        axes=[
            Axis(
                name="t",
                type="time",
                unit="frame",
                scale=interval,
                scaled_unit="second" if interval else None,
            ),
            *(Axis(name=axis, type="space", unit="micrometer") for axis in spatial),
        ],
        node_props_metadata={},
        edge_props_metadata={},
        track_node_props={"tracklet": _TRACKLET, "lineage": _LINEAGE},
        polygon=polygon,
        related_objects=related,
        extra={
            _EXTRA: {
                "voxel_size": tracks.voxel_size,
                "frame_interval": interval,
                "all_chunks": True,
                "objects": dtypes(objects),
                "links": dtypes(tracks.links),
                "node_names": node_names,
                "edge_names": edge_names,
            },
            **_about_labels(masks if outlines else None, tracks.voxel_size),
        },
    )
    # With a file for every chunk, also where all is 0, a lost one is noticed.
    with atomic_path(path) as temporary, zarr.config.set({"array.write_empty_chunks": True}):
        write_arrays(
            temporary,
            objects["id"].to_numpy().astype(np.uint64),
            nodes,  # type: ignore[arg-type]
            tracks.links[["source", "target"]].to_numpy().astype(np.uint64).reshape(-1, 2),
            edges,  # type: ignore[arg-type]
            metadata,
        )


@reads("a GEFF")
def read(
    path: str | Path, *, voxel_size: Sequence[float] | None = None, frame_interval: float | None = None
) -> Tracks:
    """Read a GEFF, ours or another program's.

    Parameters
    ----------
    path : path
        The zarr group.
    voxel_size : sequence of float, optional
        (z, y, x) in µm. Needed if the axes are in pixels and state no scale: positions are then multiplied by it.
    frame_interval : float, optional
        Seconds between frames; by default the scale of the time axis.

    Raises
    ------
    InputError
        No GEFF, one that geff's validator refuses, no time or space axes, undirected edges, axes in a unit that
        is not known.
    """
    from geff.core_io._base_read import read_to_memory
    from geff.validate.data import ValidationConfig

    path = existing(path, "a GEFF folder")
    if not path.is_dir():
        raise InputError("path", str(path), "a GEFF is a zarr folder")
    try:
        wanted = sorted(geff_masks.node_properties(path) - {geff_masks.MASK, geff_masks.BOX})
        memory = read_to_memory(path, data_validation=ValidationConfig(graph=True), node_props=wanted)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise InputError("path", str(path), f"a valid GEFF ({error})") from error
    metadata = memory["metadata"]
    _check_chunks(path, metadata)
    if len(memory["node_ids"]) and memory["node_ids"].max() > np.iinfo(np.int64).max:
        raise InputError(
            "path",
            str(path),
            f"a GEFF with node ids of 63 bits at most; {memory['node_ids'].max()} is larger",
        )
    if not metadata.directed:
        raise InputError("path", str(path), "a directed GEFF; edges without direction are not tracks")
    about = metadata.extra.get(_EXTRA) or {}
    time, space = _axes(metadata.axes, path)
    columns = {name: _column(prop) for name, prop in memory["node_props"].items()}
    objects = pd.DataFrame({"id": memory["node_ids"].astype(np.int64)})
    objects["frame"], derived_interval = _frames(time, columns, frame_interval)
    recorded = voxel_size if voxel_size is not None else about.get("voxel_size")
    for place, name in enumerate("zyx"):
        axis = space.get(name)
        if axis is None:
            objects[name] = 0.0
            continue
        factor = unit_factor(axis, None if voxel_size is None else voxel_size[place - 3])
        values = columns.pop(axis.name).astype(float)
        objects[name] = values if factor == 1 else values * factor
    derived = set((metadata.track_node_props or {}).values()) if about else set()
    names = {_LABEL: "label"} | about.get("node_names", {})
    for name, column in columns.items():
        if name not in derived:
            objects[names.get(name, name)] = column
    links = pd.DataFrame(memory["edge_ids"].astype(np.int64).reshape(-1, 2), columns=["source", "target"])
    for name, prop in memory["edge_props"].items():
        links[about.get("edge_names", {}).get(name, name)] = _column(prop)
    if frame_interval is None:
        frame_interval = about.get("frame_interval") if about else derived_interval
    return Tracks(
        with_dtypes(objects, about.get("objects", {})),
        with_dtypes(links, about.get("links", {})),
        recorded,  # type: ignore[arg-type]
        frame_interval,
    )


def _about_labels(labels: LabelMovie | None, voxel_size: Sequence[float] | None) -> dict[str, Any]:
    """Return what tracksdata wants to know of the labels that the masks are of."""
    if labels is None:
        return {}
    shape, size = (
        [int(n) for n in labels.shape],
        [float(a) for a in voxel_size or labels.voxel_size or (1,) * 3],
    )
    if labels.is_2d:
        shape, size = [shape[0], *shape[2:]], size[-2:]
    return {"tracksdata": {"shape": shape, "scale": size}}


def _check_chunks(path: Path, metadata: Any) -> None:
    """Refuse a GEFF of which a chunk is lost, which Zarr would read as zeros.

    Other programs leave out chunks in which all is 0. Ids and places are hardly ever.
    """
    wanted = {
        "nodes/ids",
        "edges/ids",
        *(f"nodes/props/{a.name}/values" for a in metadata.axes if a.name in "yx"),
    }
    about = metadata.extra.get(_EXTRA) or {}
    for name, array in zarr.open_group(str(path), mode="r").members(max_depth=None):
        if isinstance(array, zarr.Array) and (about.get("all_chunks") or name in wanted):
            lost = missing_chunks(array, path / name)
            if lost and array.size > 1:
                raise InputError(
                    "path", str(path), f"a whole GEFF; of {name} the chunks {', '.join(lost[:3])} are lost"
                )


def is_geff(path: Path) -> bool:
    """Whether a folder is a GEFF, whatever its name."""
    return (path / "nodes" / "ids").is_dir() and (path / "edges").is_dir()


def _is_geff(path: Path) -> bool:
    return path.is_dir() and any((path / name).exists() for name in (".zgroup", ".zattrs", "zarr.json"))


def _properties(
    table: pd.DataFrame, renamed: dict[str, str], taken: set[str], name: str
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the columns as GEFF's properties and {property: column} where the names differ."""
    properties: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    for column in table:
        series = table[column]
        if column == CONTOUR and name == "objects":
            continue
        prop = renamed.get(str(column)) or str(column).replace("/", "_").replace("\\", "_").strip(". ") or "_"
        while prop in properties or (prop in taken and prop not in ("z", "y", "x") and column not in renamed):
            prop += "_"
        if prop != column:
            names[prop] = str(column)
        values = numbers(series)
        missing = None
        if values is None:
            missing = np.array([is_missing(value) for value in series], bool)
            texts = ["" if gone else value for value, gone in zip(series, missing, strict=True)]
            if not all(isinstance(text, str) for text in texts):
                raise InputError(
                    f"{name}.{column}", str(series.dtype), "a column of numbers or of text can be written"
                )
            values = np.array(texts, dtype=str) if texts else np.empty(0, "<U1")
            missing = missing if missing.any() else None
        properties[prop] = {"values": values, "missing": missing}
    return properties, names


def _polygons(contours: pd.Series) -> dict[str, Any]:
    from geff.core_io._utils import construct_var_len_props

    return dict(construct_var_len_props([None if is_missing(c) else np.asarray(c, float) for c in contours]))


def _column(prop: Any) -> np.ndarray:
    values, missing = np.asarray(prop["values"]), prop["missing"]
    if values.ndim > 1:
        return pd.Series(list(values), dtype=object).to_numpy()
    if missing is None or not missing.any():
        return values
    if values.dtype.kind in "iufb":
        return np.where(missing, np.nan, values.astype(float))
    values = values.astype(object)
    values[missing] = None
    return values


def _axes(axes: Any, path: Path) -> tuple[Any, dict[str, Any]]:
    time = [axis for axis in axes or () if axis.type == "time"]
    space = [axis for axis in axes or () if axis.type == "space"]
    if len(time) != 1 or len(space) not in (2, 3):
        found = [(axis.name, axis.type) for axis in axes or ()]
        raise InputError(
            "path", str(path), f"a GEFF with one time axis and 2 or 3 space axes; it has {found}"
        )
    # GEFF's order is that of the image, (z), y, x. Names decide where they say more (POSITION_X, pos_x, X).
    names = "zyx"[-len(space) :]
    by_name = {re.split("[^a-z]", axis.name.lower())[-1]: axis for axis in space}
    return time[0], by_name if set(by_name) == set(names) else dict(zip(names, space, strict=True))


def unit_factor(axis: Any, size: float | None) -> float:
    """Return the µm in one unit of a space axis."""
    if axis.scale is not None and axis.scaled_unit is not None:
        scaled = micrometres(axis.scaled_unit)
        if scaled is not None:
            return axis.scale * scaled
    unit = micrometres(axis.unit)
    if unit is not None:
        return unit
    if size is None:
        warnings.warn(
            f"The axis {axis.name} is in {axis.unit or 'no unit'}; its positions stay as they are. Give voxel_size to "
            "convert them to µm.",
            stacklevel=3,
        )
    return size or 1.0


def _frames(
    axis: Any, columns: dict[str, np.ndarray], frame_interval: float | None
) -> tuple[np.ndarray, float | None]:
    """Return the frame of each node and the seconds between frames, if the GEFF says so.

    A time axis may count frames or state a time. For a time, a property named FRAME decides, else the shortest
    step between two times is one frame.
    """
    values = columns.pop(axis.name).astype(float)
    second = seconds(axis.unit)
    if second is None:
        scaled = seconds(axis.scaled_unit)
        interval = axis.scale * scaled if axis.scale is not None and scaled is not None else None
        if not (values == np.rint(values)).all():
            raise InputError(
                f"time axis {axis.name}", values[values != np.rint(values)][:5].tolist(), "whole frames"
            )
        return values.astype(np.int64), interval
    times = np.unique(values)
    given = frame_interval / second if frame_interval else None
    named = [name for name in columns if name.lower() == "frame" and columns[name].dtype.kind in "iu"]
    if named:
        frames = columns.pop(named[0]).astype(np.int64)
        known = frames > 0
        return frames, float(np.median(values[known] / frames[known])) * second if known.any() else None
    step = given or (float(np.diff(times).min()) if len(times) > 1 else 1.0)
    frames = np.rint(values / step)
    if not np.allclose(frames * step, values, rtol=1e-6, atol=1e-6 * step):
        raise InputError(
            f"time axis {axis.name}", times[:5].tolist(), "multiples of one interval; give frame_interval"
        )
    return frames.astype(np.int64), step * second if len(times) > 1 else None

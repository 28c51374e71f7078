"""napari's Tracks layer: ``(N, 4 or 5)`` rows ``[id, t, (z), y, x]``, the graph ``{child: [parents]}`` and ``scale``.

napari's track is a tracklet here. A gap stays inside its tracklet, where napari draws a straight line through the
missing frames (the property ``missing frames before`` says where); divisions and merges are in the graph.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.tracking.tracks import Tracks

#: Properties that only serve the way back.
_ID, _ROW, _MISSING = "object id", "row", "missing frames before"
_EXACT = {"z": "z (µm)", "y": "y (µm)", "x": "x (µm)"}

LayerData = tuple[np.ndarray, dict[int, list[int]], dict[str, np.ndarray], tuple[float, ...]]


def to_napari(tracks: Tracks) -> LayerData:
    """Return what ``napari.layers.Tracks(data, graph=…, properties=…, scale=…)`` takes.

    Parameters
    ----------
    tracks : Tracks
        Objects whose z are all 0 become a 2D layer, which does not keep the size of a voxel along z.

    Returns
    -------
    data : (N, 4) or (N, 5) float ndarray
        ``[tracklet, frame, (z), y, x]`` sorted by tracklet, then frame; positions in voxels, or in µm if
        ``tracks.voxel_size`` is None.
    graph : dict of int to list of int
        Parent tracklets of every tracklet that has any.
    properties : dict of str to ndarray
        All columns of numbers or text, the object ids, exact positions, and the columns of the links that lead
        to each object (``link cost``; ``link 2 cost`` for the second parent at a merge).
    scale : tuple of float
        Size of one step along (t, (z), y, x): one frame, then µm.
    """
    objects = tracks.objects
    flat = not objects["z"].any()
    axes = ["y", "x"] if flat else ["z", "y", "x"]
    sizes = (tracks.voxel_size or (1.0, 1.0, 1.0))[-len(axes) :]
    order = np.lexsort((objects["frame"], tracks.tracklet_ids))
    data = np.column_stack(
        [tracks.tracklet_ids, objects["frame"], objects[axes].to_numpy() / np.array(sizes)]
    ).astype(float)[order]

    columns = {_ID: objects["id"], _ROW: pd.Series(np.arange(len(objects)))}
    columns |= {name: objects[axis] for axis, name in _EXACT.items()}
    columns |= {
        str(column): objects[column]
        for column in objects
        if column not in ("id", "frame", "z", "y", "x") and _flat_values(objects[column])
    }
    before = np.zeros(len(objects), np.int64)
    frames = objects["frame"].to_numpy()
    np.maximum.at(before, tracks.link_rows[:, 1], np.diff(frames[tracks.link_rows], axis=1)[:, 0] - 1)
    columns[_MISSING] = pd.Series(before)
    columns |= _link_columns(tracks)
    properties = {name: column.to_numpy()[order] for name, column in columns.items()}
    return data, tracks.parents, properties, (1.0, *sizes)


def from_napari(
    data: np.ndarray,
    graph: Mapping[int, int | Sequence[int]] | None = None,
    properties: Mapping[str, Any] | pd.DataFrame | None = None,
    scale: Sequence[float] | None = None,
    *,
    frame_interval: float | None = None,
) -> Tracks:
    """Return the Tracks of a napari layer (``layer.data``, ``layer.graph``, ``layer.properties``, ``layer.scale``).

    Parameters
    ----------
    data : (N, 4) or (N, 5) array
        ``[id, t, (z), y, x]`` in any order.
    graph : mapping, optional
        Parent (or list of parents) of each id.
    properties : mapping or DataFrame, optional
        Columns in the order of `data`. Those that `to_napari` added restore ids, links and exact positions.
    scale : sequence of float, optional
        Of (t, (z), y, x) or of the spatial axes alone; positions are multiplied by it, and it becomes
        ``voxel_size`` (a scale of 1 everywhere is read as "not known"). The scale of t is not used.
    frame_interval : float, optional
        Seconds between frames; napari has no place for it.

    Raises
    ------
    InputError
        Another shape, times that are no frames, parents that are not there or end after their child begins.
    """
    data = np.asarray(data, float)
    if data.ndim != 2 or data.shape[1] not in (4, 5):
        raise InputError("data", data.shape, "give rows [id, t, (z), y, x], shape (N, 4) or (N, 5)")
    table = pd.DataFrame({} if properties is None else dict(properties))
    if len(table.columns) and len(table) != len(data):
        raise InputError("properties", len(table), f"give one value per row of data, {len(data)}")
    axes = data.shape[1] - 2
    sizes = _spatial(scale, axes)
    positions = np.zeros((len(data), 3))
    positions[:, 3 - axes :] = data[:, 2:] * np.array(sizes or (1.0,) * axes)
    objects = pd.DataFrame({"id": table.get(_ID, pd.Series(np.arange(len(data)))), "frame": data[:, 1]})
    for axis, name in enumerate(_EXACT):
        exact = table.get(_EXACT[name])
        moved = exact is None or not np.allclose(exact, positions[:, axis], rtol=1e-9, atol=1e-9)
        objects[name] = positions[:, axis] if moved else np.asarray(exact)
    helping = {_ID, _ROW, _MISSING, *_EXACT.values()}
    of_links = [name for name in table if re.fullmatch(r"link( \d+)? .+", str(name))]
    for name in table:
        if name not in helping and name not in of_links:
            objects[name] = table[name]
    source, target = _links(data, graph or {})
    ids = objects["id"].to_numpy()
    links = pd.DataFrame({"source": ids[source], "target": ids[target]})
    _take_link_columns(links, table, of_links, target)
    if _ROW in table:
        objects = objects.iloc[np.argsort(table[_ROW].to_numpy(), kind="stable")]
    links = links.sort_values(["source", "target"], ignore_index=True)
    voxel_size = None if sizes is None or set(sizes) == {1.0} else sizes
    return Tracks(objects, links, voxel_size, frame_interval)  # type: ignore[arg-type]


def _flat_values(series: pd.Series) -> bool:
    """Whether each value is one number or text; arrays such as contours have no place in a layer."""
    if series.dtype != object:
        return True
    return all(value is None or np.isscalar(value) or value is pd.NA for value in series)


def _link_columns(tracks: Tracks) -> dict[str, pd.Series]:
    """Return the columns of links as columns of their targets, a further one for each further parent."""
    links, target = tracks.links, tracks.link_rows[:, 1]
    order = np.lexsort((links["source"], target))
    place = np.zeros(len(links), np.int64)
    if len(links):
        sorted_targets = target[order]
        starts = np.flatnonzero(np.diff(sorted_targets, prepend=-1))
        place[order] = np.arange(len(links)) - np.repeat(starts, np.diff(starts, append=len(links)))
    columns = {}
    for column in links.columns.drop(["source", "target"]):
        for number in range(int(place.max(initial=0)) + 1):
            rows = place == number
            values = links[column].to_numpy()[rows]
            kind = float if pd.api.types.is_numeric_dtype(links[column]) else object
            full = np.full(len(tracks.objects), np.nan if kind is float else None, kind)
            full[target[rows]] = values
            columns[f"link {column}" if number == 0 else f"link {number + 1} {column}"] = pd.Series(full)
    return columns


def _take_link_columns(links: pd.DataFrame, table: pd.DataFrame, names: list, target: np.ndarray) -> None:
    place = links.groupby("target")["source"].rank(method="first").to_numpy() - 1
    for name in names:
        number, column = re.fullmatch(r"link(?: (\d+))? (.+)", name).groups()  # type: ignore[union-attr]
        rows = place == int(number or 1) - 1
        if column not in links:
            links[column] = np.nan if table[name].dtype.kind == "f" else None
        links.loc[rows, column] = table[name].to_numpy()[target[rows]]


def _spatial(scale: Sequence[float] | None, axes: int) -> tuple[float, ...] | None:
    if scale is None:
        return None
    sizes = tuple(float(size) for size in scale)
    if len(sizes) not in (axes, axes + 1) or not all(size > 0 for size in sizes):
        raise InputError("scale", scale, f"give {axes} or {axes + 1} sizes above 0, as the layer has")
    return sizes[-axes:]


def _links(data: np.ndarray, graph: Mapping[int, int | Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return (source rows, target rows): along each id, and from the last of each parent to the first of a child."""
    if len(data) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    order = np.lexsort((data[:, 1], data[:, 0]))
    ids = data[order, 0]
    inside = ids[1:] == ids[:-1]
    if (inside & (np.diff(data[order, 1]) == 0)).any():
        twice = ids[1:][inside & (np.diff(data[order, 1]) == 0)]
        raise InputError("data", twice[:5].tolist(), "these ids occur twice in one frame")
    names, starts = np.unique(ids, return_index=True)
    first = dict(zip(names.tolist(), order[starts].tolist(), strict=True))
    last = dict(zip(names.tolist(), order[np.append(starts[1:], len(ids)) - 1].tolist(), strict=True))
    sources, targets = order[:-1][inside].tolist(), order[1:][inside].tolist()
    for child, parents in graph.items():
        for parent in [parents] if np.isscalar(parents) else list(parents):  # type: ignore[call-overload]
            if child not in first or parent not in last:
                raise InputError("graph", {child: parents}, "the layer has no rows with one of these ids")
            if data[last[parent], 1] >= data[first[child], 1]:
                raise InputError("graph", {child: parents}, "a parent ends before its child begins")
            sources.append(last[parent])
            targets.append(first[child])
    return np.array(sources, np.int64), np.array(targets, np.int64)

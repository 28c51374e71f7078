"""napari's Tracks layer: ``(N, 4 or 5)`` rows ``[id, t, (z), y, x]``, the graph ``{child: [parents]}`` and ``scale``.

napari's track is a tracklet here. A gap stays inside its tracklet, where napari draws a straight line through the
missing frames (the property ``missing frames before`` says where); divisions and merges are in the graph.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

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

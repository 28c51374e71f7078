"""The tables that TrackMate exports as CSV: its spots and, where it lies beside them, the edges between them.

    LABEL, ID, TRACK_ID, QUALITY, POSITION_X, … FRAME, RADIUS, …       keys
    Label, Spot ID, Track ID, Quality, X, …                            names (two lines), from TrackMate 7 on
    , , , (quality), (micron), …                                       units, likewise
    ID10, 10, 0, 5.1, 12.5, …

Links are in the table of edges only (``spots.csv`` → ``edges.csv``, ``a_spots.csv`` → ``a_edges.csv``). Without it the spots
of a track are joined in the order of time, which is right as long as no track divides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.tables import read_table
from helpers.errors import InputError, reads
from helpers.tracking.formats.storage import existing
from helpers.tracking.formats.trackmate_read import calibration
from helpers.tracking.formats.trackmate_units import seconds
from helpers.tracking.formats.trackmate_xml import POSITIONS, dimension_of
from helpers.tracking.tracks import Tracks

_SPOTS = {"ID", "TRACK_ID", "FRAME", "POSITION_X", "POSITION_Y"}
_EDGES = ("SPOT_SOURCE_ID", "SPOT_TARGET_ID")
#: Columns that say what is known otherwise, or how TrackMate shows a spot.
_LEFT_OUT = ("LABEL", "TRACK_ID", "POSITION_T", "VISIBILITY", "MANUAL_SPOT_COLOR")


def is_spots(header: Sequence[str]) -> bool:
    """Whether the first line of a table is that of TrackMate's spots."""
    return set(header) >= _SPOTS


@reads("a table of TrackMate's spots")
def read(
    path: str | Path, *, voxel_size: Sequence[float] | None = None, frame_interval: float | None = None
) -> Tracks:
    """Read TrackMate's spots, and its edges where their table lies beside.

    Parameters
    ----------
    path : path-like
        The table of spots.
    voxel_size : sequence of float, optional
        (z, y, x) in µm; needed where the table counts pixels.
    frame_interval : float, optional
        Seconds; by default what the times and frames of the spots say.

    Raises
    ------
    InputError
        No such table; pixels without a voxel size; tracks that divide without a table of edges.
    """
    path = existing(path, "a table of TrackMate's spots (CSV)")
    table, units = _read(path)
    if units and voxel_size is None and units["POSITION_X"] in ("", "pixel", "pixels"):
        raise InputError("voxel_size_um", None, f"{path} counts pixels; give [z, y, x] in µm")
    length, time = (units["POSITION_X"], units.get("POSITION_T")) if units else ("µm", None)
    scale, sizes, frame_interval, _ = calibration((length, time), {}, voxel_size, frame_interval)
    frames = _numbers(table, "FRAME")
    data = {"id": _numbers(table, "ID"), "frame": frames}
    for key, name in POSITIONS.items():
        if key in table:
            data[name] = _numbers(table, key) * scale.factor(key, "POSITION")
    for key in table.columns.difference([*data, *POSITIONS, "ID", "FRAME", *_LEFT_OUT], sort=False):
        values = pd.to_numeric(table[key], errors="coerce")
        if values.notna().any():
            data[str(key)] = values.to_numpy(float) * scale.factor(str(key), dimension_of(str(key)))
    if frame_interval is None and "POSITION_T" in table and (second := seconds(time)) is not None:
        frame_interval = _interval(frames, _numbers(table, "POSITION_T") * second)
    objects = pd.DataFrame(data)
    links = _edges(path) if (path.with_name(_beside(path))).is_file() else _in_time(path, table, objects)
    return Tracks(objects, links, sizes, frame_interval)


def _read(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows of a table, and the unit of each column where a line says it."""
    table = read_table(path, dtype=str, keep_default_na=False)
    table = table[[name for name in table if not str(name).startswith("Unnamed")]]
    first = "ID" if "ID" in table else _EDGES[0]
    n = next((k for k, text in enumerate(table[first]) if re.fullmatch(r"-?\d+(\.\d*)?", text)), len(table))
    last = table.iloc[n - 1] if n else {}
    units = {str(name): str(text).strip(" ()").lower() for name, text in last.items()}
    return table.iloc[n:].reset_index(drop=True), units


def _numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    whole = column in ("ID", "FRAME", *_EDGES)
    try:
        return np.array([int(text.partition(".")[0]) if whole and not text.partition(".")[2].strip("0") else float(text) for text in table[column]])  # fmt: skip
    except (ValueError, OverflowError) as error:
        raise InputError(column, str(error), "every spot needs a number here") from error


def _interval(frames: np.ndarray, times: np.ndarray) -> float | None:
    """Return the seconds between frames, where all times say the same."""
    later = frames > 0
    each = times[later] / frames[later]
    return float(each[0]) if len(each) and each[0] > 0 and np.allclose(each, each[0], rtol=1e-3) else None


def _beside(path: Path) -> str:
    """Return the name that the table of edges has."""
    swapped = re.sub("spots", lambda found: "Edges" if found[0][0] == "S" else "edges", path.name, flags=re.I)
    return swapped if swapped != path.name else "edges.csv"


def _edges(path: Path) -> pd.DataFrame:
    edges, _ = _read(path.with_name(_beside(path)))
    if missing := [name for name in _EDGES if name not in edges]:
        raise InputError(_beside(path), list(edges.columns), f"TrackMate's table of edges has {missing} too")
    source, target = (_numbers(edges, name) for name in _EDGES)
    cost = pd.to_numeric(edges["LINK_COST"], errors="coerce") if "LINK_COST" in edges else np.nan
    return pd.DataFrame({"source": source, "target": target, "cost": cost})


def _in_time(path: Path, table: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    """Join the spots of each track, one per frame, in the order of time."""
    named = table["TRACK_ID"].str.fullmatch(r"\d+(\.0*)?")
    tracked = objects.assign(track=table["TRACK_ID"])[named].sort_values(["track", "frame"])
    twice = tracked[tracked.duplicated(["track", "frame"])]["track"].unique()
    if len(twice):
        expected = f"tracks that divide or merge need the table of edges: export it as {_beside(path)} beside this file, or save TrackMate's XML"
        raise InputError("TRACK_ID", twice[:5].tolist(), expected)
    follows = tracked["track"].eq(tracked["track"].shift())
    return pd.DataFrame({"source": tracked["id"].shift()[follows], "target": tracked["id"][follows]})

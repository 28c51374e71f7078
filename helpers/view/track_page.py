"""The tracks of a movie as one web page that turns them in 3D and goes through time; it needs no server and no network.

Everything lies in the page: three.js (MIT licence), and the tracks as arrays that are decoded where they are first needed::

    array ── integers as differences, numbers rounded to five digits ── bytes of equal weight together ── gzip ── base64

so that a million cells and a dozen columns stay a file that can be sent. Rows are sorted by frame: what a frame shows is one
part of the arrays, and the graphics card draws nothing else. A million cells in 2,000 tracks and 500 frames are a page of
22 MB. Turning and playing, with a track and its curves chosen, in Chromium on two cores without a graphics card, it opened in
1.3 s and showed 24 pictures a second on one machine, and in 2.5 s and 10 a second on one half as fast. After inTRACKtive (Huijben et al., Nature Methods 2025), which shows larger data, from a server.
"""

from __future__ import annotations

import base64
import gzip
import importlib.resources
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.atomic import atomic_path
from helpers.data.units import with_unit
from helpers.tracking.tracks import Tracks, numeric_columns
from helpers.view.analysis_style import GENERATION_COLORS
from helpers.view.panels import clock, track_names
from helpers.view.style import label_colors

#: Columns whose curve is shown first, if there are such.
_PREFERRED = ("distance_um", "speed_um_per_min", "volume_um3", "area_um2", "intensity_mean")
#: The least and largest shares of values that a colour scale ends at, so that one stray value does not take all colours.
_ENDS = (1.0, 99.0)
#: Bits of the mantissa that a number keeps: five digits, a relative error below 1e-5.
_MANTISSA = 16


def write_track_page(path: str | Path, tracks: Tracks, *, name: str = "tracks") -> Path:
    """Write the page.

    Parameters
    ----------
    path : path-like
        Its name, ``*.html``; replaced where it exists.
    tracks : Tracks
        Any, in 2D too. Every numeric column of its objects can be chosen for colours and curves.
    name : str
        What the page is called, such as the movie's name.

    Returns
    -------
    Path
        The page. The same tracks give the same bytes.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    import jinja2
    from markupsafe import Markup

    about, arrays = _content(tracks, name)
    folder = importlib.resources.files("helpers.view") / "page"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string((folder / "page.html").read_text("utf-8")).render(
        name=name,
        about=Markup(json.dumps(about, ensure_ascii=False).replace("<", "\\u003c")),
        arrays={key: Markup(text) for key, text in arrays.items()},
        three=Markup((folder / "three.min.js").read_text("utf-8")),
        licence=(folder / "three.LICENSE.txt").read_text("utf-8"),
        script=Markup((folder / "page.js").read_text("utf-8")),
    )
    path = Path(path)
    with atomic_path(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return path


def _content(tracks: Tracks, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the page says of the tracks, and its arrays as text."""
    table = tracks.annotated()
    frames = table["frame"].to_numpy()
    order = np.lexsort((table["track_id"], frames))
    table = table.iloc[order]
    n_frames = int(frames.max(initial=-1)) + 1
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.arange(len(order))
    links = row_of[tracks.link_rows]
    links = links[np.lexsort((links[:, 0], links[:, 1]))]
    edges = np.arange(n_frames + 1)
    points = table[["x", "y", "z"]].to_numpy(float)
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.zeros(3))
    spread = np.where(high > low, high - low, 1.0)
    starts = table.groupby("tracklet_id")["frame"].agg(["min", "max"])
    arrays = {
        "position": np.round((points - low) / spread * 65535).astype(np.uint16).ravel(),
        "link": links.T.ravel(),
        "first_object": np.searchsorted(table["frame"], edges),
        "first_link": np.searchsorted(table["frame"].to_numpy()[links[:, 1]], edges),
        "tracklet_start": starts["min"].to_numpy(),
        "tracklet_end": starts["max"].to_numpy(),
        "tracklet_generation": tracks.generations,
        "tracklet_link": tracks.tracklet_links.T.ravel(),
        "track_color": _bytes(label_colors(np.arange(1, tracks.n_tracks + 1))),
        "scale": _bytes(_viridis()),
    }
    values = {column: _values(table[column]) for column in numeric_columns(table)}
    arrays |= {f"column {column}": array for column, array in values.items()}
    per_frame, unit = clock(tracks)
    about = {
        "name": name,
        "objects": len(table),
        "links": len(links),
        "frames": n_frames,
        "tracks": tracks.n_tracks,
        "divisions": len(tracks.divisions),
        "flat": bool(high[2] == low[2]),
        "low": low.tolist(),
        "size": (high - low).tolist(),
        "radius": _radius(points, frames[order], high - low),
        "time": [per_frame, unit],
        "columns": [_column(column, array) for column, array in values.items()],
        "curve": next((c for c in _PREFERRED if c in values), "z"),
        "generation_colors": list(GENERATION_COLORS),
        "list": [said for said, _ in track_names(tracks)],
        "kinds": {key: _kind(array) for key, array in arrays.items()},
    }
    return about, {key: _text(array) for key, array in arrays.items()}


def _values(column: pd.Series) -> np.ndarray:
    values = column.to_numpy()
    return column.to_numpy(float, na_value=np.nan) if values.dtype == object else values


def _column(column: str, array: np.ndarray) -> dict[str, Any]:
    """Return what the page says of a column: its name with the unit, how many values, and where its colours end."""
    values = array.astype(float)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return {"name": column, "label": with_unit(column), "n": 0, "ends": [0, 1], "range": [0, 0]}
    whole = [float(values.min()), float(values.max())]
    ends = [float(end) for end in np.percentile(values, _ENDS)]
    # Most cells may have one and the same value, such as generation 0.
    ends = ends if ends[0] < ends[1] else whole
    return {"name": column, "label": with_unit(column), "n": len(values), "ends": ends, "range": whole}


def _radius(points: np.ndarray, frames: np.ndarray, size: np.ndarray) -> float:
    """Return the radius in µm at which cells of the fullest frame just do not hide each other."""
    from scipy.spatial import KDTree

    largest = float(size.max(initial=0)) / 30 or 1.0
    if len(points) == 0:
        return largest
    here = points[frames == np.bincount(frames).argmax()]
    if len(here) < 2:
        return largest
    apart, _ = KDTree(here).query(here, k=2)
    return min(largest, float(np.median(apart[:, 1])) / 2) or largest


#: Viridis from a quarter of its range to its end.
_VIRIDIS = "3b528b 2f6b8e 26828e 1f988b 28ae80 4ec36b 84d44b c2df23 fde725"


def _viridis() -> np.ndarray:
    """Return the part of viridis that is seen on a dark ground, (256, 3): between every few of its colours, for the process
    that writes a report has no matplotlib, which would write into the home folder.
    """
    known = np.array([list(bytes.fromhex(color)) for color in _VIRIDIS.split()]) / 255
    at, wanted = np.linspace(0, 1, len(known)), np.linspace(0, 1, 256)
    return np.stack([np.interp(wanted, at, channel) for channel in known.T], axis=1)


def _bytes(rgb: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(rgb) * 255).astype(np.uint8).ravel()


def _kind(array: np.ndarray) -> str:
    """Return how an array is stored: ``u1``, ``u2``, ``i4`` (differences) or ``f4``."""
    if array.dtype in (np.uint8, np.uint16):
        return f"u{array.dtype.itemsize}"
    if array.dtype == bool:
        return "i4"
    whole = np.issubdtype(array.dtype, np.integer)
    return "i4" if whole and np.all(np.abs(array.astype(float)) < 2**31) else "f4"


def _text(array: np.ndarray) -> str:
    """Return an array as text, by `_kind`."""
    kind = _kind(array)
    if kind == "i4":
        stored = np.diff(array.astype(np.int64), prepend=0).astype(np.int32)  # differences may wrap around
    elif kind == "f4":
        stored = _rounded(array.astype(np.float32))
    else:
        stored = array
    width = stored.dtype.itemsize
    shuffled = np.frombuffer(stored.astype(f"<{kind}").tobytes(), np.uint8).reshape(-1, width).T
    packed = gzip.compress(shuffled.tobytes(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round the mantissa to `_MANTISSA` bits, so that what is left compresses; whole numbers stay as they are."""
    values = np.where(np.isfinite(values), values, np.float32(np.nan))
    if np.all((values == np.round(values)) | np.isnan(values)):
        return values
    drop = 23 - _MANTISSA
    bits = values.view(np.uint32)
    nearest = (bits + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)
    return np.where(np.isnan(values), values, nearest.view(np.float32))

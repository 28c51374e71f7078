"""Metrics of tracks as mmv_h4tracks 1.3 has them, in pixels and frames, and its layout of a CSV.

Checked against its own code. Decimal points always: it writes commas on a German computer. A division ends a track, and a missed
frame counts as one on the straight line, since it knows neither divisions within a track nor gaps.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.tracking.formats.mmv_h4tracks import pixel_rows
from helpers.tracking.tracks import Tracks


@dataclass(frozen=True)
class _Metric:
    """Names of a metric: of its columns, one row per track; and in the first lines, as mmv_h4tracks spells them."""

    columns: tuple[str, ...]
    summary: tuple[str, ...]


def _mean_and_sd(name: str, unit: str, summary: tuple[str, ...] | None = None) -> _Metric:
    columns = (f"Average {name} [{unit}]", f"Standard deviation of {name} [{unit}]")
    return _Metric(columns, summary or columns)


_PIXELS, _SPEED = "# pixels", "# pixels/frame"
_METRICS = (
    _mean_and_sd("speed", _SPEED, (f"Average_speed [{_SPEED}]",)),
    _mean_and_sd("size", _PIXELS),
    _Metric(("Direction [°]",), ("Average direction [°]", "Standard deviation of direction [°]")),
    _Metric((f"Euclidean distance [{_PIXELS}]",), (f"Average euclidean distance [{_PIXELS}]",)),
    _Metric(
        (f"Velocity [{_SPEED}]",),
        ("Average velocity [#pixels/frame]", f"Standard deviation of velocity [{_SPEED}]"),
    ),
    _Metric((f"Accumulated distance [{_PIXELS}]",), (f"Average accumulated distance [{_PIXELS}]",)),
    _Metric(("Directness",), ("Average directness",)),
    _mean_and_sd("perimeter", _PIXELS, (f"Average perimeter [{_PIXELS}]", "Standard deviation of perimeter [# pixels")),
    _mean_and_sd("eccentricity", _PIXELS),
)  # fmt: skip
_ID, _DURATION = "ID", "Track duration [# frames]"
_ACCUMULATED = f"Accumulated distance [{_PIXELS}]"
#: Names of its metrics that are measured on outlines, and of the same in scikit-image.
_SHAPES = {"size": "area", "perimeter": "perimeter", "eccentricity": "eccentricity"}


def measure_pixels(tracks: Tracks, labels: Any = None) -> pd.DataFrame:
    """Measure each tracklet of two cells or more.

    Parameters
    ----------
    tracks : Tracks
        Of a 2D movie, with ``voxel_size``, and ``label`` where shapes are measured.
    labels : label movie, optional
        Anything with ``frame(t)``; without it there are no sizes, perimeters and eccentricities.

    Returns
    -------
    DataFrame
        ``ID``, the duration, and the metrics under mmv_h4tracks' names; three decimals.

    Raises
    ------
    InputError
        A movie in 3D, or tracks without a voxel size.
    """
    check_planar(tracks)
    rows = pixel_rows(tracks)
    shapes = None if labels is None or "label" not in tracks.objects else _shapes(tracks, labels)
    found = [_of_track(track, rows[rows[:, 0] == track], shapes) for track in np.unique(rows[:, 0])]
    names = [_ID, _DURATION, *(name for metric in _METRICS for name in metric.columns)]
    table = pd.DataFrame(found)
    return table[[name for name in names if name in table]] if len(table) else pd.DataFrame(columns=names)


def check_planar(tracks: Tracks) -> None:
    """Refuse tracks in 3D, and those without a voxel size."""
    if tracks.objects["z"].nunique() > 1:
        raise InputError("csv_layout", "mmv_h4tracks", "'own' for a movie in 3D: mmv_h4tracks knows 2D only")
    if tracks.voxel_size is None:
        raise InputError("voxel_size_um", None, "give [y, x] in µm: mmv_h4tracks counts pixels")


def _of_track(track: int, rows: np.ndarray, shapes: pd.DataFrame | None) -> dict[str, float]:
    places = rows[:, 2:].astype(float)
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    dy, dx = places[0, 0] - places[-1, 0], places[-1, 1] - places[0, 1]
    euclidean, path = np.around([np.hypot(dx, dy), steps.sum()], 3)
    found = {_ID: int(track), _DURATION: len(rows)}
    found |= _two("speed", _SPEED, steps)
    found["Direction [°]"] = np.around(np.degrees(np.arctan2(dy, dx)) % 360, 3)
    found[f"Euclidean distance [{_PIXELS}]"] = euclidean
    found[f"Velocity [{_SPEED}]"] = np.around(euclidean / len(rows), 3)
    found[_ACCUMULATED] = path
    found["Directness"] = np.around(euclidean / path, 3) if path else 0.0
    if shapes is not None:
        own = shapes[shapes["track"] == track]
        for name in _SHAPES:
            found |= _two(name, _PIXELS, own[name].to_numpy(float))
    return found


def _two(name: str, unit: str, values: np.ndarray) -> dict[str, float]:
    mean, sd = np.around([values.mean(), values.std()], 3)
    return dict(zip(_mean_and_sd(name, unit).columns, (mean, sd), strict=True))


def _shapes(tracks: Tracks, labels: Any) -> pd.DataFrame:
    """Measure the outlines of all cells: ``track`` and the names of `_SHAPES`."""
    from skimage.measure import regionprops_table

    keys = tracks.objects[["frame", "label"]].assign(track=tracks.tracklet_ids)
    tables = []
    for t, of_frame in keys.groupby("frame"):
        plane = np.asarray(labels.frame(int(t)))[0]  # type: ignore[arg-type]
        measured = pd.DataFrame(regionprops_table(plane, properties=["label", *_SHAPES.values()]))
        tables.append(
            of_frame.merge(measured.rename(columns={new: old for old, new in _SHAPES.items()}), on="label")
        )
    return pd.concat(tables, ignore_index=True)


def csv_lines(table: pd.DataFrame, min_movement: int = 0, min_duration: int = 0) -> list[list[Any]]:
    """Return the lines of its CSV.

    Parameters
    ----------
    table : DataFrame
        From `measure_pixels`.
    min_movement : int
        Pixels of the path that a track has at least; others stand last.
    min_duration : int
        Frames that it has at least.
    """
    valid = ((table[_ACCUMULATED] >= min_movement) & (table[_DURATION] >= min_duration)).to_numpy()
    metrics = [metric for metric in _METRICS if metric.columns[0] in table]
    durations = [f"{what} of track duration [# frames]" for what in ("Average", "Standard deviation")]
    durations[0] = "Average track duration [# frames]"
    lines: list[list[Any]] = [
        ["", "Number of cells", *durations, *(name for metric in metrics for name in metric.summary)],
        ["all", *_summary(table, metrics)],
        ["valid", *_summary(table[valid], metrics)],
        [],
        [f"Movement Threshold: {min_movement} pixels", f"Duration Threshold: {min_duration} frames"],
        [],
        list(table.columns),
        ["Cells matching the filters"],
        *table[valid].astype(object).to_numpy().tolist(),
    ]
    if not valid.all():
        lines += [
            [],
            [],
            ["Cells not matching the filters"],
            *table[~valid].astype(object).to_numpy().tolist(),
        ]
    return lines


def _summary(table: pd.DataFrame, metrics: Sequence[_Metric]) -> list[Any]:
    columns = [(_DURATION, 2), *((metric.columns[0], len(metric.summary)) for metric in metrics)]
    found: list[Any] = [len(table)]
    for name, n in columns:
        values = table[name].to_numpy(float)
        pair = (values.mean(), values.std()) if len(values) else (np.nan, np.nan)
        found += np.around(pair[:n], 3).tolist()
    return found


def write(table: pd.DataFrame, path: Path, min_movement: int = 0, min_duration: int = 0) -> None:
    """Write the CSV: commas between cells, decimal points.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(csv_lines(table, min_movement, min_duration))

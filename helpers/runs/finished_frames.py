"""Which frames of a movie are finished: their labels and their table are there, and as they were written.

    movies/<movie>/frames/00002.csv     the cells of frame 2
    movies/<movie>/frames/00002.json    seconds, and checksums of the table and of each method's labels

A frame without its table or labels is missing, and so is one whose files are damaged: it is segmented anew, alone. Labels
that can be read but are others than were written, in a file that was written to since, were changed by hand: they stay, and
are measured anew.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie
from helpers.data.lazy import LazyStack, pieces
from helpers.data.tables import as_csv
from helpers.errors import InputError
from helpers.runs.outputs import checksum
from helpers.runs.run import write_json
from helpers.tracking.objects import as_measured

State = Literal["finished", "changed", "missing"]


def table_path(frames: Path, t: int) -> Path:
    """Return the table of the cells of frame `t`."""
    return frames / f"{t:05d}.csv"


def finish(
    frames: Path,
    t: int,
    movies: Mapping[str, LabelMovie],
    labels: Mapping[str, np.ndarray | LazyStack],
    table: pd.DataFrame,
    seconds: Mapping[str, float],
) -> None:
    """Write what makes a frame count as finished, once its labels are written; the table is the last.

    Parameters
    ----------
    frames : Path
        The folder of the frames' files.
    t : int
        The frame.
    movies : mapping of str to LabelMovie
        Method → where its labels were written.
    labels : mapping of str to ndarray or LazyStack
        Method → the labels, shape (Z, Y, X).
    table : DataFrame
        One row per cell.
    seconds : mapping
        Part of the work → seconds.
    """
    content = as_csv(table).encode()
    written = {
        movie.path.name: {"checksum": _of_labels(labels[method]), "written_ns": _changed(movie, t)}
        for method, movie in movies.items()
    }
    record = {"frame": t, **seconds, "labels": written, "table": checksum(content)}
    write_json(frames / f"{t:05d}.json", record)
    part = table_path(frames, t).with_suffix(".part")
    part.write_bytes(content)
    part.replace(table_path(frames, t))


def states(frames: Path, wanted: Iterable[int], movies: Mapping[str, LabelMovie]) -> dict[int, State]:
    """Return how each frame stands.

    Parameters
    ----------
    frames : Path
        The folder of the frames' files.
    wanted : iterable of int
        The frames, all voxels of which are read.
    movies : mapping of str to LabelMovie
        Method → its labels.
    """
    there = set.intersection(*(movie.done_frames() for movie in movies.values()))
    return {t: _state(frames, t, movies) if t in there else "missing" for t in wanted}


def _state(frames: Path, t: int, movies: Mapping[str, LabelMovie]) -> State:
    record = _record(frames, t)
    try:
        content = table_path(frames, t).read_bytes()
    except FileNotFoundError:
        return "missing"
    if record is None or checksum(content) != record["table"]:
        return "missing"
    found = {_labels_state(movie, t, record["labels"].get(movie.path.name)) for movie in movies.values()}
    return next(one for one in ("missing", "changed", "finished") if one in found)


def read_tables(frames: Path, n_frames: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cells of all frames, and one row of seconds per frame."""
    tables = [pd.read_csv(table_path(frames, t)) for t in range(n_frames)]
    filled = [table for table in tables if len(table)] or tables[:1]
    records = [_record(frames, t) or {} for t in range(n_frames)]
    seconds = [{k: v for k, v in one.items() if k not in ("labels", "table")} for one in records]
    return as_measured(pd.concat(filled, ignore_index=True)), pd.DataFrame(seconds).fillna(0.0)


def own_columns(frames: Path, t: int, measured: pd.DataFrame) -> pd.DataFrame:
    """Return what the segmenter knew of the cells of a finished frame: label, and the columns that are not measured."""
    before = pd.read_csv(io.BytesIO(table_path(frames, t).read_bytes()))
    return before[["label", *(name for name in before if name not in measured)]]


def seconds_of(frames: Path, t: int) -> dict[str, float]:
    """Return the seconds that a finished frame took."""
    record = _record(frames, t) or {}
    return {name: value for name, value in record.items() if name not in ("frame", "labels", "table")}


def _record(frames: Path, t: int) -> dict[str, Any] | None:
    """Return the record of a frame; None where there is none that makes sense."""
    try:
        record = json.loads((frames / f"{t:05d}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    sound = isinstance(record, dict) and isinstance(record.get("labels"), dict) and record.get("frame") == t
    return record if sound and isinstance(record.get("table"), str) else None


def _labels_state(movie: LabelMovie, t: int, written: Any) -> State:
    try:
        found = _of_labels(movie.lazy_frame(t))
    except InputError:
        return "missing"
    if not isinstance(written, dict):
        return "missing"
    if found == written.get("checksum"):
        return "finished"
    return "missing" if written.get("written_ns") == _changed(movie, t) else "changed"


def _of_labels(labels: np.ndarray | LazyStack) -> int:
    """Return a checksum of labels, the same in 16 and 32 bits."""
    value = 0
    for part in pieces(labels.shape):
        value = zlib.crc32(np.ascontiguousarray(labels[part], dtype="<u4").data, value)
    return value


def _changed(movie: LabelMovie, t: int) -> int:
    return max(file.stat().st_mtime_ns for file in movie.files(t))

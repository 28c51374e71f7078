"""Plain CSV: a folder with ``objects.csv`` and ``links.csv``, or one file.

Beside the tables lies a JSON file (``tracks.json`` in the folder, ``<file>.json`` beside a single file) with the
voxel size, the frame interval and the type of each column; without it a table can still be read. In a single file
each object names its ``sources`` (ids of the objects it follows, separated by ``;``), the columns of those links as
``link_cost`` …, and, for people, the ids of its track and tracklet, and of a mother how plausible her division is
(``division_plausibility``, 0 to 1; below 0.5 it is left out of rates).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.atomic import atomic_path, write_json
from helpers.data.tables import SIX_DIGITS, read_table, write_table
from helpers.errors import InputError, read_json, reading, reads
from helpers.tracking.formats.storage import dtypes, existing, is_missing, numbers, with_dtypes
from helpers.tracking.plausibility import judge_divisions
from helpers.tracking.tracks import Tracks

_SOURCES = "sources"


@reads("a table of tracks")
def read(
    path: str | Path, *, voxel_size: Sequence[float] | None = None, frame_interval: float | None = None
) -> Tracks:
    """Read tracks from CSV.

    Parameters
    ----------
    path : path
        A folder with ``objects.csv`` (and ``links.csv``), or a single CSV file.
    voxel_size : sequence of float, optional
        (z, y, x) in µm; what the JSON file beside the table says if left out.
    frame_interval : float, optional
        Seconds between frames; likewise.

    Raises
    ------
    InputError
        Nothing there, no CSV, or a table that is no Tracks (see `Tracks`).
    """
    path = existing(path, "a CSV file or a folder with objects.csv")
    if path.is_dir():
        about = _about(path / "tracks.json")
        objects = _read_csv(existing(path / "objects.csv", "the table of objects"), about.get("objects"))
        links = None
        if (path / "links.csv").exists():
            links = _read_csv(path / "links.csv", about.get("links"))
    else:
        about = _about(Path(f"{path}.json"))
        objects, links = _split(_read_csv(path, about.get("file")), about)
    return Tracks(
        objects,
        links,  # type: ignore[arg-type]
        voxel_size if voxel_size is not None else about.get("voxel_size"),  # type: ignore[arg-type]
        frame_interval if frame_interval is not None else about.get("frame_interval"),
    )


def write(tracks: Tracks, path: str | Path, *, six_digits: bool = False) -> None:
    """Write tracks as CSV: a single file if `path` ends in ``.csv``, else a folder.

    Columns may hold numbers, text or arrays of numbers (as JSON).

    Parameters
    ----------
    tracks : Tracks
    path : path
    six_digits : bool
        Numbers have six significant digits, as in all tables of a run; by default those that they need to be read
        again as they are.
    """
    path = Path(path)
    about: dict[str, Any] = {"voxel_size": tracks.voxel_size, "frame_interval": tracks.frame_interval}
    if path.suffix.lower() == ".csv":
        table, about["derived"] = _joined(tracks, six_digits)
        about["links"] = dtypes(tracks.links)
        about["link_order"] = np.lexsort((tracks.links["source"], tracks.link_rows[:, 1])).tolist()
        about["file"] = _write_csv(table, path, six_digits)
        write_json(Path(f"{path}.json"), about)
        return
    path.mkdir(parents=True, exist_ok=True)
    about["objects"] = _write_csv(tracks.objects, path / "objects.csv", six_digits)
    about["links"] = _write_csv(tracks.links, path / "links.csv", six_digits)
    write_json(path / "tracks.json", about)


def _write_csv(table: pd.DataFrame, path: Path, six_digits: bool) -> dict[str, Any]:
    """Write a table and return what a CSV does not say: dtypes, arrays, and rows without a text."""
    described: dict[str, Any] = {"dtypes": dtypes(table), "arrays": [], "missing": {}}
    shown = table.copy()
    for column in table:
        series = table[column]
        if numbers(series) is not None:
            continue
        held = [value for value in series if not is_missing(value)]
        if any(isinstance(value, (np.ndarray, list, tuple)) for value in held):
            described["arrays"].append(column)
            texts = [
                None if is_missing(value) else json.dumps(np.asarray(value).tolist()) for value in series
            ]
            shown[column] = pd.Series(texts, index=series.index, dtype=object)
        rows = [row for row, value in enumerate(series) if is_missing(value)]
        if rows:
            described["missing"][column] = rows
    if six_digits:
        write_table(shown, path)
    else:
        with atomic_path(path) as temporary:
            shown.to_csv(temporary, index=False, lineterminator="\n")
    return described


def _read_csv(path: Path, described: dict[str, Any] | None) -> pd.DataFrame:
    if not described:
        return read_table(path, "path")
    wanted = described["dtypes"]
    numeric = {column: kind for column, kind in wanted.items() if _is_number(kind)}
    table = read_table(
        path,
        "path",
        dtype={column: numeric.get(column, "str") for column in wanted},
        keep_default_na=False,
        na_values={column: [""] for column in numeric},
    )
    for column in described["arrays"]:
        if column in table:
            values = [np.array(json.loads(text)) if text else None for text in table[column]]
            table[column] = pd.Series(values, dtype=object)
    for column, rows in described["missing"].items():
        if column in table and column not in described["arrays"]:
            values = table[column].astype(object)
            values.iloc[[row for row in rows if row < len(table)]] = None
            table[column] = values
    return with_dtypes(table, wanted)


def _whole(text: str) -> int:
    """Read a whole number, which a spreadsheet may have written as 7.0."""
    whole, _, rest = text.partition(".")
    if rest.strip("0"):
        raise ValueError(f"{text} is not a whole number")
    return int(whole)


def _is_number(kind: str) -> bool:
    return kind.lower().startswith(("int", "uint", "float", "bool"))


def _about(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    remedy = "delete it: the table is read without it"
    about = read_json(path, remedy)
    with reading(path, "JSON as written beside the table", remedy):
        for described in (about.get("file"), about.get("objects")):
            if described is not None:
                _ = dict(described["dtypes"]), dict(described["missing"]), list(described["arrays"])
        if not isinstance(about.get("links", {}), dict):
            raise ValueError("links is not a mapping")
    return about


def _joined(tracks: Tracks, six_digits: bool) -> tuple[pd.DataFrame, list[str]]:
    """Return the objects with their incoming links as columns, and the names of the columns added for people."""
    table = tracks.annotated()
    derived = [column for column in table if column not in tracks.objects]
    # A column of the user's wins over a derived one of the same name.
    table = tracks.objects.join(table[derived])
    judged = judge_divisions(tracks).set_index("parent_id")["plausibility"]
    if len(judged) and "division_plausibility" not in table:
        table["division_plausibility"] = table["id"].map(judged)
        derived.append("division_plausibility")
    target = tracks.link_rows[:, 1]
    order = np.lexsort((tracks.links["source"], target))
    for column in tracks.links.columns.drop("target"):
        name = _SOURCES if column == "source" else f"link_{column}"
        if name in tracks.objects:
            raise InputError("objects", name, "this column name is taken in a single file; write a folder")
        series = tracks.links[column]
        if numbers(series) is None:
            raise InputError(
                f"links.{column}", str(series.dtype), "a single file holds numbers; write a folder"
            )
        texts = [""] * len(table)
        for row, value in zip(target[order].tolist(), series.iloc[order].tolist(), strict=True):
            shown = SIX_DIGITS % value if six_digits and isinstance(value, float) else repr(value)
            texts[row] += (";" if texts[row] else "") + shown
        table[name] = texts
    return table, [str(column) for column in derived]


def _split(table: pd.DataFrame, about: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    objects = table.drop(columns=[column for column in about.get("derived", ()) if column in table])
    if _SOURCES not in table:
        return objects, None
    names = {_SOURCES: "source"} | {c: c[5:] for c in map(str, table) if c.startswith("link_")}
    links: dict[str, Any] = {}
    counts = [
        0 if is_missing(text) else str(text).count(";") + 1 for text in table[_SOURCES].replace("", None)
    ]
    for column, name in names.items():
        texts = ["" if is_missing(text) else str(text) for text in table[column]]
        # A lone "nan" is read as a missing cell.
        values = [text.split(";") if text else ["nan"] * n for text, n in zip(texts, counts, strict=True)]
        links[name] = [value for row in values for value in row]
    ids = table["id"] if "id" in table else pd.Series(np.arange(len(table)))
    links["target"] = np.repeat(ids.to_numpy(), counts)
    try:
        result = pd.DataFrame(links)
        wanted = about.get("links") or {"source": "int64", "target": "int64"}
        for column in result.columns.drop("target"):
            kind = wanted.get(column, "float64")
            if column == "source" or kind.startswith(("int", "uint", "Int", "UInt")):
                result[column] = [_whole(str(v)) for v in result[column]]
            elif kind.startswith("bool"):
                result[column] = [value == "True" for value in result[column]]
            else:
                result[column] = result[column].astype(float)
    except ValueError as error:
        raise InputError(
            _SOURCES, str(error), "ids separated by ;, and as many values in each link_ column"
        ) from error
    if sorted(order := about.get("link_order", [])) == list(range(len(result))):
        result = result.iloc[np.argsort(order)].reset_index(drop=True)
    return objects.drop(columns=list(names)), with_dtypes(result, wanted)

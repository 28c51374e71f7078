"""The table of an experiment: a CSV file with one row per movie."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path
from typing import Any

import yaml

from helpers.data import names
from helpers.data.yaml_positions import YamlPositions, composed
from helpers.errors import Mistakes

#: Columns of the movies' CSV, beside the parameters of the steps that work on one movie.
COLUMNS = ("movie_id", "movie", "labels", "truth", "clean", "truth_tracks", "condition", "animal", "note")
#: Those of them that hold paths.
PATH_COLUMNS = ("movie", "labels", "truth", "clean", "truth_tracks", "tissue_mask")
#: What a cell may say instead of a number, a list or a text.
_WORDS = {
    "true": True,
    "yes": True,
    "on": True,
    "false": False,
    "no": False,
    "off": False,
    "none": None,
    "null": None,
}


def below(folder: Path, name: Any) -> Path:
    """Return a path that may be relative to a folder, or begin with the home folder's ``~``."""
    return folder / os.path.expanduser(str(name))


def read_movies(
    path: Path, content: dict[str, Any], data_dir: Path, positions: YamlPositions, mistakes: Mistakes
) -> tuple[list[dict[str, Any]], tuple[str, tuple[str, ...], tuple[int, ...]]]:
    """Read the table of movies, and where its rows stand."""
    nothing = ("", (), ())
    if not content.get("movies"):
        return [], nothing
    table = below(path.parent, content["movies"])
    unread = (table.name, (), ())
    if not table.is_file():
        mistakes.add(positions.where("movies"), content["movies"], f"there is no such file in {path.parent}")
        return [], unread
    try:
        text = table.read_text(encoding="utf-8-sig")
        if "\0" in text:
            raise UnicodeDecodeError("utf-8", b"\0", text.index("\0"), text.index("\0") + 1, "a zero byte")
    except UnicodeDecodeError as error:
        mistakes.add(table.name, f"byte {error.start}", "is not text in UTF-8; save the table as 'CSV UTF-8'")
        return [], unread
    # Strict: a quote that never closes would swallow the rest of the table.
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        columns, *rows = [(line, reader.line_num) for line in reader] or [([], 1)]
    except csv.Error as error:
        expected = f"is not valid CSV here ({error}); look for a quote that does not close"
        mistakes.add(f"{table.name}, line {_unclosed(text) or reader.line_num}", table.name, expected)
        return [], unread
    columns = tuple(column.strip() for column in columns[0])
    if not {"movie", "labels"} & set(columns):
        hint = (
            "" if len(columns) != 1 or not re.search(r"[;\t]", columns[0]) else "; separate columns by commas"
        )
        expected = f"needs a column 'movie' with the path of each movie{hint}"
        mistakes.add(f"{table.name}, line 1", list(columns), expected)
        return [], unread
    for column in {c for c in columns if columns.count(c) > 1}:
        mistakes.add(f"{table.name}, line 1, column {column}", column, "stands twice; keep one of them")
    movies, lines = [], []
    for cells, line in rows:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{table.name}, line {line}"
        if len(cells) != len(columns):
            expected = f"needs one value for each of {', '.join(columns)}"
            expected += "; a list, or a number with a comma, stands in quotes" * (len(cells) > len(columns))
            mistakes.add(where, cells, expected)
            continue
        row = {c: cell.strip() for c, cell in zip(columns, cells, strict=True) if cell.strip()}
        movie = _movie(row, data_dir, where, mistakes)
        if names.same(movie["movie_id"]) in {names.same(m["movie_id"]) for m in movies}:
            expected = "stands twice, in any case of its letters; give each movie its own name"
            mistakes.add(f"{where}, column movie_id", movie["movie_id"], expected)
        movies.append(movie)
        lines.append(line)
    # Where no row could be read, that is reported, and not that there is none.
    return movies, (table.name, columns, tuple(lines)) if movies or not rows else unread


def _movie(row: dict[str, str], data_dir: Path, where: str, mistakes: Mistakes) -> dict[str, Any]:
    values = dict(row)
    for column in PATH_COLUMNS:
        if column in row:
            values[column] = str(below(data_dir, row[column]))
    if not {"movie", "labels", "objects", "tracks"} & values.keys():
        mistakes.add(f"{where}, column movie", "", "name the movie's file or folder")
    first = next((row[name] for name in ("movie", "labels", "objects", "tracks") if name in row), "movie")
    name = row.get("movie_id") or names.of_file(first)
    if not names.is_plain(name):
        mistakes.add(f"{where}, column movie_id", name, names.EXPECTED)
    return {"movie": "", **values, "movie_id": name}


def _unclosed(text: str) -> int | None:
    """Return the line in which the quote opens that never closes."""
    quotes = [i for i, character in enumerate(text) if character == '"']
    return text.count("\n", 0, quotes[-1]) + 1 if len(quotes) % 2 else None


def value_of(text: str) -> Any:
    """Read what a cell says of a parameter that is not text: a number, a list, a word such as ``true``, else the text.

    YAML is asked about lists and mappings only: of ``12:30`` it would make 750, of ``0x10`` 16.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text.startswith(("[", "{")):
        try:
            composed(text, "cell")
            return yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            return text
    if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        return int(text) if len(text) < 400 else text
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.ASCII | re.IGNORECASE):
        return float(text)
    return text

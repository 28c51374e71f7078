"""Experiment files: one YAML and its CSV describe the data and the parameters of all steps.

    name: demo
    run_dir: runs/demo                    # optional; results go here
    voxel_size_um: [1.5, 0.5, 0.5]        # optional; of all movies and pairs, where the files do not say it
    frame_interval_s: 60                  # optional; likewise
    prepare: {synthetic: {seed: 7}}       # optional; makes or fetches the data below <run_dir>/data
    pairs: {raw_dir: train/raw, label_dir: train/label}
    annotations: {raw_dir: train/raw, annotation_dir: train/drawn}     # in place of pairs, or beside: where only some cells are drawn
    movies: demo_movies.csv               # one row per movie: movie_id, movie, truth, …
    steps:
      03_create_dataset: {patch_size: [16, 64, 64]}
      06_segment: {}

Paths are relative to `data_dir`: the folder of prepared data, or else the folder of the YAML file.

Over 400 lines, for each mistake in a file has a message of its own.
"""

from __future__ import annotations

import csv
import dataclasses
import inspect
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from helpers.data import names
from helpers.data.yaml_positions import YamlPositions, composed
from helpers.errors import InputError, Mistakes, nearest, reading

#: Keys of an experiment file and what they are for.
KEYS = {
    "name": "name of the experiment",
    "run_dir": "folder of the results",
    "data_dir": "folder that the paths of pairs and movies are relative to",
    "voxel_size_um": "voxel size [z, y, x] in µm of all movies and pairs",
    "frame_interval_s": "seconds between two frames of all movies",
    "figure_formats": "formats of all figures: [png, pdf] unless you say otherwise, also svg",
    "prepare": "data to make or fetch first: synthetic, ovule, embryo, nuclei or cells",
    "pairs": "raw_dir, label_dir, binary_dir: the training pairs",
    "annotations": "raw_dir, annotation_dir, unannotated, background_label: stacks in which only some cells are drawn",
    "movies": "CSV file with one row per movie",
    "steps": "the notebooks to run, with their parameters",
}
#: Keys that every step takes which has such a parameter; a step's own value and a movie's column go before them.
SHARED = ("voxel_size_um", "frame_interval_s", "figure_formats")
PAIRS = ("raw_dir", "label_dir", "binary_dir")
#: Keys of `annotations`: folders, and what the values of label files mean.
ANNOTATION_DIRS, ANNOTATION_VALUES = ("raw_dir", "annotation_dir"), ("unannotated", "background_label")
#: Keys whose value is text, whatever YAML makes of it.
_TEXTS = ("name", "run_dir", "data_dir", "movies")
#: Settings of the synthetic training stacks that its movie has not.
_OF_STACKS = ("n_stacks", "drawn_cells")
PREPARATIONS = ("synthetic", "ovule", "embryo", "nuclei", "cells")
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


@dataclass(frozen=True)
class Experiment:
    """A read and checked experiment file.

    Attributes
    ----------
    name : str
        Name of the experiment.
    path : Path
        The YAML file.
    run_dir : Path
        Folder of the results, absolute.
    data_dir : Path
        Folder of the data, absolute.
    prepare : dict
        Preparation → its settings; empty where the data are there already.
    pairs : dict
        What `pairs` and `annotations` name: ``raw_dir``, ``label_dir``, ``binary_dir``, ``annotation_dir`` as absolute paths;
        ``unannotated``, ``background_label``.
    movies : list of dict
        One a row: column → text as it is written, or absolute path; empty cells are left out.
    steps : dict
        Notebook name → parameters, in the file's order.
    scale : dict
        ``voxel_size_um`` and ``frame_interval_s``, where the file gives them for all.
    """

    name: str
    path: Path
    run_dir: Path
    data_dir: Path
    prepare: dict[str, dict[str, Any]] = field(default_factory=dict)
    pairs: dict[str, Any] = field(default_factory=dict)
    movies: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    scale: dict[str, Any] = field(default_factory=dict)
    _positions: YamlPositions | None = field(repr=False, compare=False, default=None)
    #: Name of a step → how the file calls it, where that differs.
    _aliases: dict[str, str] = field(repr=False, compare=False, default_factory=dict)
    #: Name of the CSV file, its columns, and the line of each row of `movies`.
    _table: tuple[str, tuple[str, ...], tuple[int, ...]] = field(
        repr=False, compare=False, default=("", (), ())
    )

    def where(self, *keys: object) -> str:
        """Return ``"file.yaml, line 7, column 3, key"`` for a key of the file, for error messages."""
        keys = self._as_written(keys)
        return (
            self._positions.where(*keys)
            if self._positions
            else f"{self.path.name}, {'.'.join(map(str, keys))}"
        )

    def where_pairs(self, key: str) -> str:
        """Return where a key stands in `pairs`, or else in `annotations`."""
        content = self._positions.content if self._positions else {}
        sections = [name for name in ("pairs", "annotations") if key in (content.get(name) or {})]
        return self.where(sections[0] if sections else "pairs", key)

    def written(self, *keys: object) -> Any:
        """Return what the file says at a key, its numbers, dates and words such as ``no`` as text."""
        return self._positions.written(*self._as_written(keys)) if self._positions else None

    def _as_written(self, keys: tuple[object, ...]) -> tuple[object, ...]:
        if len(keys) < 2 or keys[0] != "steps":
            return keys
        return keys[0], self._aliases.get(str(keys[1]), keys[1]), *keys[2:]

    def name_steps(self, known: Callable[[str], str | None], mistakes: Mistakes) -> None:
        """Call the steps as they are called here, whatever number they have in the file.

        Parameters
        ----------
        known : callable
            Returns the name of the step that a text means, or None.
        mistakes : Mistakes
            Takes steps that are named twice.
        """
        for written in list(self.steps):
            name = known(written)
            if name is None or name == written:
                continue
            if name in self.steps:
                mistakes.add(
                    self.where("steps", written), written, f"is {name}, which is there too; keep one of them"
                )
            else:
                self._aliases[name] = written
                self.steps[name] = self.steps[written]
            del self.steps[written]

    def where_movie(self, row: int, column: str) -> str:
        """Return ``"file.csv, line 3, column name"`` for a cell of the table of movies."""
        return f"{self._table[0]}, line {self._table[2][row]}, column {column}"

    @property
    def is_table_read(self) -> bool:
        """Whether the table of movies could be read, or none is named."""
        return bool(self._table[1]) or not self._table[0]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table of movies."""
        return self._table[1]

    def where_column(self, column: str) -> str:
        """Return ``"file.csv, line 1, column 3, name"`` for a column of the table of movies."""
        return f"{self._table[0]}, line 1, column {self.columns.index(column) + 1}, {column}"


def read_experiment(
    path: str | Path, *, run_dir: str | Path | None = None, mistakes: Mistakes | None = None
) -> Experiment:
    """Read an experiment file and its CSV.

    Parameters
    ----------
    path : str or Path
        The YAML file.
    run_dir : str or Path, optional
        Put the results here instead.
    mistakes : Mistakes, optional
        Takes what is wrong, for a caller that looks for more of it; by default all of it is raised.

    Raises
    ------
    InputError
        If the file or its CSV cannot be read, or has unknown keys or values; each with file, line, column and the
        nearest valid name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "experiment",
            str(path),
            "there is no such file; name a YAML file, such as data_manifests/demo.yaml",
        )
    positions = YamlPositions(path)
    if not isinstance(positions.content, dict):
        raise InputError(str(path), positions.content, f"an experiment file has the keys {', '.join(KEYS)}")
    found = mistakes or Mistakes()
    positions.check_once(found)
    content = positions.content
    for key in content:
        if key not in KEYS:
            found.add(positions.where(key), key, f"no such key; {nearest(key, KEYS)}")
    for key in _TEXTS[1:]:
        if isinstance(content.get(key), bool):
            found.add(
                positions.where(key),
                positions.written(key),
                "names a file or folder; write its name in quotes",
            )
    content = content | {key: positions.written(key) for key in _TEXTS if key in content}
    name = str(content.get("name") or path.stem)
    target = _run_dir(content, name, run_dir, positions, found)
    prepare = _sections(content, "prepare", positions, found)
    _check_prepare(prepare, positions, found)
    data_dir = _data_dir(path, content, target, bool(prepare))
    pairs = _pairs(content, data_dir, positions, found)
    with reading(
        path.parent / str(content.get("movies")), "the table of movies", "save it as 'CSV UTF-8' again"
    ):
        movies, table = _movies(path, content, data_dir, positions, found)
    experiment = Experiment(
        name=name,
        path=path.absolute(),
        run_dir=target,
        data_dir=data_dir,
        prepare=prepare,
        pairs=pairs,
        movies=movies,
        steps=_sections(content, "steps", positions, found),
        scale={key: content[key] for key in SHARED if content.get(key) is not None},
        _positions=positions,
        _table=table,
    )
    if mistakes is None:
        found.raise_all()
    return experiment


def _pairs(
    content: dict[str, Any], data_dir: Path, positions: YamlPositions, mistakes: Mistakes
) -> dict[str, Any]:
    """Return what `pairs` and `annotations` name, folders as absolute paths; both may name the raw stacks."""
    together: dict[str, Any] = {}
    known = {"pairs": (PAIRS, ()), "annotations": (ANNOTATION_DIRS, ANNOTATION_VALUES)}
    for section, (folders, values) in known.items():
        for key, value in _section(content, section, positions, mistakes).items():
            if key in values:
                together[key] = value
                continue
            if key not in folders:
                mistakes.add(
                    positions.where(section, key), key, f"no such key; {nearest(key, (*folders, *values))}"
                )
            elif not isinstance(value, str) or not value:
                mistakes.add(positions.where(section, key), value, "name a folder")
            folder = str(_below(data_dir, value))
            if together.setdefault(key, folder) != folder:
                mistakes.add(
                    positions.where(section, key), value, f"the folder that pairs names too, {together[key]}"
                )
    return together


def _run_dir(
    content: dict[str, Any], name: str, given: str | Path | None, positions: YamlPositions, mistakes: Mistakes
) -> Path:
    """Return the folder of the results; a file that someone else wrote must not lead it elsewhere unseen."""
    if given:
        return Path(given).absolute()
    if not content.get("run_dir"):
        if not names.is_plain(name):
            mistakes.add(
                positions.where("name"), name, "names a folder of runs/: use no / and no leading dot"
            )
        return (Path("runs") / name).absolute()
    folder = Path(os.path.expanduser(str(content["run_dir"])))
    if ".." in folder.parts:
        mistakes.add(
            positions.where("run_dir"),
            str(folder),
            "must not lead out by '..'; give the whole path, or --run-dir",
        )
    return folder.absolute()


def _data_dir(path: Path, content: dict[str, Any], run_dir: Path, prepared: bool) -> Path:
    if content.get("data_dir"):
        return _below(path.parent, content["data_dir"]).absolute()
    return run_dir / "data" if prepared else path.parent.absolute()


def _below(folder: Path, name: Any) -> Path:
    """Return a path that may be relative to a folder, or begin with the home folder's ``~``."""
    return folder / os.path.expanduser(str(name))


def _section(
    content: dict[str, Any], key: str, positions: YamlPositions, mistakes: Mistakes
) -> dict[str, Any]:
    section = content.get(key) or {}
    if not isinstance(section, dict):
        mistakes.add(
            positions.where(key), section, f"{KEYS[key]}: write one 'name: value' a line below {key}:"
        )
        return {}
    return dict(section)


def _sections(
    content: dict[str, Any], key: str, positions: YamlPositions, mistakes: Mistakes
) -> dict[str, dict[str, Any]]:
    """Return a section whose every entry holds settings, or nothing."""
    found = {}
    for name, settings in _section(content, key, positions, mistakes).items():
        if settings is not None and not isinstance(settings, dict):
            mistakes.add(
                positions.where(key, name),
                settings,
                f"write one 'name: value' a line below {name}:, or nothing",
            )
            settings = {}
        found[str(name)] = dict(settings or {})
    return found


def _check_prepare(prepare: dict[str, dict[str, Any]], positions: YamlPositions, mistakes: Mistakes) -> None:
    from helpers.data import samples
    from helpers.data.synthetic.settings import SyntheticSettings

    known = {
        "synthetic": {*_OF_STACKS, *(f.name for f in dataclasses.fields(SyntheticSettings))},
        **{
            name: set(inspect.signature(make).parameters) - {"folder"}
            for name, make in samples.PREPARATIONS.items()
        },
    }
    for name, settings in prepare.items():
        if name not in PREPARATIONS:
            mistakes.add(
                positions.where("prepare", name), name, f"no such preparation; {nearest(name, PREPARATIONS)}"
            )
            continue
        for setting, value in settings.items():
            where = positions.where("prepare", name, setting)
            if setting not in known[name]:
                mistakes.add(where, setting, f"no such setting; {nearest(setting, sorted(known[name]))}")
            elif name != "synthetic" or setting in _OF_STACKS:
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    mistakes.add(where, value, "give a whole number, at least 1")
            else:
                try:
                    SyntheticSettings(**{setting: value})
                except InputError as error:
                    mistakes.add(where, value, error.expected)


def _movies(
    path: Path, content: dict[str, Any], data_dir: Path, positions: YamlPositions, mistakes: Mistakes
) -> tuple[list[dict[str, Any]], tuple[str, tuple[str, ...], tuple[int, ...]]]:
    """Read the table of movies, and where its rows stand."""
    nothing = ("", (), ())
    if not content.get("movies"):
        return [], nothing
    table = _below(path.parent, content["movies"])
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
        expected = f"is no CSV here ({error}); look for a quote that does not close"
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
    # Where no row could be read, that is told, and not that there is none.
    return movies, (table.name, columns, tuple(lines)) if movies or not rows else unread


def _movie(row: dict[str, str], data_dir: Path, where: str, mistakes: Mistakes) -> dict[str, Any]:
    values = dict(row)
    for column in PATH_COLUMNS:
        if column in row:
            values[column] = str(_below(data_dir, row[column]))
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

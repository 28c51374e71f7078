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
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.data import names
from helpers.data.movie_table import below, read_movies
from helpers.data.yaml_positions import YamlPositions
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
        movies, table = read_movies(path, content, data_dir, positions, found)
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
            folder = str(below(data_dir, value))
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
        return below(path.parent, content["data_dir"]).absolute()
    return run_dir / "data" if prepared else path.parent.absolute()


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

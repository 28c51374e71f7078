"""Experiment files: one YAML and its CSV describe the data and the parameters of all steps.

    name: demo
    run_dir: runs/demo                    # optional; results go here
    prepare: {synthetic: {seed: 7}}       # optional; makes or fetches the data below <run_dir>/data
    pairs: {raw_dir: train/raw, label_dir: train/label}
    movies: demo_movies.csv               # one row a movie: movie_id, movie, truth, …
    steps:
      01_create_dataset: {patch_size: [16, 64, 64]}
      05_segment: {}

Paths are relative to `data_dir`: the folder of prepared data, or else the folder of the YAML file.
"""

from __future__ import annotations

import csv
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from helpers.errors import InputError

#: Keys of an experiment file and what they are for.
KEYS = {
    "name": "name of the experiment",
    "run_dir": "folder of the results",
    "data_dir": "folder that the paths of pairs and movies are relative to",
    "prepare": "data to make or fetch first: synthetic, ovule or embryo",
    "pairs": "raw_dir, label_dir, binary_dir: the training pairs",
    "movies": "CSV file with one row a movie",
    "steps": "the notebooks to run, with their parameters",
}
#: Columns of the movies' CSV that hold paths.
PATH_COLUMNS = ("movie", "truth", "tissue_mask", "clean", "truth_tracks", "pairs")
PREPARATIONS = ("synthetic", "ovule", "embryo")


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
        ``raw_dir``, ``label_dir``, ``binary_dir`` as absolute paths.
    movies : list of dict
        One a row: column → text, number or absolute path; empty cells are left out.
    steps : dict
        Notebook name → parameters, in the file's order.
    """

    name: str
    path: Path
    run_dir: Path
    data_dir: Path
    prepare: dict[str, dict[str, Any]] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    movies: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    def where(self, *keys: str) -> str:
        """Return ``"file.yaml, line 7"`` for a key of the file, for error messages."""
        return _where(self.path, *keys)


def read_experiment(path: str | Path, *, run_dir: str | Path | None = None) -> Experiment:
    """Read an experiment file and its CSV.

    Parameters
    ----------
    path : str or Path
        The YAML file.
    run_dir : str or Path, optional
        Put the results here instead.

    Raises
    ------
    InputError
        If the file or its CSV cannot be read, or has an unknown key; with file, line and the nearest valid name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "experiment",
            str(path),
            "there is no such file; name a YAML file, such as data_manifests/demo.yaml",
        )
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(str(path), "not valid YAML", str(error).replace("\n", " ")) from None
    if not isinstance(content, dict):
        raise InputError(str(path), content, f"an experiment file has the keys {', '.join(KEYS)}")
    for key in content:
        if key not in KEYS:
            raise InputError(_where(path, key), key, f"no such key; {_nearest(key, list(KEYS))}")
    name = str(content.get("name") or path.stem)
    target = Path(run_dir or content.get("run_dir") or Path("runs") / name).absolute()
    prepare = _section(path, content, "prepare")
    for key in prepare:
        if key not in PREPARATIONS:
            raise InputError(
                _where(path, "prepare", key), key, f"no such preparation; {_nearest(key, PREPARATIONS)}"
            )
    data_dir = _data_dir(path, content, target, bool(prepare))
    pairs = _section(path, content, "pairs")
    for key, value in pairs.items():
        if key not in ("raw_dir", "label_dir", "binary_dir"):
            raise InputError(
                _where(path, "pairs", key),
                key,
                f"no such key; {_nearest(key, ['raw_dir', 'label_dir', 'binary_dir'])}",
            )
        pairs[key] = str(data_dir / str(value))
    steps = {str(k): dict(v or {}) for k, v in _section(path, content, "steps").items()}
    return Experiment(
        name=name,
        path=path.absolute(),
        run_dir=target,
        data_dir=data_dir,
        prepare={k: dict(v or {}) for k, v in prepare.items()},
        pairs=pairs,
        movies=_movies(path, content, data_dir),
        steps=steps,
    )


def _data_dir(path: Path, content: dict[str, Any], run_dir: Path, prepared: bool) -> Path:
    if content.get("data_dir"):
        return (path.parent / str(content["data_dir"])).absolute()
    return run_dir / "data" if prepared else path.parent.absolute()


def _section(path: Path, content: dict[str, Any], key: str) -> dict[str, Any]:
    section = content.get(key) or {}
    if not isinstance(section, dict):
        raise InputError(
            _where(path, key), section, f"{KEYS[key]}: write one 'name: value' a line below {key}:"
        )
    return dict(section)


def _movies(path: Path, content: dict[str, Any], data_dir: Path) -> list[dict[str, Any]]:
    if not content.get("movies"):
        return []
    table = path.parent / str(content["movies"])
    if not table.is_file():
        raise InputError(_where(path, "movies"), content["movies"], f"there is no such file in {path.parent}")
    with table.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
    columns = reader.fieldnames or []
    if "movie" not in columns:
        raise InputError(str(table), columns, "needs a column 'movie' with the path of each movie")
    movies, seen = [], set()
    for line, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InputError(
                f"{table}, line {line}", row, f"needs one value for each of {', '.join(columns)}"
            )
        values = {k: _value(v.strip()) for k, v in row.items() if v.strip()}
        for column in PATH_COLUMNS:
            if column in values:
                values[column] = str(data_dir / str(values[column]))
        if "movie" not in values:
            raise InputError(f"{table}, line {line}, column movie", "", "name the movie's file or folder")
        values["movie_id"] = str(row.get("movie_id") or Path(values["movie"]).name.split(".")[0]).strip()
        if values["movie_id"] in seen:
            raise InputError(
                f"{table}, line {line}, column movie_id",
                values["movie_id"],
                "stands twice; give each movie its own name",
            )
        if Path(values["movie_id"]).name != values["movie_id"]:
            raise InputError(
                f"{table}, line {line}, column movie_id",
                values["movie_id"],
                "must be a plain name, without / or ..",
            )
        seen.add(values["movie_id"])
        movies.append(values)
    return movies


def _value(text: str) -> Any:
    """Read a CSV cell as YAML does, but keep what only looks like a number (007) as text."""
    if text.isdigit() and text != str(int(text)):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, (bool, int, float, list)) else text


def _nearest(key: str, valid: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(key), valid, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(valid)}"


def _where(path: Path, *keys: str) -> str:
    """Find the line and column of a nested key."""
    node = yaml.compose(path.read_text())
    mark = None
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for k, v in node.value:
            if k.value == str(key):
                mark, node = k.start_mark, v
                break
        else:
            break
    at = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{path.name}{at}, {'.'.join(map(str, keys))}"

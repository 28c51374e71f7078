"""A new experiment, written from a folder of images: YAML and CSV, with every parameter explained in place."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from helpers.data.boundary_width import BoundaryWidth, choose_boundary_width
from helpers.data.experiment import SHARED
from helpers.data.movies import Movie
from helpers.data.numbering import frame_numbers
from helpers.data.pairs import list_images, match_pairs
from helpers.data.source import is_image, natural_key, stem
from helpers.data.stacks import open_stacks
from helpers.errors import InputError
from helpers.runs.parameters import STEPS, Parameters

#: What is on where there are training pairs, before tracking.
_FROM_PAIRS = ("create_dataset", "train_segmentation", "optimize_thresholds", "segment")
#: Where a folder's training pairs may lie (raw, labels); the last are the paper's names.
_PAIRS = [("train/raw", "train/label"), ("train/raw", "train/labels"), ("raw", "label"), ("Raw", "RealMask")]
#: Where its movies and their true labels may lie, beside the folder itself.
_MOVIES = ("movies", "test/raw", "test")
_TRUTHS = ("truth", "test/label", "test/labels")
#: Not written as comments: the run sets them itself.
_OWN = {
    *SHARED,
    "run_dir",
    "movie_id",
    "movie",
    "raw",
    "truth",
    "raw_paths",
    "clean_paths",
    "conditions",
    "animals",
    "overwrite",
}


def new_experiment(folder: str | Path, *, into: str | Path = ".") -> str:
    """Write ``<name>.yaml`` and ``<name>_movies.csv`` for a folder of images, and return what was found, in words.

    Movies are the images of the folder, or the images and folders of stacks of ``movies/`` or ``test/raw/`` in it; true
    labels of the same names may lie
    in ``truth/`` or ``test/label/``, training pairs in ``train/raw/`` and ``train/label/``.

    Parameters
    ----------
    folder : path-like
        The folder of images.
    into : path-like
        Where to write; nothing is ever replaced.

    Raises
    ------
    InputError
        If there are no images, a file cannot be opened, or the experiment is there already.
    """
    data = Path(folder).absolute()
    if not data.is_dir():
        raise InputError("folder", str(folder), "there is no such folder; name one that holds images")
    here = next((data / n for n in _MOVIES if _has_images(data / n) or _folders_of_stacks(data / n)), data)
    pairs = next((p for p in _PAIRS if all(_has_images(data / n) for n in p)), None)
    folders = [] if here == data else _folders_of_stacks(here)
    if pairs and not (_has_images(here) or folders):
        here = data / pairs[0]
    movies = folders + (list_images(here, name="folder") if _has_images(here) or not folders else [])
    truths = {stem(p): p for n in _TRUTHS if _has_images(data / n) for p in list_images(data / n)}
    truths |= {p.name: p for n in _TRUTHS for p in _folders_of_stacks(data / n)}
    name = "".join(c if c.isalnum() or c in "-_" else "_" for c in data.name) or "experiment"
    yaml, table = Path(into) / f"{name}.yaml", Path(into) / f"{name}_movies.csv"
    for path in (yaml, table):
        if path.exists():
            raise InputError("folder", str(folder), f"{path} is there already; rename or remove it")
    opened = {path: Movie.open(path, missing_frames="empty") for path in movies}
    for path in movies:
        if not str(path).isprintable():
            raise InputError("folder", str(path), "this name is not valid text: rename it")
    unknown = [path.name for path, movie in opened.items() if movie.voxel_size is None]
    untimed = [path.name for path, m in opened.items() if m.frame_interval is None and m.n_frames > 1]
    _write_table(table, data, movies, truths)
    first = Movie.open(list_images(data / pairs[0])[0]) if pairs else opened[movies[0]]
    values: dict[str, Any] = {"patch_size": _patch_size(first.shape[2:])}
    border = _boundary_width(data, pairs) if pairs else None
    if border:
        values["boundary_width_um"] = border.width
    reasons = {"boundary_width_um": border.why} if border else {}
    yaml.write_text(_yaml(name, data, table.name, pairs, bool(truths), values, reasons), encoding="utf-8")
    lines = [
        f"{len(movies)} movie{'' if len(movies) == 1 else 's'} in {here}, {sum(stem(p) in truths for p in movies)} with true labels"
    ]
    if _are_frames(list(opened.values())):
        lines.append(
            "NOTE: these look like the frames of one movie, a file each: if so, put them into one folder in "
            f"{data / _MOVIES[0]}, and begin anew"
        )
    lines.append(f"training pairs: {data / pairs[0]} and {pairs[1]}" if pairs else _NO_PAIRS)
    if border:
        lines.append(f"the U-Net's mask, boundary_width_um {border.width:g}: {border.why}")
    for parameter, what, silent in (
        ("voxel_size_um", "[z, y, x] in µm (in 2D [y, x])", unknown),
        ("frame_interval_s", "the seconds between two frames", untimed),
    ):
        if silent:
            all_movies = f"at the top of {yaml}" if len(silent) == len(movies) else f"as a column of {table}"
            lines.append(
                f"TO DO: write {parameter}, {what}, {all_movies}; these do not say it: {', '.join(silent)}"
            )
    for path, movie in opened.items():
        if movie.empty_frames:
            lines.append(
                f"TO DO: add what {path.name} lacks, or write the column missing_frames, empty for that movie, into {table}: "
                f"frames {', '.join(map(str, sorted(movie.empty_frames)[:5]))}, counted from 0, are not there"
            )
    return "\n".join(
        [*lines, f"written: {yaml} and {table}", f"next: python -m helpers run {yaml} --dry-run"]
    )


_NO_PAIRS = (
    "no training pairs (train/raw and train/label): the experiment segments with Cellpose; with pairs, turn on "
    "create_dataset to segment in the file"
)


def _are_frames(movies: list[Movie]) -> bool:
    """Whether movies of one frame are told apart by a number that counts on."""
    if len(movies) < 3 or any(movie.n_frames > 1 or movie.shape != movies[0].shape for movie in movies):
        return False
    numbers = frame_numbers([movie.path for movie in movies])
    return numbers is not None and len({b - a for a, b in pairwise(sorted(numbers))}) == 1


def _has_images(folder: Path) -> bool:
    return folder.is_dir() and any(map(is_image, folder.iterdir()))


def _folders_of_stacks(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold images themselves: movies of one file per frame."""
    if not folder.is_dir():
        return []
    inside = [
        path for path in folder.iterdir() if path.is_dir() and not is_image(path) and path.name[0] != "."
    ]
    return sorted(filter(_has_images, inside), key=natural_key)


def _patch_size(shape: tuple[int, ...]) -> list[int]:
    """Return the largest patch up to (16, 128, 128) that fits and that a U-Net of depth 3 can halve."""
    size = [min(most, n // 8 * 8) for most, n in zip((16, 128, 128), shape, strict=True)]
    return size if shape[0] > 1 else size[1:]


def _boundary_width(data: Path, pairs: tuple[str, str]) -> BoundaryWidth | None:
    """Choose the border that the U-Net's mask leaves out; None where the pairs do not say their voxel size, or clash."""
    try:
        found = match_pairs(data / pairs[0], data / pairs[1])
        return choose_boundary_width(open_stacks(found, voxel_size=None, boundary_width=0.0))
    except (
        InputError
    ):  # notebook 03_create_dataset tells what is wrong, and takes a voxel size in place of the file's
        return None


def _write_table(path: Path, data: Path, movies: list[Path], truths: dict[str, Path]) -> None:
    columns = ["movie_id", "movie", "truth", "condition"]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, restval="")
        writer.writeheader()
        for movie in sorted(movies, key=natural_key):
            truth = truths.get(stem(movie))
            writer.writerow(
                {
                    "movie_id": stem(movie),
                    "movie": movie.relative_to(data).as_posix(),
                    "truth": truth.relative_to(data).as_posix() if truth else "",
                }
            )


def _yaml(
    name: str,
    data: Path,
    table: str,
    pairs: tuple[str, str] | None,
    truth: bool,
    values: dict[str, Any],
    reasons: dict[str, str],
) -> str:
    on = _FROM_PAIRS if pairs else ("segment_cellpose",)
    on += (("evaluate_segmentation",) if truth else ()) + ("track", "analyze_migration")
    folders = pairs or ("train/raw", "train/label")
    off = "" if pairs else "# "
    lines = [
        "# An experiment: its data, and the notebooks to run with their parameters.",
        f"#   python -m helpers run {name}.yaml --dry-run     says what would run, and why",
        f"#   python -m helpers run {name}.yaml               runs what is not done yet",
        "# A line that begins with # is off: it shows a parameter's default. To change it take away the # and the space after it.",
        f"name: {json.dumps(name)}",
        f"# run_dir: runs/{name}    # folder of the results",
        f"data_dir: {json.dumps(str(data), ensure_ascii=False)}    # the paths here and in the table are relative to it",
        f"{off}pairs: {{raw_dir: {folders[0]}, label_dir: {folders[1]}}}    # raw stacks and their hand-drawn cells",
        "# voxel_size_um: null    # [z, y, x] in µm of all movies and pairs, where the files do not say it",
        "# frame_interval_s: null    # seconds between two frames of all movies, likewise",
        "# figure_formats: [png, pdf]    # formats of all figures; svg can be edited",
        f"movies: {table}    # one row per movie; a column named like a parameter overrides it for that movie",
        "steps:",
    ]
    for cls in STEPS.values():
        lines += _step(cls, cls.name in on, values, reasons)
    return "\n".join(lines) + "\n"


def _step(cls: type[Parameters], on: bool, values: dict[str, Any], reasons: dict[str, str]) -> list[str]:
    lines = ["", f"  {'' if on else '# '}{cls.step}:    # {cls.about()}"]
    for name, _, allowed, meaning in cls.table():
        if name in _OWN or name in ("raw_dir", "label_dir", "binary_dir"):
            continue
        given = on and name in values
        value = values[name] if given else cls.model_fields[name].get_default()
        text = json.dumps(value, ensure_ascii=False, default=str)
        allowed = f" ({allowed})" if allowed else ""
        if given and name in reasons:
            lines.append(f"    # Chosen from the labels: {reasons[name]}.")
        lines.append(f"  {'' if given else '# '}  {name}: {text}    # {meaning}{allowed}")
    return lines

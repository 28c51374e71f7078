"""What one movie of an experiment is made of, opened before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from helpers.data.experiment import Experiment
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.tables import read_table
from helpers.errors import InputError, Mistakes
from helpers.runs.columns import given, wrong_columns
from helpers.runs.parameters import Parameters, SegmentCellpose, Track
from helpers.tracking.tracks import check_objects

_T = TypeVar("_T")
#: Masks that must cover the movie, with whether one plane serves all.
_MASKS = {"tissue_mask": False, "roi_mask": True, "region_labels": False}
#: Steps that measure in seconds.
_TIMED = ("analyze_intensity_spectrum", "analyze_migration")


class MovieInputs:
    """Looks at the files of one movie, for all steps together.

    Parameters
    ----------
    experiment : Experiment
    row : int
        Of the movies.
    steps : mapping
        Step → its parameters for this movie, paths absolute.

    Attributes
    ----------
    mistakes : Mistakes
        What is wrong, each with the place in the experiment's files.
    raw : Movie or None
        The raw movie, where it can be opened.
    """

    def __init__(self, experiment: Experiment, row: int, steps: Mapping[str, Any]) -> None:
        self._experiment, self.row, self._steps = experiment, row, steps
        self.mistakes = Mistakes()
        self.raw: Movie | None = None
        self._labels: LabelMovie | None = None

    def look(self) -> MovieInputs:
        """Open every file, and note what is wrong."""
        self.raw = self._open_raw()
        self._labels = self._open_once("labels", self._labels_of)
        self._open_once("truth", self._labels_of)
        for name, flat in _MASKS.items():
            self._open_once(name, lambda step, path, flat=flat: self._mask(step, path, flat))
        self._open_once("intensity_movie", self._intensity)
        self._open_once("objects", lambda _, path: check_objects(read_table(path, "objects"), "objects"))
        self._open_once("tracks", lambda _, path: _tracks(path))
        self._open_once("truth_tracks", lambda _, path: _tracks(path))
        self._open_once("roi", lambda _, path: _region(path))
        self._open_once("clean", lambda _, path: Movie.open(path))
        self._open_once("other_labels", self._other_labels)
        self._open_once("other_tracks", self._other_tracks)
        self._open_once("merge_log", lambda _, path: None)
        for step, p in self._steps.items():
            if isinstance(p, SegmentCellpose) and p.model:
                self._tried_model(step, p)
        self._check_scale()
        for step, p in self._steps.items():
            self._check_numbers(step, p)
        self._check_columns()
        return self

    def _open_raw(self) -> Movie | None:
        for step, p in self._steps.items():
            name = "movie" if "movie" in type(p).model_fields else "raw"
            path = getattr(p, name, None)
            if path is None:
                continue
            missing: Any = getattr(p, "missing_frames", "empty")
            key = getattr(p, "dataset_key", None)
            found = self._tried(step, name, path, lambda path=path, key=key, missing=missing: Movie.open(path, dataset=key, missing_frames=missing))  # fmt: skip
            if found is not None and (lost := found.lost_chunks()):
                expected = (
                    f"{len(lost)} chunks are lost; give the whole Zarr, or set missing_frames to 'empty'"
                )
                self.mistakes.add(self._where(step, name), str(path), f"{expected} ({', '.join(lost[:3])})")
            if found is not None and name == "movie":
                self._tried(step, name, path, found.require_intensities)
            return found
        return None

    def _open_once(self, name: str, look: Callable[[str, Path], _T]) -> _T | None:
        """Look at the file of a parameter in the first step that has it; others name the same."""
        seen, first = set(), None
        for step, p in self._steps.items():
            path = getattr(p, name, None)
            if path is None or path in seen:
                continue
            seen.add(path)
            found = self._tried(step, name, path, lambda step=step, path=path: look(step, path))
            first = found if first is None else first
        return first

    def _tried(self, step: str, name: str, path: Path, look: Callable[[], _T]) -> _T | None:
        try:
            if "*" not in str(path):
                _exists(path)
            return look()
        except InputError as error:
            self.mistakes.add(self._where(step, name), str(path), _reason(error, name, path))
        except OSError as error:  # such as a name that is too long, or a folder that may not be looked into
            self.mistakes.add(self._where(step, name), str(path), f"cannot be opened: {error.strerror}")
        return None

    def _tried_model(self, step: str, p: SegmentCellpose) -> None:
        """Note a model that Cellpose has not; nothing is fetched."""
        from helpers.models.cellpose import cellpose_version
        from helpers.models.cellpose.weights import check_name
        from helpers.runs.steps.cellpose import model_used

        try:
            check_name(model_used(p), cellpose_version())
        except InputError as error:
            place = self._where(step, "model") if error.name == "model" else error.name
            self.mistakes.add(place, error.value, error.expected)

    def _where(self, step: str, name: str) -> str:
        column = "movie" if name == "raw" else name
        if column in self._experiment.movies[self.row] and column in self._experiment.columns:
            return self._experiment.where_movie(self.row, column)
        if name in self._experiment.scale and name not in self._experiment.steps[step]:
            return self._experiment.where(name)
        return self._experiment.where("steps", step, name)

    # ---- shapes ------------------------------------------------------------------------------------------

    def _labels_of(self, step: str, path: Path) -> LabelMovie:
        p = self._steps[step]
        key = getattr(p, "labels_key" if path == getattr(p, "labels", None) else "truth_key", None)
        missing: Any = getattr(p, "missing_frames", "refuse")
        labels = LabelMovie.open(path, dataset=key, missing_frames=missing)
        if self.raw is not None:
            wanted = (self.raw.n_frames, *self.raw.shape[2:])
            planes = self.raw.is_2d and (labels.shape[1], 1, *labels.shape[2:]) == wanted
            if labels.shape != wanted and not (planes and path == getattr(p, "labels", None)):
                _differ(labels.shape, wanted)
        return labels

    def _other_labels(self, _: str, path: Path) -> None:
        from helpers.curation.others import open_labels

        if self.raw is not None:
            open_labels(path, (self.raw.n_frames, *self.raw.shape[2:]))

    def _other_tracks(self, step: str, path: Path) -> None:
        _tracks(path)
        if self._steps[step].other_labels is None:
            self._other_labels(step, path)

    def _mask(self, _: str, path: Path, flat: bool) -> None:
        mask = Movie.open(path, missing_frames="empty")
        if self.raw is None:
            return
        frames, (z, y, x) = self.raw.n_frames, self.raw.shape[2:]
        depth = mask.shape[2] in ((1, z) if flat else (z,))
        if not (mask.n_frames in (1, frames) and depth and mask.shape[3:] == (y, x)):
            _differ((mask.n_frames, *mask.shape[2:]), (frames, z, y, x), " or one frame of it")

    def _intensity(self, step: str, path: Path) -> None:
        movie = Movie.open(path)
        if self.raw is not None and (
            movie.shape[2:] != self.raw.shape[2:] or movie.n_frames < self.raw.n_frames
        ):
            _differ((movie.n_frames, *movie.shape[2:]), (self.raw.n_frames, *self.raw.shape[2:]))
        if self._steps[step].channel >= movie.n_channels:
            raise InputError(
                "channel", self._steps[step].channel, f"{path.name} has {movie.n_channels}, counted from 0"
            )

    # ---- numbers -----------------------------------------------------------------------------------------

    def _check_scale(self) -> None:
        """Note a voxel size or an interval that nothing says, once, with where it may be written."""
        sized = [
            s for s, p in self._steps.items() if p.segments or (isinstance(p, Track) and p.labels_path())
        ]
        source = self.raw or self._labels
        if sized and source is not None and not self._known("voxel_size_um", "voxel_size"):
            self._missing(sized[0], "voxel_size_um", "[z, y, x] in µm", source.path)
        timed = [s for s, p in self._steps.items() if p.name in _TIMED and p.tracks is None]
        if timed and source is not None and not self._known("frame_interval_s", "frame_interval"):
            self._missing(timed[0], "frame_interval_s", "the seconds between two frames", source.path)
        for step, p in self._steps.items():
            size = getattr(p, "voxel_size_um", None)
            if size is not None and len(size) == 2 and source is not None and source.shape[-3] > 1:
                where = self._where(step, "voxel_size_um")
                self.mistakes.add(where, list(size), f"{source.path.name} is 3D: give [z, y, x] in µm")

    def _known(self, parameter: str, attribute: str) -> bool:
        given = [getattr(p, parameter, None) for p in self._steps.values()]
        said = [getattr(found, attribute) for found in (self.raw, self._labels) if found is not None]
        return any(value is not None for value in (*given, *said))

    def _missing(self, step: str, name: str, what: str, path: Path) -> None:
        table, yaml = (
            self._experiment.where_movie(self.row, "movie").partition(",")[0],
            self._experiment.path.name,
        )
        expected = f"{path} does not say it, and {step} needs it: write {name}, {what}, at the top of {yaml}, or as a column of {table}"
        self.mistakes.add(f"{name} of {self._experiment.movies[self.row]['movie_id']}", None, expected)

    def _check_columns(self) -> None:
        """Note parameters that name a column which their table has not."""
        source = self.raw or self._labels
        planar = None if source is None else source.shape[-3] == 1
        told = {(error.name, str(error.value)) for error in self.mistakes.found}
        for step, names, error in wrong_columns(self._steps, planar):
            name = ([n for n in names if n in error.name] or given(self._steps[step], names) or names)[0]
            place, value = self._where(step, name), getattr(self._steps[step], name)
            value = str(value) if isinstance(value, Path) else value
            there = f": {', '.join(map(str, error.value))}" if isinstance(error.value, list) else ""
            if (place, str(value)) not in told:
                self.mistakes.add(place, value, error.expected + there)

    def _check_numbers(self, step: str, p: Parameters) -> None:
        """Note channels and frames that the movie has not."""
        if self.raw is None:
            return
        limits = {"show_frame": self.raw.n_frames, "second_channel": self.raw.n_channels}
        if not getattr(p, "intensity_movie", None) and "intensity_movie" not in type(p).model_fields:
            limits["channel"] = self.raw.n_channels
        for name, count in limits.items():
            value = getattr(p, name, None)
            if value is not None and value >= count:
                self.mistakes.add(
                    self._where(step, name), value, f"{self.raw.path.name} has {count}, counted from 0"
                )
        planes = self.raw.is_2d or getattr(p, "slice_wise", False) or getattr(p, "stitch_planes", False)
        if len(tiles := getattr(p, "n_tiles", None) or [1, 1, 1]) == 2 and not planes:
            self.mistakes.add(self._where(step, "n_tiles"), tiles, "the movie is 3D: give [z, y, x]")
        crop = getattr(p, "preview_crop", None) or []
        for (first, _), size, axis in zip(crop, self.raw.shape[2:], "zyx", strict=False):
            if first >= size:
                expected = f"is empty along {axis}: the frames are of {self.raw.shape[2:]} voxels"
                self.mistakes.add(self._where(step, "preview_crop"), crop, expected)
        for name in given(p, ("preview_frames", "curated_frames")):
            if late := [t for t in getattr(p, name) if not 0 <= t < self.raw.n_frames]:
                expected = f"the movie has {self.raw.n_frames} frames, counted from 0"
                self.mistakes.add(self._where(step, name), late, expected)


def _differ(found: tuple[int, ...], wanted: tuple[int, ...], also: str = "") -> None:
    raise InputError(
        "shape", found, f"its shape is {found} (T, Z, Y, X); it must be that of the movie, {wanted}{also}"
    )


def _exists(path: Path) -> None:
    if not path.exists():
        raise InputError(str(path), str(path), "there is no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise InputError(str(path), str(path), "is a pipe or device; give a file or folder")


def _region(path: Path) -> None:
    from helpers.analysis.boundary import RoiBoundary

    RoiBoundary.read(path, (1.0, 1.0, 1.0))


def _tracks(path: Path) -> None:
    """Tell tracks by their kind, and look at what is quickly read of them."""
    from helpers.tracking.formats import any_format

    if path.is_dir() and not any_format.has_table(path):
        if not any((path / name).is_file() for name in ("res_track.txt", "man_track.txt")):
            raise InputError(
                str(path), str(path), "holds no tracks: objects.csv, res_track.txt or man_track.txt"
            )
    elif path.suffix.lower() == ".csv":
        read_table(path, nrows=5)
    elif path.suffix.lower() == ".xml" and not re.search(rb"<TrackMate\b", path.open("rb").read(4096)):
        raise InputError(str(path), str(path), "is not a TrackMate file")


def _reason(error: InputError, name: str, path: Path) -> str:
    """Return what is wrong, without what the place and the value say already."""
    if error.name in ("shape", name) or (error.name == str(path) and error.value == str(path)):
        return error.expected
    if error.name == str(path):
        return f"{error.value}: {error.expected}"
    value = "" if isinstance(error.value, np.ndarray) else f" = {error.value!r}"
    return f"{error.name}{value}: {error.expected}"

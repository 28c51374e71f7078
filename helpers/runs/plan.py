"""An experiment becomes jobs: one notebook with one set of checked parameters each, and which waits for which.

02 ─> 03 ─> 04 ─> 05 ─┬─> 06 [a] ─┬─> 09 [a]
                      │           └─> 10 [a] ─┬─> 11 [a]
                      └─> 06 [b] …            ├─> 12 [a]
                                              └─> 13, 14, 15 [a] ─┬─> 16
                                                  13, 14, 15 [b] ─┘

For 02 waits only who denoises (`use_denoiser`, `augment_denoised`); the others are trained beside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.data.experiment import Experiment, read_experiment
from helpers.data.movie_table import COLUMNS, PATH_COLUMNS, value_of
from helpers.data.source import is_zarr
from helpers.errors import InputError, Mistakes, nearest
from helpers.runs.parameters import STEPS, OptimizeThresholds, Parameters, Segment, TrainDenoiser, step_of
from helpers.runs.parameters.kinds import options, takes_text
from helpers.runs.run import step_folder

#: Parameters that a run sets itself, with what to write instead.
_OWN = {
    "run_dir": "is set once for all steps: write it at the top of the file, beside name",
    "movie_id": "names one movie: write it into the table of movies",
}


@dataclass(frozen=True)
class Job:
    """One notebook to execute.

    Attributes
    ----------
    step : str
        Notebook name without its ending.
    parameters : Parameters
        Checked parameters, with absolute paths.
    movie_id : str or None
        The movie it works on; None for the steps that serve the whole run.
    frames_per_job : int or None
        Into jobs of how many frames the movie may be split.
    frames : tuple of int or None
        First and last + 1 of the frames, where this job is one of those.
    """

    step: str
    parameters: Parameters
    movie_id: str | None = None
    frames_per_job: int | None = None
    frames: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Step, movie and frames, as people call it."""
        frames = f" frames {self.frames[0]}–{self.frames[1] - 1}" if self.frames else ""
        return self.step + (f" [{self.movie_id}]" if self.movie_id else "") + frames

    @property
    def key(self) -> str:
        """Name of the job's files."""
        return self.folder.name + (f".frames-{self.frames[0]:05d}" if self.frames else "")

    @property
    def folder(self) -> Path:
        """Folder of the step's ``done.json`` and executed notebook."""
        return step_folder(self.parameters)

    def reads(self, other: Job) -> bool:
        """Whether this job reads what `other` writes, and so must wait for it."""
        if other.parameters.name not in self.parameters.reads:
            return False
        if isinstance(other.parameters, TrainDenoiser) and not any(
            getattr(self.parameters, name, False) for name in ("use_denoiser", "augment_denoised")
        ):
            return False
        return None in (self.movie_id, other.movie_id) or self.movie_id == other.movie_id


def open_experiment(path: str | Path, *, run_dir: str | Path | None = None) -> tuple[Experiment, list[Job]]:
    """Read an experiment and make its jobs, and report all mistakes in its files at once.

    Raises
    ------
    InputErrors
        Naming file, line, column and nearest right name of each mistake.
    """
    mistakes = Mistakes()
    experiment = read_experiment(path, run_dir=run_dir, mistakes=mistakes)
    jobs = plan(experiment, mistakes=mistakes)
    mistakes.raise_all()
    return experiment, jobs


def plan(experiment: Experiment, *, mistakes: Mistakes | None = None) -> list[Job]:
    """Turn an experiment into its jobs, in an order in which they can run.

    Every parameter of every step and movie is checked here, before anything starts.

    Parameters
    ----------
    experiment : Experiment
        As `read_experiment` returned it.
    mistakes : Mistakes, optional
        Takes what is wrong, for a caller that looks for more of it; by default all of it is raised.

    Raises
    ------
    InputErrors
        Naming the file, line, column and parameter of each mistake.
    """
    found = mistakes or Mistakes()
    experiment.name_steps(step_of, found)
    for step in experiment.steps:
        if step not in STEPS:
            found.add(experiment.where("steps", step), step, f"no such step; {nearest(step, STEPS)}")
    if not experiment.steps:
        found.add(str(experiment.path), "no steps", f"name the notebooks to run: {', '.join(STEPS)}")
    _check_columns(experiment, found)
    _check_run_dir(experiment, found)
    jobs = []
    for step, cls in STEPS.items():
        if step not in experiment.steps:
            continue
        given = experiment.steps[step]
        for name in _OWN.keys() & given.keys():
            found.add(experiment.where("steps", step, name), given[name], _OWN[name])
        given = _given(cls, experiment)
        if not hasattr(cls, "movie_path"):
            values = {**_scale(cls, experiment), **_run_values(cls, experiment), **given}
            jobs.append(_job(cls, values, experiment, None, found))
            continue
        if not experiment.movies and experiment.is_table_read:
            found.add(
                experiment.where("steps", step), "no movies", "list them in a CSV file: movies: movies.csv"
            )
        for row, movie in enumerate(experiment.movies):
            values = {**_scale(cls, experiment), **_movie_values(cls, movie), **given}
            values |= _overrides(cls, movie, experiment)
            truths = [name for name in ("truth", "truth_tracks") if name in cls.model_fields]
            if cls.needs_truth and not all(values.get(name) for name in truths):
                continue  # there is nothing to compare this movie with
            jobs.append(_job(cls, values, experiment, row, found))
    if mistakes is None:
        found.raise_all()
    return [job for job in jobs if job is not None]


def _check_run_dir(experiment: Experiment, mistakes: Mistakes) -> None:
    """Refuse to write where a folder of stacks is read: what a step makes would be taken for a frame."""
    named = [("pairs", path) for name, path in experiment.pairs.items() if name.endswith("_dir")]
    named += [
        ("movies", movie[column])
        for movie in experiment.movies
        for column in PATH_COLUMNS
        if movie.get(column)
    ]
    run_dir = experiment.run_dir.resolve()
    taken = next((path for path in (run_dir, *run_dir.parents) if path.exists()), run_dir)
    if taken.is_file():
        mistakes.add(
            experiment.where("run_dir"), str(experiment.run_dir), f"{taken} is a file: name a folder"
        )
    for where, path in named:
        folder = Path(os.path.realpath(str(path)))  # which does not fail at a loop of links
        inside = folder == run_dir or folder in run_dir.parents
        if inside and folder.is_dir() and not is_zarr(folder):
            mistakes.add(
                experiment.where("run_dir"),
                str(experiment.run_dir),
                f"lies in {folder}, which is read ({where}): give another run_dir",
            )


def _check_columns(experiment: Experiment, mistakes: Mistakes) -> None:
    """Note each column of the movies' table that no step could read."""
    of_movies = {
        name
        for cls in STEPS.values()
        if hasattr(cls, "movie_path")
        for name in (*cls.model_fields, *cls.batch_options)
    }
    of_runs = {
        n: cls.step for cls in STEPS.values() if not hasattr(cls, "movie_path") for n in cls.model_fields
    }
    known = [*COLUMNS, *sorted(of_movies - {"run_dir", *COLUMNS})]
    for column in experiment.columns:
        if column in known:
            continue
        expected = f"no such column; {nearest(column, known)}"
        if column == "run_dir":
            expected = _OWN[column]
        elif column in of_runs:
            expected = f"{of_runs[column]} serves all movies: write it below steps in {experiment.path.name}"
        mistakes.add(experiment.where_column(column), column, expected)


def _job(
    cls: type[Parameters], values: dict[str, Any], experiment: Experiment, row: int | None, mistakes: Mistakes
) -> Job | None:
    movie = {} if row is None else experiment.movies[row]

    def where(name: str) -> str:
        if row is not None and name in movie and name in experiment.columns:
            return experiment.where_movie(row, name)
        if name not in experiment.steps[cls.step]:
            if name in experiment.pairs:
                return experiment.where_pairs(name)
            if name in experiment.scale:
                return experiment.where(name)
        return experiment.where("steps", cls.step, *([name] if name != cls.step else []))

    split = values.pop("frames_per_job", None) if "frames_per_job" in cls.batch_options else None
    if split is not None and (not isinstance(split, int) or isinstance(split, bool) or split < 1):
        mistakes.add(where("frames_per_job"), split, "give a whole number, at least 1")
    try:
        parameters = cls.checked({**values, "run_dir": experiment.run_dir}, source=where)
    except InputError as error:
        told = {(one.name, repr(one.value)) for one in mistakes.found}  # what all steps take is told once
        for one in getattr(error, "errors", [error]):
            if (one.name, repr(one.value)) not in told:
                mistakes.include(one)
        return None
    absolute: dict[str, Any] = {}
    for name, value in parameters:
        if name in cls.file_or_name:
            if value and (experiment.data_dir / str(value)).exists():
                absolute[name] = type(value)(experiment.data_dir / str(value))
        elif isinstance(value, Path):
            absolute[name] = experiment.data_dir / value
        elif isinstance(value, list) and value and isinstance(value[0], Path):
            absolute[name] = [experiment.data_dir / v for v in value]
    job = Job(cls.step, parameters.model_copy(update=absolute), movie.get("movie_id"), split)
    # A link that lies in the run folder must not lead its results to another place.
    for folder in (job.folder, experiment.run_dir / "movies" / str(job.movie_id)):
        if not folder.resolve().is_relative_to(experiment.run_dir.resolve()):
            mistakes.add("run_dir", str(folder), "is a link that leads out of the run folder; remove it")
    return job


def _run_values(cls: type[Parameters], experiment: Experiment) -> dict[str, Any]:
    values: dict[str, Any] = {k: v for k, v in experiment.pairs.items() if k in cls.model_fields}
    if cls is OptimizeThresholds:  # its pairs are the validation stacks of the training set
        values = {}
    if "raw_paths" in cls.model_fields:
        values["raw_paths"] = [row["movie"] for row in experiment.movies if row["movie"]]
        values["clean_paths"] = [row["clean"] for row in experiment.movies if "clean" in row]
    if "conditions" in cls.model_fields:
        values["conditions"] = {row["movie_id"]: row.get("condition", "all") for row in experiment.movies}
        values["animals"] = {row["movie_id"]: row["animal"] for row in experiment.movies if "animal" in row}
    return values


def _movie_values(cls: type[Parameters], row: dict[str, Any]) -> dict[str, Any]:
    values = {
        "movie_id": row["movie_id"],
        "movie": row["movie"],
        "raw": row["movie"],
        "truth": row.get("truth"),
    }
    return {k: v for k, v in values.items() if k in cls.model_fields}


def _given(cls: type[Parameters], experiment: Experiment) -> dict[str, Any]:
    """Return what the file gives a step; where text is wanted, as it is written."""
    given = {k: v for k, v in experiment.steps[cls.step].items() if k not in _OWN}
    texts = {k for k in given if k in cls.model_fields and takes_text(cls.model_fields[k])}
    # Of a path, ``no`` and ``off`` are no names.
    texts -= {
        k for k in texts if isinstance(given[k], bool) and Path in options(cls.model_fields[k].annotation)
    }
    return given | {k: experiment.written("steps", cls.step, k) for k in texts}


def _scale(cls: type[Parameters], experiment: Experiment) -> dict[str, Any]:
    return {k: v for k, v in experiment.scale.items() if k in cls.model_fields}


def _overrides(cls: type[Parameters], row: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Return what a movie's row says of a step's parameters."""
    found = {}
    for name, text in row.items():
        field = cls.model_fields.get(name)
        if field is not None:
            value = value_of(text)
            is_word = isinstance(value, bool) and bool not in options(field.annotation)
            found[name] = text if takes_text(field) or is_word else value
        elif name in cls.batch_options:
            found[name] = value_of(text)
    # Labels from elsewhere are measured once, by 06_segment: what comes after reads what that leaves.
    if cls is not Segment and Segment.step in experiment.steps and not {"objects", "tracks"} & row.keys():
        found.pop("labels", None)
    return found

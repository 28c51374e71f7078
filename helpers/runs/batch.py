"""An experiment file becomes a row of notebooks, executed by papermill one after the other.

Every job is one notebook with one set of parameters. A job whose ``done.json`` still holds is skipped; a job that
was interrupted is started again and goes on from its own last finished frame or epoch. A movie that fails does not
keep the others from finishing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.data.experiment import Experiment
from helpers.errors import InputError
from helpers.runs.execute import NotebookError, duration, execute_notebook, follow
from helpers.runs.parameters import STEPS, Parameters
from helpers.runs.prepare import prepare
from helpers.runs.run import read_done, step_folder, why_not_done


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
    """

    step: str
    parameters: Parameters
    movie_id: str | None = None

    @property
    def name(self) -> str:
        """Step and movie, as people call it."""
        return self.step + (f" [{self.movie_id}]" if self.movie_id else "")

    @property
    def folder(self) -> Path:
        """Folder of the step's ``done.json`` and executed notebook."""
        return step_folder(self.parameters)


def plan(experiment: Experiment) -> list[Job]:
    """Turn an experiment into its jobs, in the order they run.

    Every parameter of every step and movie is checked here, before anything starts.

    Raises
    ------
    InputError
        Naming the file, line and parameter.
    """
    unknown = [name for name in experiment.steps if name not in STEPS]
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], STEPS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(STEPS)}"
        raise InputError(experiment.where("steps", unknown[0]), unknown[0], f"no such step; {hint}")
    if not experiment.steps:
        raise InputError(str(experiment.path), "no steps", f"name the notebooks to run: {', '.join(STEPS)}")
    jobs = []
    for step, cls in STEPS.items():
        if step not in experiment.steps:
            continue
        source = experiment.where("steps", step)
        if not hasattr(cls, "movie_path"):
            values = {**_run_values(cls, experiment), **experiment.steps[step]}
            jobs.append(Job(step, _checked(cls, values, experiment, source)))
            continue
        for row in experiment.movies:
            values = {**_movie_values(cls, row), **experiment.steps[step], **_overrides(cls, row)}
            if cls.needs_truth and any(
                not values.get(name) for name in ("truth", "truth_tracks") if name in cls.model_fields
            ):
                continue  # there is nothing to compare this movie with
            jobs.append(Job(step, _checked(cls, values, experiment, source), row["movie_id"]))
    return jobs


def _run_values(cls: type[Parameters], experiment: Experiment) -> dict[str, Any]:
    values: dict[str, Any] = {k: v for k, v in experiment.pairs.items() if k in cls.model_fields}
    if cls.step == "04_optimize_thresholds":  # its pairs are the validation stacks of 01
        values = {}
    if "raw_paths" in cls.model_fields:
        values["raw_paths"] = [row["movie"] for row in experiment.movies]
        values["clean_paths"] = [row["clean"] for row in experiment.movies if "clean" in row]
    if "conditions" in cls.model_fields:
        values["conditions"] = {
            row["movie_id"]: str(row.get("condition") or "all") for row in experiment.movies
        }
    return values


def _movie_values(cls: type[Parameters], row: dict[str, Any]) -> dict[str, Any]:
    values = {
        "movie_id": row["movie_id"],
        "movie": row["movie"],
        "raw": row["movie"],
        "truth": row.get("truth"),
    }
    return {k: v for k, v in values.items() if k in cls.model_fields}


def _overrides(cls: type[Parameters], row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k in cls.model_fields}


def _checked(
    cls: type[Parameters], values: dict[str, Any], experiment: Experiment, source: str
) -> Parameters:
    parameters = cls.checked({**values, "run_dir": experiment.run_dir}, source=source)
    absolute: dict[str, Any] = {}
    for name, value in parameters:
        if isinstance(value, Path):
            absolute[name] = experiment.data_dir / value
        elif isinstance(value, list) and value and isinstance(value[0], Path):
            absolute[name] = [experiment.data_dir / v for v in value]
    return parameters.model_copy(update=absolute)


def run_experiment(
    experiment: Experiment,
    *,
    only: str | None = None,
    start: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Run what is not done yet.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    only, start : str, optional
        Run only this step, or this step and those after it (a name or its number, such as ``"05"``).
    dry_run : bool
        Say what would run, and why; run nothing.
    say : callable
        Takes each line of text for the user.

    Returns
    -------
    list of str
        Names of the jobs that failed.
    """
    jobs = _selected(plan(experiment), only, start)
    if not dry_run:
        prepare(experiment, say=say)
    failed: list[str] = []
    lost_movies: set[str | None] = set()
    for number, job in enumerate(jobs, start=1):
        label = f"[{number}/{len(jobs)}] {job.name}"
        if None in lost_movies or job.movie_id in lost_movies:
            say(f"{label}: not run, because a step before it failed")
            failed.append(job.name)
            continue
        why = why_not_done(job.parameters)
        if why is None:
            say(f"{label}: done already, skipped")
            continue
        say(f"{label}: {why}")
        if dry_run:
            continue
        try:
            seconds = _execute(job, label, say)
            say(f"{label}: done in {duration(seconds)}")
        except NotebookError as error:
            failed.append(job.name)
            lost_movies.add(job.movie_id)
            say(f"{label}: FAILED\n    {error}\n    The executed notebook: {job.folder / 'notebook.ipynb'}")
    return failed


def _selected(jobs: list[Job], only: str | None, start: str | None) -> list[Job]:
    for given in (only, start):
        if given and not any(step.startswith(given) for step in STEPS):
            raise InputError("step", given, f"known steps are {', '.join(STEPS)}")
    if only:
        return [job for job in jobs if job.step.startswith(only)]
    if start:
        first = next(step for step in STEPS if step.startswith(start))
        return [job for job in jobs if job.step >= first]
    return jobs


def _execute(job: Job, label: str, say: Callable[[str], None]) -> float:
    """Execute one notebook in its own kernel, following its progress from here."""
    job.folder.mkdir(parents=True, exist_ok=True)
    state = job.folder / "progress.json"
    state.unlink(missing_ok=True)
    (job.folder / "done.json").unlink(missing_ok=True)
    started = time.time()
    result: list[BaseException] = []

    def work() -> None:
        try:
            execute_notebook(job.step, job.parameters, job.folder / "notebook.ipynb", progress=state)
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    follow(thread, state, label, say)
    state.unlink(missing_ok=True)
    if result:
        if isinstance(result[0], NotebookError):
            raise result[0]
        raise NotebookError(f"{type(result[0]).__name__}: {result[0]}") from result[0]
    if read_done(job.folder) is None:
        raise NotebookError("the notebook ended without writing done.json")
    return time.time() - started


def state_of(jobs: Iterable[Job]) -> list[tuple[str, str]]:
    """Return (job, what is to be said of it) for each job: done, failed, or why it must run."""
    return [(job.name, why_not_done(job.parameters) or "done") for job in jobs]

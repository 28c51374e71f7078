"""An experiment file becomes a row of notebooks, executed by papermill one after the other.

Every job is one notebook with one set of parameters. A job whose ``done.json`` still holds is skipped; a job that
was interrupted is started again and goes on from its own last finished frame or epoch. A movie that fails does not
keep the others from finishing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from helpers.data.experiment import Experiment
from helpers.errors import InputError
from helpers.runs.execute import NotebookError, duration, execute_notebook, follow
from helpers.runs.parameters import STEPS
from helpers.runs.plan import Job, missing_inputs, plan
from helpers.runs.prepare import prepare
from helpers.runs.run import read_done, why_not_done


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
        missing_inputs(experiment, jobs)
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

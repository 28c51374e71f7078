"""An experiment's notebooks, executed as a graph of jobs by Snakemake: on this machine, or on a cluster by a profile.

Every job is one notebook with one set of parameters. A job whose ``done.json`` still holds is skipped; a job that
was interrupted is started again and goes on from its own last finished frame or epoch. A movie that fails does not
keep the others from finishing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from helpers.data.experiment import Experiment
from helpers.errors import InputError
from helpers.runs.endings import end_children, stop_where_nobody_reads
from helpers.runs.execute import require_notebooks
from helpers.runs.follow import Follower, progress_text
from helpers.runs.gpus import gpus_to_use
from helpers.runs.graph import Node, arguments, selected, to_run, write_graph
from helpers.runs.inputs import Findings, look_at_inputs, look_before, not_made
from helpers.runs.lock import alone_in, is_at_work, read
from helpers.runs.outputs import COMMAND
from helpers.runs.plan import Job, plan
from helpers.runs.prepare import is_prepared, prepare
from helpers.runs.run import hint, write_json

#: Seconds between two looks at the jobs.
_LOOK = 0.3
#: Free bytes below which a disk counts as full.
_LEAST_SPACE = 2**20


def run_experiment(
    experiment: Experiment,
    *,
    only: str | None = None,
    start: str | None = None,
    dry_run: bool = False,
    cores: int | None = None,
    gpus: int | None = None,
    profile: str | None = None,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Run what is not done yet.

    Parameters
    ----------
    experiment : Experiment
        What to run.
    only, start : str, optional
        Run only this step, or this step and those after it (its name, such as ``"segment"``, or number).
    dry_run : bool
        Say what would run, and why; run nothing.
    cores : int, optional
        Cores of this machine to use; by default all.
    gpus : int, optional
        GPUs of this machine to use, one for each job that runs networks; by default all.
    profile : str, optional
        A Snakemake profile: a folder with a ``config.yaml``, or the name of one of ours (``slurm``).
    say : callable
        Takes each line of text for the user.

    Returns
    -------
    list of str
        Names of the jobs that failed, and of those that could not run because of them.

    Raises
    ------
    InputError
        If the experiment is wrong, a file it names is missing, another run works in the run folder, the package was
        installed without its notebooks, or there are fewer GPUs.
    """
    if profile and gpus is not None:
        raise InputError(
            "gpus", gpus, "leave it out with --profile, which says what a job asks the cluster for"
        )
    require_notebooks()
    jobs = selected(plan(experiment), only, start)
    if dry_run:
        _tell_plan(experiment, jobs, say)
        return []
    with alone_in(experiment.run_dir) as batch:
        prepare(experiment, say=say)
        found = look_at_inputs(experiment, jobs)
        found.whole.raise_all()
        if len(found.movies) == len(experiment.movies):
            found.all.raise_all()
        for remark in found.remarks:
            say(f"note: {remark}")
        nodes, done = to_run(jobs)
        for label in done:
            say(f"{label}: done already, skipped")
        nodes, lost = _without(batch, nodes, found, say)
        if not nodes:
            return lost
        cores = cores if profile else cores or os.cpu_count() or 1
        devices = () if profile else gpus_to_use(gpus)
        write_graph(batch, nodes, cores, devices)
        again = ["python", "-m", "helpers", "run", str(experiment.path), "--run-dir", str(experiment.run_dir)]
        command = arguments(batch, cores, profile, len(devices))
        return lost + _run(batch, nodes, command, shlex.join(again), say)


def _tell_plan(experiment: Experiment, jobs: list[Job], say: Callable[[str], None]) -> None:
    """Say of each job what ``status`` says of it, then all that is wrong with the files it reads."""
    states = state_of(jobs, experiment.run_dir / ".batch")
    for number, (name, state) in enumerate(states, start=1):
        say(f"[{number}/{len(jobs)}] {name}: {state}")
    if not is_prepared(experiment):
        return
    found = look_before(experiment, jobs)
    for remark in found.remarks:
        say(f"note: {remark}")
    found.all.raise_all()


def _without(
    batch: Path, nodes: dict[str, Node], found: Findings, say: Callable[[str], None]
) -> tuple[dict[str, Node], list[str]]:
    """Leave out the movies whose files are wrong, and what needs them; return the names of those jobs too."""
    lost: dict[str, Node] = {}
    told: set[str | None] = set()
    for key, node in nodes.items():
        before = next((lost[need].job for need in node.needs if need in lost), None)
        movie = node.job.movie_id
        if movie in found.movies and movie not in told:
            told.add(movie)
            wrong = "\n    ".join(map(str, found.movies[movie].found))
            say(f"{node.label}: FAILED\n    {wrong}")
            (batch / "failed").mkdir(exist_ok=True)
            write_json(batch / "failed" / f"{key}.json", {"message": wrong, "why": node.why})
        elif before is not None or movie in found.movies:
            why = before.name if before else f"its movie {movie}"
            say(f"{node.label}: not run, because {why} failed")
        else:
            continue
        lost[key] = node
    return {k: n for k, n in nodes.items() if k not in lost}, [n.job.name for n in lost.values()]


def _run(
    batch: Path, nodes: dict[str, Node], command: list[str], again: str, say: Callable[[str], None]
) -> list[str]:
    """Let Snakemake run the graph, say what happens, and return the names of what failed."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    follower = Follower(
        batch,
        {key: node.label for key, node in nodes.items()},
        {key: node.job.folder for key, node in nodes.items()},
        say,
    )
    log = batch / "snakemake.log"
    with log.open("wb") as stream:
        scheduler = subprocess.Popen(
            [sys.executable, "-m", "helpers.runs.scheduler", str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path, COMMAND: again},
            start_new_session=True,
        )
        try:
            while scheduler.poll() is None:
                time.sleep(_LOOK)
                follower.look()
                stop_where_nobody_reads()
        finally:
            end_children(scheduler.pid)
            scheduler.kill()
            scheduler.wait()
    follower.look()
    return _what_failed(batch, nodes, follower, say)


def _what_failed(
    batch: Path, nodes: dict[str, Node], follower: Follower, say: Callable[[str], None]
) -> list[str]:
    lost = set(follower.failed)
    for key, node in nodes.items():
        if key in follower.ended or key in lost:
            continue
        lost.add(key)
        before = [nodes[need].job.name for need in node.needs if need in lost]
        if before:
            say(f"{node.label}: not run, because {before[0]} failed")
        elif shutil.disk_usage(batch).free < _LEAST_SPACE:
            say(f"{node.label}: FAILED\n    no space is left in {batch.parent}: free some, and run again")
        elif (batch / "running" / f"{key}.json").exists():
            say(
                f"{node.label}: FAILED\n    its process was ended from outside, as happens when memory runs out"
            )
        else:
            say(f"{node.label}: FAILED\n    it was not started: {_last_words(batch / 'snakemake.log')}")
    return [node.job.name for key, node in nodes.items() if key in lost]


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{' '.join(lines[-2:])} ({log})"


def state_of(jobs: Iterable[Job], batch: Path, *, verify: bool = False) -> list[tuple[str, str]]:
    """Return (job, what is to be said of it) for each job: done, running, failed, or why it must run.

    Parameters
    ----------
    jobs : iterable of Job
        What `plan` returned.
    batch : Path
        ``<run_dir>/.batch``.
    verify : bool
        Read all that steps have made, and compare checksums.
    """
    jobs = list(jobs)
    nodes, _ = to_run(jobs, verify=verify)
    lacks: dict[str, str] = {}
    for job, path in not_made(jobs):
        lacks.setdefault(job.key, f"; {path} is missing{hint(path)}")
    return [(job.name, _state(job, nodes, batch) + lacks.get(job.key, "")) for job in jobs]


def _state(job: Job, nodes: dict[str, Node], batch: Path) -> str:
    running, failed = (
        [batch / name / f"{job.key}.json", *sorted((batch / name).glob(f"{job.key}.frames-*.json"))]
        for name in ("running", "failed")
    )
    for mark in running:
        if is_at_work(mark):
            return f"running: {progress_text(mark.with_suffix('.progress')) or 'starting'}"
    node = nodes.get(job.key)
    if node is None:
        return "done"
    if node.why is None:
        return f"done; runs again if {nodes[node.needs[0]].job.name} changes what it reads"
    for mark in failed:
        if how := read(mark):
            return f"FAILED: {how['message']}"
    if any(mark.exists() for mark in running):
        return "interrupted; the next run goes on with it"
    return node.why

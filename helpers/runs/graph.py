"""Which jobs a run has to do, and the graph of them that Snakemake is given.

A job whose ``done.json`` still holds, and before which nothing has to run, is left out. One that is done but reads what
another job may change stays in: when its turn comes it looks again, and is done at once if nothing has changed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from helpers.errors import InputError
from helpers.runs.job import specification
from helpers.runs.parameters import STEPS, Annotate, CreateDataset, TrainDenoiser, step_of
from helpers.runs.plan import Job
from helpers.runs.run import why_not_done, write_json

SNAKEFILE = Path(__file__).with_name("Snakefile")
#: Profiles that come with the package, by name.
PROFILES = Path(__file__).with_name("profiles")
#: Megabytes for steps that run networks, and for the others.
_MEMORY, _LITTLE_MEMORY = 6000, 2000
#: What Snakemake may keep where all machines of a run see it.
_SHARED = ("persistence", "input-output", "software-deployment", "sources", "storage-local-copies")


@dataclass(frozen=True)
class Node:
    """A job in the graph.

    Attributes
    ----------
    job : Job
    label : str
        Such as ``"[3/12] 06_segment [a]"``.
    why : str or None
        Why it must run; None where it is done, but something before it runs.
    needs : tuple of str
        Keys of the jobs it waits for.
    """

    job: Job
    label: str
    why: str | None
    needs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name of the job's files."""
        return self.job.key


def to_run(jobs: Sequence[Job], *, verify: bool = False) -> tuple[dict[str, Node], list[str]]:
    """Divide jobs into those that run, or may, and the labels of those that are done.

    Parameters
    ----------
    jobs : sequence of Job
        In an order in which they can run.
    verify : bool
        Read all that steps have made, and compare checksums; by default only what a job will read.
    """
    nodes: dict[str, Node] = {}
    done = []
    whys = _whys(jobs, verify)
    for number, job in enumerate(jobs, start=1):
        label = f"[{number}/{len(jobs)}] {job.name}"
        needs = tuple(key for key, node in nodes.items() if job.reads(node.job) and not node.job.frames)
        why = whys[job.key]
        if why is None and not needs:
            done.append(label)
            continue
        for part in _parts(job):
            frames = part.name.removeprefix(job.name)
            nodes[part.key] = Node(part, label + frames, why, needs)
            needs += (part.key,)
        nodes[job.key] = Node(job, label, why, needs)
    return nodes, done


def _whys(jobs: Sequence[Job], verify: bool) -> dict[str, str | None]:
    """Return why each job must run, or None; what a job will read is read whole first, and made again if damaged."""
    whys = {job.key: why_not_done(job.parameters, verify=verify) for job in jobs}
    # From the last to the first: what is found damaged is made again from what must be whole in its turn.
    for job in reversed(jobs):
        if whys[job.key] is None and any(whys[other.key] and other.reads(job) for other in jobs):
            whys[job.key] = why_not_done(job.parameters, verify=True)
    return whys


def _parts(job: Job) -> list[Job]:
    """Split a movie's frames over jobs; the job itself then only joins what they have made."""
    if job.frames_per_job is None:
        return []
    from helpers.runs.steps.segmentation import open_movie

    try:
        n_frames = open_movie(job.parameters).n_frames  # type: ignore[arg-type]
    except InputError:
        return []  # the job itself will say so
    step = job.frames_per_job
    ranges = [(first, min(first + step, n_frames)) for first in range(0, n_frames, step)]
    return [replace(job, frames=frames) for frames in ranges] if len(ranges) > 1 else []


def write_graph(batch: Path, nodes: dict[str, Node], cores: int | None, gpus: Sequence[str] = ()) -> None:
    """Write ``graph.json`` and the jobs, and remove what an earlier run left of them.

    Parameters
    ----------
    batch : Path
        ``<run_dir>/.batch``.
    nodes : dict
        What `to_run` returned.
    cores : int, optional
        Cores of this machine that may be used; None on a cluster, whose profile says it.
    gpus : sequence of str
        GPUs of this machine, of which each job that runs networks takes one.
    """
    for name in ("jobs", "running", "ended", ".snakemake"):
        shutil.rmtree(batch / name, ignore_errors=True)
    for name in ("jobs", "running", "ended", "failed"):
        (batch / name).mkdir(exist_ok=True)
    memory = psutil.virtual_memory().total // 2**20 if cores else None
    jobs = {}
    for key, node in nodes.items():
        (batch / "failed" / f"{key}.json").unlink(missing_ok=True)
        threads = _threads(node, nodes, cores, len(gpus))
        limit = not node.job.parameters.trains and (cores is None or threads < (os.cpu_count() or 1))
        needed = _MEMORY if _runs_networks(node.job) else _LITTLE_MEMORY
        own = gpus if _wants_gpu(node.job) else ()
        write_json(
            batch / "jobs" / f"{key}.json", specification(node.job, _rule(node.job), threads, limit, own)
        )
        jobs[key] = {
            "rule": _rule(node.job),
            "needs": node.needs,
            "threads": threads,
            # The notebook, where a fork may run it: libraries that are imported already take no other number of threads.
            "forks": node.job.step
            if cores and limit and threads == 1 and not _runs_networks(node.job)
            else "",
            "gpu": int(_wants_gpu(node.job)),
            "mem_mb": min(needed, memory or needed),
        }
    write_json(batch / "graph.json", {"python": sys.executable, "jobs": jobs})


def _rule(job: Job) -> str:
    """Return the step's name for Snakemake: without its number, for a name cannot begin with one."""
    return job.parameters.name


def _runs_networks(job: Job) -> bool:
    """Whether a job runs networks; labels from elsewhere are only measured."""
    return job.parameters.runs_networks and getattr(job.parameters, "labels", None) is None


def _wants_gpu(job: Job) -> bool:
    return _runs_networks(job) and getattr(job.parameters, "use_gpu", True)


def _threads(node: Node, nodes: dict[str, Node], cores: int | None, n_gpus: int) -> int:
    """Share the cores out: movies and what is measured side by side, all cores for what serves all movies.

    A denoiser that no network waits for is trained beside them, for no training keeps all cores busy all the time.
    """
    if not (isinstance(p := node.job.parameters, Annotate | CreateDataset) or p.runs_networks):
        return 1  # it hardly uses a second core
    if cores is None:
        return 4 if _runs_networks(node.job) else 1
    beside = sum(other.job.step == node.job.step for other in nodes.values())
    beside += _leads_to_network(node) and any(
        _leads_to_network(other)
        and TrainDenoiser in (type(p), type(other.job.parameters))
        and not (_waits_for(node, other, nodes) or _waits_for(other, node, nodes))
        for other in nodes.values()
    )
    if n_gpus and _wants_gpu(node.job):
        beside = min(beside, n_gpus)
    return max(1, cores // beside)


def _leads_to_network(node: Node) -> bool:
    return node.job.parameters.trains or isinstance(node.job.parameters, CreateDataset)


def _waits_for(node: Node, other: Node, nodes: dict[str, Node]) -> bool:
    """Whether a job needs another one, or is it, directly or through jobs between them."""
    return node is other or any(_waits_for(nodes[key], other, nodes) for key in node.needs)


def arguments(batch: Path, cores: int | None, profile: str | None, n_gpus: int = 0) -> list[str]:
    """Return the command line for Snakemake.

    Raises
    ------
    InputError
        If the profile is neither ours nor a folder with a ``config.yaml``.
    """
    given = ["--snakefile", str(SNAKEFILE), "--directory", str(batch)]
    # All but source-cache, which would be a folder in the home folder.
    given += ["--shared-fs-usage", *_SHARED]
    given += ["--nolock", "--keep-going", "--scheduler", "greedy", "--rerun-triggers", "mtime"]
    if profile:
        return [*given, "--profile", str(_profile(profile))]
    limits = [f"mem_mb={psutil.virtual_memory().total // 2**20}"] + ([f"gpu={n_gpus}"] if n_gpus else [])
    return [*given, "--cores", str(cores), "--resources", *limits]


def _profile(name: str) -> Path:
    for folder in (Path(name), PROFILES / name):
        if any(folder.glob("config*.yaml")):
            return folder.absolute()
    ours = ", ".join(sorted(path.name for path in PROFILES.iterdir() if path.is_dir()))
    raise InputError("profile", name, f"name a folder that holds a config.yaml, or one of ours: {ours}")


def _meant(option: str, given: str) -> list[str]:
    """Return the steps that an option names: one, or all that begin so."""
    step = step_of(given)
    meant = [step] if step else [step for step in STEPS if step.startswith(given)]
    if not meant:
        raise InputError(option, given, f"known steps are {', '.join(STEPS)}")
    return meant


def selected(jobs: list[Job], only: str | None, start: str | None) -> list[Job]:
    """Return the jobs of one step, or of a step and those after it.

    Raises
    ------
    InputError
        If there is no such step, or none of its jobs here.
    """
    if only:
        meant = _meant("only", only)
        jobs = [job for job in jobs if job.step in meant]
    if start:
        first = _meant("from", start)[0]
        jobs = [job for job in jobs if job.step >= first]
    if not jobs:
        raise InputError("only" if only else "from", only or start, "the experiment has no such step")
    return jobs

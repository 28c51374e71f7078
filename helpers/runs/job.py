"""One job of an experiment, in a process of its own: ``python -m helpers.runs.job NAME``, started by Snakemake
(``helpers.runs.forkserver`` before it, where it may be a fork).

It works in the folder ``.batch`` of the run and says there how it went: in ``running/`` while it works, then in
``failed/`` or ``ended/``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.errors import InputError
from helpers.runs import outputs
from helpers.runs.endings import end_with_scheduler
from helpers.runs.execute import NotebookError, execute_notebook, temporary_files
from helpers.runs.forkserver import THREADS, settings
from helpers.runs.gpus import gpu_of_its_own
from helpers.runs.lock import at_work, read
from helpers.runs.parameters import STEPS, SegmentCellpose, SegmentRemote, SegmentsMovie
from helpers.runs.plan import Job
from helpers.runs.run import Run, read_done, why_not_done, write_json


def main(arguments: Sequence[str]) -> int:
    """Run the job that is named, of the batch in the current folder, and return its exit status."""
    (name,) = arguments
    batch = Path.cwd()
    end_with_scheduler()
    os.environ |= {**settings(batch), **os.environ}
    spec = read(batch / "jobs" / f"{name}.json")
    if spec is None:
        raise InputError("job", name, f"{batch / 'jobs'} has no such job")
    ended = batch / "ended" / spec["rule"] / f"{name}.json"
    ended.parent.mkdir(parents=True, exist_ok=True)
    frames = tuple(spec["frames"]) if spec["frames"] else None
    job = Job(spec["step"], STEPS[spec["step"]].checked(spec["parameters"]), spec["movie_id"], frames=frames)
    why = why_not_done(job.parameters, verify=True)
    if why is None:
        write_json(ended, {"skipped": True})
        return 0
    os.environ.update(dict.fromkeys(THREADS, str(spec["threads"])) if spec["limit_threads"] else {})
    os.chdir(spec["folder"])
    started, gpu = time.time(), None
    try:
        with (
            gpu_of_its_own(spec["gpus"], batch) as gpu,
            at_work(batch / "running" / f"{name}.json", why=why, gpu=gpu),
        ):
            kept = (segment_part if job.frames else _execute)(job, batch / "running" / f"{name}.progress")
    except Exception as error:
        message = in_words(error, job)
        (batch / "failed").mkdir(exist_ok=True)
        write_json(batch / "failed" / f"{name}.json", {"message": message, "why": why, "gpu": gpu})
        return 1
    write_json(ended, {"seconds": time.time() - started, "why": why, "gpu": gpu, "kept": kept})
    return 0


def in_words(error: Exception, job: Job) -> str:
    """Return an error as one line that names a file: where it names none itself, what the job reads first."""
    known = isinstance(error, (NotebookError, InputError))
    message = str(error) if known else f"{type(error).__name__}: {error}"
    read = job.parameters.inputs()
    if not read or any(str(path) in message or str(path.parent) in message for path in read):
        return message
    return f"{message} (while reading {read[0]})"


def _execute(job: Job, progress: Path) -> list[Path]:
    """Execute the notebook; what this run made before, from other parameters or inputs, gives way to the new.

    Files that were changed since are kept; their new names are returned.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    done, replaced, notebook = (
        job.folder / name for name in ("done.json", "replaced.json", "notebook.ipynb")
    )
    p = job.parameters
    before = read_done(job.folder)
    kept = outputs.set_aside(p, before["outputs"]) if before else []
    if done.exists():
        os.replace(done, replaced)
    try:
        try:
            execute_notebook(job.step, p, notebook, progress=progress)
        except NotebookError as error:
            # Only then, for a training with more epochs than before goes on without.
            own = replaced.exists() and "overwrite" in type(p).model_fields and "overwrite" in str(error)
            if not own:
                raise
            execute_notebook(job.step, p.model_copy(update={"overwrite": True}), notebook, progress=progress)
    finally:
        with contextlib.suppress(OSError):
            progress.unlink(missing_ok=True)
    if read_done(job.folder) is None:
        raise NotebookError("the notebook ended without writing done.json")
    replaced.unlink(missing_ok=True)
    return kept


def segment_part(job: Job, progress: Path) -> list[Path]:
    """Segment some frames of a movie, as its notebook would; the notebook comes last, and finds them finished."""
    from helpers.runs.segment_movie import segment_frames

    os.environ["VOLLTRACK_PROGRESS"] = str(progress)
    p = job.parameters
    assert isinstance(p, SegmentsMovie) and job.frames
    own = {SegmentCellpose: "cellpose", SegmentRemote: "remote"}.get(type(p), "segmentation")
    step = importlib.import_module(f"helpers.runs.steps.{own}")
    Run.start(p)
    movie = step.open_movie(p)
    size = movie.require_voxel_size()
    with temporary_files():
        segment_frames(movie, lambda: step.open_segmenter(p, size), p, range(*job.frames))
    return []


def specification(
    job: Job, rule: str, threads: int, limit_threads: bool, gpus: Sequence[str] = ()
) -> dict[str, Any]:
    """Return what `main` reads of a job."""
    return {
        "step": job.step,
        "rule": rule,
        "movie_id": job.movie_id,
        "frames": job.frames,
        "parameters": job.parameters.plain(),
        "threads": threads,
        "limit_threads": limit_threads,
        "gpus": list(gpus),
        "folder": os.getcwd(),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

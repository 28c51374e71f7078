"""What a step costs beside its own work: notebooks that have little to do, each in a process of its own.

A small movie is tracked once; then each notebook runs as a job of an experiment does: papermill, a kernel, imports, the
work, the figures. The peer is papermill with an empty notebook. The first run of each fills the caches of compiled code
and is not counted. `equal` gives the processor time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

REPEATS = 3
STEPS: dict[str, dict[str, Any]] = {
    "10_track": {"tracker": "overlap"},
    "11_evaluate_tracking": {},
    "13_analyze_boundary_distance": {"border_is_boundary": True, "animation": "none"},
    "14_analyze_intensity_spectrum": {},
    "15_analyze_migration": {},
}


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table, one a notebook."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        experiment = _write_experiment(folder)
        _timed(experiment, "10_track")
        empty = np.median([_timed(folder) for _ in range(1 + REPEATS)][1:], axis=0)
        for step in list(STEPS)[1:]:
            seconds, processor = np.median([_timed(experiment, step) for _ in range(1 + REPEATS)][1:], axis=0)
            yield {
                "subject": "overhead of a step",
                "case": f"{step}, 8 frames of 20 cells",
                "ours_s": round(float(seconds), 2),
                "peer": "papermill, an empty notebook",
                "peer_s": round(float(empty[0]), 2),
                "ratio": round(float(empty[0] / seconds), 2),
                "ours_peak_mb": None,
                "peer_peak_mb": None,
                "equal": f"{processor:.1f} s of processor time, {empty[1]:.1f} s of the empty one's",
            }


def _write_experiment(folder: Path) -> Path:
    """Write a movie of cells with its truth, and an experiment that tracks and analyses it."""
    import pandas as pd

    from helpers.data.label_movies import LabelMovie
    from helpers.data.movies import Movie
    from helpers.data.synthetic.movie import SyntheticSettings, make_movie
    from helpers.tracking.objects import measure

    movie = folder / "movie"
    make_movie(SyntheticSettings(shape=(12, 96, 96), n_frames=8, n_cells=20, seed=0)).save(movie)
    labels, raw = LabelMovie.open(movie / "labels.ome.tif"), Movie.open(movie / "raw.ome.tif")
    size = raw.require_voxel_size()
    tables = [measure(labels.frame(t), raw.frame(t), voxel_size=size, frame=t) for t in range(raw.n_frames)]
    pd.concat(tables, ignore_index=True).drop(columns="id").to_csv(movie / "objects.csv", index=False)
    (folder / "movies.csv").write_text(
        "movie_id,movie,objects,labels,truth,truth_tracks\n"
        "movie,movie/raw.ome.tif,movie/objects.csv,movie/labels.ome.tif,movie/labels.ome.tif,movie\n"
    )
    path = folder / "overhead.yaml"
    path.write_text(yaml.safe_dump({"name": "run", "run_dir": "run", "movies": "movies.csv", "steps": STEPS}))
    return path


def _timed(place: Path, step: str = "") -> tuple[float, float]:
    """Return wall and processor seconds of one step of an experiment, or of an empty notebook in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, __file__, str(place), step]
    done = subprocess.run(command, env=environment, cwd=place.parent, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{step or 'empty notebook'} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run_step(experiment: Path, step: str) -> None:
    from helpers.runs.execute import execute_notebook
    from helpers.runs.plan import open_experiment
    from helpers.runs.run import step_folder

    job = next(job for job in open_experiment(experiment)[1] if job.step == step)
    folder = step_folder(job.parameters)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MPLCONFIGDIR"] = str(experiment.parent / "settings")
    execute_notebook(step, job.parameters, folder / "notebook.ipynb")


def _run_empty(folder: Path) -> None:
    import papermill

    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "1"}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}
    path = folder / "empty.ipynb"
    path.write_text(json.dumps(notebook))
    papermill.execute_notebook(str(path), str(path), progress_bar=False)


if __name__ == "__main__":
    _run_step(Path(sys.argv[1]), sys.argv[2]) if sys.argv[2] else _run_empty(Path(sys.argv[1]))

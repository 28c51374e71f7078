"""What a step costs beside its own work: notebooks that have little to do, as jobs of an experiment.

A small movie is tracked and analysed, once for the caches of compiled code and then three times more, one job after the other.
Seconds are those of the run's own record, from the job's start to its end: kernel, imports, the work and the figures, but not
the second in which Snakemake looks for the next job. The peer is papermill with an empty notebook.
"""

from __future__ import annotations

import json
import os
import shutil
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
        ours = [_jobs(experiment) for _ in range(1 + REPEATS)][1:]
        empty = float(np.median([_empty(folder) for _ in range(1 + REPEATS)][1:]))
        for step in list(STEPS)[1:]:
            seconds = float(np.median([run[step] for run in ours]))
            yield {
                "subject": "overhead of a step",
                "case": f"{step}, 8 frames of 20 cells",
                "ours_s": round(seconds, 2),
                "peer": "papermill, an empty notebook",
                "peer_s": round(empty, 2),
                "ratio": round(empty / seconds, 2),
                "ours_peak_mb": None,
                "peer_peak_mb": None,
                "equal": None,
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


def _jobs(experiment: Path) -> dict[str, float]:
    """Run all steps of the experiment anew; return the seconds of each."""
    run = experiment.parent / "run"
    shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "helpers", "run", str(experiment), "--cores", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, env=environment, cwd=experiment.parent, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the experiment failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    ended = {path.stem: json.loads(path.read_text()) for path in run.glob(".batch/ended/*/*.json")}
    return {
        step: next(one["seconds"] for name, one in ended.items() if name.startswith(step)) for step in STEPS
    }


def _empty(folder: Path) -> float:
    """Return the seconds in which papermill executes an empty notebook, in a process of its own."""
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "1"}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}
    path = folder / "empty.ipynb"
    path.write_text(json.dumps(notebook))
    execute = (
        f"import papermill; papermill.execute_notebook({str(path)!r}, {str(path)!r}, progress_bar=False)"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", execute], check=True, capture_output=True)
    return time.perf_counter() - started

"""Eight movies, tracked and analysed by one worker and by two.

Every job may start one thread only, so that two workers on two cores can be twice as fast at best. The first run is only
there to fill the caches of the disk and of compiled code.
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from helpers.data.experiment import read_experiment
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.synthetic.movie import SyntheticSettings, make_movie
from helpers.runs.batch import run_experiment
from helpers.tracking.objects import measure

N_MOVIES = 8
STEPS = {"10_track": {"tracker": "overlap"}, "15_analyze_migration": {}}


def write_experiment(folder: Path) -> Path:
    """Write eight movies of cells, their tables and an experiment that tracks them."""
    rows = []
    for seed in range(N_MOVIES):
        movie = folder / f"movie_{seed}"
        make_movie(SyntheticSettings(shape=(12, 96, 96), n_frames=8, n_cells=20, seed=seed)).save(movie)
        labels, raw = LabelMovie.open(movie / "labels.ome.tif"), Movie.open(movie / "raw.ome.tif")
        size = raw.require_voxel_size()
        tables = [
            measure(labels.frame(t), raw.frame(t), voxel_size=size, frame=t) for t in range(raw.n_frames)
        ]
        pd.concat(tables, ignore_index=True).drop(columns="id").to_csv(movie / "objects.csv", index=False)
        rows.append(
            [movie.name, *(f"{movie.name}/{n}" for n in ("raw.ome.tif", "objects.csv", "labels.ome.tif"))]
        )
    with (folder / "movies.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["movie_id", "movie", "objects", "labels"], *rows])
    path = folder / "eight.yaml"
    path.write_text(yaml.safe_dump({"name": "eight", "movies": "movies.csv", "steps": STEPS}))
    return path


def cases() -> Iterator[dict[str, Any]]:
    """Measure two workers beside one, after a run that fills the caches; equal if both made the same tracks."""
    with tempfile.TemporaryDirectory() as made:
        path = write_experiment(Path(made))
        seconds: dict[str, float] = {}
        for name, cores, only in (("warm", 2, "10"), ("one", 1, None), ("two", 2, None)):
            experiment = read_experiment(path, run_dir=Path(made) / name)
            started = time.perf_counter()
            failed = run_experiment(experiment, cores=cores, only=only, say=lambda line: None)
            seconds[name] = time.perf_counter() - started
            if failed:
                raise RuntimeError(f"failed: {failed}")
        one, two = (
            [table.read_bytes() for table in sorted((Path(made) / name).glob("movies/*/tracks.csv"))]
            for name in ("one", "two")
        )
    yield {
        "subject": "batch",
        "case": f"{N_MOVIES} movies tracked and analysed, 2 workers",
        "ours_s": round(seconds["two"], 1),
        "peer": "1 worker",
        "peer_s": round(seconds["one"], 1),
        "ratio": round(seconds["one"] / seconds["two"], 2),
        "ours_peak_mb": None,
        "peer_peak_mb": None,
        "equal": one == two and len(one) == N_MOVIES,
    }

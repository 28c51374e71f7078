"""Notebooks that an experiment such as the demo does not run, executed for the gallery on a copy of its run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.runs.execute import execute_notebook
from helpers.runs.parameters import NOTEBOOKS, TrainSegmentation
from helpers.runs.run import step_folder
from helpers.runs.sample_steps import first_frames, make_cohort

#: Frames that Cellpose segments, and how its network is trained: without a GPU, minutes in all.
_FRAMES = 2
#: Name of the copy, beside the run.
COPY = "gallery"
#: Name of a notebook → what a reader of its copy should know.
REMARKS = {
    "annotate": "The cells were not drawn by hand: they are five of the synthetic movie's true cells, and some background.",
    "segment_cellpose": "The network was trained for this page in minutes and is none of Cellpose's: some cells have holes. "
    "Do not judge Cellpose by it.",
}
_TRAINING = {"n_epochs": 6, "steps_per_epoch": 40, "batch_size": 8, "cellpose": {"cell_pixels": 16.0}}


def execute_missing(run: Path, step: str) -> Path:
    """Execute a notebook on a copy of a run, `COPY` beside it, which stays: remove it to execute all of them again.

    Parameters
    ----------
    run : Path
        A run that has made, segmented and tracked a movie, such as ``runs/demo``. It is not changed.
    step : str
        Name of the notebook.

    Returns
    -------
    Path
        Folder of the step, with the executed notebook.

    Raises
    ------
    InputError
        For a run without such a movie.
    NotebookError
        If the notebook stops with an error.
    """
    copy = run.resolve().parent / COPY
    if not copy.is_dir():
        with atomic_path(copy) as part:
            shutil.copytree(run, part, ignore=shutil.ignore_patterns(".batch", "steps", "report.*"))
    with _given(NOTEBOOKS[step].name, copy) as given:
        parameters = NOTEBOOKS[step].checked({"run_dir": copy, **given})
        folder = step_folder(parameters)
        folder.mkdir(parents=True, exist_ok=True)
        execute_notebook(step, parameters, folder / "notebook.ipynb")
    return folder


@contextlib.contextmanager
def _given(name: str, copy: Path) -> Iterator[dict[str, Any]]:
    """Give what a notebook's first cell says, and a server for as long as a notebook needs one."""
    if name == "annotate":
        movie = _movie(copy)["movie"]
        yield {"movie": movie, "annotation": _few_cells(movie)}
    elif name == "curate":
        movie = _movie(copy)
        yield {"movie_id": movie["movie_id"], "raw": movie["movie"]}
    elif name == "compare_conditions":
        yield {"cohort": make_cohort(copy / "data" / "cohort") / "movies.csv"}
    elif name == "segment_cellpose":
        _train_cellpose(copy)
        movie = first_frames(_movie(copy)["movie"], copy / "data" / "first_frames.ome.tif", _FRAMES)
        yield {"movie_id": "first_frames", "movie": movie, "model": None}
    elif name == "segment_remote":
        with _serving(copy) as address:
            yield {**_movie(copy), "server": address, "beside_segment": True}
    else:
        yield {}


def _movie(copy: Path) -> dict[str, Any]:
    """Return the id and the file of the run's first movie."""
    from helpers.view.tracked_run import tracked_movies

    name = tracked_movies(copy)[0]
    found = sorted(copy.glob(f"data/{name}/raw.*"))
    if not found:
        raise InputError("RUN", copy, f"a run that has made its movie itself, as the demo: data/{name}/raw.*")
    return {"movie_id": name, "movie": found[0]}


def _few_cells(movie: Path) -> Path | None:
    """Write some true cells of a synthetic movie's first frame beside it, as if they had been drawn; None without a truth."""
    import numpy as np
    import tifffile

    from helpers.data.few_cells import draw_few_cells
    from helpers.data.movies import Movie

    truth, path = movie.with_name("labels.ome.tif"), movie.with_name("few_cells.tif")
    if truth.exists() and not path.exists():
        labels = Movie.open(truth)
        size, rng = labels.require_voxel_size(), np.random.default_rng(0)
        tifffile.imwrite(path, draw_few_cells(labels.frame(0).astype(int), 5, rng, voxel_size=size))
    return path if path.exists() else None


def _train_cellpose(copy: Path) -> None:
    from helpers.data.training_set import TrainingSet
    from helpers.models.cellpose import training
    from helpers.runs.steps.training import cellpose_settings

    p = TrainSegmentation.checked({"run_dir": copy, **_TRAINING})
    patches = TrainingSet.open(p.path("dataset", "training.npz"))
    training.train(patches, p.path("models", "cellpose"), cellpose_settings(p))


@contextlib.contextmanager
def _serving(copy: Path) -> Iterator[str]:
    """Serve the run's networks on this machine alone."""
    from helpers.runs.serving import run_model
    from helpers.serve.server import start

    server = start(run_model(copy), grpc_port=0)
    try:
        yield f"127.0.0.1:{server.grpc_port}"
    finally:
        server.stop(0.0)

"""What a notebook finds when it runs on sample data: the data, and what the notebooks before it would have left."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.atomic import atomic_path
from helpers.data.movies import Movie, write_movie
from helpers.data.synthetic.movie import SyntheticSettings, make_movie, save_pairs
from helpers.data.tables import write_table
from helpers.runs.parameters import (
    AnalyzeMigration,
    CreateDataset,
    OptimizeThresholds,
    Segment,
    SegmentCellpose,
    Track,
    TrainSegmentation,
)
from helpers.runs.run import Run, read_done, step_folder
from helpers.runs.sample import FIRST_FRAMES, RUN, cellpose_can_learn, settings_of

#: The movie; training stacks of the same look are of other seeds.
MOVIE = SyntheticSettings(
    seed=3,
    shape=(16, 80, 80),
    n_cells=12,
    n_frames=12,
    irregularity=0.5,
    rhythmic_fraction=0.75,
)
#: Condition → how far cells strive to move in a frame, in diameters: made up, to have something to compare.
SPEEDS = {"calm": 0.05, "restless": 0.12}
_MOVIES_EACH = 3


def before(name: str) -> dict[str, Any] | None:
    """Make the sample data, and what a step reads of earlier ones; what is there already stays.

    Parameters
    ----------
    name : str
        Of the notebook, without its number.

    Returns
    -------
    dict or None
        Parameters that are known only now: the address of the server that was started for it.
    """
    make_data()
    return _BEFORE.get(name, lambda: None)()


def make_data(folder: Path = RUN / "data") -> Path:
    """Make a synthetic movie with its truth in ``movie``, and training pairs in ``train``, unless they are there.

    Parameters
    ----------
    folder : Path
        Where to; a folder that a killed call left incomplete is made anew.

    Returns
    -------
    Path
        The folder.
    """
    _once(folder / "train", lambda part: save_pairs(part, replace(MOVIE, seed=MOVIE.seed + 1000), 5))
    _once(folder / "movie", lambda part: make_movie(MOVIE).save(part))
    return folder


def _once(folder: Path, make: Callable[[Path], object]) -> None:
    if folder.is_dir():
        return
    with atomic_path(folder) as part:
        part.mkdir()
        make(part)


def _say(what: str) -> None:
    print(f"First, for want of earlier notebooks: {what}", flush=True)


def _training_set() -> None:
    from helpers.runs.steps import dataset

    p = settings_of(CreateDataset)
    if p.path("dataset", "training.npz").exists() and read_done(step_folder(p)):
        return
    _say("the training set of notebook 03_create_dataset")
    run = Run.start(p)
    run.finish(dataset.results(dataset.make(p, dataset.find_pairs(p))))


def _networks() -> None:
    _training_set()
    p = settings_of(TrainSegmentation)
    if all(p.path("models", name, "weights_best.h5").exists() for name in ("unet", "stardist")):
        return
    from helpers.data.training_set import TrainingSet
    from helpers.models import stardist, unet
    from helpers.runs.steps import training as step

    _say("the networks of notebook 04_train_segmentation, a few minutes without a GPU")
    training_set = TrainingSet.open(p.path("dataset", "training.npz"))
    unet.train(
        training_set, p.path("models", "unet"), step.unet_settings(p), augmentation=step.augmentation(p)
    )
    stardist.train(
        training_set,
        p.path("models", "stardist"),
        step.stardist_settings(p),
        augmentation=step.augmentation(p),
    )


def _thresholds() -> None:
    _networks()
    p = settings_of(OptimizeThresholds)
    if p.path("thresholds.json").exists():
        return
    from helpers.runs.steps import thresholds as step
    from helpers.runs.steps.segmentation import open_segmenter

    _say("the thresholds of notebook 05_optimize_thresholds")
    stacks = step.validation_stacks(p)
    step.save(step.search(open_segmenter(p, stacks[0].voxel_size), stacks, p), p)


def _segmented() -> None:
    _thresholds()
    _segment(settings_of(Segment), "the labels of notebook 06_segment")


def _segment(p: Segment, what: str) -> None:
    from helpers.runs.segment_movie import segment_movie
    from helpers.runs.steps.segmentation import open_movie, open_segmenter

    _say(what)
    movie = open_movie(p)
    segment_movie(movie, lambda: open_segmenter(p, movie.require_voxel_size()), p)


def _server() -> dict[str, Any]:
    """Serve the sample's networks on this machine alone, until the notebook's kernel ends."""
    _thresholds()
    from helpers.runs.serving import run_model
    from helpers.serve.server import start

    server = start(run_model(RUN), grpc_port=0)
    atexit.register(server.stop, 0.0)
    address = f"127.0.0.1:{server.grpc_port}"
    _say(f"a server of our own at {address}, which this machine alone reaches (python -m helpers serve)")
    return {"server": address}


def _cellpose() -> None:
    weights = RUN / "models" / "cellpose" / "cellpose_model"
    if settings_of(SegmentCellpose).movie == FIRST_FRAMES:
        print("Cellpose 4 is slow without a GPU: two frames, slice by slice, take minutes", flush=True)
        first_frames(RUN / "data" / "movie" / "raw.ome.tif", FIRST_FRAMES)
    if not cellpose_can_learn() or weights.exists():
        return
    _training_set()
    from helpers.data.training_set import TrainingSet
    from helpers.models.cellpose import training as cellpose_training
    from helpers.runs.steps import training as step

    _say("a small Cellpose network, as notebook 04_train_segmentation trains it, a few minutes without a GPU")
    p = settings_of(TrainSegmentation).model_copy(update={"cellpose": {"cell_pixels": 12.0}})
    p = TrainSegmentation.checked(p.model_dump())
    training_set = TrainingSet.open(p.path("dataset", "training.npz"))
    cellpose_training.train(training_set, weights.parent, step.cellpose_settings(p))


def first_frames(movie: Path, path: Path, n: int = 2) -> Path:
    """Write a movie's first frames as a movie of their own, unless it is there, and return its path."""
    if not path.exists():
        look = Movie.open(movie)
        stacks = np.stack([look.frame(t) for t in range(min(n, look.n_frames))])
        size, interval = look.require_voxel_size(), look.frame_interval
        write_movie(path, stacks, voxel_size=size, frame_interval=interval, axes="TZYX")
    return path


def _labels() -> None:
    """Measure the true labels where no notebook has found any: no network, and a few seconds."""
    p = settings_of(Segment)
    if p.movie_path("objects.csv").exists():
        return
    given = {"labels": RUN / "data" / "movie" / "labels.ome.tif", "compare_methods": False}
    _segment(
        p.model_copy(update=given), "the movie's true cells, measured (notebook 06_segment would find them)"
    )


def _tracks() -> None:
    _labels()
    p = settings_of(Track)
    made, of = p.movie_path("tracks.csv"), p.movie_path("objects.csv")
    if made.exists() and made.stat().st_mtime >= of.stat().st_mtime:
        return
    from helpers.runs.steps import tracking as step

    _say("the tracks of notebook 10_track")
    cells, _ = step.keep_cells(step.open_cells(p), p)
    cells, tracks, _ = step.track_movie(cells, p)
    step.write_all(step.keep_tracks(tracks, cells, p)[0], cells, p)


def make_cohort(folder: Path = RUN / "data" / "cohort") -> Path:
    """Make movies of cells that move more or less, analyse them as notebook 15_analyze_migration does, and list them in
    ``movies.csv``, unless they are there; return the folder.
    """
    _once(folder, _make_cohort)
    return folder


def _cohort() -> None:
    make_cohort()


def _make_cohort(folder: Path) -> None:
    from helpers.runs.steps import migration as step
    from helpers.runs.steps.tracked import open_tracks, write_tables

    _say(f"{_MOVIES_EACH} small movies each of cells that are {' and '.join(SPEEDS)}, tracked and analysed")
    rows = []
    for condition, speed in SPEEDS.items():
        for k in range(_MOVIES_EACH):
            name = f"{condition}_{k}"
            look = replace(MOVIE, shape=(1, 64, 64), n_frames=8, division_rate=0.0, speed=speed, seed=100 + k)
            truth = make_movie(look).save(folder / "truth" / name)
            given = {"run_dir": folder, "movie_id": name, "tracks": truth}
            scale = {"voxel_size_um": look.voxel_size, "frame_interval_s": look.frame_interval}
            p = AnalyzeMigration.checked({**given, **scale})
            steps, tracklets = step.measure(p, open_tracks(p), None)
            write_tables(p, {"migration_objects": steps, "migration_tracklets": tracklets})
            rows.append({"run_dir": ".", "movie_id": name, "condition": condition})
    write_table(pd.DataFrame(rows), folder / "movies.csv")


_BEFORE: dict[str, Callable[[], dict[str, Any] | None]] = {
    "train_segmentation": _training_set,
    "optimize_thresholds": _networks,
    "segment": _thresholds,
    "segment_cellpose": _cellpose,
    "segment_remote": _server,
    "evaluate_segmentation": _segmented,
    "track": _labels,
    **dict.fromkeys(
        (
            "evaluate_tracking",
            "analyze_boundary_distance",
            "analyze_intensity_spectrum",
            "analyze_migration",
            "curate",
        ),
        _tracks,
    ),
    "compare_conditions": _cohort,
}

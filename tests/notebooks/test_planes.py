"""2D from stacks to scored cells, with a tissue network; and a 3D movie cut slice by slice with 2D networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from helpers.data.experiment import Experiment, read_experiment
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import write_movie
from helpers.data.synthetic.movie import SyntheticSettings, make_movie
from helpers.runs.batch import run_experiment
from helpers.runs.execute import execute_notebook
from helpers.runs.parameters import Segment
from helpers.runs.plan import plan
from helpers.runs.report import finish

FLAT: dict[str, Any] = {
    "name": "flat",
    "prepare": {"synthetic": {"seed": 5, "shape": [1, 96, 96], "n_cells": 14, "n_frames": 2, "n_stacks": 6}},
    "pairs": {"raw_dir": "train/raw", "label_dir": "train/label"},
    "movies": "movies.csv",
    "steps": {
        "03_create_dataset": {
            "patch_size": [48, 48],
            "patches_per_image": 16,
            "network_depth": 2,
            "boundary_width_um": 0.5,
            "validation_stacks": ["stack_05"],
        },
        "04_train_segmentation": {
            "train_tissue": True,
            "patch_size": [48, 48],
            "n_epochs": 10,
            "steps_per_epoch": 40,
            "batch_size": 2,
            "learning_rate": 0.002,
            "schedule": "cosine",
            "network_depth": 2,
            "start_filters": 12,
            "rays": 32,
        },
        "05_optimize_thresholds": {},
        "06_segment": {"compare_methods": True, "use_tissue_model": True},
        "09_evaluate_segmentation": {},
    },
}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """Run the experiment, once."""
    folder = tmp_path_factory.mktemp("flat")
    (folder / "movies.csv").write_text("movie_id,movie,truth\nmovie,movie/raw.ome.tif,movie/labels.ome.tif\n")
    content = {**FLAT, "run_dir": str(folder / "run")}
    content["steps"]["04_train_segmentation"]["tissue_dir"] = str(
        folder / "run" / "data" / "train" / "tissue"
    )
    (folder / "flat.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    experiment = read_experiment(folder / "flat.yaml")
    lines: list[str] = []
    assert run_experiment(experiment, say=lines.append) == [], "\n".join(lines)
    finish(experiment)
    return experiment


def test_cells_are_found_in_2d(flat: Experiment) -> None:
    scores = json.loads((flat.run_dir / "summary.json").read_text())["segmentation"]
    assert scores["vollseg"]["f1_50"] > 0.6
    assert scores["vollseg"]["f1_50"] >= scores["stardist"]["f1_50"]


def test_the_tissue_network_was_trained_and_decides(flat: Experiment, tmp_path: Path) -> None:
    assert (flat.run_dir / "models" / "tissue" / "weights_best.h5").is_file()
    job = next(job for job in plan(flat) if job.step == Segment.step)
    assert isinstance(job.parameters, Segment) and job.parameters.movie
    roi = np.zeros((1, 1, 1, 96, 96), np.uint8)
    roi[..., :48] = 1
    write_movie(tmp_path / "roi.tif", roi, voxel_size=(1.5, 0.5, 0.5))
    half = job.parameters.model_copy(
        update={"movie_id": "half", "tissue_mask": tmp_path / "roi.tif", "compare_methods": False}
    )
    execute_notebook(half.step, half, tmp_path / "half.ipynb")
    whole, left = (
        LabelMovie.open(flat.run_dir / "movies" / name / "labels.zarr") for name in ("movie", "half")
    )
    assert 0 < left.frame(0).max() < whole.frame(0).max(), "only cells in the region are kept"


def test_a_stack_is_segmented_slice_by_slice(flat: Experiment, tmp_path: Path) -> None:
    movie = make_movie(SyntheticSettings(shape=(12, 64, 64), n_cells=8, n_frames=1, seed=2))
    movie.save(tmp_path / "deep")
    job = next(job for job in plan(flat) if job.step == Segment.step)
    changes = {
        "movie": tmp_path / "deep" / "raw.ome.tif",
        "movie_id": "deep",
        "slice_wise": True,
        "use_tissue_model": False,
        "compare_methods": False,
    }
    p = job.parameters.model_copy(update=changes)
    execute_notebook(p.step, p, tmp_path / "deep.ipynb")
    labels = LabelMovie.open(flat.run_dir / "movies" / "deep" / "labels.zarr").frame(0)
    outlines = sum(len(np.unique(plane)) - 1 for plane in labels)
    assert labels.shape == (12, 64, 64)
    assert 0 < labels.max() < 0.7 * outlines, "outlines of neighbouring slices are joined to cells"

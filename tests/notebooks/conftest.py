"""One small experiment, run once through all notebooks by papermill, that the tests of notebooks look at."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.data.experiment import Experiment, read_experiment
from helpers.runs import sample
from helpers.runs.batch import run_experiment
from helpers.runs.report import finish
from helpers.runs.run import read_done
from tests.small_figures import png_alone

#: Small enough for a minute or two of training, large enough that the networks must have learned to pass.
TINY: dict[str, Any] = {
    "name": "tiny",
    "prepare": {
        "synthetic": {
            "seed": 3,
            "shape": [16, 80, 80],
            "n_cells": 12,
            "n_frames": 3,
            "division_rate": 0.05,
            "irregularity": 0.5,
            "n_stacks": 5,
        }
    },
    "pairs": {"raw_dir": "train/raw", "label_dir": "train/label"},
    "movies": "movies.csv",
    "steps": {
        "03_create_dataset": {
            "patch_size": [16, 48, 48],
            "patches_per_image": 12,
            "copies_per_image": 1,
            "network_depth": 2,
            "boundary_width_um": 1.5,
            "validation_stacks": ["stack_04"],
        },
        "02_train_denoiser": {
            "n_epochs": 2,
            "steps_per_epoch": 10,
            "patch_size": [16, 48, 48],
            "patches_per_image": 4,
            "network_depth": 2,
            "start_filters": 8,
            "masked_percent": 1.0,
        },
        "04_train_segmentation": {**sample.SETTINGS["train_segmentation"], "batch_size": 1},
        "05_optimize_thresholds": {},
        "06_segment": {"compare_methods": True, "min_size_um3": 20, "save_tiff": True},
        "09_evaluate_segmentation": {},
        "10_track": {"tracker": "overlap", "min_iou": 0.2},
        "11_evaluate_tracking": {},
        "13_analyze_boundary_distance": {"tissue_mask": "movie/tissue.ome.tif", "nearest_voxel": True},
        "14_analyze_intensity_spectrum": {"n_permutations": 99},
        "15_analyze_migration": {"min_displacement_um": 0.5},
        "16_compare_conditions": {"metrics": ["mean_speed_um_per_min", "mean_distance_um"]},
        "12_curate": {},
    },
}

MOVIES = """\
movie_id,movie,truth,clean,truth_tracks
movie,movie/raw.ome.tif,movie/labels.ome.tif,movie/clean.ome.tif,movie
"""


@dataclass
class TinyRun:
    """The experiment after its notebooks ran, and what was said meanwhile."""

    experiment: Experiment
    failed: list[str]
    lines: list[str]
    summary: str
    seconds: float
    done: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return self.experiment.run_dir


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Run all notebooks on a small synthetic experiment."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "movies.csv").write_text(MOVIES)
    path = folder / "tiny.yaml"
    steps = png_alone(TINY["steps"])
    path.write_text(yaml.safe_dump({**TINY, "steps": steps, "run_dir": str(folder / "run")}, sort_keys=False))
    experiment = read_experiment(path)
    lines: list[str] = []
    started = time.monotonic()
    failed = run_experiment(experiment, say=lines.append)
    run = TinyRun(experiment, failed, lines, finish(experiment), time.monotonic() - started)
    for step in sorted((experiment.run_dir / "steps").iterdir()):
        run.done[step.name] = read_done(step) or {}
    return run

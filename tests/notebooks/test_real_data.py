"""Short versions of the experiments on real data: less training, and lower scores to reach, than in the README."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.data.experiment import read_experiment
from helpers.runs.batch import run_experiment
from helpers.runs.report import finish

MANIFESTS = Path(__file__).resolve().parents[2] / "data_manifests"


def _scores(name: str, training: dict, tmp_path: Path) -> dict[str, dict]:
    """Run an experiment with another training, and return the scores of each method."""
    experiment = read_experiment(MANIFESTS / f"{name}.yaml", run_dir=tmp_path / name)
    steps = copy.deepcopy(experiment.steps)
    steps["03_train_segmentation"] |= training
    lines: list[str] = []
    short = replace(experiment, steps=steps)
    assert run_experiment(short, say=lines.append) == [], "\n".join(lines)
    finish(short)
    return json.loads((tmp_path / name / "summary.json").read_text())["segmentation"]


@pytest.mark.parametrize(
    ("name", "training", "least"),
    [("ovule", {"n_epochs": 12, "grid": [1, 4, 4]}, 0.5), ("embryo", {"n_epochs": 6}, 0.6)],
)
def test_a_short_training_finds_real_cells(
    name: str, training: dict, least: float, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLLTRACK_SAMPLES", str(samples))
    scores = _scores(name, training, tmp_path)
    assert scores["vollseg"]["f1_50"] >= least
    assert scores["vollseg"]["f1_50"] >= scores["stardist"]["f1_50"]


def test_a_short_training_of_cellpose_finds_real_nuclei(tmp_path: Path) -> None:
    scores = _scores("cellpose_nuclei", {"n_epochs": 20}, tmp_path)
    assert scores["cellpose"]["f1_50"] >= 0.8

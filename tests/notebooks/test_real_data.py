"""Short versions of the experiments on real data: less training, and lower scores to reach, than in the README.

How much such a version's scores vary over seeds, to set a bound by:  python tests/notebooks/test_real_data.py embryo_few 5
VollSeg's F1 at IoU 0.5 over two seeds: 0.860 ± 0.025 on the ovule, where it is the U-Net alone, and 0.967 ± 0.014 on few
embryos, 0.318 ± 0.014 above the better network in the mean of IoU 0.5 and 0.7.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.data.experiment import read_experiment
from helpers.runs.batch import run_experiment
from helpers.runs.report import finish

#: Minutes of two cores that are free; here, where other tests have them too, an hour is no sign that anything hangs.
pytestmark = pytest.mark.timeout(3600)

MANIFESTS = Path(__file__).resolve().parents[2] / "data_manifests"
#: Experiment → training, and the movies to score; all by default.
SHORT: dict[str, dict[str, Any]] = {
    "ovule": {"training": {"n_epochs": 12, "batch_size": 1, "grid": [1, 4, 4]}},
    "embryo_few": {"training": {"n_epochs": 6, "batch_size": 1}, "movies": ("Emb1_t251", "Emb4_t401")},
    "cellpose_nuclei": {"training": {"n_epochs": 10, "batch_size": 2}},
}


def _scores(name: str, folder: Path, seed: int = 0) -> dict[str, dict[str, float]]:
    """Run the short version of an experiment, and return the scores of each method."""
    experiment = read_experiment(MANIFESTS / f"{name}.yaml", run_dir=folder / name)
    steps = copy.deepcopy(experiment.steps)
    steps["04_train_segmentation"] |= {**SHORT[name]["training"], "seed": 42 + seed}
    steps["03_create_dataset"]["seed"] = 42 + seed
    kept = SHORT[name].get("movies")
    movies = [movie for movie in experiment.movies if kept is None or movie["movie_id"] in kept]
    lines: list[str] = []
    short = replace(experiment, steps=steps, movies=movies)
    assert run_experiment(short, say=lines.append) == [], "\n".join(lines)
    finish(short)
    return json.loads((folder / name / "summary.json").read_text())["segmentation"]


def _above_its_parts(scores: dict[str, dict[str, float]]) -> float:
    """Return by how much VollSeg's mean F1 is above that of the better of its networks."""
    f1 = {method: (found["f1_50"] + found["f1_70"]) / 2 for method, found in scores.items()}
    return f1["vollseg"] - max(f1["stardist"], f1["unet"])


@pytest.mark.parametrize(("name", "least"), [("ovule", 0.6), ("embryo_few", 0.75)])
def test_a_short_training_finds_real_cells(
    name: str, least: float, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLLTRACK_SAMPLES", str(samples))
    scores = _scores(name, tmp_path)
    assert scores["vollseg"]["f1_50"] >= least
    # Of 20 cells and more: the law, or one cell.
    assert _above_its_parts(scores) >= -0.05, scores


def test_a_short_training_of_cellpose_finds_real_nuclei(tmp_path: Path) -> None:
    scores = _scores("cellpose_nuclei", tmp_path)
    assert scores["cellpose"]["f1_50"] >= 0.8


if __name__ == "__main__":
    os.environ.setdefault("VOLLTRACK_SAMPLES", str(MANIFESTS.parents[1] / "shared" / "samples"))
    reached: dict[str, list[float]] = {}
    for k in range(int(sys.argv[2])):
        with tempfile.TemporaryDirectory() as run:
            scores = _scores(sys.argv[1], Path(run), k)
        for method, found in scores.items():
            reached.setdefault(method, []).append(found["f1_50"])
        if "vollseg" in scores:
            reached.setdefault("VollSeg above its parts", []).append(_above_its_parts(scores))
        for method, values in reached.items():
            spread = np.std(values, ddof=1) if len(values) > 1 else np.nan
            print(f"{method}: {np.mean(values):.3f} ± {spread:.3f} of {values}", flush=True)

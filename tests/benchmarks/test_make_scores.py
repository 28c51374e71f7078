"""What `make scores` runs, forgets, collects and writes; the runs themselves are too long for a test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import score_runs
import write_scores
import yaml

from helpers.runs.plan import open_experiment


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for variant in ("demo_eroded", "cellpose_membranes"):
        for seed in (0, 2):
            network = tmp_path / "scores" / variant / f"seed_{seed}" / "models" / "stardist"
            network.mkdir(parents=True)
            (network / "weights_best.h5").write_text(f"{variant}, {seed}")
    return tmp_path


@pytest.mark.parametrize("name", write_scores.EXPERIMENTS)
def test_every_experiment_is_planned_with_every_seed_and_foreground(name: str, runs: Path) -> None:
    for foreground in ("eroded", "whole"):
        for seed in (0, 2):
            folder = runs / "scores" / f"{name}_{foreground}" / f"seed_{seed}" / "models" / "stardist"
            folder.mkdir(parents=True, exist_ok=True)
    seen = []
    for variant in score_runs.variants(name):
        for seed in (0, 2):
            experiment, jobs = open_experiment(score_runs.write_variant(name, variant, seed, runs=runs))
            assert experiment.run_dir == runs / "scores" / variant / f"seed_{seed}"
            seeds = {job.parameters.seed for job in jobs if hasattr(job.parameters, "seed")}
            assert seeds <= {42 + seed}
            assert {job.step[:2] for job in jobs} <= {"03", "04", "05", "06", "07", "09", "10", "11"}
            assert any(job.step.startswith("09") for job in jobs)
            seen.append(variant)
    assert sorted(set(seen)) == (
        [name] if name.startswith("cellpose") else [f"{name}_eroded", f"{name}_whole"]
    )


def test_another_seed_is_other_data_and_another_training(runs: Path) -> None:
    files = [score_runs.write_variant("demo", "demo_eroded", seed, runs=runs) for seed in (0, 2)]
    first, third = (yaml.safe_load(path.read_text()) for path in files)
    published = yaml.safe_load((score_runs.MANIFESTS / "demo.yaml").read_text())
    assert first["prepare"] == published["prepare"]
    assert third["prepare"]["synthetic"]["seed"] - first["prepare"]["synthetic"]["seed"] > 2000
    assert third["steps"]["04_train_segmentation"]["seed"] == 44


def test_the_whole_foreground_shares_data_and_stardist_with_the_eroded(runs: Path) -> None:
    path = score_runs.write_variant("demo", "demo_whole", 2, runs=runs)
    experiment, jobs = open_experiment(path)
    eroded, _ = open_experiment(score_runs.write_variant("demo", "demo_eroded", 2, runs=runs))
    assert experiment.data_dir == eroded.data_dir and not experiment.prepare
    by_step = {job.step[:2]: job.parameters for job in jobs}
    assert by_step["03"].boundary_width_um == 0 and not by_step["04"].train_stardist
    assert (path.parent / "models" / "stardist" / "weights_best.h5").read_text() == "demo_eroded, 2"


def test_what_reads_another_experiments_data_reads_that_of_its_seed(runs: Path) -> None:
    experiment, _ = open_experiment(
        score_runs.write_variant("cellpose_planes", "cellpose_planes", 2, runs=runs)
    )
    assert experiment.data_dir == runs / "scores" / "cellpose_membranes" / "seed_2" / "data"


@pytest.mark.parametrize(
    ("start", "kept"),
    [
        ("05", {"models/unet/weights_best.h5", "steps/03/done.json", "steps/04/done.json"}),
        ("06", {"models/unet/weights_best.h5", "steps/03/done.json", "steps/04/done.json",
                "steps/05/done.json", "thresholds.json", "thresholds_stardist.json"}),
        ("09", {"models/unet/weights_best.h5", "steps/03/done.json", "steps/04/done.json", "steps/05/done.json",
                "steps/06-a/done.json", "thresholds.json", "thresholds_stardist.json", "movies/a/labels.zarr/0"}),
    ],
)  # fmt: skip
def test_a_change_of_the_code_forgets_what_it_found_but_no_network(
    start: str, kept: set[str], tmp_path: Path
) -> None:
    names = {"03": "03_create_dataset", "04": "04_train_segmentation", "05": "05_optimize_thresholds",
             "06-a": "06_segment-a", "09-a": "09_evaluate_segmentation-a"}  # fmt: skip
    files = [f"steps/{name}/done.json" for name in names] + [
        "models/unet/weights_best.h5", "thresholds.json", "thresholds_stardist.json", "movies/a/labels.zarr/0",
    ]  # fmt: skip
    places = {name: tmp_path / "/".join(names.get(part, part) for part in name.split("/")) for name in files}
    for path in places.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    score_runs.forget(tmp_path, start)
    assert {name for name, path in places.items() if path.exists()} == kept


def _summary(folder: Path, f1: float, division_f1: float | None) -> None:
    folder.mkdir(parents=True)
    names = ("f1_50", "f1_70", "precision_50", "recall_50", "mean_matched_iou", "mse", "ssim")
    vollseg = dict.fromkeys(names, f1) | {"mse": 0.02}
    found = {
        "segmentation": {"vollseg": vollseg, "stardist": vollseg | {"f1_50": 0.5, "mse": 0.005}},
        "tracking": {
            "predicted_labels": {"tra": f1, "division_f1": division_f1},
            "true_labels": {"tra": 1.0},
        },
    }
    (folder / "summary.json").write_text(json.dumps(found))


@pytest.fixture
def scores(tmp_path: Path) -> dict:
    _summary(tmp_path / "scores" / "demo_whole" / "seed_0", 0.9, 0.8)
    _summary(tmp_path / "scores" / "demo_whole" / "seed_10", 0.8, None)
    _summary(tmp_path / "scores" / "demo_whole" / "seed_2", 0.7, 0.6)
    training = tmp_path / "scores" / "ovule_whole" / "seed_0" / "summary.json"
    training.parent.mkdir(parents=True)
    training.write_text('{"segmentation": {}, "tracking": {}}')
    return score_runs.collect(tmp_path)


def test_scores_are_collected_over_the_seeds(scores: dict) -> None:
    assert set(scores) == {"demo_whole"}, "what is only trained has no scores yet"
    f1 = scores["demo_whole"]["vollseg"]["f1_50"]
    assert f1["values"] == [0.9, 0.7, 0.8], "in the order of the seeds"
    assert f1["n"] == 3 and f1["mean"] == pytest.approx(0.8) and f1["sd"] == pytest.approx(0.1)
    divisions = scores["demo_whole"]["tracking_predicted_labels"]["division_f1"]
    assert divisions["n"] == 2, "a movie without divisions has no score of them"
    assert score_runs.spread([0.5]) == {"mean": 0.5, "sd": None, "n": 1, "values": [0.5]}


def test_the_readme_says_mean_and_spread(scores: dict, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- scores -->\nold\n<!-- /scores -->\nafter\n")
    write_scores.write(readme, scores)
    text = readme.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith("after\n")
    name = "synthetic membranes (`demo`), whole cells"
    assert f"| {name} | VollSeg | 3 | 0.800 ± 0.100 | 0.800 ± 0.100 |" in text
    assert "|  | StarDist alone | 3 | 0.500 ± 0.000 |" in text
    assert f"| {name} | 3 | 1.000 ± 0.000 | – | 0.800 ± 0.100 | 0.700 ± 0.141 |" in text


def test_the_margin_over_the_parts_knows_which_way_is_better(scores: dict) -> None:
    margins = write_scores.margins(scores)["demo_whole"]
    assert margins["f1_50"] == pytest.approx(0.3)
    assert margins["mse"] == pytest.approx(-0.015)
    assert margins["ssim"] == pytest.approx(0)

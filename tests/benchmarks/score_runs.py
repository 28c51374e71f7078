"""``make scores``: every experiment with truth, over several seeds and with both foregrounds; runs/scores.json.

    runs/scores/<experiment>_<foreground>/seed_<k>/experiment.yaml     what was run, as a person could run it
                                                  summary.json, …     an ordinary run folder
    runs/scores.json    <experiment>_<foreground> → method → measure → {mean, sd, n, values}

Seed 0 is the experiment as its file says. Seed k adds k to the seed of every step, and draws other synthetic data.
The foreground is what the U-Net learns: ``eroded`` leaves out the border between touching cells, as the experiment's
file says, ``whole`` (`boundary_width_um` 0) does not. StarDist does not learn it: the second run takes the network of
the first, and its data.

A run goes on where it was interrupted, and what is done is skipped. ``--from 05`` forgets what the steps from there on
found, for a change of the code; the networks stay.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from helpers.__main__ import main as command_line
from helpers.runs.parameters import STEPS
from helpers.runs.run import write_json

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "data_manifests"
RUNS = ROOT / "runs"
FOREGROUNDS = ("eroded", "whole")
DEFAULT = ("demo", "ovule", "embryo", "embryo_few")
#: Steps that say nothing about how good labels and tracks are.
_LEFT_OUT = ("02", "13", "14", "15", "16")
#: Farther apart than the seeds that one synthetic experiment uses.
_DATA_SEEDS_APART = 10_000


def variants(name: str) -> list[str]:
    """Return the names of an experiment's variants: one a foreground, or its own where no U-Net is trained."""
    trained = _read(name)["steps"].get("04_train_segmentation", {})
    has_foreground = "03_create_dataset" in _read(name)["steps"] and trained.get("train_unet", True)
    return [f"{name}_{foreground}" for foreground in FOREGROUNDS] if has_foreground else [name]


def write_variant(name: str, variant: str, seed: int, *, until: str | None = None, runs: Path = RUNS) -> Path:
    """Write the experiment file of one variant and seed into its run folder, and return the file."""
    content = _read(name)
    folder = _folder(runs, variant, seed)
    folder.mkdir(parents=True, exist_ok=True)
    content["name"] = f"{variant}, seed {seed}"
    content["run_dir"] = str(folder)
    content["steps"] = {
        step: _with_seed(step, given or {}, seed)
        for step, given in content["steps"].items()
        if step[:2] not in _LEFT_OUT and step[:2] <= (until or "99")
    }
    if synthetic := content.get("prepare", {}).get("synthetic"):
        synthetic["seed"] += _DATA_SEEDS_APART * seed
    if content.get("data_dir"):  # the data of another experiment: of its run with the same seed
        content["data_dir"] = str(_folder(runs, Path(content["data_dir"]).parent.name, seed) / "data")
    if variant == f"{name}_whole":
        first = _folder(runs, f"{name}_eroded", seed)
        content.pop("prepare", None)
        content["data_dir"] = str(first / "data")
        content["steps"]["03_create_dataset"]["boundary_width_um"] = 0.0
        if "04_train_segmentation" in content["steps"]:
            content["steps"]["04_train_segmentation"]["train_stardist"] = False
            if not (folder / "models" / "stardist").exists():
                shutil.copytree(first / "models" / "stardist", folder / "models" / "stardist")
    shutil.copy(MANIFESTS / content["movies"], folder)
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def forget(folder: Path, start: str) -> None:
    """Remove what the steps from `start` on have found in a run folder, but no network."""
    for step in STEPS:
        if step >= start:
            for done in folder.glob(f"steps/{step}*"):
                shutil.rmtree(done)
    if start <= "07":
        shutil.rmtree(folder / "movies", ignore_errors=True)
    if start <= "05":
        for found in folder.glob("thresholds*.json"):
            found.unlink()


def collect(runs: Path = RUNS) -> dict[str, dict[str, dict[str, Any]]]:
    """Return mean, standard deviation and values over the seeds of every score of the runs below ``runs/scores``."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for path in sorted(runs.glob("scores/*/seed_*/summary.json"), key=_number):
        summary = json.loads(path.read_text())
        methods = dict(summary["segmentation"])
        methods |= {f"tracking_{source}": scores for source, scores in summary["tracking"].items()}
        for method, scores in methods.items():
            of_method = found.setdefault(path.parts[-3], {}).setdefault(method, {})
            for measure, value in scores.items():
                if value is not None and math.isfinite(value):
                    of_method.setdefault(measure, []).append(value)
    return {
        experiment: {
            method: {measure: spread(values) for measure, values in scores.items()}
            for method, scores in methods.items()
        }
        for experiment, methods in found.items()
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation (of the sample; None for one value), number and the values themselves."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "n": len(values), "values": list(values)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, collect, and return 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[5], help="how many, or two: the first and the end"
    )
    parser.add_argument(
        "--experiments", nargs="+", default=DEFAULT, metavar="NAME", help="of data_manifests/"
    )
    parser.add_argument("--from", dest="start", metavar="STEP", help="do this step and those after it again")
    parser.add_argument("--until", metavar="STEP", help="stop after this step, such as 04 to train only")
    given = parser.parse_args(arguments)
    failed = []
    for seed, name in itertools.product(range(*given.seeds), given.experiments):
        for variant in variants(name):
            if given.start:
                forget(_folder(RUNS, variant, seed), given.start)
            print(f"\n=== {variant}, seed {seed}", flush=True)
            code = command_line(["run", str(write_variant(name, variant, seed, until=given.until))])
            if code > 128:  # ended by a signal: so does this
                return code
            if code:
                failed.append(f"{variant}, seed {seed}")
                break  # the other foreground would read what this run did not make
            write_json(RUNS / "scores.json", collect())
    if failed:
        print(f"failed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((MANIFESTS / f"{name}.yaml").read_text(encoding="utf-8"))


def _folder(runs: Path, variant: str, seed: int) -> Path:
    return runs.absolute() / "scores" / variant / f"seed_{seed}"


def _with_seed(step: str, given: dict[str, Any], seed: int) -> dict[str, Any]:
    field = STEPS[step].model_fields.get("seed")
    return given if field is None else {**given, "seed": given.get("seed", field.default) + seed}


def _number(summary: Path) -> tuple[str, int]:
    return summary.parts[-3], int(summary.parent.name.removeprefix("seed_"))


if __name__ == "__main__":
    sys.exit(main())

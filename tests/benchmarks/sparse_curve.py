"""F1 over the number of drawn cells: what little annotation is enough for.

    python tests/benchmarks/sparse_curve.py data_manifests/sparse.yaml --cells 1 3 8 all --seeds 0 1 2

For each number of cells and each seed, `helpers.data.few_cells` draws cells in every training stack of the experiment (all:
its full labels), U-Net and StarDist are trained on them with the experiment's parameters, thresholds are found on what is drawn,
as notebook 05_optimize_thresholds does where too little is drawn to hold any back, and VollSeg's F1 at an IoU of 0.5 is
measured on the frames of its movies. Results are added to ``--out``, one line each, with the processor time of training and
thresholds: what is there already is not done again. ``--figure`` draws all of them: the README's picture is
``notebooks/figures/few_cells.png``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.experiment import Experiment, read_experiment
from helpers.data.few_cells import draw_few_cells
from helpers.data.movies import Movie
from helpers.data.patches import create_training_set
from helpers.data.stacks import open_stacks
from helpers.data.training_set import TrainingSet
from helpers.models import stardist, unet
from helpers.runs.parameters import CreateDataset, OptimizeThresholds, Segment, TrainSegmentation
from helpers.runs.plan import plan
from helpers.runs.prepare import prepare
from helpers.runs.steps import dataset, thresholds
from helpers.runs.steps import training as step
from helpers.segmentation.matching import match_counts
from helpers.segmentation.thresholds import LIMITS
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
from helpers.view.figure_files import save_figure
from helpers.view.style import method_style, new_figure, styled

METHODS = ("vollseg", "stardist", "unet")


def parameters(experiment: Experiment) -> tuple[CreateDataset, TrainSegmentation, list[tuple[Segment, str]]]:
    """Return the parameters of training set, networks and segmentation, these with the movie's truth."""
    jobs = [job.parameters for job in plan(experiment)]
    made = next(p for p in jobs if isinstance(p, CreateDataset))
    trained = next(p for p in jobs if isinstance(p, TrainSegmentation))
    movies = [p for p in jobs if isinstance(p, Segment)]
    return made, trained, list(zip(movies, [row["truth"] for row in experiment.movies], strict=True))


def drawn_pairs(
    p: CreateDataset, label_dir: Path, cells: str, seed: int, max_share: float
) -> tuple[list[tuple], float]:
    """Return (raw, labels) of each training stack with `cells` of its cells drawn, and the share of annotated voxels."""
    full = p.model_copy(update={"annotation_dir": None, "label_dir": label_dir})
    pairs, annotated = [], []
    for index, stack in enumerate(
        open_stacks(dataset.find_pairs(full), voxel_size=p.voxel_size_um, boundary_width=0)
    ):
        loaded = stack.load()
        labels = loaded.labels
        if cells != "all":
            rng = np.random.default_rng([seed, index])
            labels = draw_few_cells(labels, int(cells), rng, voxel_size=stack.voxel_size, max_share=max_share)
        pairs.append((loaded.raw, labels))
        annotated.append(float((labels >= 0).mean()))
    return pairs, float(np.mean(annotated))


def train(
    p: CreateDataset, t: TrainSegmentation, pairs: Sequence[tuple], voxel_size, seed: int, folder: Path
) -> dict:
    """Train both networks in `folder`; return what is known of the training set, and the processor time."""
    started = time.process_time()
    settings = dataset.settings(p) | {
        "voxel_size": voxel_size,
        "seed": seed,
        "validation_fraction": p.validation_fraction,
        "validation_stacks": (),  # of stacks in which a few cells are drawn, some of these are held back
    }
    patches: TrainingSet = create_training_set(pairs, folder / "training.npz", **settings, overwrite=True)
    t = t.model_copy(update={"seed": seed})
    unet.train(patches, folder / "unet", step.unet_settings(t), augmentation=step.augmentation(t))
    stardist.train(
        patches,
        folder / "stardist",
        step.stardist_settings(t),
        augmentation=step.augmentation(t),
    )
    seconds = time.process_time() - started
    return {
        "validation": len(patches.validation),
        "train_processor_s": round(seconds, 1),
        "boundary_width": patches.settings["boundary_width"],
    }


def find_thresholds(segmenter: VollSegSegmenter, pairs: Sequence[tuple]) -> tuple[VollSegSegmenter, float]:
    """Return the segmenter with the thresholds that suit what is drawn, and the processor time of the search."""
    started = time.process_time()
    size = tuple(segmenter.voxel_size or ())
    stacks = [
        thresholds.ValidationStack(str(i), raw, labels, size, True) for i, (raw, labels) in enumerate(pairs)
    ]
    found = thresholds.search(segmenter, stacks, OptimizeThresholds.checked({}))
    chosen = {method: own.choices for method, own in found.items()}
    return replace(segmenter, thresholds=chosen), round(time.process_time() - started, 1)


def score(
    folder: Path,
    boundary_width: float,
    pairs: Sequence[tuple],
    movies: Sequence[tuple[Segment, str]],
    frames: int | None,
) -> dict[str, float]:
    """Return F1@0.5 of each method, counts pooled over the frames of all movies, and the time that thresholds took."""
    pairs_of: dict[str, list[tuple]] = {method: [] for method in METHODS}
    p, path = movies[0]
    segmenter = VollSegSegmenter(
        stardist.load(folder / "stardist"), unet.load(folder / "unet"), compare=True,
        voxel_size=p.voxel_size_um or Movie.open(str(p.movie)).voxel_size, boundary_width=boundary_width,
        min_size_um3=p.min_size_um3, candidate_floor=LIMITS["prob"][0],
    )  # fmt: skip
    segmenter, seconds = find_thresholds(segmenter, pairs)
    for p, path in movies:
        raw, truth = Movie.open(str(p.movie)), Movie.open(path)
        for t in range(min(raw.n_frames, frames or raw.n_frames)):
            found = segmenter(raw.frame(t))
            for method in METHODS:
                pairs_of[method].append((truth.frame(t), found.labels[method]))
    scores = {method: f1(own) for method, own in pairs_of.items()}
    return scores | {"thresholds_processor_s": seconds}


def f1(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the F1 at an IoU of 0.5 of labels against truth, counts pooled over (truth, labels)."""
    rows = pd.concat([match_counts(*pair, iou_thresholds=(0.5,)) for pair in pairs])
    tp, fp, fn = rows[["tp", "fp", "fn"]].sum()
    return round(float(2 * tp / max(2 * tp + fp + fn, 1)), 4)


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield one result for each number of cells and seed."""
    experiment = read_experiment(args.experiment, run_dir=args.folder / Path(args.experiment).stem)
    prepare(experiment)
    made, trained, movies = parameters(experiment)
    voxel_size = made.voxel_size_um
    label_dir = experiment.data_dir / "train" / "label"
    if voxel_size is None:
        pair = dataset.find_pairs(made.model_copy(update={"annotation_dir": None, "label_dir": label_dir}))[0]
        voxel_size = Movie.open(str(pair.raw)).require_voxel_size()
    for cells in args.cells:
        for seed in args.seeds:
            key = {"experiment": experiment.name, "cells": cells, "seed": seed}
            if any(all(one[k] == key[k] for k in key) for one in read(args.out)):
                continue
            pairs, share = drawn_pairs(made, label_dir, cells, seed, args.max_share)
            folder = args.folder / f"{experiment.name}_{cells}_{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            known = train(made, trained, pairs, voxel_size, seed, folder)
            yield (
                key
                | {"annotated_share": round(share, 5), "stacks": len(pairs)}
                | known
                | score(folder, known["boundary_width"], pairs, movies, args.frames)
            )


def read(path: Path) -> list[dict[str, Any]]:
    """Return the results that are there already."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add(path: Path, row: dict[str, Any]) -> None:
    """Add a result to those that are there, and print it."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


@styled
def curve(table: pd.DataFrame) -> Any:
    """Draw F1 over the number of drawn cells: a line through the means over seeds, a point for each where there are several; at the right the full labels."""
    figure = new_figure(5.0, 3.2)
    axes = figure.add_subplot()
    several = table[table.groupby("cells")["seed"].transform("nunique") > 1]
    order = sorted(table["cells"].unique(), key=lambda cells: float("inf") if cells == "all" else int(cells))
    for method in METHODS:
        name, color, marker = method_style(method)
        mean = [table.loc[table["cells"] == cells, method].mean() for cells in order]
        drawn = [k for k, cells in enumerate(order) if cells != "all"]
        axes.plot(drawn, [mean[k] for k in drawn], color=color, marker=marker, label=name)
        axes.plot(range(len(order)), mean, color=color, marker=marker, linestyle=":")
        at = several["cells"].map(order.index) + 0.06 * (METHODS.index(method) - 1)
        axes.scatter(at, several[method], s=9, color=color, alpha=0.5, linewidths=0)
    share = 100 * table.groupby("cells")["annotated_share"].mean()
    n_stacks = int(table["stacks"].max())
    axes.set_xticks(
        range(len(order)),
        ["all cells,\nall voxels" if k == "all" else f"{k}\n{share[k]:.1f} %" for k in order],
    )
    axes.set_xlabel(f"Cells drawn in each of {n_stacks} stacks, share of voxels annotated")
    axes.set_ylabel("F1 at IoU 0.5, unseen movie")
    axes.set_ylim(0, 1)
    axes.grid(axis="y")
    axes.legend(loc="lower right")
    return figure


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--cells", nargs="+", default=["1", "3", "8", "all"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--max-share", type=float, default=1.0, help="most of the voxels that may be annotated"
    )
    parser.add_argument("--frames", type=int, help="score so many frames of each movie only")
    parser.add_argument("--folder", type=Path, default=Path("runs/sparse_curve"))
    parser.add_argument("--out", type=Path, default=Path("runs/sparse_curve.jsonl"))
    parser.add_argument("--figure", type=Path, help="draw the results of this experiment, a PNG")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for row in rows(args):
        add(args.out, row)
    if args.figure:
        table = pd.DataFrame(read(args.out))
        name = read_experiment(args.experiment, run_dir=args.folder).name
        save_figure(curve(table[table["experiment"] == name]), args.figure, dpi=160, formats=["png"])


if __name__ == "__main__":
    main()

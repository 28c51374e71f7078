"""Notebook 05_optimize_thresholds: validation stacks, the search, and where its results are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from helpers.data.holdout import held_back_labels
from helpers.data.stacks import open_stacks
from helpers.errors import InputError, read_json
from helpers.models import stardist
from helpers.progress import progress
from helpers.runs.parameters import CreateDataset, OptimizeThresholds
from helpers.runs.run import read_done
from helpers.runs.steps.dataset import find_pairs
from helpers.runs.steps.segmentation import thresholds_path
from helpers.segmentation import thresholds
from helpers.segmentation.fusion import DIVIDE
from helpers.segmentation.threshold_remarks import remarks
from helpers.segmentation.thresholds import Thresholds
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter


@dataclass(frozen=True)
class ValidationStack:
    """A stack with its truth, (Z, Y, X), -1 where it is not annotated, and voxel size (z, y, x) in µm.

    `trained_on` says that the networks learned from what is annotated, for want of anything else.
    """

    name: str
    raw: np.ndarray
    truth: np.ndarray
    voxel_size: tuple[float, ...]
    trained_on: bool = False


def validation_stacks(p: OptimizeThresholds) -> list[ValidationStack]:
    """Load the stacks of the folders given here, else those, or the drawn cells, that notebook 03_create_dataset kept for validation.

    Where so few cells are drawn that none was kept, all of them serve, and `about` says so.

    Raises
    ------
    InputError
        If there are none.
    """
    source, names, cells, trained_on = p, None, {}, False
    if p.raw_dir is None:
        done = read_done(p.path("steps", CreateDataset.step))
        if done is None:
            raise InputError(
                "raw_dir",
                None,
                "name folders of stacks and labels, or run notebook 03_create_dataset in this run first",
            )
        source = CreateDataset.checked(done["parameters"])
        described = p.path("dataset", "dataset.json")
        training_set = read_json(described, "run notebook 03_create_dataset again")
        sparse = training_set.get("sparse", {})
        cells = sparse.get("validation_cells") or {}
        names = set(training_set.get("validation_stacks") or ()) | set(cells)
        if not names and sparse:  # too few cells were drawn to hold any back
            trained_on, names = True, set(training_set.get("train_stacks") or ())
        if not names:
            raise InputError(
                "raw_dir",
                None,
                "notebook 03_create_dataset kept no stack for validation; name folders of stacks and labels here",
            )
    pairs = [pair for pair in find_pairs(source) if names is None or pair.name in names][: p.max_stacks]
    found = []
    for stack in open_stacks(
        pairs,
        voxel_size=source.voxel_size_um,
        boundary_width=0.0,
        dataset=source.dataset_key,
        unannotated=source.unannotated,
        background_label=source.background_label,
    ):
        loaded = stack.load()
        truth = loaded.labels
        if stack.name in cells:
            truth = held_back_labels(truth, stack.voxel_size, cells[stack.name], keep=True)
        found.append(ValidationStack(stack.name, loaded.raw, truth, tuple(stack.voxel_size), trained_on))
    return found


def about(stacks: Sequence[ValidationStack]) -> str:
    """Say what the thresholds are judged by."""
    cells = sum(len(np.unique(stack.truth[stack.truth > 0])) for stack in stacks)
    text = f"Judged by {cells} cells in {len(stacks)} stacks"
    if any((stack.truth < 0).any() for stack in stacks):
        text += ", only where they are annotated"
    if any(stack.trained_on for stack in stacks):
        text += "; the networks learned from these cells, since too few were drawn to keep any: the scores are too good"
    return f"{text}."


def search(
    segmenter: VollSegSegmenter, stacks: list[ValidationStack], p: OptimizeThresholds
) -> dict[str, Thresholds]:
    """Find each method's thresholds: StarDist's and the U-Net's own first, then from there all together.

    VollSeg's are sought for each way in which stars may divide the U-Net's components, and by what the networks say alone:
    the image (`helpers.segmentation.image_borders`) would mend the mistakes of thresholds on these few stacks, and hide them.

    Returns
    -------
    dict
        Method → what was found, the chosen method first.
    """
    outputs = [
        replace(segmenter.network_outputs(stack.raw), image=None)
        for stack in progress(stacks, desc="Networks", unit="stack", total=len(stacks))
    ]
    truths = [stack.truth for stack in stacks]
    foregrounds = [output.foreground for output in outputs if output.foreground is not None]
    outline = thresholds.optimize_outline(foregrounds, truths, segmenter.territory) if foregrounds else None
    found: dict[str, Thresholds] = {}
    for method in reversed(segmenter.methods):
        start = {k: v for own in found.values() for k, v in own.values.items()}
        tried = []
        for divide in DIVIDE if method == "vollseg" else (None,):
            fixed = {"outline": None if method == "stardist" else outline, "divide": divide}
            best = thresholds.optimize(
                outputs,
                truths,
                partial(segmenter.labels_from_outputs, method=method, **fixed),
                prob_thresholds=None if method == "unet" else thresholds.PROB_THRESHOLDS,
                nms_thresholds=None if method == "unet" else thresholds.NMS_THRESHOLDS,
                foreground_thresholds=None if method == "stardist" else thresholds.FOREGROUND_THRESHOLDS,
                iou_thresholds=p.iou_thresholds,
                measure=p.measure,
                start=start if method == "vollseg" else None,
                refinements=1 if divide else 2,
                desc=f"Thresholds of {method}" + (f", stars divide {divide}" if divide else ""),
            )
            tried.append(replace(best, **fixed))
        found[method] = choose_division(tried, found)
    return {method: found[method] for method in segmenter.methods}


def choose_division(tried: Sequence[Thresholds], others: Mapping[str, Thresholds]) -> Thresholds:
    """Choose whose word counts where the networks differ: what scores best on the validation stacks.

    Parameters
    ----------
    tried : sequence of Thresholds
        What was found for each `divide`; a single one is returned as it is.
    others : mapping
        Method → thresholds of StarDist and the U-Net alone, as far as they are known.

    Returns
    -------
    Thresholds
        The best way to divide; of those less than one cell apart, which count as equal here as in the search, the one that
        trusts the better network most. Where one network alone is better than all of them, the thresholds that shut the other
        one out; likewise where StarDist by itself finds hardly a cell at the best fusion's probability, and the U-Net alone
        is within one cell of them: on other stacks some stars would pass, of which nothing is known.
        `divided` holds what each way reached.
    """
    if len(tried) == 1:
        return tried[0]
    alone = {method: others[method].score if method in others else 0.0 for method in ("stardist", "unet")}
    best = max(one.score for one in tried)
    one_cell = 1 / int(tried[0].table["n_true"].max())
    equal = {one.divide: one for one in tried if one.score >= best - one_cell}
    order = DIVIDE if alone["stardist"] >= alone["unet"] else DIVIDE[::-1]
    chosen = next(equal[way] for way in order if way in equal)
    needed = dict.fromkeys(alone, best)
    # Not the other way round: a U-Net that finds none may have joined them all, and still know where they end.
    if "stardist" in others and _at_probability(others["stardist"], chosen.prob) < one_cell:
        needed["unet"] = max(best - one_cell, 0.0)
    better = [method for method in others if alone[method] > needed[method]]
    if better:
        method = max(better, key=lambda name: alone[name])
        chosen = _alone(method, others[method], chosen)
    return replace(chosen, divided={str(one.divide): {**one.values, "score": one.score} for one in tried})


def _at_probability(found: Thresholds, prob: float | None) -> float:
    """Return the best that was reached at this probability; where it was not tried, at the next lower one that was."""
    tried = found.table["prob"]
    lower = tried[tried <= (1.0 if prob is None else prob)]
    return found.score if lower.empty else float(found.table["score"][tried == lower.max()].max())


def _alone(method: str, found: Thresholds, like: Thresholds) -> Thresholds:
    """Return thresholds with which the fusion gives one network's own cells: of the other nothing is above 1."""
    if method == "stardist":
        return replace(found, foreground=1.0, outline=1.0, divide="always")
    return replace(found, prob=1.0, nms=like.nms, outline=like.outline, divide="never")


def save(found: dict[str, Thresholds], p: OptimizeThresholds) -> None:
    """Write each method's thresholds into the run folder, and StarDist's own into its model folder."""
    for method, best in found.items():
        thresholds.save(best, thresholds_path(p, method))
    if "stardist" in found:
        best = found["stardist"]
        assert best.prob is not None and best.nms is not None
        stardist.save_thresholds(p.path("models", "stardist"), prob=best.prob, nms=best.nms)


def results(found: dict[str, Thresholds], stacks: Sequence[ValidationStack] = ()) -> dict[str, Any]:
    """Return what ``done.json`` keeps; ``warnings`` are sentences."""
    optimistic = [about(stacks)] if any(stack.trained_on for stack in stacks) else []
    kept = {
        method: {**best.choices, "score": best.score, "highest": best.highest}
        for method, best in found.items()
    }
    n_true = max((int(best.table["n_true"].max()) for best in found.values()), default=0)
    return {
        **kept,
        "validation_cells": n_true,
        "warnings": [*remarks(found), *optimistic],
        **({"validated_on_training": optimistic[0]} if optimistic else {}),
    }

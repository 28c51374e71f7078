"""Notebook 04: validation stacks, the search, and where its results are kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from helpers.data.stacks import open_stacks
from helpers.errors import InputError, read_json
from helpers.models import stardist
from helpers.progress import progress
from helpers.runs.parameters import CreateDataset, OptimizeThresholds
from helpers.runs.run import read_done
from helpers.runs.steps.dataset import find_pairs
from helpers.runs.steps.segmentation import thresholds_path
from helpers.segmentation import thresholds
from helpers.segmentation.segmenter import VollSegSegmenter
from helpers.segmentation.threshold_remarks import remarks
from helpers.segmentation.thresholds import Thresholds


@dataclass(frozen=True)
class ValidationStack:
    """A stack with its truth, (Z, Y, X), and voxel size (z, y, x) in µm."""

    name: str
    raw: np.ndarray
    truth: np.ndarray
    voxel_size: tuple[float, ...]


def validation_stacks(p: OptimizeThresholds) -> list[ValidationStack]:
    """Load the stacks of the folders given here, else those that notebook 01 kept for validation.

    Raises
    ------
    InputError
        If there are none.
    """
    source, names = p, None
    if p.raw_dir is None:
        done = read_done(p.path("steps", CreateDataset.step))
        if done is None:
            raise InputError(
                "raw_dir", None, "name folders of stacks and labels, or run notebook 01 in this run first"
            )
        source = CreateDataset.checked(done["parameters"])
        described = p.path("dataset", "dataset.json")
        names = set(read_json(described, "run notebook 01 again").get("validation_stacks") or ())
        if not names:
            raise InputError(
                "raw_dir",
                None,
                "notebook 01 kept no stack for validation; name folders of stacks and labels here",
            )
    pairs = [pair for pair in find_pairs(source) if names is None or pair.name in names][: p.max_stacks]
    found = []
    for stack in open_stacks(
        pairs, voxel_size=source.voxel_size_um, boundary_width=0.0, dataset=source.dataset_key
    ):
        loaded = stack.load()
        found.append(ValidationStack(stack.name, loaded.raw, loaded.labels, tuple(stack.voxel_size)))
    return found


def search(
    segmenter: VollSegSegmenter, stacks: list[ValidationStack], p: OptimizeThresholds
) -> dict[str, Thresholds]:
    """Find each method's thresholds: StarDist's and the U-Net's own first, then from there all together.

    Returns
    -------
    dict
        Method → what was found, the chosen method first.
    """
    outputs = [
        segmenter.network_outputs(stack.raw)
        for stack in progress(stacks, desc="Networks", unit="stack", total=len(stacks))
    ]
    truths = [stack.truth for stack in stacks]
    found: dict[str, Thresholds] = {}
    for method in reversed(segmenter.methods):
        start = {k: v for own in found.values() for k, v in own.values.items()}
        found[method] = thresholds.optimize(
            outputs,
            truths,
            partial(segmenter.labels_from_outputs, method=method),
            prob_thresholds=None if method == "unet" else thresholds.PROB_THRESHOLDS,
            nms_thresholds=None if method == "unet" else thresholds.NMS_THRESHOLDS,
            foreground_thresholds=None if method == "stardist" else thresholds.FOREGROUND_THRESHOLDS,
            iou_thresholds=p.iou_thresholds,
            measure=p.measure,
            start=start if method == "vollseg" else None,
            desc=f"Thresholds of {method}",
        )
    return {method: found[method] for method in segmenter.methods}


def save(found: dict[str, Thresholds], p: OptimizeThresholds) -> None:
    """Write each method's thresholds into the run folder, and StarDist's own into its model folder."""
    for method, best in found.items():
        thresholds.save(best, thresholds_path(p, method))
    if "stardist" in found:
        best = found["stardist"]
        assert best.prob is not None and best.nms is not None
        stardist.save_thresholds(p.path("models", "stardist"), prob=best.prob, nms=best.nms)


def results(found: dict[str, Thresholds]) -> dict[str, Any]:
    """Return what ``done.json`` keeps; ``warnings`` are sentences."""
    kept = {
        method: {**best.values, "score": best.score, "highest": best.highest}
        for method, best in found.items()
    }
    return {**kept, "warnings": remarks(found)}

"""Is a network that learned from corrections better? It is taken over only if it is, on corrected frames it never saw.

::

    runs/my      models, labels, edits ──complete frames──>  runs/my_2   03_create_dataset (curated_runs), 04_train_segmentation, 05_optimize_thresholds
    runs/my  <──models and thresholds, if F1 rises── python -m helpers adopt runs/my_2 --in runs/my

Notebook 06_segment of ``runs/my`` then segments anew, and the edits are repeated on what comes out (`helpers.curation.rebase`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from helpers.data.atomic import atomic_path
from helpers.data.stacks import StackPair, open_stacks
from helpers.errors import InputError, read_json
from helpers.runs.run import write_json
from helpers.segmentation.matching import match_counts
from helpers.segmentation.segmenter import Segmenter

#: IoU from which a cell counts as found.
_IOU = 0.5


def held_back(run: Path) -> list[StackPair]:
    """Return the curated frames that notebook 03_create_dataset of a run kept for validation.

    Raises
    ------
    InputError
        No training set there, or none of its validation stacks is a curated frame.
    """
    about = read_json(run / "dataset" / "dataset.json", "run notebook 03_create_dataset first")
    names = about.get("validation_stacks", [])
    folder = run / "dataset" / "curated"
    found = [name for name in names if (folder / "raw" / f"{name}.tif").is_file()]
    if not found:
        raise InputError(
            "validation_stacks",
            names,
            "one curated frame or more: name some in validation_stacks of notebook 03_create_dataset, so that they are not learned",
        )
    return [
        StackPair(folder / "raw" / f"{name}.tif", folder / "labels" / f"{name}.tif", name=name)
        for name in found
    ]


def compare(segmenters: Mapping[str, Segmenter], pairs: Sequence[StackPair]) -> pd.DataFrame:
    """Segment each stack with each segmenter, and score it.

    Returns
    -------
    DataFrame
        One row per segmenter and stack: ``model, stack, cells, tp, fp, fn, f1``.
    """
    rows = []
    for stack in open_stacks(pairs, voxel_size=None, boundary_width=0.0):
        loaded = stack.load()
        for name, segment in segmenters.items():
            counts = match_counts(loaded.labels, segment(loaded.raw).main, iou_thresholds=[_IOU]).iloc[0]
            tp, fp, fn = (int(counts[column]) for column in ("tp", "fp", "fn"))
            rows.append([name, stack.name, tp + fn, tp, fp, fn, _f1(tp, fp, fn)])
    return pd.DataFrame(rows, columns=["model", "stack", "cells", "tp", "fp", "fn", "f1"])


def pooled(scores: pd.DataFrame) -> pd.Series:
    """Return F1 of each model over the cells of all stacks."""
    sums = scores.groupby("model", sort=False)[["tp", "fp", "fn"]].sum()
    return pd.Series(
        {name: _f1(*map(int, row)) for name, row in zip(sums.index, sums.to_numpy(), strict=True)}
    )


def _f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0


def adopt(new: str | Path, run: str | Path) -> tuple[pd.DataFrame, bool]:
    """Compare the models of two runs on held-back curated frames; take the new ones over where they score higher.

    Parameters
    ----------
    new : path-like
        The run that learned from curated frames.
    run : path-like
        The run whose models may be replaced; they are kept beside as ``models-<time>``.

    Returns
    -------
    scores : DataFrame
        As `compare`, for ``"now"`` and ``"new"``; also kept in ``<run>/adoption.json``.
    adopted : bool

    Raises
    ------
    InputError
        As `held_back`; models that are missing in either run.
    """
    new, run = Path(new), Path(run)
    pairs = held_back(new)
    scores = compare({"now": open_models(run), "new": open_models(new)}, pairs)
    return scores, take_over(new, run, scores)


def take_over(new: Path, run: Path, scores: pd.DataFrame) -> bool:
    """Replace models and thresholds of a run by those of a better one; say whether the new one is better."""
    f1 = pooled(scores)
    better = bool(f1["new"] > f1["now"])
    if better:
        aside = f"-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
        for path in (run / "models", *sorted(run.glob("thresholds*.json"))):
            if path.exists():
                path.rename(path.with_name(f"{path.stem}{aside}{path.suffix}"))
        for path in (new / "models", *sorted(new.glob("thresholds*.json"))):
            with atomic_path(run / path.name) as temporary:
                (shutil.copytree if path.is_dir() else shutil.copyfile)(path, temporary)
    content = {"f1_now": f1["now"], "f1_new": f1["new"], "adopted": better, "of": str(new)}
    write_json(run / "adoption.json", content | {"stacks": scores["stack"].unique().tolist()})
    return better


def open_models(run: Path) -> Segmenter:
    """Return the segmenter of a run with all networks that it has, and its thresholds.

    Raises
    ------
    InputError
        There are no models.
    """
    from helpers.runs.parameters import Segment
    from helpers.runs.steps.segmentation import open_segmenter
    from helpers.segmentation.vollseg_segmenter import METHODS

    there = {name for name in ("stardist", "unet") if (run / "models" / name).is_dir()}
    if not there:
        raise InputError("run", str(run), "a run with models; run notebook 04_train_segmentation first")
    method = METHODS[0] if len(there) == 2 else there.pop()
    size = tuple(
        read_json(run / "dataset" / "dataset.json", "run notebook 03_create_dataset first")["voxel_size"]
    )
    p = Segment(run_dir=run, movie=run, method=method, compare_methods=False)  # type: ignore[call-arg]
    return open_segmenter(p, size)

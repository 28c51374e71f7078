"""Notebook 03_create_dataset: pairs of stacks and the settings of the training set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from helpers.data.augment import Augmentation
from helpers.data.pairs import list_images, match_annotations, match_pairs
from helpers.data.patches import create_training_set
from helpers.data.source import stem
from helpers.data.sparse_labels import is_sparse
from helpers.data.stacks import StackPair, open_stacks
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError, read_json
from helpers.runs.curated_frames import curated_pairs
from helpers.runs.parameters import CreateDataset
from helpers.runs.parameters.dataset import Pairs
from helpers.runs.run import identity, write_json


def find_pairs(p: Pairs) -> list[StackPair]:
    """Pair the raw stacks with their labels, their masks, or both, by name; add the frames of curated runs.

    Raises
    ------
    InputError
        Listing the stacks that have no partner; as `helpers.runs.curated_frames.curated_pairs`.
    """
    p.require_pairs()
    curated: list[StackPair] = []
    if isinstance(p, CreateDataset) and p.curated_runs:
        curated = curated_pairs(p.curated_runs, p.path("dataset", "curated"), cells=p.curated_cells)
    if p.raw_dir is None:
        return curated
    found: dict[str, StackPair] = {
        stem(raw): StackPair(raw) for raw in list_images(p.raw_dir, pattern=p.pattern, name="raw_dir")
    }
    if p.annotation_dir:
        annotated = match_annotations(p.raw_dir, p.annotation_dir, pattern=p.pattern)
        found = {
            name: pair for name, pair in found.items() if p.label_dir or p.binary_dir or name in annotated
        }
    else:
        annotated = {}
    labels = dict(match_pairs(p.raw_dir, p.label_dir, pattern=p.pattern)) if p.label_dir else {}
    binary = dict(match_pairs(p.raw_dir, p.binary_dir, pattern=p.pattern)) if p.binary_dir else {}
    return [
        StackPair(pair.raw, annotated[name], name=name)
        if name in annotated
        else StackPair(pair.raw, labels.get(pair.raw), binary.get(pair.raw), name)  # type: ignore[call-overload]
        for name, pair in found.items()
    ] + curated


def make(p: CreateDataset, pairs: Sequence[StackPair], name: str = "training.npz") -> TrainingSet:
    """Make the training set, or open the one that the same parameters made from the same stacks.

    Raises
    ------
    InputError
        If there is a set that other parameters or other stacks made, and `overwrite` is off.
    """
    path = p.path("dataset", name)
    marker = path.with_suffix(".made_from.json")
    made_from = identity(p)
    if path.is_file() and marker.is_file():
        if read_json(marker, "delete it and the training set beside it").get("sha256") == made_from["sha256"]:
            return TrainingSet.open(path)
        if not p.overwrite:
            raise InputError(
                "overwrite",
                False,
                f"{path} was made with other parameters or from other stacks; set overwrite to True to replace it, "
                "or choose another run_dir",
            )
    training_set = create_training_set(pairs, path, **settings(p), overwrite=True)
    write_json(marker, made_from)
    return training_set


def settings(p: CreateDataset) -> dict[str, Any]:
    """Return the arguments of `create_training_set`."""
    return {
        "patch_size": p.patch_size,
        "patches_per_image": p.patches_per_image,
        "copies": p.copies_per_image,
        "augmentation": Augmentation(
            denoised=p.augment_denoised,
            poisson=p.augment_poisson,
            gaussian=p.augment_gaussian,
            rotate=p.augment_rotate,
            rotate_90=p.augment_rotate,
            flip=p.augment_flip,
            flip_z=p.augment_flip,
            elastic=p.augment_elastic,
            intensity=p.augment_intensity,
        ),
        "denoise": _denoise(p) if p.augment_denoised else None,
        "voxel_size": p.voxel_size_um,
        "pmin": p.percentile_low,
        "pmax": p.percentile_high,
        "min_foreground": p.min_foreground,
        "boundary_width": p.boundary_width_um,
        "validation_fraction": p.validation_fraction,
        "validation_stacks": p.validation_stacks,
        "depth": p.network_depth,
        "dataset": p.dataset_key,
        "unannotated": p.unannotated,
        "background_label": p.background_label,
        "seed": p.seed,
    }


def _denoise(p: CreateDataset) -> Callable[[np.ndarray], np.ndarray]:
    from helpers.models import denoising

    model = denoising.load(p.path("models", "denoiser"))
    return lambda raw: denoising.predict(model, raw)


def foreground(training_set: TrainingSet) -> str:
    """Say what the U-Net will learn at the borders between cells, and why."""
    width = training_set.settings.get("boundary_width", 0.0)
    what = (
        f"{width:g} µm on each side of a border between cells"
        if width
        else "whole cells, touching ones joined"
    )
    why = training_set.settings.get("boundary_width_why", "as boundary_width_um says")
    return f"The U-Net's mask: {'without ' if width else ''}{what}.\nWhy: {why}."


def annotation(training_set: TrainingSet) -> str:
    """Say how much is annotated where labels are sparse, and what validates."""
    sparse = training_set.settings.get("sparse")
    if not sparse:
        stacks = training_set.settings.get("validation_stacks", [])
        return f"Every voxel is annotated. Validation on whole stacks: {', '.join(stacks) or 'none'}."
    return (
        f"Sparse labels: {sparse['cells']} drawn cells in {sparse['stacks']} stacks, "
        f"{100 * sparse['annotated_share']:.2g} % of their voxels annotated; the others teach nothing.\n"
        f"{sparse['validation'][0].upper()}{sparse['validation'][1:]}."
    )


def drawn(
    p: CreateDataset, pairs: Sequence[StackPair], training_set: TrainingSet, most: int = 4
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, raw and labels, (Z, Y, X), of the first stacks with sparse labels; none where all is annotated."""
    if not training_set.settings.get("sparse"):
        return []
    stacks = open_stacks(
        pairs, voxel_size=p.voxel_size_um, boundary_width=0.0, dataset=p.dataset_key, unannotated=p.unannotated,
        background_label=p.background_label,
    )  # fmt: skip
    loaded = ((stack.name, stack.load()) for stack in stacks if stack.may_be_sparse())
    found = ((name, one.raw, one.labels) for name, one in loaded if is_sparse(one.labels))
    return list(islice(found, most))


def results(training_set: TrainingSet) -> dict[str, Any]:
    """Return what ``done.json`` keeps of the training set."""
    return {
        "train_patches": len(training_set.train),
        "validation_patches": len(training_set.validation),
        "patch_size": training_set.patch_size,
        "validation_stacks": training_set.settings.get("validation_stacks", []),
        "boundary_width_um": training_set.settings.get("boundary_width", 0.0),
        **({"sparse": sparse} if (sparse := training_set.settings.get("sparse")) else {}),
        **({"boundary_width_why": why} if (why := training_set.settings.get("boundary_width_why")) else {}),
    }

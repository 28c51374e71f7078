"""Notebook 04_train_segmentation: settings of the networks, and what is kept of their training."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.augment import Augmentation
from helpers.data.training_set import TrainingSet
from helpers.errors import read_json
from helpers.models import model_folder, pretrained
from helpers.models.cellpose import training as cellpose_training
from helpers.models.cellpose.training import CellposeTrainingSettings
from helpers.models.stardist import StarDistSettings
from helpers.models.unet import UNetSettings
from helpers.runs.inputs import voxel_remark
from helpers.runs.parameters import CreateDataset, TrainSegmentation
from helpers.runs.parameters.training import first_models


def check(p: TrainSegmentation) -> None:
    """Refuse, before hours of training, what the last training would refuse.

    Raises
    ------
    InputError
        If Cellpose is to be trained and not there in a version that can be.
    """
    if p.train_cellpose:
        cellpose_training.require_trainable()


def npz_parameters(p: TrainSegmentation, **changes: Any) -> CreateDataset:
    """Return notebook 03_create_dataset's parameters for `create_npz` and `train_tissue`: its defaults, but for what 04_train_segmentation names."""
    shared = {name: getattr(p, name) for name in type(p).model_fields if name in CreateDataset.model_fields}
    return CreateDataset.checked({**shared, **changes})


def tissue_parameters(p: TrainSegmentation) -> CreateDataset:
    """Return notebook 03_create_dataset's parameters for the tissue masks."""
    return npz_parameters(p, label_dir=None, binary_dir=p.tissue_dir, min_foreground=0.0)


def unet_settings(p: TrainSegmentation) -> UNetSettings:
    """Return the settings of the U-Net and its training."""
    return UNetSettings(
        **p.common_settings(), depth=p.network_depth, kernel=p.kernel, n_first=p.start_filters
    )


def stardist_settings(p: TrainSegmentation) -> StarDistSettings:
    """Return the settings of StarDist and its training."""
    return StarDistSettings(
        **p.common_settings(),
        rays=p.rays,
        grid=tuple(p.grid) if p.grid else None,
        anisotropy=tuple(p.anisotropy) if p.anisotropy else None,
        depth=p.network_depth,
        kernel=p.kernel,
        n_filter_base=p.start_filters,
        batch_norm=p.batch_norm,
        use_gpu_opencl=p.use_gpu_opencl,
    )


def cellpose_settings(p: TrainSegmentation, start: Path | None = None) -> CellposeTrainingSettings:
    """Return the settings of the Cellpose network and its training, which may begin with a model in the folder `start`."""
    own = {name: p.cellpose[name] for name in ("base_model", "cell_pixels", "learning_rate", "side_planes")}
    if start is not None:
        own["base_model"] = str(start / cellpose_training.WEIGHTS)
    return CellposeTrainingSettings(**p.common_settings() | own)


def augmentation(p: TrainSegmentation) -> Augmentation | None:
    """Return what is done to each patch anew in every epoch: cheap and exact transforms, no interpolation."""
    if not p.augment:
        return None
    return Augmentation(denoised=False, rotate=False, elastic=False, poisson=False)


def begin_with(p: TrainSegmentation, name: str, training_set: TrainingSet) -> Path | None:
    """Return the folder of the network whose weights training begins with.

    With `continue_training` a network that was trained on another training set is set aside for it.

    Returns
    -------
    Path or None
        ``models/<name>.before``, or what `start_from` names; None where there is nothing to go on from.
    """
    if p.start_from and p.starts_from_run():
        return first_models(p.start_from) / name
    if p.start_from:
        found = pretrained.find(p.start_from, name, p.path("models", "pretrained"))
        _tell(p.start_from, name, found, training_set)
        return found
    folder, before = p.path("models", name), p.path("models", f"{name}.before")
    if not p.continue_training:
        return None
    if (folder / "training.json").is_file():
        record = read_json(folder / "training.json", "train without continue_training, with overwrite")
        if record["data"].get("checksum") != model_folder.describe_set(training_set, None)["checksum"]:
            shutil.rmtree(before, ignore_errors=True)
            folder.rename(before)
    return before if before.is_dir() else None


def _tell(start: Path, name: str, found: Path | None, training_set: TrainingSet) -> None:
    """Say what a training begins with: its licence, and whether cells look to it as they did."""
    if found is None:
        print(f"{name}: {start} is another network; this one begins anew")
        return
    lines = [f"{name}: begins with {start}", pretrained.licence(start.name)]
    lines.append(voxels(training_set.voxel_size, model_folder.training_set_of(found).get("voxel_size")))
    print("\n".join(line for line in lines if line))


def voxels(ours: Sequence[float] | None, trained: Sequence[float] | None) -> str:
    """Return what to do where patches have other voxels than those that a model was trained on; nothing where it fits."""
    remark = voxel_remark(ours, trained)
    if not remark:
        return ""
    return (
        f"patches: {remark.partition(';')[0]}. Training adapts it; or resample the stacks to those voxels before notebook 03_create_dataset, "
        "and set resample_to_training in notebook 06_segment"
    )


def results(histories: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Return of each network the number of epochs, the best validation loss, what the last fifth gained, and the seconds."""
    return {
        name: {
            "epochs": len(table),
            "val_loss": float(table["val_loss"].min()),
            "still_falling": still_falling(table["val_loss"].to_numpy(float)),
            "seconds": float(table["seconds"].sum()),
        }
        for name, table in histories.items()
    }


def still_falling(losses: np.ndarray) -> float | None:
    """Return by which part the last fifth of the epochs lowered the least loss; None where there are fewer than ten."""
    losses = losses[np.isfinite(losses)]
    fifth = len(losses) // 5
    if fifth < 2:
        return None
    before, after = losses[:-fifth].min(), losses.min()
    return float((before - after) / abs(before)) if before else 0.0

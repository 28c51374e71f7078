"""One call from images and sparse labels to a model folder: what the server, scripts and notebook 01_annotate train with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from helpers.data.atomic import replace_folder, restore_folder
from helpers.data.augment import Augmentation
from helpers.data.patches import create_training_set
from helpers.data.sparse_labels import UNANNOTATED
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models.model_folder import TrainingState
from helpers.models.settings import TrainingSettings
from helpers.models.watch import Watch, nobody

Network = Literal["stardist", "unet", "cellpose", "elephant"]
NETWORKS: tuple[Network, ...] = ("stardist", "unet", "cellpose", "elephant")
#: Largest patch along each axis (z, y, x), and in 2D (y, x); and what all networks' patches are multiples of.
_PATCH = {3: (16, 64, 64), 2: (224, 224)}
_BLOCK = 16
#: In 3D a step costs so much that networks are small and batches, too: a model in minutes on two processor cores.
_SMALL_IN_3D: dict[Network, dict[str, Any]] = {
    "unet": {"depth": 2, "n_first": 16, "batch_size": 2, "learning_rate": 2e-3, "steps_per_epoch": 48},
    "stardist": {
        "depth": 2,
        "n_filter_base": 16,
        "batch_size": 2,
        "learning_rate": 2e-3,
        "steps_per_epoch": 48,
    },
}


def train_from_annotations(
    network: Network,
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    folder: str | os.PathLike[str],
    *,
    voxel_size: Sequence[float],
    settings: TrainingSettings | None = None,
    patch_size: Sequence[int] | None = None,
    patches_per_image: int = 32,
    copies: int = 2,
    boundary_width: float | None = None,
    validation_fraction: float = 0.15,
    seed: int = 42,
    go_on: bool = False,
    watch: Watch = nobody,
) -> TrainingState:
    """Train a network on sparse labels, and put it in place when it is done.

    Parameters
    ----------
    network : {"stardist", "unet", "cellpose", "elephant"}
    images : sequence of (Z, Y, X) or (Y, X) ndarray
        Raw intensities of one channel, all of the same voxel size.
    labels : sequence of int ndarray
        -1 not annotated, 0 background, cells from 1 (`helpers.data.sparse_labels`).
    folder : path
        The model folder, which notebooks 06_segment and 07_segment_cellpose open. While the training goes on, and if it fails or is ended, what was there
        stays as it is.
    voxel_size : (z, y, x) or (y, x) in µm
    settings : TrainingSettings, optional
        Of the network's own class, such as `StarDistSettings`; `seed` wins over theirs. By default 20 epochs, the rate falling
        over all of them.
    patch_size : sequence of int, optional
        Multiples of 16; by default as much of the images as is useful.
    patches_per_image, copies : int
        Patches of each image, and of each augmented copy.
    boundary_width : float, optional
        µm; see `create_training_set`.
    validation_fraction : float
        Of the drawn cells.
    seed : int
    go_on : bool
        Begin with the weights in `folder`, if it holds a model, in place of random ones.
    watch : callable
        Is told every step; what it raises (`helpers.models.watch.TrainingStopped`) ends the training.

    Returns
    -------
    TrainingState
        With the loss curves.

    Raises
    ------
    InputError
        For an unknown network, labels that teach nothing, or anything that the network's own ``train`` refuses.
    """
    if network not in NETWORKS:
        raise InputError("network", network, f"one of {', '.join(NETWORKS)}")
    if not images or len(images) != len(labels):
        raise InputError(
            "labels", f"{len(labels)} for {len(images)} images", "one array of labels for each image"
        )
    folder = Path(folder)
    building = folder.with_name(f".{folder.name}.training")
    restore_folder(folder)
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        size = tuple(patch_size or _patch_size(images))
        pairs = [_at_least(image, own, size) for image, own in zip(images, labels, strict=True)]
        patches = create_training_set(
            pairs, building / "training.npz", patch_size=size, patches_per_image=patches_per_image, copies=copies,
            voxel_size=(1.0, *voxel_size)[-3:], boundary_width=boundary_width, validation_fraction=validation_fraction, seed=seed,
        )  # fmt: skip
        start = folder if go_on and (folder / "training.json").is_file() else None
        state = _train(network, patches, building / folder.name, settings, seed, start, watch)
        replace_folder(folder, building / folder.name)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return state


def default_settings(network: Network, n_dim: int = 2, **changes: Any) -> Any:
    """Return how a network is trained on annotations, with changes: 20 epochs, the rate falling over all of them."""
    kind, _, defaults = _of(network)
    small = _SMALL_IN_3D.get(network, {}) if n_dim == 3 else {}
    return kind(**{"epochs": 20, "schedule": "cosine"} | defaults | small | changes)


def _train(
    network: Network,
    patches: TrainingSet,
    folder: Path,
    settings: TrainingSettings | None,
    seed: int,
    start: Path | None,
    watch: Watch,
) -> TrainingState:
    kind, train, _ = _of(network)
    given = settings or default_settings(network, len(patches.patch_size))
    if not isinstance(given, kind):
        raise InputError("settings", type(given).__name__, f"{kind.__name__}, for {network}")
    chosen: Any = replace(given, seed=seed)
    if network == "cellpose":
        if start is not None:
            chosen = replace(chosen, base_model=str(start / "cellpose_model"))
        return train(patches, folder, chosen, watch=watch)[1]
    augmentation = Augmentation(denoised=False, rotate=False, elastic=False, poisson=False)
    return train(patches, folder, chosen, augmentation=augmentation, start=start, watch=watch)[1]


def _of(network: Network) -> tuple[type[Any], Callable[..., Any], dict[str, Any]]:
    """Return a network's class of settings, its training, and what its defaults are here."""
    if network == "cellpose":
        from helpers.models.cellpose import training as cellpose_training

        return cellpose_training.CellposeTrainingSettings, cellpose_training.train, {"learning_rate": 3e-3}
    if network == "stardist":
        from helpers.models import stardist

        defaults = {"learning_rate": 1e-3, "batch_norm": True, "rays": 64}
        return stardist.StarDistSettings, stardist.train, defaults
    if network == "unet":
        from helpers.models import unet

        return unet.UNetSettings, unet.train, {"learning_rate": 1e-3}
    from helpers.models import elephant

    return elephant.ElephantSettings, elephant.train, {"learning_rate": 1e-3}


def _patch_size(images: Sequence[np.ndarray]) -> tuple[int, ...]:
    n_dim = images[0].ndim
    if n_dim not in _PATCH:
        raise InputError("images", images[0].shape, "images (Z, Y, X) or (Y, X) of one channel")
    smallest = np.min([image.shape for image in images], axis=0)
    return tuple(
        max(_BLOCK, min(limit, int(n)) // _BLOCK * _BLOCK)
        for limit, n in zip(_PATCH[n_dim], smallest, strict=True)
    )


def _at_least(image: np.ndarray, labels: np.ndarray, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mirror an image that is smaller than a patch at its far ends, where nothing is annotated."""
    image, labels = np.asarray(image), np.asarray(labels)
    if image.shape != labels.shape:
        raise InputError("labels", labels.shape, f"the shape of the image, {image.shape}")
    pad = [(0, max(0, wanted - have)) for wanted, have in zip(size, image.shape, strict=True)]
    if not any(after for _, after in pad):
        return image, labels
    labels = labels if labels.dtype.kind == "i" else labels.astype(np.int32)
    return np.pad(image, pad, mode="symmetric"), np.pad(labels, pad, constant_values=UNANNOTATED)

"""StarDist is trained on patches that are read as they are needed; architecture, targets and losses are StarDist's own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from helpers.bounds import Count, Index, Odd
from helpers.data.augment import Augmentation
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError, read_json
from helpers.models import inference, model_folder, training
from helpers.models.devices import prepare_tensorflow, quiet
from helpers.models.model_folder import TrainingState
from helpers.models.settings import TrainingSettings
from helpers.models.stardist.targets import (
    TargetMaker,
    choose_grid,
    distance_loss,
    median_extents,
    probability_loss,
)
from helpers.models.watch import Watch, nobody


@dataclass(frozen=True)
class StarDistSettings(TrainingSettings):
    """Settings of a StarDist network.

    Parameters
    ----------
    rays : int
        Directions in which the distance to the cell's boundary is predicted.
    grid : tuple of int, optional
        Subsampling of the output per axis, powers of two; None: chosen from the cells' median extents.
    anisotropy : tuple of float, optional
        How much flatter cells are along each axis, in voxels; None: measured in the labels.
    n_filter_base : int
        Filters of the first level, doubled at each (the paper's ``startfilter``).
    depth : int
        Poolings by two after the grid.
    kernel : int
        Size of the convolutions along every axis, odd.
    features : int
        Filters of the convolution between U-Net and outputs.
    batch_norm : bool
        Normalise each layer's values over the batch: learns in fewer steps and at higher rates.
    patch_size : tuple of int, optional
        Random crops of the patches are trained on; None: whole patches.
    dist_loss_weight : float
        Weight of the distances' loss beside the probability's.
    use_gpu_opencl : bool
        Compute targets on the GPU with gputools (OpenCL).

    See Also
    --------
    TrainingSettings : the other parameters.
    """

    rays: Annotated[int, Ge(4)] = 96
    grid: tuple[int, ...] | None = None
    anisotropy: tuple[float, ...] | None = None
    n_filter_base: Count = 32
    depth: Count = 2
    kernel: Annotated[Count, Odd()] = 3
    features: Index = 128
    batch_norm: bool = False
    patch_size: tuple[int, ...] | None = None
    dist_loss_weight: float = 0.2
    use_gpu_opencl: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        powers = self.grid is None or all(g >= 1 and not g & (g - 1) for g in self.grid)
        self._require("grid", powers, "powers of two per axis, such as (1, 2, 2), or None")


def train(
    patches: TrainingSet,
    folder: str | Path,
    settings: StarDistSettings | None = None,
    *,
    augmentation: Augmentation | None = None,
    overwrite: bool = False,
    watch: Watch = nobody,
    start: str | Path | None = None,
) -> tuple[Any, TrainingState]:
    """Train StarDist on the instances of a training set, or go on where a training was interrupted.

    Parameters
    ----------
    patches : TrainingSet
        Images and instances are read, one batch at a time. Voxels with a negative label are ignored.
    folder : str or Path
        Model folder. Its name is the model's.
    settings : StarDistSettings, optional
        Architecture and training.
    augmentation : Augmentation, optional
        Drawn anew for each patch of each epoch; None: none.
    overwrite : bool
        Replace another model in the folder.
    watch : callable
        Is told every step; what it raises ends the training (`helpers.models.watch`).
    start : path, optional
        Model folder of the same kind of network whose weights to begin with, in place of random ones.

    Returns
    -------
    model : stardist.models.StarDist2D or StarDist3D
        With its best weights.
    state : TrainingState
        With the loss curves.

    Raises
    ------
    InputError
        For unusable patches or settings, or a folder that holds another model.
    """
    settings = settings or StarDistSettings()
    folder = Path(folder)
    n_dim = training.check_patches(patches)

    def build(state: TrainingState) -> tuple[Any, training.MakeBatch]:
        config = _config(patches, settings if start is None else _like(settings, Path(start)), n_dim)
        return _build(config, folder, settings, state), TargetMaker(patches, config, augmentation)

    state = training.train_in(
        folder, f"StarDist{n_dim}D", settings, build, train=patches.train, validation=patches.validation,
        data=model_folder.describe_set(patches, augmentation), overwrite=overwrite, watch=watch, start=start,
    )  # fmt: skip
    return load(folder), state


def _like(settings: StarDistSettings, start: Path) -> StarDistSettings:
    """Return the settings with the architecture of a model: its rays and grid follow from the cells it was trained on."""
    found = read_json(start / "config.json", "train it again, or begin without it")
    return replace(
        settings,
        rays=int(found["n_rays"]),
        grid=tuple(found["grid"]),
        anisotropy=tuple(found["anisotropy"]) if found.get("anisotropy") else settings.anisotropy,
        depth=int(found["unet_n_depth"]),
        kernel=int(found["unet_kernel_size"][0]),
        n_filter_base=int(found["unet_n_filter_base"]),
        features=int(found["net_conv_after_unet"]),
        batch_norm=bool(found["unet_batch_norm"]),
    )


def _config(patches: TrainingSet, settings: StarDistSettings, n_dim: int) -> Any:
    from stardist.models import Config2D, Config3D
    from stardist.rays3d import Rays_GoldenSpiral

    extents = median_extents(patches)
    anisotropy = settings.anisotropy or tuple(float(a) for a in np.round(extents.max() / extents, 3))
    grid = tuple(settings.grid or choose_grid(extents))
    for name, value in (("grid", grid), ("anisotropy", anisotropy), ("patch_size", settings.patch_size)):
        if value is not None and len(value) != n_dim:
            raise InputError(name, value, f"{n_dim} numbers, one per axis, for the {n_dim}D training set")
    available = tuple(patches.patch_size)
    size = tuple(settings.patch_size or available)
    if any(s > a for s, a in zip(size, available, strict=True)):
        raise InputError("patch_size", size, f"at most the training set's {available}")
    training.check_divisible("patch size", size, tuple(g * 2**settings.depth for g in grid))
    common = {
        "axes": "ZYX"[-n_dim:],
        "n_channel_in": 1,
        "grid": grid,
        "unet_n_depth": settings.depth,
        "unet_kernel_size": (settings.kernel,) * n_dim,
        "unet_n_filter_base": settings.n_filter_base,
        "net_conv_after_unet": settings.features,
        "unet_batch_norm": settings.batch_norm,
        "train_patch_size": size,
        "train_epochs": settings.epochs,
        "train_learning_rate": settings.learning_rate,
        "train_batch_size": settings.batch_size,
        "train_loss_weights": (1, settings.dist_loss_weight),
        "train_sample_cache": False,
        "train_tensorboard": False,
        "use_gpu": settings.use_gpu_opencl,
    }
    with quiet():
        if n_dim == 2:
            return Config2D(n_rays=settings.rays, **common)
        rays = Rays_GoldenSpiral(settings.rays, anisotropy=anisotropy)
        return Config3D(rays=rays, anisotropy=anisotropy, **common)


def _build(config: Any, folder: Path, settings: StarDistSettings, state: TrainingState) -> Any:
    from stardist.models import StarDist2D, StarDist3D

    kind = StarDist2D if config.n_dim == 2 else StarDist3D
    model = training.build_in_folder(kind, config, folder, settings.precision, state)
    compile_model(model, settings.learning_rate)
    return model


def compile_model(model: Any, learning_rate: float) -> None:
    """Compile with StarDist's losses; its metrics, which cost as much again, are left out."""
    import keras

    config = model.config
    model.keras_model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=[probability_loss, distance_loss(config.n_rays, config.train_background_reg)],
        loss_weights=list(config.train_loss_weights),
    )


def load(folder: str | Path, *, precision: str = "float32") -> Any:
    """Load a StarDist model, trained here or by StarDist itself, with the thresholds in its folder.

    Parameters
    ----------
    folder : str or Path
        Model folder.
    precision : {"float32", "auto", "bfloat16", "float16"}
        What it computes in; ``"auto"``: what the processor is built for (`helpers.models.precision`).

    Returns
    -------
    stardist.models.StarDist2D or StarDist3D
        ``model.thresholds`` holds ``prob`` and ``nms``.

    Raises
    ------
    InputError
        Naming the folder: if it, its configuration or its weights are missing.
    """
    folder = Path(folder)
    inference.check_model_folder(folder)
    found = read_json(folder / "config.json", "copy it from a backup, or train the network again").get(
        "n_dim"
    )
    if found not in (2, 3):
        raise InputError("model folder", str(folder), "a StarDist model of 2 or 3 dimensions")
    prepare_tensorflow()
    from stardist.models import StarDist2D, StarDist3D

    return inference.load_csbdeep(StarDist2D if found == 2 else StarDist3D, folder, precision)


def save_thresholds(folder: str | Path, *, prob: float, nms: float) -> None:
    """Write ``thresholds.json`` into a model folder, where StarDist and `load` find it.

    Raises
    ------
    InputError
        If a threshold is not between 0 and 1, or there is no such folder.
    """
    for name, value in (("prob_thresh", prob), ("nms_thresh", nms)):
        if not 0 < value < 1:
            raise InputError(name, value, "between 0 and 1")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError("model folder", str(folder), "an existing folder")
    model_folder.write_json(folder / "thresholds.json", {"prob": float(prob), "nms": float(nms)})

"""The U-Net that says where cells are: csbdeep's CARE network, trained on binary masks.

The folder of a model is one of csbdeep's: ``csbdeep.models.CARE(None, name, basedir)`` opens it. csbdeep knows
no sigmoid as last activation, so a network trained with a cross-entropy gives logits there; ``training.json``
says so, and `predict` turns them into probabilities. A tissue mask is predicted by the same network in another folder.

References
----------
Ronneberger et al., U-Net, MICCAI 2015. Weigert et al., Content-aware image restoration, Nature Methods 2018.
Milletari et al., V-Net (the Dice loss), 3DV 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from helpers.bounds import Count, Odd
from helpers.data.augment import Augmentation
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError, read_json
from helpers.models import inference, model_folder, training
from helpers.models.devices import prepare_tensorflow
from helpers.models.model_folder import TrainingState
from helpers.models.settings import TrainingSettings
from helpers.models.watch import Watch, nobody

_LOSSES = ("bce_dice", "bce", "mse", "mae")
#: What a mask says of background where it is weighted, apart from the borders between cells, which are 0 too.
BACKGROUND = 2
#: Drawn background may be so scarce that each of its voxels would outweigh a cell.
_HEAVIEST = 10.0


@dataclass(frozen=True)
class UNetSettings(TrainingSettings):
    """Settings of a U-Net.

    Parameters
    ----------
    depth : int
        Poolings by two; patch sizes are divisible by ``2**depth``.
    kernel : int
        Size of the convolutions along every axis, odd.
    n_first : int
        Filters of the first level, doubled at each level.
    loss : {"bce_dice", "bce", "mse", "mae"}
        ``"bce_dice"``: binary cross-entropy plus soft Dice; ``"mse"`` and ``"mae"`` as csbdeep has them.

    See Also
    --------
    TrainingSettings : the other parameters.
    """

    depth: Count = 3
    kernel: Annotated[Count, Odd()] = 3
    n_first: Count = 32
    loss: Literal["bce_dice", "bce", "mse", "mae"] = "bce_dice"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("loss", self.loss in _LOSSES, f"one of {_LOSSES}")


def train(
    patches: TrainingSet,
    folder: str | Path,
    settings: UNetSettings | None = None,
    *,
    augmentation: Augmentation | None = None,
    overwrite: bool = False,
    watch: Watch = nobody,
    start: str | Path | None = None,
) -> tuple[Any, TrainingState]:
    """Train a U-Net on the foreground masks of a training set, or go on where a training was interrupted.

    Parameters
    ----------
    patches : TrainingSet
        ``X`` is read, and ``Y`` as foreground; voxels with ``Y < 0`` are ignored. Patches are read one batch at
        a time, so a set may be larger than memory.
    folder : str or Path
        Model folder. Its name is the model's.
    settings : UNetSettings, optional
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
    model : csbdeep.models.CARE
        With its best weights.
    state : TrainingState
        With the loss curves.

    Raises
    ------
    InputError
        For unusable patches, or a folder that holds another model.
    """
    settings = settings or UNetSettings()
    folder = Path(folder)
    n_dim = training.check_patches(patches)
    training.check_divisible("patch size", patches.patch_size, (2**settings.depth,) * n_dim)
    weight = background_weight(patches)

    def read(index: int) -> tuple[NDArray, NDArray]:
        x, y = patches.read("X", index)[0], patches.read("Y", index)[0]
        return x, y if weight == 1 else np.where(
            patches.read("labels", index) == 0, y.dtype.type(BACKGROUND), y
        )

    def build(state: TrainingState) -> tuple[Any, training.MakeBatch]:
        chosen = settings if start is None else _like(settings, Path(start))
        model = _build(folder, chosen, n_dim, state, weight)
        if settings.loss in ("bce_dice", "bce"):
            _start_at(model, _foreground_share(patches))
        return model, training.batches(read, augmentation, patches.voxel_size)

    state = training.train_in(
        folder, "U-Net", settings, build, train=patches.train, validation=patches.validation,
        data=model_folder.describe_set(patches, augmentation), overwrite=overwrite, watch=watch, start=start,
    )  # fmt: skip
    return load(folder), state


def _like(settings: UNetSettings, start: Path) -> UNetSettings:
    """Return the settings with the architecture of a model."""
    if not (start / "config.json").is_file():
        return settings
    found = read_json(start / "config.json", "train it again, or begin without it")
    depth, kernel, first = (found[f"unet_{name}"] for name in ("n_depth", "kern_size", "n_first"))
    return replace(settings, depth=int(depth), kernel=int(kernel), n_first=int(first))


def _build(folder: Path, settings: UNetSettings, n_dim: int, state: TrainingState, weight: float) -> Any:
    import keras
    from csbdeep.models import CARE, Config

    config = Config(
        axes="ZYX"[-n_dim:],
        n_channel_in=1,
        n_channel_out=1,
        probabilistic=False,
        unet_residual=False,
        unet_n_depth=settings.depth,
        unet_kern_size=settings.kernel,
        unet_n_first=settings.n_first,
        unet_last_activation="linear",
        train_loss="mae" if settings.loss == "mae" else "mse",
        train_epochs=settings.epochs,
        train_learning_rate=settings.learning_rate,
        train_batch_size=settings.batch_size,
        train_tensorboard=False,
    )
    if settings.steps_per_epoch:
        config.train_steps_per_epoch = settings.steps_per_epoch
    model = training.build_in_folder(CARE, config, folder, settings.precision, state)
    model.keras_model.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate), loss=mask_loss(settings.loss, weight)
    )
    return model


def _foreground_share(patches: TrainingSet, n_patches: int = 32) -> float:
    """Return how much of the known voxels is foreground, from patches spread over the training set."""
    chosen = patches.train[
        np.linspace(0, len(patches.train) - 1, min(n_patches, len(patches.train))).astype(int)
    ]
    masks = [patches.read("Y", i)[0] for i in chosen]
    known = sum(np.count_nonzero(mask >= 0) for mask in masks)
    return sum(np.count_nonzero(mask > 0) for mask in masks) / max(known, 1)


def background_weight(patches: TrainingSet, n_patches: int = 32) -> float:
    """Return what a voxel of background weighs where labels are sparse: in all as much as the drawn cells, at most ten times.

    Whole stacks hold more background than cells; what is drawn is mostly cells, with a few dots of background, and a network
    that learns little from those finds cells in it.
    """
    if not patches.settings.get("sparse") or "labels" not in patches.members:
        return 1.0
    chosen = patches.train[
        np.linspace(0, len(patches.train) - 1, min(n_patches, len(patches.train))).astype(int)
    ]
    drawn = [patches.read("labels", int(i)) for i in chosen]
    cells, background = (
        sum(np.count_nonzero(side) for side in sides)
        for sides in ([d > 0 for d in drawn], [d == 0 for d in drawn])
    )
    return float(np.clip(cells / max(background, 1), 1.0, _HEAVIEST))


def _start_at(model: Any, share: float) -> None:
    """Let the untrained network answer `share` everywhere (Lin et al., "Focal loss", 2017, section 4.1).

    Far from every cell an image is flat, no feature answers, and the output is the last layer's bias. That moves by little
    more than the learning rate a step; begun at 0, a short training can leave the background at a half.
    """
    bias = next(w for layer in reversed(model.keras_model.layers) for w in layer.weights if w.shape == (1,))
    share = min(max(share, 0.01), 0.99)
    bias.assign([np.log(share / (1 - share))])


def mask_loss(kind: str, weight: float = 1.0) -> Any:
    """Return a loss between masks and the network's output that leaves out voxels with a negative target.

    Parameters
    ----------
    kind : {"bce_dice", "bce", "mse", "mae"}
        The first two take logits, the others the output as it is.
    weight : float
        Of voxels whose target is `BACKGROUND`.
    """
    import tensorflow as tf

    def loss(y_true: Any, y_pred: Any) -> Any:
        y_true, y_pred = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
        background = tf.cast(y_true == BACKGROUND, tf.float32)
        known = tf.cast(y_true >= 0, tf.float32) + (weight - 1) * background
        y_true = tf.maximum(y_true, 0.0) * (1 - background)
        n_known = tf.reduce_sum(known) + 1e-7
        if kind == "mae":
            return tf.reduce_sum(known * tf.abs(y_true - y_pred)) / n_known
        if kind == "mse":
            return tf.reduce_sum(known * tf.square(y_true - y_pred)) / n_known
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=y_true, logits=y_pred)
        result = tf.reduce_sum(known * entropy) / n_known
        if kind == "bce_dice":
            p = known * tf.sigmoid(y_pred)
            overlap = 2 * tf.reduce_sum(p * y_true) + 1.0
            result += 1 - overlap / (tf.reduce_sum(p) + tf.reduce_sum(known * y_true) + 1.0)
        return result

    return loss


def _set_output(model: Any, loss: str) -> None:
    model.volltrack_output = "logit" if loss in ("bce_dice", "bce") else "probability"


def load(folder: str | Path, *, precision: str = "float32") -> Any:
    """Load a U-Net trained here or by csbdeep.

    Parameters
    ----------
    folder : str or Path
        Model folder.
    precision : {"float32", "auto", "bfloat16", "float16"}
        What it computes in; ``"auto"``: what the processor is built for (`helpers.models.precision`).

    Returns
    -------
    csbdeep.models.CARE

    Raises
    ------
    InputError
        Naming the folder: if it, its configuration or its weights are missing.
    """
    folder = Path(folder)
    inference.check_model_folder(folder)
    prepare_tensorflow()
    from csbdeep.models import CARE

    model = inference.load_csbdeep(CARE, folder, precision)
    _set_output(model, model_folder.settings_of(folder, UNetSettings).get("loss", "mse"))
    return model


def predict(model: Any, stack: NDArray, *, n_tiles: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Predict the probability of foreground in a normalised image.

    Parameters
    ----------
    model : csbdeep.models.CARE
        From `train` or `load`.
    stack : ndarray, (Z, Y, X) or (Y, X)
        Normalised like the training set. A stack of one plane may be given to a 2D model.
    n_tiles : sequence of int, optional
        Tiles per axis; None: as few as fit the free memory.

    Returns
    -------
    ndarray of float32, shape of `stack`
        Between 0 and 1.

    Raises
    ------
    InputError
        If the model takes another number of dimensions or channels.
    """
    image = inference.check_image_for(model, stack)
    config = model.config
    if config.n_channel_out != 1 or config.probabilistic:
        raise InputError(
            f"model {model.name}", f"{config.n_channel_out} output channels", "a U-Net with one output"
        )
    result = inference.apply_unet(
        model.keras_model, image, depth=config.unet_n_depth, kernel=config.unet_kern_size,
        n_first=config.unet_n_first, n_tiles=n_tiles,
    )  # fmt: skip
    if getattr(model, "volltrack_output", "probability") == "logit":
        from scipy.special import expit

        result = expit(result)
    return np.clip(result, 0, 1).reshape(stack.shape)

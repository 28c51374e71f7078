"""The network of ELEPHANT: a U-Net that tells background, cells and the centres of cells apart, in 2D and 3D.

From few drawn cells it learns quickly where cells are; their outlines are ellipsoids (`helpers.models.elephant_shapes`). The
architecture and the weights of the classes are those of the reference. Its term for smoothness, which does not ask what is
annotated, is left out: here nothing that is not annotated moves a weight.

The folder of a model is as in `helpers.models.model_folder`; ``config.json`` says the architecture.

References
----------
Sugawara, Çevrim and Averof, Tracking cell lineages in 3D by incremental deep learning, eLife 2022. Wu and He, Group
normalization, ECCV 2018. Milletari et al., V-Net (the Dice loss), 3DV 2016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.bounds import Count
from helpers.data.augment import Augmentation
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError, read_json
from helpers.models import inference, model_folder, training
from helpers.models.devices import prepare_tensorflow
from helpers.models.elephant_shapes import size_limits, targets
from helpers.models.model_folder import TrainingState
from helpers.models.precision import keep_outputs_in_float32, layers_of, resolve
from helpers.models.settings import TrainingSettings
from helpers.models.watch import Watch, nobody

#: Weights of background, outer and centre in the cross-entropy, and of the Dice loss beside it.
_CLASS_WEIGHTS, _DICE_WEIGHT = (1.0, 10.0, 10.0), 5.0


@dataclass(frozen=True)
class ElephantSettings(TrainingSettings):
    """Settings of an ELEPHANT network.

    Parameters
    ----------
    depth : int
        Poolings by two, along the axes whose voxels are the finest.
    n_first : int
        Filters of the first level, doubled at each level.

    See Also
    --------
    TrainingSettings : the other parameters.
    """

    learning_rate: float = 1e-3
    depth: Count = 4
    n_first: Count = 16


@dataclass(frozen=True)
class ElephantModel:
    """A network with its folder's name and its configuration."""

    name: str
    config: SimpleNamespace
    keras_model: Any


def train(
    patches: TrainingSet,
    folder: str | Path,
    settings: ElephantSettings | None = None,
    *,
    augmentation: Augmentation | None = None,
    overwrite: bool = False,
    watch: Watch = nobody,
    start: str | Path | None = None,
) -> tuple[ElephantModel, TrainingState]:
    """Train an ELEPHANT network on the instances of a training set, or go on where a training was interrupted.

    Parameters
    ----------
    patches : TrainingSet
        Images and instances are read, one batch at a time. Voxels with a negative label are ignored.
    folder : str or Path
        Model folder. Its name is the model's.
    settings : ElephantSettings, optional
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
    model : ElephantModel
        With its best weights.
    state : TrainingState
        With the loss curves.

    Raises
    ------
    InputError
        For unusable patches, or a folder that holds another model.
    """
    settings = settings or ElephantSettings()
    folder = Path(folder)
    n_dim = training.check_patches(patches)
    config = network_config(settings, n_dim, patches.voxel_size)
    training.check_divisible("patch size", patches.patch_size, _block(config))

    def build(state: TrainingState) -> tuple[ElephantModel, training.MakeBatch]:
        import keras

        state.precision = state.precision or resolve(settings.precision)
        model = ElephantModel(folder.name, config, build_network(config, state.precision))
        model.keras_model.compile(optimizer=keras.optimizers.Adam(settings.learning_rate), loss=centre_loss)
        config.cell_size = _cell_size(patches, n_dim)
        model_folder.write_json(folder / "config.json", vars(config))
        return model, training.batches(
            lambda i: patches.patch(i)[::2], augmentation, patches.voxel_size, targets
        )

    state = training.train_in(
        folder, "ELEPHANT", settings, build, train=patches.train, validation=patches.validation,
        data=model_folder.describe_set(patches, augmentation), overwrite=overwrite, watch=watch, start=start,
    )  # fmt: skip
    return load(folder), state


def centre_loss(y_true: Any, y_pred: Any) -> Any:
    """Return the weighted cross-entropy of the classes, and the Dice loss of the centres, over annotated voxels.

    Parameters
    ----------
    y_true : tensor (…, 1)
        0, 1, 2, or negative where nothing is annotated.
    y_pred : tensor (…, 3)
        Logits.
    """
    import tensorflow as tf

    classes, logits = tf.cast(y_true, tf.float32)[..., 0], tf.cast(y_pred, tf.float32)
    known = tf.cast(classes >= 0, tf.float32)
    index = tf.cast(tf.maximum(classes, 0.0), tf.int32)
    weight = known * tf.gather(tf.constant(_CLASS_WEIGHTS), index)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=index, logits=logits)
    entropy = tf.reduce_sum(weight * entropy) / (tf.reduce_sum(weight) + 1e-7)
    p = known * tf.unstack(tf.nn.softmax(logits), axis=-1)[2]
    centre = known * tf.cast(index == 2, tf.float32)
    overlap = 2 * tf.reduce_sum(p * centre) + 1.0
    dice = 1 - overlap / (tf.reduce_sum(tf.square(p)) + tf.reduce_sum(centre) + 1.0)
    return (entropy + _DICE_WEIGHT * dice) / (1 + _DICE_WEIGHT)


def network_config(
    settings: ElephantSettings, n_dim: int, voxel_size: Sequence[float] | None
) -> SimpleNamespace:
    """Describe the network: at each level the axes are pooled along which the voxels are not much coarser than the finest."""
    spacing = np.ones(n_dim) if voxel_size is None else np.array(voxel_size, float)[-n_dim:]
    pools = []
    for _ in range(settings.depth):
        pool = np.where(spacing < 1.5 * spacing.min(), 2, 1)
        pools.append([int(n) for n in pool])
        spacing = spacing * pool
    return SimpleNamespace(
        network="ELEPHANT",
        n_dim=n_dim,
        axes="ZYX"[-n_dim:],
        n_channel_in=1,
        n_first=settings.n_first,
        pools=pools,
    )


def _cell_size(patches: TrainingSet, n_dim: int) -> list[float] | None:
    """Return how small and how large a cell may be, in µm³ or, in 2D, µm²; None where nothing says it."""
    if patches.voxel_size is None:
        return None
    labels = (patches.patch(i)[2] for i in range(len(patches)))
    limits = size_limits(labels, float(np.prod(patches.voxel_size[-n_dim:])))
    return None if limits is None else list(limits)


def _block(config: SimpleNamespace) -> tuple[int, ...]:
    return tuple(int(n) for n in np.prod(config.pools, axis=0))


def build_network(config: SimpleNamespace, precision: str) -> Any:
    import keras
    from csbdeep.models.base_model import _keras3_monkey_patch_legacy_weights as save_as_csbdeep
    from keras import layers

    convolution = layers.Conv3D if config.n_dim == 3 else layers.Conv2D
    pooling = layers.MaxPooling3D if config.n_dim == 3 else layers.MaxPooling2D
    upsampling = layers.UpSampling3D if config.n_dim == 3 else layers.UpSampling2D

    def block(x: Any, filters: int) -> Any:
        for _ in range(2):
            x = convolution(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal")(x)
            x = layers.GroupNormalization(math.gcd(32, filters))(x)
        return x

    with layers_of(precision):
        inputs = x = keras.Input((None,) * config.n_dim + (1,))
        skips = []
        for level, pool in enumerate(config.pools):
            skips.append(block(x, config.n_first << level))
            x = pooling(tuple(pool))(skips[-1])
        x = block(x, config.n_first << len(config.pools))
        for level in reversed(range(len(config.pools))):
            x = upsampling(tuple(config.pools[level]))(x)
            x = block(layers.Concatenate()([x, skips[level]]), config.n_first << level)
        net = keras.Model(inputs, convolution(3, 1, kernel_initializer="he_normal")(x))
    keep_outputs_in_float32(net)
    save_as_csbdeep(net)  # so that its folder is written and read as those of the other networks
    return net


def load(folder: str | Path, *, precision: str = "float32") -> ElephantModel:
    """Load an ELEPHANT network trained here.

    Parameters
    ----------
    folder : str or Path
        Model folder.
    precision : {"float32", "auto", "bfloat16", "float16"}
        What it computes in.

    Raises
    ------
    InputError
        Naming the folder: if it, its configuration or its weights are missing or another network's.
    """
    folder = Path(folder)
    inference.check_model_folder(folder)
    found = read_json(folder / "config.json", "copy it from a backup, or train the network again")
    if found.get("network") != "ELEPHANT":
        raise InputError("model folder", str(folder), "an ELEPHANT network")
    prepare_tensorflow()
    config = SimpleNamespace(**found)
    net = build_network(config, precision)
    weights = folder / "weights_best.h5"
    try:
        net.load_weights(str(weights))
    except Exception as error:
        raise InputError("model folder", str(folder), f"weights of this network ({error})") from error
    return ElephantModel(folder.name, config, net)


def predict(
    model: ElephantModel, stack: NDArray, *, n_tiles: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Predict the probabilities of being in a cell's outer part, and of being in its centre.

    Parameters
    ----------
    model : ElephantModel
        From `train` or `load`.
    stack : ndarray, (Z, Y, X) or (Y, X)
        Normalised like the training set. A stack of one plane may be given to a 2D model.
    n_tiles : sequence of int, optional
        Tiles per axis; None: as few as fit the free memory. The network normalises over what it is shown, so tiles show.

    Returns
    -------
    ndarray of float32, (2, …) and the shape of `stack`
        Outer part, centre.

    Raises
    ------
    InputError
        If the model takes another number of dimensions.
    """
    image = inference.check_image_for(model, stack)
    block = _block(model.config)
    padded = inference.pad_to_block(image, block)
    radius = tuple(2 * b for b in block)
    tiles = inference.check_n_tiles(n_tiles, image.ndim) or inference.choose_n_tiles(
        image.shape,
        bytes_per_voxel=inference.unet_bytes_per_voxel(model.config.n_first),
        radius=radius,
        block=block,
    )
    forward = inference.forward_function(model.keras_model)

    def compute(tiles: tuple[int, ...]) -> NDArray[np.float32]:
        from scipy.special import softmax

        result = np.empty((2, *padded.shape), np.float32)
        for tile in inference.iterate_tiles(padded.shape, tiles, radius, block):
            classes = softmax(forward(padded[tile.read])[0], axis=-1)
            result[:, *tile.write] = np.moveaxis(classes[tile.inside][..., 1:], -1, 0)
        return result

    found = inference.retry_smaller(compute, padded.shape, tiles)
    return found[:, *(slice(n) for n in image.shape)].reshape(2, *stack.shape)

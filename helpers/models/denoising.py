"""Noise2Void: a denoiser trained on the noisy movies themselves.

Network, loss, configuration and folder are those of the n2v package: ``n2v.models.N2V(None, name, basedir)`` opens
a folder made here. Two things in n2v 0.3.3 do not run beside Keras 3, and `_network` cures them; its own sampler
takes patches of the first image only and masks in 3D about a twentieth of the voxels asked for, so blind spots are
drawn here.

References
----------
Krull et al., Noise2Void: learning denoising from single noisy images, CVPR 2019.

Over 400 lines, a third of them for what n2v lacks.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import ArrayLike, NDArray

from helpers.bounds import Count, Odd, Part, Positive
from helpers.errors import InputError
from helpers.models import inference, training
from helpers.models.devices import prepare_tensorflow
from helpers.models.model_folder import TrainingState
from helpers.models.settings import TrainingSettings


@dataclass(frozen=True)
class DenoiserSettings(TrainingSettings):
    """Settings of Noise2Void; the defaults are the VollSeg paper's, but for the length of the training.

    Parameters
    ----------
    patch_size : tuple of int
        (z, y, x), or (y, x) for 2D; divisible by ``2**depth``.
    patches_per_image : int
        Patches drawn from every image.
    max_patches : int
        Patches held in memory; where images are many, fewer are drawn from each.
    validation_fraction : float
        Share of the images (of the patches, where there is one image) that is validated on.
    depth, kernel, n_first : int
        Of the U-Net.
    perc_pix : float
        Percentage of voxels masked in each patch.
    radius : int
        Voxels from which a masked voxel takes its new value (``uniform_withCP``).
    batch_norm : bool
        Batch normalisation. With it the training is in float32: its loss is not a number in bfloat16.
    loss : {"mse", "mae"}

    See Also
    --------
    TrainingSettings : the other parameters.
    """

    batch_size: int = 1
    steps_per_epoch: int | None = 400
    learning_rate: float = 4e-4
    patch_size: tuple[int, ...] = (16, 64, 64)
    patches_per_image: Count = 20
    max_patches: Annotated[int, Ge(2), "one to train on, one to validate on"] = 1024
    validation_fraction: Part = 0.1
    depth: Count = 3
    kernel: Annotated[Count, Odd()] = 3
    n_first: Count = 32
    perc_pix: Annotated[Positive, Lt(50)] = 0.198
    radius: Count = 4
    batch_norm: bool = True
    loss: str = "mse"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("patch_size", len(self.patch_size) in (2, 3), "(z, y, x), or (y, x) for 2D")
        training.check_divisible("patch_size", self.patch_size, (2**self.depth,) * len(self.patch_size))
        half = self.precision in ("bfloat16", "float16")
        self._require("precision", not (self.batch_norm and half), "'float32' with batch_norm=True")
        self._require("loss", self.loss in ("mse", "mae"), "'mse' or 'mae'")


def train(
    images: Sequence[ArrayLike],
    folder: str | Path,
    settings: DenoiserSettings | None = None,
    *,
    overwrite: bool = False,
) -> tuple[Any, TrainingState]:
    """Train a denoiser on patches of all images, or go on where a training was interrupted.

    Parameters
    ----------
    images : sequence of array_like, (Z, Y, X) or (Y, X)
        Raw stacks or frames; each is asked for once, so the sequence may read them lazily. A stack of one
        plane is 2D.
    folder : str or Path
        Model folder. Its name is the model's.
    settings : DenoiserSettings, optional
        Architecture and training.
    overwrite : bool
        Replace another model in the folder.

    Returns
    -------
    model : n2v.models.N2V
        With its best weights.
    state : TrainingState
        With the loss curves.

    Raises
    ------
    InputError
        For images smaller than a patch, without contrast or of another dimension, or a folder that holds
        another model.
    """
    settings = settings or DenoiserSettings()
    folder = Path(folder)
    patches, n_validation = sample_patches(images, settings)
    indices = np.arange(len(patches))
    held_out, trained_on = indices[:n_validation], indices[n_validation:]
    data = {"shape": list(patches.shape), "checksum": zlib.crc32(patches.tobytes())}

    def build(state: TrainingState) -> tuple[Any, training.MakeBatch]:
        model = _build(patches, folder, settings, state)
        mean, sd = np.float32(model.config.means[0]), np.float32(model.config.stds[0])

        def make_batch(
            chosen: NDArray[np.intp], rng: np.random.Generator | None
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            pairs = []
            for i in chosen:
                generator = np.random.default_rng([settings.seed, int(i)]) if rng is None else rng
                patch = (patches[i] - mean) / sd
                if rng is not None:
                    patch = _turn(patch, rng)
                pairs.append(
                    blind_spots(patch, generator, perc_pix=settings.perc_pix, radius=settings.radius)
                )
            x, y = (np.stack(side) for side in zip(*pairs, strict=True))
            return x[..., np.newaxis], y

        return model, make_batch

    state = training.train_in(
        folder, "Noise2Void", settings, build, train=trained_on, validation=held_out, data=data, overwrite=overwrite,
    )  # fmt: skip
    return load(folder), state


def sample_patches(
    images: Sequence[ArrayLike], settings: DenoiserSettings
) -> tuple[NDArray[np.float32], int]:
    """Draw patches from all images, those to validate on first.

    Returns
    -------
    patches : ndarray of float32, (n, Z, Y, X) or (n, Y, X)
    n_validation : int
        How many are held out: all patches of whole images where there are several.

    Raises
    ------
    InputError
        If there is no image, or one does not suit.
    """
    if len(images) == 0:
        raise InputError("images", "none", "at least one image to learn from")
    n_images = min(len(images), settings.max_patches)
    chosen = np.linspace(0, len(images) - 1, n_images).round().astype(int)
    per_image = max(1, min(settings.patches_per_image, settings.max_patches // n_images))
    if n_images == 1:
        per_image = max(2, per_image)
    drawn = []
    for i in chosen:
        rng = np.random.default_rng([settings.seed, int(i)])
        drawn.append(
            _patches_of(np.asarray(images[int(i)]), f"images[{i}]", per_image, settings.patch_size, rng)
        )
    order = np.random.default_rng(settings.seed).permutation(n_images)
    patches = np.concatenate([drawn[i] for i in order])
    held_out = max(1, round(settings.validation_fraction * n_images)) if n_images > 1 else 0
    n_validation = held_out * per_image or max(1, round(settings.validation_fraction * per_image))
    if not patches.std() > 0:
        raise InputError("images", float(patches.flat[0]), "images with contrast: all voxels drawn are equal")
    return patches, n_validation


def _patches_of(
    image: NDArray, name: str, n: int, size: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float32]:
    if image.ndim == len(size) + 1 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != len(size):
        raise InputError(name, image.shape, f"a {len(size)}D image, for patches of size {size}")
    if any(s < p for s, p in zip(image.shape, size, strict=True)):
        raise InputError("patch_size", size, f"at most the size of {name}, {image.shape}")
    starts = [rng.integers(s - p + 1, size=n) for s, p in zip(image.shape, size, strict=True)]
    patches = [
        image[tuple(slice(a, a + p) for a, p in zip(start, size, strict=True))]
        for start in zip(*starts, strict=True)
    ]
    result = np.stack(patches).astype(np.float32)
    if not np.isfinite(result).all():
        raise InputError(name, "NaN or infinite values", "finite intensities")
    return result


def _turn(patch: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Mirror and turn a patch in the plane (by half turns where it is not square)."""
    square = patch.shape[-1] == patch.shape[-2]
    patch = np.rot90(patch, int(rng.integers(4)) if square else 2 * int(rng.integers(2)), axes=(-2, -1))
    return patch[..., ::-1] if rng.integers(2) else patch


def blind_spots(
    patch: NDArray[np.float32], rng: np.random.Generator, *, perc_pix: float, radius: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Hide voxels of a patch from the network: each takes the value of a voxel near it.

    One voxel is drawn in each box of a regular grid (stratified sampling) and gets the value of one drawn evenly
    within `radius` around it, itself included (n2v's ``uniform_withCP``).

    Parameters
    ----------
    patch : ndarray, (Z, Y, X) or (Y, X)
        Normalised.
    rng : numpy.random.Generator
    perc_pix : float
        Percentage of voxels hidden.
    radius : int
        In voxels.

    Returns
    -------
    x : ndarray of float32, shape of `patch`
        With hidden voxels replaced.
    y : ndarray of float32, shape of `patch` + (2,)
        The true values at hidden voxels, and 1 where they are; else 0.
    """
    shape = np.array(patch.shape)
    box = (100 / perc_pix) ** (1 / patch.ndim)
    corners = np.stack(np.meshgrid(*(np.arange(0, s, box) for s in shape), indexing="ij"), axis=-1)
    spots = (corners.reshape(-1, patch.ndim) + rng.random((corners[..., 0].size, patch.ndim)) * box).astype(
        int
    )
    spots = spots[(spots < shape).all(axis=1)]
    if len(spots) == 0:  # a patch smaller than a box
        spots = rng.integers(shape)[np.newaxis]
    low, high = np.maximum(spots - radius, 0), np.minimum(spots + radius + 1, shape)
    near = rng.integers(low, high)
    where = tuple(spots.T)
    x = np.array(patch, np.float32)
    y = np.zeros((*patch.shape, 2), np.float32)
    y[(*where, 0)] = patch[where]
    y[(*where, 1)] = 1
    x[where] = patch[tuple(near.T)]
    return x, y


@cache
def _network() -> type:
    """Return n2v's network as it runs beside Keras 3."""
    from csbdeep.models.base_model import _keras3_monkey_patch_legacy_weights
    from n2v.models import N2V

    class Noise2Void(N2V):
        """n2v's N2V whose weights are written in the format that its own files have."""

        def _build(self) -> Any:
            net = super()._build()
            # N2V builds its network past csbdeep, whose patch lets Keras 3 write weights_best.h5.
            _keras3_monkey_patch_legacy_weights(net)
            return net

        def prepare_for_training(self, optimizer: Any = None, **kwargs: Any) -> None:
            """Compile, without the checkpoint callbacks whose names Keras 3 refuses."""
            import keras

            config: Any = self.config
            optimizer = optimizer or keras.optimizers.Adam(config.train_learning_rate)
            self.callbacks = self.prepare_model(self.keras_model, optimizer, config.train_loss, metrics=())
            self._model_prepared = True

    return Noise2Void


def _build(
    patches: NDArray[np.float32], folder: Path, settings: DenoiserSettings, state: TrainingState
) -> Any:
    network = _network()
    from n2v.models import N2VConfig

    config = N2VConfig(
        patches[..., np.newaxis],
        unet_n_depth=settings.depth,
        unet_kern_size=settings.kernel,
        unet_n_first=settings.n_first,
        unet_residual=False,
        batch_norm=settings.batch_norm,
        train_loss=settings.loss,
        train_epochs=settings.epochs,
        train_steps_per_epoch=settings.steps_per_epoch or 1,
        train_batch_size=settings.batch_size,
        train_learning_rate=settings.learning_rate,
        train_tensorboard=False,
        n2v_patch_shape=settings.patch_size,
        n2v_perc_pix=settings.perc_pix,
        n2v_manipulator="uniform_withCP",
        n2v_neighborhood_radius=settings.radius,
        single_net_per_channel=False,
    )
    precision = "float32" if settings.batch_norm else settings.precision
    model = training.build_in_folder(network, config, folder, precision, state)
    model.prepare_for_training()
    return model


def load(folder: str | Path, *, precision: str = "float32") -> Any:
    """Load a denoiser trained here or by n2v.

    Parameters
    ----------
    folder : str or Path
        Model folder.
    precision : {"float32", "auto", "bfloat16", "float16"}
        What it computes in; ``"auto"``: what the processor is built for (`helpers.models.precision`).

    Returns
    -------
    n2v.models.N2V

    Raises
    ------
    InputError
        Naming the folder: if it, its configuration or its weights are missing.
    """
    folder = Path(folder)
    inference.check_model_folder(folder)
    prepare_tensorflow()
    return inference.load_csbdeep(_network(), folder, precision)


def predict(model: Any, stack: NDArray, *, n_tiles: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Denoise a raw image.

    Parameters
    ----------
    model : n2v.models.N2V
        From `train` or `load`. It normalises by the mean and deviation of its training images.
    stack : ndarray, (Z, Y, X) or (Y, X)
        Raw intensities. A stack of one plane may be given to a 2D model.
    n_tiles : sequence of int, optional
        Tiles per axis; None: as few as fit the free memory.

    Returns
    -------
    ndarray of float32, shape of `stack`
        In the units of `stack`.

    Raises
    ------
    InputError
        If the model takes another number of dimensions or channels.
    """
    image = inference.check_image_for(model, stack)
    config = model.config
    mean, sd = np.float32(config.means[0]), np.float32(config.stds[0])
    result = inference.apply_unet(
        model.keras_model, (image - mean) / sd, depth=config.unet_n_depth, kernel=config.unet_kern_size,
        n_first=config.unet_n_first, n_tiles=n_tiles,
    )  # fmt: skip
    return (result * sd + mean).reshape(stack.shape)


def psnr(image: ArrayLike, truth: ArrayLike) -> float:
    """Return the peak signal-to-noise ratio in dB after the best affine match of intensities.

    A denoised image has an arbitrary scale, so it is first fitted to the truth by least squares, as the CARE
    paper does. The peak is the truth's range.

    Parameters
    ----------
    image, truth : array_like of equal shape

    Raises
    ------
    InputError
        If shapes differ or the truth is constant.
    """
    a, b = np.asarray(image, np.float64).ravel(), np.asarray(truth, np.float64).ravel()
    if np.shape(image) != np.shape(truth):
        raise InputError("truth", np.shape(truth), f"the shape of the image, {np.shape(image)}")
    peak = float(np.ptp(b)) if b.size else 0.0
    if not peak > 0:
        raise InputError("truth", "constant", "an image with contrast")
    centred = a - a.mean()
    variance = float(centred @ centred)
    slope = float(centred @ (b - b.mean())) / variance if variance > 0 else 0.0
    error = float(np.mean((slope * centred + b.mean() - b) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(peak**2 / error))

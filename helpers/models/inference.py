"""Apply a network to an image of any size: padding, tiles that fit the memory, one compiled function.

csbdeep and StarDist call ``keras_model.predict`` for every tile, which builds a data pipeline each time.
Here the network is traced once for images of any size, and its tiles overlap by the receptive field that
follows from the architecture, so that the tiling cannot be seen in the result.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError
from helpers.models.devices import free_memory, quiet
from helpers.models.precision import keep_outputs_in_float32, layers_of
from helpers.models.stopping import go_on

#: A tile's forward pass: (Z, Y, X) or (Y, X) float32 → its outputs, channels last.
Forward = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]

T = TypeVar("T")

#: Share of the free memory that a tile may take.
_MEMORY_SHARE = 0.5
#: Full-resolution feature maps alive at once in a U-Net: skips, concatenation, workspace (measured).
_LIVE_MAPS = 8


@dataclass(frozen=True)
class Tile:
    """One tile of an image.

    Attributes
    ----------
    read : tuple of slice
        Where in the padded image it is read, in voxels.
    write : tuple of slice
        Which part of the image it decides, in voxels.
    """

    read: tuple[slice, ...]
    write: tuple[slice, ...]

    @property
    def inside(self) -> tuple[slice, ...]:
        """Where the written part lies in the tile's output."""
        return tuple(
            slice(w.start - r.start, w.stop - r.start) for r, w in zip(self.read, self.write, strict=True)
        )

    def coarse(self, grid: Sequence[int]) -> Tile:
        """Return the tile in the coordinates of an output subsampled by `grid`."""

        def divide(slices: tuple[slice, ...]) -> tuple[slice, ...]:
            return tuple(slice(s.start // g, s.stop // g) for s, g in zip(slices, grid, strict=True))

        return Tile(divide(self.read), divide(self.write))


def receptive_radius(depth: int, kernel: int, *, grid: int = 1, convolutions: int = 2, after: int = 0) -> int:
    """Return how far, in voxels along an axis, a U-Net's output looks.

    Parameters
    ----------
    depth, kernel : int
        Poolings by two and size of the convolutions.
    grid : int
        Subsampling before the U-Net (StarDist).
    convolutions : int
        Convolutions per level.
    after : int
        Convolutions after the U-Net.
    """
    half = kernel // 2
    radius, stride = 0, 1
    while stride < grid:
        radius += convolutions * half * stride + stride
        stride *= 2
    for level in range(depth):
        radius += 2 * convolutions * half * (stride << level) + (stride << level)  # down, up and the pooling
    radius += convolutions * half * (stride << depth)
    return radius + after * half * stride


def choose_n_tiles(
    shape: Sequence[int],
    *,
    bytes_per_voxel: float,
    radius: Sequence[int],
    block: Sequence[int],
    memory: int | None = None,
) -> tuple[int, ...]:
    """Choose the fewest tiles whose forward pass fits the free memory.

    Parameters
    ----------
    shape : sequence of int
        Of the image.
    bytes_per_voxel : float
        Memory of the forward pass per voxel of a tile.
    radius, block : sequence of int
        Overlap of the tiles and what their size is a multiple of, per axis.
    memory : int, optional
        Bytes that may be used; half of what is free if None.

    Returns
    -------
    tuple of int
        Tiles per axis.
    """
    budget = free_memory() * _MEMORY_SHARE if memory is None else memory
    tiles = [1] * len(shape)

    def size(axis: int) -> int:
        inner = math.ceil(shape[axis] / tiles[axis])
        return min(shape[axis], inner + 2 * radius[axis]) if tiles[axis] > 1 else shape[axis]

    while math.prod(size(a) for a in range(len(shape))) * bytes_per_voxel > budget:
        # Cut where it helps most; stop where more tiles only add overlap.
        gains = [
            size(a) / max(1, min(shape[a], math.ceil(shape[a] / (tiles[a] + 1)) + 2 * radius[a]))
            for a in range(len(shape))
        ]
        axis = int(np.argmax(gains))
        if gains[axis] < 1.02 or shape[axis] // (tiles[axis] + 1) < block[axis]:
            break
        tiles[axis] += 1
    return tuple(tiles)


def iterate_tiles(
    shape: Sequence[int], n_tiles: Sequence[int], radius: Sequence[int], block: Sequence[int]
) -> Iterator[Tile]:
    """Yield tiles that cover `shape` (a multiple of `block`), all of the same size and aligned with `block`.

    Where the work is no longer wanted (`stopping`), it ends before the next one.
    """
    per_axis: list[list[tuple[slice, slice]]] = []
    for s, n, r, b in zip(shape, n_tiles, radius, block, strict=True):
        halo = math.ceil(r / b) * b
        inner = math.ceil(s / b / n) * b
        starts = range(0, s, inner)
        size = min(s, inner + 2 * halo)
        cuts = []
        for start in starts:
            stop = min(s, start + inner)
            first = max(0, min(start - halo, s - size))
            cuts.append((slice(first, first + size), slice(start, stop)))
        per_axis.append(cuts)
    for index in np.ndindex(*(len(c) for c in per_axis)):
        go_on()
        chosen = [cuts[i] for cuts, i in zip(per_axis, index, strict=True)]
        yield Tile(tuple(c[0] for c in chosen), tuple(c[1] for c in chosen))


def pad_to_block(image: NDArray[np.float32], block: Sequence[int]) -> NDArray[np.float32]:
    """Mirror an image at its far ends until every axis is a multiple of `block`."""
    pad = [(0, -s % b) for s, b in zip(image.shape, block, strict=True)]
    return np.pad(image, pad, mode="reflect") if any(p[1] for p in pad) else image


def forward_function(keras_model: Any) -> Forward:
    """Trace a network once for images of any size; the function stays with the network.

    Parameters
    ----------
    keras_model : keras.Model
        With input (batch, …, 1) and one or several outputs.
    """
    existing = getattr(keras_model, "_volltrack_forward", None)
    if existing is not None:
        return existing
    import tensorflow as tf

    shape = (1, *keras_model.inputs[0].shape[1:])
    traced = tf.function(
        lambda x: keras_model(x, training=False), input_signature=[tf.TensorSpec(shape, tf.float32)]
    )

    def forward(tile: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs = traced(tf.convert_to_tensor(tile[np.newaxis, ..., np.newaxis]))
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return [np.asarray(output)[0] for output in outputs]

    keras_model._volltrack_forward = forward
    return forward


def check_image_for(model: Any, image: NDArray) -> NDArray[np.float32]:
    """Return the image as float32 with the model's number of axes, or say why the model cannot take it.

    A stack of one plane is accepted by a 2D model.

    Raises
    ------
    InputError
        If dimension or channel count differ.
    """
    n_dim = model.config.n_dim
    if model.config.n_channel_in != 1:
        raise InputError(
            f"model {model.name}", f"{model.config.n_channel_in} input channels", "a model of one channel"
        )
    if image.ndim == n_dim + 1 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != n_dim:
        raise InputError(
            f"model {model.name}",
            f"{n_dim}D, the image has shape {image.shape}",
            f"a {image.ndim}D model, or slice_wise=True to segment a stack plane by plane with a 2D model",
        )
    return np.ascontiguousarray(image, dtype=np.float32)


def check_n_tiles(n_tiles: Sequence[int] | None, n_dim: int) -> tuple[int, ...] | None:
    """Return `n_tiles` as a tuple with one entry per axis; three for a 2D model drop the first."""
    if n_tiles is None:
        return None
    tiles = tuple(int(n) for n in n_tiles)
    if len(tiles) == n_dim + 1:
        tiles = tiles[1:]
    if len(tiles) != n_dim or any(n < 1 for n in tiles):
        raise InputError("n_tiles", tuple(n_tiles), f"{n_dim} whole numbers ≥ 1, one per axis, or None")
    return tiles


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that holds no trained model, by name.

    Raises
    ------
    InputError
        If the folder, its ``config.json`` or its weights are missing.
    """
    if not folder.is_dir():
        raise InputError(
            "model folder", str(folder), "an existing folder: train the model first or correct the path"
        )
    if not (folder / "config.json").is_file():
        raise InputError("model folder", str(folder), "a folder with config.json: it holds no model")
    if not any(folder.glob("*.h5")):
        raise InputError(
            "model folder", str(folder), "a folder with weights_best.h5: the weights are missing"
        )


def retry_smaller(compute: Callable[[tuple[int, ...]], T], shape: Sequence[int], tiles: tuple[int, ...]) -> T:
    """Return ``compute(tiles)``; where a GPU's memory runs out, halve the longest side of the tiles and retry."""
    import tensorflow as tf

    for _ in range(8):
        try:
            return compute(tiles)
        except tf.errors.ResourceExhaustedError:
            longest = int(np.argmax([s / n for s, n in zip(shape, tiles, strict=True)]))
            tiles = tuple(2 * n if a == longest else n for a, n in enumerate(tiles))
    raise MemoryError(f"the network does not fit the memory even in {tiles} tiles")


def unet_bytes_per_voxel(n_first: int) -> float:
    """Return the memory a U-Net's forward pass takes per voxel of its full-resolution level."""
    return 4.0 * n_first * _LIVE_MAPS


def load_csbdeep(kind: type, folder: Path, precision: str) -> Any:
    """Load a csbdeep, StarDist or n2v model from its folder, best weights first, to compute in `precision`.

    Raises
    ------
    InputError
        Naming the folder, if its configuration or weights do not fit the network.
    """
    try:
        with quiet(), layers_of(precision), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = kind(None, name=folder.name, basedir=str(folder.parent))
    except Exception as error:
        raise InputError("model folder", str(folder), f"a {kind.__name__} model ({error})") from error
    if not all(np.isfinite(weights).all() for weights in model.keras_model.get_weights()):
        raise InputError(
            "model folder",
            str(folder),
            "a network whose weights are numbers: some are NaN or infinite; train it again",
        )
    keep_outputs_in_float32(model.keras_model)
    return model


def apply_unet(
    keras_model: Any,
    image: NDArray[np.float32],
    *,
    depth: int,
    kernel: int,
    n_first: int,
    n_tiles: Sequence[int] | None,
) -> NDArray[np.float32]:
    """Return a plain U-Net's output for an image of any size.

    Parameters
    ----------
    keras_model : keras.Model
        With one input and one output channel and poolings by two.
    image : ndarray of float32, (Z, Y, X) or (Y, X)
    depth, kernel, n_first : int
        Of the U-Net: what its tiles overlap by, and how much memory they take, follows from them.
    n_tiles : sequence of int, optional
        Tiles per axis; None: as few as fit the free memory.
    """
    block = (2**depth,) * image.ndim
    radius = (receptive_radius(depth, kernel),) * image.ndim
    padded = pad_to_block(image, block)
    forward = forward_function(keras_model)
    tiles = check_n_tiles(n_tiles, image.ndim) or choose_n_tiles(
        image.shape, bytes_per_voxel=unet_bytes_per_voxel(n_first), radius=radius, block=block
    )

    def compute(tiles: tuple[int, ...]) -> NDArray[np.float32]:
        result = np.empty(padded.shape, np.float32)
        for tile in iterate_tiles(padded.shape, tiles, radius, block):
            result[tile.write] = forward(padded[tile.read])[0][..., 0][tile.inside]
        return result

    return retry_smaller(compute, padded.shape, tiles)[tuple(slice(n) for n in image.shape)]

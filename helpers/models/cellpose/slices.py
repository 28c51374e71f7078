"""The planes that Cellpose learns, cut out of patches, and batches of them, turned and scaled."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models.cellpose.network import anisotropy

#: Planes are scaled by 1 ± half of this.
_SCALE_RANGE = 0.5
#: The side of Cellpose's own squares, and the least that gives the network's four levels something to see.
_CROPS = (64, 224)
#: Planes of fewer cell pixels teach nothing.
_LEAST_PIXELS = 20


@dataclass(frozen=True)
class Slices:
    """Planes with their targets: images (2, Y, X), and (cell, flow y, flow x) after the labels, (4, Y, X).

    Where planes are `sparse`, the channel of the cell is 0 where nothing is annotated, 1 in the background and 2 in a cell:
    Cellpose turns and scales it by nearest neighbour, and what comes in from beyond the plane is 0.
    """

    images: list[NDArray[np.float32]]
    targets: list[NDArray[np.float32]]
    sparse: bool = False


def cut_slices(
    patches: TrainingSet, indices: NDArray[np.intp], *, side_planes: bool, max_planes: int
) -> Slices:
    """Cut planes of every direction evenly out of the patches, and let Cellpose make their flows.

    Parameters
    ----------
    patches : TrainingSet
    indices : ndarray of int
        Of the patches.
    side_planes : bool
        ZY and ZX planes too.
    max_planes : int
        At most so many, about.
    """
    import torch
    from cellpose import dynamics

    directions = 1 if patches.is_2d or not side_planes else 3
    each = max(1, max_planes // max(len(indices) * directions, 1))
    if len(indices) > max_planes:
        indices = indices[np.linspace(0, len(indices) - 1, max_planes).round().astype(int)]
    stretch = 1.0 if patches.is_2d or directions == 1 else _stretch(patches)
    images, labels = [], []
    for i in indices:
        x, _, cells = patches.patch(int(i))
        x, cells = (a[np.newaxis] if patches.is_2d else a for a in (x, cells))
        for axis in range(directions):
            along = np.linspace(0, x.shape[axis] - 1, min(each, x.shape[axis]) + 2)[1:-1].round().astype(int)
            for k in np.unique(along):
                image, plane = np.take(x, k, axis), np.take(cells, k, axis)
                if np.count_nonzero(plane > 0) < _LEAST_PIXELS:
                    continue
                if axis and stretch != 1:
                    image, plane = _stretched(image, plane, stretch)
                images.append(np.stack([image, np.zeros_like(image)]).astype(np.float32))
                labels.append(plane.astype(np.int32))
    if not labels:
        return Slices([], [])
    with contextlib.redirect_stderr(io.StringIO()):  # its own bars
        cells = [np.maximum(plane, 0) for plane in labels]
        targets = dynamics.labels_to_flows(cells, files=None, device=torch.device("cpu"))
    targets = [np.asarray(target, np.float32) for target in targets]
    sparse = any((plane < 0).any() for plane in labels)
    if sparse:
        for target, plane in zip(targets, labels, strict=True):
            target[1] = np.where(plane < 0, 0, target[1] + 1)
    return Slices(images, targets, sparse)


def _stretch(patches: TrainingSet) -> float:
    if patches.voxel_size is None:
        raise InputError("voxel_size", None, f"{patches.path} does not say it; give (z, y, x) in µm")
    return anisotropy(patches.voxel_size)


def _stretched(image: NDArray, plane: NDArray, factor: float) -> tuple[NDArray, NDArray]:
    import cv2

    size = (image.shape[1], max(1, round(image.shape[0] * factor)))
    return (
        cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_LINEAR),
        cv2.resize(plane.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(np.int32),
    )


def annotated_batch(
    planes: Slices, rng: np.random.Generator, size: int, scale: float, crop: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a batch in which something is annotated, if one of some tries has it: crops are drawn anywhere."""
    for _ in range(20):
        chosen = rng.integers(len(planes.images), size=size)
        batch = make_batch(planes, chosen, scale, crop, seed=int(rng.integers(2**31)))
        if (batch[1][:, 0] >= 0).any():
            break
    return batch


def make_batch(
    planes: Slices,
    chosen: NDArray[np.intp],
    scale: float,
    crop: int,
    *,
    seed: int | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return images (N, 2, Y, X) and targets (N, 3, Y, X), turned and scaled unless `seed` is None.

    The first channel of the targets is 1 in cells, 0 in the background, -1 where nothing is annotated.
    """
    from cellpose import transforms

    # Cellpose draws from numpy's global generator.
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed or 0)  # noqa: NPY002
    try:
        images, targets, _ = transforms.random_rotate_and_resize(
            [planes.images[i] for i in chosen],
            Y=[planes.targets[i][1:] for i in chosen],
            rescale=np.full(len(chosen), scale),
            scale_range=0.0 if seed is None else _SCALE_RANGE,
            xy=(crop, crop),
            do_flip=seed is not None,
            rotate=seed is not None,
        )
    finally:
        np.random.set_state(before)  # noqa: NPY002
    if seed is not None:  # another movie's brightest cells are not as bright
        images *= np.random.default_rng(seed).uniform(0.7, 1.3, (len(chosen), 1, 1, 1)).astype(np.float32)
    targets = np.asarray(targets, np.float32)
    if planes.sparse:
        targets[:, 0] -= 1
    return images, targets


def crop_side(planes: Slices, scale: float) -> int:
    """Return the smallest side that holds the median plane at the network's scale."""
    side = float(np.median([max(image.shape[1:]) for image in planes.images])) / scale
    low, high = _CROPS
    return int(np.clip(16 * math.ceil(side / 16), low, high))

"""What StarDist learns from: the sizes of cells, its targets and its losses."""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from helpers.data.augment import Augmentation, augment
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models.stardist.rays import RayTable, directions_2d

#: Tries to find a crop of a patch in which something is annotated.
_CROP_TRIES = 50
#: Patches that cells are measured in.
_MEASURED = 32


def median_extents(patches: TrainingSet) -> NDArray[np.float64]:
    """Return the median size of the cells along each axis, in voxels.

    Of a cell cut by a patch's border only a lower bound is known, so this is the median of the Kaplan–Meier
    estimator: a thin patch does not make cells look flat, nor does leaving cut cells out make them look small.

    Raises
    ------
    InputError
        If the patches hold no cell.
    """
    from scipy.ndimage import find_objects

    n = len(patches.train)
    chosen = patches.train[np.linspace(0, n - 1, min(n, _MEASURED)).astype(int)]
    extents: list[list[int]] = []
    whole: list[list[bool]] = []
    for i in chosen:
        labels = np.maximum(patches.patch(int(i))[2], 0)
        for box in filter(None, find_objects(labels)):
            extents.append([s.stop - s.start for s in box])
            whole.append([s.start > 0 and s.stop < n for s, n in zip(box, labels.shape, strict=True)])
    if not extents:
        raise InputError(str(patches.path), "no labelled cell", "patches with cells: check the labels")
    columns = zip(np.array(extents).T, np.array(whole).T, strict=True)
    return np.array([censored_median(values, known) for values, known in columns])


def censored_median(values: NDArray[np.intp], known: NDArray[np.bool_]) -> float:
    """Return the median of values of which those not `known` are lower bounds (Kaplan and Meier, 1958)."""
    surviving = 1.0
    for value in np.unique(values):
        surviving *= 1 - np.sum(known & (values == value)) / np.sum(values >= value)
        if surviving <= 0.5:
            return float(value)
    return float(values.max())


def choose_grid(extents: Sequence[float] | NDArray[np.float64]) -> tuple[int, ...]:
    """Choose the subsampling per axis: 1 below 16 voxels of extent, 2 below 48, else 4."""
    return tuple(1 if e < 16 else 2 if e < 48 else 4 for e in extents)


def probability_loss(y_true: Any, y_pred: Any) -> Any:
    """Binary cross-entropy over voxels whose target is not negative (StarDist's, without its metrics)."""
    import keras
    import tensorflow as tf

    y_true, y_pred = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
    known = tf.cast(y_true >= 0, tf.float32)[..., 0]
    entropy = keras.losses.binary_crossentropy(tf.maximum(y_true, 0.0), y_pred)
    return tf.reduce_sum(known * entropy) / (tf.reduce_sum(known) + 1e-7)


def distance_loss(n_rays: int, background_weight: float) -> Any:
    """Return StarDist's loss of the rays: mean absolute error weighted by the target probability.

    Parameters
    ----------
    n_rays : int
        The target's first channels; one more holds the weights.
    background_weight : float
        Weight of the distances' size where there is no cell.
    """
    import tensorflow as tf

    def loss(target: Any, y_pred: Any) -> Any:
        y_pred = tf.cast(y_pred, tf.float32)
        y_true, weight = tf.split(tf.cast(target, tf.float32), [n_rays, 1], axis=-1)
        known = tf.cast(weight >= 0, tf.float32)  # elsewhere nobody says that there is no cell
        weight = tf.maximum(weight, 0.0)
        error = tf.reduce_mean(weight * tf.abs(y_true - y_pred)) / (tf.reduce_mean(weight) + 1e-7)
        outside = tf.reduce_mean(known * (1 - weight) * tf.abs(y_pred)) / (tf.reduce_mean(known) + 1e-7)
        return error + background_weight * outside

    return loss


class TargetMaker:
    """Makes batches: crops, augmented, with StarDist's targets (normalised distance transform and rays).

    Batches may be made in several threads at once.
    """

    def __init__(self, patches: TrainingSet, config: Any, augmentation: Augmentation | None) -> None:
        self.patches, self.config, self.augmentation = patches, config, augmentation
        self.size = tuple(config.train_patch_size)
        self.rays: Any = None
        if config.n_dim == 3:
            from stardist.rays3d import rays_from_json

            self.rays = rays_from_json(config.rays_json)
        directions = directions_2d(config.n_rays) if self.rays is None else self.rays.vertices
        self.table = RayTable.of(directions, self.size, config.grid)

    def __call__(self, indices: NDArray[np.intp], rng: np.random.Generator | None) -> tuple[NDArray, tuple]:
        images, probabilities, targets = [], [], []
        for i in indices:
            x, _, y = self.patches.patch(int(i))
            room = [n - s for n, s in zip(x.shape, self.size, strict=True)]
            crop = self._crop(y, room, rng)
            x, y = x[crop], y[crop]
            if rng is not None and self.augmentation is not None:
                x, y = augment(x, y, self.augmentation, rng, voxel_size=self.patches.voxel_size)
            probability, target = self.targets(np.asarray(y))
            images.append(np.asarray(x, np.float32))
            probabilities.append(probability)
            targets.append(target)
        return np.stack(images)[..., np.newaxis], (
            np.stack(probabilities)[..., np.newaxis],
            np.stack(targets),
        )

    def _crop(
        self, labels: NDArray, room: Sequence[int], rng: np.random.Generator | None
    ) -> tuple[slice, ...]:
        """Return where to crop: anywhere with something annotated."""
        crop: tuple[slice, ...] = ()
        for _ in range(_CROP_TRIES):
            start = [int(rng.integers(r + 1)) if rng is not None else r // 2 for r in room]
            crop = tuple(slice(a, a + s) for a, s in zip(start, self.size, strict=True))
            if rng is None or not any(room) or (labels[crop] >= 0).any():
                break
        return crop

    def targets(self, labels: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return probability (grid shape) and rays with their weights (grid shape, rays + 1)."""
        coarse = tuple(slice(None, None, g) for g in self.config.grid)
        ignored = labels < 0
        if ignored.any():
            labels = np.where(ignored, 0, labels)
        probability = _depths(labels, getattr(self.config, "anisotropy", None), coarse)
        target = np.empty((*probability.shape, self.config.n_rays + 1), np.float32)
        target[..., :-1] = self._opencl(labels) if self.config.use_gpu else self.table.distances(labels)
        probability[ignored[coarse]] = -1
        target[..., -1] = probability
        return probability, target

    def _opencl(self, labels: NDArray) -> NDArray[np.float32]:
        """Return the rays as StarDist computes them on a GPU; it takes labels of 16 bits."""
        from skimage.segmentation import relabel_sequential
        from stardist.geometry import star_dist, star_dist3D

        small = relabel_sequential(labels)[0].astype(np.uint16)
        if self.rays is None:
            return np.asarray(star_dist(small, self.config.n_rays, mode="opencl", grid=self.config.grid))
        return np.asarray(star_dist3D(small, self.rays, mode="opencl", grid=self.config.grid))


def _depths(
    labels: NDArray, voxel_size: Sequence[float] | None, coarse: tuple[slice, ...]
) -> NDArray[np.float32]:
    """Return StarDist's object probability on a grid: the distance to the border over the cell's largest."""
    import edt
    from skimage.segmentation import relabel_sequential

    if labels.flat[0] > 0 and (labels == labels.flat[0]).all():
        return np.ones(labels[coarse].shape, np.float32)  # one cell fills the patch: it has no border
    if labels.max() > labels.size:
        labels = relabel_sequential(labels)[0]
    labels = np.ascontiguousarray(labels, np.uint32)
    depth = edt.edt(labels, anisotropy=voxel_size, parallel=1)
    largest = np.zeros(int(labels.max()) + 1, np.float32)
    _find_largest(labels.ravel(), depth.ravel(), largest)
    return depth[coarse] / (largest[labels[coarse]] + np.float32(1e-10))


@njit(cache=True, nogil=True)
def _find_largest(labels, values, largest):  # type: ignore[no-untyped-def]
    for i in range(len(labels)):
        largest[labels[i]] = max(largest[labels[i]], values[i])

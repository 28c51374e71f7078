"""StarDist: star-convex cells in 2D and 3D, trained lazily, predicted once, thresholded as often as wanted.

The folder of a model is one of StarDist's: ``stardist.models.StarDist3D(None, name, basedir)`` opens it, and
``thresholds.json`` in it is read and written as StarDist does. The architecture, the targets, the losses, the
non-maximum suppression and the rendering are StarDist's own.

References
----------
Schmidt et al., Cell detection with star-convex polygons, MICCAI 2018. Weigert et al., Star-convex polyhedra for
3D object detection and segmentation in microscopy, WACV 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.augment import Augmentation, augment
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.models import inference, training
from helpers.models.devices import prepare_tensorflow, quiet
from helpers.models.training import TrainingSettings, TrainingState


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

    rays: int = 96
    grid: tuple[int, ...] | None = None
    anisotropy: tuple[float, ...] | None = None
    n_filter_base: int = 32
    depth: int = 2
    kernel: int = 3
    features: int = 128
    patch_size: tuple[int, ...] | None = None
    dist_loss_weight: float = 0.2
    use_gpu_opencl: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("rays", 4), ("n_filter_base", 1), ("depth", 1), ("features", 0)):
            if getattr(self, name) < low:
                raise InputError(name, getattr(self, name), f"a whole number ≥ {low}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise InputError("kernel", self.kernel, "an odd whole number, such as 3")
        if self.grid is not None and any(g < 1 or g & (g - 1) for g in self.grid):
            raise InputError("grid", self.grid, "powers of two per axis, such as (1, 2, 2), or None")


@dataclass(frozen=True)
class StarPrediction:
    """What StarDist's network says of one image, before any threshold.

    Attributes
    ----------
    shape : tuple of int
        Of the image.
    probability : ndarray of float32
        Object probability on the grid.
    distance : ndarray of float32
        Mean length of the rays on the grid, in µm where the voxel size is known, else in voxels of the last axis.
    points : ndarray of int32, (n, D)
        Candidates: voxels on the grid with a probability above `floor`, in voxels of the image.
    scores : ndarray of float32, (n,)
        Their probabilities.
    distances : ndarray of float32, (n, rays)
        Their rays' lengths in voxels.
    floor : float
        Thresholds below it cannot be tried on this prediction.
    grid : tuple of int
        Subsampling.
    """

    shape: tuple[int, ...]
    probability: NDArray[np.float32]
    distance: NDArray[np.float32]
    points: NDArray[np.int32]
    scores: NDArray[np.float32]
    distances: NDArray[np.float32]
    floor: float
    grid: tuple[int, ...]

    def full_probability(self) -> NDArray[np.float32]:
        """Return the probability at the image's resolution, interpolated linearly between grid points."""
        return upsample(self.probability, self.grid, self.shape)

    def full_distance(self) -> NDArray[np.float32]:
        """Return the distance map at the image's resolution, interpolated linearly between grid points."""
        return upsample(self.distance, self.grid, self.shape)


def train(
    patches: TrainingSet,
    folder: str | Path,
    settings: StarDistSettings | None = None,
    *,
    augmentation: Augmentation | None = None,
    overwrite: bool = False,
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
    network = f"StarDist{n_dim}D"
    data = training.describe_set(patches, augmentation)
    state = training.open_folder(folder, network, settings, data, overwrite=overwrite)
    if state.status != "running":
        return load(folder), state
    config = _config(patches, settings, n_dim)
    prepare_tensorflow()
    training.seed_everything(settings.seed)
    model = _build(config, folder, settings)
    make_batch = _TargetMaker(patches, config, augmentation)
    state = training.fit(
        model, folder, make_batch, train=patches.train, validation=patches.validation,
        network=network, settings=settings, state=state, data=data,
    )  # fmt: skip
    return load(folder), state


def median_extents(patches: TrainingSet, n_patches: int = 32) -> NDArray[np.float64]:
    """Return the median size of the cells along each axis, in voxels.

    Of a cell cut by a patch's border only a lower bound is known, so this is the median of the Kaplan–Meier
    estimator: a thin patch does not make cells look flat, nor does leaving cut cells out make them look small.

    Raises
    ------
    InputError
        If the patches hold no cell.
    """
    from scipy.ndimage import find_objects

    chosen = patches.train[
        np.linspace(0, len(patches.train) - 1, min(n_patches, len(patches.train))).astype(int)
    ]
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
    return np.array([_censored_median(values, known) for values, known in columns])


def _censored_median(values: NDArray[np.intp], known: NDArray[np.bool_]) -> float:
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


def _config(patches: TrainingSet, settings: StarDistSettings, n_dim: int) -> Any:
    from stardist import Rays_GoldenSpiral
    from stardist.models import Config2D, Config3D

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


def _build(config: Any, folder: Path, settings: StarDistSettings) -> Any:
    from stardist.models import StarDist2D, StarDist3D

    kind = StarDist2D if config.n_dim == 2 else StarDist3D
    model = training.build_in_folder(kind, config, folder, settings.precision)
    _compile(model, settings.learning_rate)
    return model


def _compile(model: Any, learning_rate: float) -> None:
    """Compile with StarDist's losses; its metrics, which cost as much again, are left out."""
    import keras

    config = model.config
    model.keras_model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=[probability_loss, distance_loss(config.n_rays, config.train_background_reg)],
        loss_weights=list(config.train_loss_weights),
    )


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
        weight = tf.maximum(weight, 0.0)
        error = tf.reduce_mean(weight * tf.abs(y_true - y_pred)) / (tf.reduce_mean(weight) + 1e-7)
        return error + background_weight * tf.reduce_mean((1 - weight) * tf.abs(y_pred))

    return loss


class _TargetMaker:
    """Makes batches: crops, augmented, with StarDist's targets (normalised distance transform and rays)."""

    def __init__(self, patches: TrainingSet, config: Any, augmentation: Augmentation | None) -> None:
        self.patches, self.config, self.augmentation = patches, config, augmentation
        self.size = tuple(config.train_patch_size)
        self.rays: Any = None
        if config.n_dim == 3:
            from stardist.rays3d import rays_from_json

            self.rays = rays_from_json(config.rays_json)

    def __call__(self, indices: NDArray[np.intp], rng: np.random.Generator | None) -> tuple[NDArray, tuple]:
        images, probabilities, targets = [], [], []
        for i in indices:
            x, _, y = self.patches.patch(int(i))
            room = [n - s for n, s in zip(x.shape, self.size, strict=True)]
            start = [int(rng.integers(r + 1)) if rng is not None else r // 2 for r in room]
            crop = tuple(slice(a, a + s) for a, s in zip(start, self.size, strict=True))
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

    def targets(self, labels: NDArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return probability (grid shape) and rays with their weights (grid shape, rays + 1)."""
        from skimage.segmentation import relabel_sequential
        from stardist.geometry import star_dist, star_dist3D
        from stardist.utils import edt_prob

        coarse = tuple(slice(None, None, g) for g in self.config.grid)
        ignored = labels < 0
        # StarDist computes rays on 16 bit labels.
        labels = relabel_sequential(np.where(ignored, 0, labels).astype(np.int64))[0].astype(np.uint16)
        mode = "opencl" if self.config.use_gpu else "cpp"
        anisotropy = getattr(self.config, "anisotropy", None)
        if labels.min() == labels.max() and labels.flat[0] > 0:
            probability = np.ones(
                labels.shape, np.float32
            )  # one cell fills the patch: its transform has no zero
        else:
            probability = edt_prob(labels, anisotropy=anisotropy)
        probability = probability[coarse].astype(np.float32)
        if self.rays is not None:
            rays = np.asarray(star_dist3D(labels, self.rays, mode=mode, grid=self.config.grid))
        else:
            rays = np.asarray(star_dist(labels, self.config.n_rays, mode=mode, grid=self.config.grid))
        target = np.empty((*rays.shape[:-1], rays.shape[-1] + 1), np.float32)
        target[..., :-1], target[..., -1] = rays, probability
        if ignored.any():
            probability = np.where(ignored[coarse], -1, probability).astype(np.float32)
            target[..., -1] = probability
        return probability, target


def load(folder: str | Path, *, n_dim: int | None = None) -> Any:
    """Load a StarDist model, trained here or by StarDist itself, with the thresholds in its folder.

    Parameters
    ----------
    folder : str or Path
        Model folder.
    n_dim : int, optional
        2 or 3, if the model must have so many dimensions.

    Returns
    -------
    stardist.models.StarDist2D or StarDist3D
        ``model.thresholds`` holds ``prob`` and ``nms``.

    Raises
    ------
    InputError
        Naming the folder: if it, its configuration or its weights are missing, or its dimensions differ.
    """
    import json

    folder = Path(folder)
    inference.check_model_folder(folder)
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("n_dim")
    except ValueError as error:
        raise InputError(str(folder / "config.json"), str(error), "a readable JSON file") from None
    if found not in (2, 3):
        raise InputError("model folder", str(folder), "a StarDist model of 2 or 3 dimensions")
    prepare_tensorflow()
    from stardist.models import StarDist2D, StarDist3D

    return inference.load_csbdeep(StarDist2D if found == 2 else StarDist3D, folder, n_dim)


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
    training.write_json(folder / "thresholds.json", {"prob": float(prob), "nms": float(nms)})


def predict(
    model: Any,
    stack: NDArray,
    *,
    n_tiles: Sequence[int] | None = None,
    floor: float | None = None,
    voxel_size: Sequence[float] | None = None,
) -> StarPrediction:
    """Run the network once over a normalised image.

    Parameters
    ----------
    model : stardist.models.StarDist2D or StarDist3D
        From `train` or `load`.
    stack : ndarray, (Z, Y, X) or (Y, X)
        Normalised like the training set. A stack of one plane may be given to a 2D model.
    n_tiles : sequence of int, optional
        Tiles per axis; None: as few as fit the free memory.
    floor : float, optional
        Keep candidates above this probability; None: the model's own threshold. The higher, the less memory.
    voxel_size : sequence of float, optional
        (z, y, x) in µm, for the distance map.

    Returns
    -------
    StarPrediction

    Raises
    ------
    InputError
        If the model takes another number of dimensions or channels.
    """
    image = inference.check_image_for(model, stack)
    config = model.config
    if getattr(config, "backbone", "unet") != "unet":
        raise InputError(
            f"model {model.name}", f"backbone {config.backbone}", "a StarDist model with a U-Net backbone"
        )
    floor = float(model.thresholds.prob) if floor is None else float(floor)
    grid = tuple(config.grid)
    block = tuple(int(b) for b in model._axes_div_by("ZYX"[-config.n_dim :]))
    radius = tuple(
        inference.receptive_radius(
            config.unet_n_depth, k, grid=g, convolutions=config.unet_n_conv_per_depth, after=1
        )
        for k, g in zip(config.unet_kernel_size, grid, strict=True)
    )
    tiles = inference.check_n_tiles(n_tiles, config.n_dim) or inference.choose_n_tiles(
        image.shape, bytes_per_voxel=_bytes_per_voxel(config), radius=radius, block=block
    )
    padded = inference.pad_to_block(image, block)
    forward = inference.forward_function(model.keras_model)
    lengths = _ray_lengths(config, voxel_size)
    coarse_shape = tuple(-(-n // g) for n, g in zip(image.shape, grid, strict=True))

    def compute(tiles: tuple[int, ...]) -> StarPrediction:
        probability = np.empty(tuple(n // g for n, g in zip(padded.shape, grid, strict=True)), np.float32)
        distance = np.empty_like(probability)
        points, scores, distances = [], [], []
        for tile in inference.iterate_tiles(padded.shape, tiles, radius, block):
            prob, dist = forward(padded[tile.read])[:2]
            coarse = tile.coarse(grid)
            prob, dist = prob[..., 0][coarse.inside], dist[coarse.inside]
            probability[coarse.write] = prob
            distance[coarse.write] = dist @ lengths
            # The padding is no place for cells.
            valid = tuple(slice(max(0, n - w.start)) for n, w in zip(coarse_shape, coarse.write, strict=True))
            found = np.nonzero(prob[valid] > floor)
            points.append(np.stack(found, axis=1) + np.array([w.start for w in coarse.write]))
            scores.append(prob[valid][found])
            # StarDist's own guard: its renderer wants positive distances.
            distances.append(np.maximum(dist[valid][found], 1e-3))
        crop = tuple(slice(n) for n in coarse_shape)
        return StarPrediction(
            shape=image.shape,
            probability=np.ascontiguousarray(probability[crop]),
            distance=np.maximum(distance[crop], 0),
            points=(np.concatenate(points) * np.array(grid)).astype(np.int32),
            scores=np.concatenate(scores),
            distances=np.concatenate(distances),
            floor=floor,
            grid=grid,
        )

    return inference.retry_smaller(compute, padded.shape, tiles)


def _bytes_per_voxel(config: Any) -> float:
    coarse = 4.0 * (config.n_rays * 2 + 2 * config.net_conv_after_unet + 8 * config.unet_n_filter_base)
    fine = inference.unet_bytes_per_voxel(config.unet_n_filter_base) if max(config.grid) > 1 else 0.0
    return fine / 2 + coarse / float(np.prod(config.grid))


def _ray_lengths(config: Any, voxel_size: Sequence[float] | None) -> NDArray[np.float32]:
    """Return what to multiply the rays with for their mean length, in µm where the voxel size is known."""
    size = np.ones(config.n_dim) if voxel_size is None else np.asarray(voxel_size, float)[-config.n_dim :]
    if config.n_dim == 3:
        from stardist.rays3d import rays_from_json

        vertices = rays_from_json(config.rays_json).vertices
    else:
        from stardist.geometry.geom2d import ray_angles

        angles = ray_angles(config.n_rays)
        vertices = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return (np.linalg.norm(vertices * size, axis=1) / len(vertices)).astype(np.float32)


def instances(
    model: Any,
    prediction: StarPrediction,
    *,
    prob_thresh: float | None = None,
    nms_thresh: float | None = None,
    border: int = 2,
) -> tuple[NDArray[np.int32], dict[str, NDArray]]:
    """Turn a prediction into instances: threshold, non-maximum suppression, rendering; the network does not run.

    Parameters
    ----------
    model : stardist.models.StarDist2D or StarDist3D
        That made the prediction.
    prediction : StarPrediction
        From `predict`.
    prob_thresh, nms_thresh : float, optional
        Thresholds; None: the model's own.
    border : int
        No cell's centre lies so near the image's border, in grid points (StarDist's ``b``).

    Returns
    -------
    labels : ndarray of int32, shape of the image
        0 background, 1…n, the most probable cell first.
    details : dict
        ``points`` (n, D), ``prob`` (n,), ``dist`` (n, rays), in the order of the labels.

    Raises
    ------
    InputError
        If `prob_thresh` lies below the prediction's floor, where candidates were not kept.
    """
    prob_thresh = float(model.thresholds.prob) if prob_thresh is None else float(prob_thresh)
    nms_thresh = float(model.thresholds.nms) if nms_thresh is None else float(nms_thresh)
    if prob_thresh < prediction.floor:
        raise InputError(
            "prob_thresh", prob_thresh, f"at least {prediction.floor}, the floor of the prediction"
        )
    coarse_shape = np.array(prediction.probability.shape)
    where = prediction.points // np.array(prediction.grid)
    keep = prediction.scores > prob_thresh
    # An axis too short to have an interior keeps its border.
    margin = np.where(coarse_shape > 2 * border, border, 0)
    keep &= ((where >= margin) & (where < coarse_shape - margin)).all(axis=1)
    order = np.flatnonzero(keep)[np.argsort(-prediction.scores[keep], kind="stable")]
    points, scores, distances = (
        prediction.points[order],
        prediction.scores[order],
        prediction.distances[order],
    )
    if len(points):
        survive = _suppress(model, points, scores, distances, nms_thresh)
        points, scores, distances = points[survive], scores[survive], distances[survive]
    labels = _render(model, points, scores, distances, prediction.shape)
    return labels, {"points": points, "prob": scores, "dist": distances}


def _suppress(
    model: Any, points: NDArray, scores: NDArray, distances: NDArray, nms_thresh: float
) -> NDArray[np.bool_]:
    from stardist.nms import non_maximum_suppression_3d_inds, non_maximum_suppression_inds

    if model.config.n_dim == 2:
        return non_maximum_suppression_inds(
            distances, points, scores=scores, thresh=nms_thresh, verbose=False
        )
    from stardist.rays3d import rays_from_json

    rays = rays_from_json(model.config.rays_json)
    return non_maximum_suppression_3d_inds(
        distances, points, rays=rays, scores=scores, thresh=nms_thresh, verbose=False
    )


def _render(
    model: Any, points: NDArray, scores: NDArray, distances: NDArray, shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Draw the cells, the most probable over the others, and number those that are seen from 1 on."""
    if len(points) == 0:
        return np.zeros(shape, np.int32)
    if model.config.n_dim == 2:
        from stardist.geometry import polygons_to_label

        labels = polygons_to_label(distances, points, shape, prob=scores)
    else:
        from stardist.geometry import polyhedron_to_label
        from stardist.rays3d import rays_from_json

        rays = rays_from_json(model.config.rays_json)
        labels = polyhedron_to_label(distances, points, rays, shape, prob=scores, verbose=False)
    return np.asarray(labels, np.int32)


def upsample(coarse: NDArray[np.float32], grid: Sequence[int], shape: Sequence[int]) -> NDArray[np.float32]:
    """Interpolate a map on StarDist's grid to full resolution; grid point i lies on voxel ``i * grid``.

    Parameters
    ----------
    coarse : ndarray of float32
        Values at every ``grid``-th voxel.
    grid, shape : sequence of int
        Subsampling and size of the result, per axis.
    """
    result = coarse
    for axis, (g, n) in enumerate(zip(grid, shape, strict=True)):
        if g == 1:
            continue
        result = np.moveaxis(result, axis, 0)
        following = np.concatenate([result[1:], result[-1:]])
        fine = np.empty((len(result) * g, *result.shape[1:]), np.float32)
        for r in range(g):
            fine[r::g] = result if r == 0 else result * np.float32(1 - r / g) + following * np.float32(r / g)
        result = np.moveaxis(fine[:n], 0, axis)
    return np.ascontiguousarray(result[tuple(slice(n) for n in shape)], dtype=np.float32)

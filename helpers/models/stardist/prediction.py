"""What StarDist's network says of an image, predicted once, and the cells at any thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError
from helpers.models import inference

#: No cell's centre lies so near the image's border, in grid points (StarDist's ``b``).
_BORDER = 2


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
    _survivors: dict[float, tuple[float, NDArray[np.intp]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def full_probability(self) -> NDArray[np.float32]:
        """Return the probability at the image's resolution, interpolated linearly between grid points."""
        return upsample(self.probability, self.grid, self.shape)

    def full_distance(self) -> NDArray[np.float32]:
        """Return the distance map at the image's resolution, interpolated linearly between grid points."""
        return upsample(self.distance, self.grid, self.shape)


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
    block, radius, bytes_per_voxel = tiling(model)
    tiles = inference.check_n_tiles(n_tiles, config.n_dim) or inference.choose_n_tiles(
        image.shape, bytes_per_voxel=bytes_per_voxel, radius=radius, block=block
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


def tiling(model: Any) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """Return what tiles are a multiple of, how far the network looks (voxels along each axis), and bytes a voxel."""
    config = model.config
    block = tuple(int(b) for b in model._axes_div_by("ZYX"[-config.n_dim :]))
    radius = tuple(
        inference.receptive_radius(
            config.unet_n_depth, k, grid=g, convolutions=config.unet_n_conv_per_depth, after=1
        )
        for k, g in zip(config.unet_kernel_size, config.grid, strict=True)
    )
    return block, radius, _bytes_per_voxel(config)


def _bytes_per_voxel(config: Any) -> float:
    coarse = 4.0 * (config.n_rays * 2 + 2 * config.net_conv_after_unet + 8 * config.unet_n_filter_base)
    fine = inference.unet_bytes_per_voxel(config.unet_n_filter_base) if max(config.grid) > 1 else 0.0
    return fine / 2 + coarse / float(np.prod(config.grid))


def directions(config: Any) -> NDArray[np.float64]:
    """Return where a ray of length 1 ends, (rays, D), in voxels."""
    if config.n_dim == 3:
        from stardist.rays3d import rays_from_json

        return np.asarray(rays_from_json(config.rays_json).vertices, float)
    from stardist.geometry.geom2d import ray_angles

    angles = ray_angles(config.n_rays)
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def _ray_lengths(config: Any, voxel_size: Sequence[float] | None) -> NDArray[np.float32]:
    """Return what to multiply the rays with for their mean length, in µm where the voxel size is known."""
    size = np.ones(config.n_dim) if voxel_size is None else np.asarray(voxel_size, float)[-config.n_dim :]
    vertices = directions(config)
    return (np.linalg.norm(vertices * size, axis=1) / len(vertices)).astype(np.float32)


def instances(
    model: Any,
    prediction: StarPrediction,
    *,
    prob_thresh: float | None = None,
    nms_thresh: float | None = None,
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
    chosen = survivors(model, prediction, prob_thresh, nms_thresh)
    points, scores, distances = (
        prediction.points[chosen],
        prediction.scores[chosen],
        prediction.distances[chosen],
    )
    labels = render(model, points, scores, distances, prediction.shape)
    return labels, {"points": points, "prob": scores, "dist": distances}


def survivors(
    model: Any, prediction: StarPrediction, prob_thresh: float, nms_thresh: float
) -> NDArray[np.intp]:
    """Return the candidates that the suppression leaves, the most probable first.

    It goes from the most probable down, so what survives above a threshold does not depend on what lies below: the
    suppression for the lowest threshold so far, which takes most of the time, holds for all higher ones.
    """
    lowest, found = prediction._survivors.get(nms_thresh, (np.inf, np.zeros(0, np.intp)))
    if prob_thresh < lowest:
        coarse_shape = np.array(prediction.probability.shape)
        where = prediction.points // np.array(prediction.grid)
        keep = prediction.scores > prob_thresh
        # An axis too short to have an interior keeps its border.
        margin = np.where(coarse_shape > 2 * _BORDER, _BORDER, 0)
        keep &= ((where >= margin) & (where < coarse_shape - margin)).all(axis=1)
        found = np.flatnonzero(keep)[np.argsort(-prediction.scores[keep], kind="stable")]
        if len(found):
            distances, scores = prediction.distances[found], prediction.scores[found]
            found = found[_suppress(model, prediction.points[found], scores, distances, nms_thresh)]
        prediction._survivors[nms_thresh] = (prob_thresh, found)
    return found[prediction.scores[found] > prob_thresh]


def _suppress(
    model: Any, points: NDArray, scores: NDArray, distances: NDArray, nms_thresh: float
) -> NDArray[np.bool_]:
    if model.config.n_dim == 2:
        from stardist.nms import non_maximum_suppression_inds

        return non_maximum_suppression_inds(
            distances, points, scores=scores, thresh=nms_thresh, verbose=False
        )
    from helpers.models.stardist.suppression import suppress
    from helpers.models.stardist.table import surround

    rays = _rays(model)
    if not surround(rays):
        from stardist.nms import non_maximum_suppression_3d_inds

        return non_maximum_suppression_3d_inds(
            distances, points, rays=rays, scores=scores, thresh=nms_thresh, verbose=False
        )
    return suppress(distances, points, scores, rays, nms_thresh)


def _rays(model: Any) -> Any:
    from stardist.rays3d import rays_from_json

    return rays_from_json(model.config.rays_json)


def render(
    model: Any, points: NDArray, scores: NDArray, distances: NDArray, shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Draw the cells, the most probable over the others, and number those that are seen from 1 on."""
    if len(points) == 0:
        return np.zeros(shape, np.int32)
    if model.config.n_dim == 2:
        from stardist.geometry import polygons_to_label

        return np.asarray(polygons_to_label(distances, points, shape, prob=scores), np.int32)
    from helpers.models.stardist.rendering import draw
    from helpers.models.stardist.table import surround

    rays = _rays(model)
    if not surround(rays):
        from stardist.geometry import polyhedron_to_label

        labels = polyhedron_to_label(distances, points, rays, shape, prob=scores, verbose=False)
        return np.asarray(labels, np.int32)
    return draw(distances, points, rays, shape)


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
    result = result[tuple(slice(n) for n in shape)]
    # Never the map itself, on a grid of 1: what is made of it is worked on in place.
    return result.copy() if np.shares_memory(result, coarse) else np.ascontiguousarray(result, np.float32)

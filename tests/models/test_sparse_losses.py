"""What nobody annotated moves no weight: losses and their gradients under changes of the network's output there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from helpers.data.sparse_labels import foreground
from helpers.models import elephant, elephant_shapes, unet
from helpers.models.cellpose import slices
from helpers.models.cellpose import training as cellpose_training
from helpers.models.stardist import targets as star_targets
from tests.models.drawn_cells import draw_cells

PATCH = (8, 24, 24)
RAYS = 8


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    """Cells with two regions that nobody annotated, one through a cell's neighbourhood."""
    labels = draw_cells(PATCH, 6, np.random.default_rng(5))[1]
    labels[:, :10] = -1
    labels[:3, :, 15:] = -1
    assert (labels > 0).sum() > 100 and (labels == 0).sum() > 100
    return labels


def value_and_gradient(loss, target: np.ndarray, output: np.ndarray) -> tuple[float, np.ndarray]:
    import tensorflow as tf

    variable = tf.Variable(tf.constant(output))
    with tf.GradientTape() as tape:
        value = loss(tf.constant(target), variable)
    return float(value), np.asarray(tape.gradient(value, variable))


def check(
    loss, target: np.ndarray, output: np.ndarray, unknown: np.ndarray, gradient=value_and_gradient
) -> None:
    """Check that only what is known counts, and that it does."""
    rng = np.random.default_rng(1)
    before, slope = gradient(loss, target, output)
    assert np.isfinite(before) and not slope[unknown].any()
    assert np.abs(slope[~unknown]).max() > 0
    changed = output.copy()
    changed[unknown] = rng.uniform(0.1, 0.9, changed[unknown].shape)
    after, slope_after = gradient(loss, target, changed)
    assert after == before and np.array_equal(slope_after, slope)
    changed = output.copy()
    changed[~unknown] = rng.uniform(0.1, 0.9, changed[~unknown].shape)
    assert gradient(loss, target, changed)[0] != before


def output_like(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float32)


def test_stardist(labels: np.ndarray) -> None:
    from stardist.rays3d import Rays_GoldenSpiral

    config = SimpleNamespace(
        train_patch_size=PATCH, n_dim=3, n_rays=RAYS, grid=(1, 2, 2), anisotropy=(2, 1, 1), use_gpu=False,
        rays_json=Rays_GoldenSpiral(RAYS, anisotropy=(2, 1, 1)).to_json(),
    )  # fmt: skip
    maker = star_targets.TargetMaker(None, config, None)  # type: ignore[arg-type]
    probability, target = maker.targets(labels)
    unknown = labels[:, ::2, ::2] < 0
    shape = unknown.shape
    check(
        star_targets.probability_loss, probability[None, ..., None], output_like(1, *shape, 1), unknown[None]
    )
    # With a weight of the background much above StarDist's own, so that it would show.
    check(star_targets.distance_loss(RAYS, 0.1), target[None], output_like(1, *shape, RAYS), unknown[None])


def test_stardist_counts_full_labels_as_before(labels: np.ndarray) -> None:
    target, output = output_like(1, 4, 4, RAYS + 1), output_like(1, 4, 4, RAYS) + 1
    weight = target[..., -1:]
    found = value_and_gradient(star_targets.distance_loss(RAYS, 0.1), target, output)[0]
    error = (weight * np.abs(target[..., :-1] - output)).mean() / weight.mean()
    assert found == pytest.approx(error + 0.1 * ((1 - weight) * np.abs(output)).mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["bce_dice", "bce", "mse", "mae"])
def test_unet(labels: np.ndarray, kind: str) -> None:
    mask = foreground(labels, voxel_size=(2, 1, 1), boundary_width=1.0).astype(np.float32)[None, ..., None]
    check(unet.mask_loss(kind), mask, output_like(*mask.shape), mask[..., 0] < 0)


@pytest.mark.parametrize("kind", ["bce_dice", "bce", "mse", "mae"])
def test_drawn_background_weighs_as_much_as_drawn_cells(labels: np.ndarray, kind: str) -> None:
    mask = foreground(labels, voxel_size=(2, 1, 1), boundary_width=1.0).astype(np.float32)[None, ..., None]
    background = labels[None, ..., None] == 0
    marked = np.where(background, np.float32(unet.BACKGROUND), mask)
    output = output_like(*mask.shape)
    check(unet.mask_loss(kind, 3.0), marked, output, mask[..., 0] < 0)
    value, slope = value_and_gradient(unet.mask_loss(kind), mask, output)
    same, same_slope = value_and_gradient(unet.mask_loss(kind, 1.0), marked, output)
    assert same == pytest.approx(value) and np.allclose(same_slope, slope)
    if kind != "bce_dice":  # a mean over voxels, of which those of the background count three times
        times = np.where(background, 3.0, 1.0) * (mask >= 0)
        heavy = value_and_gradient(unet.mask_loss(kind, 3.0), marked, output)[1]
        assert np.allclose(heavy * times.sum(), slope * (mask >= 0).sum() * times, atol=1e-5)


def test_only_sparse_sets_weigh_background(labels: np.ndarray) -> None:
    def of(drawn: np.ndarray, sparse: bool) -> float:
        given = {"labels": drawn, "Y": drawn}
        patches = SimpleNamespace(
            settings={"sparse": {}} if not sparse else {"sparse": {"cells": 3}}, members=given, train=np.arange(2),
            read=lambda name, i: given[name],
        )  # fmt: skip
        return unet.background_weight(patches)  # type: ignore[arg-type]

    few = np.where((labels == 0) & (np.arange(labels.shape[2]) > 3), -1, labels)
    expected = (few > 0).sum() / (few == 0).sum()
    assert of(few, True) == pytest.approx(expected) and 1 < expected < 10
    assert of(few, False) == 1 and of(np.where(few > 0, 1, -1), True) == 10
    assert of(np.where(few > 0, -1, 0), True) == 1


def test_elephant(labels: np.ndarray) -> None:
    target = elephant_shapes.targets(labels)[None, ..., None]
    assert set(np.unique(target)) == {-1, 0, 1, 2}
    check(elephant.centre_loss, target, output_like(*target.shape[:-1], 3), target[..., 0] < 0)


def test_cellpose(labels: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("cellpose")
    patches = SimpleNamespace(
        is_2d=False, voxel_size=(2.0, 1.0, 1.0), patch=lambda i: (labels * 0.1, None, labels)
    )
    planes = slices.cut_slices(patches, np.array([0]), side_planes=False, max_planes=2000)  # type: ignore[arg-type]
    assert planes.sparse and len(planes.images) > 3
    _, targets = slices.make_batch(planes, np.arange(4), 1.0, 48, seed=7)
    assert set(np.unique(targets[:, 0])) == {-1, 0, 1}
    assert (targets[:, 0] < 0).mean() > 0.5  # beyond the plane of 24 × 24 nobody annotated either

    def gradient(loss, target, output):
        found = torch.tensor(output, requires_grad=True)
        value = loss(found, torch.tensor(target))
        value.backward()
        return float(value.detach()), np.moveaxis(found.grad.numpy(), 1, -1)

    unknown = targets[:, 0] < 0
    output = output_like(*targets.shape)

    def check_moved(loss, target, moved):
        return gradient(loss, target, np.moveaxis(moved, -1, 1).copy())

    check(cellpose_training.output_loss, targets, np.moveaxis(output, 1, -1).copy(), unknown, check_moved)

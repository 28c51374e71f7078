"""StarDist's targets: its own distances and probabilities, sooner."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stardist.geometry import star_dist, star_dist3D
from stardist.rays3d import Rays_GoldenSpiral, Rays_Octo
from stardist.utils import edt_prob

from helpers.models.stardist.rays import RayTable, directions_2d
from helpers.models.stardist.targets import TargetMaker
from tests.models.drawn_cells import draw_cells


def assert_all_but_few(same):
    """Allow for one in a thousand: StarDist rounds a step and its voxel together, in 32 bits."""
    assert np.sum(~same) <= 1 + 1e-3 * same.size


@st.composite
def patches(draw, n_dim):
    """Patches of cells, their numbers up to 16 bits, and a grid."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = tuple(draw(st.integers(1, n)) for n in (9, 40, 40)[-n_dim:])
    labels = draw_cells(shape, draw(st.integers(0, 8)), rng)[1]
    if draw(st.booleans()):  # cells everywhere
        labels += 1
    grid = tuple(draw(st.sampled_from([1, 2, 4])) for _ in shape)
    return np.where(labels > 0, labels + draw(st.sampled_from([0, 60_000])), 0), grid


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    patches(3),
    st.sampled_from([4, 18, 32]),
    st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 3, 2), (6.3, 1, 1.04), None]),
)
def test_distances_are_stardists_own_in_3d(patch, n_rays, anisotropy):
    labels, grid = patch
    rays = Rays_Octo(2) if anisotropy is None else Rays_GoldenSpiral(n_rays, anisotropy=anisotropy)
    ours = RayTable.of(rays.vertices, labels.shape, grid).distances(labels)
    theirs = np.asarray(star_dist3D(labels.astype(np.uint16), rays, grid=grid))
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    assert_all_but_few(ours == theirs)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(patches(2), st.sampled_from([4, 7, 32]))
def test_distances_are_stardists_own_in_2d(patch, n_rays):
    labels, grid = patch
    ours = RayTable.of(directions_2d(n_rays), labels.shape, grid).distances(labels)
    theirs = np.asarray(star_dist(labels.astype(np.uint16), n_rays, grid=grid))
    assert ours.shape == theirs.shape
    assert_all_but_few(np.isclose(ours, theirs, atol=1e-5))


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(patches(2), st.sampled_from([(1, 1), (3, 1)]), st.sampled_from([0, 2**30]))
def test_probabilities_are_stardists_own(patch, anisotropy, more):
    labels, grid = patch
    config = SimpleNamespace(
        n_dim=2, n_rays=8, grid=grid, anisotropy=anisotropy, use_gpu=False, train_patch_size=labels.shape
    )
    large = np.where(labels > 0, labels.astype(np.int64) + more, 0).astype(np.int32)
    probability, target = TargetMaker(None, config, None).targets(large)  # type: ignore[arg-type]
    if labels.min() == labels.max() > 0:
        expected = np.ones_like(probability)
    else:
        expected = edt_prob(labels.astype(np.uint16), anisotropy=anisotropy)[:: grid[0], :: grid[1]]
    np.testing.assert_allclose(probability, expected, rtol=1e-6)
    np.testing.assert_array_equal(target[..., -1], probability)


def test_a_ray_ends_at_the_next_cell_and_at_the_border():
    labels = np.zeros((1, 1, 8), int)
    labels[..., 2:5], labels[..., 5:] = 1, 2
    table = RayTable.of(np.array([[0, 0, 1.0], [0, 0, -1.0], [1.0, 0, 0]]), labels.shape, (1, 1, 1))
    found = table.distances(labels)[0, 0]
    assert found[:, 0].tolist() == [0, 0, 3, 2, 1, 3, 2, 1]
    assert found[:, 1].tolist() == [0, 0, 1, 2, 3, 1, 2, 3]
    assert found[:, 2].tolist() == [0, 0] + [1] * 6


@pytest.mark.parametrize("step", [0.5, 1.0, 1.7])
def test_rays_leave_the_array_for_any_length_of_a_step(step):
    labels = np.ones((3, 4, 5), int)
    directions = step * np.array([[1, 0, 0], [0, 0.6, -0.8], [-0.6, 0.8, 0]])
    found = RayTable.of(directions, labels.shape, (1, 1, 1)).distances(labels)
    assert (found > 0).all() and (found <= np.linalg.norm(labels.shape) + 2 * step).all()

"""Suppression and rendering of 3D stars: StarDist's own results, sooner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import set_num_threads

from helpers.models.stardist import rendering as star_rendering
from helpers.models.stardist import shapes as star_shapes
from helpers.models.stardist import suppression as star_suppression
from helpers.models.stardist import table as star_table
from tests.models.stars import make_candidates

RAYS = st.one_of(
    st.tuples(
        st.just("Rays_GoldenSpiral"),
        st.integers(5, 48),
        st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 3, 2), (6, 1, 1)]),
    ),
    st.sampled_from([("Rays_Tetra", 2, None), ("Rays_Octo", 2, None)]),
)


def make_rays(name, number, anisotropy):
    from stardist import rays3d

    if anisotropy is None:
        return getattr(rays3d, name)(number)
    return getattr(rays3d, name)(number, anisotropy=anisotropy)


def stardists_survivors(points, scores, distances, rays, threshold):
    from stardist.nms import non_maximum_suppression_3d_inds

    return non_maximum_suppression_3d_inds(
        distances, points, rays=rays, scores=scores, thresh=threshold, verbose=False
    )


@st.composite
def scattered_stars(draw):
    """Stars of any shape anywhere in a small image and at its border, on a grid."""
    rays = make_rays(*draw(RAYS))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = draw(st.integers(0, 12))
    grid = np.array(draw(st.sampled_from([(1, 1, 1), (1, 4, 4), (2, 2, 2)])))
    points = (rng.integers(0, (8, 24, 24), (n, 3)) // grid * grid).astype(np.int32)
    size = rng.uniform(1, 9, (n, 1))
    distances = (size * rng.uniform(0.7, 1.3, (n, len(rays)))).astype(np.float32)
    scores = rng.permutation(n).astype(np.float32) / 20
    return points, scores, distances, rays


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scattered_stars(), st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.8]))
def test_survivors_are_stardists(stars, threshold):
    points, scores, distances, rays = stars
    kept = star_suppression.suppress(distances, points, scores, rays, threshold)
    if len(points) == 0:
        assert kept.shape == (0,)
        return
    expected = stardists_survivors(*stars, threshold)
    for j in np.flatnonzero(kept != expected):
        # Allowed is only what its hulls decide otherwise than its count of voxels.
        assert _is_close(j, kept | expected, stars, threshold)


def _is_close(j, kept, stars, threshold):
    """Whether a star shares with a more probable one a part near the threshold, or that one's fate was such."""
    points, scores, distances, rays = stars
    measured = star_shapes.measure(distances, points, rays)
    low = measured.boxes[:, ::2].min(axis=0)
    shape = measured.boxes[:, 1::2].max(axis=0) - low + 1
    masks = [
        star_rendering.draw(distances[[k]], points[[k]] - low, rays, shape) > 0 for k in range(len(points))
    ]
    for i in np.flatnonzero(kept & (scores > scores[j])):
        part = (masks[i] & masks[j]).sum() / min(measured.volumes[i], measured.volumes[j])
        surface = min(measured.volumes[i], measured.volumes[j]) ** (-1 / 3)
        if abs(part - threshold) < 2 * surface * max(part, threshold):
            return True
    return False


@pytest.mark.parametrize(
    ("grid", "n_rays", "anisotropy"), [((1, 4, 4), 32, (2.0, 1.0, 1.0)), ((2, 4, 4), 24, (1.0, 1.0, 1.0))]
)
def test_of_a_tissues_cells_the_same_survive_as_with_stardist(grid, n_rays, anisotropy):
    common = ours = theirs = 0
    for seed in range(2):
        *stars, rays = make_candidates(grid=grid, n_rays=n_rays, anisotropy=anisotropy, seed=seed)
        points, scores, distances = stars
        for threshold in (0.1, 0.4):
            kept = star_suppression.suppress(distances, points, scores, rays, threshold)
            expected = stardists_survivors(points, scores, distances, rays, threshold)
            common += (kept & expected).sum()
            ours, theirs = ours + kept.sum(), theirs + expected.sum()
    assert theirs > 70
    assert common >= 0.99 * max(ours, theirs)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(scattered_stars())
def test_drawn_are_the_labels_of_stardist(stars):
    from stardist.geometry import polyhedron_to_label

    points, scores, distances, rays = stars
    shape = (8, 24, 24)
    order = np.argsort(-scores)
    labels = star_rendering.draw(distances[order], points[order], rays, shape)
    assert labels.dtype == np.int32 and labels.shape == shape
    if len(points):
        expected = polyhedron_to_label(
            distances[order], points[order], rays, shape, prob=scores[order], verbose=False
        )
        assert (labels != expected).sum() <= 1  # on the very surface, rounding decides


def test_one_star_survives_and_none_is_no_error():
    points, scores, distances, rays = make_candidates(most=1)
    assert star_suppression.suppress(distances, points, scores, rays, 0.1).tolist() == [True]
    assert star_suppression.suppress(distances[:0], points[:0], scores[:0], rays, 0.1).tolist() == []
    assert not star_rendering.draw(distances[:0], points[:0], rays, (4, 8, 8)).any()


def test_the_number_of_threads_changes_nothing():
    points, scores, distances, rays = make_candidates(most=2000, floor=0.2)
    results = []
    try:
        for threads in (1, 2):
            set_num_threads(threads)
            kept = star_suppression.suppress(distances, points, scores, rays, 0.3)
            order = np.flatnonzero(kept)[np.argsort(-scores[kept])]
            results.append((kept, star_rendering.draw(distances[order], points[order], rays, (16, 72, 72))))
    finally:
        set_num_threads(2)
    assert 10 < results[0][0].sum() < 1000
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_less_probable_stars_change_nothing_for_those_above():
    points, scores, distances, rays = make_candidates(most=1500, floor=0.2)
    above = scores > 0.85
    kept = star_suppression.suppress(distances, points, scores, rays, 0.3)
    alone = star_suppression.suppress(distances[above], points[above], scores[above], rays, 0.3)
    assert alone.sum() < kept.sum()
    np.testing.assert_array_equal(kept[above], alone)


def test_what_lies_beyond_the_table_is_the_same(monkeypatch):
    points, scores, distances, rays = make_candidates(most=300)
    kept = star_suppression.suppress(distances, points, scores, rays, 0.3)
    labels = star_rendering.draw(distances[kept], points[kept], rays, (16, 72, 72))
    monkeypatch.setattr(star_table, "_MOST_OFFSETS", 9**3)
    assert star_table.table_for(rays, (10, 20, 20)).reach == (4, 4, 4)
    np.testing.assert_array_equal(star_suppression.suppress(distances, points, scores, rays, 0.3), kept)
    small = star_rendering.draw(distances[kept], points[kept], rays, (16, 72, 72))
    assert labels.max() > 10
    np.testing.assert_array_equal(small, labels)


def test_rays_that_do_not_surround_the_centre_are_known():
    assert not star_table.surround(make_rays("Rays_GoldenSpiral", 4, (1, 1, 1)))
    assert star_table.surround(make_rays("Rays_GoldenSpiral", 5, (1, 1, 1)))
    assert star_table.surround(make_rays("Rays_GoldenSpiral", 96, (7, 1, 1)))
    assert star_table.surround(make_rays("Rays_Octo", 3, None))

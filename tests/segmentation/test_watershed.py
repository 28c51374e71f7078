"""The watershed against scikit-image's, voxel by voxel; ties are the only difference."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.segmentation import watershed as skimage_watershed

from helpers.errors import InputError
from helpers.segmentation.watershed import flood, watershed


def _problem(shape, *, levels=None, n_markers=20, filled=0.85, seed=0, smooth=2.0):
    """Return an elevation map, markers of a few voxels and a mask that covers a part of the volume."""
    rng = np.random.default_rng(seed)
    elevation = ndimage.gaussian_filter(rng.random(shape), smooth)
    if levels is not None:
        low, high = elevation.min(), elevation.max()
        elevation = np.floor((elevation - low) / (high - low) * (levels - 1e-9))
    markers = np.zeros(shape, np.int32)
    for k in range(n_markers):
        at = [int(rng.integers(s)) for s in shape]
        markers[tuple(slice(a, a + 2) for a in at)] = k + 1
    noise = ndimage.gaussian_filter(rng.random(shape), smooth)
    return elevation, markers, noise <= np.quantile(noise, filled)


def _reference(elevation, markers, mask):
    """Flood with a plain heap ordered by height, age and, where both are equal, by place in memory."""
    labels = np.where(mask, markers, 0)
    near = ndimage.generate_binary_structure(elevation.ndim, 1)
    steps = [s for s in np.argwhere(near) - 1 if s.any()]
    heap = [(elevation[tuple(at)], 0, *at) for at in np.argwhere(labels)]
    heapq.heapify(heap)
    age = 0
    while heap:
        level, _, *at = heapq.heappop(heap)
        for step in steps:
            to = tuple(at + step)
            if all(0 <= t < n for t, n in zip(to, mask.shape, strict=True)) and mask[to] and not labels[to]:
                age += 1
                labels[to] = labels[tuple(at)]
                heapq.heappush(heap, (max(elevation[to], level), age, *to))
    return labels


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
@pytest.mark.parametrize("shape", [(250, 260), (14, 60, 50)])
def test_equals_skimage_where_no_values_repeat(shape, dtype):
    elevation, markers, mask = _problem(shape)
    elevation = (elevation.ravel().argsort().argsort().reshape(shape) - 5.0 * (dtype != np.uint16)).astype(
        dtype
    )
    theirs = skimage_watershed(elevation, markers, mask=mask)
    ours = watershed(elevation, markers, mask)
    assert ours.dtype == np.int32
    assert np.array_equal(ours, theirs)
    assert len(np.unique(ours)) > 10
    descending = np.where(mask, markers, -1).astype(np.int32)
    flood(elevation.max() - elevation, descending, descending=True)
    assert np.array_equal(np.maximum(descending, 0), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [1, 2, 5, 200])
@pytest.mark.parametrize("shape", [(90, 80), (12, 25, 30)])
def test_plateaus_are_flooded_in_the_order_of_age(shape, levels):
    elevation, markers, mask = _problem(shape, levels=levels)
    theirs = _reference(elevation, markers, mask)
    for dtype in (np.float16, np.float32):
        assert np.array_equal(watershed(elevation.astype(dtype), markers, mask), theirs)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=7), elements=st.integers(-3, 3)),
    st.integers(0, 2**32 - 1),
)
def test_any_small_problem_equals_a_plain_heap(elevation, seed):
    rng = np.random.default_rng(seed)
    markers = np.where(rng.random(elevation.shape) < 0.15, rng.integers(1, 6, elevation.shape), 0)
    mask = rng.random(elevation.shape) < 0.8
    elevation = elevation.astype(np.float32)
    assert np.array_equal(watershed(elevation, markers, mask), _reference(elevation, markers, mask))


def _passes(elevation, markers, mask):
    """Return for every marker how high one must climb from it to every voxel (brute force)."""
    heights = []
    cross = ndimage.generate_binary_structure(elevation.ndim, 1)
    for marker in range(1, markers.max() + 1):
        height = np.where((markers == marker) & mask, elevation, np.inf)
        while True:
            lower = ndimage.minimum_filter(height, footprint=cross, mode="constant", cval=np.inf)
            lower = np.where(mask, np.minimum(height, np.maximum(elevation, lower)), np.inf)
            if np.array_equal(lower, height):
                break
            height = lower
        heights.append(height)
    return np.array(heights)


def test_no_voxel_outside_a_tie_differs_and_ties_are_counted(record_property):
    differing = ties = voxels = 0
    for seed in range(12):
        elevation, markers, mask = _problem((8, 24, 26), levels=60, n_markers=6, seed=seed, smooth=1.0)
        ours = watershed(elevation, markers, mask)
        theirs = skimage_watershed(elevation, markers, mask=mask)
        heights = np.sort(_passes(elevation, markers, mask), axis=0)
        tied = mask & (heights[0] == heights[1])
        assert np.array_equal(ours[~tied], theirs[~tied])
        differing += np.count_nonzero(ours != theirs)
        ties += np.count_nonzero(tied & (markers == 0))
        voxels += np.count_nonzero(mask)
    record_property("voxels in a tie", ties / voxels)
    record_property("voxels that differ", differing / voxels)
    assert ties > 0
    assert differing < 0.02 * voxels


@pytest.mark.parametrize("elevation_of", ["noise", "distance"])
def test_dense_tissue_differs_from_skimage_in_few_ties(elevation_of, record_property):
    """At 85 % foreground; single-precision noise hardly repeats, distances to markers do all the time."""
    elevation, markers, mask = _problem((22, 128, 128), n_markers=200)
    if elevation_of == "distance":
        elevation = ndimage.distance_transform_edt(markers == 0, sampling=(3, 0.5, 0.5))
    elevation = elevation.astype(np.float32)
    ours, theirs = watershed(elevation, markers, mask), skimage_watershed(elevation, markers, mask=mask)
    differing = float((ours != theirs).mean())
    record_property("voxels that differ", differing)
    assert differing <= (0 if elevation_of == "noise" else 0.01)


def test_descent_differs_only_where_heights_are_equal(record_property):
    """On integers without ties it is exact; with them what is equally high goes to one or the other neighbour."""
    elevation, markers, mask = _problem((14, 100, 100), n_markers=60)
    ranks = elevation.ravel().argsort().argsort().reshape(elevation.shape).astype(np.int32)
    for heights, most in ((ranks, 0), ((ranks // 70).astype(np.uint16), 0.01)):
        aged = np.where(mask, markers, -1).astype(np.int32)
        descended = aged.copy()
        flood(heights, aged)
        flood(heights, descended, by_descent=True)
        differing = float((aged != descended).mean())
        record_property("voxels that differ", differing)
        assert differing <= most
        assert np.array_equal(aged > 0, descended > 0)


def test_large_and_small_components_in_parallel_equal_one_flood():
    """Components above and below 65,536 voxels take different roads, and all run beside each other."""
    elevation, markers, _ = _problem((4, 600, 400), n_markers=400)
    mask = np.ones(elevation.shape, bool)
    mask[:, 200] = mask[:, 400] = False
    mask[:, 400:, ::20] = False
    mask[:, 420:600:20] = False
    sizes = np.bincount(ndimage.label(mask)[0].ravel())[1:]
    assert (sizes > 65_536).sum() == 2
    assert (sizes < 65_536).sum() > 100
    assert np.array_equal(
        watershed(elevation, markers, mask), skimage_watershed(elevation, markers, mask=mask)
    )


def test_mask_torn_to_shreds():
    elevation, markers, _ = _problem((10, 60, 60), n_markers=300)
    mask = np.random.default_rng(1).random(elevation.shape) < 0.5
    assert np.array_equal(
        watershed(elevation, markers, mask), skimage_watershed(elevation, markers, mask=mask)
    )


def test_marker_outside_the_mask_counts_for_nothing_and_what_no_marker_reaches_stays_0():
    elevation = np.zeros((5, 9))
    markers = np.zeros((5, 9), int)
    markers[2, 1], markers[2, 4] = 7, 8
    mask = np.ones((5, 9), bool)
    mask[:, 4] = False
    labels = watershed(elevation, markers, mask)
    assert (labels[:, :4] == 7).all()
    assert (labels[:, 4:] == 0).all()
    assert (watershed(elevation, markers)[:, 6:] == 8).all()


def test_both_zeros_are_one_value_and_negative_values_are_in_order():
    row = np.array([[5.0, -0.0, 0.0, -0.0, 0.0, -0.0, 5.0]])
    markers = np.array([[1, 0, 0, 0, 0, 0, 2]])
    assert watershed(row, markers).tolist() == [[1, 1, 1, 1, 2, 2, 2]]
    row = np.array([[-3.0, -1.0, -2.0, -2.5, -1.5, -3.0]], np.float32)
    markers = np.array([[1, 0, 0, 0, 0, 2]])
    assert watershed(row, markers).tolist() == [[1, 1, 2, 2, 2, 2]]


@pytest.mark.parametrize("dtype", [np.uint64, np.float64])
def test_values_at_the_ends_of_64_bits(dtype):
    low, high = (0, 2**64 - 2**40) if dtype == np.uint64 else (-1.7e308, 1.7e308)
    row = np.array([[low, high, high // 2 + low // 2, low, high]], dtype)
    assert watershed(row, np.array([[0, 0, 0, 3, 0]])).tolist() == [[3] * 5]
    assert watershed(row, np.array([[1, 0, 0, 2, 0]])).tolist() == [[1, 1, 2, 2, 2]]


def test_more_markers_than_16_bits():
    markers = np.arange(1, 300 * 300 + 1, dtype=np.uint32).reshape(300, 300)
    wide = np.zeros((300, 600), np.uint32)
    wide[:, ::2] = markers
    labels = watershed(np.zeros(wide.shape, np.float32), wide)
    assert labels.max() == 90_000
    assert len(np.unique(labels)) == 90_000


def test_inputs_stay_as_they_were_and_empty_ones_work():
    elevation, markers, mask = _problem((40, 40))
    before = elevation.copy(), markers.copy(), mask.copy()
    watershed(elevation, markers, mask)
    for array, copy in zip((elevation, markers, mask), before, strict=True):
        assert np.array_equal(array, copy)
    assert watershed(np.zeros((0, 5)), np.zeros((0, 5), int)).shape == (0, 5)
    assert not watershed(elevation, np.zeros((40, 40), int)).any()
    assert not watershed(elevation, markers, np.zeros((40, 40), bool)).any()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"elevation": np.zeros(4)}, "elevation"),
        ({"markers": np.zeros((4, 5), int)}, "markers"),
        ({"markers": np.zeros((4, 4))}, "markers"),
        ({"markers": np.full((4, 4), -1)}, "markers"),
        ({"markers": np.full((4, 4), 2**31)}, "markers"),
        ({"mask": np.ones((4, 5), bool)}, "mask"),
        ({"elevation": np.full((4, 4), np.nan)}, "elevation"),
        ({"elevation": np.array(np.where(np.eye(4) > 0, -np.nan, 0.0))}, "elevation"),
    ],
)
def test_bad_input_is_named(change, name):
    inputs = {"elevation": np.zeros((4, 4)), "markers": np.zeros((4, 4), int), "mask": None} | change
    with pytest.raises(InputError) as error:
        watershed(**inputs)
    assert error.value.name == name

"""Slices joined by overlap."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.models.stitching import stitch_slices


def test_columns_of_cells_keep_their_label_and_new_ones_begin():
    plane = np.zeros((6, 20), int)
    plane[1:5, 0:5], plane[1:5, 6:12] = 7, 3  # numbers of a slice mean nothing to the next
    shifted = np.zeros_like(plane)
    shifted[1:5, 1:6], shifted[1:5, 15:19] = 1, 2
    stack = stitch_slices([plane, shifted, np.zeros_like(plane), shifted])
    assert stack.dtype == np.int32
    assert stack[0, 2, 2] == stack[1, 2, 2] != stack[0, 2, 8]
    assert stack[1, 2, 16] not in np.unique(stack[0])
    assert stack[3, 2, 2] not in np.unique(stack[1])  # an empty slice ends a cell
    assert set(np.unique(stack)) == set(range(6))


def test_the_best_overlap_wins_and_the_threshold_counts():
    below = np.zeros((1, 12), int)
    below[0, :8] = 1
    above = np.zeros((1, 12), int)
    above[0, :6], above[0, 6:8] = 1, 2  # two over one: only the larger goes on
    stack = stitch_slices([below, above])
    assert stack[1, 0, 0] == stack[0, 0, 0] != stack[1, 0, 7]
    assert stitch_slices([below, above], 0.9)[1, 0, 0] != stack[0, 0, 0]
    with pytest.raises(InputError, match="stitch_threshold"):
        stitch_slices([below], 0)


def test_planes_are_joined_by_the_rule_of_cellpose():
    from cellpose import utils
    from scipy import ndimage

    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(6, 60, 60)), (0.8, 3, 3))
    planes = np.stack([ndimage.label(plane > 0.02)[0] for plane in noise]).astype(np.int32)  # type: ignore[index]
    expected = utils.stitch3D(planes.copy(), stitch_threshold=0.2)
    assert expected.max() > 20
    np.testing.assert_array_equal(stitch_slices(planes, 0.2), expected)

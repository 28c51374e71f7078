"""Smoothing of labels: steps go, cells stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.segmentation.smoothing import smooth_labels


def _steps() -> np.ndarray:
    """Two cells that touch at y = 10, the outer edge of one with teeth of a voxel."""
    labels = np.zeros((8, 24, 24), np.int32)
    labels[2:6, 4:10, 4:20] = 1
    labels[2:6, 10:16, 4:20] = 5
    labels[2:6, 16, 4:20:2] = 5
    return labels


def test_teeth_go_and_flat_edges_stay() -> None:
    labels = _steps()
    smooth = smooth_labels(labels, 1.0)
    middle = smooth[3:5, :, 8:16]
    assert set(np.unique(smooth)) == {0, 1, 5}
    assert (middle[:, 5:10] == 1).all() and (middle[:, 10:15] == 5).all(), "no gap between cells that touch"
    edge = smooth[4, 16, 6:18]
    assert len(np.unique(edge)) == 1, "along the edge every other voxel stood out"
    change = np.count_nonzero(smooth > 0) / np.count_nonzero(labels)
    assert 0.85 < change < 1.1


def test_nothing_is_changed_by_zero_and_small_cells_survive() -> None:
    labels = _steps()
    labels[7, 22, 22] = 9
    assert np.array_equal(smooth_labels(labels, 0), labels)
    assert (smooth_labels(labels, 2.0) == 9).any()


def test_a_negative_width_is_refused() -> None:
    with pytest.raises(InputError, match="smooth_labels = -1"):
        smooth_labels(_steps(), -1)

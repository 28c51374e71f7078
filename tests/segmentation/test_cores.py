"""Stars reduced to cores before a carved foreground, and its gaps closed again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from helpers.segmentation.cores import close_gaps, star_cores

SPACING = (2.0, 0.5, 0.5)


def _cores(stars: np.ndarray, foreground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stars' cores before components that need not be grown."""
    cells = np.asarray(ndimage.label(foreground)[0], np.int32)  # type: ignore[index]
    return star_cores(stars, cells, foreground, SPACING[-stars.ndim :])


def _boxes() -> tuple[np.ndarray, np.ndarray]:
    """Two cells with a gap of two voxels between them, and one star over each."""
    foreground = np.zeros((5, 20, 42), bool)
    foreground[:, 2:18, 2:20] = foreground[:, 2:18, 22:40] = True
    stars = np.zeros(foreground.shape, np.int32)
    stars[:, 4:16, 4:24] = 1  # reaches into the other cell
    stars[:, 4:16, 26:38] = 2
    return foreground, stars


def test_a_cell_with_one_star_is_a_seed_of_that_star() -> None:
    foreground, stars = _boxes()
    cores, unseen = _cores(stars, foreground)
    assert not unseen.any()
    np.testing.assert_array_equal(cores[..., :21], foreground[..., :21])
    np.testing.assert_array_equal(cores[..., 21:], 2 * foreground[..., 21:])


def test_two_stars_share_a_cell_that_neither_explains() -> None:
    foreground = np.zeros((5, 20, 42), bool)
    foreground[:, 2:18, 2:40] = True
    stars = np.zeros(foreground.shape, np.int32)
    stars[:, 4:16, 4:18], stars[:, 4:16, 24:38] = 1, 2
    cores, _ = _cores(stars, foreground)
    for label in (1, 2):
        assert 0 < np.sum(cores == label) < np.sum(stars == label), "its core"
        assert (stars[cores == label] == label).all()


def test_a_cell_that_one_star_explains_is_not_divided() -> None:
    foreground, stars = _boxes()
    stars[:, 4:16, 16:20], stars[:, 4:16, 20:24] = 3, 0  # StarDist says twice what the U-Net says once
    stars[:, 3:17, 3:16] = 1
    cores, _ = _cores(stars, foreground)
    assert set(np.unique(cores)) == {0, 1, 2}
    np.testing.assert_array_equal(cores[..., :21], foreground[..., :21])


def test_poor_stars_explain_less_than_good_ones_must() -> None:
    foreground = np.zeros((4, 20, 140), bool)
    stars = np.zeros(foreground.shape, np.int32)
    for k in range(7):
        foreground[:, 2:18, 20 * k + 1 : 20 * k + 19] = True
        stars[:, 2:18, 20 * k + 1 : 20 * k + 8] = k + 1  # seven of eighteen columns: IoU 0.39
    stars[:, 2:18, 130:139] = 8  # the last cell has two
    cores, _ = _cores(stars, foreground)
    assert set(np.unique(cores[..., 121:])) == {0, 8}, "the better one, as good as the others usually are"
    for k in range(6):
        stars[:, 2:18, 20 * k + 1 : 20 * k + 19] = k + 1  # stars that are alone fit perfectly
    cores, _ = _cores(stars, foreground)
    assert set(np.unique(cores[..., 121:])) == {0, 7, 8}, "neither is as good as that: it is two cells"


def test_a_star_that_the_foreground_has_not_seen_keeps_its_shape() -> None:
    foreground, stars = _boxes()
    foreground[..., 22:] = False
    cores, unseen = _cores(stars, foreground)
    assert (unseen == (stars == 2)).all()
    assert ((cores == 2) == (stars == 2)).all()


@pytest.mark.parametrize("shape", [(4, 8, 8), (8, 8)])
def test_no_star_no_core(shape: tuple[int, ...]) -> None:
    cores, unseen = _cores(np.zeros(shape, np.int32), np.ones(shape, bool))
    assert not cores.any()
    assert not unseen.any()


def test_missing_ids_are_no_stars() -> None:
    foreground, stars = _boxes()
    stars[stars == 2] = 70_000
    cores, _ = _cores(stars, foreground)
    assert set(np.unique(cores)) == {0, 1, 70_000}


def test_gaps_are_closed_and_outer_borders_stay() -> None:
    foreground, _ = _boxes()
    closed = close_gaps(foreground, 0.5, SPACING)
    assert closed[:, 4:16, 20:22].all(), "the gap is filled"
    outside = np.ones(foreground.shape, bool)
    outside[:, 2:18, 2:40] = False
    assert not closed[outside].any(), "nothing is added beyond the cells"
    wide = foreground.copy()
    wide[..., 18:24] = False
    np.testing.assert_array_equal(close_gaps(wide, 0.5, SPACING), wide)


def test_crumbs_of_a_star_are_no_cells_of_their_own() -> None:
    foreground, stars = _boxes()
    foreground[:, 4:16, 12] = False  # the first cell falls into two: a crumb at the star's left end
    foreground[:, 2:4, :] = foreground[:, 16:18, :] = False
    foreground[..., 2:5] = False
    foreground[..., 8:12] = False
    cores, _ = _cores(stars, foreground)
    assert (cores[:, 4:16, 5:8] == 1).all(), "it is a seed of its star"
    large = np.zeros_like(foreground)
    large[:, 4:16, 4:12] = large[:, 4:16, 13:24] = True
    cores, _ = _cores(stars, large)
    assert not cores[:, 4:16, 4:12].any(), "half of a star is a cell of its own"

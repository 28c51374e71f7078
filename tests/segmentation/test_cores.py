"""Stars reduced to cores before a carved foreground, and its gaps closed again."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.segmentation.cores import close_gaps, star_cores

SPACING = (2.0, 0.5, 0.5)


def _boxes() -> tuple[np.ndarray, np.ndarray]:
    """Two cells with a gap of two voxels between them, and one star over each."""
    foreground = np.zeros((5, 20, 42), bool)
    foreground[:, 2:18, 2:20] = foreground[:, 2:18, 22:40] = True
    stars = np.zeros(foreground.shape, np.int32)
    stars[:, 4:16, 4:24] = 1  # reaches into the other cell
    stars[:, 4:16, 26:38] = 2
    return foreground, stars


def test_a_core_lies_in_the_component_that_holds_most_of_its_star() -> None:
    foreground, stars = _boxes()
    cores, unseen = star_cores(stars, foreground, SPACING)
    assert not unseen.any()
    assert set(np.unique(cores)) == {0, 1, 2}
    assert (cores[..., 20:] != 1).all(), "the overhang into the neighbour is no seed"
    for label in (1, 2):
        assert 0 < np.sum(cores == label) < np.sum(stars == label)
        assert (stars[cores == label] == label).all()


def test_a_star_that_the_foreground_has_not_seen_keeps_its_shape() -> None:
    foreground, stars = _boxes()
    foreground[..., 22:] = False
    cores, unseen = star_cores(stars, foreground, SPACING)
    assert (unseen == (stars == 2)).all()
    assert ((cores == 2) == (stars == 2)).all()


@pytest.mark.parametrize("shape", [(4, 8, 8), (8, 8)])
def test_no_star_no_core(shape: tuple[int, ...]) -> None:
    cores, unseen = star_cores(np.zeros(shape, np.int32), np.ones(shape, bool), SPACING[-len(shape) :])
    assert not cores.any()
    assert not unseen.any()


def test_missing_ids_are_no_stars() -> None:
    foreground, stars = _boxes()
    stars[stars == 2] = 70_000
    cores, _ = star_cores(stars, foreground, SPACING)
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
    cores, _ = star_cores(stars, foreground, SPACING)
    assert (cores[:, 4:16, 5:8] == 1).all(), "it is a seed of its star"
    large = np.zeros_like(foreground)
    large[:, 4:16, 4:12] = large[:, 4:16, 13:24] = True
    cores, _ = star_cores(stars, large, SPACING)
    assert not cores[:, 4:16, 4:12].any(), "half of a star is a cell of its own"

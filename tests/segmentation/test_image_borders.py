"""The image divides cells in which two stars lie, and joins those that it shows no border between."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.segmentation.borders import BorderScale
from helpers.segmentation.image_borders import follow_image
from tests.touching_cells import tissue


def hidden(image: np.ndarray, labels: np.ndarray, a: int, b: int) -> np.ndarray:
    """Return the image without the border between two cells beside each other."""
    there = (labels == a) | (labels == b)
    y, x = (np.unique(np.nonzero(there)[axis]) for axis in (1, 2))
    image = image.copy()
    middle = x[len(x) // 2]
    image[1:-1, y[1] : y[-1], middle - 2 : middle + 2] = 100.0
    return image


@pytest.mark.parametrize("border", [180.0, 40.0])
def test_a_cell_with_two_stars_is_divided_where_the_image_shows_a_border(border: float) -> None:
    labels, image = tissue(border)
    merged = np.where(labels == 9, 8, labels)
    ties = follow_image(merged, labels, image, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(merged, labels)
    assert len(ties) == 0


def test_cells_are_joined_where_the_image_shows_no_membrane() -> None:
    labels, image = tissue(180.0)
    expected = np.where(labels == 9, 8, labels)
    image = hidden(image, labels, 8, 9)
    found = labels.copy()
    assert follow_image(found, labels, image, (1.0, 1.0, 1.0)).tolist() == [[8, 9]]
    np.testing.assert_array_equal(found, expected)
    assert follow_image(expected, labels, image, (1.0, 1.0, 1.0)).tolist() == [], (
        "two stars divide nothing there"
    )
    np.testing.assert_array_equal(found, expected)


def test_nuclei_that_touch_without_a_gap_stay_two() -> None:
    labels, image = tissue(40.0)
    found = labels.copy()
    follow_image(found, labels, hidden(image, labels, 8, 9), (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(found, labels)


def test_without_borders_in_the_image_the_networks_word_stands() -> None:
    labels, image = tissue(100.0)
    merged = np.where(labels == 9, 8, labels)
    for found in (merged, labels):
        before = found.copy()
        follow_image(found, labels, image, (1.0, 1.0, 1.0))
        np.testing.assert_array_equal(found, before)
    few = np.where(labels <= 4, labels, 0)
    before = few.copy()
    follow_image(few, few.copy(), tissue(180.0)[1], (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(few, before, "four cells cannot say what a border looks like")
    empty = np.zeros_like(labels)
    assert len(follow_image(empty, empty, image, (1.0, 1.0, 1.0))) == 0


def test_a_star_whose_number_is_another_cells_is_no_seed() -> None:
    labels, image = tissue(180.0)
    stars = np.where(labels == 9, 20, labels)
    merged = np.where(labels == 9, 8, labels)
    before = merged.copy()
    follow_image(merged, stars, image, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(merged, before)


def test_a_new_cell_with_two_stars_becomes_theirs() -> None:
    labels, image = tissue(180.0)
    stars = np.where(labels > 15, 0, labels)
    merged = np.where((labels == 8) | (labels == 9), 40, labels)
    follow_image(merged, stars, image, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(merged, labels)


def test_planes_and_other_numbers_give_the_same_cells() -> None:
    labels, image = tissue(180.0, n_slices=1)
    plane, seen = np.where(labels == 9, 8, labels)[1], labels[1]
    found = plane.copy()
    follow_image(found, seen, image[1], (0.5, 0.5))
    np.testing.assert_array_equal(found, seen)
    turned = np.concatenate([[0], 1 + np.random.default_rng(3).permutation(30)]).astype(np.int32)
    other = turned[plane]
    follow_image(other, turned[seen], image[1], (0.5, 0.5))
    assert len(np.unique(np.stack([found, other]).reshape(2, -1), axis=1).T) == 31


def test_a_part_of_a_frame_is_read_on_the_scale_of_the_whole() -> None:
    labels, image = tissue(180.0)
    part = np.where(labels <= 4, labels, 0)
    merged = np.where(part == 2, 1, part)
    follow_image(merged, part, image, (1.0, 1.0, 1.0), scale=BorderScale(0.0, 80.0, True))
    np.testing.assert_array_equal(merged, part)

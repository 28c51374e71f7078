"""Cells are found by the places that another program counts, bent cells by their centres."""

from __future__ import annotations

import numpy as np

from helpers.tracking.places import labels_at

SIZE = (1, 40, 40)


def ring_and_ball() -> np.ndarray:
    """A C whose centre lies in its opening (label 7), and a ball beside it (label 3)."""
    y, x = np.mgrid[:40, :40]
    radius = np.hypot(y - 12, x - 12)
    frame = np.zeros(SIZE, np.int32)
    frame[0][(radius > 6) & (radius < 10) & (x < 16)] = 7
    frame[0][np.hypot(y - 30, x - 30) < 4] = 3
    return frame


def found(*places: tuple[float, float, float]) -> list[int]:
    frame = ring_and_ball()
    return labels_at(lambda t: frame, np.zeros(len(places), int), np.array(places, float), SIZE).tolist()


def test_a_place_in_a_cell_is_that_cell() -> None:
    assert found((0, 30.4, 29.6), (0, 12, 4)) == [3, 7]


def test_a_bent_cell_is_found_by_its_centre_outside_of_it() -> None:
    frame = ring_and_ball()
    centre = np.argwhere(frame == 7).mean(axis=0)
    assert frame[tuple(np.rint(centre).astype(int))] == 0, "the centre lies in the opening"
    assert found(tuple(centre)) == [7]
    assert found(tuple(centre + np.array([0, 0, 1]))) == [7], "another program rounds"


def test_background_far_from_any_centre_and_places_outside_are_no_cell() -> None:
    assert found((0, 20, 36), (0, -3, 5), (0, 5, 40)) == [0, 0, 0]


def test_a_cell_that_is_taken_is_not_given_twice() -> None:
    centre = np.argwhere(ring_and_ball() == 7).mean(axis=0)
    assert found((0, 12, 4), tuple(centre)) == [7, 0]

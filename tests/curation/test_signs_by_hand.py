"""Yardsticks and scores of suspects worked out by hand: what is odd, what is near, what is short, and at whose border."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from helpers.curation.suspects import tracks as suspects
from helpers.curation.suspects.signs import Cells, oddness, together
from helpers.tracking.tracks import Tracks

Row = tuple[int, float, float]


def cells(rows: Sequence[Row], links: Sequence[tuple[int, int]] = (), *, shape=(8, 1, 101, 101), size=np.pi * 16, **more) -> Cells:  # fmt: skip
    """Return cells (frame, y, x) of 8 µm in diameter, with ids from 10 and labels from 1, in a picture of 100 × 50 µm."""
    objects = pd.DataFrame(rows, columns=["frame", "y", "x"]).assign(area_um2=size, **more)
    objects.insert(0, "id", np.arange(len(rows)) + 10)
    objects["label"] = np.arange(len(rows)) + 1
    table = pd.DataFrame(np.reshape(links, (-1, 2)) + 10, columns=["source", "target"], dtype=int)
    return Cells(Tracks(objects, table), shape, (2.0, 1.0, 0.5))


def signs(found: Cells, kind: str) -> list:
    return [sign for sign in suspects.signs(found) if sign.kind == kind]


# ---- yardsticks ------------------------------------------------------------------------------------------


def test_oddness_counts_robust_deviations_beyond_three() -> None:
    """Median 10, median deviation 1: a standard deviation is 1.4826; three more than three are odd by three in four."""
    values = np.array([9.0, 10.0, 11.0, 9.0, 11.0, 10 + 6 * 1.4826, 10 - 9 * 1.4826, 10 + 3 * 1.4826])
    np.testing.assert_allclose(oddness(values, centre=10.0)[:5], 0)
    spread = 1.4826 * np.median(np.abs(values - 10))
    expected = 1 - 0.25 ** (np.maximum(np.abs(values - 10) / spread - 3, 0) / 3)
    np.testing.assert_allclose(oddness(values, centre=10.0), expected)
    even = np.array([9.0, 11.0] * 20 + [10 + 6 * 1.4826])
    assert oddness(even, centre=10.0)[-1] == pytest.approx(0.75)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 50.0])
def test_oddness_has_no_unit(factor: float) -> None:
    values = np.random.default_rng(0).normal(5, 1, 60)
    values[3] = 30
    np.testing.assert_allclose(oddness(values * factor), oddness(values), atol=1e-9)
    np.testing.assert_allclose(oddness(values + 100), oddness(values), atol=1e-9)
    assert oddness(values)[3] > 0.99


def test_a_floor_and_missing_values() -> None:
    values = np.array([1.0, 1.0, 1.0, 1.5, np.nan, np.inf])
    assert oddness(values)[3] == pytest.approx(1), "of equal values every other is odd"
    assert oddness(values, floor=0.5)[3] == 0, "unless outlines alone make them differ so much"
    assert oddness(values)[4:].tolist() == [0, 0]
    assert oddness(np.array([1.0, 99.0])).tolist() == [0, 0], "two tell nothing"


def test_several_signs_together() -> None:
    assert together([]) == 0
    assert together([0.5, 0.5]) == pytest.approx(0.75)
    assert together([0.2, 0.5, 0.1]) == pytest.approx(1 - 0.8 * 0.5 * 0.9)
    assert together([1.0, 1.0]) < 1, "nothing is certain"


def test_a_typical_cell() -> None:
    assert cells([(0, 50, 25)]).diameter == pytest.approx(8)
    deep = cells([(0, 50, 25)] * 3, volume_um3=[36 * np.pi, 36 * np.pi, 1e6], z=1.0)
    assert deep.diameter == pytest.approx(6), "of the ball of the median volume"
    assert cells([]).diameter == 1


def test_distances_to_the_border_are_in_micrometres() -> None:
    found = cells([(0, 50, 25), (0, 10, 25), (0, 95, 25), (0, 50, 3), (0, 50, 48)])
    # 101 pixels of 1 µm and of 0.5 µm: centres lie from 0 to 100 and to 50 µm. One slice is no border.
    assert found.border_distance.tolist() == [25, 10, 5, 3, 2]
    deep = cells([(0, 50, 25)], shape=(8, 11, 101, 101), z=[18.0])
    assert deep.border_distance.tolist() == [2], "slices lie from 0 to 20 µm"


# ---- beginnings and ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("y", "score"), [(50, 0.55), (12, 0.55), (4, 0.1), (0, 0.1), (8, 0.325)])
def test_a_cell_may_leave_at_the_border(y: float, score: float) -> None:
    """From half a diameter (4 µm), where it touches the border, to one and a half it is less and less likely."""
    (found,) = signs(cells([(t, y, 25) for t in range(4)], [(0, 1), (1, 2), (2, 3)]), "vanishes")
    assert found.score == pytest.approx(score) and found.row == 3 and found.other == -1
    assert found.silenced_by == (("cell", 13),)
    (found,) = signs(cells([(t + 4, y, 25) for t in range(4)], [(0, 1), (1, 2), (2, 3)]), "appears")
    assert found.score == pytest.approx(score) and found.row == 0


def test_what_spans_the_movie_neither_vanishes_nor_appears() -> None:
    found = cells([(0, 50, 25), (7, 50, 25)], [(0, 1)])
    assert not signs(found, "vanishes") and not signs(found, "appears")


@pytest.mark.parametrize(
    ("wait", "away", "same"), [(1, 0, True), (3, 8, True), (4, 0, False), (1, 8.1, False), (0, 1, False)]
)
def test_who_appears_soon_and_near_may_be_the_same(wait: int, away: float, same: bool) -> None:
    """Within three frames, and a diameter of 8 µm."""
    rows = [
        (0, 50.0, 25.0),
        (1, 50.0, 25.0),
        (2, 50.0, 25.0),
        (2 + wait, 50 + away, 25.0),
        (3 + wait, 50 + away, 25.0),
    ]
    found = cells(rows, [(0, 1), (1, 2), (3, 4)])
    first = signs(found, "vanishes")[0]
    assert (first.other == 3) == same
    assert first.score == pytest.approx(0.75 if same else 0.55)
    assert ("cell 4 in frame" in first.reason) == same
    assert bool(signs(found, "appears")) == (not same), "who is explained is not listed again"


def test_of_two_that_appear_the_nearer_is_taken_once() -> None:
    rows = [(0, 50, 20), (0, 50, 26), (1, 50, 23.5), (1, 50, 21)]
    found = {sign.row: sign.other for sign in signs(cells(rows), "vanishes")}
    assert (found[0], found[1]) == (3, 2)


@pytest.mark.parametrize(
    ("length", "n_frames", "score"),
    [(1, 8, 0.35), (2, 8, 0.2), (3, 8, None), (2, 4, None), (1, 3, 0.35), (1, 2, None)],
)
def test_short_tracks_of_long_movies(length: int, n_frames: int, score: float | None) -> None:
    links = [(t, t + 1) for t in range(length - 1)]
    found = signs(
        cells([(t, 50, 25) for t in range(length)], links, shape=(n_frames, 1, 101, 101)), "short track"
    )
    assert [sign.score for sign in found] == ([] if score is None else [score])
    assert all(f"is tracked in {length} frame" in sign.reason for sign in found)


def test_daughters_and_mothers_are_not_short() -> None:
    rows = [(0, 50, 25), (1, 48, 25), (1, 52, 25)]
    assert not signs(cells(rows, [(0, 1), (0, 2)]), "short track")


def test_tracks_that_run_into_each_other() -> None:
    rows = [(0, 50, 20), (0, 50, 30), (1, 50, 25)]
    (found,) = signs(cells(rows, [(1, 2), (0, 2)]), "tracks merge")
    assert (found.row, found.other, found.score, found.reason) == (2, 1, 0.7, "2 tracks run into it")
    assert found.silenced_by == (("link", 11, 12),)

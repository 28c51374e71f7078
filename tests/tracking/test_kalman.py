"""Kalman and nearest-neighbour trackers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.errors import InputError
from helpers.tracking.kalman import (
    AdvancedKalmanParameters,
    KalmanParameters,
    link_kalman,
    link_nearest,
)
from helpers.tracking.linking import LapParameters, link
from helpers.tracking.segments import SegmentParameters
from helpers.tracking.tracks import Tracks


def _flight(n=60, frames=20, speed=6.0, noise=0.2, seed=0, missing=()) -> pd.DataFrame:
    """Cells that fly straight through each other; `missing` holds (cell, frame)."""
    rng = np.random.default_rng(seed)
    start, velocity = rng.random((n, 3)) * 120, rng.normal(0, speed, (n, 3))
    rows = [
        (t, cell, *(start[cell] + velocity[cell] * t + rng.normal(0, noise, 3)))
        for t in range(frames)
        for cell in range(n)
        if (cell, t) not in missing
    ]
    return pd.DataFrame(rows, columns=["frame", "cell", "z", "y", "x"]).assign(volume_um3=500.0)


def _right(tracks: Tracks) -> float:
    cells = tracks.objects["cell"].to_numpy()[tracks.link_rows]
    return float((cells[:, 0] == cells[:, 1]).mean())


def test_fast_cells_are_followed_where_distance_alone_errs():
    objects = _flight(n=40, speed=5.0)
    kalman = link_kalman(objects, KalmanParameters(search_radius=4.0))
    lap = link(objects, LapParameters(max_distance=15.0))
    assert _right(kalman) > 0.99
    assert _right(kalman) > _right(lap)
    assert len(kalman.links) > 0.97 * 40 * 19
    assert len(kalman.divisions) == len(kalman.merges) == 0


def _one_cell(positions: dict[int, float]) -> pd.DataFrame:
    return pd.DataFrame({"frame": positions.keys(), "x": positions.values()}).assign(
        y=0.0, z=0.0, radius_um=2.0
    )


def test_predictions_bridge_missing_frames_and_then_end():
    seen = {t: 10.0 * t for t in range(12)}
    parameters = KalmanParameters(search_radius=3.0, max_frame_gap=2)
    gap = link_kalman(_one_cell({t: x for t, x in seen.items() if t not in (4, 5)}), parameters)
    assert gap.n_tracklets == 1
    assert gap.gaps["missing"].tolist() == [2]
    ended = link_kalman(_one_cell({t: x for t, x in seen.items() if t not in (4, 5, 6)}), parameters)
    assert ended.n_tracklets == 2
    # Misses are counted over the life of a filter, as in TrackMate.
    later = link_kalman(_one_cell({t: x for t, x in seen.items() if t not in (4, 6, 8)}), parameters)
    assert later.n_tracklets == 2


def test_the_state_follows_the_textbook_filter():
    """One cell, three updates, against a filter written with matrices."""
    x = np.array([0.0, 5.0, 11.0, 16.0, 24.0])
    radius, search = 2.0, 12.0
    tracks = link_kalman(_one_cell(dict(enumerate(x))), KalmanParameters(search_radius=search))
    transition, observe = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[1.0, 0.0]])
    state, p = np.array([x[1], x[1] - x[0]]), np.eye(2) * np.finfo(float).tiny
    q, r = np.eye(2) * (search / 3) ** 2, (radius / 10) ** 2
    expected = [(x[1] - x[0]) ** 2]
    for measured in x[2:]:
        state, p = transition @ state, transition @ p @ transition.T + q
        expected.append((measured - state[0]) ** 2)
        gain = p @ observe.T / (observe @ p @ observe.T + r)
        state = state + gain[:, 0] * (measured - state[0])
        p = (np.eye(2) - gain @ observe) @ p
    assert tracks.links["cost"].tolist() == pytest.approx(expected)


def test_two_frames_are_linked():
    assert len(link_kalman(_one_cell({0: 0.0, 1: 5.0})).links) == 1
    assert len(link_kalman(_one_cell({0: 0.0, 1: 15.0})).links) == 0
    assert len(link_kalman(_one_cell({0: 0.0})).links) == 0


def test_advanced_lets_segments_compete():
    rows = [(t, 0.0, 3.0 * t) for t in range(10)] + [(t, 4.0 * (t - 4), 3.0 * t) for t in range(5, 10)]
    objects = pd.DataFrame(rows, columns=["frame", "y", "x"]).assign(z=0.0, radius_um=2.0)
    plain = link_kalman(objects, KalmanParameters(search_radius=6.0))
    advanced = link_kalman(
        objects, AdvancedKalmanParameters(search_radius=6.0, segments=SegmentParameters(splitting=True))
    )
    assert len(plain.divisions) == 0
    assert advanced.divisions["frame"].tolist() == [4]
    assert len(advanced.links) == len(plain.links) + 1


def test_penalties_of_predictions_use_the_last_object():
    objects = pd.DataFrame(
        {"frame": [0, 0, 1, 1, 2, 2], "x": [0.0, 8, 0, 8, 3, 5], "y": 0.0, "z": 0.0, "radius_um": 1.0,
         "cell": [0, 1, 0, 1, 1, 0]}
    ).assign(size=lambda t: np.where(t["cell"] == 0, 10.0, 40.0))  # fmt: skip
    assert _right(link_kalman(objects)) < 1
    assert _right(link_kalman(objects, KalmanParameters(penalties={"size": 5.0}))) == 1


def test_the_second_frame_gives_the_measurement_noise():
    objects = _one_cell({0: 0.0, 1: 4.0, 2: 9.0, 3: 15.0, 4: 22.0})
    assert link_kalman(objects).links["cost"].tolist() == pytest.approx(
        link_kalman(objects.drop(columns="radius_um"), KalmanParameters(measurement_std=0.2))
        .links["cost"]
        .tolist()
    )
    with pytest.raises(InputError, match="measurement_std"):
        link_kalman(objects.drop(columns="radius_um"))


def test_nearest_takes_the_closest_pairs_first():
    objects = pd.DataFrame(
        {"frame": [0, 0, 1, 1], "x": [0.0, 4, 3, 10], "y": 0.0, "z": 0.0, "id": [1, 2, 3, 4]}
    )
    tracks = link_nearest(objects, 12)
    assert tracks.links[["source", "target"]].to_numpy().tolist() == [[1, 4], [2, 3]]
    assert tracks.links["cost"].tolist() == [100.0, 1.0]
    assert link_nearest(objects, 9.9).links["source"].tolist() == [2]
    assert len(link_nearest(objects, 10).links) == 2
    gap = objects.assign(frame=objects["frame"] * 2)
    assert len(link_nearest(gap, 12).links) == 0


@pytest.mark.parametrize("tracker", [link_kalman, link_nearest])
def test_empty_movies_and_bad_tables(tracker):
    empty = pd.DataFrame({"frame": [], "z": [], "y": [], "x": []})
    assert len(tracker(empty).links) == 0
    with pytest.raises(InputError, match="position"):
        tracker(_one_cell({0: float("nan"), 1: 0.0}))
    with pytest.raises(InputError, match=r"objects\.id"):
        tracker(_one_cell({0: 0.0, 1: 0.0}).assign(id=3))


def test_the_order_of_rows_does_not_matter():
    objects = _flight(20, 8).assign(id=lambda t: np.arange(len(t)))
    shuffled = objects.sample(frac=1, random_state=1)
    for tracker in (link_kalman, link_nearest):
        a, b = tracker(objects).links, tracker(shuffled).links
        assert set(zip(a["source"], a["target"], strict=True)) == set(
            zip(b["source"], b["target"], strict=True)
        )


@pytest.mark.parametrize(
    "name", ["initial_search_radius", "search_radius", "max_frame_gap", "measurement_std"]
)
def test_bad_parameters_are_named(name):
    with pytest.raises(InputError, match=name):
        KalmanParameters(**{name: -1})
    with pytest.raises(InputError, match="max_distance"):
        link_nearest(_one_cell({0: 0.0}), -1)

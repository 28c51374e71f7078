"""Motion that is known, measured; and walks whose constants are known, fitted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import linregress
from scipy.stats import t as student_t
from skimage.measure import regionprops

from helpers.analysis.boundary import RoiBoundary, measure_distances
from helpers.analysis.diffusion import (
    fit_msd,
    mean_squared_displacement,
    persistent_walk,
    velocity_autocorrelation,
)
from helpers.analysis.divisions import division_rates, measure_divisions
from helpers.analysis.migration import (
    drift,
    measure_steps,
    measure_tracklets,
    neighbours,
    shapes,
    split_by_movement,
    summarize,
)
from helpers.errors import InputError
from helpers.runs.steps.migration import growth_in_words
from helpers.tracking.objects import measure
from helpers.tracking.tracks import Tracks


def _walks(paths: np.ndarray, interval: float = 60.0) -> Tracks:
    """Tracks from (n, frames, 3) positions in µm; NaN is a missing frame."""
    seen = np.isfinite(paths).all(axis=2)
    number = np.full(seen.shape, -1)
    number[seen] = np.arange(seen.sum())
    where = np.nonzero(seen)
    objects = pd.DataFrame(paths[seen], columns=["z", "y", "x"]).assign(frame=where[1])
    pairs = [row[row >= 0] for row in number]
    links = np.concatenate([np.column_stack([p[:-1], p[1:]]) for p in pairs])
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), (2.0, 0.5, 0.5), interval)


def test_a_square_walk_by_hand() -> None:
    path = np.array([[[0, 0, 0], [0, 0, 4], [0, 4, 4], [0, 4, 0], [3, 4, 0]]], float)
    tracks = _walks(path, interval=120.0)
    steps = measure_steps(tracks)
    np.testing.assert_allclose(steps["step_um"], [np.nan, 4, 4, 4, 3])
    np.testing.assert_allclose(steps["speed_um_per_min"], [np.nan, 2, 2, 2, 1.5])
    np.testing.assert_allclose(steps["azimuth_deg"], [np.nan, 0, 90, 180, np.nan])
    np.testing.assert_allclose(steps["elevation_deg"], [np.nan, 0, 0, 0, 90])
    np.testing.assert_allclose(steps["turning_angle_deg"], [np.nan, np.nan, 90, 90, 90])
    np.testing.assert_allclose(steps["velocity_z_um_per_min"], [np.nan, 0, 0, 0, 1.5])
    row = measure_tracklets(tracks, steps).iloc[0]
    assert row["path_length_um"] == 15
    assert row["displacement_um"] == 5
    assert row["farthest_um"] == pytest.approx(np.sqrt(32))
    assert row["directness"] == pytest.approx(1 / 3)
    assert row["mean_speed_um_per_min"] == pytest.approx(15 / 8)
    assert row["duration_s"] == 480
    assert (row["direction_z"], row["direction_y"], row["direction_x"]) == pytest.approx((0.6, 0.8, 0))
    assert row["elevation_deg"] == pytest.approx(36.87, abs=0.01)


def test_gaps_divisions_merges_and_single_points(family) -> None:
    steps = measure_steps(family)
    assert steps["speed_um_per_min"][2] == pytest.approx(2.0), "4 µm over a gap of two minutes"
    assert steps.loc[[0, 3, 5, 7, 11, 14], "step_um"].isna().all(), (
        "nothing is carried over a division or merge"
    )
    table = measure_tracklets(family, steps).set_index("tracklet_id")
    lone = table.loc[family.tracklet_ids[11]]
    assert (lone["path_length_um"], lone["displacement_um"], lone["n_points"]) == (0, 0, 1)
    assert np.isnan(lone["mean_speed_um_per_min"]) and np.isnan(lone["directness"])
    still = table.loc[family.tracklet_ids[7]]
    assert still["mean_speed_um_per_min"] == 0 and np.isnan(still["directness"])
    assert np.isnan(still["mean_turning_angle_deg"]) and np.isnan(still["azimuth_deg"])
    assert table.loc[family.tracklet_ids[0], "n_missing"] == 1


@pytest.mark.parametrize("interval", [0.5, 3600.0])
def test_speed_follows_the_interval(interval: float) -> None:
    path = np.zeros((1, 5, 3))
    path[0, :, 2] = np.arange(5)
    table = measure_tracklets(tracks := _walks(path, interval), measure_steps(tracks))
    assert table["mean_speed_um_per_min"][0] == pytest.approx(60 / interval)


def test_uneven_times_are_used() -> None:
    path = np.zeros((1, 3, 3))
    path[0, :, 2] = [0, 1, 3]
    tracks = _walks(path)
    tracks = Tracks(tracks.objects.assign(time_s=[0.0, 30.0, 150.0]), tracks.links)
    np.testing.assert_allclose(measure_steps(tracks)["speed_um_per_min"][1:], [2, 1])


def test_drift_is_taken_away() -> None:
    rng = np.random.default_rng(0)
    still = rng.uniform(0, 50, (20, 1, 3)) + np.zeros((1, 6, 1))
    carried = still + np.arange(6)[None, :, None] * np.array([0.0, 1.0, 2.0])
    tracks = _walks(carried)
    np.testing.assert_allclose(drift(tracks)[-1], [0, 5, 10])
    assert measure_steps(tracks, remove_drift=True)["step_um"].max() == pytest.approx(0, abs=1e-9)
    assert measure_steps(tracks)["step_um"].max() == pytest.approx(np.sqrt(5))


def test_neighbours_against_all_pairs() -> None:
    rng = np.random.default_rng(0)
    tracks = _walks(rng.uniform(0, 30, (15, 2, 3)))
    nearest, count = neighbours(tracks, 12.0)
    points, frames = tracks.objects[["z", "y", "x"]].to_numpy(), tracks.objects["frame"].to_numpy()
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    apart[(frames[:, None] != frames[None]) | np.eye(len(points), dtype=bool)] = np.inf
    np.testing.assert_allclose(nearest, apart.min(axis=1))
    np.testing.assert_array_equal(count, (apart <= 12).sum(axis=1))
    alone = neighbours(_walks(np.zeros((1, 2, 3))), 5.0)
    assert np.isnan(alone[0]).all() and (alone[1] == 0).all()
    with pytest.raises(InputError, match="neighbour_radius_um = 0"):
        neighbours(tracks, 0.0)


def test_eccentricity_is_that_of_region_properties_and_tracklets_have_its_mean_and_spread() -> None:
    y, x = np.mgrid[:40, :60]
    frames = [((y - 20) ** 2 / b**2 + (x - 30) ** 2 / 18**2 <= 1).astype(np.int32) for b in (6, 12)]
    tables = [measure(frame, voxel_size=(0.5, 0.5), frame=t) for t, frame in enumerate(frames)]
    objects = pd.concat(tables, ignore_index=True).assign(id=[0, 1])
    links = pd.DataFrame({"source": [0], "target": [1]})
    steps = measure_steps(Tracks(objects, links, (1.0, 0.5, 0.5), 60.0))
    theirs = [regionprops(frame)[0].eccentricity for frame in frames]
    np.testing.assert_allclose(steps["eccentricity"], theirs, atol=0.01)
    tracklet = measure_tracklets(Tracks(objects, links, (1.0, 0.5, 0.5), 60.0), steps).iloc[0]
    assert tracklet["mean_eccentricity"] == pytest.approx(steps["eccentricity"].mean())
    assert tracklet["sd_perimeter_um"] == pytest.approx(steps["perimeter_um"].std(ddof=0)) != 0


def test_shapes_of_a_cube_and_a_square() -> None:
    cube = shapes(pd.DataFrame({"volume_um3": [8.0], "surface_um2": [24.0], "axis_major_um": [3.0], "axis_minor_um": [0.0]}))  # fmt: skip
    assert cube["sphericity"][0] == pytest.approx((np.pi / 6) ** (1 / 3))
    assert np.isnan(cube["elongation"][0])
    assert "eccentricity" not in cube, "of 2D alone"
    square = shapes(pd.DataFrame({"area_um2": [4.0], "perimeter_um": [8.0]}))
    assert square["sphericity"][0] == pytest.approx(np.sqrt(np.pi) / 2)
    assert square["perimeter_um"][0] == 8.0
    assert shapes(pd.DataFrame({"y": [1.0]})) == {}


def test_two_points_are_no_straight_path_and_four_no_growth() -> None:
    rng = np.random.default_rng(3)
    for length, directness, growth in (
        (2, False, False),
        (3, True, False),
        (4, True, False),
        (5, True, True),
    ):
        tracks = _walks(rng.normal(size=(1, length, 3)))
        objects = tracks.objects.assign(volume_um3=rng.uniform(50, 60, length))
        tracks = Tracks(objects, tracks.links, None, 60.0)
        row = measure_tracklets(tracks, measure_steps(tracks)).iloc[0]
        assert (bool(np.isfinite(row["directness"])), bool(np.isfinite(row["growth_per_h"]))) == (
            directness,
            growth,
        )


def test_a_direction_that_is_forgotten_within_an_interval_is_not_resolved() -> None:
    rng = np.random.default_rng(4)
    tracks = _walks(rng.normal(size=(200, 40, 3)).cumsum(axis=1))
    fit = fit_msd(mean_squared_displacement(tracks), 3).iloc[0]
    assert np.isnan(fit["persistence_min"]) and np.isnan(fit["speed_um_per_min"])
    assert fit["fitted_persistence_min"] < 1 and fit["diffusion_um2_per_min"] == pytest.approx(0.5, rel=0.1)


def test_at_lag_0_the_autocorrelation_has_no_error() -> None:
    rng = np.random.default_rng(5)
    table = velocity_autocorrelation(_walks(rng.normal(size=(20, 12, 3)).cumsum(axis=1))).set_index(
        "lag_frames"
    )
    assert (table.loc[0, "correlation"], table.loc[0, "sem"]) == (1, 0) and table.loc[1, "sem"] > 0


def test_growth_is_the_slope_of_the_logarithm() -> None:
    tracks = _walks(np.zeros((2, 5, 3)), interval=1800.0)
    growing = 100 * 2 ** (np.tile(np.arange(5), 2) * 0.5)
    tracks = Tracks(tracks.objects.assign(volume_um3=growing), tracks.links, None, 1800.0)
    table = measure_tracklets(tracks, measure_steps(tracks))
    np.testing.assert_allclose(table["growth_per_h"], np.log(2))
    np.testing.assert_allclose(table[["growth_low_per_h", "growth_high_per_h"]], np.log(2), atol=1e-6)


def test_the_interval_of_growth_is_that_of_a_regression() -> None:
    rng = np.random.default_rng(6)
    tracks = _walks(np.zeros((3, 9, 3)), interval=1800.0)
    sizes = rng.uniform(50, 100, 27)
    sizes[3] = np.nan  # a point without a size is one less
    tracks = Tracks(tracks.objects.assign(volume_um3=sizes), tracks.links, None, 1800.0)
    table = measure_tracklets(tracks, measure_steps(tracks))
    for row in table.itertuples():
        y = np.log(sizes[tracks.tracklet_ids == row.tracklet_id])
        known = np.isfinite(y)
        fit = linregress(0.5 * np.arange(9)[known], y[known])
        half = student_t.ppf(0.975, known.sum() - 2) * fit.stderr
        np.testing.assert_allclose(
            [row.growth_low_per_h, row.growth_high_per_h], [fit.slope - half, fit.slope + half]
        )


def test_growth_in_words_says_of_how_many_and_how_well() -> None:
    table = pd.DataFrame(
        {
            "growth_per_h": [0.5, 0.7, np.nan],
            "growth_low_per_h": [0.3, 0.4, np.nan],
            "growth_high_per_h": [0.7, 1.0, np.nan],
        }
    )
    words = growth_in_words(table)
    assert "median 0.60 per hour" in words and "of 2 tracklets" in words and "± 0.25 per hour" in words
    assert "1 of 3 tracklets have no growth rate" in words
    assert growth_in_words(table.iloc[2:]).startswith("1 of 1 tracklets have no growth rate")
    assert "no size" in growth_in_words(pd.DataFrame({"x": [1]}))


def test_msd_of_diffusion_in_two_and_three_dimensions() -> None:
    rng = np.random.default_rng(1)
    for dimension in (2, 3):
        step = rng.normal(0, np.sqrt(2 * 0.3), (400, 60, 3))  # D = 0.3 µm² per frame of a minute
        step[..., : 3 - dimension] = 0
        table = mean_squared_displacement(_walks(step.cumsum(axis=1)))
        np.testing.assert_allclose(table["msd_um2"], 2 * dimension * 0.3 * table["lag_frames"], rtol=0.1)
        fit = fit_msd(table, dimension).iloc[0]
        assert fit["alpha"] == pytest.approx(1, abs=0.05)
        assert fit["diffusion_um2_per_min"] == pytest.approx(0.3, rel=0.1)


def test_msd_counts_pairs_by_hand_and_bridges_gaps() -> None:
    path = np.zeros((1, 5, 3))
    path[0, :, 2] = [0, 1, np.nan, 3, 5]
    path[0, 2] = np.nan
    table = mean_squared_displacement(_walks(path), max_lag=3).set_index("lag_frames")
    assert table["n_pairs"].tolist() == [2, 1, 2]
    np.testing.assert_allclose(table["msd_um2"], [(1 + 4) / 2, 4, (9 + 16) / 2])


def test_a_persistent_walk_is_told_from_its_noise() -> None:
    rng = np.random.default_rng(2)
    persistence, speed, noise = 8.0, 1.2, 0.3  # frames of a minute
    n, length = 500, 90
    keep = np.exp(-1 / persistence)
    velocity = np.empty((n, length, 3))
    velocity[:, 0] = rng.normal(0, speed / np.sqrt(3), (n, 3))
    for t in range(1, length):
        velocity[:, t] = keep * velocity[:, t - 1] + np.sqrt(1 - keep**2) * rng.normal(
            0, speed / np.sqrt(3), (n, 3)
        )
    paths = velocity.cumsum(axis=1) + rng.normal(0, noise, velocity.shape)
    tracks = _walks(paths)
    fit = fit_msd(mean_squared_displacement(tracks), 3).iloc[0]
    assert fit["persistence_min"] == pytest.approx(persistence, rel=0.15)
    assert fit["speed_um_per_min"] == pytest.approx(speed, rel=0.1)
    assert fit["position_error_um"] == pytest.approx(noise, rel=0.3)
    assert fit["alpha"] > 1.2
    assert fit["r2"] > 0.99
    correlation = velocity_autocorrelation(tracks).set_index("lag_frames")["correlation"]
    assert correlation[0] == 1
    assert correlation[8] / correlation[2] == pytest.approx(np.exp(-6 / persistence), rel=0.1)


def test_the_model_is_straight_at_first_and_diffusion_at_last() -> None:
    t = np.array([1e-3, 1e3])
    msd = persistent_walk(t, 2.0, 1.0, 0.0, 3)
    assert msd[0] == pytest.approx(3 * 2.0 * t[0] ** 2, rel=1e-3)
    assert msd[1] == pytest.approx(6 * 2.0 * t[1], rel=2e-3)


def test_groups_are_kept_apart() -> None:
    rng = np.random.default_rng(0)
    step = rng.normal(0, 1, (40, 30, 3))
    step[20:] *= 3
    tracks = _walks(step.cumsum(axis=1))
    group = pd.Series(np.where(np.arange(40) < 20, "slow", "fast"))
    # tracklets are numbered by their first object, here in the order of the paths
    fit = fit_msd(mean_squared_displacement(tracks, group=group), 3).set_index("group")
    ratio = fit.loc["fast", "diffusion_um2_per_min"] / fit.loc["slow", "diffusion_um2_per_min"]
    assert ratio == pytest.approx(9, rel=0.3)


def test_nothing_that_moves_has_no_fit(family) -> None:
    still = _walks(np.zeros((3, 8, 3)))
    fit = fit_msd(mean_squared_displacement(still), 3).iloc[0]
    assert np.isnan(fit["alpha"]) and np.isnan(fit["diffusion_um2_per_min"])
    assert velocity_autocorrelation(still)["correlation"].isna().all()
    assert len(mean_squared_displacement(family)) > 0, "gaps, merges and lone points pass"
    lone = Tracks(family.objects.iloc[[11]].drop(columns="id"), None, None, 60.0)
    assert len(mean_squared_displacement(lone)) == 0
    assert len(fit_msd(mean_squared_displacement(lone), 3)) == 0
    with pytest.raises(InputError, match="max_lag = 0"):
        mean_squared_displacement(still, max_lag=0)
    with pytest.raises(InputError, match="dimension = 4"):
        fit_msd(mean_squared_displacement(still), 4)


def test_a_division_by_hand(family) -> None:
    roi = RoiBoundary(np.array([[-50, -10], [-50, 90], [90, 90], [90, -10]], float))
    table = measure_divisions(family, measure_distances(family, roi))
    row = table.iloc[0]
    assert len(table) == 1
    assert (row["parent_id"], row["frame"], row["time_s"], row["daughters"]) == (2, 3, 180.0, 2)
    assert row["daughters_apart_um"] == 4
    assert abs(row["axis_y"]) == 1 and row["elevation_deg"] == 0
    assert row["angle_to_boundary_deg"] == pytest.approx(0), (
        "both daughters are as deep: the nearest side is at x = −10"
    )
    assert row["size_ratio"] == 1
    assert row["distance_um"] == pytest.approx(16)


def test_rates_count_the_time_watched(family) -> None:
    row = division_rates(family, plausible_only=False).iloc[0]
    watched = (family.objects["frame"] < 5).sum() / 60
    assert row["divisions"] == 1
    assert row["cell_hours"] == pytest.approx(watched)
    assert row["rate_per_h"] == pytest.approx(1 / watched)
    assert row["low_per_h"] * watched == pytest.approx(0.0253, abs=1e-4)  # Garwood's interval of one event
    assert row["high_per_h"] * watched == pytest.approx(5.572, abs=1e-3)
    generation = pd.Series(family.generations[family.tracklet_ids])
    by = division_rates(family, generation, plausible_only=False).set_index("group")
    assert by.loc[0, "divisions"] == 1 and by.loc[1, "divisions"] == 0
    assert by.loc[1, "low_per_h"] == 0 and by.loc[1, "high_per_h"] > 0
    with pytest.raises(InputError, match="by = '2 values'"):
        division_rates(family, pd.Series([1, 2]))


def _dividing(n_frames: int, at: int, lives: int) -> tuple[list[dict], list[tuple[int, int]]]:
    """Return cells and links of a mother that divides after frame `at` into daughters of which one lives `lives` frames."""
    cells = [{"frame": t, "y": 0.0, "x": 0.0, "volume_um3": 100.0} for t in range(at + 1)]
    links = [(t, t + 1) for t in range(at)]
    for side, life in ((-1, n_frames - at - 1), (1, lives)):
        start = len(cells)
        cells += [{"frame": at + 1 + k, "y": 5.0 * side, "x": 0.0, "volume_um3": 50.0} for k in range(life)]
        links += [(at, start), *((start + k, start + k + 1) for k in range(life - 1))]
    return cells, links


def test_rates_leave_out_what_is_not_plausible_and_the_time_in_which_nobody_could_tell() -> None:
    cells, links = [], []
    for at, lives in ((4, 5), (4, 1), (8, 1)):
        own, joined = _dividing(10, at, lives)
        links += [(len(cells) + a, len(cells) + b) for a, b in joined]
        cells += own
    tracks = Tracks(pd.DataFrame(cells), pd.DataFrame(links, columns=["source", "target"]), None, 3600.0)
    row = division_rates(tracks).iloc[0]
    frames = tracks.objects["frame"]
    assert (row["divisions"], row["left_out"]) == (1, 2)
    assert row["cell_hours"] == ((frames >= 1) & (frames <= 6)).sum()
    found = measure_divisions(tracks)
    assert found["plausible"].tolist() == [True, False, False]
    assert "1 frame only" in found["doubts"][1] and "last frames" in found["doubts"][2]


def test_no_divisions_give_an_empty_table() -> None:
    table = measure_divisions(_walks(np.zeros((1, 3, 3))))
    assert len(table) == 0 and "frame" in table


def test_moving_cells_are_told_from_still_and_short_ones(family) -> None:
    table = measure_tracklets(family, measure_steps(family))
    passing, failing = split_by_movement(table, min_displacement=1.0, min_frames=2)
    assert len(passing) + len(failing) == len(table)
    why = failing.set_index("tracklet_id")["reason"]
    assert why[family.tracklet_ids[11]] == "frames < 2"
    assert why[family.tracklet_ids[7]] == "moved < 1 µm"
    assert (passing["farthest_um"] >= 1).all()


def test_summary_by_region_and_generation(family) -> None:
    steps = measure_steps(family).assign(
        region=np.where(np.arange(len(family.objects)) < 7, "outer", "inner")
    )
    table = measure_tracklets(family, steps)
    summary = summarize(table, ["region", "generation", "nothing"], ["displacement_um", "directness"])
    row = summary.query("region == 'outer' and generation == 0 and metric == 'displacement_um'").iloc[0]
    assert (row["n"], row["median"]) == (1, 6)
    assert summary.query("metric == 'directness'")["n"].sum() == table["directness"].notna().sum()


def test_a_missing_interval_is_named(family) -> None:
    with pytest.raises(InputError, match="frame_interval_s = None"):
        measure_steps(Tracks(family.objects, family.links))


def test_no_cells_give_empty_tables() -> None:
    empty = Tracks(pd.DataFrame({"frame": [], "y": [], "x": []}), frame_interval=60.0)
    steps = measure_steps(empty)
    assert len(measure_tracklets(empty, steps)) == 0
    assert len(mean_squared_displacement(empty)) == 0


def test_many_tracklets_are_laid_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    paths = rng.normal(size=(9, 12, 3)).cumsum(axis=1)
    for k in range(9):
        paths[k, 4 + k :] = np.nan
    tracks = _walks(paths)
    whole = mean_squared_displacement(tracks)
    monkeypatch.setattr("helpers.analysis.diffusion._CHUNK", 4)
    pd.testing.assert_frame_equal(mean_squared_displacement(tracks), whole)

"""What measures of motion and division must not depend on, and how they follow units; divisions worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.diffusion import mean_squared_displacement
from helpers.analysis.divisions import division_rates, measure_divisions
from helpers.analysis.migration import measure_steps, measure_tracklets
from helpers.analysis.spectrum import SpectrumSettings, measure_spectra
from helpers.analysis.timing import object_times
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks
from tests.analysis.analysis_tracks import straight

Change = Callable[[Tracks], Tracks]


def changed(tracks: Tracks, objects: pd.DataFrame, interval: float | None = None) -> Tracks:
    return Tracks(objects, tracks.links, tracks.voxel_size, interval or tracks.frame_interval)


def scaled(tracks: Tracks, factor: float) -> Tracks:
    """Return the same cells, everything along all axes `factor` times as large."""
    places = {axis: tracks.objects[axis] * factor for axis in "zyx"}
    return changed(
        tracks, tracks.objects.assign(**places, volume_um3=tracks.objects["volume_um3"] * factor**3)
    )


def later(tracks: Tracks) -> Tracks:
    return changed(tracks, tracks.objects.assign(frame=tracks.objects["frame"] + 7))


def elsewhere(tracks: Tracks) -> Tracks:
    moved = {axis: tracks.objects[axis] + by for axis, by in zip("zyx", (100.0, -30.0, 8.0), strict=True)}
    return changed(tracks, tracks.objects.assign(**moved))


def timed(tracks: Tracks) -> Tracks:
    """Return them with times in place of an interval; those of all frames lie 1000 s later."""
    seconds = 1000 + tracks.objects["frame"] * (tracks.frame_interval or 1.0)
    return Tracks(tracks.objects.assign(time_s=seconds), tracks.links, tracks.voxel_size)


@pytest.mark.parametrize("change", [later, elsewhere, timed])
def test_motion_does_not_depend_on_when_and_where(family: Tracks, change: Change) -> None:
    other = change(family)
    places = ["frame", "time_s", "z", "y", "x", "start_frame", "end_frame"]
    for measure in (measure_steps, lambda tracks: measure_tracklets(tracks, measure_steps(tracks))):
        a, b = (measure(t).drop(columns=places, errors="ignore") for t in (family, other))
        pd.testing.assert_frame_equal(a, b, check_dtype=False)
    a, b = (mean_squared_displacement(t) for t in (family, other))
    pd.testing.assert_frame_equal(a, b, check_dtype=False)


def test_lengths_follow_positions_and_speeds_follow_time(family: Tracks) -> None:
    """Three times as large: lengths three times, angles and ratios the same; in half the time: speeds twice."""
    a, b = (measure_tracklets(t, measure_steps(t)) for t in (family, scaled(family, 3.0)))
    for name in (
        "path_length_um",
        "displacement_um",
        "farthest_um",
        "mean_speed_um_per_min",
        "sd_speed_um_per_min",
    ):
        np.testing.assert_allclose(b[name], 3 * a[name], err_msg=name)
    for name in ("directness", "mean_turning_angle_deg", "azimuth_deg", "duration_s"):
        np.testing.assert_allclose(b[name], a[name], err_msg=name)
    one, other = (mean_squared_displacement(t) for t in (family, scaled(family, 3.0)))
    np.testing.assert_allclose(other["msd_um2"], 9 * one["msd_um2"])
    fast = changed(family, family.objects, (family.frame_interval or 0) / 2)
    c = measure_tracklets(fast, measure_steps(fast))
    np.testing.assert_allclose(c["mean_speed_um_per_min"], 2 * a["mean_speed_um_per_min"])
    np.testing.assert_allclose(c["duration_s"], a["duration_s"] / 2)
    np.testing.assert_array_equal(c["path_length_um"], a["path_length_um"])


def test_rows_in_another_order_are_measured_alike(family: Tracks) -> None:
    order = np.random.default_rng(4).permutation(len(family.objects))
    other = Tracks(family.objects.iloc[order], family.links, family.voxel_size, family.frame_interval)
    a, b = (measure_steps(t).set_index("id").sort_index() for t in (family, other))
    numbers = ["step_um", "speed_um_per_min", "turning_angle_deg", "nearest_neighbour_um", "elevation_deg"]
    pd.testing.assert_frame_equal(a[numbers], b[numbers])
    a, b = (measure_divisions(t) for t in (family, other))
    pd.testing.assert_frame_equal(
        a.drop(columns=["tracklet_id", "track_id"]), b.drop(columns=["tracklet_id", "track_id"])
    )


@pytest.mark.parametrize(("factor", "offset"), [(1.0, 500.0), (7.0, 0.0), (1e-3, 1.0)])
def test_a_rhythm_does_not_depend_on_the_gain_of_the_camera(factor: float, offset: float) -> None:
    t = np.arange(64)
    values = 5 + np.sin(2 * np.pi * t / 8) + np.random.default_rng(1).normal(0, 0.2, (1, 64))
    settings = SpectrumSettings(n_permutations=99, significance_level=0.05)
    one, other = (
        measure_spectra(straight(v, 10.0), settings).tracklets.iloc[0]
        for v in (values, factor * values + offset)
    )
    assert one["peak_frequency_hz"] == pytest.approx(1 / 80, rel=0.02)
    assert other["peak_frequency_hz"] == pytest.approx(one["peak_frequency_hz"])
    assert other["p_value"] == one["p_value"] and other["rhythmic"] == one["rhythmic"]
    assert other["peak_amplitude"] == pytest.approx(factor * one["peak_amplitude"])


# ---- divisions -------------------------------------------------------------------------------------------


def division(*daughters: tuple[float, float, float], sizes: tuple[float, ...] = ()) -> Tracks:
    """Return a mother at the origin, seen in two frames, with daughters in the next two."""
    rows = [(0, 0, 0.0, 0.0, 0.0), (1, 1, 0.0, 0.0, 0.0)]
    links = [(0, 1)]
    for place in daughters:
        i = len(rows)
        rows += [(i, 2, *place), (i + 1, 3, *place)]
        links += [(1, i), (i, i + 1)]
    objects = pd.DataFrame(rows, columns=["id", "frame", "z", "y", "x"])
    if sizes:
        objects["volume_um3"] = [100.0, 100.0, *np.repeat(sizes, 2)]
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), (1, 1, 1), 60.0)


@pytest.mark.parametrize(
    ("one", "other", "apart", "azimuth", "elevation"),
    [
        ((0, 0, -3), (0, 0, 3), 6, 0, 0),
        ((0, 0, 3), (0, 0, -3), 6, 0, 0),
        ((0, -3, -3), (0, 3, 3), 72**0.5, 45, 0),
        ((0, 3, -3), (0, -3, 3), 72**0.5, -45, 0),
        ((0, -2, 0), (0, 2, 0), 4, 90, 0),
        ((0, 2, 0), (0, -2, 0), 4, 90, 0),
        ((3, 0, 4), (0, 0, 0), 5, 0, 36.8699),
        ((0, 0, 4), (3, 0, 0), 5, 0, 36.8699),
    ],
)
def test_the_axis_of_a_division(
    one: tuple, other: tuple, apart: float, azimuth: float, elevation: float
) -> None:
    """The axis has no direction: it is the same whichever daughter is named first."""
    found = measure_divisions(division(one, other)).iloc[0]
    assert found["daughters_apart_um"] == pytest.approx(apart)
    assert found["azimuth_deg"] == pytest.approx(azimuth)
    assert found["elevation_deg"] == pytest.approx(elevation, abs=1e-3)
    assert (found["parent_id"], found["frame"], found["time_s"]) == (1, 1, 60)


def test_of_three_daughters_the_farthest_two_tell_the_axis() -> None:
    found = measure_divisions(division((0, 0, 1), (0, 5, 0), (0, -5, 0), sizes=(30.0, 40.0, 60.0))).iloc[0]
    assert (found["daughters"], found["daughters_apart_um"], found["azimuth_deg"]) == (3, 10, 90)
    assert found["size_ratio"] == 0.5


def test_daughters_at_one_place_have_no_axis() -> None:
    found = measure_divisions(division((1, 1, 1), (1, 1, 1))).iloc[0]
    assert found["daughters_apart_um"] == 0
    assert found[["axis_z", "axis_x", "azimuth_deg", "elevation_deg", "size_ratio"]].isna().all()


@pytest.mark.parametrize(
    ("inward", "angle"), [((1, 0, 0), 0), ((0, 0, 1), 90), ((0, 0, -1), 90), ((0.6, 0, 0.8), 53.13)]
)
def test_the_angle_to_the_boundary(inward: tuple, angle: float) -> None:
    """Daughters that lie apart along x, where the boundary faces `inward`."""
    tracks = division((0, 0, -3), (0, 0, 3))
    distances = pd.DataFrame([inward] * 6, columns=["inward_z", "inward_y", "inward_x"]).assign(
        distance_um=range(6), region="outer"
    )
    found = measure_divisions(tracks, distances).iloc[0]
    assert found["angle_to_boundary_deg"] == pytest.approx(angle, abs=0.01)
    assert (found["distance_um"], found["region"]) == (1, "outer"), "the mother's"


def test_rates_are_per_cell_and_hour() -> None:
    """Ten cells over 4 frames of 6 minutes: 3 intervals of 0.1 h each; one divides, into cells that are watched for one."""
    rows = [(t, 0.0, 10.0 * k) for k in range(10) for t in range(4)]
    objects = pd.DataFrame(rows, columns=["frame", "y", "x"])
    extra = pd.DataFrame({"frame": [2, 3], "y": 3.0, "x": 0.0})
    objects = pd.concat([objects, extra], ignore_index=True)
    links = [(4 * k + t, 4 * k + t + 1) for k in range(10) for t in range(3)] + [(1, 40), (40, 41)]
    tracks = Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), (1, 1, 1), 360.0)
    found = division_rates(tracks, plausible_only=False).iloc[0]
    assert found["divisions"] == 1 and found["cell_hours"] == pytest.approx(3.1)
    assert found["rate_per_h"] == pytest.approx(1 / 3.1)
    # Exact 95 % limits of a Poisson count of 1: 0.0253 and 5.5716 (Garwood 1936).
    assert found["low_per_h"] == pytest.approx(0.0253 / 3.1, rel=1e-3)
    assert found["high_per_h"] == pytest.approx(5.5716 / 3.1, rel=1e-4)


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        ([0, 1, np.nan, 3], "not finite"),
        ([0, 2, 1, 3], "order of the frames"),
        ([0, 1, 1, 3], "order of the frames"),
        ([0, 1, 2, 3.1], "one each"),
    ],
)
def test_times_that_contradict_the_frames_are_refused(seconds: list[float], message: str) -> None:
    objects = pd.DataFrame({"frame": [0, 1, 2, 3], "y": 0.0, "x": range(4), "time_s": seconds})
    if message == "one each":
        objects = pd.concat([objects, objects.tail(1).assign(time_s=3.0)], ignore_index=True)
    with pytest.raises(InputError, match=message):
        object_times(Tracks(objects))

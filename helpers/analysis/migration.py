"""How cells move: step by step, over each tracklet, and beside their neighbours.

    a ──► b ──► c · · · e          steps a→b, b→c and c→e (over a gap: its length divided by two frames' time);
             ╲turn╱                turning angle at b, written in the row of c; a division begins new tracklets

Positions are (z, y, x) in µm, so that 3D and anisotropic voxels need no further care. Definitions follow
Beltman, Marée and de Boer (2009), Nat. Rev. Immunol. 9:789-798.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np
import pandas as pd
from scipy.spatial import KDTree
from scipy.special import stdtrit

from helpers.analysis.timing import object_times
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks

#: Points from which on a path can be other than straight, and a slope of sizes more than the noise of two outlines.
_BENT, _GROWING = 3, 5

#: What `shapes` measures of a cell, of which tracklets have mean and standard deviation.
_SHAPES = ("volume_um3", "area_um2", "sphericity", "elongation", "perimeter_um", "eccentricity")

#: Measures of tracklets that are worth comparing, with what they say.
TRACKLET_METRICS: dict[str, str] = {
    "mean_speed_um_per_min": "path length divided by duration",
    "displacement_um": "from the first point to the last",
    "path_length_um": "sum of all steps",
    "directness": "displacement divided by path length, of 3 points or more: 1 is straight",
    "mean_turning_angle_deg": "between steps that follow each other: 0 is straight on, 90 is random in 3D",
    "duration_s": "from the first point to the last",
    "mean_nearest_neighbour_um": "distance to the nearest other cell",
    "mean_volume_um3": "mean volume",
    "mean_area_um2": "mean area, in 2D",
    "growth_per_h": "slope of the logarithm of the size, of 5 points or more: 0.69 doubles in an hour",
    "mean_sphericity": "1 is a ball (2D: a disc), less is flat, long or bent",
    "mean_elongation": "longest axis divided by shortest",
}


def measure_steps(
    tracks: Tracks, *, remove_drift: bool = False, neighbour_radius: float | None = None
) -> pd.DataFrame:
    """Measure how each cell came to where it is.

    Parameters
    ----------
    tracks : Tracks
        With a frame interval, or a column ``time_s``.
    remove_drift : bool
        Subtract the mean motion of all cells, such as that of a drifting stage.
    neighbour_radius : float, optional
        µm within which neighbours are counted.

    Returns
    -------
    DataFrame
        One row per object, in their order: ``id, frame, time_s, track_id, tracklet_id, generation, z, y, x, step_um,
        step_s, speed_um_per_min, velocity_{z,y,x}_um_per_min, azimuth_deg`` (in the plane, 0 along x, 90 along y)``,
        elevation_deg`` (out of it)``, turning_angle_deg, nearest_neighbour_um, neighbours`` (with
        `neighbour_radius`)``, size, sphericity, elongation, perimeter_um, eccentricity`` (see `shapes`). What has no step before
        it, or no neighbour, is NaN; a direction without motion too.
    """
    seconds = object_times(tracks)
    points = tracks.objects[["z", "y", "x"]].to_numpy(float)
    moved = points - drift(tracks)[tracks.objects["frame"].to_numpy()] if remove_drift else points
    tracklet = tracks.tracklet_ids
    step = np.full(points.shape, np.nan)
    took = np.full(len(points), np.nan)
    before, after = _consecutive(tracks)
    step[after] = moved[after] - moved[before]
    took[after] = seconds[after] - seconds[before]
    length = np.linalg.norm(step, axis=1)
    planar = np.linalg.norm(step[:, 1:], axis=1)
    with np.errstate(invalid="ignore"):
        velocity = step / took[:, None] * 60
        azimuth = np.where(planar > 0, np.degrees(np.arctan2(step[:, 1], step[:, 2])), np.nan)
        elevation = np.where(length > 0, np.degrees(np.arctan2(step[:, 0], planar)), np.nan)
    turn = np.full(len(points), np.nan)
    turn[after] = _angle(step[before], step[after])
    nearest, count = neighbours(tracks, neighbour_radius)
    table = pd.DataFrame(
        {
            "id": tracks.objects["id"],
            "frame": tracks.objects["frame"],
            "time_s": seconds,
            "track_id": tracks.track_ids,
            "tracklet_id": tracklet,
            "generation": tracks.generations[tracklet],
            **dict(zip("zyx", moved.T, strict=True)),
            "step_um": length,
            "step_s": took,
            "speed_um_per_min": length / took * 60,
            **{f"velocity_{a}_um_per_min": v for a, v in zip("zyx", velocity.T, strict=True)},
            "azimuth_deg": azimuth,
            "elevation_deg": elevation,
            "turning_angle_deg": turn,
            "nearest_neighbour_um": nearest,
        }
    )
    if neighbour_radius is not None:
        table["neighbours"] = count
    return table.assign(**shapes(tracks.objects))


def measure_tracklets(tracks: Tracks, steps: pd.DataFrame) -> pd.DataFrame:
    """Bring the motion of each tracklet into one row.

    Parameters
    ----------
    tracks : Tracks
        What was measured.
    steps : DataFrame
        From `measure_steps`, of these tracks; further columns named ``region`` are carried along (the tracklet's most
        frequent one).

    Returns
    -------
    DataFrame
        One row per tracklet: ``tracklet_id, track_id, generation, n_points, n_missing`` (frames of its gaps)``,
        start_frame, end_frame``, the measures of `TRACKLET_METRICS`, ``median_speed_um_per_min, max_speed_um_per_min,
        sd_speed_um_per_min, net_speed_um_per_min`` (displacement by duration)``, mean_`` and ``sd_`` of size and shape (within the
        tracklet)``, farthest_um`` (from its start)``, direction_z, direction_y, direction_x`` (unit vector of the displacement)``,
        azimuth_deg, elevation_deg, growth_low_per_h, growth_high_per_h`` (95 % interval of `growth_per_h`). A tracklet of one point has a path and displacement of 0, and no speed.
    """
    ordered = steps.sort_values(["tracklet_id", "frame"], kind="stable")
    by = ordered.groupby("tracklet_id")
    table = by[["track_id", "generation"]].first()
    table["n_points"] = by.size()
    table["start_frame"], table["end_frame"] = by["frame"].first(), by["frame"].last()
    table["n_missing"] = table["end_frame"] - table["start_frame"] + 1 - table["n_points"]
    table["duration_s"] = by["time_s"].last() - by["time_s"].first()
    table["path_length_um"] = by["step_um"].sum()
    start = by[["z", "y", "x"]].transform("first").to_numpy()
    away = np.linalg.norm(ordered[["z", "y", "x"]].to_numpy() - start, axis=1)
    net = (by[["z", "y", "x"]].last() - by[["z", "y", "x"]].first()).to_numpy()
    displacement = np.linalg.norm(net, axis=1)
    table["displacement_um"] = displacement
    table["farthest_um"] = pd.Series(away, ordered.index).groupby(ordered["tracklet_id"]).max()
    path, duration = table["path_length_um"].to_numpy(), table["duration_s"].to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        bent = (path > 0) & (table["n_points"] >= _BENT)
        table["directness"] = np.where(bent, displacement / path, np.nan)
        table["mean_speed_um_per_min"] = np.where(duration > 0, path / duration * 60, np.nan)
        table["net_speed_um_per_min"] = np.where(duration > 0, displacement / duration * 60, np.nan)
        direction = np.where(displacement[:, None] > 0, net / displacement[:, None], np.nan)
    table["median_speed_um_per_min"] = by["speed_um_per_min"].median()
    table["max_speed_um_per_min"] = by["speed_um_per_min"].max()
    table["sd_speed_um_per_min"] = by["speed_um_per_min"].std(ddof=0)
    for axis, component in zip("zyx", direction.T, strict=True):
        table[f"direction_{axis}"] = component
    table["azimuth_deg"] = np.degrees(np.arctan2(direction[:, 1], direction[:, 2]))
    table["elevation_deg"] = np.degrees(np.arcsin(np.clip(direction[:, 0], -1, 1)))
    table["mean_turning_angle_deg"] = by["turning_angle_deg"].mean()
    table["mean_nearest_neighbour_um"] = by["nearest_neighbour_um"].mean()
    for name in _SHAPES:
        if name in steps:
            table[f"mean_{name}"], table[f"sd_{name}"] = by[name].mean(), by[name].std(ddof=0)
    if size := next((name for name in ("volume_um3", "area_um2") if name in steps), None):
        growth = _slopes(ordered["time_s"] / 3600, ordered[size].transform(np.log), ordered["tracklet_id"])
        for name, values in growth.items():
            table[f"growth{name}_per_h"] = values.where(by[size].count() >= _GROWING)
    if "region" in steps:
        counts = ordered.groupby(["tracklet_id", "region"]).size()
        table["region"] = counts.groupby(level=0).idxmax().map(itemgetter(1))
    return table.reset_index()


def drift(tracks: Tracks) -> np.ndarray:
    """Return (n_frames, 3) µm: where the mean cell has been carried since frame 0, from all links of one frame."""
    frames = tracks.objects["frame"].to_numpy()
    points = tracks.objects[["z", "y", "x"]].to_numpy(float)
    n_frames = int(frames.max(initial=-1)) + 1
    before, after = _consecutive(tracks)
    one = frames[after] - frames[before] == 1
    before, after = before[one], after[one]
    count = np.bincount(frames[after], minlength=n_frames)
    step = points[after] - points[before]
    sums = np.stack([np.bincount(frames[after], s, minlength=n_frames) for s in step.T], axis=1)
    return np.cumsum(sums / np.maximum(count, 1)[:, None], axis=0)


def neighbours(tracks: Tracks, radius: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Measure how near the other cells of the frame are.

    Parameters
    ----------
    tracks : Tracks
        Only its objects matter.
    radius : float, optional
        µm.

    Returns
    -------
    nearest : ndarray (n_objects,)
        µm between centroids; NaN for a cell alone in its frame.
    count : ndarray (n_objects,) of int
        Other cells within `radius`; 0 without one.
    """
    if radius is not None and not (np.isfinite(radius) and radius > 0):
        raise InputError("neighbour_radius_um", radius, "give a distance above 0")
    frames = tracks.objects["frame"].to_numpy()
    points = tracks.objects[["z", "y", "x"]].to_numpy(float)
    nearest = np.full(len(points), np.nan)
    count = np.zeros(len(points), np.int64)
    for t in np.unique(frames):
        here = np.flatnonzero(frames == t)
        tree = KDTree(points[here])
        if len(here) > 1:
            nearest[here] = tree.query(points[here], k=2)[0][:, 1]
        if radius is not None:
            count[here] = np.asarray(tree.query_ball_point(points[here], radius, return_length=True)) - 1
    return nearest, count


def shapes(objects: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return ``volume_um3`` (in 2D ``area_um2``), ``sphericity`` and ``elongation``, as far as the table has what they need.

    Sphericity is the surface of a ball of the same volume divided by the cell's (Wadell 1935); in 2D the
    perimeter of a disc divided by the cell's. In 2D there are ``perimeter_um`` and ``eccentricity`` too, that of the ellipse
    with the cell's second moments: 0 is a disc, near 1 a line.
    """
    found: dict[str, np.ndarray] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        if "volume_um3" in objects:
            volume = found["volume_um3"] = objects["volume_um3"].to_numpy(float)
            if "surface_um2" in objects:
                ball = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3)
                found["sphericity"] = ball / objects["surface_um2"].to_numpy(float)
        elif "area_um2" in objects:
            area = found["area_um2"] = objects["area_um2"].to_numpy(float)
            if "perimeter_um" in objects:
                found["perimeter_um"] = objects["perimeter_um"].to_numpy(float)
                found["sphericity"] = 2 * np.sqrt(np.pi * area) / found["perimeter_um"]
        if {"axis_major_um", "axis_minor_um"} <= set(objects):
            short = objects["axis_minor_um"].to_numpy(float)
            found["elongation"] = np.where(
                short > 0, objects["axis_major_um"].to_numpy(float) / short, np.nan
            )
            if "volume_um3" not in objects and "area_um2" in objects:
                found["eccentricity"] = np.sqrt(1 - 1 / found["elongation"] ** 2)
    return found


def summarize(table: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Describe metrics by group, such as by region and generation.

    Parameters
    ----------
    table : DataFrame
        Of tracklets or steps.
    by : sequence of str
        Columns that name the groups; those that are not there are left out.
    metrics : sequence of str
        Columns to describe; likewise.

    Returns
    -------
    DataFrame
        One row per group and metric: the groups, ``metric, n`` (without NaN)``, mean, sd, median, q25, q75``.
    """
    by = [name for name in by if name in table]
    metrics = [name for name in metrics if name in table]
    long = table[by + metrics].melt(id_vars=by, value_vars=metrics, var_name="metric")
    values = long.groupby([*by, "metric"], sort=True)["value"]
    return values.agg(
        n="count",
        mean="mean",
        sd="std",
        median="median",
        q25=lambda v: v.quantile(0.25),
        q75=lambda v: v.quantile(0.75),
    ).reset_index()


def split_by_movement(
    tracklets: pd.DataFrame, *, min_displacement: float = 0.0, min_frames: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tell tracklets that moved and lasted from those that did not.

    Parameters
    ----------
    tracklets : DataFrame
        From `measure_tracklets`.
    min_displacement : float
        µm from the start to the farthest point.
    min_frames : int
        From the first to the last, both counted.

    Returns
    -------
    passing, failing : DataFrame
        The second with a column ``reason``.
    """
    length = tracklets["end_frame"] - tracklets["start_frame"] + 1
    short, still = length < min_frames, tracklets["farthest_um"] < min_displacement
    reason = np.select([short, still], [f"frames < {min_frames}", f"moved < {min_displacement:g} µm"], "")
    passes = reason == ""
    failing = tracklets[~passes].assign(reason=reason[~passes])
    return tracklets[passes].reset_index(drop=True), failing.reset_index(drop=True)


def _consecutive(tracks: Tracks) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the objects that follow each other within a tracklet, in order of time: (before, after)."""
    order = np.lexsort((tracks.objects["frame"].to_numpy(), tracks.tracklet_ids))
    same = np.diff(tracks.tracklet_ids[order]) == 0
    return order[:-1][same], order[1:][same]


def _angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between vectors in degrees, NaN where one has no length; exact for small angles too."""
    a, b = np.nan_to_num(a), np.nan_to_num(b)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(axis=1)))
    return np.where(lengths > 0, angle, np.nan)


def _slopes(x: pd.Series, y: pd.Series, group: pd.Series) -> dict[str, pd.Series]:
    """Slope of the least squares of each group (``""``; NaN for fewer than two points), and its 95 % interval.

    ``_low`` and ``_high`` are from Student's t with n − 2 degrees of freedom, errors of the points taken for independent.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y, group = x[known], y[known], group[known]
    x, y = (v - v.groupby(group).transform("mean") for v in (x, y))
    sums = pd.DataFrame({"xx": x * x, "xy": x * y, "yy": y * y, "n": 1.0}).groupby(group).sum()
    slope = sums["xy"] / sums["xx"].where(sums["xx"] > 0)
    free = (sums["n"] - 2).where(sums["n"] > 2)
    left = (sums["yy"] - slope * sums["xy"]).clip(lower=0)
    half = stdtrit(free, 0.975) * np.sqrt(left / free / sums["xx"])
    return {"": slope, "_low": slope - half, "_high": slope + half}

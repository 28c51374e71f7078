"""How often cells divide, and along which axis.

The axis joins the daughters where they are first seen. Divisions per time are counted against the time during which a
division could have been seen. Only plausible ones count (`helpers.tracking.plausibility`), over the frames in which a
division could have been plausible: without the first of the movie and the last ones.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from helpers.analysis.timing import object_times
from helpers.errors import InputError
from helpers.tracking.plausibility import judge_divisions, judgeable
from helpers.tracking.tracks import Tracks


def measure_divisions(tracks: Tracks, distances: pd.DataFrame | None = None) -> pd.DataFrame:
    """Measure where, when and along which axis cells divide.

    Parameters
    ----------
    tracks : Tracks
        With a frame interval, or a column ``time_s``.
    distances : DataFrame, optional
        From `helpers.analysis.boundary.measure_distances`: adds region, distance, and the angle to the boundary.

    Returns
    -------
    DataFrame
        One row per division: ``parent_id, track_id, tracklet_id, generation`` (of the mother)``, frame, time_s, z, y,
        x`` (of the mother)``, daughters`` (number)``, daughters_apart_um, axis_z, axis_y, axis_x`` (unit vector,
        pointing to positive x)``, azimuth_deg`` (−90 to 90, 0 along x)``, elevation_deg`` (0 to 90, out of the
        plane)``, size_ratio`` (smaller daughter by larger)``, plausibility, plausible, doubts`` (of
        `helpers.tracking.plausibility.judge_divisions`)``, and with `distances` distance_um, region,
        angle_to_boundary_deg`` (0: daughters lie side by side along the boundary; 90: one deeper than the other).
    """
    seconds = object_times(tracks)
    objects = tracks.objects
    points = objects[["z", "y", "x"]].to_numpy(float)
    size = next((objects[n].to_numpy(float) for n in ("volume_um3", "area_um2") if n in objects), None)
    row_of = pd.Series(np.arange(len(objects)), index=objects["id"])
    rows = []
    for mother, daughters in zip(tracks.divisions["parent"], tracks.divisions["daughters"], strict=True):
        at = int(row_of[mother])
        young = row_of[list(daughters)].to_numpy()
        a, b = _farthest(points[young])
        axis = points[young[b]] - points[young[a]]
        apart = float(np.linalg.norm(axis))
        axis = axis / apart if apart else np.full(3, np.nan)
        if axis[2] < 0 or (axis[2] == 0 and axis[1] < 0):
            axis = -axis
        tracklet = tracks.tracklet_ids[at]
        row = {
            "parent_id": mother,
            "track_id": tracks.track_ids[at],
            "tracklet_id": tracklet,
            "generation": tracks.generations[tracklet],
            "frame": int(objects["frame"].iloc[at]),
            "time_s": seconds[at],
            **dict(zip("zyx", points[at], strict=True)),
            "daughters": len(young),
            "daughters_apart_um": apart,
            **{f"axis_{name}": value for name, value in zip("zyx", axis, strict=True)},
            "azimuth_deg": np.degrees(np.arctan2(axis[1], axis[2])),
            "elevation_deg": abs(np.degrees(np.arcsin(np.clip(axis[0], -1, 1)))),
            "size_ratio": float(size[young].min() / size[young].max()) if size is not None else np.nan,
        }
        if distances is not None:
            normal = distances[["inward_z", "inward_y", "inward_x"]].to_numpy(float)[at]
            row["distance_um"] = distances["distance_um"].iloc[at]
            row["region"] = distances["region"].iloc[at]
            row["angle_to_boundary_deg"] = np.degrees(np.arcsin(np.clip(abs(axis @ normal), 0, 1)))
        rows.append(row)
    columns = ["parent_id", "track_id", "tracklet_id", "generation", "frame", "time_s", "elevation_deg"]
    judged = judge_divisions(tracks)[["plausibility", "plausible", "doubts"]]
    if not rows:
        return pd.DataFrame(columns=[*columns, *judged.columns])
    return pd.DataFrame(rows).join(judged)


def division_rates(
    tracks: Tracks, by: pd.Series | None = None, *, plausible_only: bool = True
) -> pd.DataFrame:
    """Count divisions per cell and hour.

    Parameters
    ----------
    tracks : Tracks
        With a frame interval, or a column ``time_s``.
    by : Series, optional
        Group of each object, in their order, such as its region or generation; all in one if left out.
    plausible_only : bool
        Count plausible divisions over the time in which one could be plausible; False counts all over all frames.

    Returns
    -------
    DataFrame
        ``group, divisions, left_out`` (implausible ones)``, cell_hours, rate_per_h, low_per_h, high_per_h`` (95 % interval
        of a Poisson count, Garwood 1936). NaN where no time was watched.
    """
    seconds = object_times(tracks)
    frames = tracks.objects["frame"].to_numpy()
    group = np.full(len(frames), "all", object) if by is None else np.asarray(by, object)
    if len(group) != len(frames):
        raise InputError("by", f"{len(group)} values", f"one for each of the {len(frames)} objects")
    times = pd.Series(seconds).groupby(frames).first()
    # A cell is watched from its frame to the next one of the movie; nothing follows the last.
    watched = (times.shift(-1) - times).fillna(0.0).reindex(frames).to_numpy() / 3600
    divides = tracks.out_degree > 1
    counted = divides
    if plausible_only:
        judged = judge_divisions(tracks)
        counted = tracks.objects["id"].isin(judged.loc[judged["plausible"], "parent_id"]).to_numpy()
        watched = np.where(judgeable(tracks), watched, 0.0)
    rows = []
    for name in pd.unique(group[pd.notna(group)]):
        members = group == name
        n = int((members & counted).sum())
        hours = float(watched[members].sum())
        # Half the quantiles of χ² with 2n and 2n + 2 degrees of freedom.
        low = float(gammaincinv(n, 0.025)) if n else 0.0
        limits = (n, low, float(gammaincinv(n + 1, 0.975)))
        left_out = int((members & divides & ~counted).sum())
        rows.append((name, n, left_out, hours, *(v / hours if hours else np.nan for v in limits)))
    columns = ["group", "divisions", "left_out", "cell_hours", "rate_per_h", "low_per_h", "high_per_h"]
    return pd.DataFrame(rows, columns=columns).sort_values("group", ignore_index=True)


def _farthest(points: np.ndarray) -> tuple[int, int]:
    """Return which two points lie farthest apart: of three daughters, those that tell the axis best."""
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    a, b = np.unravel_index(int(apart.argmax()), apart.shape)
    return int(a), int(b)

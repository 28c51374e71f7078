"""Distance of every cell to the boundary of its tissue: of each cell and frame, and of each tracklet.

What the distances are measured to is in `helpers.analysis.distance_fields`. Inside is positive. A cell is *outer*
where its centre is less than one cell diameter from the boundary, that is between the first layer of cells (whose
centres lie at half a diameter) and the second (at one and a half), *inner* deeper, and *outside* beyond it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from helpers.analysis.distance_fields import (
    Boundary,
    Field,
    MaskBoundary,
    signed_distance,
)
from helpers.analysis.outlined_boundaries import HullBoundary, RoiBoundary
from helpers.errors import InputError
from helpers.progress import progress
from helpers.tracking.tracks import Tracks

__all__ = [
    "HullBoundary",
    "MaskBoundary",
    "RoiBoundary",
    "cell_diameter",
    "distance_errors",
    "inner_probability",
    "is_planar",
    "measure_distances",
    "published_columns",
    "signed_distance",
    "summarize_tracklets",
]

#: The regions of a tissue, from the outside in.
REGIONS = ("outside", "outer", "inner")


def measure_distances(
    tracks: Tracks,
    boundary: Boundary,
    *,
    labels: Any = None,
    inner_from: float | None = None,
) -> pd.DataFrame:
    """Measure the signed distance of every cell and frame.

    Parameters
    ----------
    tracks : Tracks
        Any; tracks of one point, gaps, divisions and merges too.
    boundary : Boundary
        `MaskBoundary`, `RoiBoundary` or `HullBoundary`.
    labels : label movie, optional
        With ``.frame(t)``, ``.shape`` and ``.voxel_size``, its labels in the column ``label`` of the objects: adds the
        distance of each cell's nearest voxel.
    inner_from : float, optional
        µm from which a cell is inner; `cell_diameter` if left out.

    Returns
    -------
    DataFrame
        One row per object, in their order: ``id, frame, time_s`` (NaN without frame interval)``, track_id,
        tracklet_id, generation, z, y, x, distance_um`` (of the centroid; inside positive)``, edge_distance_um`` (with
        `labels`: of the voxel nearest to the boundary; 0 where the cell lies on both sides)``, inward_z, inward_y,
        inward_x`` (unit vector along which the distance grows)``, region`` (`REGIONS`)`` and inner_probability``.

    Raises
    ------
    InputError
        A mask that does not fit or is missing in a frame, cells without a hull, labels that are not those of the
        objects, no size to tell inner from outer by.
    """
    if inner_from is None:
        inner_from = cell_diameter(tracks.objects)
    if not (np.isfinite(inner_from) and inner_from > 0):
        raise InputError("inner_from_um", inner_from, "give a distance above 0")
    points = tracks.objects[["z", "y", "x"]].to_numpy(float)
    frames = tracks.objects["frame"].to_numpy()
    if isinstance(boundary, MaskBoundary):
        boundary.check_fits(points, labels)
    distance = np.full(len(points), np.nan)
    inward = np.full((len(points), 3), np.nan)
    edge = np.full(len(points), np.nan)
    for t in progress(np.unique(frames), desc="Distance to the boundary", unit="frame"):
        here = np.flatnonzero(frames == t)
        field = boundary.field(int(t))
        distance[here] = field.at(points[here])
        inward[here] = _inward(field, points[here])
        if labels is not None:
            edge[here] = _nearest_voxels(field, labels, int(t), tracks.objects.iloc[here])
    tracklet = tracks.tracklet_ids
    interval = tracks.frame_interval or np.nan
    table = pd.DataFrame(
        {
            "id": tracks.objects["id"],
            "frame": frames,
            "time_s": frames * interval,
            "track_id": tracks.track_ids,
            "tracklet_id": tracklet,
            "generation": tracks.generations[tracklet],
            **dict(zip("zyx", points.T, strict=True)),
            "distance_um": distance,
        }
    )
    if labels is not None:
        table["edge_distance_um"] = edge
    for axis, component in zip("zyx", inward.T, strict=True):
        table[f"inward_{axis}"] = component
    table["region"] = np.select([distance < 0, distance < inner_from], REGIONS[:2], REGIONS[2])
    table["inner_probability"] = inner_probability(distance, inner_from)
    return table


def summarize_tracklets(tracks: Tracks, distances: pd.DataFrame) -> pd.DataFrame:
    """Bring the distances of each tracklet into one row.

    Parameters
    ----------
    tracks : Tracks
        What was measured.
    distances : DataFrame
        From `measure_distances`, of these tracks.

    Returns
    -------
    DataFrame
        One row per tracklet: ``tracklet_id, track_id, generation, parent_tracklet`` (−1: none)``,
        track_divides, is_parent`` (ends in a division)``, is_daughter`` (begins with one)``, n_points, start_frame, end_frame, start_distance_um, end_distance_um,
        change_um, mean_distance_um, min_distance_um, speed_inward_um_per_h`` (slope of the least squares; NaN for one
        point or without frame interval)``, start_region, end_region, inner_fraction``.
    """
    ordered = distances.sort_values(["tracklet_id", "frame"], kind="stable")
    by = ordered.groupby("tracklet_id")
    table = by[["track_id", "generation"]].first()
    divides = np.zeros(tracks.n_tracks, bool)
    split = tracks.track_ids[tracks.out_degree > 1]
    divides[split] = True
    mothers = pd.Series({child: parents[0] for child, parents in tracks.parents.items()}, dtype=float)
    table["parent_tracklet"] = mothers.reindex(table.index).fillna(-1).astype(int)
    of = table["track_id"].to_numpy()
    table["track_divides"] = divides[of] & (of >= 0) if len(divides) else False
    source, target = tracks.link_rows[tracks.out_degree[tracks.link_rows[:, 0]] > 1].T
    table["is_parent"] = table.index.isin(tracks.tracklet_ids[source])
    table["is_daughter"] = table.index.isin(tracks.tracklet_ids[target])
    table["n_points"] = by.size()
    table["start_frame"], table["end_frame"] = by["frame"].first(), by["frame"].last()
    distance = by["distance_um"]
    table["start_distance_um"], table["end_distance_um"] = distance.first(), distance.last()
    table["change_um"] = table["end_distance_um"] - table["start_distance_um"]
    table["mean_distance_um"], table["min_distance_um"] = distance.mean(), distance.min()
    time = ordered["time_s"] / 3600
    centred = time - time.groupby(ordered["tracklet_id"]).transform("mean")
    sums = pd.DataFrame({"xx": centred**2, "xy": centred * ordered["distance_um"]})
    sums = sums.groupby(ordered["tracklet_id"]).sum(min_count=1)
    table["speed_inward_um_per_h"] = (sums["xy"] / sums["xx"].where(sums["xx"] > 0)).to_numpy()
    table["start_region"], table["end_region"] = by["region"].first(), by["region"].last()
    table["inner_fraction"] = by["region"].agg(lambda regions: float((regions == "inner").mean()))
    return table.reset_index()


def published_columns(tracks: Tracks, distances: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that users of napatrackmater know, with the tracklet they belong to.

    Parameters
    ----------
    tracks : Tracks
        What was measured.
    distances : DataFrame
        From `measure_distances`, of these tracks.

    Returns
    -------
    DataFrame
        ``Track, Tracklet, Time`` (s; frames without an interval)``, Cell Size`` (µm³, in 2D µm²; NaN where it was
        not measured)``, Distance to Border`` (µm; negative outside, where the published one was cut at 0)``, Inner
        Cell Probability, Cell Speed`` (µm/s since the tracklet's last point)``, Directionality`` (angle to the
        step before in rad)``.

    Notes
    -----
    The published probability is 1 − exp(−distance) with the distance in µm; `inner_probability` measures it in
    cell diameters, so that it means the same for large and small cells.
    """
    from helpers.analysis.migration import measure_steps

    interval = tracks.frame_interval or 1.0
    timed = Tracks(tracks.objects, tracks.links, tracks.voxel_size, interval)
    steps = measure_steps(timed)
    size = next((name for name in ("volume_um3", "area_um2") if name in tracks.objects), None)
    table = pd.DataFrame(
        {
            "Track": distances["track_id"],
            "Tracklet": distances["tracklet_id"],
            "Time": distances["frame"] * interval,
            "Cell Size": tracks.objects[size] if size else np.nan,
            "Distance to Border": distances["distance_um"],
            "Inner Cell Probability": distances["inner_probability"],
            "Cell Speed": steps["speed_um_per_min"] / 60,
            "Directionality": np.deg2rad(steps["turning_angle_deg"]),
        }
    )
    return table.sort_values(["Tracklet", "Time"], ignore_index=True)


def inner_probability(distance: np.ndarray, diameter: float) -> np.ndarray:
    """Return 1 − exp(−distance / diameter), and 0 outside: how surely a cell is an inner one.

    Parameters
    ----------
    distance : ndarray
        Signed, in µm.
    diameter : float
        Of a cell, in µm: one diameter deep is 0.63, three are 0.95.
    """
    return -np.expm1(-np.maximum(distance, 0) / diameter)


def cell_diameter(objects: pd.DataFrame) -> float:
    """Return the median diameter in µm of balls (2D: discs) as large as the cells.

    From their volume or area, or TrackMate's ``RADIUS`` or ``AREA``.

    Raises
    ------
    InputError
        If the table has no sizes.
    """
    if "volume_um3" in objects and objects["volume_um3"].notna().any():
        return float((objects["volume_um3"].median() * 6 / np.pi) ** (1 / 3))
    if "area_um2" in objects and objects["area_um2"].notna().any():
        return float(2 * (objects["area_um2"].median() / np.pi) ** 0.5)
    for name in ("radius_um", "RADIUS"):  # TrackMate's
        if name in objects and objects[name].notna().any():
            return float(2 * objects[name].median())
    if "AREA" in objects and objects["AREA"].notna().any():
        return float(2 * (objects["AREA"].median() / np.pi) ** 0.5)
    raise InputError(
        "inner_from_um",
        None,
        "the cells' sizes are not in the table: give the depth in µm from which a cell is inner",
    )


def is_planar(tracks: Tracks) -> bool:
    """Return whether all cells lie in one plane."""
    return len(tracks.objects) == 0 or bool(np.ptp(tracks.objects["z"].to_numpy(float)) == 0)


def distance_errors(distances: pd.DataFrame, truth: pd.DataFrame, reach: float) -> pd.DataFrame:
    """Compare distances with known ones, each cell with the true cell at its place.

    Parameters
    ----------
    distances : DataFrame
        From `measure_distances`.
    truth : DataFrame
        ``frame, z, y, x, distance_um``, such as the ``objects`` of a synthetic movie.
    reach : float
        µm that two centres of one cell may lie apart; each must be the other's nearest.

    Returns
    -------
    DataFrame
        ``id, true_row`` (position in `truth`)``, error_um`` (signed), a row for each cell found in the truth.

    Raises
    ------
    InputError
        If the truth has no distances.
    """
    if missing := [name for name in ("frame", "z", "y", "x", "distance_um") if name not in truth]:
        raise InputError("truth", list(truth), f"the table of true cells needs the columns {missing}")
    rows = []
    here, there = distances[["z", "y", "x"]].to_numpy(float), truth[["z", "y", "x"]].to_numpy(float)
    for t in np.intersect1d(distances["frame"], truth["frame"]):
        mine = np.flatnonzero(distances["frame"] == t)
        theirs = np.flatnonzero(truth["frame"] == t)
        a, b = here[mine], there[theirs]
        apart, nearest = (np.asarray(found) for found in KDTree(b).query(a))
        back = np.asarray(KDTree(a).query(b)[1])
        same = (back[nearest] == np.arange(len(a))) & (apart <= reach)
        rows.append(np.column_stack([mine[same], theirs[nearest[same]]]))
    pairs = np.concatenate(rows) if rows else np.empty((0, 2), int)
    found, true = distances.iloc[pairs[:, 0]], truth.iloc[pairs[:, 1]]
    error = found["distance_um"].to_numpy() - true["distance_um"].to_numpy(float)
    return pd.DataFrame({"id": found["id"].to_numpy(), "true_row": pairs[:, 1], "error_um": error})


def _inward(field: Field, points: np.ndarray) -> np.ndarray:
    """Unit vectors along which the distance grows fastest, by central differences; NaN where it is flat."""
    slope = np.zeros(points.shape)
    for axis, step in enumerate(field.step):
        if step:
            move = np.zeros(3)
            move[axis] = step
            slope[:, axis] = (field.at(points + move) - field.at(points - move)) / (2 * step)
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 1e-9, slope / length, np.nan)


def _nearest_voxels(field: Field, labels: Any, frame: int, objects: pd.DataFrame) -> np.ndarray:
    """Distance of each object's voxel that is nearest to the boundary; 0 for objects on both sides."""
    if "label" not in objects:
        raise InputError(
            "objects", list(objects), "add the column label, to find the cells in the label movie"
        )
    stack = np.asarray(labels.frame(frame))
    found, owner = np.unique(stack[stack > 0], return_inverse=True)
    wanted = objects["label"].to_numpy()
    lost = ~np.isin(wanted, found)
    if lost.any():
        raise InputError(
            "labels",
            f"frame {frame} without labels {wanted[lost][:5].tolist()}",
            "give the labels of these tracks",
        )
    distance = field.at(np.argwhere(stack > 0) * np.array(labels.voxel_size))
    low, high = np.full(len(found), np.inf), np.full(len(found), -np.inf)
    np.minimum.at(low, owner, distance)
    np.maximum.at(high, owner, distance)
    nearest = np.where(low >= 0, low, np.where(high <= 0, high, 0.0))
    return nearest[np.searchsorted(found, wanted)]

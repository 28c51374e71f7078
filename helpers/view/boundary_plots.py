"""Pictures of notebook 13_analyze_boundary_distance: how deep cells are, where they start and end, and how far that is from the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.view.analysis_style import REGION_COLORS, ROLES, role_of, times_of
from helpers.view.style import OKABE_ITO, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PAPER: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.7}


@styled
def distance_over_time(
    distances: pd.DataFrame, tracklets: pd.DataFrame, *, inner_from: float | None = None, max_tracks: int = 40
) -> Figure:
    """Draw the distance of each cell to the boundary over time.

    Parameters
    ----------
    distances, tracklets : DataFrame
        From `helpers.analysis.boundary`.
    inner_from : float, optional
        µm from which a cell is inner, drawn as a line.
    max_tracks : int
        Most tracks a panel, the longest first; the titles say how many there are.

    Returns
    -------
    Figure
        Left tracks without a division, a line each; right the tracklets of those with one, parents green, daughters
        red, a dotted line from mother to daughter.
    """
    figure = new_figure(8.4, 3.6)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    times, label = times_of(distances)
    roles = dict(zip(tracklets["tracklet_id"].tolist(), role_of(tracklets), strict=True))
    divides = pd.Series(tracklets["track_divides"].to_numpy(bool), index=tracklets["tracklet_id"])
    for axes, wanted, kind in ((left, False, "do not divide"), (right, True, "divide")):
        chosen = _longest(distances, divides[distances["tracklet_id"]].to_numpy() == wanted, max_tracks)
        for tracklet, rows in _by_tracklet(distances, chosen).items():
            color, marker = ROLES[roles[tracklet]]
            lone = len(rows) == 1
            axes.plot(
                times[rows], distances["distance_um"].to_numpy()[rows], marker if lone else "-", color=color,
                linewidth=1.1, markersize=3, alpha=0.85, gid="tracklet",
            )  # fmt: skip
        if wanted:
            _join_families(axes, distances, tracklets, chosen, times)
        total = tracklets.loc[tracklets["track_divides"] == wanted, "track_id"]
        n = total[total >= 0].nunique() + int((total < 0).sum())
        shown = pd.Series(_track_key(distances)[chosen]).nunique()
        axes.set_title(f"{shown} of {n} tracks that {kind}", loc="left")
        axes.axhline(0, color="black", linewidth=1)
        if inner_from is not None:
            axes.axhline(inner_from, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate("inner", (1, inner_from), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7, bbox=_PAPER)  # fmt: skip
        axes.annotate(
            "boundary",
            (1, 0),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="bottom",
            fontsize=7,
            bbox=_PAPER,
        )
        axes.set_xlabel(label)
    left.set_ylabel("distance to the boundary (µm)")
    _role_legend(figure, ["parent", "daughter", "does not divide"], division="from mother to daughter")
    return figure


@styled
def start_and_end(tracklets: pd.DataFrame, *, min_points: int = 2) -> Figure:
    """Draw where each cell begins and where it ends: parents green, daughters red, as in the paper.

    Parameters
    ----------
    tracklets : DataFrame
        From `helpers.analysis.boundary.summarize_tracklets`.
    min_points : int
        Tracklets with fewer points, whose start is their end, are left out.

    Returns
    -------
    Figure
        Above the diagonal cells moved inwards.
    """
    figure = new_figure(4.6, 4.4)
    axes = figure.subplots()
    shown = tracklets[tracklets["n_points"] >= min_points]
    role = role_of(shown)
    for name, (color, marker) in reversed(ROLES.items()):
        part = shown[role == name]
        axes.plot(
            part["start_distance_um"], part["end_distance_um"], marker, color=color, markersize=5.5, alpha=0.85,
            markeredgecolor="white", markeredgewidth=0.4, label=f"{name}: {len(part)}", gid=name,
        )  # fmt: skip
    both = shown[["start_distance_um", "end_distance_um"]].to_numpy(float)
    low, high = (np.nanmin(both), np.nanmax(both)) if len(both) else (0.0, 1.0)
    pad = max(0.06 * (high - low), 0.5)
    axes.plot(
        [low - pad, high + pad],
        [low - pad, high + pad],
        color="black",
        linewidth=0.8,
        zorder=0,
        label="as deep as before",
    )
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(low - pad, high + pad)
    axes.set_aspect("equal")
    axes.set_xlabel("distance to the boundary at the start (µm)")
    axes.set_ylabel("at the end (µm)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def regions_over_time(distances: pd.DataFrame) -> Figure:
    """Draw how many cells are inner, outer and outside in each frame.

    Parameters
    ----------
    distances : DataFrame
        From `helpers.analysis.boundary.measure_distances`.
    """
    figure = new_figure(6.0, 3.0)
    axes = figure.subplots()
    times, label = times_of(distances)
    counts = pd.crosstab(times, distances["region"])
    below = np.zeros(len(counts))
    width = float(np.diff(counts.index).min()) if len(counts) > 1 else 1.0
    for region in ("inner", "outer", "outside"):
        if region not in counts:
            continue
        here = counts[region].to_numpy()
        axes.bar(
            counts.index, here, width=0.92 * width, bottom=below, color=REGION_COLORS[region], label=region,
            edgecolor="white", linewidth=0.4, hatch={"outer": "///", "outside": "xx"}.get(region),
        )  # fmt: skip
        below = below + here
    axes.set_xlabel(label)
    axes.set_ylabel("cells")
    if len(counts):
        figure.legend(loc="outside right upper")
    return figure


@styled
def distance_histogram(distances: pd.DataFrame, *, inner_from: float | None = None) -> Figure:
    """Draw how often each distance occurs, of all cells and frames.

    Parameters
    ----------
    distances : DataFrame
        From `helpers.analysis.boundary.measure_distances`; with nearest voxels, theirs are drawn too.
    inner_from : float, optional
        µm from which a cell is inner, drawn as a line.
    """
    figure = new_figure(5.2, 3.0)
    axes = figure.subplots()
    centre = distances["distance_um"].to_numpy(float)
    edge = distances["edge_distance_um"].to_numpy(float) if "edge_distance_um" in distances else None
    every = centre if edge is None else np.concatenate([centre, edge])
    bins = np.histogram_bin_edges(every, bins=min(40, max(10, len(centre) // 10))).tolist()
    axes.hist(centre, bins=bins, color=OKABE_ITO["blue"], label="centre of the cell")
    if edge is not None:
        axes.hist(
            edge,
            bins=bins,
            histtype="step",
            color=OKABE_ITO["vermillion"],
            linewidth=1.6,
            label="nearest voxel",
        )
        figure.legend(loc="outside upper right", ncols=2)
    axes.axvline(0, color="black", linewidth=1)
    axes.annotate(" boundary", (0, 0.97), xycoords=("data", "axes fraction"), va="top", fontsize=8)
    if inner_from is not None:
        axes.axvline(inner_from, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(" inner", (inner_from, 0.97), xycoords=("data", "axes fraction"), va="top", fontsize=8)
    axes.set_title(f"n = {np.isfinite(centre).sum()} cells × frames", loc="left")
    axes.set_xlabel("distance to the boundary (µm)")
    axes.set_ylabel("cells × frames")
    return figure


@styled
def error_histogram(found: pd.DataFrame, true_cells: pd.DataFrame, half_voxel: float) -> Figure:
    """Draw how far distances are from the known ones.

    Parameters
    ----------
    found, true_cells : DataFrame
        From `helpers.analysis.boundary.distance_errors`: of the cells that were found, and of the true ones.
    half_voxel : float
        µm, shown as a band.
    """
    figure = new_figure(6.4, 2.9)
    axes = figure.subplots()
    axes.axvspan(-half_voxel, half_voxel, color="#dddddd", label="half a voxel", zorder=0)
    errors = [table["error_um"].to_numpy(float) for table in (true_cells, found)]
    reach = max([2 * half_voxel, *(float(np.percentile(np.abs(e), 98)) for e in errors if len(e))])
    bins = np.linspace(-reach, reach, 41).tolist()
    for error, name, color, filled in (
        (errors[0], "true cells", OKABE_ITO["orange"], True),
        (errors[1], "found cells", OKABE_ITO["blue"], False),
    ):
        if len(error):
            label = f"{name}: {np.median(np.abs(error)):.2f} µm, n = {len(error)}"
            axes.hist(
                np.clip(error, -reach, reach),
                bins=bins,
                histtype="stepfilled" if filled else "step",
                color=color,
                linewidth=1.6,
                label=label,
            )  # type: ignore[arg-type]
    axes.set_xlabel("measured − true distance (µm); ends hold all beyond")
    axes.set_ylabel("cells × frames")
    figure.legend(loc="outside right upper", title="median absolute error")
    return figure


def _track_key(distances: pd.DataFrame) -> np.ndarray:
    """Track of each object; lone objects have tracks of their own, below zero."""
    track = distances["track_id"].to_numpy()
    return np.where(track >= 0, track, -1 - distances["tracklet_id"].to_numpy())


def _longest(distances: pd.DataFrame, wanted: np.ndarray, n: int) -> np.ndarray:
    """(n_objects,) bool: objects of the n largest tracks among those wanted."""
    key = pd.Series(_track_key(distances))
    counts = key[wanted].value_counts(sort=True)
    return wanted & key.isin(counts.index[:n]).to_numpy()


def _by_tracklet(distances: pd.DataFrame, chosen: np.ndarray) -> dict[int, np.ndarray]:
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(distances["frame"].to_numpy()[rows], kind="stable")]
    groups = pd.Series(rows).groupby(distances["tracklet_id"].to_numpy()[rows])
    return {int(name): group.to_numpy() for name, group in groups}  # type: ignore[call-overload]


def _join_families(
    axes: Axes, distances: pd.DataFrame, tracklets: pd.DataFrame, chosen: np.ndarray, times: np.ndarray
) -> None:
    """Dot a line from each mother's last point to its daughters' first."""
    rows = _by_tracklet(distances, chosen)
    depth = distances["distance_um"].to_numpy()
    parents = dict(zip(tracklets["tracklet_id"].tolist(), tracklets["parent_tracklet"].tolist(), strict=True))
    for tracklet, own in rows.items():
        parent = parents[tracklet]
        if parent in rows:
            last = rows[parent][-1]
            axes.plot(times[[last, own[0]]], depth[[last, own[0]]], ":", color="#555555", linewidth=0.9)


def _role_legend(figure: Figure, roles: list[str], division: str) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=ROLES[name][0], linewidth=2, label=name) for name in roles]
    handles.append(Line2D([], [], color="#777777", linewidth=0.9, linestyle=":", label=division))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))

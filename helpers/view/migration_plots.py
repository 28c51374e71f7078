"""Pictures of notebooks 15_analyze_migration and 16_compare_conditions: paths, directions, mean squared displacement, when and how they divide, and cohorts.

Over 400 lines: a list of figures, each short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.analysis.cohort import Comparison
from helpers.analysis.diffusion import persistent_walk
from helpers.data.units import with_unit
from helpers.view.analysis_style import group_colors, strips, time_axis, times_of
from helpers.view.style import OKABE_ITO, logarithmic, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Fewer pairs than this make a mean that is mostly chance.
_LEAST_PAIRS = 5


@styled
def paths_from_origin(steps: pd.DataFrame, *, max_tracklets: int = 300) -> Figure:
    """Draw the paths of all tracklets from a common start, from above and from the side.

    Parameters
    ----------
    steps : DataFrame
        From `helpers.analysis.migration.measure_steps`.
    max_tracklets : int
        The longest so many.

    Returns
    -------
    Figure
        A dot marks the end. A cloud that leans to one side is a common motion: tissue flow, or a drifting stage.
    """
    from matplotlib.collections import LineCollection

    ordered = steps.sort_values(["tracklet_id", "frame"], kind="stable")
    counts = ordered["tracklet_id"].value_counts()
    chosen = counts[counts > 1].index[:max_tracklets]
    paths = [
        part[["z", "y", "x"]].to_numpy() - part[["z", "y", "x"]].to_numpy()[0]
        for _, part in ordered[ordered["tracklet_id"].isin(chosen)].groupby("tracklet_id")
    ]
    flat = not paths or np.ptp(np.concatenate(paths)[:, 0]) == 0
    figure = new_figure(4.4 if flat else 8.0, 4.2)
    panels: Any = figure.subplots(1, 1 if flat else 2, squeeze=False)[0]
    reach = 1.05 * max((float(np.abs(path).max()) for path in paths), default=1.0)
    for axes, (down, across) in zip(panels, ((1, 2), (0, 2)), strict=False):
        lines = [path[:, [across, down]] for path in paths]
        axes.add_collection(
            LineCollection(lines, colors=OKABE_ITO["blue"], linewidths=0.9, alpha=0.55, gid="paths")
        )
        ends = np.array([line[-1] for line in lines]).reshape(-1, 2)
        axes.plot(*ends.T, "o", color=OKABE_ITO["vermillion"], markersize=3, markeredgewidth=0, zorder=3)
        axes.axhline(0, color="#999999", linewidth=0.6, zorder=0)
        axes.axvline(0, color="#999999", linewidth=0.6, zorder=0)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(reach, -reach)
        axes.set_aspect("equal")
        axes.set_xlabel("x from the start (µm)")
        axes.set_ylabel(f"{'zyx'[down]} from the start (µm)")
    panels[0].set_title(f"{len(paths)} of {len(counts)} tracklets", loc="left")
    return figure


@styled
def metric_strips(tracklets: pd.DataFrame, metrics: list[str], by: str | None = None) -> Figure:
    """Draw measures with every tracklet as a point, by group.

    Parameters
    ----------
    tracklets : DataFrame
        From `helpers.analysis.migration.measure_tracklets`.
    metrics : list of str
        Columns; those that are not there or have no value are left out.
    by : str, optional
        Column of the groups, such as ``region`` or ``generation``.

    Returns
    -------
    Figure
        A panel a measure; the line is the median, the bar the quartiles.
    """
    metrics = [name for name in metrics if name in tracklets and tracklets[name].notna().any()]
    key = tracklets[by].astype(str) if by in tracklets else pd.Series("all", index=tracklets.index)
    names = sorted(key.unique())
    columns = min(4, max(len(metrics), 1))
    rows = -(-max(len(metrics), 1) // columns)
    figure = new_figure(2.15 * columns + 0.3, 2.5 * rows)
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    colors = group_colors(names, by)
    for axes, metric in zip(panels.flat, metrics, strict=False):
        strips(axes, [tracklets.loc[key == name, metric].to_numpy(float) for name in names], names, colors)
        axes.set_title(with_unit(metric), fontsize=8.5, loc="left")
        if by:
            axes.set_xlabel(by)
        if tracklets[metric].min() >= 0:
            axes.set_ylim(bottom=0)
    for axes in panels.flat[len(metrics) :]:
        axes.set_axis_off()
    return figure


@styled
def direction_roses(steps: pd.DataFrame) -> Figure:
    """Draw in which directions cells step, and how they turn.

    Parameters
    ----------
    steps : DataFrame
        From `helpers.analysis.migration.measure_steps`.

    Returns
    -------
    Figure
        Left the directions in the plane as they are seen in the picture: 0° to the right, 90° up (there `azimuth_deg`, which
        turns from x towards y, is −90), with the mean as an arrow whose length is 1 if all agree; right the turning angles, with those of a random walk as a line.
    """
    figure = new_figure(7.6, 3.4)
    rose: Any = figure.add_subplot(1, 2, 1, projection="polar")
    # The picture's y runs downwards.
    azimuth = -np.radians(steps["azimuth_deg"].dropna().to_numpy(float))
    counts, edges = np.histogram(np.mod(azimuth, 2 * np.pi), bins=24, range=(0, 2 * np.pi))
    share = counts / max(counts.sum(), 1)
    # The area, not the radius, is the share: else long petals look too large.
    rose.bar(edges[:-1], np.sqrt(share), width=np.diff(edges), align="edge", color=OKABE_ITO["sky"], edgecolor="white", linewidth=0.5)  # fmt: skip
    rose.set_yticks([])
    rose.tick_params(pad=0)
    mean = np.exp(1j * azimuth).mean() if len(azimuth) else 0j
    limit = float(np.sqrt(share).max(initial=0)) or 1.0
    rose.annotate("", xy=(np.angle(mean), limit * abs(mean)), xytext=(0, 0), arrowprops={"arrowstyle": "->", "color": OKABE_ITO["vermillion"], "linewidth": 2})  # fmt: skip
    rose.set_title(
        f"{len(azimuth)} steps, 90° is up; the arrow is their mean,\n{abs(mean):.2f} long (1: all agree, 0: none in common)",
        fontsize=8,
    )
    turns = figure.add_subplot(1, 2, 2)
    angle = steps["turning_angle_deg"].dropna().to_numpy(float)
    turns.hist(angle, bins=list(range(0, 181, 10)), weights=np.full(len(angle), 0.1 / max(len(angle), 1)), color=OKABE_ITO["sky"], edgecolor="white", linewidth=0.5)  # fmt: skip
    grid = np.linspace(0, 180, 181)
    flat = "z" not in steps or np.ptp(steps["z"].to_numpy(float)) == 0 if len(steps) else True
    random = np.full(181, 1 / 180) if flat else np.sin(np.radians(grid)) * np.pi / 360
    turns.plot(grid, random, color="black", linewidth=1.2, label="random walk")
    turns.set_xticks(range(0, 181, 45))
    turns.set_title(f"n = {len(angle)} pairs of steps", fontsize=8.5)
    turns.set_xlabel("turning angle (°): 0 is straight on")
    turns.set_ylabel("share per °")
    turns.legend(loc="upper right")
    return figure


@styled
def mean_squared_displacement(
    msd: pd.DataFrame, fits: pd.DataFrame, correlation: pd.DataFrame, *, dimension: int
) -> Figure:
    """Draw mean squared displacement with its fits, and velocity autocorrelation.

    Parameters
    ----------
    msd, fits, correlation : DataFrame
        From `helpers.analysis.diffusion`.
    dimension : int
        2 or 3, of the fits.
    """
    figure = new_figure(8.2, 3.7)
    left, right = figure.subplots(1, 2)
    names = [str(name) for name in msd["group"].unique()]
    colors = group_colors([name for name in names if name != "all"]) | {"all": "black"}
    size, unit = time_axis(msd["lag_s"].to_numpy(float))
    for k, name in enumerate(names):
        marker = "os^Dv"[k % 5]
        part = msd[(msd["group"] == name) & (msd["msd_um2"] > 0) & (msd["n_pairs"] >= _LEAST_PAIRS)]
        own = correlation[(correlation["group"] == name) & (correlation["n_pairs"] >= _LEAST_PAIRS)]
        if part.empty and own.empty:
            continue
        n = int(msd.loc[msd["group"] == name, "n_tracklets"].max())
        style: dict[str, Any] = {"fmt": marker, "color": colors[name], "markersize": 4, "elinewidth": 0.8}
        left.errorbar(
            part["lag_s"] / size, part["msd_um2"], yerr=part["sem_um2"], label=f"{name}, n = {n}", **style
        )
        fit = fits[fits["group"] == name]
        if len(part) and len(fit) and np.isfinite(fit["diffusion_um2_per_min"].iloc[0]):
            row = fit.iloc[0]
            t = np.geomspace(part["lag_s"].min(), part["lag_s"].max(), 100)
            model = persistent_walk(
                t / 60,
                row["diffusion_um2_per_min"],
                row["fitted_persistence_min"],
                row["position_error_um"],
                dimension,
            )
            left.plot(t / size, model, color=colors[name], linewidth=1)
        right.errorbar(own["lag_s"] / size, own["correlation"], yerr=own["sem"], linewidth=1, **{**style, "fmt": f"{marker}-"})  # fmt: skip
    if (msd["msd_um2"] > 0).any():
        for axis in (left.xaxis, left.yaxis):
            logarithmic(axis)
    every = fits[fits["group"] == "all"]
    if len(every) and np.isfinite(every["alpha"].iloc[0]):
        lasting = every["persistence_min"].iloc[0]
        kept = f"{lasting:.3g} min" if np.isfinite(lasting) else "not resolved"
        left.set_title(f"all: α = {every['alpha'].iloc[0]:.2f}, persistence {kept}", loc="left", fontsize=9)
    left.set_xlabel(f"lag ({unit})")
    left.set_ylabel("mean squared displacement (µm²)")
    right.axhline(0, color="black", linewidth=0.8)
    right.set_xlabel(f"lag ({unit})")
    right.set_ylabel("velocity autocorrelation")
    right.set_ylim(top=1.05)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(len(labels), 5)))
    return figure


@styled
def division_overview(table: pd.DataFrame, rates: pd.DataFrame, dimension: int) -> Figure:
    """Draw how often cells divide, and along which axes.

    Parameters
    ----------
    table, rates : DataFrame
        From `helpers.analysis.divisions`; the rates with a column ``by``.
    dimension : int
        2 or 3, for the axes that chance would give.

    Returns
    -------
    Figure
        Left divisions per cell and hour with 95 % intervals, the number of divisions, and of those left out as not
        plausible; right the angles of the axes of plausible ones to the boundary, or to the plane of the picture where no
        boundary is known.
    """
    figure = new_figure(7.6, 3.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    place = np.arange(len(rates))
    rate = rates["rate_per_h"].to_numpy(float)
    spread = np.abs(rates[["low_per_h", "high_per_h"]].to_numpy(float).T - rate)
    left.errorbar(place, rate, yerr=spread, fmt="o", color=OKABE_ITO["blue"], capsize=3)
    # No division in little time has an interval that would hide all others: it ends in an arrow, and its end is written.
    ends = rates["high_per_h"].to_numpy(float)
    seen = ends[(rates["divisions"] > 0) & np.isfinite(ends)]
    top = (
        1.35 * float(seen.max())
        if len(seen)
        else 1.1 * float(np.max(ends, initial=1, where=np.isfinite(ends)))
    )
    left.set_ylim(0, top)
    out = rates["left_out"] if "left_out" in rates else np.zeros(len(rates), int)
    for x, y, n, k in zip(place, ends, rates["divisions"], out, strict=True):
        said = f"n = {n}" + (f"\n{k} left out" if k else "")
        if y > top:
            left.plot(x, top, "^", color=OKABE_ITO["blue"], clip_on=False)
            said += f"\nto {y:.3g}"
        beside = (
            {"xytext": (4, -2), "ha": "left", "va": "top"} if y > top else {"xytext": (0, 3), "ha": "center"}
        )
        left.annotate(said, (x, min(y, top)), textcoords="offset points", fontsize=7, **beside)
    long = len(rates) > 4
    left.set_xticks(
        place, rates["group"].astype(str), rotation=30 if long else 0, ha="right" if long else "center"
    )
    left.set_xlim(-0.6, len(rates) - 0.4)
    left.set_ylabel("divisions per cell and hour")
    column = "angle_to_boundary_deg" if "angle_to_boundary_deg" in table else "elevation_deg"
    shown = table[table["plausible"].astype(bool)] if "plausible" in table else table
    angle = shown[column].dropna().to_numpy(float) if column in shown else np.zeros(0)
    right.hist(angle, bins=np.arange(0, 91, 15), color=OKABE_ITO["sky"], edgecolor="white", linewidth=0.5)
    edges = np.radians(np.arange(0, 91, 15))
    chance = np.diff(np.sin(edges)) if dimension == 3 else np.diff(edges) / edges[-1]
    right.stairs(chance * len(angle), np.degrees(edges), color="black", linewidth=1.3, label="at random")
    right.set_xticks(range(0, 91, 15))
    right.set_xlabel(
        "axis to the boundary (°): 0 is along it" if column.startswith("angle") else "axis to the plane (°)"
    )
    right.set_ylabel("divisions")
    right.yaxis.get_major_locator().set_params(integer=True)
    right.set_title(f"n = {len(angle)} divisions", fontsize=8.5)
    right.legend(loc="upper right")
    return figure


@styled
def shape_over_time(steps: pd.DataFrame) -> Figure:
    """Draw size and shape over time: the median of the cells, and their quartiles as a band.

    Parameters
    ----------
    steps : DataFrame
        From `helpers.analysis.migration.measure_steps`; each generation, where it is known, is a group.
    """
    by = "generation"
    wanted = {
        "volume_um3": "volume (µm³)",
        "area_um2": "area (µm²)",
        "sphericity": "sphericity",
        "elongation": "elongation",
        "nearest_neighbour_um": "nearest neighbour (µm)",
    }
    shown = [name for name in wanted if name in steps and steps[name].notna().any()]
    figure = new_figure(2.6 * max(len(shown), 1) + 0.3, 2.9)
    panels: Any = figure.subplots(1, max(len(shown), 1), squeeze=False)[0]
    times, label = times_of(steps)
    key = steps[by].astype(str) if by in steps else pd.Series("all", index=steps.index)
    names = sorted(key.unique())
    counts = steps.groupby(key)["tracklet_id"].nunique()
    colors = group_colors(names, by)
    for axes, column in zip(panels, shown, strict=False):
        for k, name in enumerate(names):
            part = steps.loc[key == name, column].groupby(times[(key == name).to_numpy()])
            middle = part.median()
            axes.fill_between(middle.index, part.quantile(0.25), part.quantile(0.75), color=colors[name], alpha=0.2, linewidth=0)  # fmt: skip
            axes.plot(middle.index, middle, "-", marker="os^Dv"[k % 5], markersize=3, color=colors[name], label=f"{by} {name}, n = {counts[name]}")  # fmt: skip
        axes.set_title(wanted[column], loc="left", fontsize=8.5)
        axes.set_xlabel(label)
    if shown:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(names), 5)
        )
    return figure


@styled
def metric_scatter(tracklets: pd.DataFrame, x: str, y: str, *, selected: np.ndarray | None = None) -> Figure:
    """Draw two measures against each other, one point per tracklet.

    Parameters
    ----------
    tracklets : DataFrame
        From `helpers.analysis.migration.measure_tracklets`.
    x, y : str
        Columns.
    selected : ndarray of bool, optional
        Which tracklets stand out.
    """
    figure = new_figure(4.8, 3.9)
    draw_scatter(figure.subplots(), tracklets, x, y, selected, edge=True)
    figure.legend(loc="outside lower center")
    return figure


def draw_scatter(
    axes: Axes,
    tracklets: pd.DataFrame,
    x: str,
    y: str,
    selected: np.ndarray | None = None,
    names: tuple[str, str] = ("failing", "passing"),
    edge: bool = False,
) -> None:
    """Draw two measures against each other into `axes`, selected tracklets (the second of `names`) in colour.

    With `edge`, those that lack one measure stand open at the edge; those that lack both are counted.
    """
    chosen = np.ones(len(tracklets), bool) if selected is None else np.asarray(selected, bool)
    for part, color, marker, name in (
        (~chosen, "#aaaaaa", "o", names[0]),
        (chosen, OKABE_ITO["blue"], "^", names[1]),
    ):
        if part.any() or name == names[1]:
            shown = tracklets.loc[part, [x, y]].astype(float)
            lacking = shown.isna().sum(axis=1).to_numpy()
            half, neither = int((lacking == 1).sum()), int((lacking == 2).sum())
            said = f", {half} without one measure (open, at the edge)" if half and edge else ""
            said += f", {neither} without both (not drawn)" if neither and edge else ""
            axes.plot(
                shown[x], shown[y], marker, color=color, markersize=5, alpha=0.8,
                markeredgecolor="white", markeredgewidth=0.4, label=f"{name}: {int(part.sum())}{said}",
            )  # fmt: skip
            if edge:
                _at_the_edge(axes, shown, x, y, color, marker)
    axes.set_xlabel(with_unit(x))
    axes.set_ylabel(with_unit(y))


def _at_the_edge(axes: Axes, shown: pd.DataFrame, x: str, y: str, color: str, marker: str) -> None:
    """Draw open, on the edge of the plot, the points of which one of the two measures has no value."""
    for known, other in ((y, x), (x, y)):
        values = shown.loc[shown[other].isna(), known].dropna()
        if values.empty:
            continue
        edge = np.zeros(len(values))
        places, transform = ((edge, values), axes.get_yaxis_transform()) if known == y else ((values, edge), axes.get_xaxis_transform())  # fmt: skip
        axes.plot(*places, marker, color=color, fillstyle="none", markersize=5, transform=transform, clip_on=False, in_layout=False, gid="without a value")  # fmt: skip


@styled
def condition_plot(comparisons: list[Comparison]) -> Figure:
    """Draw each measure by condition with every point shown: cells small, the means of movies large.

    Parameters
    ----------
    comparisons : list of Comparison
        From `helpers.analysis.cohort.compare`.

    Returns
    -------
    Figure
        A panel a measure. Diamonds are the means of animals where these were compared, else of movies; below each
        condition stand their numbers and that of the tracklets.
    """
    columns = min(4, max(len(comparisons), 1))
    rows = -(-max(len(comparisons), 1) // columns)
    figure = new_figure(2.5 * columns + 0.3, 3.2 * rows)
    panels: Any = figure.subplots(rows, columns, squeeze=False)
    for axes, found in zip(panels.flat, comparisons, strict=False):
        names = found.groups["condition"].astype(str).tolist()
        colors = group_colors(names)
        for k, row in enumerate(found.groups.itertuples()):
            name = str(row.condition)
            cells = found.cells[found.cells["condition"].astype(str) == name]
            means = cells.groupby("movie")["value"].mean()
            if found.unit == "animal":
                means = found.values.loc[found.values["condition"].astype(str) == name, "value"]
            strips(axes, [np.array([])] * k + [cells["value"].to_numpy()], names[: k + 1], colors, size=2.2)
            aside = np.linspace(-0.2, 0.2, len(means)) if len(means) > 1 else np.zeros(1)
            axes.plot(k + aside, means, "D", color=colors[name], markeredgecolor="black", markersize=6.5, zorder=6, gid="movies")  # fmt: skip
        n_of, short = ("n_animals", "animals") if found.unit == "animal" else ("n_movies", "movies")
        labels = [
            f"{r['condition']}\n{r[n_of]} {short}\n{r['n_cells']} tracklets"
            for r in found.groups.to_dict("records")
        ]
        axes.set_xticks(range(len(labels)), labels, fontsize=7.5)
        axes.set_xlim(-0.6, len(labels) - 0.4)
        p = found.pairs["p_holm"].min() if len(found.pairs) else np.nan
        tested = f"\n{found.test}: p {'< 0.0001' if p < 1e-4 else f'= {p:.2g}'}" if np.isfinite(p) else ""
        axes.set_title(with_unit(found.metric) + tested, fontsize=8, loc="left")
    for axes in panels.flat[len(comparisons) :]:
        axes.set_axis_off()
    return figure

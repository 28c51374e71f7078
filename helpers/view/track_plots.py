"""Pictures of tracks: the lineage as a tree, the paths over the movie, and where links are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.data.units import with_unit
from helpers.errors import InputError
from helpers.tracking.plausibility import judge_divisions
from helpers.tracking.tracks import Tracks, numeric_columns
from helpers.view.analysis_style import GENERATION_COLORS, time_axis
from helpers.view.background_image import BackgroundImage
from helpers.view.panels import clock
from helpers.view.style import OKABE_ITO, label_colors, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of the kinds of `helpers.tracking.scores.wrong_links`, with a marker each.
ERROR_KINDS: dict[str, tuple[str, str]] = {
    "missed link": (OKABE_ITO["sky"], "o"),
    "false link": (OKABE_ITO["orange"], "s"),
    "id switch": (OKABE_ITO["purple"], "X"),
    "missed division": (OKABE_ITO["blue"], "v"),
    "false division": (OKABE_ITO["vermillion"], "^"),
    "wrong daughters": (OKABE_ITO["yellow"], "D"),
}

# The part of viridis that is seen on a dark image.
_ON_IMAGE = (0.4, 1.0)


@styled
def lineage_tree(tracks: Tracks, *, max_tracks: int = 40, divided_only: bool = False) -> Figure:
    """Draw tracks as trees: time runs to the right, a cell is a line, a division a fork.

    Parameters
    ----------
    tracks : Tracks
        Any; merging tracks too, drawn as forks that close.
    max_tracks : int
        The largest so many tracks are drawn, by number of objects; the title says how many there are.
    divided_only : bool
        Draw only tracks in which a cell divides.

    Returns
    -------
    Figure
        Lines are coloured by generation, each track has its id at its left; a division is a dot, one that is not plausible
        (`helpers.tracking.plausibility`) an open circle with dashed forks.

    Raises
    ------
    InputError
        If `max_tracks` is not positive.
    """
    from matplotlib.collections import LineCollection

    if max_tracks < 1:
        raise InputError("max_tracks", max_tracks, "at least 1")
    chosen = _largest_tracks(tracks, max_tracks, divided_only)
    rows = _tree_rows(tracks, chosen)
    frames = tracks.objects["frame"].to_numpy(float)
    scale, unit = clock(tracks)
    first, last = np.full(tracks.n_tracklets, np.inf), np.full(tracks.n_tracklets, -np.inf)
    np.minimum.at(first, tracks.tracklet_ids, frames)
    np.maximum.at(last, tracks.tracklet_ids, frames)
    colors = _generation_colors(tracks)
    drawn = np.array(sorted(rows), dtype=int)
    levels = np.array([rows[t] for t in drawn], float)
    figure = new_figure(6.5, float(np.clip(0.16 * len(drawn) + 1.0, 2.2, 9.0)))
    axes = figure.subplots()
    starts = np.column_stack([first[drawn] * scale, levels])
    ends = np.column_stack([last[drawn] * scale, levels])
    lines = list(np.stack([starts, ends], axis=1))
    axes.add_collection(
        LineCollection(lines, colors=colors[drawn], linewidths=1.8, capstyle="round", gid="cells")
    )
    doubtful = _doubtful_tracklets(tracks)
    for doubt in (False, True):
        forks = [
            (parent, child)
            for parent, child in tracks.tracklet_links.tolist()
            if parent in rows and child in rows and (parent in doubtful) == doubt
        ]
        if forks:
            _draw_forks(axes, forks, rows, first * scale, last * scale, colors, doubtful=doubt)
    span = (frames.max() - frames.min()) * scale if len(frames) else 1.0
    start = frames.min() * scale if len(frames) else 0.0
    axes.set_xlim(start - 0.02 * max(span, scale), start + 1.02 * max(span, scale))
    axes.set_ylim((levels.max() if len(levels) else 0) + 0.8, -0.8)
    middles = _middles(tracks, rows)
    axes.set_yticks(list(middles.values()), [str(track) for track in middles])
    axes.tick_params(axis="y", length=0, labelsize=6.5)
    axes.spines["left"].set_visible(False)
    axes.set_ylabel("track")
    axes.set_xlabel(f"time ({unit})" if unit != "frame" else "frame")
    said = f", {len(doubtful)} of them doubtful (open circles)" if doubtful else ""
    axes.set_title(
        f"{len(chosen)} of {tracks.n_tracks} tracks, {len(tracks.divisions)} divisions in all{said}",
        loc="left",
    )
    _generation_legend(figure, tracks, drawn)
    return figure


@styled
def tracks_over_projection(image: np.ndarray | None, tracks: Tracks, *, color_by: str = "track") -> Figure:
    """Draw the paths of cells over a maximum projection of the image.

    Parameters
    ----------
    image : ndarray, (T, Z, Y, X), (Z, Y, X) or (Y, X), or None
        Its brightest voxel along everything but y and x is shown; usually one frame. None draws on black.
    tracks : Tracks
        With a voxel size, by which µm are put on pixels; without an image it is not needed.
    color_by : str
        ``"track"``, ``"generation"``, or a numeric column of ``tracks.objects``, averaged over each link's two ends.

    Returns
    -------
    Figure
        Axes in µm. A dot marks where each cell is last seen.

    Raises
    ------
    InputError
        If the image has no voxel size or there is no such column.
    """
    import matplotlib
    from matplotlib.collections import LineCollection
    from matplotlib.colors import ListedColormap

    background = BackgroundImage.of(image, tracks.objects, tracks.voxel_size)
    figure, axes = background.draw()
    position = background.pixels(tracks.objects)
    segments = position[tracks.link_rows][..., ::-1]
    paths = LineCollection(list(segments), linewidths=1.2, capstyle="round", gid="links")
    objects = tracks.annotated()
    if color_by == "track":
        paths.set_color(label_colors(tracks.track_ids[tracks.link_rows[:, 0]] + 1).tolist())
    elif color_by == "generation":
        paths.set_color(_generation_colors(tracks)[tracks.tracklet_ids[tracks.link_rows[:, 1]]].tolist())
        _generation_legend(figure, tracks, np.arange(tracks.n_tracklets))
    elif color_by in (numeric := numeric_columns(objects)):
        values = objects[color_by].to_numpy(float)[tracks.link_rows].mean(axis=1)
        paths.set_array(values)
        paths.set_cmap(ListedColormap(matplotlib.colormaps["viridis"](np.linspace(*_ON_IMAGE, 256))))
        figure.colorbar(paths, ax=axes, label=with_unit(color_by), shrink=0.8)
    else:
        raise InputError("color_by", color_by, f'"track", "generation" or one of {", ".join(numeric)}')
    axes.add_collection(paths, autolim=False)
    ends = tracks.out_degree == 0
    axes.plot(position[ends, 1], position[ends, 0], ".", color="white", markersize=3, gid="last seen")
    background.frame(axes)
    return figure


@styled
def link_errors(
    table: pd.DataFrame,
    *,
    n_frames: int | None = None,
    frame_interval: float | None = None,
    image: np.ndarray | None = None,
    voxel_size: Sequence[float] | None = None,
) -> Figure:
    """Show when and where links are wrong.

    Parameters
    ----------
    table : DataFrame
        Of `helpers.tracking.scores.wrong_links`: ``frame, z, y, x`` (µm), ``kind``. May be empty.
    n_frames : int, optional
        Length of the movie, so that frames without errors show as such.
    frame_interval : float, optional
        Seconds, to label the time axis.
    image : ndarray, (T, Z, Y, X), (Z, Y, X) or (Y, X), optional
        Shown under the places of the errors, its brightest voxel along everything but y and x; usually one frame.
    voxel_size : sequence of float, optional
        (z, y, x) of `image` in µm.

    Returns
    -------
    Figure
        Errors per frame, stacked by kind, and the same errors from above, with a marker per kind.

    Raises
    ------
    InputError
        If columns are missing, or the image has no voxel size.
    """
    if missing := [name for name in ("frame", "y", "x", "kind") if name not in table]:
        raise InputError("table", missing, "these columns too, as `wrong_links` gives them")
    kinds = [kind for kind in ERROR_KINDS if kind in set(table["kind"])]
    kinds += sorted(set(table["kind"]) - set(ERROR_KINDS))
    figure = new_figure(7.6, 3.4)
    when, where = figure.subplots(1, 2, width_ratios=[1.15, 1])
    frames = table["frame"].to_numpy(int)
    length = max(n_frames or 0, int(frames.max(initial=-1)) + 1, 1)
    below = np.zeros(length)
    for k, kind in enumerate(kinds):
        color, marker = ERROR_KINDS.get(kind, (OKABE_ITO["black"], "*PHd"[k % 4]))
        of_kind = table["kind"].to_numpy() == kind
        counts = np.bincount(frames[of_kind], minlength=length)
        label = f"{kind}: {int(of_kind.sum())}"
        when.bar(np.arange(length), counts, bottom=below, width=0.9, color=color)
        below = below + counts
        where.plot(
            table["x"].to_numpy()[of_kind],
            table["y"].to_numpy()[of_kind],
            marker,
            color=color,
            markersize=5.5,
            markeredgecolor="white",
            markeredgewidth=0.4,
            label=label,
        )
    when.set_xlabel("frame")
    when.set_ylabel("errors per frame")
    when.set_xlim(-0.6, length - 0.4)
    when.set_ylim(0, max(below.max() * 1.05, 1))
    _whole_numbers(when)
    if frame_interval is not None:
        size, unit = time_axis(np.array([(length - 1) * frame_interval]))
        scale = frame_interval / size
        second = when.secondary_xaxis("top", functions=(lambda v: v * scale, lambda v: v / scale))
        second.set_xlabel(f"time ({unit})")
    where.set_xlabel("x (µm)")
    where.set_ylabel("y (µm)")
    if image is None:
        where.set_aspect("equal", adjustable="datalim")
        where.invert_yaxis()
    else:
        background = BackgroundImage.of(image, table, voxel_size)
        where.imshow(background.image, cmap="gray", extent=background.extent(), alpha=0.45)
    if kinds:
        handles, labels = where.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    else:
        when.set_title("no wrong links")
    return figure


def _doubtful_tracklets(tracks: Tracks) -> set[int]:
    """Return the tracklets that end in a division that is not plausible."""
    judged = judge_divisions(tracks)
    mothers = tracks.objects["id"].isin(judged.loc[~judged["plausible"].astype(bool), "parent_id"])
    return set(tracks.tracklet_ids[mothers.to_numpy()].tolist())


def _draw_forks(
    axes: Axes,
    forks: list[tuple[int, int]],
    rows: dict[int, float],
    first: np.ndarray,
    last: np.ndarray,
    colors: np.ndarray,
    *,
    doubtful: bool,
) -> None:
    from matplotlib.collections import LineCollection

    lines = [[(last[a], rows[a]), (first[b], rows[b])] for a, b in forks]
    gid = "doubtful " if doubtful else ""
    axes.add_collection(
        LineCollection(
            lines,
            colors=colors[[b for _, b in forks]],
            linewidths=1.2,
            linestyles="dashed" if doubtful else "solid",
            gid=f"{gid}forks",
        )
    )
    axes.plot(
        *np.array([line[0] for line in lines]).T,
        "o",
        color="black" if not doubtful else OKABE_ITO["vermillion"],
        markerfacecolor="white" if doubtful else "black",
        markersize=4.5 if doubtful else 2.6,
        gid=f"{gid}divisions",
        zorder=3,
    )


def _largest_tracks(tracks: Tracks, n: int, divided_only: bool) -> np.ndarray:
    """Track ids by falling number of objects (then id)."""
    ids = tracks.track_ids
    counts = np.bincount(ids[ids >= 0], minlength=tracks.n_tracks)
    wanted = np.arange(len(counts))
    if divided_only:
        wanted = np.unique(ids[tracks.out_degree > 1])
    return wanted[np.argsort(-counts[wanted], kind="stable")][:n]


def _tree_rows(tracks: Tracks, chosen: np.ndarray) -> dict[int, float]:
    """Height of each tracklet: leaves one below the other, a parent in the middle of its children."""
    track_of = np.full(tracks.n_tracklets, -1)
    track_of[tracks.tracklet_ids] = tracks.track_ids
    founders: dict[int, list[int]] = {int(track): [] for track in chosen}
    for tracklet in range(tracks.n_tracklets):
        if track_of[tracklet] in founders and tracklet not in tracks.parents:
            founders[int(track_of[tracklet])].append(tracklet)
    rows: dict[int, float] = {}
    leaves = 0
    for roots in founders.values():
        # Depth first, without recursion: a track can have more generations than Python allows calls.
        stack = [(root, False) for root in reversed(roots)]
        while stack:
            tracklet, done = stack.pop()
            children = tracks.children.get(tracklet, [])
            if done:
                known = [rows[child] for child in children if child in rows]
                rows[tracklet] = float(np.mean(known))
            elif tracklet in rows:
                continue
            elif not children:
                rows[tracklet] = float(leaves)
                leaves += 1
            else:
                stack.append((tracklet, True))
                stack += [(child, False) for child in reversed(children)]
        leaves += 0.5  # type: ignore[assignment]  # a gap between trees
    return rows


def _middles(tracks: Tracks, rows: dict[int, float]) -> dict[int, float]:
    """Height of each track: that of its founder."""
    track_of = np.full(tracks.n_tracklets, -1)
    track_of[tracks.tracklet_ids] = tracks.track_ids
    founders = sorted(tracklet for tracklet in rows if tracklet not in tracks.parents)
    middles: dict[int, float] = {}
    for tracklet in founders:  # where several founders merge, the earliest
        middles.setdefault(int(track_of[tracklet]), rows[tracklet])
    return middles


def _generation_colors(tracks: Tracks) -> np.ndarray:
    """RGBA of each tracklet."""
    from matplotlib.colors import to_rgba_array

    return to_rgba_array(list(GENERATION_COLORS))[tracks.generations % len(GENERATION_COLORS)]


def _generation_legend(figure: Figure, tracks: Tracks, drawn: np.ndarray) -> None:
    from matplotlib.lines import Line2D

    generations = np.unique(tracks.generations[drawn])
    if len(generations) == 0:
        return
    colors = _generation_colors(tracks)
    handles = [
        Line2D([], [], color=colors[drawn][tracks.generations[drawn] == g][0], linewidth=2, label=str(g))
        for g in generations
    ]
    figure.legend(handles=handles, title="generation", loc="outside right upper")


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))

"""Small plots beside the movie: what is drawn of the chosen track. The same in notebooks and in napari."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.data.units import with_unit
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks, numeric_columns
from helpers.view.analysis_style import ROLES, time_axis
from helpers.view.style import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from helpers.analysis.spectrum import Spectra


@dataclass(frozen=True)
class Panel:
    """A plot of one track.

    Attributes
    ----------
    draw : callable
        Takes the axes, the tracks, the chosen track's id and the frame that is shown.
    """

    draw: Callable[[Axes, Tracks, int, int], None]


def column_panel(table: pd.DataFrame | Tracks, column: str) -> Panel:
    """Return a plot of one column over time: mothers green, daughters red.

    Parameters
    ----------
    table : DataFrame or Tracks
        With ``id`` and the column; the objects of the Tracks.
    column : str
        What to plot.

    Raises
    ------
    InputError
        If the column is not there.
    """
    values = table.objects if isinstance(table, Tracks) else table
    if column not in (numeric := numeric_columns(values)):
        raise InputError("column", column, f"one of {', '.join(numeric)}")
    by_id = pd.Series(values[column].to_numpy(float), index=values["id"])

    def draw(axes: Axes, tracks: Tracks, track: int, frame: int) -> None:
        size, unit = clock(tracks)
        rows = np.flatnonzero(tracks.track_ids == track)
        rows = rows[np.argsort(tracks.objects["frame"].to_numpy()[rows], kind="stable")]
        frames = tracks.objects["frame"].to_numpy()
        ids = tracks.objects["id"].to_numpy()
        for tracklet in np.unique(tracks.tracklet_ids[rows]):
            own = rows[tracks.tracklet_ids[rows] == tracklet]
            color = ROLES[role(tracks, int(tracklet))][0]
            axes.plot(
                frames[own] * size, by_id.reindex(ids[own]), "o-", color=color, markersize=2.5, linewidth=1.2
            )
        axes.axvline(frame * size, color="#999999", linewidth=0.8)
        axes.set_xlabel("frame" if unit == "frame" else f"time ({unit})")
        axes.set_title(with_unit(column), loc="left", fontsize=8.5)

    return Panel(draw)


def distance_panel(distances: pd.DataFrame, tracklets: pd.DataFrame | None = None) -> Panel:
    """Return a plot of the distance to the boundary over time, with the boundary as a line.

    Parameters
    ----------
    distances : DataFrame
        From `helpers.analysis.boundary.measure_distances`.
    tracklets : DataFrame, optional
        Not needed; taken so that both tables can be passed together.
    """
    curve = column_panel(distances, "distance_um")

    def draw(axes: Axes, tracks: Tracks, track: int, frame: int) -> None:
        curve.draw(axes, tracks, track, frame)
        axes.axhline(0, color="black", linewidth=0.9)
        axes.set_title("distance to the boundary (µm)", loc="left", fontsize=8.5)

    return Panel(draw)


def spectrum_panel(spectra: Spectra) -> Panel:
    """Return a plot of the spectra of a track's tracklets.

    Parameters
    ----------
    spectra : Spectra
        From `helpers.analysis.spectrum.measure_spectra`.
    """
    power = {int(name): part for name, part in spectra.power.groupby("tracklet_id")}  # type: ignore[call-overload]
    table = spectra.tracklets.set_index("tracklet_id")

    def draw(axes: Axes, tracks: Tracks, track: int, frame: int) -> None:
        said = []
        for tracklet in np.unique(tracks.tracklet_ids[tracks.track_ids == track]):
            curve = power.get(int(tracklet))
            if curve is None:
                continue
            color = ROLES[role(tracks, int(tracklet))][0]
            axes.plot(curve["frequency_per_h"], curve["amplitude"], color=color, linewidth=1.2)
            row = table.loc[tracklet]
            if row["rhythmic"]:
                axes.axvline(row["peak_frequency_per_h"], color=color, linewidth=0.8, linestyle=":")
                said.append(f"{row['peak_frequency_per_h']:.3g}")
        found = f"rhythm at {', '.join(said)} per h" if said else "no rhythm"
        axes.set_ylim(bottom=0)
        axes.set_xlabel("frequency (1/h)")
        axes.set_title(f"amplitude: {found}", loc="left", fontsize=8.5)
        if not axes.lines:
            axes.text(0.5, 0.5, "too short for a spectrum", transform=axes.transAxes, ha="center", color=OKABE_ITO["black"])  # fmt: skip

    return Panel(draw)


def role(tracks: Tracks, tracklet: int) -> str:
    """Return ``parent``, ``daughter`` or ``does not divide``."""
    if tracklet in tracks.children:
        return "parent"
    return "daughter" if tracklet in tracks.parents else "does not divide"


def clock(tracks: Tracks) -> tuple[float, str]:
    """Return (units per frame, unit) of the time axis."""
    if tracks.frame_interval is None:
        return 1.0, "frame"
    last = int(tracks.objects["frame"].to_numpy().max(initial=0))
    size, unit = time_axis(np.array([last * tracks.frame_interval]))
    return tracks.frame_interval / size, unit


def track_names(tracks: Tracks, kind: str = "all", only: np.ndarray | None = None) -> list[tuple[str, int]]:
    """Return (what a list says of a track, its id), the longest first.

    Parameters
    ----------
    tracks : Tracks
        Any.
    kind : {"all", "dividing", "non-dividing"}
        Which.
    only : ndarray of int, optional
        Tracklets; only tracks that hold one of them.

    Raises
    ------
    InputError
        For another kind.
    """
    if kind not in ("all", "dividing", "non-dividing"):
        raise InputError("kind", kind, "one of 'all', 'dividing', 'non-dividing'")
    ids = tracks.track_ids
    linked = ids >= 0
    points = np.bincount(ids[linked], minlength=tracks.n_tracks)
    divisions = np.bincount(
        ids[linked], weights=tracks.out_degree[linked] > 1, minlength=tracks.n_tracks
    ).astype(int)
    wanted = np.ones(tracks.n_tracks, bool)
    if kind != "all":
        wanted = (divisions > 0) == (kind == "dividing")
    if only is not None:
        wanted &= np.isin(np.arange(tracks.n_tracks), ids[np.isin(tracks.tracklet_ids, only)])
    order = np.argsort(-points, kind="stable")
    return [
        (
            f"track {i}: {points[i]} points"
            + (f", {divisions[i]} division{'s' if divisions[i] > 1 else ''}" if divisions[i] else ""),
            int(i),
        )
        for i in order
        if wanted[i]
    ]

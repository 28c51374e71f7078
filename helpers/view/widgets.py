"""The movie with its labels and tracks in a notebook: sliders for time and depth, a list of tracks, live plots, export.

Pictures are drawn by matplotlib without any backend and shown as images, so that the same works in Jupyter, on Colab
and where nobody looks (an executed notebook).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks, numeric_columns
from helpers.view.analysis_style import with_unit
from helpers.view.panels import Panel, column_panel, distance_panel, spectrum_panel, track_names
from helpers.view.planes import draw_labels, draw_outlines, draw_raw
from helpers.view.style import OKABE_ITO, gray_limits, label_colors, new_figure, save_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MovieViewer",
    "TrackletSelector",
    "column_panel",
    "distance_panel",
    "explore",
    "select_tracklets",
    "spectrum_panel",
]

_TAIL = 10


def explore(
    tracks: Tracks,
    *,
    movie: Any = None,
    labels: Any = None,
    panels: Sequence[Panel] = (),
    selector: TrackletSelector | None = None,
    folder: str | Path = "export",
) -> MovieViewer:
    """Open a viewer of a movie and its tracks.

    Parameters
    ----------
    tracks : Tracks
        With a voxel size.
    movie : path or Movie, optional
        Shown below the tracks; without one the labels are, or nothing.
    labels : path or label movie, optional
        Laid over it.
    panels : sequence of Panel
        Plots of the chosen track, such as `distance_panel`.
    selector : TrackletSelector, optional
        Only tracks of its selected tracklets are listed.
    folder : path-like
        Where *Export* writes.

    Returns
    -------
    MovieViewer
        Show its ``widget``; ``figure()`` is what it shows at present.
    """
    if isinstance(movie, (str, Path)):
        movie = Movie.open(movie, missing_frames="empty")
    if isinstance(labels, (str, Path)):
        labels = LabelMovie.open(labels)
    return MovieViewer(tracks, movie, labels, panels, selector, Path(folder))


class MovieViewer:
    """Sliders, a list of tracks and the picture they make; see `explore`.

    Attributes
    ----------
    frame, z, projection, overlay, kind, search, track : ipywidgets
        The controls; setting their ``value`` is what a click does.
    widget : ipywidgets.VBox
        All of it.
    """

    def __init__(
        self,
        tracks: Tracks,
        movie: Any,
        labels: Any,
        panels: Sequence[Panel],
        selector: TrackletSelector | None,
        folder: Path,
    ) -> None:
        import ipywidgets

        if tracks.voxel_size is None:
            tracks = _placed(tracks, movie if movie is not None else labels)
        self.tracks, self.movie, self.labels, self.panels = tracks, movie, labels, tuple(panels)
        self.folder, self.selector = folder, selector
        source = movie if movie is not None else labels
        frames = tracks.objects["frame"].to_numpy()
        n_frames = source.shape[0] if source is not None else int(frames.max(initial=0)) + 1
        self._shape = tuple(source.shape[-3:]) if source is not None else _extent(tracks)
        self._limits: dict[str, tuple[float, float]] = {}
        self._kept: dict[str, tuple[int, np.ndarray]] = {}
        wide = ipywidgets.Layout(width="22rem")
        self.frame = ipywidgets.IntSlider(
            0, 0, n_frames - 1, description="frame", layout=wide, continuous_update=False
        )
        play = ipywidgets.Play(min=0, max=n_frames - 1, interval=700)
        ipywidgets.jslink((play, "value"), (self.frame, "value"))
        self.z = ipywidgets.IntSlider(self._shape[0] // 2, 0, self._shape[0] - 1, description="z", layout=wide, continuous_update=False, disabled=True)  # fmt: skip
        self.projection = ipywidgets.Dropdown(options=["maximum", "mean", "slice"], description="show")
        overlays = ["none", "outlines", "fill"] if labels is not None else ["none"]
        self.overlay = ipywidgets.Dropdown(options=overlays, value=overlays[min(1, len(overlays) - 1)], description="labels")  # fmt: skip
        self.paths = ipywidgets.Checkbox(True, description="tracks")
        self.kind = ipywidgets.Dropdown(options=["all", "dividing", "non-dividing"], description="list")
        self.search = ipywidgets.Text(placeholder="number of a track", description="find", continuous_update=False)  # fmt: skip
        self.track = ipywidgets.Dropdown(options=track_names(tracks), description="track", layout=wide)
        self.save = ipywidgets.Button(description="Export", icon="download")
        self.animate = ipywidgets.Checkbox(False, description="with animation")
        self.message = ipywidgets.Label()
        self.image = ipywidgets.Image(format="png")
        box = ipywidgets.VBox
        row = ipywidgets.HBox
        self.widget = box(
            [
                row([self.frame, play, self.z]),
                row([self.projection, self.overlay, self.paths]),
                row([self.kind, self.search, self.track]),
                row([self.save, self.animate]),
                self.message,
                self.image,
            ]
        )
        for control in (self.frame, self.z, self.projection, self.overlay, self.paths, self.track):
            control.observe(self._changed, names="value")
        for control in (self.kind, self.search):
            control.observe(self._list, names="value")
        self.save.on_click(lambda _: self._export_clicked())
        if selector is not None:
            selector.on_select.append(self._list)
        self._list()
        self._changed()

    @styled
    def figure(self) -> Figure:
        """Return what is shown at present: the movie, and the plots of the chosen track beside it."""
        n = len(self.panels)
        figure = new_figure(4.6 + (3.6 if n else 0), max(4.2, 2.0 * n))
        if n:
            left, right = figure.subfigures(1, 2, width_ratios=[4.6, 3.6], squeeze=False)[0]
            axes = left.subplots()
            plots = np.atleast_1d(right.subplots(n, 1))
        else:
            axes, plots = figure.subplots(), []
        self._draw_picture(axes)
        if self.track.value is not None:
            for panel, plot in zip(self.panels, plots, strict=True):
                panel.draw(plot, self.tracks, self.track.value, self.frame.value)
        return figure

    def export(self, *, animation: bool = False) -> list[Path]:
        """Write what is shown (PNG and PDF), the table of the chosen track, and, if asked for, its animation.

        Parameters
        ----------
        animation : bool
            Write a GIF of the whole movie with this track too.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"track_{self.track.value}" if self.track.value is not None else "movie"
        written = save_figure(self.figure(), self.folder / f"{name}_frame_{self.frame.value:04d}")
        if self.track.value is not None:
            table = self.folder / f"{name}.csv"
            self.track_table().to_csv(table, index=False)
            written.append(table)
        if animation:
            from helpers.view.animation import animate

            own = self.tracks if self.track.value is None else self.tracks.subset(self.tracks.track_ids == self.track.value)  # fmt: skip
            written.append(animate(self.folder / f"{name}.gif", self.movie, own, labels=self.labels))
        return written

    def track_table(self) -> pd.DataFrame:
        """Return the objects of the chosen track, in order of time."""
        table = self.tracks.annotated()
        return table[table["track_id"] == self.track.value].sort_values(["tracklet_id", "frame"])

    def _export_clicked(self) -> None:
        self.message.value = "writing …"
        try:
            written = self.export(animation=self.animate.value)
        except (InputError, OSError) as error:  # a click must not end in silence
            self.message.value = str(error)
            return
        self.message.value = f"{len(written)} files in {self.folder}"

    def _follow(self) -> bool:
        """Show the plane of the chosen track's cell; whether that is another one than before."""
        here = (self.tracks.track_ids == self.track.value) & (
            self.tracks.objects["frame"] == self.frame.value
        )
        if self.z.disabled or not here.any():
            return False
        z = float(self.tracks.objects.loc[here, "z"].iloc[0]) / self.tracks.voxel_size[0]  # type: ignore[index]
        before, self.z.value = self.z.value, min(max(round(z), self.z.min), self.z.max)
        return self.z.value != before

    def _changed(self, change: Any = None) -> None:
        self.z.disabled = self.projection.value != "slice"
        if (
            change is not None
            and change["owner"] in (self.track, self.frame, self.projection)
            and self._follow()
        ):
            return  # the plane has changed, and with it the picture
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", dpi=100)
        self.image.value = buffer.getvalue()

    def _list(self, _: Any = None) -> None:
        only = self.selector.tracklets if self.selector is not None else None
        before = self.track.value
        options = track_names(self.tracks, str(self.kind.value), only)
        sought = self.search.value.strip()
        if sought:  # an exact number first
            options = [one for one in options if sought in one[0]]
            options.sort(key=lambda one: str(one[1]) != sought)
        self.track.options = options
        self.message.value = "" if options else "no track is like this: change list or find, or the selection"
        if before in [i for _, i in options]:
            self.track.value = before

    def _read(self, name: str) -> np.ndarray | None:
        source = getattr(self, name)
        if source is None:
            return None
        t = self.frame.value
        if name not in self._kept or self._kept[name][0] != t:
            self._kept[name] = t, np.asarray(source.frame(t))
        return self._kept[name][1]

    def _plane(self, stack: np.ndarray, *, label: bool = False) -> np.ndarray:
        if self.projection.value == "slice":
            return stack[self.z.value]
        if label:  # the first cell along the line of sight
            return np.take_along_axis(stack, (stack > 0).argmax(axis=0)[None], axis=0)[0]
        return stack.mean(axis=0) if self.projection.value == "mean" else stack.max(axis=0)

    def _draw_picture(self, axes: Axes) -> None:
        stack, labels = self._read("movie"), self._read("labels")
        if stack is None:
            stack = (
                (labels > 0).astype(np.float32) if labels is not None else np.zeros(self._shape, np.float32)
            )
        shown = self._plane(stack)
        # The brightest voxels along z are brighter than a plane: each way of looking has its own black and white.
        limits = self._limits.setdefault(str(self.projection.value), gray_limits(shown))
        size = np.array(self.tracks.voxel_size)
        draw_raw(axes, shown, voxel_size=self.tracks.voxel_size, limits=limits, title=f"frame {self.frame.value}")  # fmt: skip
        if labels is not None and self.overlay.value != "none":
            cells = self._plane(labels, label=True)
            if self.overlay.value == "fill":
                draw_labels(axes, cells, alpha=0.35)
            draw_outlines(axes, cells, OKABE_ITO["sky"], 0.6)
        if self.paths.value:
            self._draw_tracks(axes, self.tracks.objects[["y", "x"]].to_numpy(float)[:, ::-1] / size[[2, 1]])
        axes.set_xlim(-0.5, self._shape[2] - 0.5)
        axes.set_ylim(self._shape[1] - 0.5, -0.5)

    def _draw_tracks(self, axes: Axes, points: np.ndarray) -> None:
        from matplotlib.collections import LineCollection

        t = self.frame.value
        frames = self.tracks.objects["frame"].to_numpy()
        links = self.tracks.link_rows
        ends = frames[links]
        recent = links[(ends[:, 1] <= t) & (ends[:, 1] > t - _TAIL)]
        colors = label_colors(self.tracks.track_ids[recent[:, 1]] + 1)
        axes.add_collection(
            LineCollection(list(points[recent]), colors=colors, linewidths=1.0), autolim=False
        )
        chosen = self.tracks.track_ids == self.track.value
        own = links[chosen[links[:, 0]]]
        axes.add_collection(
            LineCollection(
                list(points[own]), colors=OKABE_ITO["vermillion"], linewidths=2.2, gid="chosen track"
            ),
            autolim=False,
        )
        now = chosen & (frames == t)
        axes.plot(*points[now].T, "o", markerfacecolor="none", markeredgecolor=OKABE_ITO["yellow"], markersize=11, markeredgewidth=1.8)  # fmt: skip


def select_tracklets(tracklets: pd.DataFrame, x: str, y: str) -> TrackletSelector:
    """Open a scatter plot of two measures, in which tracklets are selected by a lasso or by limits.

    Parameters
    ----------
    tracklets : DataFrame
        With ``tracklet_id`` and measures.
    x, y : str
        The first two to show.

    Returns
    -------
    TrackletSelector
        Show its ``widget``; ``tracklets`` are those selected. The lasso needs the package ipympl and
        ``%matplotlib widget`` in Jupyter; the limits work everywhere.
    """
    return TrackletSelector(tracklets, x, y)


class TrackletSelector:
    """A scatter plot in which tracklets are selected; see `select_tracklets`.

    Attributes
    ----------
    x, y, limits_x, limits_y : ipywidgets
        The controls.
    on_select : list of callable
        Called after each change.
    widget : ipywidgets.VBox
        All of it.
    """

    def __init__(self, tracklets: pd.DataFrame, x: str, y: str) -> None:
        import ipywidgets
        import matplotlib

        numeric = numeric_columns(tracklets)
        for name in (x, y):
            if name not in numeric:
                raise InputError("metric", name, f"one of {', '.join(numeric)}")
        self.table = tracklets.reset_index(drop=True)
        self.on_select: list[Callable[[], None]] = []
        self._lasso: np.ndarray | None = None
        options = [(with_unit(name), name) for name in numeric]
        self.x = ipywidgets.Dropdown(options=options, value=x, description="x")
        self.y = ipywidgets.Dropdown(options=options, value=y, description="y")
        wide = ipywidgets.Layout(width="26rem")
        self.limits_x = ipywidgets.FloatRangeSlider(description="x from, to", layout=wide, readout_format=".3g", continuous_update=False)  # fmt: skip
        self.limits_y = ipywidgets.FloatRangeSlider(description="y from, to", layout=wide, readout_format=".3g", continuous_update=False)  # fmt: skip
        self.message = ipywidgets.Label()
        self.clear = ipywidgets.Button(description="Select all")
        self.image = ipywidgets.Image(format="png")
        self._axes: Axes | None = None
        shown: Any = self.image
        if "ipympl" in matplotlib.get_backend():
            shown = self._canvas()
        box = ipywidgets.VBox
        self.widget = box([self.x, self.y, self.limits_x, self.limits_y, self.clear, self.message, shown])
        self._set_limits()
        for control in (self.x, self.y):
            control.observe(self._new_axes, names="value")
        for control in (self.limits_x, self.limits_y):
            control.observe(self._changed, names="value")
        self.clear.on_click(lambda _: self._new_axes())
        self._changed()

    @property
    def selected(self) -> np.ndarray:
        """(n_tracklets,) bool."""
        points = self.table[[self.x.value, self.y.value]].to_numpy(float)
        low = np.array([self.limits_x.value[0], self.limits_y.value[0]])
        high = np.array([self.limits_x.value[1], self.limits_y.value[1]])
        every = np.array(
            [control.value == (control.min, control.max) for control in (self.limits_x, self.limits_y)]
        )
        inside = (every | ((points >= low) & (points <= high))).all(axis=1)
        if self._lasso is not None:
            from matplotlib.path import Path as Outline

            inside &= Outline(self._lasso).contains_points(points)
        return inside

    @property
    def tracklets(self) -> np.ndarray:
        """Ids of the selected tracklets."""
        return self.table.loc[self.selected, "tracklet_id"].to_numpy()

    def select_inside(self, vertices: Sequence[Sequence[float]]) -> None:
        """Select the tracklets within a polygon of (x, y); what the lasso calls."""
        self._lasso = np.asarray(vertices, float) if len(vertices) > 2 else None
        self._changed()

    def attach_lasso(self, axes: Axes) -> Any:
        """Let a lasso in `axes`, on any interactive canvas, select; keep what is returned."""
        from matplotlib.widgets import LassoSelector

        return LassoSelector(axes, onselect=self.select_inside)

    @styled
    def figure(self) -> Figure:
        """Return the scatter plot, selected tracklets in blue."""
        figure = new_figure(4.8, 3.6)
        self._draw(figure.subplots())
        return figure

    def _draw(self, axes: Axes) -> None:
        from helpers.view.migration_plots import draw_scatter

        draw_scatter(
            axes,
            self.table,
            str(self.x.value),
            str(self.y.value),
            self.selected,
            names=("not selected", "selected"),
        )

    def _canvas(self) -> Any:
        import matplotlib.pyplot as plt

        with plt.ioff():
            figure = plt.figure(figsize=(4.8, 3.6), layout="constrained")
        self._axes = figure.subplots()
        self._lasso_tool = self.attach_lasso(self._axes)
        return figure.canvas

    def _set_limits(self) -> None:
        for slider, column in ((self.limits_x, self.x.value), (self.limits_y, self.y.value)):
            values = self.table[column].to_numpy(float)
            values = values[np.isfinite(values)]
            low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
            high = high if high > low else low + 1
            # The lower end must never be above the upper one, not even in between.
            slider.min = min(slider.min, low)
            slider.max = high
            slider.min = low
            slider.step = (high - low) / 200
            slider.value = (low, high)

    def _new_axes(self, _: Any = None) -> None:
        self._lasso = None
        self._set_limits()
        self._changed()

    def _changed(self, _: Any = None) -> None:
        self.message.value = f"{int(self.selected.sum())} of {len(self.table)} tracklets are selected"
        if self._axes is not None:
            self._axes.clear()
            self._draw(self._axes)
            self._axes.figure.canvas.draw_idle()
        else:
            buffer = io.BytesIO()
            self.figure().savefig(buffer, format="png", dpi=90)
            self.image.value = buffer.getvalue()
        for call in self.on_select:
            call()


def _placed(tracks: Tracks, source: Any) -> Tracks:
    """Give tracks of a table alone, which has no voxels, the scale of the picture; without one, of a canvas in µm."""
    size = (1.0, 1.0, 1.0) if source is None else source.voxel_size
    if size is None:
        raise InputError("voxel_size_um", None, "give [z, y, x] in µm, to put the tracks on the picture")
    return Tracks(tracks.objects, tracks.links, size, tracks.frame_interval)


def _extent(tracks: Tracks) -> tuple[int, int, int]:
    reach = tracks.objects[["z", "y", "x"]].to_numpy(float).max(axis=0, initial=0) / np.array(
        tracks.voxel_size
    )
    z, y, x = (int(n) + 2 for n in np.ceil(reach))
    return z, y, x

"""The movie with its labels and tracks in a notebook: sliders for time and depth, a list of tracks, live plots, export.

Pictures are drawn by matplotlib without any backend and shown as images, so that the same works in Jupyter, on Colab
and where nobody looks (an executed notebook).

Over 400 lines: one widget.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.tables import write_table
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks
from helpers.view.figure_files import as_png, save_figure
from helpers.view.panels import Panel, column_panel, distance_panel, spectrum_panel, track_names
from helpers.view.planes import as_path, draw_labels, draw_outlines, draw_raw
from helpers.view.style import (
    OKABE_ITO,
    gray_limits,
    label_colors,
    new_figure,
    styled,
)
from helpers.view.tracklet_selector import TrackletSelector, select_tracklets

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

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
#: Of the picture.
_DPI = 100
#: Colours of the tails. In steps of the golden ratio numbers 144 apart have the same hue within a degree, and the same lightness.
_TAIL_COLORS = 144
#: Tracks that the list shows at once; *find* narrows it.
_LISTED = 200
#: A turn of the wheel, and how near to a cell's centre a click must be where there are no labels, as a share of the view.
_ZOOM, _NEAR = 1.25, 0.04


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
    image : ipywidgets.Image
        The picture. A click on a cell chooses its track (`choose`), the wheel of the mouse zooms (`zoom`).
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
        from ipyevents import Event

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
        self._points = (
            tracks.objects[["y", "x"]].to_numpy(float)[:, ::-1] / np.array(self.tracks.voxel_size)[[2, 1]]
        )
        arrivals = frames[tracks.link_rows[:, 1]]
        order = np.argsort(arrivals, kind="stable")
        self._links, self._arrivals = tracks.link_rows[order], arrivals[order]
        self._view: tuple[float, float, float, float] | None = None
        self._layout: tuple[int | None, list[Bbox]] | None = None
        self._placement: tuple[Any, Any, float] | None = None
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
        self.track = ipywidgets.Dropdown(description="track", layout=wide)
        self.save = ipywidgets.Button(description="Export", icon="download")
        self.animate = ipywidgets.Checkbox(False, description="with animation")
        self.whole = ipywidgets.Button(description="Whole picture", icon="expand", disabled=True)
        self.message = ipywidgets.Label()
        self.image = ipywidgets.Image(format="png")
        box = ipywidgets.VBox
        row = ipywidgets.HBox
        self.widget = box(
            [
                row([self.frame, play, self.z]),
                row([self.projection, self.overlay, self.paths]),
                row([self.kind, self.search, self.track]),
                row([self.save, self.animate, self.whole]),
                self.message,
                self.image,
            ]
        )
        for control in (self.frame, self.z, self.projection, self.overlay, self.paths, self.track):
            control.observe(self._changed, names="value")
        for control in (self.kind, self.search):
            control.observe(self._list, names="value")
        self.save.on_click(lambda _: self._export_clicked())
        self.whole.on_click(lambda _: self._look_at(None))
        self._mouse = Event(
            source=self.image, watched_events=["click", "wheel"], prevent_default_action=True, wait=100
        )
        self._mouse.on_dom_event(self._moused)
        if selector is not None:
            selector.on_select.append(self._list)
        self._list()
        if not self.image.value:  # no track is chosen
            self._changed()

    @styled
    def figure(self) -> Figure:
        """Return what is shown at present: the movie, and the plots of the chosen track beside it."""
        n = len(self.panels)
        figure = new_figure(4.6 + (3.6 if n else 0), max(4.2, 2.0 * n))
        grid = figure.add_gridspec(1, 1 + bool(n), width_ratios=[4.6, 3.6][: 1 + bool(n)])
        axes = figure.add_subplot(grid[0])
        plots = [figure.add_subplot(place) for place in grid[1].subgridspec(n, 1)] if n else []
        self._draw_picture(axes)
        if self.track.value is not None:
            for panel, plot in zip(self.panels, plots, strict=True):
                panel.draw(plot, self.tracks, self.track.value, self.frame.value)
        # To lay out is a third of the drawing, and what takes room changes with the track only.
        if self._layout is not None and self._layout[0] == self.track.value:
            figure.set_layout_engine("none")
            for one, place in zip(figure.axes, self._layout[1], strict=True):
                one.set_position(place)
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
            write_table(self.track_table(), table)
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
        with _no_collection():
            figure = self.figure()
            self.image.value = as_png(figure, _DPI)
            self._layout = self.track.value, [axes.get_position(original=True) for axes in figure.axes]
            # Of the figure nothing is kept: it would outlive the collections that cost nothing.
            picture = figure.axes[0]
            self._placement = picture.transData.frozen(), picture.bbox.frozen(), figure.bbox.height
            del figure, picture

    def choose(self, x: float, y: float) -> None:
        """Choose the track of the cell at a place, in pixels of the movie; say so where there is none."""
        rows = np.flatnonzero(self.tracks.objects["frame"].to_numpy() == self.frame.value)
        labels = self._read("labels")
        if labels is not None and "label" in self.tracks.objects:
            plane = self._plane(labels, label=True)
            row, column = np.clip(np.round((y, x)).astype(int), 0, np.array(plane.shape) - 1)
            hit = rows[self.tracks.objects["label"].to_numpy()[rows] == (plane[row, column] or -1)]
        else:
            away = np.hypot(*(self._points[rows] - (x, y)).T)
            x0, x1, *_ = self._shown()
            hit = rows[[away.argmin()]] if away.min(initial=np.inf) <= _NEAR * (x1 - x0) else rows[:0]
        track = int(self.tracks.track_ids[hit[0]]) if len(hit) else -1
        if track < 0:
            self.message.value = "this cell is in no track" if len(hit) else "there is no cell"
            return
        self.message.value = ""
        if track not in [i for _, i in self.track.options]:
            self.track.options = [*self.track.options, (f"track {track}", track)]
        self.track.value = track

    def zoom(self, x: float, y: float, factor: float) -> None:
        """Zoom in (factor above 1) or out, so that a place, in pixels of the movie, stays where it is."""
        x0, x1, y0, y1 = self._shown()
        view = (x - (x - x0) / factor, x + (x1 - x) / factor, y - (y - y0) / factor, y + (y1 - y) / factor)
        wide = view[1] - view[0]
        if wide >= self._shape[2]:
            self._look_at(None)
        elif wide >= 4:
            self._look_at(view)

    def _shown(self) -> tuple[float, float, float, float]:
        return self._view or (-0.5, self._shape[2] - 0.5, -0.5, self._shape[1] - 0.5)

    def _look_at(self, view: tuple[float, float, float, float] | None) -> None:
        if view != self._view:
            self._view = view
            self.whole.disabled = view is None
            self._changed()

    def _moused(self, event: dict[str, Any]) -> None:
        """Do what a click or a turn of the wheel on the picture asks for; positions are pixels of the PNG from its top left."""
        assert self._placement is not None  # it is drawn when it is made
        to_pixels, within, height = self._placement
        place = (event["dataX"], height - event["dataY"])
        if not within.contains(*place):
            return
        x, y = to_pixels.inverted().transform(place)
        if event["type"] == "wheel":
            self.zoom(x, y, _ZOOM if event["deltaY"] < 0 else 1 / _ZOOM)
        else:
            self.choose(x, y)

    def _list(self, _: Any = None) -> None:
        only = self.selector.tracklets if self.selector is not None else None
        before = self.track.value
        options = track_names(self.tracks, str(self.kind.value), only)
        sought = self.search.value.strip()
        if sought:  # an exact number first
            options = [one for one in options if sought in one[0]]
            options.sort(key=lambda one: str(one[1]) != sought)
        self.message.value = "" if options else "no track is like this: change list or find, or the selection"
        if len(options) > _LISTED:
            self.message.value = (
                f"the {_LISTED} longest of {len(options)} tracks; find, or click on, the others"
            )
        options = options[:_LISTED]
        ids = [i for _, i in options]
        # Set together, so that the picture is drawn once.
        self.track.unobserve(self._changed, names="value")
        self.track.options = options
        self.track.value = before if before in ids else next(iter(ids), None)
        self.track.observe(self._changed, names="value")
        if self.track.value != before:
            self._changed()

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
        draw_raw(axes, shown, voxel_size=self.tracks.voxel_size, limits=limits, title=f"frame {self.frame.value}")  # fmt: skip
        if labels is not None and self.overlay.value != "none":
            cells = self._plane(labels, label=True)
            if self.overlay.value == "fill":
                draw_labels(axes, cells, alpha=0.35)
            draw_outlines(axes, cells, OKABE_ITO["sky"], 0.6)
        if self.paths.value:
            self._draw_tracks(axes)
        x0, x1, y0, y1 = self._shown()
        axes.set_xlim(x0, x1)
        axes.set_ylim(y1, y0)

    def _draw_tracks(self, axes: Axes) -> None:
        from matplotlib.collections import LineCollection, PathCollection

        t, points, links = self.frame.value, self._points, self.tracks.link_rows
        frames = self.tracks.objects["frame"].to_numpy()
        recent = self._links[slice(*np.searchsorted(self._arrivals, (t - _TAIL, t), side="right"))]
        colors = self.tracks.track_ids[recent[:, 1]] % _TAIL_COLORS
        recent = recent[np.argsort(colors, kind="stable")]
        shown, counts = np.unique(colors, return_counts=True)
        tails = (
            [as_path(points[own]) for own in np.split(recent, np.cumsum(counts)[:-1])] if len(shown) else []
        )
        axes.add_collection(
            PathCollection(tails, facecolors="none", edgecolors=label_colors(shown + 1), linewidths=1.0),
            autolim=False,
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


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Put off the collection of garbage until the picture is seen.

    A figure is thousands of objects that refer to each other. While one is drawn, they would be passed on to the oldest
    generation, and every few pictures everything that the kernel holds would be looked through, in a fifth of a second.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
            gc.collect(0)


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

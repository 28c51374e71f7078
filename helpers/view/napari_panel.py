"""The panel beside napari's canvas: a list of tracks, plots of the chosen one, a scatter plot with a lasso, export."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.widgets import LassoSelector
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from helpers.analysis.spectrum import SpectrumSettings, measure_spectra
from helpers.data.tables import write_table
from helpers.errors import InputError
from helpers.tracking.tracks import numeric_columns
from helpers.view.animation import animate
from helpers.view.figure_files import save_figure
from helpers.view.migration_plots import draw_scatter
from helpers.view.panels import Panel, column_panel, distance_panel, spectrum_panel, track_names
from helpers.view.style import new_figure, styled
from helpers.view.tracked_run import TrackedRun

#: The table of notebook 15_analyze_migration that the scatter plot shows.
_TRACKLETS = "migration_tracklets.csv"


class TrackPanel(QWidget):
    """List, plots and export of the tracks of a run.

    Parameters
    ----------
    viewer : napari.Viewer
        With a layer ``tracks``.
    run : TrackedRun
        What is shown.
    """

    def __init__(self, viewer: Any, run: TrackedRun) -> None:
        super().__init__()
        self.viewer, self.run = viewer, run
        self.panels = _panels(run)
        self.selected_tracklets: np.ndarray | None = None
        self.drawn_frame = -1
        self.kind = QComboBox()
        self.kind.addItems(["all", "dividing", "non-dividing"])
        self.list = QListWidget()
        self.follow = QCheckBox("follow the selected track")
        self.color = QComboBox()
        if "tracks" in viewer.layers:
            self.color.addItems([str(name) for name in viewer.layers["tracks"].features])
        self.canvas = FigureCanvasQTAgg(Figure(figsize=(3.6, 2.1 * len(self.panels)), layout="constrained"))
        self.save = QPushButton("Save table and plots")
        self.animate = QCheckBox("and an animation")
        self.message = QLabel("")
        self.message.setWordWrap(True)

        form = QFormLayout()
        form.addRow("list", self.kind)
        form.addRow("colour by", self.color)
        track_tab = QWidget()
        column = QVBoxLayout(track_tab)
        column.addLayout(form)
        column.addWidget(self.list, 1)
        column.addWidget(self.follow)
        column.addWidget(self.canvas, 2)
        row = QHBoxLayout()
        row.addWidget(self.save)
        row.addWidget(self.animate)
        column.addLayout(row)
        column.addWidget(self.message)
        tabs = QTabWidget()
        tabs.addTab(track_tab, "Track")
        self.scatter = ScatterTab(run, self._lassoed)
        tabs.addTab(self.scatter, "Scatter")
        layout = QVBoxLayout(self)
        layout.addWidget(tabs)

        self.kind.currentTextChanged.connect(lambda _: self.fill())
        self.list.currentItemChanged.connect(lambda *_: self._selected())
        self.color.currentTextChanged.connect(self._recolor)
        self.follow.toggled.connect(lambda _: self._go_there())
        self.save.clicked.connect(self._save_clicked)
        viewer.dims.events.current_step.connect(self._moved)
        self.fill()

    @property
    def track(self) -> int | None:
        """The chosen track."""
        item = self.list.currentItem()
        return None if item is None else int(item.data(Qt.ItemDataRole.UserRole))

    @property
    def frame(self) -> int:
        """The frame that napari shows."""
        return int(self.viewer.dims.current_step[0])

    def fill(self) -> None:
        """Write the list anew: dividing or not, and within the lasso."""
        before = self.track
        self.list.clear()
        for text, track in track_names(self.run.tracks, self.kind.currentText(), self.selected_tracklets):
            item = QListWidgetItem(text)
            item.setData(Qt.ItemDataRole.UserRole, track)
            self.list.addItem(item)
            if track == before:
                self.list.setCurrentItem(item)

    def draw(self) -> None:
        """Draw the plots of the chosen track."""
        self.drawn_frame = self.frame
        self.canvas.figure.clear()
        if self.track is not None:
            _draw_panels(self.canvas.figure, self.panels, self.run, self.track, self.frame)
        self.canvas.draw_idle()

    def export(self, *, animation: bool = False) -> list[Any]:
        """Write table and plots of the chosen track, and an animation, into the movie's folder ``export``."""
        if self.track is None:
            raise InputError("track", None, "choose a track from the list first")
        folder = self.run.folder / "export"
        folder.mkdir(parents=True, exist_ok=True)
        rows = self.run.tracks.annotated()
        path = folder / f"track_{self.track}.csv"
        own = rows[rows["track_id"] == self.track].sort_values(["tracklet_id", "frame"])
        write_table(own, path)
        figure = _figure_of(self.panels, self.run, self.track, self.frame)
        written = [path, *save_figure(figure, folder / f"track_{self.track}")]
        if animation:
            tracks = self.run.tracks.subset(self.run.tracks.track_ids == self.track)
            written.append(
                animate(folder / f"track_{self.track}.gif", self.run.movie, tracks, labels=self.run.labels)
            )
        return written

    def _selected(self) -> None:
        if self.track is None:
            return
        frames = self.run.tracks.objects["frame"].to_numpy()[self.run.tracks.track_ids == self.track]
        if not frames.min() <= self.frame <= frames.max():
            self.viewer.dims.set_current_step(0, int(frames.min()))
        self._mark()
        self._go_there()
        self.draw()

    def _moved(self, _: Any = None) -> None:
        if self.frame == self.drawn_frame:  # moved in depth
            return
        if self.follow.isChecked():
            self._go_there()
        self.draw()

    def _positions(self) -> np.ndarray:
        """Where the chosen track's cells are in this frame, (n, 2 or 3) in µm."""
        here = (self.run.tracks.track_ids == self.track) & (self.run.tracks.objects["frame"] == self.frame)
        axes = ["z", "y", "x"][3 - (self.viewer.dims.ndim - 1) :]
        return self.run.tracks.objects.loc[here, axes].to_numpy(float)

    def _mark(self) -> None:
        """Draw the chosen track over the others, thick and yellow."""
        whole = self.viewer.layers["tracks"]
        own = self.run.tracks.tracklet_ids[self.run.tracks.track_ids == self.track]
        data = whole.data[np.isin(whole.data[:, 0], own)]
        graph = {child: parents for child, parents in self.run.tracks.parents.items() if child in own}
        active = self.viewer.layers.selection.active
        if "chosen" in self.viewer.layers:
            self.viewer.layers.remove("chosen")
        self.viewer.add_tracks(
            data, graph=graph, features={"chosen": np.ones(len(data))}, color_by="chosen", name="chosen",
            colormaps_dict={"chosen": _yellow()}, blending="translucent_no_depth", tail_width=6, tail_length=1000,
            scale=whole.scale, units=whole.units,
        )  # fmt: skip
        self.viewer.layers.selection.active = active

    def _go_there(self) -> None:
        """Show the plane in which the chosen track's cells lie; their place in it only while the track is followed."""
        points = self._positions() if self.track is not None else np.empty((0, 3))
        if len(points) == 0:
            return
        middle = points.mean(axis=0)
        if self.follow.isChecked():
            shown = [axis - 1 for axis in self.viewer.dims.displayed if axis > 0]
            self.viewer.camera.center = (0.0,) * (3 - len(shown)) + tuple(
                float(middle[axis]) for axis in shown
            )
        if self.viewer.dims.ndisplay == 2 and self.viewer.dims.ndim == 4:
            self.viewer.dims.set_point(1, float(middle[0]))

    def _recolor(self, name: str) -> None:
        if name and "tracks" in self.viewer.layers:
            self.viewer.layers["tracks"].color_by = name

    def _lassoed(self, tracklets: np.ndarray | None) -> None:
        self.selected_tracklets = tracklets
        self.fill()

    def _save_clicked(self) -> None:
        self.message.setText("writing …")
        self.message.repaint()
        try:
            written = self.export(animation=self.animate.isChecked())
        except (InputError, OSError) as error:  # a click must not end in silence
            self.message.setText(str(error))
            return
        self.message.setText(f"{len(written)} files in {self.run.folder / 'export'}")


class ScatterTab(QWidget):
    """Two measures of notebook 15_analyze_migration against each other; a lasso selects tracklets.

    Parameters
    ----------
    run : TrackedRun
        Where the table is looked for.
    select : callable
        Takes the ids of the tracklets within the lasso, or None for all.
    """

    def __init__(self, run: TrackedRun, select: Any) -> None:
        super().__init__()
        self.select = select
        path = run.folder / "analysis" / _TRACKLETS
        self.table = pd.read_csv(path) if path.is_file() else pd.DataFrame()
        self.x_box, self.y_box = QComboBox(), QComboBox()
        names = numeric_columns(self.table)
        for box, first in ((self.x_box, "directness"), (self.y_box, "mean_speed_um_per_min")):
            box.addItems(names)
            box.setCurrentText(first)
        self.chosen = np.ones(len(self.table), bool)
        self.canvas = FigureCanvasQTAgg(Figure(figsize=(3.6, 3.6), layout="constrained"))
        self.axes = self.canvas.figure.subplots()
        self.every = QPushButton("Select all")
        layout = QVBoxLayout(self)
        form = QFormLayout()
        form.addRow("x", self.x_box)
        form.addRow("y", self.y_box)
        layout.addLayout(form)
        layout.addWidget(self.canvas, 1)
        layout.addWidget(self.every)
        layout.addWidget(QLabel("Draw a lasso around points to list only their tracks."))
        for box in (self.x_box, self.y_box):
            box.currentTextChanged.connect(lambda _: self.clear())
        self.every.clicked.connect(self.clear)
        self.lasso = LassoSelector(self.axes, onselect=self.select_inside)
        self._draw()

    def select_inside(self, vertices: Any) -> None:
        """Select the tracklets within a polygon of (x, y); what the lasso calls."""
        if len(self.table) == 0 or len(vertices) < 3:
            return
        points = self.table[[self.x_box.currentText(), self.y_box.currentText()]].to_numpy(float)
        self.chosen = Outline(np.asarray(vertices)).contains_points(points)
        self._draw()
        self.select(self.table.loc[self.chosen, "tracklet_id"].to_numpy())

    def clear(self, *_: Any) -> None:
        """Select all."""
        self.chosen = np.ones(len(self.table), bool)
        self._draw()
        self.select(None)

    def _draw(self) -> None:
        for artist in [*self.axes.lines, *self.axes.texts]:
            if artist is not self.lasso.artists[0]:
                artist.remove()
        if len(self.table) == 0:
            self.axes.text(
                0.5,
                0.5,
                "run notebook 15_analyze_migration first",
                transform=self.axes.transAxes,
                ha="center",
            )
        else:
            names = ("not selected", "selected")
            draw_scatter(
                self.axes, self.table, self.x_box.currentText(), self.y_box.currentText(), self.chosen, names
            )
            self.axes.relim()
            self.axes.autoscale_view()
        self.canvas.draw_idle()


def _panels(run: TrackedRun) -> list[Panel]:
    """Intensity, spectrum and distance, as far as they can be had."""
    objects = run.tracks.objects
    found = []
    if "intensity_mean" in objects:
        found.append(column_panel(run.tracks, "intensity_mean"))
        if run.tracks.frame_interval is not None:
            settings = SpectrumSettings(significance="false_alarm")
            found.append(spectrum_panel(measure_spectra(run.tracks, settings)))
    if "distance_um" in objects:
        found.append(distance_panel(objects))
    if "speed_um_per_min" in objects:
        found.append(column_panel(run.tracks, "speed_um_per_min"))
    return found


@styled
def _draw_panels(figure: Figure, panels: list[Panel], run: TrackedRun, track: int, frame: int) -> None:
    if panels:
        plots = np.atleast_1d(figure.subplots(len(panels), 1))
        for panel, axes in zip(panels, plots, strict=True):
            panel.draw(axes, run.tracks, track, frame)


@styled
def _figure_of(panels: list[Panel], run: TrackedRun, track: int, frame: int) -> Figure:
    figure = new_figure(5.0, 2.2 * max(len(panels), 1))
    _draw_panels(figure, panels, run, track, frame)
    return figure


def _yellow() -> Any:
    from napari.utils import Colormap

    return Colormap([[0.94, 0.89, 0.26, 1.0]] * 2, name="chosen")

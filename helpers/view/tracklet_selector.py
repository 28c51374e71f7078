"""A scatter plot in a notebook in which tracklets are selected, by a lasso or by limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.data.units import with_unit
from helpers.errors import InputError
from helpers.tracking.tracks import numeric_columns
from helpers.view.figure_files import as_png
from helpers.view.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
        Show its ``widget``; ``tracklets`` are those selected. The lasso needs the package ipympl; the limits
        work without.
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
        shown = self._canvas() or self.image
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
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)

    @styled
    def _canvas(self) -> Any:
        """Return a plot that the mouse draws in, without ``%matplotlib widget``; None where ipympl is not installed."""
        try:
            from ipympl.backend_nbagg import Canvas, FigureManager
        except ImportError:
            return None
        figure = new_figure(4.8, 3.6)
        canvas = Canvas(figure)
        FigureManager(canvas, 0)  # connects the canvas with what the browser sends
        self._axes = figure.subplots()
        self._lasso_tool = self.attach_lasso(self._axes)
        return canvas

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
            self.image.value = as_png(self.figure(), 90)
        for call in self.on_select:
            call()

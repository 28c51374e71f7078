"""Draw a few cells in a notebook, in Jupyter and on Colab: outlines with the mouse, one slice at a time.

The canvas is ipycanvas'; what a stroke does is plain arrays, so that it works, and is tested, without a browser.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from helpers.data.outlines import Prompt, fill_between, filled
from helpers.data.sparse_labels import UNANNOTATED
from helpers.view.style import gray_limits, label_colors

if TYPE_CHECKING:
    from helpers.data.drawings import Drawing
    from helpers.segmentation.prompted import Outliner

Tool = Literal["cell", "background", "eraser", "click or box"]
#: Longest side of the canvas on the screen, in pixels.
_SIDE = 640
#: A stroke that is no longer is a click, in pixels of the slice.
_CLICK = 2


class AnnotationCanvas:
    """A slice of a stack to draw on; `widget` shows it, `stroke` is what the mouse does.

    Parameters
    ----------
    drawing : Drawing
        Its labels are drawn in.
    outliner : Outliner, optional
        Segment Anything: a click into a cell, or a box around it, draws it whole.
    """

    def __init__(self, drawing: Drawing, outliner: Outliner | None = None) -> None:
        self.drawing, self.outliner = drawing, outliner
        self.z = len(drawing.raw) // 2
        self.tool: Tool = "cell"
        self.cell = max(1, int(drawing.labels.max()) + 1)
        self._before: list[tuple[slice, np.ndarray]] = []
        self._changed: Callable[[], object] = lambda: None

    def stroke(self, points: np.ndarray) -> None:
        """Fill a closed outline in the slice with the cell, background, or nothing.

        Parameters
        ----------
        points : (n, 2) ndarray
            Corners (y, x) in pixels of the slice; pixel 0 covers 0 … 1. A drawn cell is not painted over by background. With
            "click or box" Segment Anything outlines what lies in them, in all slices.
        """
        if self.tool == "click or box":
            self._point_at(np.asarray(points, float))
            return
        plane = self.drawing.labels[self.z]
        inside = filled([np.asarray(points, float)], plane.shape)  # type: ignore[arg-type]
        if not inside.any():
            return
        self._keep(slice(self.z, self.z + 1))
        if self.tool == "cell":
            plane[inside] = self.cell
        else:
            value = 0 if self.tool == "background" else UNANNOTATED
            plane[inside & (plane <= 0) if self.tool == "background" else inside] = value
        self._changed()

    def _point_at(self, points: np.ndarray) -> None:
        assert self.outliner is not None
        ends = np.array([points.min(axis=0), points.max(axis=0)])
        corners = ends if np.ptp(ends, axis=0).max() > _CLICK else ends.mean(axis=0, keepdims=True)
        self._keep(slice(None))
        if self.outliner.draw(self.drawing.labels, [Prompt(self.z, corners)]):
            self._before.pop()
        self.cell = int(self.drawing.labels.max()) + 1
        self._changed()

    def _keep(self, slices: slice) -> None:
        self._before.append((slices, self.drawing.labels[slices].copy()))

    def undo(self) -> None:
        """Take the last stroke back."""
        if self._before:
            slices, labels = self._before.pop()
            self.drawing.labels[slices] = labels
            self._changed()

    def next_cell(self) -> None:
        """Begin another cell: the slices between those in which this one is drawn are filled in."""
        drawn = {
            z: plane == self.cell for z, plane in enumerate(self.drawing.labels) if (plane == self.cell).any()
        }
        if drawn:
            for z, mask in fill_between(drawn):
                plane = self.drawing.labels[z]
                plane[mask & (plane <= 0)] = self.cell
            self.cell = int(self.drawing.labels.max()) + 1
        self._before.clear()
        self._changed()

    def picture(self) -> np.ndarray:
        """Return the slice as (Y, X, 3) uint8: cells in their colours, background blue, both over the raw image."""
        raw, labels = self.drawing.raw[self.z], self.drawing.labels[self.z]
        low, high = gray_limits(self.drawing.raw)
        gray = np.clip((raw.astype(float) - low) / max(high - low, 1e-9), 0, 1)[..., np.newaxis].repeat(3, -1)
        colors = np.where(
            (labels == 0)[..., np.newaxis], (0.1, 0.3, 1.0), label_colors(np.maximum(labels, 0))
        )
        alpha = np.where(labels >= 0, 0.4, 0.0)[..., np.newaxis]
        return (255 * (gray * (1 - alpha) + colors * alpha)).astype(np.uint8)

    def widget(self) -> Any:
        """Return the canvas with its buttons."""
        import ipywidgets
        from ipycanvas import Canvas, hold_canvas
        from PIL import Image

        allow_widgets_on_colab()
        height, width = self.drawing.raw.shape[1:]
        scale = _SIDE / max(height, width)
        canvas = Canvas(width=round(width * scale), height=round(height * scale))
        message = ipywidgets.Label()
        slider = ipywidgets.IntSlider(self.z, 0, max(1, len(self.drawing.raw)) - 1, description="z")
        prompted = ["click or box"] if self.outliner else []
        tools = ipywidgets.ToggleButtons(options=["cell", "background", "eraser", *prompted])
        points: list[tuple[float, float]] = []

        def redraw() -> None:
            picture = Image.fromarray(self.picture()).resize(
                (canvas.width, canvas.height), Image.Resampling.NEAREST
            )
            with hold_canvas():
                canvas.put_image_data(np.asarray(picture), 0, 0)
            n = len(np.unique(self.drawing.labels[self.drawing.labels > 0]))
            share = 100 * float((self.drawing.labels >= 0).mean())
            message.value = f"cell {self.cell}; {n} drawn, {share:.2g} % of the voxels annotated"

        def moved(x: float, y: float) -> None:
            if points:
                canvas.stroke_style = "yellow"
                canvas.stroke_line(points[-1][1] * scale, points[-1][0] * scale, x, y)
                points.append((y / scale, x / scale))

        def lifted(x: float, y: float) -> None:
            if len(points) > (0 if self.tool == "click or box" else 2):
                self.stroke(np.array(points))
            points.clear()
            redraw()

        def chosen(change: dict[str, Any]) -> None:
            self.z, self.tool = slider.value, cast(Tool, tools.value)
            redraw()

        canvas.on_mouse_down(lambda x, y: points.append((y / scale, x / scale)))
        canvas.on_mouse_move(moved)
        canvas.on_mouse_up(lifted)
        for control in (slider, tools):
            control.observe(chosen, "value")
        buttons = []
        for text, act in (("next cell", self.next_cell), ("undo", self.undo), ("save", self.drawing.save)):
            button = ipywidgets.Button(description=text)
            button.on_click(lambda _, act=act: (act(), redraw()))
            buttons.append(button)
        self._changed = redraw
        redraw()
        return ipywidgets.VBox([ipywidgets.HBox([slider, tools]), canvas, ipywidgets.HBox(buttons), message])

    def go_to(self, place: Any) -> None:
        """Show the slice of a place of the list, a row with `z`."""
        self.z = int(place["z"])
        self._changed()


def allow_widgets_on_colab() -> None:
    """Let Colab load the canvas, which is none of its own widgets."""
    with suppress(ImportError):
        from google.colab import output  # type: ignore[import-not-found]

        output.enable_custom_widget_manager()

"""The strip of pictures in a notebook as something to click and draw on, in Jupyter and on Colab.

::

    select     a click adds the cell to the selection, or removes it
    point      a click adds a point, to split at
    new cell   an outline, drawn with the mouse, is a new cell, which is then selected
    add        what is outlined belongs to the selected cell of this frame, too
    erase      what is outlined is background, if it was the selected cell's

The canvas is ipycanvas'; what a click or an outline does takes pixels of the picture, so that it works, and is tested,
without a browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from helpers.curation.cells import Cell, Stroke
from helpers.data.outlines import filled
from helpers.errors import InputError
from helpers.view.annotation_canvas import allow_widgets_on_colab
from helpers.view.figure_files import pixels_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from helpers.view.curation_panel import CurationPanel

TOOLS = ("select", "point", "new cell", "add", "erase")
_CLICKS = ("select", "point")
_DPI = 130


class StripCanvas:
    """A strip of pictures that is clicked and drawn on.

    Parameters
    ----------
    panel : CurationPanel
        Whose cells and points are chosen, and whose log is written.

    Attributes
    ----------
    tool : ipywidgets.ToggleButtons
        One of `TOOLS`.
    z : ipywidgets.IntSlider
        The slice that is shown.
    canvas : ipycanvas.Canvas
    """

    def __init__(self, panel: CurationPanel) -> None:
        import ipywidgets
        from ipycanvas import Canvas

        allow_widgets_on_colab()
        self.panel = panel
        depth = panel.curation.state.shape[1]
        self.tool = ipywidgets.ToggleButtons(options=TOOLS, description="mouse")
        self.z = ipywidgets.IntSlider(0, 0, depth - 1, description="slice z")
        self.z.layout.display = "" if depth > 1 else "none"
        self.canvas = Canvas(width=1, height=1)
        self._figure: Figure | None = None
        self._drawn: list[tuple[float, float]] = []
        self.canvas.on_mouse_down(lambda x, y: self._drawn.append((x, y)))
        self.canvas.on_mouse_move(self._moved)
        self.canvas.on_mouse_up(self._lifted)

    def show(self, figure: Figure) -> np.ndarray:
        """Show a strip (`helpers.view.curation_plots.strip`); return its picture, (height, width, 4) uint8."""
        from ipycanvas import hold_canvas

        self._figure = figure
        figure.set_dpi(_DPI)
        picture = pixels_of(figure).copy()
        self.canvas.height, self.canvas.width = picture.shape[:2]
        with hold_canvas():
            self.canvas.put_image_data(picture, 0, 0)
        return picture

    def place(self, x: float, y: float) -> tuple[int, tuple[int, int, int]] | None:
        """Return the frame and the voxel (z, y, x) under a pixel of the picture; None beside the frames."""
        found = self._under(x, y)
        return found and (found[0], (self.z.value, *np.rint(found[1]).astype(int).tolist()))

    def _under(self, x: float, y: float, within: int | None = None) -> tuple[int, np.ndarray] | None:
        """Return the frame, and (y, x) in voxels of it; with `within` as if all were that frame's picture."""
        if self._figure is None:
            return None
        at = (x, self._figure.bbox.height - y)
        for axes in self._figure.axes:
            frame = int(axes.get_gid() or -1)
            if frame == within if within is not None else axes.bbox.contains(*at):
                inside = axes.transData.inverted().transform(at)[::-1]
                return frame, inside + [part.start for part in self.panel.window()]
        return None

    def click(self, x: float, y: float) -> str:
        """Choose the cell under a pixel, or put a point there; return a message.

        Raises
        ------
        InputError
            On background, where a cell is to be chosen.
        """
        found = self.place(x, y)
        if found is None:
            return "click into one of the pictures"
        panel, (frame, voxel) = self.panel, found
        if self.tool.value == "point":
            panel.choose_points([*panel.chosen_points(), tuple(map(float, voxel))])
            return "points: where to split"
        cell = panel.curation.cell_at(frame, voxel)
        others = [other for other in panel.chosen() if other.key != cell.key]
        panel.choose(others if len(others) < len(panel.chosen()) else [*others, cell])
        return f"selected: {panel.cells.value or 'nothing'}"

    def outline(self, pixels: Sequence[tuple[float, float]]) -> str:
        """Paint or erase what is within a closed outline, (x, y) in pixels of the picture; return a message.

        Raises
        ------
        InputError
            Nothing lies within it, or other cells only; no cell of the frame is chosen to add to or to erase.
        """
        start = self._under(*pixels[0])
        if start is None:
            return "draw in one of the pictures"
        panel, frame = self.panel, start[0]
        places = [self._under(x, y, within=frame) for x, y in pixels]
        corners = np.array([at[1] + 0.5 for at in places if at is not None])  # pixel 0 covers 0 … 1 there
        mask = np.zeros(panel.curation.state.shape[1:], bool)
        mask[self.z.value] = filled([corners], (mask.shape[1], mask.shape[2]))
        stroke = Stroke.of_mask(frame, mask)
        if self.tool.value == "new cell":
            message = panel.do("paint", stroke=stroke, only_background=True)
            panel.choose([Cell(frame, panel.curation.state.highest_label)])
            return f"{message}; outlines in other slices: add"
        cells = [cell for cell in panel.chosen() if cell.frame == frame]
        if len(cells) != 1:
            raise InputError("cells", panel.cells.value, f"one selected cell of frame {frame}")
        if self.tool.value == "erase":
            return panel.do("erase", stroke=stroke, cell=cells[0])
        return panel.do("paint", stroke=stroke, cell=cells[0], only_background=True)

    def _moved(self, x: float, y: float) -> None:
        if self._drawn and self.tool.value not in _CLICKS:
            self.canvas.stroke_style = "yellow"
            self.canvas.stroke_line(*self._drawn[-1], x, y)
            self._drawn.append((x, y))

    def _lifted(self, x: float, y: float) -> None:
        pixels, self._drawn = self._drawn, []
        if not pixels:
            return
        if self.tool.value in _CLICKS:
            self.panel.show_result(lambda: self.click(*pixels[0]))
        elif len(pixels) > 2:
            self.panel.show_result(lambda: self.outline(pixels))

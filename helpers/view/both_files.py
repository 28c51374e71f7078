"""A figure drawn once for two files: what it draws as pixels at some resolution is written as vectors too.

Most of what drawing takes are ticks and the places of texts, which are the same in both.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.backends.backend_pdf import GraphicsContextPdf, PdfFile, RendererPdf
from matplotlib.transforms import Affine2D, TransformedBbox, TransformedPath

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of a PDF.
_POINTS = 72


class NotBoth(Exception):
    """What is drawn as pixels within the vectors has to be drawn for each file."""


def draw_both(figure: Figure) -> tuple[np.ndarray, bytes]:
    """Draw a figure at its own resolution.

    Parameters
    ----------
    figure : Figure
        Laid out.

    Returns
    -------
    pixels : ndarray of uint8, (height, width, 4)
    pdf : bytes

    Raises
    ------
    NotBoth
        For figures with artists that are drawn as pixels in vector files.
    """
    canvas = FigureCanvasAgg(figure)
    pixels = canvas.get_renderer()
    pixels.clear()
    width, height = figure.get_size_inches()
    pdf = io.BytesIO()
    file = PdfFile(pdf, metadata={"CreationDate": None})
    try:
        file.newPage(width, height)
        vectors = RendererPdf(file, figure.dpi, height, width)
        figure.draw(BothRenderer(pixels, vectors))
        vectors.finalize()
        file.finalize()
    finally:
        file.close()
    return np.asarray(canvas.buffer_rgba()), pdf.getvalue()


class BothRenderer(RendererBase):
    """Draws pixels, and the same as vectors.

    Parameters
    ----------
    pixels : RendererAgg
        Places are given in its pixels.
    vectors : RendererPdf
        Drawn with the same places in points.
    """

    def __init__(self, pixels: RendererAgg, vectors: RendererPdf) -> None:
        super().__init__()
        self._pixels, self._vectors = pixels, vectors
        self._scale = _POINTS / pixels.dpi
        self._to_points = Affine2D().scale(self._scale)
        self._scaled: dict[int, tuple[Any, Any]] = {}
        self.width, self.height, self.dpi = pixels.width, pixels.height, pixels.dpi
        self.points_to_pixels = pixels.points_to_pixels
        self.get_canvas_width_height = pixels.get_canvas_width_height
        self.get_text_width_height_descent = pixels.get_text_width_height_descent

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        self._pixels.draw_path(gc, path, transform, rgbFace)
        self._vectors.draw_path(self._context(gc), path, transform + self._to_points, rgbFace)

    def draw_markers(self, gc: Any, marker_path: Any, marker_trans: Any, path: Any, trans: Any, rgbFace: Any = None) -> None:  # fmt: skip
        self._pixels.draw_markers(gc, marker_path, marker_trans, path, trans, rgbFace)
        self._vectors.draw_markers(
            self._context(gc), marker_path, marker_trans + self._to_points, path, trans + self._to_points, rgbFace
        )  # fmt: skip

    def draw_path_collection(self, gc: Any, master_transform: Any, paths: Any, all_transforms: Any, offsets: Any, offset_trans: Any, *args: Any, **kwargs: Any) -> None:  # fmt: skip
        self._pixels.draw_path_collection(
            gc, master_transform, paths, all_transforms, offsets, offset_trans, *args, **kwargs
        )
        self._vectors.draw_path_collection(
            self._context(gc), master_transform + self._to_points, paths, all_transforms, offsets,
            offset_trans + self._to_points, *args, **kwargs,
        )  # fmt: skip

    def draw_image(self, gc: Any, x: float, y: float, im: Any, transform: Any = None) -> None:
        self._pixels.draw_image(gc, x, y, im)
        self._vectors.draw_image(self._context(gc), x * self._scale, y * self._scale, im)

    def draw_text(self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None) -> None:  # fmt: skip
        self._pixels.draw_text(gc, x, y, s, prop, angle, ismath=ismath, mtext=mtext)
        up = (self.height - y) * self._scale  # in pixels y runs downwards
        self._vectors.draw_text(
            self._context(gc), x * self._scale, up, s, prop, angle, ismath=ismath, mtext=mtext
        )

    def draw_gouraud_triangles(self, *args: Any, **kwargs: Any) -> None:
        raise NotBoth

    draw_tex = draw_quad_mesh = start_rasterizing = start_filter = draw_gouraud_triangles

    def _context(self, gc: Any) -> GraphicsContextPdf:
        """Return how something is drawn (lines are in points for both), and where it is cut off."""
        context: Any = self._vectors.new_gc()
        context.copy_properties(gc)
        box, path = gc._cliprect, gc._clippath
        context.set_clip_rectangle(self._kept(box, lambda: TransformedBbox(box, self._to_points)))
        context.set_clip_path(
            self._kept(path, lambda: TransformedPath(path._path, path._transform + self._to_points))
        )
        return context

    def _kept(self, what: Any, scaled: Callable[[], Any]) -> Any:
        """Return the same for the same: a PDF names a region only where it is another one."""
        if what is None:
            return None
        if id(what) not in self._scaled:
            self._scaled[id(what)] = what, scaled()
        return self._scaled[id(what)][1]

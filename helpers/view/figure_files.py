"""Figures as PNG, PDF and SVG: drawn once, laid out once, and written whole or not at all."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.view.png import encode

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Resolution of figures in a notebook.
SHOWN_DPI = 120


def save_figure(
    figure: Figure, path: str | Path, *, dpi: int = 300, formats: Sequence[str] = ("png", "pdf")
) -> list[Path]:
    """Save a figure, as PNG for looking at and as vector graphics for printing.

    Parameters
    ----------
    figure : Figure
        What to save.
    path : path-like
        Its name; an ending ``.png``, ``.pdf`` or ``.svg`` is replaced.
    dpi : int
        Resolution of the PNG and of the pictures within the vector file.
    formats : sequence of {"png", "pdf", "svg"}
        A file each.

    Returns
    -------
    list of Path
        The files, each written whole or not at all.

    Raises
    ------
    InputError
        For another format, or if a file cannot be written.
    """
    import matplotlib

    if unknown := set(formats) - {"png", "pdf", "svg"}:
        raise InputError("formats", sorted(unknown), '"png", "pdf" or "svg"')
    path = Path(path)
    if path.suffix.lower() in (".png", ".pdf", ".svg"):
        path = path.with_suffix("")
    # Without a date in it the same figure is the same file.
    with (
        _laid_out(figure),
        matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "volltrack"}),
    ):
        contents, shown = _contents(figure, formats, dpi)
    written = []
    for suffix in formats:
        target = path.with_name(f"{path.name}.{suffix}")
        with atomic_path(target) as temporary:
            temporary.write_bytes(contents[suffix])
        written.append(target)
    if shown and hasattr(figure, "drawn"):
        figure.drawn, figure.stale = shown, False  # pyright: ignore[reportAttributeAccessIssue]
    return written


def pixels_of(figure: Figure) -> np.ndarray:
    """Draw a figure at its own resolution, once, where `Figure.savefig` draws twice; return (height, width, 4) uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def as_png(figure: Figure, dpi: float) -> bytes:
    """Give a figure another resolution, draw it once, and return it as PNG."""
    figure.set_dpi(dpi)
    return encode(pixels_of(figure), dpi)


def _contents(figure: Figure, formats: Sequence[str], dpi: int) -> tuple[dict[str, bytes], bytes]:
    """Draw a figure; return its files, and the PNG as small as notebooks show it, made of the pixels that are at hand."""
    contents, shown = {}, b""
    with at_resolution(figure, dpi):
        for suffix in dict.fromkeys(formats):
            if suffix == "png":
                pixels = pixels_of(figure)
                contents["png"], shown = encode(pixels, dpi), encode(_small(figure, pixels), SHOWN_DPI)
            else:
                contents[suffix] = _vectors(figure, suffix)
    return contents, shown


def _vectors(figure: Figure, suffix: str) -> bytes:
    """Return a PDF or SVG, drawn once, where `Figure.savefig` lays all texts out twice."""
    dpi, buffer = figure.get_dpi(), io.BytesIO()
    if suffix == "pdf":
        from matplotlib.backends.backend_pdf import FigureCanvasPdf

        FigureCanvasPdf(figure).print_pdf(buffer, metadata={"CreationDate": None})
    else:
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    figure.set_dpi(dpi)  # both leave their own
    return buffer.getvalue()


def _small(figure: Figure, pixels: np.ndarray) -> np.ndarray:
    """Return the pixels of a figure as a notebook shows it."""
    from PIL import Image

    width, height = (round(length * SHOWN_DPI) for length in figure.get_size_inches())
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.HAMMING))


@contextlib.contextmanager
def at_resolution(figure: Figure, dpi: float) -> Iterator[None]:
    """Give a figure another resolution for a while, and any canvas."""
    canvas, shown_dpi = figure.canvas, figure.get_dpi()
    figure.set_dpi(dpi)
    try:
        yield
    finally:
        figure.set_dpi(shown_dpi)
        figure.set_canvas(canvas)


@contextlib.contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out once, for all its files: for each it takes longer than drawing it."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)

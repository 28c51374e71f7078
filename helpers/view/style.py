"""How figures look: colours that everyone can tell apart, readable type, scale bars, and how they are saved.

Figures are plain `matplotlib.figure.Figure` objects outside pyplot: nothing is shown or kept open behind the
caller's back, no setting of the caller is changed, and a thousand of them can be made in one run.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from helpers.data.atomic import atomic_path
from helpers.data.calibration import check_voxel_size
from helpers.errors import InputError
from helpers.segmentation.method_names import METHOD_NAMES
from helpers.view.png import encode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

#: The palette of Okabe and Ito (2008): distinguishable with every common colour blindness.
OKABE_ITO: dict[str, str] = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "vermillion": "#D55E00",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}

_METHODS: dict[str, tuple[str, str]] = {
    "vollseg": (OKABE_ITO["blue"], "o"),
    "stardist": (OKABE_ITO["orange"], "s"),
    "unet": (OKABE_ITO["green"], "^"),
    "cellpose": (OKABE_ITO["purple"], "D"),
}

_RC: dict[Any, Any] = {
    # Dark notebook themes must not put white letters on white paper.
    "text.color": "black",
    "axes.labelcolor": "black",
    "axes.edgecolor": "black",
    "xtick.color": "black",
    "ytick.color": "black",
    "axes.facecolor": "white",
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Letters stay letters in vector files, so that a journal or Illustrator can edit them.
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
}


#: Resolution of figures in a notebook.
_SHOWN_DPI = 120


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a plotting function under the suite's settings and put the caller's back afterwards."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(
            {**matplotlib.rcParamsDefault, **_RC, "backend": matplotlib.get_backend()}
        ):
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that lays itself out and shows itself in a notebook.

    Parameters
    ----------
    width, height : float
        Inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that Jupyter shows without pyplot or ``%matplotlib inline``."""

        #: What `save_figure` has drawn, made smaller; so it is shown while nothing was changed since.
        drawn: bytes = b""

        def _repr_png_(self) -> bytes:
            if self.drawn and not self.stale:
                return self.drawn
            with _at(self, _SHOWN_DPI):
                return encode(pixels_of(self), _SHOWN_DPI)

    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    # Vector and pixel output is laid out at the same resolution.
    figure.set_dpi(_SHOWN_DPI)
    return figure


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
    with _at(figure, dpi):
        for suffix in dict.fromkeys(formats):
            if suffix == "png":
                pixels = pixels_of(figure)
                contents["png"], shown = encode(pixels, dpi), encode(_small(figure, pixels), _SHOWN_DPI)
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

    width, height = (round(length * _SHOWN_DPI) for length in figure.get_size_inches())
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.HAMMING))


@contextlib.contextmanager
def _at(figure: Figure, dpi: float) -> Iterator[None]:
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


def logarithmic(axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5 in place of powers of ten.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
        Such as ``axes.xaxis``.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes = axis.axes
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def method_style(method: str, position: int = 0) -> tuple[str, str, str]:
    """Return the name, colour and marker of a segmentation method.

    Parameters
    ----------
    method : str
        ``vollseg`` (blue), ``stardist`` (orange), ``unet`` (green) and ``cellpose`` (purple) always look the same.
    position : int
        Which of the remaining colours any other name gets.

    Returns
    -------
    tuple of str
        Display name, colour, marker.
    """
    key = method.lower().replace("-", "").replace("_", "")
    if key in _METHODS:
        return METHOD_NAMES[key], *_METHODS[key]
    rest = [OKABE_ITO[name] for name in ("vermillion", "sky", "black", "yellow")]
    return method, rest[position % len(rest)], "vP*X"[position % 4]


def label_colors(labels: np.ndarray) -> np.ndarray:
    """Return a colour for each label that depends on nothing but its number.

    Parameters
    ----------
    labels : ndarray of int
        Any shape; 0 becomes black.

    Returns
    -------
    ndarray of float, labels.shape + (3,)
        RGB in 0 … 1. Numbers that follow each other, as neighbours' often do, lie far apart in hue (steps of the
        golden ratio) and differ in lightness as well, so that they can be told apart without seeing hues. The
        same label has the same colour in every frame and figure.
    """
    from skimage.color import lab2rgb

    labels = np.asarray(labels)
    ids, inverse = np.unique(labels, return_inverse=True)
    hue = 2 * np.pi * np.mod(ids * ((np.sqrt(5) - 1) / 2), 1)
    lightness = np.array([72.0, 52.0, 86.0])[np.asarray(ids % 3, int)]
    lab = np.stack([lightness, 55 * np.cos(hue), 55 * np.sin(hue)], axis=-1)
    rgb = np.clip(lab2rgb(lab[np.newaxis])[0], 0, 1)
    rgb[ids == 0] = 0
    return rgb[inverse.reshape(labels.shape)]


def pixel_size(voxel_size: Sequence[float] | None) -> tuple[float, float] | None:
    """Return the (y, x) size in µm of a pixel of the shown plane, or None where it is not known.

    Parameters
    ----------
    voxel_size : sequence of float, optional
        (z, y, x) or (y, x) in µm.

    Raises
    ------
    InputError
        For anything but two or three positive numbers.
    """
    if voxel_size is None:
        return None
    _, y, x = check_voxel_size(voxel_size, planar=True)
    return y, x


def scale_bar(axes: Axes, width_pixels: int, size_x: float) -> None:
    """Draw a bar of a round length, about a quarter of the picture, with the length in µm above it.

    Parameters
    ----------
    axes : Axes
        Showing an image in pixel coordinates.
    width_pixels : int
        Width of the image.
    size_x : float
        µm per pixel.
    """
    from matplotlib.patheffects import withStroke

    length = nice_length(0.3 * width_pixels * size_x)
    bar = length / size_x / width_pixels
    outline = [withStroke(linewidth=2.2, foreground="black")]
    (line,) = axes.plot(
        [0.95 - bar, 0.95],
        [0.05, 0.05],
        transform=axes.transAxes,
        color="white",
        linewidth=3,
        solid_capstyle="butt",
        path_effects=[withStroke(linewidth=4.6, foreground="black")],
        gid="scale bar",
    )
    line.set_in_layout(False)
    axes.text(
        0.95 - bar / 2,
        0.075,
        f"{length:g} µm",
        transform=axes.transAxes,
        color="white",
        ha="center",
        va="bottom",
        fontsize=8,
        path_effects=outline,
    )


def nice_length(longest: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above `longest`."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(max(step for step in (1, 2, 5) if step * power <= longest * (1 + 1e-9)) * power)


def gray_limits(image: np.ndarray) -> tuple[float, float]:
    """Return black and white points that ignore the darkest and brightest few pixels; also for a constant image."""
    finite = np.asarray(image)[np.isfinite(image)]
    if finite.size == 0:
        return 0.0, 1.0
    black, white = (float(value) for value in np.percentile(finite, (0.5, 99.8)))
    return (
        (black, white) if white > black else (float(finite.min()), float(max(finite.max(), finite.min() + 1)))
    )

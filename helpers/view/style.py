"""How figures look: colours that everyone can tell apart, readable type, scale bars.

Figures are plain `matplotlib.figure.Figure` objects outside pyplot: nothing is shown or kept open behind the
caller's back, no setting of the caller is changed, and a thousand of them can be made in one run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from helpers.data.calibration import check_voxel_size
from helpers.segmentation.method_names import METHOD_NAMES
from helpers.view.figure_files import SHOWN_DPI, at_resolution, pixels_of
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
            with at_resolution(self, SHOWN_DPI):
                return encode(pixels_of(self), SHOWN_DPI)

    figure = NotebookFigure(figsize=(width, height), layout="constrained")
    # Vector and pixel output is laid out at the same resolution.
    figure.set_dpi(SHOWN_DPI)
    return figure


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

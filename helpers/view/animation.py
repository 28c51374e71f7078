"""Animations of a movie with its cells and tracks, over time and around the tissue; no display is needed.

A picture shows the brightest voxels along the line of sight, the cells tinted, the tracks of the last frames as tails.
With a rotation the tissue turns about its vertical axis while time goes on, so that depth can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import affine_transform

from helpers.data.atomic import atomic_path
from helpers.data.units import with_unit
from helpers.errors import InputError
from helpers.progress import progress
from helpers.tracking.tracks import Tracks, numeric_columns
from helpers.view.figure_files import pixels_of
from helpers.view.panels import clock
from helpers.view.style import gray_limits, label_colors, new_figure, scale_bar, styled


def animate(
    path: str | Path,
    movie: Any,
    tracks: Tracks,
    *,
    labels: Any = None,
    color_by: str = "track",
    rotation: float = 0.0,
    n_pictures: int | None = None,
    tail: int = 5,
    fps: float = 6.0,
    width: float = 4.2,
    channel: int = 0,
) -> Path:
    """Write an animation.

    Parameters
    ----------
    path : path-like
        ``*.gif`` or ``*.mp4``; replaced where it exists.
    movie : Movie, label movie or None
        With ``.frame(t)`` and ``.shape``; None shows the labels, or the tracks on black.
    tracks : Tracks
        With a voxel size.
    labels : label movie, optional
        Tinted over the picture, each cell in the colour of its track.
    color_by : str
        ``"track"``, or a numeric column of the objects, such as the distance to the boundary.
    rotation : float
        Degrees by which the tissue turns in all; 0 looks along z.
    n_pictures : int, optional
        Pictures; one per frame if left out, at least 36 for a rotation.
    tail : int
        Frames of the past that tracks show.
    fps : float
        Pictures a second.
    width : float
        Inches, of 100 pixels each.
    channel : int
        Of the movie.

    Returns
    -------
    Path
        The file, written whole or not at all.

    Raises
    ------
    InputError
        Another ending, no voxel size, no such column, or, for mp4, no encoder.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise InputError("path", str(path), "an animation is *.gif or *.mp4")
    if tracks.voxel_size is None:
        raise InputError("voxel_size_um", None, "give [z, y, x] in µm, to put tracks on the picture")
    for name, value in (("fps", fps), ("width", width)):
        if not value > 0:
            raise InputError(name, value, "above 0")
    source = movie if movie is not None else labels
    n_frames = source.shape[0] if source is not None else int(tracks.objects["frame"].max()) + 1
    n = n_pictures or (max(n_frames, 36) if rotation else n_frames)
    pictures = _pictures(source, tracks, labels, color_by, rotation, n, n_frames, tail, width, channel)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        _write(temporary, kind, pictures, fps, n)
    return path


def _write(path: Path, kind: str, pictures: Iterator[np.ndarray], fps: float, n: int) -> None:
    shown = progress(pictures, desc="Animation", unit="picture", total=n)
    if kind == ".gif":
        write_gif(path, shown, fps)
        return
    import imageio.v2 as imageio

    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        raise InputError(
            "path", kind, "mp4 needs the package imageio-ffmpeg; install it, or write a gif"
        ) from None
    options: dict[str, Any] = {"fps": fps, "codec": "libx264", "macro_block_size": 2, "quality": 8}
    with imageio.get_writer(path, format="FFMPEG", **options) as writer:  # type: ignore[arg-type]
        for picture in shown:
            writer.append_data(picture)  # type: ignore[attr-defined]


def write_gif(path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    """Write a GIF. Of 256 colours each picture has those that cover all: the most frequent ones are greys, and bars striped."""
    from PIL import Image

    few = (Image.fromarray(one).quantize(256, method=Image.Quantize.MAXCOVERAGE) for one in pictures)
    next(few).save(
        path, "GIF", save_all=True, append_images=few, duration=round(1000 / fps), loop=0, optimize=False
    )


def _pictures(
    source: Any,
    tracks: Tracks,
    labels: Any,
    color_by: str,
    rotation: float,
    n: int,
    n_frames: int,
    tail: int,
    width: float,
    channel: int,
) -> Iterator[np.ndarray]:
    size = np.array(tracks.voxel_size)
    shape = source.shape[-3:] if source is not None else _extent(tracks, size)
    colors, bar = _colors(tracks, color_by)
    limits: tuple[float, float] | None = None
    for k in range(n):
        t = k * n_frames // n
        turn = np.radians(rotation * k / n)
        stack = _stack(source, labels, t, channel, shape)
        tint = np.asarray(labels.frame(t)) if labels is not None else None
        if limits is None:
            limits = gray_limits(stack) if source is not labels else (0.0, 2.0)
        view = View(shape, size, turn if rotation else None)
        image = view.project(stack.astype(np.float32))
        front = view.front(tint) if tint is not None else None
        yield _draw(image, front, tracks, colors, bar, t, tail, view, limits, width)


class View:
    """How a stack is seen after a turn about the vertical axis: pixels of the size of x."""

    def __init__(self, shape: tuple[int, ...], size: np.ndarray, turn: float | None) -> None:
        self.size, self.turns, self.turn = size, turn is not None, turn or 0.0
        self.pixel = float(size[2])
        self.middle = (np.array(shape) - 1) * size / 2
        # The widest that the turning box becomes, so that the picture never changes its size.
        box = np.array(shape) * size
        self.across = int(np.ceil((np.hypot(box[0], box[2]) if self.turns else box[2]) / self.pixel))

    def _resampled(self, stack: np.ndarray, order: int) -> np.ndarray:
        """The stack on cubes of the size of a pixel, turned."""
        if not self.turns:
            return stack
        depth = self.across
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        # From a place in the picture (depth, y, across) in pixels to the voxel of the stack.
        back = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]) * self.pixel
        back = back / self.size[:, None]
        back[1, 1] = 1.0
        centre = np.array([(depth - 1) / 2, (stack.shape[1] - 1) / 2, (self.across - 1) / 2])
        offset = (np.array(stack.shape) - 1) / 2 - back @ centre
        return affine_transform(
            stack,
            back,
            offset.tolist(),
            output_shape=(depth, stack.shape[1], self.across),
            order=order,
            cval=0,
        )

    def project(self, stack: np.ndarray) -> np.ndarray:
        """The brightest voxel along the line of sight, (Y, across)."""
        return self._resampled(stack, 1).max(axis=0)

    def front(self, labels: np.ndarray) -> np.ndarray:
        """The first label along the line of sight, (Y, across)."""
        turned = self._resampled(labels, 0)
        first = (turned > 0).argmax(axis=0)
        return np.take_along_axis(turned, first[None], axis=0)[0]

    def place(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) x and y in the picture's pixels of points (z, y, x) in µm."""
        centred = points - self.middle
        across = -np.sin(self.turn) * centred[:, 0] + np.cos(self.turn) * centred[:, 2]
        return np.column_stack([across / self.pixel + (self.across - 1) / 2, points[:, 1] / self.size[1]])


@styled
def _draw(
    image: np.ndarray,
    front: np.ndarray | None,
    tracks: Tracks,
    colors: np.ndarray,
    bar: tuple[str, float, float] | None,
    t: int,
    tail: int,
    view: View,
    limits: tuple[float, float],
    width: float,
) -> np.ndarray:
    from matplotlib.collections import LineCollection

    height = width * image.shape[0] * view.size[1] / (image.shape[1] * view.pixel)
    below = 0.6 if bar else 0.05
    figure = new_figure(_even(width), _even(height + 0.3 + below))
    # Places are fixed: laying out anew would take longer than drawing, and let the picture jump.
    figure.set_layout_engine("none")
    figure.set_dpi(100)
    total = figure.get_figheight()
    axes = figure.add_axes((0, below / total, 1, height / total))
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], aspect=view.size[1] / view.pixel)
    objects = tracks.objects
    frames = objects["frame"].to_numpy()
    if front is not None:
        here = frames == t
        known = dict(zip(objects.loc[here, "label"], colors[here], strict=True)) if "label" in objects else {}
        tint = np.zeros((*front.shape, 4))
        for label in np.unique(front[front > 0]):
            tint[front == label, :3] = known.get(label, np.array([0.6, 0.6, 0.6, 1]))[:3]
        tint[front > 0, 3] = 0.3
        axes.imshow(tint, aspect=view.size[1] / view.pixel)
    points = view.place(objects[["z", "y", "x"]].to_numpy(float))
    ends = frames[tracks.link_rows]
    shown = (ends[:, 1] <= t) & (ends[:, 1] > t - tail)
    links = tracks.link_rows[shown]
    axes.add_collection(LineCollection(list(points[links]), colors=colors[links[:, 1]], linewidths=1.6))
    now = frames == t
    axes.scatter(*points[now].T, c=colors[now], s=10, edgecolors="white", linewidths=0.4)
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)
    axes.set_axis_off()
    scale_bar(axes, image.shape[1], view.pixel)
    axes.set_title(_clock(tracks, t), loc="left", x=0.02)
    if bar is not None:
        import matplotlib
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        mappable = ScalarMappable(Normalize(*bar[1:]), matplotlib.colormaps["viridis"])
        place = figure.add_axes((0.15, 0.42 / total, 0.7, 0.1 / total))
        figure.colorbar(mappable, cax=place, orientation="horizontal", label=with_unit(bar[0]))
    return pixels_of(figure)[..., :3].copy()


def _clock(tracks: Tracks, t: int) -> str:
    """Return the time of a frame, in the unit of the whole movie."""
    per_frame, unit = clock(tracks)
    return f"frame {t}" if unit == "frame" else f"{t * per_frame:.3g} {unit}"


def _even(inches: float) -> float:
    """Round to a length of an even number of pixels, as video wants it."""
    return 2 * round(inches * 50) / 100


def _stack(source: Any, labels: Any, t: int, channel: int, shape: tuple[int, ...]) -> np.ndarray:
    if source is None:
        return np.zeros(shape, np.float32)
    if source is labels:
        return (np.asarray(labels.frame(t)) > 0).astype(np.float32)
    return np.asarray(source.frame(t, channel) if channel else source.frame(t))


def _extent(tracks: Tracks, size: np.ndarray) -> tuple[int, ...]:
    reach = tracks.objects[["z", "y", "x"]].to_numpy(float).max(axis=0, initial=0) / size
    return tuple(int(n) + 2 for n in np.ceil(reach))


def _colors(tracks: Tracks, color_by: str) -> tuple[np.ndarray, tuple[str, float, float] | None]:
    """RGBA of each object, and what a colour bar says."""
    import matplotlib

    if color_by == "track":
        rgb = label_colors(tracks.track_ids + 1)
        rgb[tracks.track_ids < 0] = 0.6
        return np.column_stack([rgb, np.ones(len(rgb))]), None
    objects = tracks.annotated()
    if color_by not in (numeric := numeric_columns(objects)):
        raise InputError("color_by", color_by, f'"track" or one of {", ".join(numeric)}')
    values = objects[color_by].to_numpy(float)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    high = high if high > low else low + 1
    rgba = matplotlib.colormaps["viridis"]((np.nan_to_num(values, nan=low) - low) / (high - low))
    return rgba, (color_by, low, high)

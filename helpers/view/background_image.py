"""What points in µm are drawn on: the maximum projection of an image, or nothing but their own extent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.view.planes import draw_raw
from helpers.view.style import new_figure, pixel_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Pixels along the longer side of a ground without an image.
_PIXELS = 512


@dataclass(frozen=True)
class BackgroundImage:
    """A plane to draw on.

    Parameters
    ----------
    image : (Y, X) ndarray
        The projection; zeros where there is no image.
    size : (float, float)
        Of a pixel along y and x, in µm.
    origin : (float, float)
        y and x of the centre of pixel (0, 0), in µm.
    """

    image: np.ndarray
    size: tuple[float, float]
    origin: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(
        cls, image: np.ndarray | None, points: pd.DataFrame, voxel_size: Sequence[float] | None
    ) -> BackgroundImage:
        """Return the ground of an image, or without one that of the points (``y, x`` in µm).

        Raises
        ------
        InputError
            If it is not an image, or its voxel size is missing.
        """
        if image is None:
            position = points[["y", "x"]].to_numpy(float)
            low, high = (
                (position.min(axis=0), position.max(axis=0)) if len(position) else (np.zeros(2), np.ones(2))
            )
            # A margin of a twentieth, and room for points that all lie in one place.
            margin = 0.05 * max(float((high - low).max()), 1.0)
            side = float((high - low).max() + 2 * margin) / _PIXELS
            shape = np.ceil((high - low + 2 * margin) / side).astype(int)
            return cls(np.zeros(shape, np.float32), (side, side), tuple(low - margin))
        size = pixel_size(voxel_size)
        if size is None:
            raise InputError("voxel_size", None, "(z, y, x) in µm, to put positions on the image's pixels")
        if np.ndim(image) < 2:
            raise InputError("image", f"shape {np.shape(image)}", "an image with y and x")
        return cls(np.asarray(image).reshape(-1, *np.shape(image)[-2:]).max(axis=0), (size[0], size[1]))

    def pixels(self, points: pd.DataFrame) -> np.ndarray:
        """Return the positions of points, (n, 2): y, x in pixels."""
        return (points[["y", "x"]].to_numpy(float) - self.origin) / self.size

    def extent(self) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top in µm, as matplotlib's ``imshow`` takes them."""
        (height, width), (dy, dx), (y, x) = self.image.shape, self.size, self.origin
        return x - dx / 2, x + (width - 0.5) * dx, y + (height - 0.5) * dy, y - dy / 2

    def draw(self) -> tuple[Figure, Axes]:
        """Return a figure with the image, dimmed so that lines stand out, and a scale bar."""
        height, width = self.image.shape
        ratio = height * self.size[0] / (width * self.size[1])
        shown = min(4.6, 5.6 / ratio)
        figure = new_figure(shown + 1.3, shown * ratio + 0.8)
        axes = figure.subplots()
        draw_raw(axes, self.image, voxel_size=self.size, dim=1.6)
        return figure, axes

    def frame(self, axes: Axes) -> None:
        """Show the whole image and nothing beyond."""
        height, width = self.image.shape
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)

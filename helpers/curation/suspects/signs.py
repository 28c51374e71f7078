"""A sign that something is wrong, and the yardsticks that all signs share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from helpers.curation.changes import Mark
from helpers.tracking.tracks import Tracks

#: Standard deviations from the typical value at which a jump begins to be odd, and how many more make it three in four.
_ODD, _SCALE = 3.0, 3.0


@dataclass(frozen=True)
class Sign:
    """One reason to look at a place.

    Attributes
    ----------
    kind : str
    row : int
        Of the object that it is about, in the table of objects; −1 for a cell in no track.
    score : float
        How likely something is wrong, from 0 to 1.
    reason : str
        In words.
    silenced_by : tuple of Mark
        What a person has to find correct so that it does not come back; one of them is enough.
    other : int
        Row of a second object that it is about; −1 where there is none.
    """

    kind: str
    row: int
    score: float
    reason: str
    silenced_by: tuple[Mark, ...]
    other: int = -1


@dataclass(frozen=True)
class Cells:
    """Tracks as arrays, and what is typical of them.

    Attributes
    ----------
    tracks : Tracks
    shape : tuple of int
        (T, Z, Y, X) of the movie.
    voxel_size : tuple of float
        (z, y, x) in µm.
    """

    tracks: Tracks
    shape: tuple[int, int, int, int]
    voxel_size: tuple[float, float, float]

    @cached_property
    def ids(self) -> np.ndarray:
        """(n,) ids."""
        return self.tracks.objects["id"].to_numpy()

    @cached_property
    def frames(self) -> np.ndarray:
        """(n,) frames."""
        return self.tracks.objects["frame"].to_numpy()

    @cached_property
    def points(self) -> np.ndarray:
        """(n, 3) centres in µm."""
        return self.tracks.objects[["z", "y", "x"]].to_numpy(float)

    @cached_property
    def sizes(self) -> np.ndarray:
        """(n,) volumes or areas; 1 where the table has none."""
        for name in ("volume_um3", "area_um2", "n_voxels"):
            if name in self.tracks.objects:
                return self.tracks.objects[name].to_numpy(float)
        return np.ones(len(self.ids))

    @cached_property
    def diameter(self) -> float:
        """Of a typical cell, in µm: of the ball or disc of the median size."""
        if len(self.sizes) == 0:
            return 1.0
        size = float(np.nanmedian(self.sizes))
        if "volume_um3" in self.tracks.objects:
            return float((6 * size / np.pi) ** (1 / 3))
        return float(2 * np.sqrt(size / np.pi))

    @cached_property
    def border_distance(self) -> np.ndarray:
        """(n,) distance in µm of a centre to the nearest side of the picture."""
        extent = (np.array(self.shape[1:]) - 1) * np.array(self.voxel_size)
        axes = [k for k in range(3) if self.shape[k + 1] > 1]
        sides = np.minimum(self.points[:, axes], extent[axes] - self.points[:, axes])
        return sides.min(axis=1) if len(axes) else np.zeros(len(self.ids))

    def column(self, name: str) -> np.ndarray | None:
        """Return a column of numbers, or None."""
        return self.tracks.objects[name].to_numpy(float) if name in self.tracks.objects else None

    def marks_of_link(self, source: int, target: int) -> tuple[Mark, ...]:
        """Return what silences a sign about a link between two rows."""
        return (("link", int(self.ids[source]), int(self.ids[target])),)

    def marks_of_cell(self, row: int) -> tuple[Mark, ...]:
        """Return what silences a sign about the outline of a row."""
        return ("cell", int(self.ids[row])), ("frame", int(self.frames[row]))

    def name(self, row: int) -> str:
        """Return a cell's label and frame in words."""
        return f"cell {int(self.tracks.objects['label'].iloc[row])} in frame {int(self.frames[row])}"


def oddness(values: np.ndarray, *, centre: float | None = None, floor: float = 0.0) -> np.ndarray:
    """Return how odd values are among each other, from 0 to 1: by robust standard deviations (from the median's).

    The median absolute deviation is the yardstick, but no less than `floor`: what outlines and pixels alone make differ.
    What is not finite is not odd.
    """
    known = np.isfinite(values)
    if known.sum() < 3:
        return np.zeros(len(values))
    middle = float(np.median(values[known])) if centre is None else centre
    spread = 1.4826 * float(np.median(np.abs(values[known] - middle)))
    spread = max(spread, floor, 1e-6 * max(1.0, abs(middle)))
    beyond = np.abs(np.where(known, values, middle) - middle) / spread - _ODD
    return 1 - 0.25 ** (np.maximum(beyond, 0) / _SCALE)


def together(scores: Iterable[float]) -> float:
    """Return the score of several signs: the chance that not all of them are false."""
    return float(1 - np.prod([1 - min(score, 0.999) for score in scores]))

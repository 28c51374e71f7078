"""Boundaries of a tissue without a mask: the hull of the cells of each frame, or a region that was drawn.

They are asked as `helpers.analysis.distance_fields.Boundary`, with points (z, y, x) in µm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.calibration import check_voxel_size
from helpers.data.tables import read_table
from helpers.errors import InputError, reading

#: Points by facets that are held in memory at once.
_CHUNK = 5_000_000


@dataclass(frozen=True)
class HullField:
    """The convex hull of points, by its facets (n, 4): outward normal and offset."""

    facets: np.ndarray
    step: np.ndarray

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return the distance to the nearest facet, exact inside; outside, to the plane of the farthest.

        A point on the hull is at 0: by rounding alone it would lie on either side.
        """
        points = np.asarray(points, float)[:, -(self.facets.shape[1] - 1) :]
        chunk = max(1, _CHUNK // len(self.facets))
        parts = [
            -(points[i : i + chunk] @ self.facets[:, :-1].T + self.facets[:, -1]).max(axis=1)
            for i in range(0, len(points), chunk)
        ]
        distance = np.concatenate(parts) if parts else np.zeros(0)
        return np.where(np.abs(distance) < 1e-6 * self.step.max(), 0.0, distance)


@dataclass
class HullBoundary:
    """The convex hull of the cells of each frame, for movies without a mask.

    Parameters
    ----------
    frames : ndarray (n,) of int
        Frame of each cell.
    points : ndarray (n, 3)
        Their centroids in µm. With `labels` the hull is that of the cells' voxels; without, the outermost cells lie
        on it, at a distance of 0.
    is_2d : bool
        The hull of the plane.
    labels : label movie, optional
        With ``.frame(t)`` and ``.voxel_size``.
    """

    frames: np.ndarray
    points: np.ndarray
    is_2d: bool
    labels: Any = None
    _last: tuple[int, HullField] | None = field(default=None, init=False, repr=False)

    def field(self, frame: int) -> HullField:
        """Return the hull of `frame`.

        Raises
        ------
        InputError
            If its cells are too few, or lie on a line or plane.
        """
        from scipy.spatial import ConvexHull, QhullError

        if self._last is None or self._last[0] != frame:
            dimension = 2 if self.is_2d else 3
            points = self._corners(frame)[:, -dimension:]
            try:
                if len(points) <= dimension:
                    raise QhullError
                hull = ConvexHull(points)
            except QhullError:
                raise InputError(
                    "tissue_mask",
                    None,
                    f"the {int((self.frames == frame).sum())} cells of frame {frame} span no "
                    f"{'area' if self.is_2d else 'volume'}, so that they have no hull; give a mask of the tissue",
                ) from None
            spread = np.ptp(points, axis=0).max() / 1000
            step = np.full(3, spread)
            step[: 3 - dimension] = 0
            self._last = frame, HullField(hull.equations, step)
        return self._last[1]

    def _corners(self, frame: int) -> np.ndarray:
        if self.labels is None:
            return self.points[self.frames == frame]
        foreground = np.asarray(self.labels.frame(frame)) > 0
        # The ends of each row of voxels span the same hull as all of them.
        ends = foreground & ~(
            np.pad(foreground, ((0, 0), (0, 0), (1, 0)))[..., :-1]
            & np.pad(foreground, ((0, 0), (0, 0), (0, 1)))[..., 1:]
        )
        return np.argwhere(ends) * np.array(self.labels.voxel_size)


@dataclass(frozen=True)
class RoiBoundary:
    """A region drawn as a polygon in the plane, the same in all slices and frames.

    Parameters
    ----------
    vertices : ndarray (n, 2)
        (y, x) in µm, in order; the last is joined to the first.

    Raises
    ------
    InputError
        For fewer than three corners, or some that are not finite.
    """

    vertices: np.ndarray

    def __post_init__(self) -> None:
        vertices = np.asarray(self.vertices, float)
        if (
            vertices.ndim != 2
            or vertices.shape[1:] != (2,)
            or len(vertices) < 3
            or not np.isfinite(vertices).all()
        ):
            raise InputError("roi", vertices.tolist(), "give at least three corners (y, x) in µm")
        object.__setattr__(self, "vertices", vertices)

    @property
    def step(self) -> np.ndarray:
        """A thousandth of the region's size, in the plane."""
        spread = float(np.ptp(self.vertices, axis=0).max()) / 1000
        return np.array([0.0, spread, spread])

    def field(self, frame: int) -> RoiBoundary:
        """Return the region itself: it is the same in all frames."""
        return self

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return the exact distance to the nearest side."""
        points = np.asarray(points, float)[:, -2:]
        start, end = self.vertices, np.roll(self.vertices, -1, axis=0)
        best = np.full(len(points), np.inf)
        inside = np.zeros(len(points), bool)
        for a, b in zip(start, end, strict=True):
            along = b - a
            length = along @ along
            share = np.clip((points - a) @ along / length, 0, 1) if length else np.zeros(len(points))
            best = np.minimum(best, np.linalg.norm(points - a - share[:, None] * along, axis=1))
            crosses = (a[0] > points[:, 0]) != (b[0] > points[:, 0])
            with np.errstate(divide="ignore", invalid="ignore"):
                at = a[1] + (points[:, 0] - a[0]) / (b[0] - a[0]) * (b[1] - a[1])
            inside ^= crosses & (points[:, 1] < at)
        return np.where(inside, best, -best)

    @classmethod
    def read(cls, path: Path, voxel_size: Sequence[float] | None) -> RoiBoundary:
        """Read a region from a table with the columns y and x (µm), napari's shapes (CSV), or ImageJ's ``.roi``.

        Raises
        ------
        InputError
            If it is none of these; regions in voxels need the voxel size.
        """

        if path.suffix.lower() == ".roi":
            import roifile

            size = check_voxel_size(voxel_size, planar=True)
            with reading(path, "a region of ImageJ"):
                points = np.asarray(roifile.roiread(str(path)).coordinates(), float)[:, ::-1]  # type: ignore[union-attr]
            return cls(points * size[1:])
        table = read_table(path, "roi")
        if {"y", "x"} <= set(table):
            with reading(path, "a region", "give numbers in y and x, in µm"):
                return cls(table[["y", "x"]].to_numpy(float))
        axes = sorted(name for name in map(str, table) if name.startswith("axis-"))
        if len(axes) < 2:
            raise InputError("roi", str(path), f"columns {list(table)}: a region needs y and x, in µm")
        size = check_voxel_size(voxel_size, planar=True)
        first = table[table["index"] == table["index"].iloc[0]] if "index" in table and len(table) else table
        return cls(first[axes[-2:]].to_numpy(float) * size[1:])

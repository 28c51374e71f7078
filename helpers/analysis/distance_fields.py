"""How deep a point lies in a tissue: signed distances to a boundary given as a mask.

    outside   −1   │  +1   +2   +3        inside: the distance to the nearest voxel on the boundary's other side;
              ·    │   ·    ·    ·        between voxel centres it is interpolated, and crosses 0 between the two

One Euclidean distance transform a frame does for all cells (Felzenszwalb and Huttenlocher 2012, in the `edt` package,
with the voxels' true sizes). Points are (z, y, x) in µm; the centre of voxel (0, 0, 0) is at 0. A region
that is drawn, and the hull of the cells, are in `helpers.analysis.outlined_boundaries`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from scipy.ndimage import map_coordinates

from helpers.data.calibration import check_voxel_size
from helpers.errors import InputError


class Field(Protocol):
    """The signed distance of one frame, as a function of place."""

    @property
    def step(self) -> np.ndarray:
        """(3,) µm: how far apart two points must lie for their distances to differ; 0 along z in 2D."""
        ...

    def at(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (n,) in µm, inside positive, at `points` (n, 3) in µm."""
        ...


class Boundary(Protocol):
    """Where the tissue ends, frame by frame."""

    def field(self, frame: int) -> Field:
        """Return the signed distance in `frame`."""
        ...


def signed_distance(mask: np.ndarray, voxel_size: Sequence[float] | None) -> np.ndarray:
    """Signed distance of every voxel of a mask to its boundary, in one pass.

    Parameters
    ----------
    mask : ndarray (Z, Y, X) or (Y, X)
        Non-zero inside. A single slice (1, Y, X) is measured in the plane.
    voxel_size : sequence of float
        (z, y, x) in µm; for planes (y, x) will do.

    Returns
    -------
    ndarray of float32, the shape of `mask`
        µm from the voxel's centre to that of the nearest voxel on the other side; inside positive.

    Raises
    ------
    InputError
        If the mask is empty or full, hence without boundary, has other axes, or the voxel size is missing.
    """
    import edt

    inside = np.asarray(mask) != 0
    if inside.ndim not in (2, 3) or inside.size == 0:
        raise InputError("mask", f"shape {inside.shape}", "one frame of a mask is (Z, Y, X) or (Y, X)")
    size = _spacing(voxel_size, inside.shape)
    if not inside.any():
        raise InputError("mask", "empty", "the mask must mark where the tissue is")
    if inside.all():
        raise InputError(
            "mask",
            "full",
            "the tissue fills the picture, which shows no boundary; where its edge is the tissue's, set border_is_boundary",
        )
    flat = inside[0] if inside.ndim == 3 and inside.shape[0] == 1 else inside
    # Two labels instead of mask and background: one transform gives the distances on both sides.
    distance = edt.edt(flat.astype(np.uint8) + 1, anisotropy=size[-flat.ndim :], parallel=0)
    np.negative(distance, out=distance, where=~flat)
    return distance.reshape(inside.shape)


@dataclass(frozen=True)
class MaskField:
    """Signed distances on the voxels of a mask, interpolated in between.

    Attributes
    ----------
    values : ndarray (Z, Y, X) or (Y, X)
        From `signed_distance`.
    voxel_size : tuple of float
        (z, y, x) in µm.
    margin : int
        Voxels by which `values` reaches beyond the picture on each side.
    """

    values: np.ndarray
    voxel_size: tuple[float, float, float]
    margin: int = 0

    @property
    def step(self) -> np.ndarray:
        """One voxel along each axis."""
        step = np.array(self.voxel_size)
        step[: 3 - self.values.ndim] = 0
        return step

    def at(self, points: np.ndarray) -> np.ndarray:
        """Interpolate linearly; beyond the picture the distance to its edge is added."""
        size = np.array(self.voxel_size)[-self.values.ndim :]
        voxels = np.asarray(points, float)[:, -self.values.ndim :] / size + self.margin
        inside = np.clip(voxels, 0, np.array(self.values.shape) - 1)
        distance = map_coordinates(self.values, inside.T, order=1, output=np.float64)
        beyond = np.linalg.norm((voxels - inside) * size, axis=1)
        return np.where(distance < 0, distance - beyond, distance)


@dataclass
class MaskBoundary:
    """The boundary of a mask: one for all frames, or one for each.

    Parameters
    ----------
    mask : ndarray or movie
        Non-zero inside: (Z, Y, X) or (Y, X) for all frames; (T, Z, Y, X), or anything with ``.frame(t)`` and
        ``.shape``, for each; a movie of a single frame serves all.
    voxel_size : sequence of float, optional
        (z, y, x) in µm; that of the movie if left out.
    border_is_boundary : bool
        Whether the tissue ends where the picture does. Usually it goes on, unseen.
    missing_frames : {"refuse", "nearest"}
        What to do where the mask of a frame is empty or the mask ends before the tracks: stop, or take the mask of
        the nearest frame that has one.

    Raises
    ------
    InputError
        For a missing voxel size, other axes, or a missing frame.
    """

    mask: Any
    voxel_size: Sequence[float] | None = None
    border_is_boundary: bool = False
    missing_frames: Literal["refuse", "nearest"] = "refuse"
    _last: tuple[int, MaskField] | None = field(default=None, init=False, repr=False)
    _empty: dict[int, bool] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.missing_frames not in ("refuse", "nearest"):
            raise InputError("missing_frames", self.missing_frames, '"refuse" or "nearest"')
        if self.voxel_size is None:
            self.voxel_size = getattr(self.mask, "voxel_size", None)
        if not hasattr(self.mask, "frame"):
            self.mask = np.asarray(self.mask)
            if self.mask.ndim not in (2, 3, 4):
                raise InputError("mask", f"shape {self.mask.shape}", "give (Y, X), (Z, Y, X) or (T, Z, Y, X)")
            self.mask = self.mask.reshape((1,) * (4 - self.mask.ndim) + self.mask.shape)
        self.voxel_size = _spacing(self.voxel_size, self.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X) of a frame."""
        return tuple(self.mask.shape[-3:])

    @property
    def n_frames(self) -> int:
        """Number of frames; 1 serves all."""
        return int(self.mask.shape[0])

    def field(self, frame: int) -> MaskField:
        """Return the distances in `frame`; the last ones are kept, for a static mask and calls in order."""
        at = self._frame_with_mask(frame)
        if self._last is None or self._last[0] != at:
            stack = self._stack(at) != 0
            margin = 0
            if self.border_is_boundary:
                margin = 1
                stack = np.pad(stack, [(0, 0) if n == 1 else (1, 1) for n in stack.shape])
            try:
                values = signed_distance(stack, self.voxel_size)
            except InputError as error:
                raise InputError(f"mask, frame {at}", error.value, error.expected) from None
            values = values[0] if values.shape[0] == 1 else values
            self._last = at, MaskField(values, self.voxel_size, margin)  # type: ignore[arg-type]
        return self._last[1]

    def check_fits(self, points: np.ndarray, labels: Any = None) -> None:
        """Refuse a mask that does not cover the cells, or covers another region than the labels."""
        axes = slice(1 if self.shape[0] == 1 else 0, 3)
        size, shape = np.array(self.voxel_size), np.array(self.shape)
        points = np.asarray(points, float)
        beyond = (points < -1.5 * size) | (points > (shape + 0.5) * size)
        wrong = beyond[:, axes].any(axis=1)
        about = f"shape {self.shape}, voxels of {tuple(size.tolist())} µm"
        if wrong.any():
            raise InputError(
                "mask",
                about,
                f"{int(wrong.sum())} cells lie beyond it, such as one at {points[wrong][0].round(1).tolist()} µm; "
                "give the mask of this movie, and the right voxel size",
            )
        if labels is not None:
            extent = np.array(labels.shape[-3:]) * np.array(labels.voxel_size or self.voxel_size)
            if (np.abs(extent - shape * size) > 1.01 * size)[axes].any():
                raise InputError(
                    "mask", about, f"the labels are {labels.shape[-3:]}: give the mask of this movie"
                )

    def _stack(self, frame: int) -> np.ndarray:
        stack = self.mask.frame(frame) if hasattr(self.mask, "frame") else self.mask[frame]
        return np.asarray(stack)

    def _frame_with_mask(self, frame: int) -> int:
        if self.n_frames == 1:
            return 0
        if frame < self.n_frames and not self._is_empty(frame):
            return frame
        if self.missing_frames == "refuse":
            found = (
                "is empty" if frame < self.n_frames else f"is missing: the mask has {self.n_frames} frames"
            )
            raise InputError(
                "mask",
                f"frame {frame} {found}",
                'give a mask for every frame, one for all, or missing_frames = "nearest"',
            )
        for near in sorted(range(self.n_frames), key=lambda t: abs(t - frame)):
            if not self._is_empty(near):
                return near
        raise InputError("mask", "empty in every frame", "the mask must mark where the tissue is")

    def _is_empty(self, frame: int) -> bool:
        if frame not in self._empty:
            self._empty[frame] = not self._stack(frame).any()
        return self._empty[frame]


def _spacing(voxel_size: Sequence[float] | None, shape: Sequence[int]) -> tuple[float, float, float]:
    """Return the (z, y, x) voxel size, checked; a plane's z is 1 where it is not given."""
    return check_voxel_size(voxel_size, planar=len(shape) == 2 or shape[-3] == 1)

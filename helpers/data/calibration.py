"""Sizes of voxels and intervals between frames, checked: the one place that says what is a right one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from helpers.errors import InputError

VoxelSize = tuple[float, float, float]


def spacing_of(voxel_size: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Return the last `ndim` of the voxel sizes in µm, checked.

    Raises
    ------
    InputError
        `voxel_size` is missing, has too few numbers, or holds one that is not positive and finite.
    """
    return check_voxel_size(voxel_size, planar=ndim == 2)[-ndim:]


def check_voxel_size(value: object, *, planar: bool, name: str = "voxel_size") -> VoxelSize:
    """Return a voxel size as (z, y, x) in µm.

    Parameters
    ----------
    value : sequence of float
        (z, y, x), or (y, x) where there may be one plane only: z is then 1.0 and means nothing.
    planar : bool
        Whether (y, x) will do.
    name : str
        The parameter, for the error.

    Raises
    ------
    InputError
        Not that many positive numbers.
    """
    expected = f"give the size of a voxel, {'(y, x) or ' if planar else ''}(z, y, x) in µm"
    try:
        sizes = tuple(float(v) for v in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise InputError(name, value, f"{expected}, all positive numbers") from None
    if planar and len(sizes) == 2:
        sizes = (1.0, *sizes)
    if len(sizes) != 3 or not all(math.isfinite(v) and v > 0 for v in sizes):
        raise InputError(name, value, f"{expected}, all positive numbers")
    return sizes


def check_frame_interval(value: object) -> float:
    """Return a frame interval in seconds, or raise `InputError` where it is no positive number."""
    try:
        interval = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        interval = math.nan
    if not (math.isfinite(interval) and interval > 0):
        raise InputError(
            "frame_interval", value, "give the time between two frames in seconds, a positive number"
        )
    return interval

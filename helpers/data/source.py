"""What every reader returns, and how the dimensions of a file become T, C, Z, Y, X.

A file that names its dimensions is believed. Dimensions without a name (plain TIFF, HDF5) are taken, from the
number of them, as::

    2   YX         one plane
    3   ZYX        one stack          (a 2D movie needs axes="TYX")
    4   TZYX       a movie            (channels need axes="CZYX" or "ZCYX")
    5   TCZYX

Where a file names some of them, the rest are given out in the order Z, T, C. RGB samples are channels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.errors import InputError

AXES = "TCZYX"
#: Endings that belong to the format and not to the name, longest first.
SUFFIXES = (
    ".ome.tiff", ".ome.tif", ".ome.zarr", ".ome.btf",
    ".tiff", ".tif", ".btf", ".zarr", ".h5", ".hdf5", ".hdf",
    ".czi", ".nd2", ".lif", ".dv", ".lsm", ".ims", ".oib", ".oif", ".oir", ".vsi", ".sldy", ".stk",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """An array on disk whose dimensions and calibration are known.

    Parameters
    ----------
    array : object
        Has ``shape``, ``dtype`` and basic indexing, and reads only what is asked for.
    axes : str
        One letter for each dimension of `array`: T, C, Z, Y, X, or ``_`` for a dimension of length one
        that means nothing.
    voxel_size : tuple of (float or None), optional
        (z, y, x) in µm, as far as the file says.
    frame_interval : float, optional
        Seconds.
    note : str
        What the file says about its calibration where that cannot be used; told in the error.
    empty_frames : frozenset of int
        Frames that are missing, and read as zeros.
    """

    array: Any
    axes: str
    voxel_size: tuple[float | None, float | None, float | None] = (None, None, None)
    frame_interval: float | None = None
    note: str = ""
    empty_frames: frozenset[int] = frozenset()

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Sizes of T, C, Z, Y, X; 1 where the file has no such dimension."""
        sizes = dict(zip(self.axes, self.array.shape, strict=True))
        return tuple(int(sizes.get(axis, 1)) for axis in AXES)  # type: ignore[return-value]

    @property
    def dtype(self) -> np.dtype:
        """Type of the voxels, in the machine's byte order."""
        return np.dtype(self.array.dtype).newbyteorder("=")

    def stack(self, t: int, channel: int) -> np.ndarray:
        """Read one stack, shape (Z, Y, X), and nothing else."""
        return self.region(t, channel, (slice(None),) * 3)

    def region(self, t: int, channel: int, where: tuple[slice, ...]) -> np.ndarray:
        """Read a box of one stack, the slices of which are those of Z, Y and X; all three axes stay."""
        at: dict[str, Any] = {"T": t, "C": channel, "_": 0, **dict(zip("ZYX", where, strict=True))}
        stack = np.asarray(self.array[tuple(at[axis] for axis in self.axes)])
        kept = [axis for axis in self.axes if axis in "ZYX"]
        stack = stack.transpose([kept.index(axis) for axis in "ZYX" if axis in kept])
        if stack.ndim == 2:
            stack = stack[np.newaxis]
        return np.array(stack, dtype=self.dtype, order="C")


def read_stack(
    source: Source, t: int, channel: int, path: object, where: tuple[slice, ...] = (slice(None),) * 3
) -> np.ndarray:
    """Read one stack, shape (Z, Y, X), or a box of it, of a file that may turn out to be damaged.

    Raises
    ------
    InputError
        Naming the file and the frame; decoders raise errors of many kinds.
    """
    try:
        return source.region(t, channel, where)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            str(path),
            f"{type(error).__name__}: {error}",
            f"frame {t} cannot be read: truncated or damaged; get the file again, or leave it out",
        ) from error


def resolve_axes(found: str, shape: Sequence[int], axes: str | None, path: object) -> str:
    """Give every dimension of a file one of the letters T, C, Z, Y, X.

    Parameters
    ----------
    found : str
        The letters the file gives, one for each dimension; any other letter than TCZYX and S (samples)
        stands for a dimension without a name.
    shape : sequence of int
        Sizes of the dimensions.
    axes : str, optional
        What the user says; wins over `found`.
    path : object
        The file, for the error.

    Returns
    -------
    str
        As `Source.axes` wants it.

    Raises
    ------
    InputError
        `axes` is not one different letter of TCZYX for each dimension with Y and X among them; or the file
        has more dimensions than can be told apart.
    """
    shape = tuple(int(n) for n in shape)
    if axes is not None:
        axes = str(axes).upper()
        if (
            len(axes) != len(shape)
            or len(set(axes)) != len(axes)
            or set(axes) - set(AXES)
            or not {*"YX"} <= {*axes}
        ):
            raise InputError(
                "axes",
                axes,
                f"must name the {len(shape)} dimensions {shape} of {path} in order, each with a different "
                f"letter of {AXES}, Y and X among them",
            )
        return axes
    letters = list(found.upper())
    if "S" in letters and "C" not in letters:
        letters[letters.index("S")] = "C"
    if not {"Y", "X"} <= set(letters):
        if len(letters) < 2:
            raise InputError(str(path), shape, "must have at least the dimensions Y and X")
        letters[-2:] = "YX"
    letters = [
        "_" if size == 1 and letter not in AXES else letter
        for letter, size in zip(letters, shape, strict=True)
    ]
    unnamed = [i for i, letter in enumerate(letters) if letter not in AXES + "_"]
    if looks_like_rgb(shape) and unnamed:
        raise InputError(
            "axes",
            shape,
            f"{path} looks like a colour picture, (Y, X, colours); save one channel of it, or give axes",
        )
    free = [letter for letter in "ZTC" if letter not in letters]
    named = [letter for letter in letters if letter in AXES]
    if len(unnamed) > len(free) or len(set(named)) < len(named):
        raise InputError(
            "axes", found, f"cannot tell the dimensions {shape} of {path} apart; give axes, such as 'TCZYX'"
        )
    given_out = sorted(free[: len(unnamed)], key=AXES.index)
    for i, letter in zip(unnamed, given_out, strict=True):
        letters[i] = letter
    return "".join(letters)


def stem(path: str | os.PathLike[str]) -> str:
    """Return a file's name without the endings of its format: ``a.b.ome.tif`` is ``a.b``."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def natural_key(path: str | Path) -> tuple[list[object], str]:
    """Sort key that puts ``t2`` before ``t10``."""
    name = str(path)
    parts: list[object] = [int(p) if p.isdecimal() else p.casefold() for p in re.split(r"(\d+)", name)]
    return parts, name


def looks_like_rgb(shape: Sequence[int]) -> bool:
    """Whether the last of an image's dimensions are the colours of its voxels, as of (Y, X, 3)."""
    return len(shape) > 2 and shape[-1] in (3, 4) and min(shape[-3:-1]) > 8


def is_image(path: Path) -> bool:
    """Whether a folder's entry looks like an image, by its name (or, for a folder, as OME-Zarr)."""
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return is_zarr(path)
    return path.name.lower().endswith(SUFFIXES)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group or array, of format 2 or 3."""
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray"))

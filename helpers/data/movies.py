"""Movies: arrays on disk as T, C, Z, Y, X, with a voxel size and a frame interval, read frame by frame."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

from helpers.data.atomic import atomic_path
from helpers.data.calibration import VoxelSize, check_frame_interval, check_voxel_size
from helpers.data.label_movies import LabelMovie
from helpers.data.lazy import LazyStack
from helpers.data.ome_zarr import WholeArray, create_frame_array, multiscales_attributes
from helpers.data.readers import open_source
from helpers.data.source import AXES, Source, read_stack, stem
from helpers.data.tiff import write_ome_tiff
from helpers.errors import InputError

__all__ = ["LabelMovie", "Movie", "write_movie"]


@dataclass(frozen=True)
class Movie:
    """A movie on disk; `Movie.open` makes one.

    Parameters
    ----------
    path : Path
        Where it lies.
    shape : tuple of int
        Sizes of T, C, Z, Y, X. A 2D movie has Z = 1.
    dtype : dtype
        Of the voxels, in the machine's byte order.
    voxel_size : tuple of float, optional
        (z, y, x) in µm; None where neither the file nor the user says. Where there is only one plane and
        no thickness is known, z is 1.0 and means nothing.
    frame_interval : float, optional
        Seconds between frames; None where unknown.
    name : str
        The file's name without its ending.
    """

    path: Path
    shape: tuple[int, int, int, int, int]
    dtype: np.dtype
    voxel_size: VoxelSize | None
    frame_interval: float | None
    name: str
    _source: Source = field(repr=False, compare=False)
    _opened: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        voxel_size: Sequence[float] | None = None,
        frame_interval: float | None = None,
        dataset: str | int | None = None,
        axes: str | None = None,
        missing_frames: Literal["refuse", "empty"] = "refuse",
    ) -> Movie:
        """Open a movie or stack without reading its pixels.

        Parameters
        ----------
        path : path-like
            TIFF, ImageJ or OME-TIFF; OME-Zarr 0.4 or 0.5; HDF5; a folder or glob of stacks, one file for each frame,
            in natural order; or, with its bioio plugin, a microscope's own format.
        voxel_size : tuple of float, optional
            (z, y, x) in µm (2D: (y, x) will do); wins over the file.
        frame_interval : float, optional
            Seconds; wins over the file.
        dataset : str or int, optional
            HDF5 key, path inside OME-Zarr, number of an image in a TIFF, or scene.
        axes : str, optional
            The dimensions as stored, such as ``"TYX"``, where the file does not name them; they are taken
            as YX, ZYX, TZYX, TCZYX otherwise.
        missing_frames : {"refuse", "empty"}
            What to do where the numbers of a folder of stacks have a gap, or a chunk of a Zarr is not there: refuse,
            or read zeros.

        Raises
        ------
        InputError
            Missing, unreadable or truncated file, a dataset or axes that do not fit, stacks that disagree.

        Examples
        --------
        >>> movie = Movie.open("raw.ome.tif", voxel_size=(2.0, 0.5, 0.5))  # doctest: +SKIP
        >>> movie.frame(0).shape  # doctest: +SKIP
        (22, 512, 512)
        """
        source = open_source(path, dataset=dataset, axes=axes, missing=missing_frames)
        shape = source.shape
        if 0 in shape:
            raise InputError(str(path), shape, "is empty: every dimension must have at least one element")
        planar = shape[2] == 1
        size: VoxelSize | None = None
        if voxel_size is not None:
            size = check_voxel_size(voxel_size, planar=planar)
        else:
            z, y, x = source.voxel_size
            z = 1.0 if z is None and planar else z
            if z is not None and y is not None and x is not None:
                size = (z, y, x)
        interval = source.frame_interval if frame_interval is None else check_frame_interval(frame_interval)
        opened = {
            "voxel_size": voxel_size,
            "frame_interval": frame_interval,
            "dataset": dataset,
            "axes": axes,
            "missing_frames": missing_frames,
        }
        return cls(Path(path), shape, source.dtype, size, interval, stem(path), source, opened)

    def __reduce__(self):
        # An open file cannot travel to another process; its path can.
        return functools.partial(Movie.open, self.path, **self._opened), ()

    def __str__(self) -> str:
        """Say what a biologist would of the movie."""
        t, c, *stack = self.shape
        counts = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((t, "frame"), (c, "channel"))]
        size = " × ".join(map(str, stack[1:] if self.is_2d else stack))
        voxel = self.voxel_size[1:] if self.voxel_size and self.is_2d else self.voxel_size
        known = f" of {' × '.join(f'{n:g}' for n in voxel)} µm" if voxel else " of unknown size"
        if self.frame_interval and t > 1:
            counts[0] += f", one every {self.frame_interval:g} s"
        axes = "y, x" if self.is_2d else "z, y, x"
        return f"{self.name}: {', '.join(counts)}, {size} voxels ({axes}){known}, {self.dtype}"

    @property
    def is_2d(self) -> bool:
        """Whether each stack is one plane."""
        return self.shape[2] == 1

    @property
    def n_frames(self) -> int:
        """Number of time points."""
        return self.shape[0]

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return self.shape[1]

    @property
    def empty_frames(self) -> frozenset[int]:
        """Frames that are missing, and read as zeros."""
        return self._source.empty_frames

    def lost_chunks(self) -> list[str]:
        """Return the chunk files of a Zarr that are not there, where they are not to be read as zeros."""
        array = self._source.array
        return array.lost() if isinstance(array, WholeArray) else []

    def frame(self, t: int, channel: int = 0) -> np.ndarray:
        """Read one stack, shape (Z, Y, X), and nothing else of the movie.

        Raises
        ------
        InputError
            No such frame or channel, or a file that turns out to be damaged.
        """
        self._check_frame(t, channel)
        return read_stack(self._source, t, channel, self.path)

    def _check_frame(self, t: int, channel: int) -> None:
        for name, value, count in (("frame", t, self.n_frames), ("channel", channel, self.n_channels)):
            if not 0 <= value < count:
                raise InputError(name, value, f"{self.path} has {count}: 0 to {count - 1}")

    def lazy_frame(self, t: int, channel: int = 0) -> LazyStack:
        """Return one stack, (Z, Y, X), that is read piece by piece; errors are those of `frame`."""
        self._check_frame(t, channel)
        return LazyStack(
            self.shape[2:], self.dtype, lambda where: read_stack(self._source, t, channel, self.path, where)
        )

    def require_intensities(self) -> None:
        """Raise `InputError` where the file holds truth values: a mask, which networks make nothing of."""
        if self.dtype.kind == "b":
            raise InputError(str(self.path), "bool", "is a mask, not an image; name the raw movie")

    def require_voxel_size(self) -> VoxelSize:
        """Return the voxel size (z, y, x) in µm, or raise `InputError` where it is unknown."""
        if self.voxel_size is not None:
            return self.voxel_size
        known = ", ".join(
            f"{axis} = {value:g} µm"
            for axis, value in zip("zyx", self._source.voxel_size, strict=True)
            if value is not None
        )
        reason = "; ".join(filter(None, [known and f"it says only {known}", self._source.note]))
        raise InputError(
            "voxel_size",
            None,
            f"{self.path} does not say it{reason and f' ({reason})'}; give voxel_size = (z, y, x) in µm",
        )


def write_movie(
    path: str | os.PathLike[str],
    array: Any,
    *,
    voxel_size: Sequence[float],
    frame_interval: float | None = None,
    axes: str = AXES,
) -> Path:
    """Write a movie, wholly or not at all, one stack in memory at a time.

    Parameters
    ----------
    path : path-like
        ``*.zarr`` for OME-Zarr 0.4 (one stack for each chunk), ``*.tif`` or ``*.tiff`` for OME-TIFF
        (zlib); replaced where it exists.
    array : array-like
        Anything with ``shape``, ``dtype`` and indexing: numpy, memmap, Zarr, dask.
    voxel_size : tuple of float
        (z, y, x) in µm; for one plane (y, x) will do.
    frame_interval : float, optional
        Seconds.
    axes : str
        The dimensions of `array`, in the order T, C, Z, Y, X; those left out have length 1.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        Other endings, axes that do not fit, an unknown voxel size, a type the format cannot hold, or a
        folder that cannot be written.
    """
    path = Path(path)
    order = [AXES.find(axis) for axis in axes]
    if order != sorted(set(order)) or -1 in order or len(axes) != len(array.shape) or axes[-2:] != "YX":
        raise InputError(
            "axes", axes, f"must name the {len(array.shape)} dimensions {array.shape} in the order {AXES}"
        )
    sizes = dict(zip(axes, array.shape, strict=True))
    shape = tuple(int(sizes.get(axis, 1)) for axis in AXES)
    dtype = np.dtype(array.dtype)
    if dtype.kind not in "uif":
        raise InputError("dtype", dtype.name, "must be an integer or a real number")
    if voxel_size is None:
        raise InputError("voxel_size", None, f"give (z, y, x) in µm, to be written into {path}")
    size = check_voxel_size(voxel_size, planar=shape[2] == 1)
    interval = None if frame_interval is None else check_frame_interval(frame_interval)

    def stack(t: int, channel: int) -> np.ndarray:
        index = tuple({"T": t, "C": channel}.get(axis, slice(None)) for axis in axes)
        return np.asarray(array[index]).reshape(shape[2:])

    stacks = ((t, c) for t in range(shape[0]) for c in range(shape[1]))
    if path.name.lower().endswith((".tif", ".tiff")):
        frames = (stack(t, c) for t, c in stacks)
        return write_ome_tiff(
            path, frames, shape=shape, dtype=dtype, voxel_size=size, frame_interval=interval
        )  # type: ignore[arg-type]
    if path.suffix.lower() != ".zarr":
        raise InputError("path", str(path), "must end in .zarr (OME-Zarr) or .tif (OME-TIFF)")
    with atomic_path(path) as temporary:
        attributes = multiscales_attributes(AXES, size, interval, name=stem(path))
        zarr.create_group(str(temporary), zarr_format=2, attributes=attributes)
        written = create_frame_array(temporary / "0", shape, dtype)
        for t, c in stacks:
            written[t, c] = stack(t, c)
    return path

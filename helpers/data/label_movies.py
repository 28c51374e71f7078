"""Label movies: what segmentation writes, frame by frame, and everything later reads.

A label movie is an OME-Zarr label image (0.4) of the axes T, Z, Y, X with one chunk file for each frame::

    labels/
      .zattrs              names the array that holds the image: "0", after widening "1"; and its coarser levels
      0/.zarray            uint16
      0/<t>/<z>/0/0        frame t; the file is there if and only if the frame is finished
      0_1/ 0_2/ …          coarser levels of it (`helpers.data.label_pyramid`), for viewers: nothing here reads them
      1/ 1_1/ …            the same in uint32, once a label passed 65,535

**Finished frames.** A chunk file is written under a temporary name and renamed, and one is written for an
all-background frame too. So the files themselves say which frames are finished, after ``kill -9`` at any moment
and with several processes writing different frames; there is no second record that could disagree. The coarser levels are
written after it; `mend_levels` makes those again that a kill or damage left behind.

**Widening.** A label above 65,535 does not fit into uint16. The writer who meets one first creates the array "1", then
points .zattrs at it (one atomic rename), then copies the finished frames over, then removes "0". Others look where
.zattrs points before *and after* they write, so a frame written to "0" meanwhile is written again to "1", where a copy
never takes the place of what is there. Until the
copy is complete a frame is looked for in "1" and then in "0"; a killed copy is completed when the movie is next opened
for writing. No locks, which network file systems do not keep reliably.

**One writer for each frame.** Two processes may write different frames at once, not the same one.

Over 400 lines, for all that keeps a frame whole through a kill has to be read together.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from helpers.data.atomic import atomic_path, write_json, writing_to
from helpers.data.calibration import VoxelSize, check_frame_interval, check_voxel_size
from helpers.data.checks import check_labels, whole_labels
from helpers.data.label_arrays import attributes_of, chunks_of, counts_of, open_array, put
from helpers.data.label_header import MARK, create_level, levels_of, restore_header, write_header
from helpers.data.label_pyramid import level_name, levels_are_whole, write_levels
from helpers.data.lazy import LazyStack, Region, pieces_of
from helpers.data.ome_zarr import missing_chunks
from helpers.data.readers import open_source
from helpers.data.source import Source, is_zarr, read_stack, stem
from helpers.errors import InputError

_NARROW, _WIDE = "0", "1"


#: Where the global tracker leaves the labels of the cells that it chose.
CHOSEN = "labels_tracked.zarr"


@dataclass(frozen=True)
class LabelMovie:
    """Labels of a movie on disk; `create` or `open` makes one.

    Parameters
    ----------
    path : Path
        Where it lies.
    shape : tuple of int
        Sizes of T, Z, Y, X; 2D has Z = 1.
    voxel_size : tuple of float, optional
        (z, y, x) in µm; None where a file of another program does not say.
    frame_interval : float, optional
        Seconds.
    """

    path: Path
    shape: tuple[int, int, int, int]
    voxel_size: VoxelSize | None
    frame_interval: float | None
    #: What another program wrote is read through this and never written.
    _source: Source | None = field(repr=False, compare=False, default=None)
    _opened: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        shape: tuple[int, int, int, int],
        *,
        voxel_size: Sequence[float],
        frame_interval: float | None = None,
        dtype: Any = "uint16",
        overwrite: bool = False,
    ) -> LabelMovie:
        """Create a label movie, or go on with the one that is there, at another frame interval if need be.

        Several processes may call this at once for the same movie.

        Parameters
        ----------
        path : path-like
            The OME-Zarr folder, with or without ``.zarr``.
        shape : tuple of int
            Sizes of T, Z, Y, X.
        voxel_size : tuple of float
            (z, y, x) in µm; for one plane (y, x) will do.
        frame_interval : float, optional
            Seconds.
        dtype : {"uint16", "uint32"}
            To begin with; widened by itself when a larger label comes.
        overwrite : bool
            Whether to remove the finished frames of a movie that is there.

        Raises
        ------
        InputError
            Something else lies there, or a movie of another shape or voxel size and not `overwrite`; or the
            folder cannot be written.
        """
        path = Path(path)
        shape = tuple(int(n) for n in shape)  # type: ignore[assignment]
        if len(shape) != 4 or min(shape) < 1:
            raise InputError("shape", shape, "must be the sizes of T, Z, Y, X, each at least 1")
        if voxel_size is None:
            raise InputError("voxel_size", None, f"give (z, y, x) in µm, to be written into {path}")
        size = check_voxel_size(voxel_size, planar=shape[1] == 1)
        interval = None if frame_interval is None else check_frame_interval(frame_interval)
        kind = np.dtype(dtype)
        if kind not in (np.uint16, np.uint32):
            raise InputError("dtype", kind.name, "labels are stored as uint16 or uint32")
        name = stem(path)
        if overwrite or not path.exists() or (path.is_dir() and not any(path.iterdir())):
            first = _NARROW if kind == np.uint16 else _WIDE
            # Where another process is first, its movie stays and is opened below.
            with atomic_path(path, replace=overwrite) as temporary:
                write_header(temporary, name, shape, size, interval, first)
        elif path.is_dir():
            array = _WIDE if (path / _WIDE).is_dir() else _NARROW
            restore_header(path, array, lambda to: write_header(to, name, shape, size, interval, array))
        movie = cls.open(path)
        same = movie._source is None and movie.shape == shape and _close(movie.voxel_size, size)
        if same and not _close(movie.frame_interval, interval):
            movie._set_interval(interval)
            movie = cls.open(path)
        if not same:
            raise InputError(
                str(path),
                f"{movie.shape}, {movie.voxel_size} µm",
                f"is another movie than the one to write ({shape}, {size} µm); choose another folder "
                "or overwrite",
            )
        movie._complete_widening()
        return movie

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
    ) -> LabelMovie:
        """Open a label movie of ours, or labels in any format that `Movie.open` reads.

        The parameters are those of `Movie.open`. Labels of other programs are read only, and all of their
        frames are finished. A chunk of a Zarr that is not there is background, as their writers mean it.

        Raises
        ------
        InputError
            Missing or unreadable, several channels, or voxels that are not whole numbers.
        """
        path = Path(path)
        missing = "empty" if is_zarr(path) else missing_frames
        source = open_source(path, dataset=dataset, axes=axes, missing=missing)
        n_frames, n_channels, *zyx = source.shape
        if n_channels != 1:
            raise InputError(
                str(path), f"{n_channels} channels", "labels have one channel; give axes or another file"
            )
        if source.dtype.kind not in "uif":
            raise InputError(str(path), source.dtype.name, "labels must be integers")
        if source.dtype.kind == "f":  # the first frame tells labels from intensities
            whole_labels(read_stack(source, 0, 0, path), str(path))
        z, y, x = source.voxel_size
        planar = zyx[0] == 1
        size = (1.0 if z is None and planar else z, y, x)
        if voxel_size is not None:
            size = check_voxel_size(voxel_size, planar=planar)
        interval = source.frame_interval if frame_interval is None else check_frame_interval(frame_interval)
        ours = dataset is None and axes is None and MARK in attributes_of(path)
        opened = {
            "voxel_size": voxel_size,
            "frame_interval": frame_interval,
            "dataset": dataset,
            "axes": axes,
            "missing_frames": missing_frames,
        }
        return cls(
            path,
            (n_frames, *zyx),  # type: ignore[arg-type]
            None if None in size else size,  # type: ignore[arg-type]
            interval,
            None if ours else source,
            opened,
        )

    def __reduce__(self):
        return functools.partial(LabelMovie.open, self.path, **self._opened), ()

    @property
    def dtype(self) -> np.dtype:
        """Type of the labels on disk: uint16, or uint32 where needed (any integer in others' files)."""
        if self._source is not None:
            return self._source.dtype if self._source.dtype.kind in "ui" else np.dtype(np.int32)
        return np.dtype("uint32" if self._pointer() == _WIDE else "uint16")

    @property
    def n_frames(self) -> int:
        """Number of time points."""
        return self.shape[0]

    @property
    def is_2d(self) -> bool:
        """Whether each frame is one plane."""
        return self.shape[1] == 1

    def done_frames(self) -> set[int]:
        """Return the frames that are wholly written, an all-background one among them."""
        if self._source is not None:
            return set(range(self.n_frames))
        return {t for t in range(self.n_frames) if self._holder(t) is not None}

    def frame(self, t: int, where: Region = (slice(None),) * 3) -> np.ndarray:
        """Read the labels of one frame: int32, shape (Z, Y, X).

        Parameters
        ----------
        t : int
            The frame.
        where : tuple of slice
            Of Z, Y and X: only this box is read.

        Raises
        ------
        InputError
            No such frame, or one that is not written yet: it is never returned as background.
        """
        self._check_frame(t)
        if self._source is not None:
            labels, name = read_stack(self._source, t, 0, self.path, where), f"{self.path}, frame {t}"
            return check_labels(whole_labels(labels, name) if labels.dtype.kind == "f" else labels, name)
        for _ in range(2):
            # A second look, for the array may be widened and removed between the two steps.
            holder = self._holder(t)
            if holder is None:
                break
            try:
                array = open_array(self.path / holder)
                if cut := missing_chunks(array, self.path / holder, (t, *where), absent=False):
                    raise ValueError(f"{cut[0]} is cut")
                labels = array[(t, *where)]
            except FileNotFoundError:
                continue
            except Exception as error:  # what a damaged chunk makes of its decoder is no one kind of error
                raise InputError(
                    str(self._files(holder, t)[0].parents[2]),
                    f"{type(error).__name__}: {error}",
                    f"frame {t} is damaged; delete it, and segment the movie again: only this frame is made",
                ) from error
            if self._is_done(holder, t):
                return np.asarray(labels).astype(np.int32)
        raise InputError("frame", t, f"is not written yet in {self.path}; run the segmentation to its end")

    def lazy_frame(self, t: int) -> LazyStack:
        """Return the labels of one frame, read piece by piece; errors are those of `frame`."""
        self._check_frame(t)
        return LazyStack(self.shape[1:], np.dtype(np.int32), lambda where: self.frame(t, where))

    def files(self, t: int) -> list[Path]:
        """Return the files that hold a frame; none where it is not written yet, or another program wrote the movie."""
        holder = None if self._source is not None else self._holder(t)
        return [] if holder is None else self._files(holder, t)

    def write_frame(self, t: int, labels: np.ndarray | LazyStack) -> None:
        """Write the labels of one frame, wholly or not at all.

        Parameters
        ----------
        t : int
            The frame; written before, it is replaced.
        labels : ndarray of int or LazyStack, shape (Z, Y, X), or (Y, X) in 2D
            0 is background. A label above 65,535 widens the movie to uint32. A lazy stack is written chunk by chunk;
            its type says how large its labels are.

        Raises
        ------
        InputError
            Another shape, labels that are not integers ≥ 0, labels of another program, or a folder that
            cannot be written. The frames finished before stay.
        """
        if self._source is not None:
            raise InputError(
                str(self.path), "labels of another program", "are not overwritten; create another movie"
            )
        self._check_frame(t)
        if isinstance(labels, LazyStack):
            largest = int(np.iinfo(labels.dtype).max)
        else:
            labels = check_labels(labels, f"labels of frame {t}")
            labels = labels[np.newaxis] if labels.ndim == 2 and self.is_2d else labels
            largest = int(labels.max(initial=0))
        if labels.shape != self.shape[1:]:
            raise InputError(
                f"labels of frame {t}", labels.shape, f"must have the shape {self.shape[1:]} of {self.path}"
            )
        with writing_to(self.path):
            while True:
                pointer = self._pointer()
                if pointer == _NARROW and largest > np.iinfo(np.uint16).max:
                    self._widen()
                    continue
                try:
                    self._write(pointer, t, labels)
                except FileNotFoundError:
                    if self._pointer() == pointer:
                        raise
                    continue  # widened and removed under our hands
                if self._pointer() == pointer:
                    return

    def mend_levels(self, t: int) -> bool:
        """Make the coarser levels of a finished frame again where they are not what they should be; say whether they were."""
        holder = None if self._source is not None else self._holder(t)
        levels = levels_of(attributes_of(self.path)) if holder else []
        if len(levels) < 2:
            return True
        assert holder is not None
        arrays, labels = self._level_arrays(holder), self.lazy_frame(t)
        if levels_are_whole(arrays, t, labels, levels):
            return True
        write_levels(arrays, t, labels, levels)
        return False

    def frames(self) -> Iterator[np.ndarray]:
        """Iterate over the frames, one in memory at a time."""
        return (self.frame(t) for t in range(self.n_frames))

    def _check_frame(self, t: int) -> None:
        if not 0 <= t < self.n_frames:
            raise InputError("frame", t, f"{self.path} has {self.n_frames}: 0 to {self.n_frames - 1}")

    def _pointer(self) -> str:
        """Name of the array that .zattrs calls the image."""
        return attributes_of(self.path)["multiscales"][0]["datasets"][0]["path"]

    def _files(self, array: str, t: int) -> list[Path]:
        chunks = itertools.product(
            *map(range, counts_of(self.shape, chunks_of(self.path / array, self.shape)))
        )
        return [self.path / array / str(t) / "/".join(map(str, at)) for at in chunks]

    def _is_done(self, array: str, t: int) -> bool:
        # Who writes to an array while it is removed leaves chunks without a header.
        return all(file.exists() for file in (self.path / array / ".zarray", *self._files(array, t)))

    def _holder(self, t: int) -> str | None:
        """Name of the array that holds a frame wholly; the wide one first, for it is newer."""
        return next((name for name in (_WIDE, _NARROW) if self._is_done(name, t)), None)

    def _write(self, array: str, t: int, labels: np.ndarray | LazyStack) -> None:
        target = open_array(self.path / array, writable=True)
        chunks = list(pieces_of(self.shape[1:], target.chunks[1:]))
        if array == _WIDE:  # what was there before must not fill in for what a killed process does not write
            self._files(_NARROW, t)[0].unlink(missing_ok=True)
        if len(chunks) > 1:
            # Several files are not renamed at once: without the first the frame is not finished.
            self._files(array, t)[0].unlink(missing_ok=True)
        for chunk in reversed(chunks):
            target[(t, *chunk)] = labels[chunk].astype(target.dtype)
        write_levels(self._level_arrays(array), t, labels, levels_of(attributes_of(self.path)))

    def _level_arrays(self, array: str) -> list[Any]:
        """Return the arrays of all levels, to be written to; those that are gone are made."""
        arrays = []
        for level, factor in enumerate(levels_of(attributes_of(self.path))):
            if level:
                create_level(self.path, self.shape, array, level, factor)
            arrays.append(open_array(self.path / level_name(array, level), writable=True))
        return arrays

    def _set_interval(self, interval: float | None) -> None:
        """State another frame interval; the frames are what they were."""
        assert self.voxel_size is not None
        attributes = attributes_of(self.path)
        axes, datasets = (attributes["multiscales"][0][name] for name in ("axes", "datasets"))
        axes[0].pop("unit", None)
        axes[0] |= {"unit": "second"} if interval is not None else {}
        for one in datasets:
            one["coordinateTransformations"][0]["scale"][0] = interval or 1.0
        write_json(self.path / ".zattrs", attributes)
        if self._pointer() == _NARROW and (self.path / _WIDE / ".zarray").exists():
            self._widen()  # as another process did after the attributes were read: they point to what it removed

    def _widen(self) -> None:
        """Make uint32 the movie's type; see the head of this module."""
        attributes = attributes_of(self.path)
        for level, factor in enumerate(levels_of(attributes)):
            create_level(self.path, self.shape, _WIDE, level, factor)
            attributes["multiscales"][0]["datasets"][level]["path"] = level_name(_WIDE, level)
        write_json(self.path / ".zattrs", attributes)
        self._complete_widening()

    def _complete_widening(self) -> None:
        if self._pointer() != _WIDE:
            return
        if (self.path / _NARROW / ".zarray").exists():
            self._copy_to_wide()
        elif all(self._is_done(_WIDE, int(frame.name)) for frame in (self.path / _NARROW).glob("[0-9]*")):
            shutil.rmtree(self.path / _NARROW, ignore_errors=True)
        for level in self.path.glob(f"{_NARROW}_*"):
            shutil.rmtree(level, ignore_errors=True)

    def _copy_to_wide(self) -> None:
        part = self.path / f".{uuid.uuid4().hex[:8]}.part"
        try:
            part.mkdir()
            shutil.copyfile(self.path / _WIDE / ".zarray", part / ".zarray")
            for t in range(self.n_frames):
                if self._is_done(_NARROW, t) and not self._is_done(_WIDE, t):
                    self._copy_frame(t, part)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        # Out of the way first: a killed removal must not look like an array with fewer frames.
        aside = part.with_name(f"{part.name}.old.part")
        with suppress(FileNotFoundError):  # another process has done it
            os.rename(self.path / _NARROW, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _copy_frame(self, t: int, part: Path) -> None:
        """Copy a finished frame to the wide array, by way of another; what is written there meanwhile is newer, and stays."""
        first = self._files(_NARROW, t)[0]
        copy, labels = open_array(part, writable=True), self.lazy_frame(t)
        try:
            begun = first.stat().st_mtime_ns
            for chunk in pieces_of(self.shape[1:], copy.chunks[1:]):
                copy[(t, *chunk)] = labels[chunk].astype(np.uint32)
            if first.stat().st_mtime_ns != begun:
                return  # who writes it anew writes it to the wide array, too
        except (FileNotFoundError, InputError):
            return  # written anew or copied by another process; or damaged, and so missing
        for file in reversed(self._files(_WIDE, t)):
            put(part / file.relative_to(self.path / _WIDE), file)
        write_levels(self._level_arrays(_WIDE), t, labels, levels_of(attributes_of(self.path)))


def _close(a: Any, b: Any) -> bool:
    """Whether two calibrations are the same, both unknown included."""
    if a is None or b is None:
        return a is b
    return bool(np.allclose(a, b, rtol=1e-6, atol=0))


def labels_of_tracks(folder: Path) -> Path:
    """Return the label movie that the tracks in a folder are of: the tracker's own choice where it made one."""
    chosen = folder / CHOSEN
    return chosen if chosen.exists() else folder / "labels.zarr"

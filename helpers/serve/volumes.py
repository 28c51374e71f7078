"""Volumes that clients of the jobs API send, on the disk until they are deleted or the server ends."""

from __future__ import annotations

import io
import math
import secrets
import shutil
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.serve.refusals import NothingThere
from helpers.serve.service import Limits, log

TIFF, ZIP = "image/tiff", "application/zip"
#: Files in an OME-Zarr: one for each chunk.
_MOST_FILES = 100_000


@dataclass(frozen=True)
class Volume:
    """One volume, raw or labels.

    Attributes
    ----------
    id : str
    shape : tuple of int
        Channels, z, y, x.
    dtype : str
    voxel_size_um : tuple of float or None
        (z, y, x); None where its file does not say it.
    """

    id: str
    shape: tuple[int, int, int, int]
    dtype: str
    voxel_size_um: tuple[float, float, float] | None
    path: Path = field(repr=False)

    def stack(self, channel: int) -> NDArray:
        """Read a channel, (Z, Y, X)."""
        if not 0 <= channel < self.shape[0]:
            raise InputError("channel", channel, f"0 to {self.shape[0] - 1}: volume {self.id} has no other")
        return Movie.open(self.path).frame(0, channel)


class Volumes:
    """Keeps volumes in a folder.

    Parameters
    ----------
    folder : Path
    limits : Limits
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._there: dict[str, Volume] = {}
        self._changing = threading.Lock()

    def add(self, content: bytes, kind: str) -> Volume:
        """Keep a TIFF, or an OME-Zarr in a zip.

        Raises
        ------
        InputError
            If it is none, has several frames or too many voxels, or there is no room.
        """
        with self._changing:
            if len(self._there) >= self._limits.jobs or self.stored() > self._limits.stored_mb * 2**20:
                raise InputError(
                    "volume", len(self._there), "room for it: DELETE volumes and jobs that are done with"
                )
            name = secrets.token_hex(8)
            path = self._folder / name
            path.mkdir(parents=True)
            try:
                self._there[name] = found = self._read(name, path, content, kind)
            except Exception as error:
                shutil.rmtree(path, ignore_errors=True)
                if isinstance(error, InputError):
                    said = str(error).replace(str(path), "").replace(name, "")
                else:  # libraries raise whatever they like at files that are none
                    log.info("a volume that cannot be read: %r", error)
                    said = "cannot be read"
                raise InputError(
                    "volume", f"{len(content)} bytes", f"a {kind} of one volume ({said})"
                ) from None
            return found

    def __getitem__(self, name: str) -> Volume:
        """Return a volume.

        Raises
        ------
        NothingThere
        """
        try:
            return self._there[name]
        except KeyError:
            raise NothingThere("volume", name, "the id of a volume that was sent, and not deleted") from None

    def __iter__(self):
        """List them."""
        return iter(list(self._there.values()))

    def delete(self, name: str) -> None:
        """Forget a volume; a job that reads it already has what it needs, others fail."""
        gone = self[name]
        self._there.pop(name, None)
        shutil.rmtree(gone.path.parent, ignore_errors=True)

    def stored(self) -> int:
        """Return the bytes that lie in the folder and its neighbours."""
        return sum(file.stat().st_size for file in self._folder.parent.rglob("*") if file.is_file())

    def _read(self, name: str, folder: Path, content: bytes, kind: str) -> Volume:
        path = folder / ("volume.tif" if kind == TIFF else "volume.zarr")
        if kind == TIFF:
            path.write_bytes(content)
        else:
            self._unpack(content, path)
        movie = Movie.open(path)
        _, c, z, y, x = movie.shape
        if movie.n_frames != 1:
            raise InputError("frames", movie.n_frames, "one: send the frames one by one")
        voxels = math.prod((c, z, y, x))
        if voxels > self._limits.voxels:
            raise InputError("voxels", voxels, f"at most {self._limits.voxels} on this server: crop it")
        if movie.dtype.kind not in "uif":
            raise InputError("dtype", str(movie.dtype), "numbers")
        movie.frame(0, c - 1)  # a damaged file is reported now
        return Volume(name, (c, z, y, x), movie.dtype.name, movie.voxel_size, path)

    def _unpack(self, content: bytes, path: Path) -> None:
        """Unpack a zip: nothing outside `path`, and no more than a volume may have."""
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            files = [one for one in packed.infolist() if not one.is_dir()]
            size = sum(one.file_size for one in files)
            if len(files) > _MOST_FILES or size > 8 * self._limits.voxels:
                raise InputError("zip", f"{len(files)} files, {size} bytes", "one volume")
            for one in files:
                target = path / one.filename
                if not target.resolve().is_relative_to(path.resolve()):
                    raise InputError("zip", one.filename, "names that stay within it")
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(one) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
        inner = [child for child in path.iterdir() if child.is_dir()] if path.is_dir() else []
        if len(inner) == 1 and not any(
            (path / name).exists() for name in (".zattrs", ".zgroup", "zarr.json")
        ):
            moved = path.with_name("inner")  # the folder itself was packed, not what is in it
            inner[0].rename(moved)
            shutil.rmtree(path)
            moved.rename(path)


def zipped(folder: Path) -> bytes:
    """Return a folder as a zip that `Volumes.add` takes; its chunks are compressed already."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return packed.getvalue()


def finite(stack: NDArray) -> NDArray:
    """Return a stack whose voxels are finite numbers.

    Raises
    ------
    InputError
        If they are not.
    """
    if stack.dtype.kind == "f" and not (np.isfinite(stack).all() and np.abs(stack).max() <= 1e30):
        raise InputError("volume", "NaN, infinite or above 1e30", "intensities that a camera can have")
    return stack

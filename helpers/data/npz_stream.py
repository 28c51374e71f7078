"""An .npz written piece by piece, and read where it lies.

``numpy.savez`` wants whole arrays. Here shapes are known beforehand, so the place of every member is too, and
members grow side by side while memory holds one piece::

    │header X│ npy │ X[0] X[1] …      │header Y│ npy │ Y[0] Y[1] …      │ … │directory│

Members are stored, not compressed, and start on 64-byte boundaries: they can be memory-mapped. The result is
an ordinary ZIP64 archive (PKWARE APPNOTE 4.3) that ``numpy.load`` and ``zipfile`` read. It is written under a
temporary name and renamed when complete.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from imagecodecs import deflate_crc32  # forty times as fast as zlib's, and checksums were a third of the time
from numpy.typing import DTypeLike

from helpers.errors import InputError

_ALIGNMENT = 64
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_FULL = 0xFFFFFFFF
#: 1 January 1980, the earliest a ZIP can say: the same input gives the same bytes.
_DATE = 0x21
_VERSION = 45


@dataclass(frozen=True)
class Member:
    """Where one array lies in an .npz: `offset` is None if it is compressed."""

    offset: int | None
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass
class _Growing:
    header_at: int
    header: bytes
    data_at: int
    shape: tuple[int, ...]
    dtype: np.dtype
    written: int = 0
    crc: int = 0
    buffer: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def stored_size(self) -> int:
        return len(self.header) + self.size


class NpzWriter:
    """Write arrays of known shape and dtype into an .npz, a piece at a time.

    Parameters
    ----------
    path : path
        Appears, complete, when the ``with`` block ends; after an error it does not.
    members : mapping of name to (shape, dtype)

    Raises
    ------
    InputError
        The folder cannot be written to, or the disk has too little room.

    Examples
    --------
    >>> with NpzWriter("set.npz", {"X": ((1000, 16, 128, 128), "float32")}) as npz:  # doctest: +SKIP
    ...     for patch in patches:
    ...         npz.append("X", patch)
    """

    def __init__(
        self, path: str | os.PathLike[str], members: Mapping[str, tuple[tuple[int, ...], DTypeLike]]
    ) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        self._members: dict[str, _Growing] = {}
        end = 0
        for name, (shape, dtype) in members.items():
            member = _Growing(end, _npy_header(shape, np.dtype(dtype)), 0, tuple(shape), np.dtype(dtype))
            member.data_at = end + len(_local_header(name, member))
            self._members[name] = member
            end = member.data_at + member.stored_size
        self._end = end
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._part.unlink(missing_ok=True)  # what a killed run left
            self._file = open(self._part, "w+b")  # noqa: SIM115 - closed in __exit__
        except OSError as error:
            raise InputError(
                "path", str(self.path), f"a folder that can be written to ({error.strerror})"
            ) from error
        free = shutil.disk_usage(self.path.parent).free
        if free < end + 2**20:
            self._discard()
            raise InputError(
                "path", str(self.path), f"needs {end / 1e9:.2f} GB of disk and {free / 1e9:.2f} GB are free"
            )
        for member in self._members.values():
            self._write(member.header, member.data_at)
            member.crc = deflate_crc32(member.header)

    def append(self, name: str, array: np.ndarray) -> None:
        """Write the next piece of member `name`: any number of its rows, or elements, in C order."""
        member = self._members[name]
        piece = np.asarray(array)
        if piece.dtype != member.dtype or not piece.flags.c_contiguous:
            # The same buffer for every piece: fresh memory costs more than the conversion.
            if member.buffer.size < piece.size:
                member.buffer = np.empty(piece.size, member.dtype)
            converted = member.buffer[: piece.size].reshape(piece.shape)
            np.copyto(converted, piece, casting="unsafe")
            piece = converted
        data: Any = piece.reshape(-1).view(np.uint8).data if piece.size else b""
        if member.written + len(data) > member.size:
            raise ValueError(f"more was appended to {name} than its shape {member.shape} holds")
        self._write(data, member.data_at + len(member.header) + member.written)
        member.crc = deflate_crc32(data, member.crc)
        member.written += len(data)

    def __enter__(self) -> NpzWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def _finish(self) -> None:
        for name, member in self._members.items():
            if member.written != member.size:
                raise ValueError(f"{name} is unfinished: {member.written} of {member.size} bytes")
            self._write(_local_header(name, member), member.header_at)
        self._write(_directory(self._members, self._end), self._end)
        self._file.close()
        os.replace(self._part, self.path)

    def _write(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        try:
            while len(view):  # the kernel takes at most 2 GiB at once
                done = os.pwrite(self._file.fileno(), view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            raise InputError("path", str(self.path), f"could not be written ({error.strerror})") from error

    def _discard(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def read_members(path: str | os.PathLike[str]) -> dict[str, Member]:
    """Return where each array of an .npz lies, reading only headers.

    Raises
    ------
    InputError
        The file is missing, truncated, not an .npz, or holds pickled objects.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("path", str(path), "no such file: the .npz of a training set")
    members = {}
    try:
        with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                with archive.open(info) as stream:
                    shape, dtype, header_size = _read_npy_header(stream)
                offset = None
                if info.compress_type == zipfile.ZIP_STORED:
                    raw.seek(info.header_offset)
                    local = _LOCAL.unpack(raw.read(_LOCAL.size))
                    offset = info.header_offset + _LOCAL.size + local[-2] + local[-1] + header_size
                members[info.filename.removesuffix(".npy")] = Member(offset, shape, dtype)
    except (zipfile.BadZipFile, ValueError, EOFError, struct.error, OSError, NotImplementedError) as error:
        raise InputError("path", str(path), f"a complete .npz file of plain arrays ({error})") from error
    if not members:
        raise InputError("path", str(path), "an .npz file: this archive holds no arrays")
    return members


def unpack(path: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Rewrite a compressed .npz as a stored one at `target`, streaming, renamed when complete."""
    target = Path(target)
    members = read_members(path)
    with (
        zipfile.ZipFile(path) as archive,
        NpzWriter(target, {n: (m.shape, m.dtype) for n, m in members.items()}) as writer,
    ):
        for name, member in members.items():
            with archive.open(f"{name}.npy") as stream:
                _read_npy_header(stream)
                step = max(1, 2**24 // member.dtype.itemsize) * member.dtype.itemsize
                while data := stream.read(step):
                    writer.append(name, np.frombuffer(data, member.dtype))


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    buffer = io.BytesIO()
    description = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": description, "fortran_order": False, "shape": tuple(int(n) for n in shape)}
    )
    return buffer.getvalue()


def _read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, int]:
    counted = _Counted(stream)
    version = np.lib.format.read_magic(counted)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(counted)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are never loaded")
    if fortran and len(shape) > 1:
        raise ValueError("it holds an array in Fortran order")
    return shape, dtype, counted.count


class _Counted:
    """Counts what is read: a compressed stream's own position is not dependable for that."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.count += len(data)
        return data


def _local_header(name: str, member: _Growing) -> bytes:
    file_name = f"{name}.npy".encode()
    extra = struct.pack("<2H2Q", 1, 16, member.stored_size, member.stored_size)
    # A private extra field pads the data onto the boundary; readers skip fields that they do not know.
    unpadded = member.header_at + _LOCAL.size + len(file_name) + len(extra) + 4
    padding = -unpadded % _ALIGNMENT
    extra += struct.pack("<2H", 0x7876, padding) + bytes(padding)
    fixed = _LOCAL.pack(
        b"PK\3\4", _VERSION, 0, 0, 0, _DATE, member.crc, _FULL, _FULL, len(file_name), len(extra)
    )
    return fixed + file_name + extra


def _directory(members: Mapping[str, _Growing], start: int) -> bytes:
    entries = b""
    for name, member in members.items():
        file_name = f"{name}.npy".encode()
        extra = struct.pack("<2H3Q", 1, 24, member.stored_size, member.stored_size, member.header_at)
        entries += _CENTRAL.pack(
            b"PK\1\2", _VERSION, _VERSION, 0, 0, 0, _DATE, member.crc, _FULL, _FULL,
            len(file_name), len(extra), 0, 0, 0, 0o600 << 16, _FULL,
        )  # fmt: skip
        entries += file_name + extra
    count, end = len(members), start + len(entries)
    big_end = struct.pack(
        "<4sQ2H2I4Q", b"PK\6\6", 44, _VERSION, _VERSION, 0, 0, count, count, len(entries), start
    )
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    return (
        entries + big_end + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, _FULL, _FULL, 0)
    )

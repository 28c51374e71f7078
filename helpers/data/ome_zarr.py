"""OME-Zarr images (NGFF 0.4 on Zarr 2, 0.5 on Zarr 3): multiscales metadata in and out.

Written is 0.4, which every reader of the field understands; read are both. A length without a unit is not
known (see `helpers.data.units`), so a scale without one gives no voxel size.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, Literal

import numcodecs
import numpy as np
import zarr

from helpers.data.calibration import VoxelSize
from helpers.data.shards import lost_in_shards
from helpers.data.source import Source, resolve_axes
from helpers.data.units import micrometres, seconds
from helpers.errors import InputError

#: What to do about chunks that are not there.
LOST_CHUNKS = "give the whole Zarr; if its writer left out what is all 0, set missing_frames (notebooks 06_segment, 07_segment_cellpose) to 'empty' to read zeros there"
#: Bytes of one chunk of 8-byte voxels (32 MiB of 16 bits); a larger stack is cut along z, a larger plane along y.
_LARGEST_CHUNK = 2**27


def open_ome_zarr(
    path: Path,
    *,
    dataset: str | int | None = None,
    axes: str | None = None,
    missing: Literal["refuse", "empty"] = "refuse",
) -> Source:
    """Open an OME-Zarr image, at full resolution, or a plain Zarr array.

    Parameters
    ----------
    path : Path
        The folder.
    dataset : str, optional
        Path inside it: a field of a plate, an image of several, one resolution, or an array.
    axes : str, optional
        The dimensions as stored, where the metadata do not name them.
    missing : {"refuse", "empty"}
        What to do where the file of a chunk is not there: refuse when it is read, or read zeros. Some programs write no
        chunk in which all is 0, others have lost one.

    Raises
    ------
    InputError
        Not Zarr; nothing named `dataset`; a group without an image, with the list of what is in it.
    """
    try:
        node = zarr.open(str(path), mode="r")
        if dataset is not None:
            if not isinstance(node, zarr.Group) or str(dataset) not in node:
                raise InputError("dataset", dataset, f"{path} holds {_contents(node)}")
            node = node[str(dataset)]
        if isinstance(node, zarr.Group) and "bioformats2raw.layout" in _ngff(node) and "0" in node:
            node = node["0"]  # bioformats2raw wraps its images in numbered groups
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            str(path), f"{type(error).__name__}: {error}", "cannot be read as OME-Zarr"
        ) from error
    if isinstance(node, zarr.Array):
        names = getattr(node.metadata, "dimension_names", None) or []
        found = (
            "".join((str(name) or "Q")[0] for name in names) if len(names) == node.ndim else "Q" * node.ndim
        )
        return Source(_whole(node, path, missing), resolve_axes(found, node.shape, axes, path))
    multiscales = _ngff(node).get("multiscales")
    if not multiscales:
        raise InputError(
            "dataset",
            dataset,
            f"{path} is a group without an image at this place; it holds {_contents(node)}",
        )
    try:
        return _open_multiscales(node, multiscales[0], axes, path, missing)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            str(path), f"{type(error).__name__}: {error}", "has OME-Zarr metadata that do not fit its arrays"
        ) from error


def _ngff(node: Any) -> dict[str, Any]:
    attributes = dict(node.attrs)
    return attributes.get("ome", attributes)


def _contents(node: Any) -> str:
    if not isinstance(node, zarr.Group):
        return "one array only; leave dataset out"
    return ", ".join(sorted(node.keys())) or "nothing"


def _open_multiscales(
    group: Any, multiscales: dict[str, Any], axes: str | None, path: Path, missing: Literal["refuse", "empty"]
) -> Source:
    level = multiscales["datasets"][0]
    array = group[level["path"]]
    # Before 0.4 axes were plain names, before 0.3 there were none and the order was fixed.
    described = [a if isinstance(a, dict) else {"name": a} for a in multiscales.get("axes", list("tczyx"))]
    scale = np.ones(array.ndim)
    for transform in [
        *level.get("coordinateTransformations", []),
        *multiscales.get("coordinateTransformations", []),
    ]:
        if transform.get("type") == "scale":
            scale = scale * np.asarray(transform["scale"], dtype=float)
    found = "".join(str(a["name"])[0].upper() for a in described)
    letters = resolve_axes(found, array.shape, axes, path)
    of = {letter: (float(s), a.get("unit")) for letter, s, a in zip(letters, scale, described, strict=True)}
    size = tuple(micrometres(*of.get(letter, (None, None))) for letter in "ZYX")
    unknown = {
        letter: of[letter]
        for letter, value in zip("ZYX", size, strict=True)
        if value is None and letter in of
    }
    note = ", ".join(
        f"the scale along {c.lower()} is {s:g} with the unit {u!r}" for c, (s, u) in unknown.items()
    )
    interval = seconds(*of.get("T", (None, None)))
    return Source(_whole(array, path, missing), letters, size, interval, note)  # type: ignore[arg-type]


def _whole(array: Any, path: Path, missing: Literal["refuse", "empty"]) -> Any:
    return WholeArray(array, path, absent=missing == "refuse")


class WholeArray:
    """A Zarr array that refuses to make up what lay in a chunk that was cut, or (`absent`) is not there."""

    def __init__(self, array: Any, path: Path, *, absent: bool = True) -> None:
        self._array = array
        self._absent = absent
        self._path = path
        self._folder = path / str(array.path).removeprefix("/")
        self.shape = array.shape
        self.dtype = array.dtype

    def lost(self, index: tuple = ()) -> list[str]:
        """Return the chunks that are not there; see `missing_chunks`."""
        return missing_chunks(self._array, self._folder, index, absent=self._absent)

    def __getitem__(self, index: tuple) -> np.ndarray:
        if lost := self.lost(index):
            raise InputError(str(self._path), f"{len(lost)} chunks lost: {', '.join(lost[:3])}", LOST_CHUNKS)
        return self._array[index]


def missing_chunks(array: Any, folder: Path, index: tuple = (), *, absent: bool = True) -> list[str]:
    """Return the names of chunk files, and of chunks within shards, that are not there, or not whole.

    Blosc, which most chunks are compressed with, reads beyond the end of one that was cut; its header tells the size.

    Parameters
    ----------
    array : zarr.Array
    folder : Path
        Where it lies.
    index : tuple of int or slice
        Of the array; only chunks that this reads are looked for.
    absent : bool
        Those that are not there are missing, too; else they are background, as Zarr has it.
    """
    grid: tuple[int, ...] = array.shards or array.chunks
    counts = [-(-size // chunk) for size, chunk in zip(array.shape, grid, strict=True)]
    places = [
        _chunks_of(i, chunk, n)
        for i, chunk, n in zip(index + (slice(None),) * (len(grid) - len(index)), grid, counts, strict=True)
    ]
    keys = {at: array.metadata.encode_chunk_key(at) for at in itertools.product(*places)}
    blosc = array.shards is None and any("blosc" in type(c).__name__.lower() for c in array.compressors)
    lost = [key for key in keys.values() if not _is_whole(folder / key, blosc, absent)]
    return lost if array.shards is None else lost + lost_in_shards(array, folder, index, keys, absent=absent)


def _chunks_of(index: Any, chunk: int, count: int) -> range:
    """Return which chunks along one axis an integer or a slice reads."""
    if isinstance(index, slice):
        start, stop, _ = index.indices(chunk * count)
        return range(start // chunk, -(-stop // chunk))
    return range(int(index) // chunk, int(index) // chunk + 1)


def _is_whole(chunk: Path, blosc: bool, absent: bool) -> bool:
    if not blosc:
        return not absent or chunk.exists()
    try:
        with chunk.open("rb") as file:
            header = file.read(16)
            return int.from_bytes(header[12:16], "little") == os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return not absent


def multiscales_attributes(
    axes: str, voxel_size: VoxelSize, frame_interval: float | None, *, name: str, array: str = "0"
) -> dict[str, Any]:
    """Return the NGFF 0.4 attributes of an image with one resolution.

    Parameters
    ----------
    axes : str
        Such as ``"TZYX"``.
    voxel_size : tuple of float
        (z, y, x) in µm.
    frame_interval : float, optional
        Seconds; without it the time axis has no unit.
    name : str
        Name of the image.
    array : str
        Path of the array in the group.
    """
    kinds = {"T": "time", "C": "channel"}
    sizes = dict(zip("ZYX", voxel_size, strict=True))
    described: list[dict[str, str]] = []
    for axis in axes:
        entry = {"name": axis.lower(), "type": kinds.get(axis, "space")}
        if axis in sizes:
            entry["unit"] = "micrometer"
        elif axis == "T" and frame_interval is not None:
            entry["unit"] = "second"
        described.append(entry)
    scale = [sizes.get(axis, (frame_interval or 1.0) if axis == "T" else 1.0) for axis in axes]
    dataset = {"path": array, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
    return {"multiscales": [{"version": "0.4", "name": name, "axes": described, "datasets": [dataset]}]}


def create_frame_array(path: Path, shape: tuple[int, ...], dtype: Any) -> Any:
    """Create a Zarr 2 array whose chunks are single stacks; every chunk written gets a file, empty or not.

    Parameters
    ----------
    path : Path
        The array's folder.
    shape : tuple of int
        The last three are Z, Y, X.
    dtype : dtype
        Of the voxels.
    """
    return zarr.create_array(
        str(path),
        shape=shape,
        dtype=dtype,
        chunks=frame_chunks(shape),
        compressors=numcodecs.Blosc(cname="zstd", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE),
        fill_value=0,
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
        config={"write_empty_chunks": True},
    )


def frame_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return chunks of one stack each, cut along z (and y) where a stack (a plane) is larger than 16 million voxels."""
    z, y, x = shape[-3:]
    planes = max(1, min(z, _LARGEST_CHUNK // (8 * y * x)))
    rows = y if planes > 1 else max(1, min(y, _LARGEST_CHUNK // (8 * x)))
    return (1,) * (len(shape) - 3) + (planes, rows, x)

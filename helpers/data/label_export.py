"""A label movie written as one file or folder for other programs, on request."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from helpers.data.atomic import atomic_path
from helpers.data.calibration import VoxelSize
from helpers.data.label_movies import LabelMovie
from helpers.data.label_pyramid import attributes, factors, level_shape, write_levels
from helpers.data.lazy import Region, pieces_of
from helpers.data.ome_zarr import frame_chunks
from helpers.data.source import stem
from helpers.data.tiff import write_ome_tiff
from helpers.errors import InputError


def export_v05(movie: LabelMovie, path: str | os.PathLike[str]) -> Path:
    """Write a whole movie as OME-Zarr 0.5 (Zarr 3), a shard for each frame of each level; fewer programs read it than 0.4.

    Parameters
    ----------
    movie : LabelMovie
    path : path-like
        A folder; replaced where it exists.

    Raises
    ------
    InputError
        As `export_tiff`.
    """
    size = _check_complete(movie)
    levels = factors(movie.shape, size)
    names = [str(k) for k in range(len(levels))]
    about = attributes(stem(Path(path)), size, movie.frame_interval, names, levels, "0.5")
    with atomic_path(path) as part:
        group = zarr.create_group(
            str(part), zarr_format=3, attributes=about | {"volltrack": {"kind": "labels"}}
        )
        arrays = [
            _sharded(group, name, level_shape(movie.shape, level), _dtype(movie))
            for name, level in zip(names, levels, strict=True)
        ]
        for t in range(movie.n_frames):
            labels = movie.lazy_frame(t)
            for piece in pieces_of(movie.shape[1:], arrays[0].shards[1:]):
                arrays[0][(t, *piece)] = labels[piece].astype(_dtype(movie))
            write_levels(arrays, t, labels, levels)
    return Path(path)


def export_tiff(movie: LabelMovie, path: str | os.PathLike[str]) -> Path:
    """Write a whole movie as OME-TIFF (zlib) with voxel size and frame interval.

    Parameters
    ----------
    movie : LabelMovie
    path : path-like
        ``*.tif`` or ``*.tiff``; replaced where it exists.

    Raises
    ------
    InputError
        Frames are missing (lists them), no voxel size, or a folder that cannot be written.
    """
    size = _check_complete(movie)
    if not str(path).lower().endswith((".tif", ".tiff")):
        raise InputError("path", str(path), "must end in .tif")
    n_frames, *zyx = movie.shape
    return write_ome_tiff(
        path,
        (movie.frame(t, where).astype(_dtype(movie)) for t in range(n_frames) for where in _planes(movie)),
        shape=(n_frames, 1, *zyx),
        dtype=_dtype(movie),
        voxel_size=size,
        frame_interval=movie.frame_interval,
    )


def _check_complete(movie: LabelMovie) -> VoxelSize:
    """Return the voxel size of a movie that is whole and says it."""
    missing = sorted(set(range(movie.n_frames)) - movie.done_frames())
    if missing:
        raise InputError(
            str(movie.path), f"frames {missing} missing", "finish the movie before it is exported"
        )
    if movie.voxel_size is None:
        raise InputError(
            "voxel_size", None, f"{movie.path} does not say it; open it with voxel_size = (z, y, x) in µm"
        )
    return movie.voxel_size


def _dtype(movie: LabelMovie) -> np.dtype:
    return np.dtype("uint32" if movie.dtype.itemsize > 2 else "uint16")


def _planes(movie: LabelMovie) -> Iterator[Region]:
    """Yield the planes of a frame that are read together: those of a chunk, whole."""
    depth = frame_chunks(tuple(movie.shape))[-3]
    for z in range(0, movie.shape[-3], depth):
        yield slice(z, z + depth), slice(None), slice(None)


def _sharded(group: Any, name: str, shape: Sequence[int], dtype: Any) -> Any:
    chunks = (1, *(min(n, most) for n, most in zip(shape[1:], (32, 256, 256), strict=True)))
    # A frame of 4096 × 4096 × 128 is cut along z: a shard is held in memory while it is written.
    most = (1, *(max(1, limit // c) * c for c, limit in zip(chunks[1:], (64, 4096, 4096), strict=True)))
    shards = tuple(min(m, -(-n // c) * c) for m, n, c in zip(most, shape, chunks, strict=True))
    return group.create_array(
        name, shape=tuple(shape), dtype=dtype, chunks=chunks, shards=shards, fill_value=0,
        compressors=BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"),
        dimension_names=["t", "z", "y", "x"],
    )  # fmt: skip

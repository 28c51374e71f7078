"""Files that no image or label movie can be made of: each is refused by an `InputError` that names it, at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import pytest
import tifffile
import zarr
from zarr.codecs import ShardingCodec

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.runs.parameters import Segment, TrainDenoiser
from helpers.runs.steps import denoising, segmentation

MOVIE = np.random.default_rng(0).integers(0, 999, (3, 4, 16, 16)).astype(np.uint16)


def _zarr(path: Path) -> Path:
    return write_movie(path / "movie.zarr", MOVIE, voxel_size=(1, 1, 1), axes="TZYX")


def _chunk(content: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    """Return what makes a Zarr movie whose chunk of frame 1 holds something else."""

    def make(folder: Path) -> Path:
        movie = _zarr(folder)
        chunk = next(path for path in (movie / "0" / "1").rglob("*") if path.is_file())
        chunk.write_bytes(content(chunk.read_bytes()))
        return movie

    return make


def _shard(cut: int) -> Callable[[Path], Path]:
    """Return what makes a Zarr 3 movie with shards, of whose second one so many bytes are missing."""

    def make(folder: Path) -> Path:
        path = folder / "movie.zarr"
        array = zarr.create_array(
            str(path),
            shape=MOVIE.shape,
            dtype="uint16",
            chunks=(1, 2, 16, 16),
            shards=(1, 4, 16, 16),
            zarr_format=3,
        )
        array[:] = MOVIE
        shard = path / "c" / "1" / "0" / "0" / "0"
        shard.write_bytes(shard.read_bytes()[:-cut])
        return path

    return make


def _chunk_of_a_shard(place: str, offset: int | None = None) -> Callable[[Path], Path]:
    """Return what makes a Zarr 3 movie with shards, one of whose chunks is not there, or lies beyond its shard's end."""

    def make(folder: Path) -> Path:
        path = folder / "movie.zarr"
        sharding = ShardingCodec(chunk_shape=(1, 2, 16, 16), index_location=place)
        array = zarr.create_array(
            str(path),
            shape=MOVIE.shape,
            dtype="uint16",
            chunks=(1, 4, 16, 16),
            compressors=None,
            serializer=sharding,
            zarr_format=3,
            config={"write_empty_chunks": True},
        )
        array[:] = MOVIE
        if offset is None:
            array.with_config({"write_empty_chunks": False})[1, :2] = 0
            return path
        shard = path / "c" / "1" / "0" / "0" / "0"
        content = bytearray(shard.read_bytes())
        start = 0 if place == "start" else len(content) - 36
        content[start : start + 8] = offset.to_bytes(8, "little")
        content[start + 32 : start + 36] = google_crc32c.value(bytes(content[start : start + 32])).to_bytes(
            4, "little"
        )
        shard.write_bytes(content)
        return path

    return make


def _damaged(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        movie = _zarr(folder)
        (movie / name).write_text(text)
        return movie

    return make


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "movie.tif")
    return folder / "movie.tif"


def _folder_with_fifo(folder: Path) -> Path:
    tifffile.imwrite(folder / "t0.tif", MOVIE[0])
    os.mkfifo(folder / "t1.tif")
    return folder


def _array(array: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "movie.npy", array, allow_pickle=True)
        return folder / "movie.npy"

    return make


def _h5(array: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with h5py.File(folder / "movie.h5", "w") as file:
            file["raw"] = array
        return folder / "movie.h5"

    return make


def _plain_zarr(array: np.ndarray) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        zarr.save_array(str(folder / "movie.zarr"), array, zarr_format=2)
        return folder / "movie.zarr"

    return make


def _truncated_tiff(folder: Path) -> Path:
    path = folder / "movie.tif"
    tifffile.imwrite(path, MOVIE, compression="zlib")
    path.write_bytes(path.read_bytes()[:-3000])
    return path


#: What is wrong → what makes such a file.
BAD = {
    "a chunk is cut": _chunk(lambda content: content[: len(content) // 2]),
    "a chunk is empty": _chunk(lambda content: b""),
    "a chunk is noise": _chunk(lambda content: bytes(range(256))),
    "a chunk has another size": _chunk(lambda content: b"\x02\x01\x21\x02\x00\x00\x00\x00" * 4),
    "a shard is cut": _shard(9),
    "a shard is almost gone": _shard(1000),
    "a chunk lies beyond its shard": _chunk_of_a_shard("end", 10**6),
    "the array's header is cut": _damaged("0/.zarray", '{"chunks": [1'),
    "the array's header is a list": _damaged("0/.zarray", "[]"),
    "the array's shape is text": _damaged("0/.zarray", '{"zarr_format": 2, "shape": "x"}'),
    "the image's header is a list": _damaged(".zattrs", "[]"),
    "the image's header is noise": _damaged(".zattrs", "\0"),
    "the image's header is deep": _damaged(".zattrs", "[" * 50_000),
    "multiscales is a number": _damaged(".zattrs", '{"multiscales": 3}'),
    "multiscales has a scale of text": _damaged(
        ".zattrs",
        '{"multiscales": [{"datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": "x"}]}]}]}',
    ),
    "complex": _h5(MOVIE.astype(complex)),
    "complex zarr": _plain_zarr(MOVIE.astype(complex)),
    "dates": _plain_zarr(MOVIE.astype("datetime64[s]")),
    "a pipe": _fifo,
    "a pipe among stacks": _folder_with_fifo,
    "numpy": _array(MOVIE),
    "numpy of objects": _array(np.array([{}, []], dtype=object)),
    "a cut TIFF": _truncated_tiff,
}


#: What labels may leave out, as background, and a raw movie may not.
LOST = {
    "a chunk of a shard is gone": _chunk_of_a_shard("end"),
    "a chunk of a shard with its index first is gone": _chunk_of_a_shard("start"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", BAD | LOST)
def test_a_bad_movie_is_refused_by_name(what: str, tmp_path: Path) -> None:
    path = (BAD | LOST)[what](tmp_path)
    with pytest.raises(InputError) as refusal:
        Movie.open(path).frame(1)
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", BAD)
def test_a_bad_label_movie_is_refused_by_name(what: str, tmp_path: Path) -> None:
    path = BAD[what](tmp_path)
    with pytest.raises(InputError) as refusal:
        LabelMovie.open(path).frame(1)
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("place", ["start", "end"])
def test_only_chunks_that_are_read_are_looked_for_and_an_empty_one_may_be_wanted(
    tmp_path: Path, place: str
) -> None:
    path = _chunk_of_a_shard(place)(tmp_path)
    movie = Movie.open(path)
    assert movie.lost_chunks() == ["c/1/0/0/0, chunk (0, 0, 0, 0)"]
    np.testing.assert_array_equal(movie.frame(0), MOVIE[0])
    read = Movie.open(path, missing_frames="empty").frame(1)
    assert not read[:2].any()
    np.testing.assert_array_equal(read[2:], MOVIE[1, 2:])


def test_a_mask_is_no_movie_to_segment(tmp_path: Path) -> None:
    path = _h5(MOVIE > 500)(tmp_path)
    for open_movie in (
        segmentation.open_movie,
        lambda p: denoising.open_movies([p.movie], TrainDenoiser(raw_paths=[path])),
    ):
        with pytest.raises(InputError, match=r"movie\.h5.*a mask, not an image"):
            open_movie(Segment(movie=path, voxel_size_um=(1, 1, 1)))


@pytest.mark.parametrize("damage", [b"", b"\xff" * 99, None], ids=["empty", "noise", "cut"])
def test_a_damaged_frame_of_ours_names_its_file_and_the_remedy(tmp_path: Path, damage: bytes | None) -> None:
    labels = LabelMovie.create(tmp_path / "labels.zarr", (2, 4, 16, 16), voxel_size=(1, 1, 1))
    for t in range(2):
        labels.write_frame(t, MOVIE[t])
    chunk = labels.files(1)[0]
    chunk.write_bytes(chunk.read_bytes()[:40] if damage is None else damage)
    np.testing.assert_array_equal(labels.frame(0), MOVIE[0])
    with pytest.raises(InputError, match=r"labels\.zarr/0/1.*segment the movie again: only this frame"):
        labels.frame(1)


def test_a_label_movie_of_another_program_is_never_restored(tmp_path: Path) -> None:
    path = _zarr(tmp_path)
    shutil.move(path / ".zattrs", tmp_path / "kept")
    with pytest.raises(InputError):
        LabelMovie.create(path, (3, 4, 16, 16), voxel_size=(1, 1, 1))
    assert not (path / ".zattrs").exists()

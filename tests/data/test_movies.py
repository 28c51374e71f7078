"""Every format opens as TCZYX with the same voxels, the right calibration, and one frame read at a time."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from helpers.data.movies import Movie, write_movie
from helpers.data.readers import open_bioio
from helpers.errors import InputError

SIZE = (2.0, 0.5, 0.25)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4000, (3, 2, 5, 16, 17), dtype=np.uint16)


def write_ome_zarr_05(path: Path, array: np.ndarray) -> None:
    group = zarr.create_group(str(path), zarr_format=3)
    group.create_array("s0", data=array, chunks=(1, 1, 5, 16, 17))
    axes = [
        {"name": "t", "type": "time", "unit": "minute"},
        {"name": "c", "type": "channel"},
        *({"name": n, "type": "space", "unit": "nanometer"} for n in "zyx"),
    ]
    scale = [{"type": "scale", "scale": [1, 1, 2000, 500, 250]}]
    # The scale of the whole image multiplies that of the level: half a minute.
    whole = [{"type": "scale", "scale": [0.5, 1, 1, 1, 1]}]
    multiscales = {
        "axes": axes,
        "datasets": [{"path": "s0", "coordinateTransformations": scale}],
        "coordinateTransformations": whole,
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscales]}


def write_imagej(path: Path, array: np.ndarray) -> None:
    tifffile.imwrite(
        path,
        array.transpose(0, 2, 1, 3, 4),
        imagej=True,
        resolution=(1 / 0.25, 1 / 0.5),
        metadata={"axes": "TZCYX", "spacing": 2.0, "unit": "micron", "finterval": 30.0},
    )


def write_hdf5(path: Path, array: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a/raw", data=array, chunks=(1, 1, 5, 16, 17))
        data.attrs["element_size_um"] = SIZE
        file.create_dataset("a/other", data=array)


@pytest.mark.parametrize("name", ["a.zarr", "a.ome.tif", "a.tif", "v3.zarr", "imagej.tif", "a.h5", "stacks"])
def test_every_format_gives_the_same_movie(tmp_path, array, name):
    path = tmp_path / name
    dataset = None
    interval: float | None = 30.0
    if name == "v3.zarr":
        write_ome_zarr_05(path, array)
    elif name == "imagej.tif":
        write_imagej(path, array)
    elif name == "a.h5":
        write_hdf5(path, array)
        dataset, interval = "a/raw", None
    elif name == "stacks":
        for t, stack in enumerate(array):  # t10 sorts after t9
            write_movie(path / f"t{t + 8}.tif", stack, voxel_size=SIZE, axes="CZYX")
        interval = None
    else:
        write_movie(path, array, voxel_size=SIZE, frame_interval=30)
    movie = Movie.open(path, dataset=dataset)
    assert movie.shape == array.shape
    assert movie.dtype == np.uint16
    assert movie.voxel_size == pytest.approx(SIZE)
    assert movie.frame_interval == interval
    assert movie.name == name.split(".")[0]
    assert not movie.is_2d and movie.n_frames == 3 and movie.n_channels == 2
    again = pickle.loads(pickle.dumps(movie))
    for t in range(3):
        for channel in range(2):
            np.testing.assert_array_equal(movie.frame(t, channel), array[t, channel])
            np.testing.assert_array_equal(again.frame(t, channel), array[t, channel])
    assert movie.frame(0).dtype.isnative and movie.frame(0).flags.c_contiguous


def test_parameters_win_over_the_file(tmp_path, array):
    path = write_movie(tmp_path / "a.tif", array, voxel_size=SIZE, frame_interval=30)
    movie = Movie.open(path, voxel_size=(3, 1, 1), frame_interval=5)
    assert movie.require_voxel_size() == (3.0, 1.0, 1.0)
    assert movie.frame_interval == 5.0
    assert pickle.loads(pickle.dumps(movie)).voxel_size == (3.0, 1.0, 1.0)


def test_our_files_are_read_by_bioio(tmp_path, array):
    bioio = pytest.importorskip("bioio")
    for name in ("a.ome.tif", "a.zarr"):
        image = bioio.BioImage(write_movie(tmp_path / name, array, voxel_size=SIZE, frame_interval=30))
        np.testing.assert_array_equal(image.data, array)
        assert tuple(image.physical_pixel_sizes) == SIZE


def test_formats_read_through_bioio(tmp_path, array):
    source = open_bioio(write_movie(tmp_path / "a.ome.tif", array, voxel_size=SIZE))
    assert source.shape == array.shape and source.voxel_size == SIZE
    np.testing.assert_array_equal(source.stack(2, 1), array[2, 1])


def test_2d_is_one_plane(tmp_path, array):
    path = write_movie(tmp_path / "a.tif", array[:, 0, 0], voxel_size=(0.5, 0.25), axes="TYX")
    movie = Movie.open(path)
    assert movie.shape == (3, 1, 1, 16, 17) and movie.is_2d
    assert movie.require_voxel_size()[1:] == (0.5, 0.25)
    np.testing.assert_array_equal(movie.frame(1), array[1, 0, :1])
    tifffile.imwrite(tmp_path / "plane.tif", array[0, 0, 0])
    assert Movie.open(tmp_path / "plane.tif", voxel_size=(0.5, 0.25)).shape == (1, 1, 1, 16, 17)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((5, 16, 17), None, (1, 1, 5, 16, 17)),
        ((5, 16, 17), "TYX", (5, 1, 1, 16, 17)),
        ((5, 16, 17), "CYX", (1, 5, 1, 16, 17)),
        ((3, 5, 16, 17), None, (3, 1, 5, 16, 17)),
        ((3, 5, 16, 17), "ZCYX", (1, 5, 3, 16, 17)),
        ((3, 2, 5, 16, 17), None, (3, 2, 5, 16, 17)),
        ((16, 17, 5), "YXZ", (1, 1, 5, 16, 17)),
    ],
)
@pytest.mark.parametrize("suffix", ["tif", "h5", "zarr"])
def test_dimensions_without_a_name(tmp_path, shape, axes, expected, suffix):
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, array, compression="zlib")
    elif suffix == "h5":
        with h5py.File(path, "w") as file:
            file["raw"] = array
    else:
        zarr.create_array(str(path), data=array)
    movie = Movie.open(path, axes=axes)
    assert movie.shape == expected
    letters = axes or "TCZYX"[-3:] * (len(shape) == 3) or ("TZYX" if len(shape) == 4 else "TCZYX")
    full = array.transpose([letters.index(a) for a in "TCZYX" if a in letters]).reshape(expected)
    np.testing.assert_array_equal(movie.frame(expected[0] - 1, expected[1] - 1), full[-1, -1])


def test_rgb_samples_are_channels(tmp_path):
    array = np.random.default_rng(1).integers(0, 255, (16, 17, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", array, photometric="rgb")
    movie = Movie.open(tmp_path / "rgb.tif")
    assert movie.shape == (1, 3, 1, 16, 17)
    np.testing.assert_array_equal(movie.frame(0, 2)[0], array[..., 2])


def test_hdf5_axes_of_ilastik(tmp_path):
    array = np.random.default_rng(1).integers(0, 255, (4, 5, 16, 17, 2), dtype=np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        tags = {"axes": [{"key": key} for key in "tzyxc"]}
        file.create_dataset("raw", data=array).attrs["axistags"] = json.dumps(tags)
    movie = Movie.open(tmp_path / "a.h5")
    assert movie.shape == (4, 2, 5, 16, 17)
    np.testing.assert_array_equal(movie.frame(3, 1), array[3, ..., 1])


def test_real_stack(samples):
    movie = Movie.open(samples / "plantseg" / "sample_ovule.h5", dataset="raw")
    assert movie.shape == (1, 1, 32, 128, 128)
    assert movie.voxel_size == pytest.approx((0.235, 0.15, 0.15))
    with pytest.raises(InputError, match=r"label.*raw"):
        Movie.open(samples / "plantseg" / "sample_ovule.h5")


def test_one_frame_is_read_at_a_time(tmp_path):
    """What a read allocates is about a frame, however long the movie; a whole read would be 60 frames."""
    frame = np.random.default_rng(0).integers(0, 4000, (8, 256, 256), dtype=np.uint16)
    array = np.broadcast_to(frame, (60, *frame.shape))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", array.shape, "uint16", chunks=(1, 8, 256, 256), compression="gzip")[7] = (
            frame
        )
    for name in ("a.zarr", "a.tif"):
        write_movie(tmp_path / name, array, voxel_size=SIZE, axes="TZYX")
    for name in ("a.zarr", "a.tif", "a.h5"):
        Movie.open(tmp_path / name).frame(0)  # imports and caches
        tracemalloc.start()
        got = Movie.open(tmp_path / name).frame(7)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(got, frame)
        assert peak < 6 * frame.nbytes, name


def test_a_file_larger_than_memory(tmp_path):
    """Uncompressed data are mapped: 200 GB (a file with a hole) open and give a frame."""
    path = tmp_path / "huge.tif"
    shape = (1000, 100, 1000, 1000)
    tifffile.imwrite(path, shape=shape, dtype="uint16", bigtiff=True, metadata={"axes": "TZYX"})
    movie = Movie.open(path)
    assert movie.shape == (1000, 1, 100, 1000, 1000)
    assert movie.frame(999).shape == (100, 1000, 1000)


def test_a_folder_opens_natural_order_and_globs(tmp_path, array):
    for t in (10, 9, 8):
        tifffile.imwrite(tmp_path / f"t{t}_a.tif", np.full((5, 16, 17), t, np.uint16))
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((2, 3), np.uint16))
    (tmp_path / "notes.txt").write_text("not an image")
    movie = Movie.open(str(tmp_path / "t*_a.tif"), voxel_size=SIZE)
    assert [int(movie.frame(t).max()) for t in range(movie.n_frames)] == [8, 9, 10]
    with pytest.raises(InputError, match=r"other\.tif.*\(1, 5, 16, 17\) in the other stacks"):
        Movie.open(tmp_path)


def test_written_wholly_or_not_at_all(tmp_path, array):
    class Breaks:
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, index):
            if index[0] == 2:
                raise RuntimeError("the disk was pulled")
            return array[index]

    for name in ("a.zarr", "a.tif"):
        write_movie(tmp_path / name, array, voxel_size=SIZE)
        with pytest.raises(RuntimeError):
            write_movie(tmp_path / name, Breaks(), voxel_size=SIZE)
        np.testing.assert_array_equal(Movie.open(tmp_path / name).frame(2), array[2, 0])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif", "a.zarr"]

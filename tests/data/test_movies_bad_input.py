"""Files and parameters that cannot be used give one error that names them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError

ARRAY = np.random.default_rng(0).integers(0, 4000, (6, 5, 64, 65), dtype=np.uint16)


def write(kind: str, path) -> None:
    if kind == "pages":  # one directory after each page, as many programs write
        with tifffile.TiffWriter(path) as tif:
            for page in ARRAY.reshape(-1, 64, 65):
                tif.write(page, contiguous=False, metadata=None)
    elif kind == "pages zlib":
        with tifffile.TiffWriter(path) as tif:
            for page in ARRAY.reshape(-1, 64, 65):
                tif.write(page, contiguous=False, metadata=None, compression="zlib")
    elif kind == "zlib":
        tifffile.imwrite(path, ARRAY, compression="zlib")
    elif kind == "plain":
        tifffile.imwrite(path, ARRAY)
    elif kind == "imagej":
        tifffile.imwrite(path, ARRAY, imagej=True, metadata={"axes": "TZYX"})
    elif kind == "ome":
        write_movie(path, ARRAY, voxel_size=(1, 1, 1), axes="TZYX")
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["raw"] = ARRAY


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["pages", "pages zlib", "zlib", "plain", "imagej", "ome", "hdf5"])
def test_truncated_files(tmp_path, kind, fraction):
    """A stack that is cut never opens as a shorter one, and no voxel is made up."""
    path = tmp_path / ("cut.h5" if kind == "hdf5" else "cut.tif")
    write(kind, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * fraction)])
    if kind == "imagej" and fraction == 0.99:  # what is cut is only the directory, all voxels are there
        movie = Movie.open(path)
        np.testing.assert_array_equal([movie.frame(t) for t in range(movie.n_frames)], ARRAY)
        return
    with pytest.raises(InputError, match=r"cut\.") as caught:
        Movie.open(path)  # at once, not hours later at the frame that is missing
    assert str(path) in str(caught.value)


def test_a_damaged_page_names_the_file_and_spares_the_others(tmp_path):
    path = tmp_path / "damaged.tif"
    write("zlib", path)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[7].dataoffsets[0]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * 500)
    movie = Movie.open(path)
    np.testing.assert_array_equal(movie.frame(0), ARRAY[0])
    with pytest.raises(InputError, match=r"damaged\.tif"):
        movie.frame(1)


def test_a_damaged_chunk_names_the_movie(tmp_path):
    path = write_movie(tmp_path / "a.zarr", ARRAY, voxel_size=(1, 1, 1), axes="TZYX")
    chunk = path / "0/1/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    movie = Movie.open(path)
    np.testing.assert_array_equal(movie.frame(0), ARRAY[0])
    with pytest.raises(InputError, match=r"a\.zarr"):
        movie.frame(1)


def test_missing_and_empty(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.tif.*does not exist"):
        Movie.open(tmp_path / "nothing.tif")
    with pytest.raises(InputError, match="holds no images"):
        Movie.open(tmp_path)
    with pytest.raises(InputError, match="holds no images"):
        Movie.open(str(tmp_path / "*.tif"))


def test_not_what_its_name_says(tmp_path):
    for name in ("a.tif", "a.h5"):
        (tmp_path / name).write_text("this is a text")
        with pytest.raises(InputError, match=name):
            Movie.open(tmp_path / name)
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zgroup").write_text("{")
    with pytest.raises(InputError, match=r"a\.zarr"):
        Movie.open(tmp_path / "a.zarr")


@pytest.mark.parametrize("suffix", [".czi", ".nd2", ".lif"])
def test_a_missing_plugin_is_named(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"\0" * 1000)
    with pytest.raises(InputError, match=f"pip install bioio-{suffix[1:]}"):
        Movie.open(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("axes", ["ZYX", "TCZYX", "TTYX", "TZYQ", "TZCY", "T"])
def test_wrong_axes(tmp_path, axes):
    write("zlib", tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"axes = .*a\.tif"):
        Movie.open(tmp_path / "a.tif", axes=axes)


def test_too_many_dimensions(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 2, 2, 2, 4, 5), np.uint8))
    with pytest.raises(InputError, match=r"axes = .*a\.tif"):
        Movie.open(tmp_path / "a.tif")


def test_dataset_that_is_not_there(tmp_path):
    write("hdf5", tmp_path / "a.h5")
    with pytest.raises(InputError, match=r"dataset = 'label'.*raw"):
        Movie.open(tmp_path / "a.h5", dataset="label")
    group = zarr.create_group(str(tmp_path / "a.zarr"))
    group.create_array("image", data=ARRAY)
    with pytest.raises(InputError, match=r"dataset = None.*image"):
        Movie.open(tmp_path / "a.zarr")
    assert Movie.open(tmp_path / "a.zarr", dataset="image").n_frames == 6
    with pytest.raises(InputError, match=r"dataset = 'label'.*image"):
        Movie.open(tmp_path / "a.zarr", dataset="label")


def test_several_images_in_a_tiff_are_not_guessed(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(ARRAY[0])
        tif.write(ARRAY[0, :, :9])
    with pytest.raises(InputError, match=r"dataset = None.*2 images"):
        Movie.open(tmp_path / "a.tif")
    assert Movie.open(tmp_path / "a.tif", dataset=1).shape == (1, 1, 5, 9, 65)
    with pytest.raises(InputError, match="dataset = 2"):
        Movie.open(tmp_path / "a.tif", dataset=2)


def test_no_such_frame(tmp_path):
    write("zlib", tmp_path / "a.tif")
    movie = Movie.open(tmp_path / "a.tif")
    for t, channel in ((6, 0), (-1, 0), (0, 1)):
        with pytest.raises(InputError, match="0 to"):
            movie.frame(t, channel)


def test_a_movie_in_a_folder_of_stacks(tmp_path):
    write("zlib", tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif.*6 frames"):
        Movie.open(tmp_path)


def test_what_cannot_be_written(tmp_path):
    one = np.zeros((1, 1, 2, 3, 4), np.uint16)
    with pytest.raises(InputError, match="voxel_size"):
        write_movie(tmp_path / "a.tif", one, voxel_size=None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\.zarr"):
        write_movie(tmp_path / "a.mp4", one, voxel_size=(1, 1, 1))
    with pytest.raises(InputError, match="axes"):
        write_movie(tmp_path / "a.tif", one[0], voxel_size=(1, 1, 1))
    with pytest.raises(InputError, match="complex"):
        write_movie(tmp_path / "a.tif", one.astype(complex), voxel_size=(1, 1, 1))
    with pytest.raises(InputError, match="int64"):
        write_movie(tmp_path / "a.tif", one.astype(np.int64), voxel_size=(1, 1, 1))
    (tmp_path / "file").write_text("")
    for name in ("a.tif", "a.zarr"):
        with pytest.raises(InputError, match="cannot be written"):
            write_movie(tmp_path / "file" / name, one, voxel_size=(1, 1, 1))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

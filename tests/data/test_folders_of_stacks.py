"""Folders of stacks with gaps and twins, lost chunks and colour pictures: told, never read as something else."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError


def _stacks(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        stack = np.full((2, 12, 13), k + 1, np.uint16)
        if name.endswith(".h5"):
            with h5py.File(folder / name, "w") as file:
                file["raw"] = stack
        else:
            tifffile.imwrite(folder / name, stack)
    return folder


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("t001.tif", "t002.tif", "t004.tif"), ["missing: 3", "t002.tif and t004.tif", "missing_frames"]),
        (("t002.tif", "t004.tif"), ["missing: 3", "t002.tif and t004.tif"]),
        (("a_t0_c1.tif", "a_t5_c1.tif", "a_t15_c1.tif"), ["missing: 10", "a_t5_c1.tif and a_t15_c1.tif"]),
        (("t1.tif", "t01.tif"), ["t1.tif", "t01.tif", "same frame twice"]),
        (("t0.tif", "t0.h5", "t1.tif"), ["t0.h5", "t0.tif", "same frame twice"]),
        (("t1.tif", "t2.tif", "t02.tif", "t3.tif"), ["t02.tif", "t2.tif", "same frame twice"]),
        (("t1_c1.tif", "t1_c2.tif", "t2_c1.tif", "t2_c2.tif"), ["t1_c1.tif", "count c", "pattern with *"]),
        (("a_Z001.tif", "a_Z002.tif"), ["a_Z001.tif", "count z", "one stack"]),
        (("t1_z1.tif", "t1_z2.tif"), ["count z"]),
    ],
)
def test_gaps_and_twins_are_named(tmp_path: Path, names: tuple[str, ...], words: list[str]) -> None:
    folder = _stacks(tmp_path / "movie", *names)
    for path in (folder, folder / "*"):
        with pytest.raises(InputError) as error:
            Movie.open(path)
        for word in (str(folder), *words):
            assert word in str(error.value)
    with pytest.raises(InputError):
        LabelMovie.open(folder)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("t1.tif", "t2.tif", "t10.tif", "t3.tif", *(f"t{k}.tif" for k in range(4, 10))), None),
        (("t000.tif", "t005.tif", "t010.tif"), [1, 2, 3]),
        (("t9.tif", "t08.tif"), [2, 1]),
        (("before.tif", "after.tif"), [2, 1]),
        (("c1.tif", "c2.tif"), [1, 2]),
        (("hertz1.tif", "hertz2.tif"), [1, 2]),
        (("a1_t2.tif", "a2_t4.tif"), [1, 2]),
        (("20240101.tif",), [1]),
        (("x.tif",), [1]),
    ],
)
def test_what_is_whole_is_read(tmp_path: Path, names: tuple[str, ...], order: list[int] | None) -> None:
    movie = Movie.open(_stacks(tmp_path / "movie", *names))
    assert movie.n_frames == len(names)
    if order:
        assert [int(movie.frame(t).max()) for t in range(movie.n_frames)] == order


def test_a_gap_may_be_an_empty_frame(tmp_path: Path) -> None:
    folder = _stacks(tmp_path / "movie", "t000.tif", "t005.tif", "t020.tif")
    movie = Movie.open(folder, missing_frames="empty")
    assert [int(movie.frame(t).max()) for t in range(movie.n_frames)] == [1, 2, 0, 0, 3]
    assert movie.empty_frames == {2, 3}
    assert LabelMovie.open(folder, missing_frames="empty").n_frames == 5


def _zarr(path: Path, zarr_format: int, shards: bool) -> Path:
    array = zarr.create_array(
        str(path), shape=(3, 2, 8, 8), dtype="uint16", chunks=(1, 1, 8, 8), shards=(1, 2, 8, 8) if shards else None,
        zarr_format=zarr_format,  # type: ignore[arg-type]
    )  # fmt: skip
    array[:] = 7
    return path


@pytest.mark.parametrize(("zarr_format", "shards", "chunk"), [(2, False, "1.0.0.0"), (3, False, "c/1/1/0/0"), (3, True, "c/1/0/0/0")])  # fmt: skip
def test_a_lost_chunk_is_not_read_as_zeros(
    tmp_path: Path, zarr_format: int, shards: bool, chunk: str
) -> None:
    path = _zarr(tmp_path / "raw.zarr", zarr_format, shards)
    (path / chunk).unlink()
    movie = Movie.open(path)
    assert movie.lost_chunks() == [chunk]
    assert (movie.frame(0) == 7).all()
    with pytest.raises(InputError, match=rf"raw\.zarr.*{chunk}.*missing_frames"):
        movie.frame(1)
    assert (Movie.open(path, missing_frames="empty").frame(1) == 0).any()
    assert (LabelMovie.open(path).frame(1) == 0).any(), "of labels it is background"


def test_our_own_zarr_is_whole_though_it_is_empty(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "raw.zarr", np.zeros((2, 1, 3, 8, 8), np.uint16), voxel_size=(1, 1, 1))
    movie = Movie.open(path)
    assert movie.lost_chunks() == []
    assert not movie.frame(1).any()
    (path / "0/1/0/0/0/0").unlink()
    assert Movie.open(path).lost_chunks() == ["1/0/0/0/0"]


@pytest.mark.parametrize("kind", ["tif", "plain.tif", "h5", "png"])
def test_colour_masks_are_no_stacks(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"mask.{kind}"
    picture = np.zeros((40, 50, 3), np.uint8)
    picture[5:20, 5:20] = 1
    if kind == "h5":
        with h5py.File(path, "w") as file:
            file["mask"] = picture
    elif kind == "png":
        from skimage.io import imsave

        imsave(path, picture, check_contrast=False)
    else:
        tifffile.imwrite(path, picture, photometric="rgb" if kind == "tif" else "minisblack", metadata=None)
    with pytest.raises(InputError, match=r"mask\..*(3 channels|colour)"):
        LabelMovie.open(path)


def test_masks_of_cellposes_gui(tmp_path: Path) -> None:
    from skimage.io import imsave

    folder = tmp_path / "masks"
    folder.mkdir()
    masks = np.arange(2 * 30 * 31, dtype=np.uint16).reshape(2, 30, 31)
    for t in range(2):
        imsave(folder / f"frame{t}_cp_masks.png", masks[t], check_contrast=False)
    labels = LabelMovie.open(folder)
    assert labels.shape == (2, 1, 30, 31)
    np.testing.assert_array_equal(labels.frame(1)[0], masks[1])
    where = tmp_path / "segs"
    where.mkdir()
    for t in range(2):
        about = {
            "filename": "frame.tif",
            "masks": masks[t],
            "est_diam": np.float64(30),
            "flows": [masks[t] / 2.0, None],
        }
        np.save(where / f"frame{t}_seg.npy", about, allow_pickle=True)  # type: ignore[arg-type]
    for given in (where, where / "*_seg.npy"):
        np.testing.assert_array_equal(LabelMovie.open(given).frame(1)[0], masks[1])
    np.save(tmp_path / "stack_seg.npy", {"masks": masks}, allow_pickle=True)  # type: ignore[arg-type]
    assert LabelMovie.open(tmp_path / "stack_seg.npy").shape == (1, 2, 30, 31)


class _Trap:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_of_cellposes_gui_runs_nothing_and_is_named_when_it_holds_no_masks(tmp_path: Path) -> None:
    sprung, file = tmp_path / "sprung", tmp_path / "a_seg.npy"
    masks = np.ones((4, 5), np.int32)
    np.save(file, {"masks": masks, "more": _Trap(sprung), "file": tmp_path}, allow_pickle=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(LabelMovie.open(file).frame(0)[0], masks)
    assert not sprung.exists()
    for content in ({"outlines": masks}, {"masks": masks / 2}, [masks]):
        np.save(file, content, allow_pickle=True)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"a_seg\.npy.*masks as PNG or TIFF"):
            LabelMovie.open(file)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(InputError, match=r"a_seg\.npy.*truncated"):
        LabelMovie.open(file)
    np.save(tmp_path / "a.npy", masks)
    with pytest.raises(InputError, match=r"a\.npy.*_seg\.npy is read"):
        LabelMovie.open(tmp_path / "a.npy")

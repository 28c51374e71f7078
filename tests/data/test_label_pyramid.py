"""Label movies as other programs see them: levels, colours and scale, valid as OME-Zarr 0.4 and 0.5."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models import v04, v05

from helpers.data import label_pyramid
from helpers.data.label_export import export_v05
from helpers.data.label_movies import LabelMovie
from helpers.data.lazy import LazyStack
from helpers.data.movies import Movie
from helpers.errors import InputError

SHAPE = (3, 6, 130, 70)
SIZE = (0.3, 0.25, 0.25)


@pytest.fixture
def movie(tmp_path: Path) -> LabelMovie:
    made = LabelMovie.create(tmp_path / "labels.zarr", SHAPE, voxel_size=SIZE, frame_interval=30)
    for t in range(SHAPE[0]):
        made.write_frame(t, frame_of(t))
    return made


def frame_of(t: int) -> np.ndarray:
    """Labels of which no two voxels are sure to be alike, so that a level shows which it took."""
    return np.random.default_rng(t).integers(0, 60_000, SHAPE[1:])


def level(path: Path, name: str) -> np.ndarray:
    return np.asarray(zarr.open_array(str(path / name), mode="r")[:])


def test_each_level_takes_every_second_voxel(movie: LabelMovie) -> None:
    factors = label_pyramid.factors(SHAPE, SIZE)
    assert factors == [(1, 1, 1), (1, 2, 2), (2, 4, 4)], "z only once it is no coarser"
    for name, (z, y, x) in zip(("0", "0_1", "0_2"), factors, strict=True):
        expected = np.stack([frame_of(t)[::z, ::y, ::x] for t in range(SHAPE[0])])
        np.testing.assert_array_equal(level(movie.path, name), expected)


def test_a_lazy_frame_cut_into_chunks_gives_the_same_levels(tmp_path: Path, movie, monkeypatch) -> None:
    monkeypatch.setattr("helpers.data.ome_zarr._LARGEST_CHUNK", 8 * 2000)
    cut = LabelMovie.create(tmp_path / "cut.zarr", SHAPE, voxel_size=SIZE)
    cut.write_frame(1, LazyStack(SHAPE[1:], np.dtype("uint16"), lambda where: frame_of(1)[where]))
    monkeypatch.undo()
    assert len(cut.files(1)) == 6 * 5, "chunks are those of the file, whatever they would be today"
    np.testing.assert_array_equal(LabelMovie.open(cut.path).frame(1), frame_of(1))
    for name in ("0_1", "0_2"):
        np.testing.assert_array_equal(level(cut.path, name)[1], level(movie.path, name)[1])


def test_the_metadata_are_valid_and_say_scale_and_colours(movie: LabelMovie) -> None:
    found = v04.ImageLabel.from_zarr(zarr.open_group(str(movie.path), mode="r"))
    scales = [one.coordinateTransformations[0].scale for one in found.attributes.multiscales[0].datasets]
    assert scales == [[30, 0.3, 0.25, 0.25], [30, 0.3, 0.5, 0.5], [30, 0.6, 1.0, 1.0]]
    colours = {one.label_value: one.rgba for one in found.attributes.image_label.colors}
    assert colours[0] == (0, 0, 0, 0) and len(set(colours.values())) == len(colours) > 200
    assert [axis.unit for axis in found.attributes.multiscales[0].axes] == ["second", *["micrometer"] * 3]


def test_another_frame_interval_and_wide_labels_keep_the_levels(movie: LabelMovie) -> None:
    again = LabelMovie.create(movie.path, SHAPE, voxel_size=SIZE, frame_interval=60)
    again.write_frame(2, frame_of(2) + 10_000)
    assert again.dtype == np.uint32
    found = v04.ImageLabel.from_zarr(zarr.open_group(str(movie.path), mode="r"))
    datasets = found.attributes.multiscales[0].datasets
    assert [one.path for one in datasets] == ["1", "1_1", "1_2"]
    assert [one.coordinateTransformations[0].scale[0] for one in datasets] == [60] * 3
    np.testing.assert_array_equal(level(movie.path, "1_2")[0], frame_of(0)[::2, ::4, ::4])
    np.testing.assert_array_equal(level(movie.path, "1_2")[2], frame_of(2)[::2, ::4, ::4] + 10_000)
    assert not list(movie.path.glob("0*")), "the narrow levels are gone"


@pytest.mark.parametrize("damage", ["rotten", "gone", "noise"])
def test_damaged_levels_are_made_again(movie: LabelMovie, damage: str) -> None:
    chunk = movie.path / "0_1" / "1" / "0" / "0" / "0"
    assert movie.mend_levels(1), "nothing to mend"
    if damage == "gone":
        chunk.unlink()
    elif damage == "noise":
        chunk.write_bytes(b"noise")
    else:
        array = zarr.open_array(str(movie.path / "0_1"), mode="r+")
        array[1, 0, 0, 0] = 7
    assert not movie.mend_levels(1)
    np.testing.assert_array_equal(level(movie.path, "0_1")[1], frame_of(1)[:, ::2, ::2])
    assert movie.mend_levels(1)


def test_ome_zarr_05_is_valid_sharded_and_read_back(movie: LabelMovie, tmp_path: Path) -> None:
    path = export_v05(movie, tmp_path / "labels.ome.zarr")
    group = zarr.open_group(str(path), mode="r")
    found = v05.ImageLabel.from_zarr(group)
    assert len(found.ome_attributes.multiscales[0].datasets) == 3
    assert group["0"].shards == (1, 6, 130, 70), "one file per frame"
    for other in (LabelMovie.open(path), Movie.open(path)):
        assert other.voxel_size == SIZE and other.frame_interval == 30
        np.testing.assert_array_equal(other.frame(2), frame_of(2))
    np.testing.assert_array_equal(group["2"][1], frame_of(1)[::2, ::4, ::4])
    incomplete = LabelMovie.create(tmp_path / "part.zarr", SHAPE, voxel_size=SIZE)
    with pytest.raises(InputError, match=r"frames \[0, 1, 2\] missing"):
        export_v05(incomplete, tmp_path / "never")


def test_a_movie_of_before_there_were_levels_is_gone_on_with(tmp_path: Path) -> None:
    """Its header names one array, and it stays so."""
    made = LabelMovie.create(tmp_path / "old.zarr", SHAPE, voxel_size=SIZE)
    attributes = json.loads((made.path / ".zattrs").read_text())
    del attributes["multiscales"][0]["datasets"][1:], attributes["image-label"]
    (made.path / ".zattrs").write_text(json.dumps(attributes))
    for name in ("0_1", "0_2"):
        shutil.rmtree(made.path / name)
    again = LabelMovie.create(made.path, SHAPE, voxel_size=SIZE)
    again.write_frame(0, frame_of(0))
    assert again.mend_levels(0) and sorted(p.name for p in made.path.glob("0*")) == ["0"]
    np.testing.assert_array_equal(again.frame(0), frame_of(0))

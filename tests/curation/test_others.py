"""Labels and tracks of other programs, as they write them, are scored beside the automatic result."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from helpers.curation import Cell, Curation, confirming
from helpers.curation.evaluation import Result, evaluate
from helpers.curation.others import read_result
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.runs.parameters import Curate
from helpers.runs.steps import curation as step
from helpers.tracking.formats import mmv_h4tracks, table, trackmate
from helpers.tracking.tracks import Tracks
from tests.curation.curated_movies import LINKS, SHAPE, VOXEL, boxes, linked, write_cells


def ours(folder: Path) -> Result:
    return Result("ours", LabelMovie.open(folder / "labels.zarr"), table.read(folder / "tracks.csv"))


def read(labels: Path, tracks: Path | None, depth: int) -> Result:
    return read_result(labels, tracks, (4, depth, *SHAPE), VOXEL, 60.0)


def pairs(found: Result) -> set:
    """Links as pairs of (frame, label), each label as the one of the boxes that it lies on."""
    assert found.tracks is not None
    depth = found.labels.shape[1]
    keys = {}
    for row in found.tracks.objects.itertuples():
        under = boxes(depth)[row.frame][found.labels.frame(row.frame) == row.label]
        keys[row.id] = (row.frame, int(np.bincount(under).argmax()))
    return {(keys[a], keys[b]) for a, b in found.tracks.links[["source", "target"]].to_numpy().tolist()}


def test_mmv_h4tracks(flat: Path, tmp_path: Path) -> None:
    own = ours(flat)
    mmv_h4tracks.write(own.tracks, tmp_path / "x.zarr", own.labels)
    found = read(tmp_path / "x.zarr", tmp_path / "x.zarr", 1)
    assert pairs(found) == set(LINKS) and found.name == "x.zarr"
    assert evaluate(own, found)["fault_value"][0] == 0
    group = zarr.open_group(str(tmp_path / "y.ome.zarr"), mode="w", zarr_format=2)
    labels = group.create_group("labels/y")
    labels.create_array("0", data=boxes(1)[:, 0])
    labels.attrs["implied_tracks"] = True
    implied = read(tmp_path / "y.ome.zarr", tmp_path / "y.ome.zarr", 1)
    assert pairs(implied) == {(a, b) for a, b in LINKS if a[1] == b[1]} | {((1, 2), (3, 2))}, (
        "cells of one label"
    )


@pytest.mark.parametrize(("depth", "name"), [(1, "saved.geff"), (3, "exported_geff.zarr")], ids=["2D", "3D"])
def test_napari_track_edit(tmp_path: Path, depth: int, name: str) -> None:
    with tarfile.open(Path(__file__).with_name("napari_track_edit.tar.xz")) as archive:
        archive.extractall(tmp_path, filter="data")
    path = tmp_path / str(depth) / name
    found = read(path, path, depth)
    expected = boxes(depth)  # what was edited there stands in test_exchange
    expected[1, :, :7][expected[1][:, :7] == 1] = 0
    expected[0][expected[0] == 2] = 0
    expected[2, :, 6:14, 20:30] = 2
    for t in range(4):
        frame = found.labels.frame(t)
        np.testing.assert_array_equal(frame > 0, expected[t] > 0)
        assert len({(a, b) for a, b in zip(frame.flat, expected[t].flat, strict=True)}) == len(
            np.unique(frame)
        )
    assert len(found.tracks.links) == len(LINKS) - 1
    assert not found.tracks.objects["label"].duplicated().any()


@pytest.mark.parametrize("depth", [1, 3])
def test_trackmate_which_knows_no_labels(tmp_path: Path, depth: int) -> None:
    folder = write_cells(tmp_path / "m", depth=depth)
    own = ours(folder)
    objects = own.tracks.objects.drop(columns="label")
    trackmate.write(Tracks(objects, own.tracks.links, VOXEL, 60.0), tmp_path / "x.xml")
    planes = boxes(depth).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", planes[:, 0] if depth == 1 else planes, photometric="minisblack")
    found = read(tmp_path / "x.tif", tmp_path / "x.xml", depth)
    assert pairs(found) == set(LINKS) and evaluate(own, found)["fault_value"][0] == 0
    assert found.name == "x.tif", "a cell whose centre lies outside it is found by its centre"
    moved = objects.assign(y=objects["y"] + 1000)
    table.write(Tracks(moved, own.tracks.links, VOXEL, 60.0), tmp_path / "far.csv")
    with pytest.raises(InputError, match="tracks of these labels: 0 lie on cells"):
        read(tmp_path / "x.tif", tmp_path / "far.csv", depth)
    some = objects.assign(y=objects["y"] + 1000 * (objects["frame"] == 3))
    table.write(Tracks(some, own.tracks.links, VOXEL, 60.0), tmp_path / "some.csv")
    n = int((objects["frame"] == 3).sum())
    assert read(tmp_path / "x.tif", tmp_path / "some.csv", depth).name == f"x.tif ({n} nodes in no cell)"


def test_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", boxes(1)[:2, 0].astype(np.uint16))
    with pytest.raises(InputError, match=r"labels of the shape of the movie, \(4, 1, 40, 48\)"):
        read(tmp_path / "x.tif", None, 1)


def test_the_notebook_takes_a_folder_with_both(written: dict[int, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(written[1], tmp_path / "run" / "movies" / "m"))
    own = ours(folder)
    mmv_h4tracks.write(own.tracks, tmp_path / "x.zarr", own.labels)
    given = {"run_dir": tmp_path / "run", "movie_id": "m", "other_tracks": tmp_path / "x.zarr"}
    p = Curate.checked(given)
    with Curation(folder, "ann") as curation:
        curation.do("cut", cell=Cell(2, 1))
        for t in (1, 2):
            curation.do("confirm", **confirming.frame(curation.state, t))
        assert ((1, 1), (2, 1)) not in linked(curation.state)
        scores = step.evaluate(p, curation)
    assert scores is not None and scores["result"].tolist() == ["automatic"] * 3 + ["x.zarr"] * 3
    assert scores["deleted_edges"][[0, 3]].tolist() == [1, 1] and scores["fault_value"][3] == 1

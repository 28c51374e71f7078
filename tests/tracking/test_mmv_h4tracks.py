"""mmv_h4tracks' zarr: its layouts read, what is written read by its own rules, divisions in the file beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.tracking.formats import any_format, mmv_h4tracks, table
from helpers.tracking.tracks import Tracks
from tests.curation.curated_movies import VOXEL, boxes, write_cells


def links_of(tracks: Tracks) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    key = {row.id: (row.frame, row.label) for row in tracks.objects.itertuples()}
    return {(key[a], key[b]) for a, b in tracks.links[["source", "target"]].to_numpy().tolist()}


@pytest.fixture
def movie(tmp_path: Path) -> tuple[Tracks, LabelMovie]:
    folder = write_cells(tmp_path / "m")
    return table.read(folder / "tracks.csv"), LabelMovie.open(folder / "labels.zarr")


def test_what_is_written_is_what_mmv_reads_and_comes_back(movie, tmp_path: Path) -> None:
    tracks, labels = movie
    path = tmp_path / "cells.zarr"
    mmv_h4tracks.write(tracks, path, labels)
    group = zarr.open_group(str(path), mode="r")
    assert {name: group[name].dtype.str for name in ("raw_data", "segmentation_data", "tracking_data")} == {
        "raw_data": "<f8",
        "segmentation_data": "<i4",
        "tracking_data": "<i4",
    }
    rows = np.asarray(group["tracking_data"])
    np.testing.assert_array_equal(group["segmentation_data"], boxes(1)[:, 0])
    assert (np.lexsort((rows[:, 1], rows[:, 0])) == np.arange(len(rows))).all(), "sorted by id and frame"
    for track in np.unique(rows[:, 0]):
        frames = rows[rows[:, 0] == track, 1]
        assert len(frames) > 1 and (np.diff(frames) == 1).all(), "no lone rows, no gaps"
    lines = (tmp_path / "cells_lineages.txt").read_text().splitlines()
    mother = rows[(rows[:, 1] == 1) & (rows[:, 2] > 20), 0]
    assert len(lines) == 2 and {line.split()[1:] == ["2", "3", str(mother[0])] for line in lines} == {True}
    back = any_format.read(path, voxel_size=VOXEL)
    assert links_of(back) == links_of(tracks)
    first = back.objects.set_index(["frame", "label"]).loc[(0, 1)]
    assert first["y"] == pytest.approx(6 * 0.5) and first["x"] == pytest.approx(6 * 0.5)


def test_a_gap_is_filled_and_becomes_a_gap_again(movie, tmp_path: Path) -> None:
    tracks, labels = movie
    ids = tracks.objects.set_index(["frame", "label"])["id"]
    links = tracks.links[["source", "target"]].to_numpy().tolist()
    gap = Tracks(tracks.objects, _frame([*links, [ids[1, 2], ids[3, 2]]]), VOXEL)
    mmv_h4tracks.write(gap, tmp_path / "cells.zarr", labels)
    rows = np.asarray(zarr.open_array(str(tmp_path / "cells.zarr" / "tracking_data"), mode="r"))
    right = rows[(rows[:, 1] == 3) & (rows[:, 3] > 20) & (rows[:, 2] < 16), 0]
    own = rows[rows[:, 0] == right[0]]
    assert own[:, 1].tolist() == [0, 1, 2, 3], "it knows no gaps"
    np.testing.assert_allclose(own[2, 2:], (own[1, 2:] + own[3, 2:]) / 2, atol=1)  # all are rounded
    assert ((1, 2), (3, 2)) in links_of(mmv_h4tracks.read(tmp_path / "cells.zarr", voxel_size=VOXEL))


def _frame(pairs):
    import pandas as pd

    return pd.DataFrame(pairs, columns=["source", "target"])


@pytest.mark.parametrize("implied", [False, True], ids=["table", "implied"])
def test_its_ome_form_is_read(tmp_path: Path, implied: bool) -> None:
    path = tmp_path / "cells.ome.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((4, 40, 48)))
    labels = group.create_group("labels/TrackedCells", attributes={"implied_tracks": implied})
    labels.create_array("0", data=boxes(1)[:, 0])
    if not implied:
        (path / "tables" / "tracks").mkdir(parents=True)
        rows = [[7, 0, 6, 6], [7, 1, 8, 6], [7, 2, 10, 6], [8, 3, 12, 6]]
        np.save(path / "tables" / "tracks" / "tracks.npy", np.array(rows))
    found = links_of(any_format.read(path, voxel_size=(0.5, 0.5)))
    expected = {((t, 1), (t + 1, 1)) for t in range(3 if implied else 2)}
    assert expected <= found
    assert found == expected or implied
    assert (((2, 4), (3, 4)) in found) == implied


def test_what_is_wrong_is_said(movie, tmp_path: Path) -> None:
    tracks, labels = movie
    path = tmp_path / "cells.zarr"
    mmv_h4tracks.write(tracks, path, labels)
    with pytest.raises(InputError, match="voxel_size_um"):
        mmv_h4tracks.read(path)
    (tmp_path / "cells_lineages.txt").write_text("99 0 1 2\n")
    with pytest.raises(InputError, match=r"line 1.*tracks that are there"):
        mmv_h4tracks.read(path, voxel_size=VOXEL)
    with pytest.raises(InputError, match="one plane"):
        mmv_h4tracks.write(tracks, path, boxes(3))
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="something else"):
        mmv_h4tracks.write(tracks, tmp_path / "other", labels)
    group = zarr.open_group(str(path), mode="r+")
    del group["tracking_data"]
    group.create_array("tracking_data", data=np.zeros((3, 5), np.int32))
    with pytest.raises(InputError, match=r"shape \(N, 4\)"):
        mmv_h4tracks.read(path, voxel_size=VOXEL)

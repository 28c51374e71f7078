"""Small tables worked out by hand: napari's properties, the Challenge's labels, mmv_h4tracks' rows, types of columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from helpers.errors import InputError
from helpers.tracking.formats import (
    any_format,
    btrackmate,
    ctc,
    geff,
    mmv_h4tracks,
    table,
    trackmate,
    trackmate_csv,
)
from helpers.tracking.formats.napari import to_napari
from helpers.tracking.formats.storage import numbers, with_dtypes
from helpers.tracking.tracks import Tracks


def tracks(rows: list[tuple], links: list[tuple], voxel=(2.0, 0.5, 0.25)) -> Tracks:
    """Return Tracks of rows (id, frame, z, y, x) and links (source, target, cost)."""
    objects = pd.DataFrame(rows, columns=["id", "frame", "z", "y", "x"])
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target", "cost"]), voxel, 10.0)


# ---- napari ----------------------------------------------------------------------------------------------


@pytest.fixture
def merging() -> Tracks:
    """Return cells 5-6 and 3 that become 8 in frame 3; 8 goes on as 9. Rows are not in the order of time."""
    rows = [
        (9, 4, 4.0, 2.0, 3.0),
        (8, 3, 4.0, 1.0, 2.0),
        (5, 0, 2.0, 1.0, 1.0),
        (3, 0, 0.0, 0.5, 0.25),
        (6, 1, 2.0, 1.0, 1.5),
    ]
    return tracks(rows, [(8, 9, 4.0), (6, 8, 1.0), (3, 8, 2.0), (5, 6, 3.0)])


def test_rows_of_napari(merging: Tracks) -> None:
    data, graph, properties, scale = to_napari(merging)
    # Tracklets by first frame, then row: 5-6 is 0, 3 is 1, 8-9 is 2. Places in voxels.
    assert data.tolist() == [
        [0, 0, 1, 2, 4], [0, 1, 1, 2, 6], [1, 0, 0, 1, 1], [2, 3, 2, 2, 8], [2, 4, 2, 4, 12],
    ]  # fmt: skip
    assert graph == {2: [0, 1]} and scale == (1.0, 2.0, 0.5, 0.25)
    assert properties["object id"].tolist() == [5, 6, 3, 8, 9]
    assert properties["row"].tolist() == [2, 4, 3, 1, 0]
    assert properties["missing frames before"].tolist() == [0, 0, 0, 2, 0]
    # The first parent of a merge is the one of the smaller id.
    np.testing.assert_array_equal(properties["link cost"], [np.nan, 3, np.nan, 2, 4])
    np.testing.assert_array_equal(properties["link 2 cost"], [np.nan, np.nan, np.nan, 1, np.nan])


def test_napari_keeps_numbers_and_texts_and_leaves_out_arrays(merging: Tracks) -> None:
    shapes = pd.Series([np.zeros((3, 2)), None, None, None, None], dtype=object)
    more = merging.objects.assign(kind=list("abcde"), size=[1.0, 2.0, np.nan, 4.0, 5.0], contour=shapes)
    _, _, properties, _ = to_napari(Tracks(more, merging.links))
    assert properties["kind"].tolist() == list("cedba")
    np.testing.assert_array_equal(properties["size"], [np.nan, 5, 4, 2, 1])
    assert "contour" not in properties


# ---- Cell Tracking Challenge -----------------------------------------------------------------------------


def test_labels_of_the_challenge_begin_after_divisions_gaps_and_merges() -> None:
    rows = [(i, t, 0.0, 0.0, float(i)) for i, t in [(0, 0), (1, 1), (2, 2), (3, 2), (4, 4), (5, 3), (6, 5)]]
    # 0-1 divides into 2 and 3; 2 is seen again in frame 4; 4 and 5 (of 3) merge into 6.
    links = [(0, 1, 0), (1, 2, 0), (1, 3, 0), (2, 4, 0), (3, 5, 0), (4, 6, 3.0), (5, 6, 2.0)]
    labels, table_, lost = ctc.tracklets(tracks(rows, links))
    assert labels.tolist() == [1, 1, 2, 3, 4, 3, 5]
    assert table_.to_numpy().tolist() == [
        [1, 0, 1, 0],
        [2, 2, 2, 1],
        [3, 2, 3, 1],
        [4, 4, 4, 2],
        [5, 5, 5, 3],
    ]
    assert lost[["source", "target"]].to_numpy().tolist() == [[4, 6]], "the dearer parent"


@pytest.mark.parametrize(
    ("costs", "kept"),
    [((1.0, 2.0), 4), ((2.0, 1.0), 5), ((np.nan, 9.0), 5), ((np.nan, np.nan), 4), ((1.0, 1.0), 4)],
)
def test_of_two_parents_the_cheaper_is_kept(costs: tuple[float, float], kept: int) -> None:
    rows = [(5, 0, 0.0, 0.0, 0.0), (4, 0, 0.0, 0.0, 1.0), (6, 1, 0.0, 0.0, 2.0)]
    _, found, lost = ctc.tracklets(tracks(rows, [(4, 6, costs[0]), (5, 6, costs[1])]))
    assert lost["source"].tolist() == [9 - kept]
    # Labels by first frame, then row: 5 is 1, 4 is 2.
    assert found["parent"].tolist() == [0, 0, 1 if kept == 5 else 2]


def test_later_frames_of_the_challenge_are_only_shifted() -> None:
    rows = [(0, 0, 0.0, 0.0, 0.0), (1, 1, 0.0, 0.0, 1.0), (2, 3, 0.0, 0.0, 2.0)]
    links = [(0, 1, 0.0), (1, 2, 0.0)]
    _, early, _ = ctc.tracklets(tracks(rows, links))
    _, late, _ = ctc.tracklets(tracks([(i, t + 7, *place) for i, t, *place in rows], links))
    shift = [0, 7, 7, 0]
    assert late.to_numpy().tolist() == (early.to_numpy() + shift).tolist()


def test_centroids_of_masks_are_means_of_voxels(tmp_path: Path) -> None:
    (tmp_path / "res_track.txt").write_text("3 0 0 0\n\n70000 0 0 0\n")
    mask = np.zeros((3, 4, 5), np.uint32)
    mask[0, 0, [0, 1]] = mask[2, 3, 4] = 3
    mask[1, 1, 1] = 70_000
    tifffile.imwrite(tmp_path / "mask000.tif", mask, photometric="minisblack")
    found = ctc.read(tmp_path, voxel_size=(2.0, 0.5, 0.25))
    assert found.objects["label"].tolist() == [3, 70_000]
    np.testing.assert_allclose(found.objects[["z", "y", "x"]], [[4 / 3, 0.5, 5 / 12], [2, 0.5, 0.25]])
    np.testing.assert_array_equal(found.links.columns, ["source", "target", "cost"])
    assert len(found.links) == 0


# ---- mmv_h4tracks ----------------------------------------------------------------------------------------


def test_rows_of_mmv_are_pixels_without_gaps() -> None:
    rows = [(4, 5, 0.0, 3.0, 2.0), (3, 2, 0.0, 0.0, 0.5), (7, 1, 0.0, 9.0, 9.0)]
    found = mmv_h4tracks.pixel_rows(tracks(rows, [(3, 4, 0.0)]))
    # From y 0 to 6 and x 2 to 8 pixels in three frames; 7 is alone in its track, and left out.
    assert found.tolist() == [[1, 2, 0, 2], [1, 3, 2, 4], [1, 4, 4, 6], [1, 5, 6, 8]]
    assert found.dtype == np.int32
    assert mmv_h4tracks.pixel_rows(tracks(rows[2:], [])).shape == (0, 4)


def test_lineages_name_parents_and_frames() -> None:
    rows = [(i, t, 0.0, 0.0, float(i)) for i, t in enumerate([0, 1, 2, 3, 2, 3, 4])]
    links = [(0, 1, 0), (1, 2, 0), (2, 3, 0), (1, 4, 0), (4, 5, 0), (3, 6, 0), (5, 6, 0)]
    assert mmv_h4tracks.lineage_lines(tracks(rows, links)) == ["1 2 3 0", "2 2 3 0", "3 4 4 [1,2]"]


def test_lineages_of_mmv_become_links(tmp_path: Path) -> None:
    labels = np.zeros((4, 6, 6), np.int32)
    labels[:2, 1, 1], labels[2:, 1, 1], labels[2:, 4, 4], labels[0, 2, 4] = 5, 6, 7, 8
    group = zarr.open_group(str(tmp_path / "c.zarr"), mode="w", zarr_format=2)
    group.create_array("segmentation_data", data=labels)
    rows = [[1, 0, 1, 1], [1, 1, 1, 1], [3, 3, 4, 4], [2, 2, 1, 1], [2, 3, 1, 1], [3, 2, 4, 4], [9, 0, 2, 4]]
    group.create_array("tracking_data", data=np.array(rows, np.int32))
    (tmp_path / "c_lineages.txt").write_text("2 2 3 1\n\n3 2 3 [1]\n")
    found = mmv_h4tracks.read(tmp_path / "c.zarr", voxel_size=(0.5, 0.25), frame_interval=60)
    assert found.objects[["track", "frame", "label"]].to_numpy().tolist() == [
        [1, 0, 5], [1, 1, 5], [2, 2, 6], [2, 3, 6], [3, 2, 7], [3, 3, 7],
    ]  # fmt: skip
    assert found.objects.iloc[5][["y", "x"]].tolist() == [2.0, 1.0] and found.voxel_size == (1.0, 0.5, 0.25)
    assert {tuple(pair) for pair in found.links[["source", "target"]].to_numpy().tolist()} == {
        (0, 1), (2, 3), (4, 5), (1, 2), (1, 4),
    }  # fmt: skip
    rows[0][1] = 7
    group["tracking_data"][:] = np.array(rows, np.int32)  # type: ignore[index]
    with pytest.raises(InputError, match="frames 0 to 3"):
        mmv_h4tracks.read(tmp_path / "c.zarr", voxel_size=(1, 1))


# ---- BTrackMate ------------------------------------------------------------------------------------------


def test_pixels_of_unequal_sides_are_micrometres(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("2,8,6,3,9,12,40,500,4,6,2\n")
    found = btrackmate.read(tmp_path / "a.csv", voxel_size=(1.0, 0.5, 0.25), frame_interval=5).objects.iloc[0]
    assert found[["frame", "label", "z", "y", "x", "intensity_sum"]].tolist() == [2, 9, 3, 3, 2, 500]
    assert found["volume_um3"] == 5 and found[["extent_z_um", "extent_y_um", "extent_x_um"]].tolist() == [
        2,
        3,
        1,
    ]
    assert found["surface_um2"] == pytest.approx(3), "12 faces of a cube of 1/8 µm³"
    (tmp_path / "b.csv").write_text("2,8,6,0,9,12,40,500,4,6,1\n")
    found = btrackmate.read(tmp_path / "b.csv", voxel_size=(8.0, 0.5, 0.125)).objects.iloc[0]
    assert (found["area_um2"], found["perimeter_um"]) == (2.5, 3.0), "12 sides of a square of 1/16 µm²"
    assert "volume_um3" not in found


def test_what_btrackmate_needs_and_a_table_lacks(tmp_path: Path) -> None:
    bare = tracks([(41, 3, 2.0, 0.76, 0.62)], [])
    btrackmate.write(bare, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1] == "3,2,2,1,41,0,0,0,1,1,1", "places are rounded"
    measured = Tracks(
        bare.objects.assign(label=[7], volume_um3=[np.nan], intensity_sum=[np.nan]), voxel_size=(1, 1, 1)
    )
    btrackmate.write(measured, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().splitlines()[1] == "3,1,1,2,7,0,NaN,0,1,1,1"


# ---- what a path holds -----------------------------------------------------------------------------------


def test_a_path_is_read_by_the_reader_of_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file or folder goes to the module of its format: by what it holds, where its name says nothing."""
    read_by: list[str] = []
    for module in (btrackmate, ctc, geff, mmv_h4tracks, table, trackmate, trackmate_csv):
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(
            module, "read", lambda path, _name=name, **_: read_by.append(_name) or tracks([], [])
        )
    cases = {
        "a.XML": ("", "trackmate"),
        "b.csv": ("frame,y,x\n", "table"),
        "c.csv": ("\ufeffT, X, Y, Z, Label,a,b,c,d,e,f\n", "btrackmate"),
        "d.csv": (",T,X,Y,Z,Label,a,b,c,d,e,f\n", "btrackmate"),
        "e.csv": ("0,1,2,3,4,5,6,7,8,9,1e3\n", "btrackmate"),
        "f.csv": ("LABEL,ID,TRACK_ID,FRAME,POSITION_X,POSITION_Y\n", "trackmate_csv"),
        "none.csv": (None, "table"),
        "empty.csv": ("", "table"),
    }
    for name, (text, reader) in cases.items():
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        any_format.read(tmp_path / name, voxel_size=(1, 1, 1))
        assert read_by.pop() == reader, name
    folders = {
        "masks": ([], "ctc"),
        "tables": (["objects.csv"], "table"),
        "g": (["nodes/ids/0", "edges/ids/0"], "geff"),
        "export": (["tracks.geff/nodes/ids/0", "tracks.geff/edges/ids/0", "segmentation/0"], "geff"),
        "h.zarr": (["segmentation_data/0", "tracking_data/0"], "mmv_h4tracks"),
    }
    for name, (files, reader) in folders.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
        any_format.read(tmp_path / name, voxel_size=(1, 1, 1))
        assert read_by.pop() == reader, name
        assert any_format.has_table(tmp_path / name) == (reader != "ctc")
    assert any_format.inside(tmp_path / "export") == tmp_path / "export" / "tracks.geff"


# ---- plain tables ----------------------------------------------------------------------------------------


def test_sources_of_a_single_table_worked_out_by_hand(tmp_path: Path) -> None:
    merged = tracks(
        [(3, 0, 0, 1, 1), (1, 0, 0, 5, 5), (4, 1, 0, 3, 3), (6, 2, 0, 3, 3)],
        [(3, 4, 0.5), (4, 6, np.nan), (1, 4, 0.25)],
    )
    table.write(merged, tmp_path / "t.csv")
    plain = pd.read_csv(tmp_path / "t.csv", dtype=str, keep_default_na=False).set_index("id")
    assert plain["sources"].to_dict() == {"3": "", "1": "", "4": "1;3", "6": "4"}
    assert plain["link_cost"].to_dict() == {"3": "", "1": "", "4": "0.25;0.5", "6": "nan"}
    assert plain["tracklet_id"].tolist() == ["0", "1", "2", "2"] and set(plain["track_id"]) == {"0"}
    assert plain["generation"].tolist() == ["0", "0", "0", "0"], "a merge is no division"
    back = table.read(tmp_path / "t.csv")
    assert back.links["source"].tolist() == [3, 4, 1], "in the order in which they were given"
    # A table whose rows were sorted in a spreadsheet says the same.
    text = (tmp_path / "t.csv").read_text().splitlines()
    (tmp_path / "s.csv").write_text("\n".join([text[0], *sorted(text[1:], reverse=True)]) + "\n")
    sorted_ = table.read(tmp_path / "s.csv").links
    assert {tuple(row) for row in sorted_[["source", "target"]].to_numpy().tolist()} == {
        (3, 4),
        (1, 4),
        (4, 6),
    }


def test_six_digits_are_enough_for_people(tmp_path: Path) -> None:
    long = tracks([(0, 0, 0, 1 / 3, 1e6 / 3), (1, 1, 0, 2 / 3, 1)], [(0, 1, 1 / 3)])
    table.write(long, tmp_path / "t.csv", six_digits=True)
    plain = pd.read_csv(tmp_path / "t.csv", dtype=str)
    assert plain[["y", "x"]].to_numpy().tolist() == [["0.333333", "333333"], ["0.666667", "1"]]
    assert plain["link_cost"].tolist()[1] == "0.333333"
    assert table.read(tmp_path / "t.csv").links["cost"].tolist() == [0.333333]


@pytest.mark.parametrize("name", ["sources", "link_cost"])
def test_a_name_that_a_single_table_needs_is_taken(tmp_path: Path, name: str) -> None:
    two = tracks([(0, 0, 0, 1, 1), (1, 1, 0, 1, 1)], [(0, 1, 0.0)])
    taken = Tracks(two.objects.assign(**{name: [1, 2]}), two.links)
    with pytest.raises(InputError, match=f"'{name}': this column name is taken"):
        table.write(taken, tmp_path / "t.csv")
    table.write(taken, tmp_path / "t")
    assert table.read(tmp_path / "t").objects[name].tolist() == [1, 2]


# ---- types of columns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "values"),
    [
        (pd.Series([2**63 + 1], dtype="uint64"), "u", [2**63 + 1]),
        (pd.Series([-1, 2], dtype="int8"), "i", [-1, 2]),
        (pd.Series([True, False]), "i", [1, 0]),
        (pd.Series([1, None], dtype="Int64"), "f", [1, np.nan]),
        (pd.Series([1, 2], dtype="Int64"), "i", [1, 2]),
        (pd.Series([True, None], dtype="boolean"), "f", [1, np.nan]),
        (pd.Series([0.5], dtype="float32"), "f", [0.5]),
    ],
)
def test_columns_of_numbers(given: pd.Series, kind: str, values: list) -> None:
    found = numbers(given)
    assert found is not None and found.dtype.kind == kind
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("given", [pd.Series(["1"]), pd.Series([1j]), pd.Series([None], dtype=object)])
def test_columns_of_something_else(given: pd.Series) -> None:
    assert numbers(given) is None


def test_types_come_back_where_the_values_allow_it() -> None:
    found = with_dtypes(
        pd.DataFrame({"new": [1], "b": [np.nan], "a": [3.0]}), {"a": "int32", "b": "int64", "c": "str"}
    )
    assert list(found) == ["a", "b", "new"]
    assert [str(kind) for kind in found.dtypes] == ["int32", "float64", "int64"]

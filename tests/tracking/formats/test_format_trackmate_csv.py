"""TrackMate's tables: units, times and edges, as its versions and as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.tracking.formats import any_format, trackmate_csv

KEYS = "LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME,RADIUS,VISIBILITY,MEAN_SPEED,AREA"
NAMES = "Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,R,Visibility,Mean speed,Area"
UNITS = ",,,(quality),({0}),({0}),({0}),({1}),,({0}),,,({0}^2)"
ROWS = ["a,4,0,9,2,4,6,0,0,3,1,,5", "b,7,0,8,3,4,6,0.5,1,3,1,2,7", "ç,9,,7,8,9,1,1.0,2,2,0,,"]


def write(path: Path, *rows: str, length: str = "micron", time: str = "sec", names: bool = True) -> Path:
    head = [KEYS, NAMES, NAMES, UNITS.format(length, time)] if names else [KEYS]
    path.write_text("\n".join([*head, *(rows or ROWS)]) + "\n", encoding="utf-8")
    return path


def test_spots_are_objects(tmp_path: Path) -> None:
    found = any_format.read(write(tmp_path / "spots.csv"))
    assert found.objects[["id", "frame", "z", "y", "x"]].to_numpy().tolist() == [
        [4, 0, 6, 4, 2], [7, 1, 6, 4, 3], [9, 2, 1, 9, 8],
    ]  # fmt: skip
    np.testing.assert_array_equal(found.objects["AREA"], [5, 7, np.nan])
    assert found.links[["source", "target"]].to_numpy().tolist() == [[4, 7]], "9 is in no track"
    assert not {"LABEL", "TRACK_ID", "VISIBILITY", "POSITION_T"} & set(found.objects)
    assert found.frame_interval == 0.5


@pytest.mark.parametrize(
    ("length", "time", "factor", "interval"),
    [("nm", "min", 1e-3, 30), ("mm", "hour", 1e3, 1800), ("µm", "ms", 1, 5e-4), ("inch", "s", 25400, 0.5)],
)
def test_lengths_and_times_in_any_unit(tmp_path: Path, length: str, time: str, factor: float, interval: float) -> None:  # fmt: skip
    found = any_format.read(write(tmp_path / "spots.csv", length=length, time=time))
    first = found.objects.iloc[0]
    assert first[["z", "y", "x", "RADIUS"]].tolist() == pytest.approx([6 * factor, 4 * factor, 2 * factor, 3 * factor])  # fmt: skip
    assert first["AREA"] == pytest.approx(5 * factor**2) and first["QUALITY"] == 9
    assert found.frame_interval == pytest.approx(interval)


def test_pixels_take_the_size_of_their_axis(tmp_path: Path) -> None:
    path = write(tmp_path / "spots.csv", length="pixel", time="frame")
    found = any_format.read(path, voxel_size=(3.0, 0.5, 0.125), frame_interval=9.0)
    first = found.objects.iloc[0]
    assert first[["z", "y", "x"]].tolist() == [18, 2, 0.25]
    assert (first["RADIUS"], first["AREA"]) == (0.75, 5 / 16), "√(0.5 · 0.125) = 0.25"
    assert found.voxel_size == (3.0, 0.5, 0.125) and found.frame_interval == 9


@pytest.mark.parametrize(
    ("times", "interval"), [(("0", "2", "4"), 2.0), (("0", "2", "5"), None), (("0", "0", "0"), None)]
)
def test_the_interval_is_what_all_times_say(tmp_path: Path, times: tuple, interval: float | None) -> None:
    rows = [row.split(",") for row in ROWS]
    for row, time in zip(rows, times, strict=True):
        row[7] = time
    found = any_format.read(write(tmp_path / "spots.csv", *map(",".join, rows)))
    assert found.frame_interval == interval
    assert any_format.read(tmp_path / "spots.csv", frame_interval=7.0).frame_interval == 7.0


def test_an_old_table_has_no_units_and_a_spreadsheet_adds_points(tmp_path: Path) -> None:
    rows = [",".join(f"{v}.0" if v.isdigit() else v for v in row.split(",")) for row in ROWS]
    found = any_format.read(write(tmp_path / "spots.csv", *rows, names=False))
    assert found.objects["id"].tolist() == [4, 7, 9] and found.objects["frame"].tolist() == [0, 1, 2]
    assert found.links[["source", "target"]].to_numpy().tolist() == [[4, 7]]
    assert found.frame_interval is None, "no line says what unit its times have"
    with pytest.raises(InputError, match=r"objects\.frame.*0\.5"):
        any_format.read(write(tmp_path / "spots.csv", ROWS[0].replace(",0,0,3", ",0,0.5,3"), names=False))


def test_spots_of_a_track_are_joined_in_time_whatever_their_order(tmp_path: Path) -> None:
    rows = ["a,1,10,9,0,0,0,0,5,1,1,,", "b,2,9,9,0,0,0,0,3,1,1,,", "c,3,10,9,0,0,0,0,1,1,1,,", "d,4,9,9,0,0,0,0,4,1,1,,"]  # fmt: skip
    found = any_format.read(write(tmp_path / "s.csv", *rows))
    assert sorted(found.links[["source", "target"]].to_numpy().tolist()) == [[2, 4], [3, 1]]
    assert found.gaps["missing"].tolist() == [3]


@pytest.mark.parametrize(
    ("spots", "edges"),
    [("spots.csv", "edges.csv"), ("wt_spots.csv", "wt_edges.csv"), ("Spots in tracks.csv", "Edges in tracks.csv"), ("export.csv", "edges.csv")],
)  # fmt: skip
def test_edges_beside_the_spots_decide(tmp_path: Path, spots: str, edges: str) -> None:
    (tmp_path / edges).write_text(
        "LABEL,TRACK_ID,SPOT_SOURCE_ID,SPOT_TARGET_ID,LINK_COST\n,0,4,9,\n,0,4,7,2.5\n"
    )
    found = any_format.read(write(tmp_path / spots))
    assert found.links[["source", "target"]].to_numpy().tolist() == [[4, 9], [4, 7]]
    np.testing.assert_array_equal(found.links["cost"], [np.nan, 2.5])
    (tmp_path / edges).write_text("LABEL,SPOT_SOURCE_ID\n,4\n")
    with pytest.raises(InputError, match=f"{edges}.*SPOT_TARGET_ID"):
        any_format.read(tmp_path / spots)


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"POSITION_Y = .*'four'"):
        any_format.read(write(tmp_path / "spots.csv", ROWS[0].replace(",4,6,", ",four,6,")))
    assert trackmate_csv.is_spots(KEYS.split(",")) and not trackmate_csv.is_spots(["ID", "FRAME", "x", "y"])

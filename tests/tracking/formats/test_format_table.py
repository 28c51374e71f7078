"""Plain CSV: a folder or one file, without loss."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from helpers.errors import InputError
from helpers.tracking.formats import table
from tests.tracking.formats.format_strategies import assert_same, family, tracks

relaxed = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(tracks())
def test_folder_round_trip(tmp_path, drawn):
    table.write(drawn, tmp_path / "tracks")
    assert_same(table.read(tmp_path / "tracks"), drawn)


@relaxed
@given(tracks())
def test_single_file_round_trip(tmp_path, drawn):
    table.write(drawn, tmp_path / "tracks.csv")
    assert_same(table.read(tmp_path / "tracks.csv"), drawn)


def test_a_single_file_is_plain_for_people_and_readable_without_its_json(tmp_path):
    expected = family()
    table.write(expected, tmp_path / "tracks.csv")
    (tmp_path / "tracks.csv.json").unlink()
    plain = pd.read_csv(tmp_path / "tracks.csv")
    assert {"track_id", "tracklet_id", "generation", "sources"} <= set(plain)
    found = table.read(tmp_path / "tracks.csv", voxel_size=(2, 0.5, 0.25), frame_interval=30)
    assert found.voxel_size == expected.voxel_size and found.frame_interval == 30
    key = ["source", "target"]
    a, b = (t.links.sort_values(key, ignore_index=True)[[*key, "cost"]] for t in (found, expected))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_objects_of_any_program_are_enough(tmp_path):
    (tmp_path / "objects.csv").write_text("frame,y,x,area\n0,1.5,2.5,9\n1,1.5,2.5,8\n")
    for path in (tmp_path, tmp_path / "objects.csv"):
        found = table.read(path)
        assert found.objects["id"].tolist() == [0, 1] and len(found.links) == 0
        assert found.voxel_size is None


def test_contours_come_back(tmp_path):
    expected = family()
    expected.objects["contour"] = pd.Series([np.arange(6.0).reshape(3, 2), *[None] * 9], dtype=object)
    for path in (tmp_path / "a.csv", tmp_path / "b"):
        table.write(expected, path)
        contours = table.read(path).objects["contour"]
        np.testing.assert_array_equal(contours[0], expected.objects["contour"][0])
        assert contours[1:].isna().all()


@pytest.mark.parametrize("content", ["", "frame,y\n0,1\n", "frame,y,x\n0,nan,1\n", 'frame,y,x\n"0,1,1\n'])
def test_bad_tables_are_refused(tmp_path, content):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError):
        table.read(tmp_path / "t.csv")


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        table.read(tmp_path / "no.csv")
    with pytest.raises(InputError, match="nothing there"):
        table.read(tmp_path)
    (tmp_path / "t.csv").write_text("frame,y,x\n0,1,1\n")
    (tmp_path / "t.csv.json").write_text('{"voxel_size":')
    with pytest.raises(InputError, match="JSON"):
        table.read(tmp_path / "t.csv")


def test_sources_that_are_not_there(tmp_path):
    (tmp_path / "t.csv").write_text("id,frame,y,x,sources\n1,0,1,1,\n2,1,1,1,5\n")
    with pytest.raises(InputError, match="not in the object table"):
        table.read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("id,frame,y,x,sources\n1,0,1,1,\n2,1,1,1,one\n")
    with pytest.raises(InputError, match="sources"):
        table.read(tmp_path / "t.csv")

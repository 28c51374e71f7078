"""The CSV for BTrackMate: true volumes and intensities, columns known by their place."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.errors import InputError
from helpers.tracking.formats import btrackmate
from helpers.tracking.tracks import Tracks

VOXEL = (2.0, 0.5, 0.25)


def _measured(tmp_path) -> list[list[str]]:
    # An L-shaped cell of 5 voxels in a box of 2 × 2 × 2, intensities 1…5.
    labels = np.zeros((4, 6, 8), int)
    where = ([1, 1, 1, 2, 2], [2, 2, 3, 2, 3], [4, 5, 4, 4, 4])
    labels[where] = 7
    image = np.zeros(labels.shape)
    image[where] = [1, 2, 3, 4, 5]
    position = [np.mean(axis) * size for axis, size in zip(where, VOXEL, strict=True)]
    objects = pd.DataFrame([[3, 7, *position]], columns=["frame", "label", "z", "y", "x"])
    objects["volume_um3"] = (labels == 7).sum() * np.prod(VOXEL)
    objects["intensity_sum"] = image[labels == 7].sum()
    for axis, size in zip("zyx", VOXEL, strict=True):
        objects[f"extent_{axis}_um"] = 2 * size
    btrackmate.write(Tracks(objects, voxel_size=VOXEL), tmp_path / "b.csv")
    return list(csv.reader((tmp_path / "b.csv").open()))


def test_header_and_true_numbers(tmp_path):
    header, row = _measured(tmp_path)
    assert ",".join(header) == "T,X,Y,Z,Label,Perimeter,Volume,Intensity,ExtentX,ExtentY,ExtentZ"
    assert row[:5] == ["3", "4", "2", "1", "7"], "T, position and label are integers"
    assert float(row[6]) == 5, "voxels, not the 8 of the box"
    assert row[7] == "15", "summed intensity, not the 5 voxels"
    assert [float(extent) for extent in row[8:]] == [2, 2, 2]


def test_written_again_it_is_the_same_file(tmp_path):
    rows = ["0,10,20,3,1,44.5,120.0,5000,7.0,6.0,4.0", "1,11,21,3,900,45.25,121.0,5100,7.0,6.0,4.0"]
    header = ",".join(btrackmate.COLUMNS)
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]) + "\n")
    found = btrackmate.read(tmp_path / "a.csv", voxel_size=(2.0, 0.65, 0.65), frame_interval=60)
    assert found.objects["x"].tolist() == [6.5, 7.15] and found.frame_interval == 60
    assert len(found.links) == 0
    btrackmate.write(found, tmp_path / "b.csv")
    first, second = (pd.read_csv(tmp_path / name) for name in ("a.csv", "b.csv"))
    pd.testing.assert_frame_equal(first, second, check_dtype=False, rtol=1e-12)
    exact = ["T", "X", "Y", "Z", "Label", "Volume", "Intensity"]
    pd.testing.assert_frame_equal(first[exact], second[exact], check_exact=True, check_dtype=False)


def test_flat_and_without_a_header(tmp_path):
    (tmp_path / "a.csv").write_text("0,10,20,0,1,12.0,9.0,90,3.0,3.0,1.0\n")
    found = btrackmate.read(tmp_path / "a.csv", voxel_size=(0.5, 0.5))
    assert found.objects["area_um2"].tolist() == [2.25]
    assert found.objects["perimeter_um"].tolist() == [6.0]
    btrackmate.write(found, tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text().splitlines()[1] == "0,10,20,0,1,12,9,90,3,3,1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("T,X,Y\n0,1,2\n", "11 columns"),
        ("", "11|columns"),
        ("0,1,1,1,1,1,1,1,1,1,one\n", "number"),
        ("0,1,1,1,1.5,1,1,1,1,1,1\n", "integers"),
        ("0.5,1,1,1,1,1,1,1,1,1,1\n", "integers"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        btrackmate.read(tmp_path / "a.csv", voxel_size=VOXEL)


def test_no_voxel_size(tmp_path):
    (tmp_path / "a.csv").write_text("0,1,1,1,1,1,1,1,1,1,1\n")
    with pytest.raises(InputError, match="voxel_size"):
        btrackmate.read(tmp_path / "a.csv", voxel_size=None)
    with pytest.raises(InputError, match="voxel_size"):
        btrackmate.write(Tracks(pd.DataFrame({"frame": [0], "y": [1.0], "x": [1.0]})), tmp_path / "b.csv")


@st.composite
def _detections(draw):
    n = draw(st.integers(0, 12))
    whole = st.integers(0, 5000)
    voxel = draw(st.tuples(*[st.sampled_from([0.1, 0.25, 0.65, 1.0, 2.0, 1 / 3])] * 3))
    flat = draw(st.booleans())

    def column(values):
        return np.array(draw(st.lists(values, min_size=n, max_size=n)))

    objects = pd.DataFrame(
        {"frame": column(st.integers(0, 20)), "label": column(st.integers(1, 2**31))}, dtype=int
    )
    for axis, size in zip("zyx", voxel, strict=True):
        objects[axis] = 0.0 if flat and axis == "z" else column(whole).astype(float) * size
    size = np.prod(voxel[1:] if flat else voxel)
    objects["area_um2" if flat else "volume_um3"] = column(st.integers(1, 10**6)).astype(float) * size
    objects["intensity_sum"] = column(st.integers(0, 2**40)).astype(float)
    for axis, size in zip("zyx", voxel, strict=True):
        if not (flat and axis == "z"):
            objects[f"extent_{axis}_um"] = column(st.integers(2, 300)).astype(float) * size
    return Tracks(objects, voxel_size=voxel)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_detections())
def test_round_trip(tmp_path, drawn):
    """What lies on whole pixels, as the format demands, comes back; a second trip changes no byte."""
    btrackmate.write(drawn, tmp_path / "a.csv")
    found = btrackmate.read(tmp_path / "a.csv", voxel_size=drawn.voxel_size)
    assert len(found.objects) == len(drawn.objects)
    shared = [name for name in drawn.objects if name in found.objects]
    if len(drawn.objects) and drawn.objects["z"].any():
        assert set(shared) == set(drawn.objects)
    a, b = found.objects[shared].astype(float), drawn.objects[shared].astype(float)
    pd.testing.assert_frame_equal(a, b, rtol=1e-12)
    btrackmate.write(found, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()

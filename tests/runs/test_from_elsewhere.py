"""Tables, tracks and labels of other programs go through notebooks 11_evaluate_tracking to 14_analyze_intensity_spectrum."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.runs.parameters import AnalyzeBoundaryDistance, AnalyzeIntensitySpectrum, EvaluateTracking, Track
from helpers.runs.run import Run
from helpers.runs.steps import boundary, spectrum, tracking_scores
from helpers.runs.steps import tracking as tracking_step
from helpers.runs.steps.tracked import open_tracks
from helpers.tracking.formats import btrackmate, ctc, table, trackmate
from helpers.tracking.tracks import Tracks
from helpers.view.widgets import column_panel, explore

SIZE = (2.0, 0.5, 0.5)


@pytest.fixture
def tracks() -> Tracks:
    """Return 27 cells of a block, in three frames, as TrackMate describes them."""
    places = np.array([(z, y, x) for z in range(3) for y in range(3) for x in range(3)]) * 8.0
    frames = [pd.DataFrame(places + t, columns=["z", "y", "x"]).assign(frame=t) for t in range(3)]
    objects = pd.concat(frames, ignore_index=True).assign(RADIUS=4.0, MEAN_INTENSITY_CH1=5.0)
    links = pd.DataFrame({"source": range(54), "target": range(27, 81)})
    return Tracks(objects, links, SIZE, 60)


def _p(cls, folder: Path, path: Path, **given):
    return cls.checked({"run_dir": folder, "movie_id": "m", "tracks": path, **given})


@pytest.mark.parametrize(("column", "size", "diameter"), [("RADIUS", 4.0, 8.0), ("AREA", np.pi * 16, 8.0)])
def test_10_takes_trackmates_sizes(
    tmp_path: Path, tracks: Tracks, column: str, size: float, diameter: float
) -> None:
    plain = tracks.objects.drop(columns="RADIUS").assign(**{column: size})
    table.write(Tracks(plain, tracks.links, SIZE, 60), tmp_path / "tracks.csv")
    p = _p(AnalyzeBoundaryDistance, tmp_path, tmp_path / "tracks.csv")
    found = open_tracks(p)
    edge, _ = boundary.open_boundary(p, found)
    distances, _ = boundary.measure(p, found, edge)
    assert boundary.boundary.cell_diameter(found.objects) == pytest.approx(diameter)
    assert distances["region"].value_counts().to_dict() == {"outer": 78, "inner": 3}, "one cell in the middle"


def test_11_lists_the_columns_there_are(tmp_path: Path, tracks: Tracks) -> None:
    trackmate.write(tracks, tmp_path / "tracks.xml")
    p = _p(AnalyzeIntensitySpectrum, tmp_path, tmp_path / "tracks.xml")
    with pytest.raises(InputError, match=r"^intensity_column = 'intensity_mean'.*MEAN_INTENSITY_CH1"):
        spectrum.measured_intensity(p, open_tracks(p))
    p = p.model_copy(update={"intensity_column": "MEAN_INTENSITY_CH1"})
    assert spectrum.measured_intensity(p, open_tracks(p)).objects["MEAN_INTENSITY_CH1"].eq(5).all()


def test_a_table_without_picture_is_shown_without(tmp_path: Path, tracks: Tracks) -> None:
    path = tmp_path / "tracks.csv"
    tracks.objects.assign(sources=[""] * 27 + list(map(str, range(54)))).to_csv(path, index=False)
    found = open_tracks(_p(AnalyzeIntensitySpectrum, tmp_path, path))
    assert found.voxel_size is None
    viewer = explore(found, panels=[column_panel(found, "MEAN_INTENSITY_CH1")], folder=tmp_path)
    assert bytes(viewer.image.value).startswith(b"\x89PNG")


def test_labels_without_scale_take_that_of_the_tracks(tmp_path: Path, tracks: Tracks) -> None:
    labels = np.zeros((3, 20, 80, 80), np.uint16)
    labels[:, 2:18, 8:70, 8:70] = 1
    tifffile.imwrite(tmp_path / "labels.tif", labels)
    table.write(tracks, tmp_path / "tracks.csv")
    p = _p(AnalyzeBoundaryDistance, tmp_path, tmp_path / "tracks.csv", labels=tmp_path / "labels.tif")
    edge, words = boundary.open_boundary(p, open_tracks(p))
    assert "hull of the cells in" in words
    assert edge.field(0).at(np.array([[20.0, 20.0, 20.0]]))[0] == pytest.approx(
        min(34 - 20, 20 - 4, 34.5 - 20)
    )
    tracks.objects.to_csv(tmp_path / "bare.csv", index=False)
    bare = p.model_copy(update={"tracks": tmp_path / "bare.csv"})
    with pytest.raises(
        InputError, match=r"^voxel_size_um = None: neither .*labels\.tif nor the tracks say it"
    ):
        boundary.open_boundary(bare, open_tracks(bare))


@pytest.mark.parametrize("header", [True, False, "pandas'"])
def test_btrackmates_table_is_read(tmp_path: Path, tracks: Tracks, header: bool | str) -> None:
    path = tmp_path / "detections.csv"
    btrackmate.write(tracks, path)
    if not header:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    elif header == "pandas'":  # which numbers the rows, unless it is told not to
        pd.read_csv(path).to_csv(path)
    p = _p(AnalyzeBoundaryDistance, tmp_path, path)
    with pytest.raises(InputError, match=r"^voxel_size_um = None: .*counts pixels"):
        open_tracks(p)
    found = open_tracks(p.model_copy(update={"voxel_size_um": SIZE}))
    np.testing.assert_allclose(found.objects[["z", "y", "x"]], tracks.objects[["z", "y", "x"]], atol=1.0)
    assert found.voxel_size == SIZE


SPOTS = """LABEL,ID,TRACK_ID,QUALITY,POSITION_X,POSITION_Y,POSITION_Z,POSITION_T,FRAME,RADIUS,MEAN_INTENSITY_CH1
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,Radius,Mean intensity ch1
Label,Spot ID,Track ID,Quality,X,Y,Z,T,Frame,R,Mean ch1
,,,(quality),(micron),(micron),(micron),(min),,(micron),(counts)
ID30,30,1,5.5,11,9,0,0.5,1,2.5,110
ID10,10,1,5,10,8,0,0,0,2.5,100
ID12,12,,5,40,4,0,0,0,2.5,120
ID40,40,1,5,12,10,0,1,2,2.5,100
"""


@pytest.mark.parametrize("bare", [True, False])
def test_trackmates_tables_are_read(tmp_path: Path, bare: bool) -> None:
    lines = SPOTS.splitlines(keepends=True)
    path = tmp_path / "wt_spots.csv"
    path.write_text("".join(lines[:1] + lines[4:] if bare else lines))
    p = _p(AnalyzeIntensitySpectrum, tmp_path, path, intensity_column="MEAN_INTENSITY_CH1")
    found = open_tracks(p)
    assert found.objects[["id", "frame", "y", "x", "RADIUS"]].to_numpy().tolist() == [[30, 1, 9, 11, 2.5], [10, 0, 8, 10, 2.5], [12, 0, 4, 40, 2.5], [40, 2, 10, 12, 2.5]]  # fmt: skip
    assert sorted(found.links[["source", "target"]].to_numpy().tolist()) == [[10, 30], [30, 40]]
    assert found.frame_interval == (None if bare else 30)
    assert spectrum.measured_intensity(p, found).objects["MEAN_INTENSITY_CH1"].max() == 120
    path.write_text(path.read_text() + "ID41,41,1,5,1,1,0,1,2,2.5,100\n")
    with pytest.raises(InputError, match=r"wt_spots\.csv, TRACK_ID = \['1'\]: .*as wt_edges\.csv beside"):
        open_tracks(p)
    edges = "LABEL,TRACK_ID,SPOT_SOURCE_ID,SPOT_TARGET_ID,LINK_COST\n,1,10,30,0.5\n,1,30,40,1\n,1,30,41,1\n"
    (tmp_path / "wt_edges.csv").write_text(edges)
    assert open_tracks(p).links.to_numpy().tolist() == [[10, 30, 0.5], [30, 40, 1], [30, 41, 1]]


def test_trackmates_table_in_pixels_needs_a_voxel_size(tmp_path: Path) -> None:
    path = tmp_path / "spots.csv"
    path.write_text(SPOTS.replace("micron", "pixel"))
    with pytest.raises(InputError, match=r"^voxel_size_um = None: .*spots\.csv counts pixels"):
        open_tracks(_p(AnalyzeBoundaryDistance, tmp_path, path))
    found = open_tracks(_p(AnalyzeBoundaryDistance, tmp_path, path, voxel_size_um=[0.5, 0.25]))
    assert found.objects.loc[0, ["y", "x", "RADIUS"]].tolist() == [4.5, 2.75, pytest.approx(2.5 * 0.125**0.5)]


#: Table of tracks → what is said of it, with its name.
BAD_TABLES = {
    "semicolons": ("id;frame;y;x\n0;0;1,5;1\n", "missing columns .* separate columns by commas"),
    "half a frame": ("id,frame,y,x\n0,1.5,1,1\n", r"objects\.frame = \[1\.5\]: give integers"),
    "words": ("id,frame,y,x\n0,zero,1,1\n", r"objects\.frame = \['zero'\]: give integers"),
    "a huge id": ("id,frame,y,x\n9" + "9" * 19 + ",0,1,1\n", r"objects\.id = .*63 bits"),
    "a time for a frame": ("id,frame,y,x\n0,1764000000000,1,1\n", r"objects\.frame = 1764000000000: .*not a time"),
    "a link to nobody": ("id,frame,y,x,sources\n0,0,1,1,\n1,1,1,1,7\n", r"links\.source = \[7\]"),
    "an open quote": ('id,frame,y,x,n\n0,0,1,1,"a\n', "quote that does not close"),
    "latin": ("id,frame,y,x,n\n0,0,1,1,é\n", "save it as 'CSV UTF-8'"),
    "half a spot": (SPOTS.replace("ID30,30", "ID30,30.5"), r"id = \[30\.5"),
    "a spot without a place": (SPOTS.replace(",11,9,", ",11,,"), "POSITION_Y = .*needs a number"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_TABLES)
def test_a_bad_table_of_tracks_is_named(tmp_path: Path, what: str) -> None:
    text, words = BAD_TABLES[what]
    path = tmp_path / "mine.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=words) as error:
        open_tracks(_p(AnalyzeBoundaryDistance, tmp_path, path))
    assert str(path) in str(error.value)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["tracks.xml", "tracks.csv", "tracks.geff"])
def test_a_pipe_is_no_table_of_tracks(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=r"pipe or device|no such file"):
        open_tracks(_p(AnalyzeBoundaryDistance, tmp_path, tmp_path / name))


def test_positions_in_pixels_are_converted(tmp_path: Path, tracks: Tracks) -> None:
    """A TrackMate file without calibration counts voxels: the voxel size of the parameter is theirs."""
    pixels = tracks.objects.assign(
        **{axis: tracks.objects[axis] / s for axis, s in zip("zyx", SIZE, strict=True)}
    )
    path = tmp_path / "tracks.xml"
    trackmate.write(Tracks(pixels, tracks.links, (1, 1, 1), 60), path)
    text, n = re.subn('spatialunits="[^"]*"', 'spatialunits="pixel"', path.read_text())
    assert n == 1
    path.write_text(text)
    found = open_tracks(_p(AnalyzeBoundaryDistance, tmp_path, path, voxel_size_um=SIZE))
    np.testing.assert_allclose(found.objects[["z", "y", "x"]], tracks.objects[["z", "y", "x"]])


def test_a_voxel_size_of_two_numbers_is_for_2d(tmp_path: Path, tracks: Tracks) -> None:
    table.write(tracks, tmp_path / "tracks.csv")
    with pytest.raises(InputError, match=r"^voxel_size_um = \(0\.5, 0\.5\): .*3D"):
        open_tracks(_p(AnalyzeBoundaryDistance, tmp_path, tmp_path / "tracks.csv", voxel_size_um=[0.5, 0.5]))
    flat = Tracks(tracks.objects.assign(z=0.0), tracks.links, None, 60)
    table.write(flat, tmp_path / "flat.csv")
    p = _p(AnalyzeBoundaryDistance, tmp_path, tmp_path / "flat.csv", voxel_size_um=[0.5, 0.5])
    assert open_tracks(p).voxel_size == (1.0, 0.5, 0.5)


def test_09_takes_a_folder_of_the_challenge_with_its_scale(cells: Path, tmp_path: Path) -> None:
    """Neither the masks nor the labels say their voxel size: the parameter does."""
    labels = LabelMovie.open(cells / "labels.ome.tif")
    bare = tmp_path / "labels.ome.tif"
    stack = np.stack([labels.frame(t)[0] for t in range(labels.n_frames)]).astype(np.uint16)
    tifffile.imwrite(bare, stack, metadata={"axes": "TYX"})
    assert LabelMovie.open(bare).voxel_size is None
    given = Track.checked({"run_dir": tmp_path, "movie_id": "m", "objects": cells / "objects.csv", "labels": bare, "voxel_size_um": [0.5, 0.5], "tracker": "nearest"})  # fmt: skip
    found = tracking_step.open_cells(given)
    tracks = tracking_step.track(found, given)
    (tmp_path / "movies" / "m").mkdir(parents=True)
    table.write(tracks, tmp_path / "movies" / "m" / "tracks.csv")
    Run.start(given).finish()
    ctc.write(tracks, tmp_path / "truth", labels, truth=True)
    p = EvaluateTracking.checked({"run_dir": tmp_path, "movie_id": "m", "truth": bare, "truth_tracks": tmp_path / "truth"})  # fmt: skip
    with pytest.raises(InputError, match=r"^voxel_size_um = None: .*masks"):
        tracking_scores.evaluate(p)
    scored = tracking_scores.evaluate(p.model_copy(update={"voxel_size_um": (0.5, 0.5)}))
    assert [s.scores["tra"] for s in scored] == [1.0, 1.0]

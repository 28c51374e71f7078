"""Tables, tracks and labels of other programs go through notebooks 09 to 11."""

from __future__ import annotations

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
from helpers.runs.steps import boundary, spectrum
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


@pytest.mark.parametrize("header", [True, False])
def test_btrackmates_table_is_read(tmp_path: Path, tracks: Tracks, header: bool) -> None:
    path = tmp_path / "detections.csv"
    btrackmate.write(tracks, path)
    if not header:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    p = _p(AnalyzeBoundaryDistance, tmp_path, path)
    with pytest.raises(InputError, match=r"^voxel_size_um = None: .*counts pixels"):
        open_tracks(p)
    found = open_tracks(p.model_copy(update={"voxel_size_um": SIZE}))
    np.testing.assert_allclose(found.objects[["z", "y", "x"]], tracks.objects[["z", "y", "x"]], atol=1.0)
    assert found.voxel_size == SIZE


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
        tracking_step.evaluate(p)
    scored = tracking_step.evaluate(p.model_copy(update={"voxel_size_um": (0.5, 0.5)}))
    assert [s.scores["tra"] for s in scored] == [1.0, 1.0]

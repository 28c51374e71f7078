"""Numbers of a TrackMate file, worked out by hand: features, units, settings, and what Java can hold."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.errors import InputError
from helpers.tracking.formats import trackmate
from helpers.tracking.formats.trackmate_parse import Columns
from helpers.tracking.formats.trackmate_units import Scale
from helpers.tracking.formats.trackmate_xml import dimension_of
from helpers.tracking.linking import LapParameters
from helpers.tracking.tracks import Tracks


def written(path: Path, tracks: Tracks, **given) -> ET.Element:
    trackmate.write(tracks, path, **given)
    return ET.parse(path).getroot()


def spots(root: ET.Element, *names: str) -> list[list[float]]:
    return [[float(spot.attrib[name]) for name in names] for spot in root.iter("Spot")]


@pytest.fixture
def two_tracks() -> Tracks:
    """Return a cell that divides at frame 2, one daughter after a gap, and two cells that merge after gaps."""
    rows = [
        (1, 1, 0, 0, 0), (2, 2, 0, 0, 0), (3, 3, 1, 1, 1), (4, 4, 2, 3, 6),
        (7, 0, 0, 9, 9), (8, 0, 5, 9, 9), (9, 3, 0, 9, 21),
    ]  # fmt: skip
    objects = pd.DataFrame(rows, columns=["id", "frame", "z", "y", "x"])
    links = pd.DataFrame([(1, 2), (2, 3), (2, 4), (7, 9), (8, 9)], columns=["source", "target"])
    return Tracks(objects, links, (1, 1, 1), 20.0)


def test_track_features(tmp_path: Path, two_tracks: Tracks) -> None:
    root = written(tmp_path / "t.xml", two_tracks)
    by_spots = {track.attrib["NUMBER_SPOTS"]: track.attrib for track in root.iter("Track")}
    names = ("GAPS", "SPLITS", "MERGES")
    assert [by_spots["4"][f"NUMBER_{name}"] for name in names] == ["1", "1", "0"]
    assert [by_spots["3"][f"NUMBER_{name}"] for name in names] == ["2", "0", "1"]
    names = ("DURATION", "START", "STOP", "DISPLACEMENT")
    # √(2² + 3² + 6²) = 7, from frame 1 to 4.
    assert [float(by_spots["4"][f"TRACK_{name}"]) for name in names] == [60, 20, 80, 7]
    assert [float(by_spots["3"][f"TRACK_{name}"]) for name in names] == [60, 0, 60, 12]
    declared = {feature.get("feature") for feature in root.iterfind(".//TrackFeatures/Feature")}
    assert set(by_spots["4"]) - {"name"} <= declared


def test_edges_stand_in_the_track_of_their_spots(tmp_path: Path, two_tracks: Tracks) -> None:
    shuffled = Tracks(two_tracks.objects, two_tracks.links.iloc[[3, 0, 4, 2, 1]], (1, 1, 1))
    root = written(tmp_path / "t.xml", shuffled)
    found = [
        {(edge.get("SPOT_SOURCE_ID"), edge.get("SPOT_TARGET_ID")) for edge in track}
        for track in root.iter("Track")
    ]
    assert found == [{("7", "9"), ("8", "9")}, {("1", "2"), ("2", "3"), ("2", "4")}]
    back = trackmate.read(tmp_path / "t.xml")
    assert back.links["source"].tolist() == [7, 1, 8, 2, 2], "in the order in which they were given"


def test_sizes_become_radius_and_quality(tmp_path: Path) -> None:
    base = pd.DataFrame({"frame": [0, 0], "y": 1.0, "x": 1.0})
    flat = base.assign(area_um2=[np.pi * 9, np.pi])
    root = written(tmp_path / "t.xml", Tracks(flat, voxel_size=(5.0, 0.5, 0.25)))
    # 28.27 µm² of pixels of 0.125 µm²: 226 pixels; the size along z has no say.
    assert spots(root, "RADIUS", "QUALITY") == [[3, 226], [1, 25]]
    deep = base.assign(volume_um3=[36 * np.pi, 4 / 3 * np.pi], area_um2=99.0)
    root = written(tmp_path / "t.xml", Tracks(deep, voxel_size=(2.0, 0.5, 0.25)))
    np.testing.assert_allclose(spots(root, "RADIUS", "QUALITY"), [[3, 452], [1, 17]])
    root = written(tmp_path / "t.xml", Tracks(base, voxel_size=(1, 1, 1)), radius=2.5)
    assert spots(root, "RADIUS", "QUALITY") == [[2.5, 1], [2.5, 1]]
    own = deep.assign(RADIUS=[7.0, 8.0], QUALITY=[0.5, 0.25])
    root = written(tmp_path / "t.xml", Tracks(own, voxel_size=(1, 1, 1)))
    assert spots(root, "RADIUS", "QUALITY") == [[7, 0.5], [8, 0.25]], "the table's own win"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (None, ("10", "5", "4", "3")),  # frames 0 to 2; the farthest centres lie at voxel 3, 4 and 8.4
        ((7, 20, 30, 40), ("40", "30", "20", "7")),
        ((2, 30, 40), ("40", "30", "1", "3")),  # frame 2 is there, whatever the shape says
    ],
)
def test_the_extent_of_the_image(tmp_path: Path, shape: tuple | None, expected: tuple[str, ...]) -> None:
    objects = pd.DataFrame({"frame": [0, 2], "z": [2.0, 6.0], "y": [2.0, 1.0], "x": [0.5, 2.1]})
    root = written(tmp_path / "t.xml", Tracks(objects, voxel_size=(2.0, 0.5, 0.25)), shape=shape)
    image, basic = root.find("Settings/ImageData"), root.find("Settings/BasicSettings")
    assert image is not None and basic is not None
    assert tuple(image.attrib[name] for name in ("width", "height", "nslices", "nframes")) == expected
    ends = tuple(str(int(basic.attrib[name]) + 1) for name in ("xend", "yend", "zend", "tend"))
    assert ends == expected
    with pytest.raises(InputError, match=r"shape = \(3, 4\)"):
        trackmate.write(Tracks(objects), tmp_path / "u.xml", shape=(3, 4))


def test_what_is_declared_an_integer_is_one_in_java(tmp_path: Path) -> None:
    objects = pd.DataFrame(
        {"frame": [0, 0], "y": 1.0, "x": 1.0, "few": [1, -(2**31) + 1], "many": [1, 2**31], "real": [1.0, 2.0], "yes": [True, False]}
    )  # fmt: skip
    root = written(tmp_path / "t.xml", Tracks(objects, voxel_size=(1, 1, 1)))
    declared = {f.get("feature"): f.get("isint") for f in root.iterfind(".//SpotFeatures/Feature")}
    assert [declared[name] for name in ("few", "many", "real", "yes")] == ["true", "false", "false", "true"]
    assert spots(root, "few", "many", "yes") == [[1, 1, 1], [-(2**31) + 1, 2**31, 0]]


@pytest.mark.parametrize(
    ("feature", "dimension"),
    [
        ("volume_um3", "NONE"), ("area_um2", "AREA"), ("extent_z_um", "LENGTH"), ("speed_um_per_s", "VELOCITY"),
        ("angle_rad", "ANGLE"), ("rhythm_hz", "RATE"), ("intensity_sum", "INTENSITY"), ("RADIUS", "LENGTH"),
        ("MEAN_INTENSITY_CH1", "INTENSITY"), ("ELLIPSE_THETA", "ANGLE"), ("DIRECTIONAL_CHANGE_RATE", "ANGLE_RATE"),
        ("maximum", "NONE"), ("EDGE_TIME", "TIME"),
    ],
)  # fmt: skip
def test_dimensions_follow_from_names(feature: str, dimension: str) -> None:
    assert dimension_of(feature) == dimension


FILE = """<TrackMate version="7.0.0"><Model {units}><FeatureDeclarations><SpotFeatures>{features}</SpotFeatures>
</FeatureDeclarations><AllSpots><SpotsInFrame frame="2"><Spot ID="1" POSITION_X="{x}" POSITION_Y="{y}" POSITION_Z="{z}"
{spot}/></SpotsInFrame><SpotsInFrame frame="4"><Spot ID="2" POSITION_X="0" POSITION_Y="0" {spot}/></SpotsInFrame></AllSpots>
<AllTracks><Track TRACK_ID="0"><Edge SPOT_SOURCE_ID="1" SPOT_TARGET_ID="2" {edge}/></Track></AllTracks><FilteredTracks>
<TrackID TRACK_ID="0"/></FilteredTracks></Model><Settings><ImageData {image}/>{tracker}<InitialSpotFilter/>
<SpotFilterCollection/><TrackFilterCollection/></Settings></TrackMate>"""


def read(path: Path, voxel_size=None, frame_interval=None, **given: str) -> Tracks:
    image = 'pixelwidth="1" pixelheight="1" voxeldepth="1" timeinterval="1"'
    blank = {
        "features": "",
        "spot": "",
        "edge": "",
        "image": image,
        "tracker": "",
        "x": "1",
        "y": "1",
        "z": "1",
    }
    path.write_text(FILE.format(**{**blank, **given}))
    return trackmate.read(path, voxel_size=voxel_size, frame_interval=frame_interval)


def test_every_dimension_is_converted(tmp_path: Path) -> None:
    """A file in mm and min: what each feature is in µm and s."""
    values = {
        "LENGTH": (2, 2000), "AREA": (3, 3e6), "VELOCITY": (6, 100), "TIME": (2, 120), "RATE": (3, 0.05),
        "ANGLE_RATE": (30, 0.5), "ANGLE": (1.5, 1.5), "INTENSITY": (5, 5), "QUALITY": (7, 7), "NONE": (9, 9),
    }  # fmt: skip
    feature = '<Feature feature="F_{0}" name="f" shortname="f" dimension="{0}" isint="false"/>'
    found = read(
        tmp_path / "t.xml", units='spatialunits="mm" timeunits="min"',
        features="".join(feature.format(name) for name in values),
        spot=" ".join(f'F_{name}="{value}"' for name, (value, _) in values.items()),
        edge='LINK_COST="4" SPEED="6" F_VELOCITY="6"',
        image='pixelwidth="0.001" pixelheight="0.002" voxeldepth="0.003" timeinterval="0.5"',
    )  # fmt: skip
    for name, (_, expected) in values.items():
        assert found.objects[f"F_{name}"].tolist() == pytest.approx([expected] * 2), name
    assert found.voxel_size == pytest.approx((3, 2, 1)) and found.frame_interval == 30
    link = found.links.iloc[0]
    assert (link["cost"], link["SPEED"], link["F_VELOCITY"]) == pytest.approx((4, 100, 100))


def test_pixels_of_unequal_sides(tmp_path: Path) -> None:
    """Along each axis by its own size; a radius, which has no direction, by the mean of the plane (√(0.5 · 0.125) = 0.25)."""
    spot = 'RADIUS="4" ELLIPSE_MAJOR="8" AREA="16" POSITION_T="2" QUALITY="3"'
    found = read(
        tmp_path / "t.xml", (3.0, 0.5, 0.125), 30.0, units='spatialunits="pixel" timeunits="frame"', spot=spot, x="8", y="6", z="2"
    )  # fmt: skip
    first = found.objects.iloc[0]
    assert first[["z", "y", "x"]].tolist() == [6, 3, 1]
    assert first[["RADIUS", "ELLIPSE_MAJOR", "AREA", "QUALITY"]].tolist() == [1, 2, 1, 3]
    assert first["POSITION_T"] == 60 and found.frame_interval == 30
    # A file that calls 2 the width of its pixels, and half a frame its interval, counts in those.
    image = 'pixelwidth="2" pixelheight="1" voxeldepth="1" timeinterval="0.5"'
    found = read(
        tmp_path / "t.xml", (3.0, 0.5, 0.125), 30.0, units='spatialunits="pixel" timeunits="frame"', spot=spot, image=image, x="8"
    )  # fmt: skip
    assert found.objects["x"][0] == 0.5 and found.objects["POSITION_T"][0] == 120


def test_a_known_unit_wins_over_the_voxel_size_that_is_given(tmp_path: Path) -> None:
    found = read(tmp_path / "t.xml", (3.0, 0.5, 0.25), units='spatialunits="nm" timeunits="ms"', x="1500")
    assert found.objects["x"][0] == 1.5 and found.voxel_size == (3.0, 0.5, 0.25)
    assert found.frame_interval == pytest.approx(0.001)
    again = read(tmp_path / "t.xml", frame_interval=7.0, units='spatialunits="um" timeunits="s"')
    assert again.frame_interval == 7.0


def test_a_factor_for_each_dimension() -> None:
    scale = Scale((3.0, 4.0, 1.0), 10.0)
    assert [scale.factor(f"POSITION_{axis}", "POSITION") for axis in "ZYX"] == [3, 4, 1]
    assert scale.length == 2
    found = {
        name: scale.factor("f", name) for name in ("LENGTH", "AREA", "VELOCITY", "TIME", "RATE", "ANGLE")
    }
    assert found == {"LENGTH": 2, "AREA": 4, "VELOCITY": 0.2, "TIME": 10, "RATE": 0.1, "ANGLE": 1}


TRACKER = """<TrackerSettings TRACKER_NAME="{name}" KALMAN_SEARCH_RADIUS="6" LINKING_MAX_DISTANCE="3" MAX_FRAME_GAP="4">
<Linking LINKING_MAX_DISTANCE="8"><FeaturePenalties POSITION_X="2"/></Linking>
<GapClosing ALLOW_GAP_CLOSING="true" GAP_CLOSING_MAX_DISTANCE="12" MAX_FRAME_GAP="5"/>
<TrackSplitting ALLOW_TRACK_SPLITTING="true" SPLITTING_MAX_DISTANCE="16"><FeaturePenalties RADIUS="0.5"/></TrackSplitting>
</TrackerSettings>"""


def test_distances_of_trackers_in_pixels(tmp_path: Path) -> None:
    """Distances are multiplied by √(0.5 · 0.125) = 0.25; numbers of frames and weights are not."""
    path, size = tmp_path / "t.xml", (3.0, 0.5, 0.125)
    read(path, size, units='spatialunits="pixel"', tracker=TRACKER.format(name="SPARSE_LAP_TRACKER"))
    found = trackmate.read_tracker(path, voxel_size=size)
    assert found == LapParameters(
        max_distance=2, penalties={"x": 2.0}, gap_closing_max_distance=3, max_frame_gap=5, splitting=True,
        splitting_max_distance=4, splitting_penalties={"RADIUS": 0.5},
    )  # fmt: skip
    assert trackmate.read_tracker(path).max_distance == 8, "pixels, where no size is given"
    read(path, size, units='spatialunits="pixel"', tracker=TRACKER.format(name="KALMAN_TRACKER"))
    found = trackmate.read_tracker(path, voxel_size=size)
    assert (found.initial_search_radius, found.search_radius, found.max_frame_gap) == (0.75, 1.5, 4)
    read(path, size, units='spatialunits="pixel"', tracker=TRACKER.format(name="ADVANCED_KALMAN_TRACKER"))
    found = trackmate.read_tracker(path, voxel_size=size)
    assert (found.initial_search_radius, found.search_radius, found.max_frame_gap) == (2, 1.5, 5)
    assert found.penalties == {"x": 2.0} and found.segments.splitting_max_distance == 4


def test_settings_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    bad = TRACKER.format(name="SPARSE_LAP_TRACKER").replace('DISTANCE="8"', 'DISTANCE="far"')
    read(tmp_path / "t.xml", units='spatialunits="um"', tracker=bad)
    with pytest.raises(InputError, match=r"LINKING_MAX_DISTANCE = 'far'"):
        trackmate.read_tracker(tmp_path / "t.xml")
    with pytest.raises(InputError, match="tracker = 'int'"):
        trackmate.write(Tracks(pd.DataFrame({"frame": [0], "y": 1.0, "x": 1.0}), voxel_size=(1, 1, 1)), tmp_path / "u.xml", tracker=3)  # fmt: skip


def test_features_that_only_some_spots_have() -> None:
    """Rows become numbers 20,000 at a time; what the first of them lack is missing there, not shifted."""
    columns = Columns("Spot", ("ID",))
    for i in range(20_003):
        columns.add({"ID": str(i), **({"LATE": str(i / 2)} if i >= 20_001 else {})})
    found = columns.table()
    np.testing.assert_array_equal(found["ID"], np.arange(20_003))
    assert np.flatnonzero(np.isfinite(found["LATE"])).tolist() == [20_001, 20_002]
    assert found["LATE"][-2:].tolist() == [10_000.5, 10_001.0]


@pytest.mark.parametrize(("text", "value"), [("NaN", np.nan), ("-Infinity", -np.inf), ("1e3", 1000.0)])
def test_javas_numbers(text: str, value: float) -> None:
    columns = Columns("Spot", ("ID",))
    columns.add({"ID": "4", "A": text})
    np.testing.assert_array_equal(columns.table()["A"], [value])
    columns = Columns("Spot", ("ID",))
    columns.add({"ID": "4", "A": text.lower().replace("1e3", "infinity")})
    with pytest.raises(InputError, match="A of Spot ID=4"):
        columns.table()

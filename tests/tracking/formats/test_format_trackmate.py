"""TrackMate XML: real files, round trips, independent readers, and the files that TrackMate refuses."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings

from helpers.errors import InputError
from helpers.tracking.formats import trackmate
from helpers.tracking.kalman import AdvancedKalmanParameters, KalmanParameters
from helpers.tracking.linking import LapParameters
from helpers.tracking.overlap import OverlapParameters
from helpers.tracking.segments import SegmentParameters
from helpers.tracking.tracks import Tracks
from tests.tracking.formats.format_strategies import assert_same, family, tracks

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(not calibrated|track filters hide|voxel_size is not known)"
)

FILES = ("Celegans-5pc-17timepoints", "FakeTracks_v8", "with_gap_closing", "with_splitting_merging")


# ---- real files ------------------------------------------------------------------------------------------


def test_celegans(samples):
    found = trackmate.read(samples / "tracks" / "Celegans-5pc-17timepoints.xml")
    assert len(found.objects) == 87 and found.objects["frame"].nunique() == 17 and len(found.divisions) == 4
    assert found.voxel_size == (1.0, 0.1984666072986889, 0.1984666072986889)
    assert found.frame_interval == 120, "the file counts in minutes"
    spot = found.objects.set_index("id").loc[19680]
    assert (spot["x"], spot["z"]) == (27.872640131642775, 18.05523442517662)
    assert spot["name"] == "P1" and spot["RADIUS"] == 2.4463858994404535
    assert found.objects["POSITION_T"].max() == 16 * 120
    assert (found.links["cost"] == -1).sum() == 8, "links drawn by hand"


def test_contours_and_filters_of_a_version_8_file(samples):
    with pytest.warns(UserWarning, match="hide 5 of 7 tracks"):
        found = trackmate.read(samples / "tracks" / "FakeTracks_v8.xml")
    spot = found.objects.set_index("id").loc[2004]
    assert spot["contour"].shape == (30, 2)
    assert spot["contour"][0].tolist() == [1.1153846153846154, 2.2307692307692335], "y before x"
    shown = found.track_ids[found.objects["track_shown"] & (found.track_ids >= 0)]
    assert len(np.unique(shown)) == 2 and len(found.objects) == 107


def test_pixels_are_said_to_be_pixels_or_converted(samples):
    path = samples / "tracks" / "with_gap_closing.xml"
    with pytest.warns(UserWarning, match="pixel"):
        plain = trackmate.read(path)
    assert plain.voxel_size is None and plain.frame_interval == 1.0
    found = trackmate.read(path, voxel_size=(1, 0.5, 0.25))
    np.testing.assert_allclose(found.objects["y"], plain.objects["y"] * 0.5)
    np.testing.assert_allclose(found.objects["x"], plain.objects["x"] * 0.25)
    assert found.voxel_size == (1, 0.5, 0.25)


@pytest.mark.parametrize("name", FILES)
def test_written_again_a_real_file_says_the_same(samples, tmp_path, name):
    path = samples / "tracks" / f"{name}.xml"
    expected = trackmate.read(path)
    trackmate.write(expected, tmp_path / "again.xml", tracker=trackmate.read_tracker(path))
    assert_same(trackmate.read(tmp_path / "again.xml"), expected)
    assert trackmate.read_tracker(tmp_path / "again.xml") == trackmate.read_tracker(path)


def test_tracker_settings(samples):
    found = trackmate.read_tracker(samples / "tracks" / "with_splitting_merging.xml")
    assert found == LapParameters(splitting=True, merging=True)
    fake = trackmate.read_tracker(samples / "tracks" / "FakeTracks_v8.xml")
    assert fake.max_distance == fake.merging_max_distance == 10


# ---- round trips -----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks())
def test_round_trip(tmp_path, drawn):
    trackmate.write(drawn, tmp_path / "t.xml")
    assert_same(trackmate.read(tmp_path / "t.xml"), drawn)


def test_without_our_element_the_numbers_stay(tmp_path):
    expected = family()
    trackmate.write(expected, tmp_path / "t.xml")
    text = (tmp_path / "t.xml").read_text()
    (tmp_path / "t.xml").write_text(re.sub(r"<Volltrack>.*</Volltrack>", "", text))
    found = trackmate.read(tmp_path / "t.xml")
    columns = list(expected.objects)
    order = found.objects.set_index("id").loc[expected.objects["id"]].reset_index()
    pd.testing.assert_frame_equal(order[columns], expected.objects, check_exact=True)
    assert found.voxel_size == expected.voxel_size and found.frame_interval == 30


def test_parameters_round_trip(tmp_path):
    given = LapParameters(
        max_distance=7.5, penalties={"volume_um3": 1.5, "x": 2.0}, gap_closing_max_distance=9, max_frame_gap=4,
        splitting=True, splitting_max_distance=3.25, splitting_penalties={"label": 0.5}, cutoff_percentile=0.8,
    )  # fmt: skip
    trackmate.write(family(), tmp_path / "t.xml", tracker=given)
    assert trackmate.read_tracker(tmp_path / "t.xml") == given
    assert 'POSITION_X="2.0"' in (tmp_path / "t.xml").read_text()


@pytest.mark.parametrize(
    "given",
    [
        OverlapParameters(min_iou=0.25, scale_factor=1.5, precise=False),
        KalmanParameters(initial_search_radius=5.5, search_radius=7.25, max_frame_gap=3),
        AdvancedKalmanParameters(
            initial_search_radius=5.5,
            search_radius=7.25,
            max_frame_gap=3,
            penalties={"QUALITY": 1.0},
            segments=SegmentParameters(splitting=True, splitting_max_distance=4.5, max_frame_gap=3),
        ),
    ],
)
def test_parameters_of_other_trackers_round_trip(tmp_path, given):
    trackmate.write(family(), tmp_path / "t.xml", tracker=given)
    found = trackmate.read_tracker(tmp_path / "t.xml")
    assert type(found) is type(given) and found == given


def test_distances_are_converted_and_defaults_fill_in(tmp_path):
    tracker = """<TrackerSettings TRACKER_NAME="SIMPLE_SPARSE_LAP_TRACKER"><Linking LINKING_MAX_DISTANCE="2000">
    <FeaturePenalties POSITION_Z="1" RADIUS="0.5"/></Linking></TrackerSettings></Settings>"""
    text = minimal(units='spatialunits="nm" timeunits="s"').replace("</Settings>", tracker)
    (tmp_path / "t.xml").write_text(text)
    assert trackmate.read_tracker(tmp_path / "t.xml") == LapParameters(
        max_distance=2.0, penalties={"z": 1.0, "RADIUS": 0.5}
    )


def test_other_trackers_keep_their_settings(tmp_path):
    other = trackmate.OtherTracker(
        "SOME_TRACKER", {"MIN": 0.3, "FAST": True, "MODE": "PRECISE", "Part": {"N": 2}}
    )
    trackmate.write(family(), tmp_path / "t.xml", tracker=other)
    assert trackmate.read_tracker(tmp_path / "t.xml") == other
    trackmate.write(family(), tmp_path / "t.xml")
    assert trackmate.read_tracker(tmp_path / "t.xml") == trackmate.OtherTracker("MANUAL_TRACKER", {})


# ---- what TrackMate's reader demands ---------------------------------------------------------------------


def test_the_file_has_every_part(tmp_path):
    expected = family()
    trackmate.write(expected, tmp_path / "t.xml", image="/data/movie.tif", shape=(9, 20, 64, 128))
    root = ET.parse(tmp_path / "t.xml").getroot()
    assert re.fullmatch(r"\d+\.\d+\.\d+", root.get("version"))
    for tag in ("Log", "Model", "Settings", "GUIState", "DisplaySettings"):
        assert root.find(tag) is not None
    assert root.find("GUIState").get("state") == "ConfigureViews"
    image = root.find("Settings/ImageData").attrib
    assert image == {
        "filename": "movie.tif", "folder": "/data/", "width": "128", "height": "64", "nslices": "20", "nframes": "9",
        "pixelwidth": "0.25", "pixelheight": "0.5", "voxeldepth": "2.0", "timeinterval": "30.0",
    }  # fmt: skip
    for tag in ("BasicSettings", "InitialSpotFilter", "SpotFilterCollection", "TrackFilterCollection"):
        assert root.find(f"Settings/{tag}") is not None
    assert root.find("Settings/DetectorSettings").get("DETECTOR_NAME") == "MANUAL_DETECTOR"
    frames = root.findall("Model/AllSpots/SpotsInFrame")
    assert [int(f.get("frame")) for f in frames] == list(range(9)), "empty frames too"
    declared = {f.get("feature"): f for f in root.iterfind("Model/FeatureDeclarations/SpotFeatures/Feature")}
    for spot in root.iter("Spot"):
        for name, text in spot.attrib.items():
            if name not in ("ID", "name"):
                float(text)
                assert name in declared
        assert {"QUALITY", "RADIUS", "POSITION_T", "VISIBILITY", "FRAME"} <= set(spot.attrib)
    spot = root.find(".//Spot[@ID='11']").attrib
    assert float(spot["POSITION_T"]) == 30.0
    volume = expected.objects.set_index("id").loc[11, "volume_um3"]
    assert float(spot["RADIUS"]) == pytest.approx((3 * volume / (4 * np.pi)) ** (1 / 3))
    assert float(spot["QUALITY"]) == np.rint(volume / 0.25)
    (track,) = root.findall("Model/AllTracks/Track")
    assert len(track) == 9 and track.get("NUMBER_SPLITS") == "1" and track.get("NUMBER_GAPS") == "1"
    assert "20" not in {e.get("SPOT_SOURCE_ID") for e in track}, "a lone spot is in no track"
    assert [t.get("TRACK_ID") for t in root.iterfind("Model/FilteredTracks/TrackID")] == [
        track.get("TRACK_ID")
    ]


@pytest.mark.parametrize("quality", [-3.5, 0.0, 7.0])
def test_the_first_filter_hides_no_spot(tmp_path, quality):
    objects = pd.DataFrame({"frame": [0, 1], "y": 1.0, "x": 1.0, "QUALITY": [quality, 9.0]})
    trackmate.write(Tracks(objects, voxel_size=(1, 1, 1)), tmp_path / "t.xml")
    first = ET.parse(tmp_path / "t.xml").getroot().find("Settings/InitialSpotFilter").attrib
    assert first["feature"] == "QUALITY" and first["isabove"] == "true" and float(first["value"]) < quality


def test_java_reads_the_numbers(tmp_path):
    objects = pd.DataFrame({"frame": 0, "y": 1e-7, "x": [1e22, 2, 3], "a": [np.nan, np.inf, -np.inf]})
    trackmate.write(Tracks(objects, voxel_size=(1, 1, 1)), tmp_path / "t.xml")
    text = (tmp_path / "t.xml").read_text()
    assert ' a="NaN"' in text and ' a="Infinity"' in text and ' a="-Infinity"' in text
    assert not re.search(r'="(nan|inf|-inf|None|True|False)"', text)


def test_awkward_column_names(tmp_path):
    objects = pd.DataFrame(
        {"frame": [0], "y": 1.0, "x": 2.0, "a b": 1.5, "a_b": 2.5, "1st": 3, "ID": 4, "FRAME": 5.5}
    )
    expected = Tracks(objects, voxel_size=(1, 1, 1))
    trackmate.write(expected, tmp_path / "t.xml")
    assert_same(trackmate.read(tmp_path / "t.xml"), expected)


def test_what_cannot_be_written(tmp_path):
    def one(**columns):
        return Tracks(pd.DataFrame({"frame": [0], "y": 1.0, "x": 2.0} | columns), voxel_size=(1, 1, 1))

    for bad, message in (
        (one(id=[2**31]), "IDs go from"),
        (one(id=[-1]), "IDs go from"),
        (one(things=[{1, 2}]), "numbers or of text"),
        (one(contour=[np.zeros((2, 2))]), "at least 3"),
    ):
        with pytest.raises(InputError, match=message):
            trackmate.write(bad, tmp_path / "t.xml")
    assert list(tmp_path.iterdir()) == [], "nothing half written stays"


def test_an_unknown_voxel_size_is_said(tmp_path):
    with pytest.warns(UserWarning, match="voxel_size is not known"):
        trackmate.write(Tracks(pd.DataFrame({"frame": [0], "y": 1.0, "x": 2.0})), tmp_path / "t.xml")
    assert trackmate.read(tmp_path / "t.xml").voxel_size is None


# ---- others' files ---------------------------------------------------------------------------------------

SPOTS = """<SpotsInFrame frame="0"><Spot ID="1" name="a" POSITION_X="1" POSITION_Y="2" POSITION_Z="3" QUALITY="5"/>
</SpotsInFrame><SpotsInFrame frame="1"><Spot ID="2" POSITION_X="1.5" POSITION_Y="2"/>
<Spot ID="3" POSITION_X="9" POSITION_Y="2"/></SpotsInFrame>"""
EDGES = '<Track TRACK_ID="7"><Edge SPOT_SOURCE_ID="1" SPOT_TARGET_ID="2"/></Track>'
SETTINGS = '<Settings><ImageData pixelwidth="0.5" pixelheight="0.5" voxeldepth="2" timeinterval="0"/><InitialSpotFilter/>'
SETTINGS += "<SpotFilterCollection/><TrackFilterCollection/></Settings>"


def minimal(
    spots=SPOTS, edges=EDGES, version='version="7.0.0"', filtered='<FilteredTracks><TrackID TRACK_ID="7"/></FilteredTracks>',
    settings=SETTINGS, units='spatialunits="um" timeunits="s"', features="",
) -> str:  # fmt: skip
    return (
        f"<TrackMate {version}><Model {units}><FeatureDeclarations><SpotFeatures>{features}</SpotFeatures>"
        f"</FeatureDeclarations><AllSpots>{spots}</AllSpots><AllTracks>{edges}</AllTracks>{filtered}</Model>"
        f"{settings}</TrackMate>"
    )


def read_text(tmp_path, text, **kwargs) -> Tracks:
    (tmp_path / "t.xml").write_text(text)
    return trackmate.read(tmp_path / "t.xml", **kwargs)


def test_optional_features_may_be_missing(tmp_path):
    found = read_text(tmp_path, minimal())
    assert found.objects["frame"].tolist() == [0, 1, 1] and found.objects["z"].tolist()[0] == 3
    assert found.objects["QUALITY"].isna().tolist() == [False, True, True]
    assert found.links["cost"].isna().all() and found.frame_interval is None
    assert found.voxel_size == (2, 0.5, 0.5)
    assert read_text(tmp_path, minimal(settings="")).voxel_size is None
    trackmate.write(found, tmp_path / "again.xml")
    assert_same(trackmate.read(tmp_path / "again.xml"), found)


@pytest.mark.parametrize(
    ("unit", "factor"), [("nm", 1e-3), ("mm", 1e3), ("micron", 1), ("µm", 1), ("inch", 25400)]
)
def test_units_become_micrometres(tmp_path, unit, factor):
    declared = '<Feature feature="A" name="A" shortname="A" dimension="AREA" isint="false"/>'
    spots = SPOTS.replace('QUALITY="5"', 'QUALITY="5" RADIUS="2" A="3"')
    found = read_text(
        tmp_path,
        minimal(spots, units=f'spatialunits="{unit}" timeunits="min"', features=declared),
        frame_interval=None,
    )
    assert found.objects["x"].tolist() == [1 * factor, 1.5 * factor, 9 * factor]
    assert found.voxel_size == pytest.approx((2 * factor, 0.5 * factor, 0.5 * factor))
    assert found.objects["RADIUS"][0] == 2 * factor
    assert found.objects["A"][0] == pytest.approx(3 * factor**2)
    assert found.objects["QUALITY"][0] == 5


def test_backward_edges_are_turned_round(tmp_path):
    with pytest.warns(UserWarning, match="1 edges run backwards"):
        found = read_text(
            tmp_path,
            minimal(
                edges=EDGES.replace('SOURCE_ID="1"', 'SOURCE_ID="2"').replace(
                    'TARGET_ID="2"', 'TARGET_ID="1"'
                )
            ),
        )
    assert found.links[["source", "target"]].to_numpy().tolist() == [[1, 2]]


def test_hidden_tracks_are_read_and_named(tmp_path):
    with pytest.warns(UserWarning, match="hide 1 of 1 tracks"):
        found = read_text(tmp_path, minimal(filtered="<FilteredTracks/>"))
    assert len(found.links) == 1 and found.objects["track_shown"].tolist() == [False, False, True]
    trackmate.write(found, tmp_path / "again.xml")
    assert "<TrackID" not in (tmp_path / "again.xml").read_text()


def edge(source, target, track=7):
    return f'<Track TRACK_ID="{track}"><Edge SPOT_SOURCE_ID="{source}" SPOT_TARGET_ID="{target}"/></Track>'


CIRCLE = SPOTS + '<SpotsInFrame frame="2"><Spot ID="4" POSITION_X="1" POSITION_Y="1"/></SpotsInFrame>'
ROI = SPOTS.replace('QUALITY="5"/>', 'QUALITY="5" ROI_N_POINTS="3">{}</Spot>')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no XML"),
        ("not xml at all", "no XML"),
        (minimal()[:-200], "cut off"),
        ("<html></html>", "root of this XML is <html>"),
        (minimal(version=""), "version is missing"),
        (minimal(version='version="banana"'), "version number"),
        (minimal(version='version="1.3"'), "2.1.0 or newer"),
        ('<TrackMate version="7.0"/>', "Model"),
        (minimal().replace("AllSpots", "Spots"), "AllSpots"),
        (minimal().replace("AllTracks", "Tracks"), "AllTracks"),
        (minimal(filtered=""), "FilteredTracks"),
        (minimal().replace("ImageData", "Image"), "ImageData"),
        (minimal().replace("<InitialSpotFilter/>", ""), "InitialSpotFilter"),
        (minimal().replace("<SpotFilterCollection/>", ""), "SpotFilterCollection"),
        (minimal().replace("<TrackFilterCollection/>", ""), "TrackFilterCollection"),
        (minimal(SPOTS.replace('QUALITY="5"', 'QUALITY="good"')), "QUALITY of Spot ID=1.*good"),
        (minimal(SPOTS.replace('QUALITY="5"', 'QUALITY="nan"')), "QUALITY of Spot ID=1.*nan"),
        (minimal(SPOTS.replace('ID="2"', 'ID="two"')), "Spot ID.*two"),
        (minimal(SPOTS.replace('ID="2"', "")), "needs an ID"),
        (minimal(SPOTS.replace('ID="3"', 'ID="2"')), "IDs occur once"),
        (minimal(SPOTS.replace('POSITION_X="9"', "")), "not finite, ids .3"),
        (minimal(SPOTS.replace('POSITION_X="9"', 'POSITION_X="NaN"')), "not finite, ids .3"),
        (minimal(SPOTS.replace("POSITION_X", "X")), "needs a position"),
        (minimal(ROI.format("\n  0 0 1 1 2 2")), "white space"),
        (minimal(ROI.format("0 0 1 1 2")), "need 6 numbers"),
        (minimal(ROI.format("0 0 1 1 2 two")), "numbers x0"),
        (minimal(edges=edge(1, 99)), "dangles"),
        (minimal(edges=edge(1, 1)), "with itself"),
        (minimal(edges=edge(2, 3)), "one frame"),
        (minimal(edges=edge(1, 2) + edge(2, 1, 8)), "twice"),
        (minimal(edges=edge(1, 2) + edge(1, 2, 8)), "twice"),
        (minimal(CIRCLE, edges=edge(1, 2) + edge(2, 4) + edge(4, 1)), "circle"),
        (minimal(edges=edge(1, 2, "")), "TRACK_ID"),
        (minimal(edges=EDGES.replace('SPOT_TARGET_ID="2"', "")), "needs a SPOT_TARGET_ID"),
        (minimal(edges=EDGES.replace('SPOT_TARGET_ID="2"', 'SPOT_TARGET_ID="b"')), "integer"),
        (minimal(units='spatialunits="furlong" timeunits="s"'), "furlong"),
        (minimal(units='spatialunits="um" timeunits="fortnight"'), "fortnight"),
        (
            minimal(features='<Feature feature="A" name="A" shortname="A" dimension="MASS" isint="false"/>'),
            "MASS",
        ),
    ],
)
def test_what_trackmate_refuses_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_text(tmp_path, text)


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        trackmate.read(tmp_path / "no.xml")
    (tmp_path / "t.xml").write_text(minimal())
    with pytest.raises(InputError, match="states no tracker"):
        trackmate.read_tracker(tmp_path / "t.xml")


# ---- independent readers ---------------------------------------------------------------------------------


def test_pytrackmate(tmp_path):
    pytrackmate = pytest.importorskip("pytrackmate")
    expected = family()
    trackmate.write(expected, tmp_path / "t.xml")
    found = pytrackmate.trackmate_peak_import(tmp_path / "t.xml", get_tracks=True).set_index("spot_id")
    assert len(found) == 10, "no filter drops a spot"
    theirs = found.loc[expected.objects["id"]]
    np.testing.assert_array_equal(theirs[["z", "y", "x"]], expected.objects[["z", "y", "x"]])
    np.testing.assert_array_equal(theirs["t_stamp"], expected.objects["frame"])
    assert theirs["label"].nunique() == 2, "the family and the lone spot"


def test_pycellin_reads_it_and_ours_reads_pycellins(tmp_path):
    loader = pytest.importorskip("pycellin.io.trackmate.loader")
    exporter = pytest.importorskip("pycellin.io.trackmate.exporter")
    expected = family()
    # pycellin knows no merges.
    expected = Tracks(
        expected.objects, expected.links[expected.links["target"] != 17], expected.voxel_size, 30.0
    )
    trackmate.write(expected, tmp_path / "t.xml", image="movie.tif")
    model = loader.load_TrackMate_XML(tmp_path / "t.xml", keep_all_spots=True)
    edges = {e for lineage in model.data.cell_data.values() for e in lineage.edges}
    assert edges == set(expected.links[["source", "target"]].itertuples(index=False, name=None))
    exporter.export_TrackMate_XML(model, tmp_path / "p.xml", units={"space": "micrometer", "time": "second"})
    found = trackmate.read(tmp_path / "p.xml")
    # pycellin leaves out the lone spot.
    ours = expected.objects.set_index("id").drop(index=20).sort_index()
    theirs = found.objects.set_index("id").sort_index()
    np.testing.assert_array_equal(theirs[["z", "y", "x", "frame"]], ours[["z", "y", "x", "frame"]])
    np.testing.assert_array_equal(theirs["volume_um3"], ours["volume_um3"])


def test_geffs_converter_reads_it(tmp_path):
    convert = pytest.importorskip("geff.convert")
    from helpers.tracking.formats import geff

    expected = family()
    trackmate.write(expected, tmp_path / "t.xml", image="movie.tif")
    convert.from_trackmate_xml_to_geff(tmp_path / "t.xml", tmp_path / "t.geff")
    found = geff.read(tmp_path / "t.geff")
    a = found.objects.set_index("id").loc[expected.objects["id"], ["frame", "z", "y", "x"]].to_numpy()
    np.testing.assert_array_equal(a, expected.objects[["frame", "z", "y", "x"]])
    key = ["source", "target"]
    assert set(found.links[key].itertuples(index=False, name=None)) == set(
        expected.links[key].itertuples(index=False, name=None)
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks(merges=False))
def test_pycellin_reads_any_tracks(tmp_path, drawn):
    from pycellin.io.trackmate.loader import load_TrackMate_XML

    assume(len(drawn.links))  # pycellin stumbles over files of many lone spots, and knows no merges
    trackmate.write(drawn, tmp_path / "t.xml")
    model = load_TrackMate_XML(tmp_path / "t.xml")
    edges = {edge for lineage in model.data.cell_data.values() for edge in lineage.edges}
    assert edges == set(drawn.links[["source", "target"]].itertuples(index=False, name=None))
    assert sum(map(len, model.data.cell_data.values())) == (drawn.track_ids >= 0).sum()

"""GEFF: valid by geff's own validator, lossless, and others' GEFF opens."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from helpers.errors import InputError
from helpers.tracking.formats import geff
from helpers.tracking.tracks import Tracks
from tests.tracking.formats.format_strategies import assert_same, family, tracks

pytest.importorskip("geff")


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks())
def test_round_trip(tmp_path, drawn):
    geff.write(drawn, tmp_path / "t.geff")
    assert_same(geff.read(tmp_path / "t.geff"), drawn)


def test_geffs_validator_is_content(tmp_path):
    from geff.core_io._base_read import read_to_memory
    from geff.validate.data import ValidationConfig

    expected = family()
    geff.write(expected, tmp_path / "t.geff", labels="../labels")
    everything = ValidationConfig(graph=True, lineage=True, tracklet=True)
    memory = read_to_memory(tmp_path / "t.geff", data_validation=everything)
    metadata = memory["metadata"]
    assert [(a.name, a.type, a.unit) for a in metadata.axes] == [
        ("t", "time", "frame"), *((name, "space", "micrometer") for name in "zyx"),
    ]  # fmt: skip
    assert metadata.axes[0].scale == 30 and metadata.axes[0].scaled_unit == "second"
    assert metadata.track_node_props == {"tracklet": "tracklet_id", "lineage": "lineage_id"}
    (related,) = metadata.related_objects
    assert (related.type, related.path, related.node_prop) == ("labels", "../labels", "seg_id")
    assert memory["node_props"]["seg_id"]["values"].tolist() == expected.objects["label"].tolist()
    assert memory["edge_ids"].tolist() == expected.links[["source", "target"]].to_numpy().tolist()


def test_networkx_sees_the_family(tmp_path):
    import geff as package

    geff.write(family(), tmp_path / "t.geff")
    graph, _ = package.read(tmp_path / "t.geff", backend="networkx")
    assert dict(graph.out_degree())[11] == 2 and dict(graph.in_degree())[17] == 2


def test_contours_are_polygons(tmp_path):
    expected = family()
    objects = expected.objects.assign(z=0.0)
    rng = np.random.default_rng(0)
    objects["contour"] = pd.Series(
        [rng.random((n, 2)) if n else None for n in (3, 4, 0, 5, 3, 3, 3, 3, 3, 9)], dtype=object
    )
    geff.write(Tracks(objects, expected.links, expected.voxel_size), tmp_path / "t.geff")
    found = geff.read(tmp_path / "t.geff").objects["contour"]
    for a, b in zip(found, objects["contour"], strict=True):
        assert (a is None and b is None) or np.array_equal(a, b)


def test_another_programs_pixels(tmp_path):
    import networkx as nx
    from geff import write
    from geff_spec import Axis

    graph = nx.DiGraph()
    graph.add_node(3, time=0, Y=10.0, X=20.0, area=4)
    graph.add_node(8, time=1, Y=11.0, X=21.0, area=5)
    graph.add_edge(3, 8)
    names, types = ["time", "Y", "X"], ["time", "space", "space"]
    write(
        graph, tmp_path / "p.geff", axis_names=names, axis_types=types, axis_units=["frame", "pixel", "pixel"]
    )
    with pytest.warns(UserWarning, match="pixel"):
        plain = geff.read(tmp_path / "p.geff")
    assert plain.objects["x"].tolist() == [20, 21] and plain.voxel_size is None
    found = geff.read(tmp_path / "p.geff", voxel_size=(0.5, 0.25), frame_interval=9)
    assert found.objects["y"].tolist() == [5.0, 5.5] and found.objects["x"].tolist() == [5.0, 5.25]
    assert found.objects["id"].tolist() == [3, 8] and found.links["source"].tolist() == [3]
    assert found.objects["area"].tolist() == [4, 5]
    scaled = [Axis(name="Y", type="space", unit="pixel", scale=2, scaled_unit="nanometer")]
    assert geff.unit_factor(scaled[0], None) == 2e-3


def test_written_by_geffs_trackmate_converter(tmp_path, samples):
    from geff.convert import from_trackmate_xml_to_geff

    with pytest.warns(UserWarning):
        from_trackmate_xml_to_geff(samples / "tracks" / "FakeTracks_v8.xml", tmp_path / "f.geff")
    found = geff.read(tmp_path / "f.geff")
    assert len(found.objects) == 107 and len(found.links) == 89
    assert "RADIUS" in found.objects


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="nothing there"):
        geff.read(tmp_path / "no.geff")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="folder"):
        geff.read(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="GEFF"):
        geff.read(tmp_path / "folder")
    with pytest.raises(InputError, match="something else"):
        geff.write(family(), tmp_path / "folder")
    assert (tmp_path / "folder" / "thesis.txt").exists()
    geff.write(family(), tmp_path / "t.geff")
    shutil.rmtree(tmp_path / "t.geff" / "edges")
    with pytest.raises(InputError, match="valid GEFF"):
        geff.read(tmp_path / "t.geff")
    objects = pd.DataFrame({"id": [-1], "frame": 0, "y": 0.0, "x": 0.0})
    with pytest.raises(InputError, match="negative"):
        geff.write(Tracks(objects), tmp_path / "n.geff")
    assert not (tmp_path / "n.geff").exists()


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tracks())
def test_geffs_validator_is_content_with_any_tracks(tmp_path, drawn):
    from geff.core_io._base_read import read_to_memory
    from geff.validate.data import ValidationConfig

    geff.write(drawn, tmp_path / "t.geff")
    everything = ValidationConfig(graph=True, lineage=True, tracklet=True)
    memory = read_to_memory(tmp_path / "t.geff", data_validation=everything)
    assert memory["node_ids"].tolist() == drawn.objects["id"].tolist()
    assert memory["edge_ids"].tolist() == drawn.links[["source", "target"]].to_numpy().tolist()

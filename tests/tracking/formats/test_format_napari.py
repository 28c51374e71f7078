"""napari layer data: what napari itself accepts, and the way back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from format_strategies import assert_same, family, tracks
from hypothesis import assume, given, settings

from helpers.errors import InputError
from helpers.tracking.formats.napari import from_napari, to_napari
from helpers.tracking.tracks import Tracks


def _as_napari_keeps(given: Tracks) -> Tracks:
    """Return the Tracks without what a layer has no place for (see the docstrings)."""
    objects = given.objects.drop(columns="measured", errors="ignore")
    size = given.voxel_size
    if size and not objects["z"].any():
        size = (1.0, *size[1:])
    return Tracks(objects, given.links, None if size and set(size) == {1.0} else size, given.frame_interval)


@settings(max_examples=40, deadline=None)
@given(tracks())
def test_round_trip_keeps_everything(drawn):
    assume(len(drawn.objects))  # The type of an empty column of text is lost.
    drawn = _as_napari_keeps(drawn)
    data, graph, properties, scale = to_napari(drawn)
    found = from_napari(data, graph, properties, scale, frame_interval=drawn.frame_interval)
    assert_same(found, drawn, ordered=False)


def test_napari_takes_it_and_gives_it_back():
    layers = pytest.importorskip("napari.layers")
    expected = family()
    data, graph, properties, scale = to_napari(expected)
    layer = layers.Tracks(data, graph=graph, properties=properties, scale=scale)
    assert layer.data.shape == (10, 5)
    found = from_napari(layer.data, layer.graph, layer.properties, layer.scale, frame_interval=30.0)
    assert_same(found, expected, ordered=False)
    assert len(found.divisions) == 1 and len(found.merges) == 1 and len(found.gaps) == 1


def test_positions_in_the_world_are_micrometres():
    expected = family()
    data, _, properties, scale = to_napari(expected)
    world = (data[:, 1:] * scale)[:, 1:]
    order = expected.objects.set_index("id").loc[properties["object id"]]
    np.testing.assert_allclose(world, order[["z", "y", "x"]])
    assert scale == (1.0, 2.0, 0.5, 0.25)


def test_a_gap_stays_in_its_tracklet_and_is_named():
    objects = pd.DataFrame({"id": [1, 2, 3], "frame": [0, 3, 4], "y": 1.0, "x": 2.0})
    data, graph, properties, _ = to_napari(
        Tracks(objects, pd.DataFrame({"source": [1, 2], "target": [2, 3]}))
    )
    assert data[:, 0].tolist() == [0, 0, 0] and graph == {}
    assert properties["missing frames before"].tolist() == [0, 2, 0]
    assert data.shape == (3, 4), "one plane is a 2D layer"


def test_no_objects():
    empty = Tracks(pd.DataFrame({"frame": [], "y": [], "x": []}))
    data, graph, properties, scale = to_napari(empty)
    assert data.shape == (0, 4) and graph == {}
    assert len(from_napari(data, graph, properties, scale).objects) == 0


def test_a_layer_without_properties():
    data = np.array([[7, 0, 5, 5], [7, 1, 6, 6], [9, 2, 7, 7], [8, 2, 5, 7]], float)
    found = from_napari(data, {9: 7, 8: [7]}, scale=(0.5, 0.5))
    assert found.voxel_size == (1.0, 0.5, 0.5)
    assert found.links[["source", "target"]].to_numpy().tolist() == [[0, 1], [1, 2], [1, 3]]
    assert found.objects["y"].tolist() == [2.5, 3.0, 3.5, 2.5]


@pytest.mark.parametrize(
    ("data", "graph", "message"),
    [
        (np.zeros((3, 3)), {}, "shape"),
        ([[1, 0, 1, 1], [1, 0, 2, 2]], {}, "twice in one frame"),
        ([[1, 0, 1, 1], [2, 1, 2, 2]], {2: [5]}, "no rows"),
        ([[1, 0, 1, 1], [1, 1, 1, 1], [2, 1, 2, 2]], {2: [1]}, "ends before"),
        ([[1, 0.5, 1, 1]], {}, "integers"),
    ],
)
def test_bad_layers_are_refused(data, graph, message):
    with pytest.raises(InputError, match=message):
        from_napari(np.array(data, float), graph)

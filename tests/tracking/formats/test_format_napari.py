"""napari layer data: what napari itself accepts, and the way back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.tracking.formats.napari import to_napari
from helpers.tracking.tracks import Tracks
from tests.tracking.formats.format_strategies import family


def test_napari_takes_it_and_gives_it_back():
    layers = pytest.importorskip("napari.layers")
    expected = family()
    data, graph, properties, scale = to_napari(expected)
    layer = layers.Tracks(data, graph=graph, properties=properties, scale=scale)
    assert layer.data.shape == (10, 5)
    assert layer.graph == graph and len(graph) > 1, "a division and a merge"
    assert set(properties) <= set(layer.properties)


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
    data, graph, *_ = to_napari(empty)
    assert data.shape == (0, 4) and graph == {}

"""GEFF of other programs: axes in any unit and order, times instead of frames, what is missing, outlines of cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import zarr

from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.tracking.formats import any_format, geff, geff_masks
from helpers.tracking.tracks import Tracks

package = pytest.importorskip("geff")


def foreign(path: Path, nodes: list[dict[str, Any]], units: dict[str, str], edges: tuple = (), **more: Any) -> Path:  # fmt: skip
    """Write a GEFF with geff itself; nodes are numbered from 0, the first axis is that of time."""
    graph = nx.DiGraph()
    for i, node in enumerate(nodes):
        graph.add_node(i, **node)
    graph.add_edges_from(edges)
    types = ["time", *["space"] * (len(units) - 1)]
    names = {"axis_names": list(units), "axis_types": types, "axis_units": list(units.values())}
    package.write(graph, path, **names, **more)
    return path


def at(*times: float, **more: list) -> list[dict[str, Any]]:
    """Return nodes at these times."""
    columns = {name: values for name, values in more.items()}
    return [
        {"t": t, "y": 1.0, "x": 2.0, **{n: v[i] for n, v in columns.items()}} for i, t in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("unit", "times", "given", "frames", "interval"),
    [
        ("frame", [0, 2, 5], None, [0, 2, 5], None),
        ("frame", [0, 2, 5], 20.0, [0, 2, 5], 20.0),
        ("minute", [0.0, 0.5, 2.0], None, [0, 1, 4], 30.0),
        ("second", [10.0, 20.0, 40.0], None, [1, 2, 4], 10.0),
        ("second", [0.0, 60.0], 20.0, [0, 3], 20.0),
        ("minute", [0.0, 1.0], 20.0, [0, 3], 20.0),
        ("hour", [0.0, 1.0], None, [0, 1], 3600.0),
    ],
)
def test_times_become_frames(tmp_path: Path, unit: str, times: list, given: float | None, frames: list, interval) -> None:  # fmt: skip
    path = foreign(tmp_path / "t.geff", at(*times), {"t": unit, "y": "micrometer", "x": "micrometer"})
    found = geff.read(path, frame_interval=given)
    assert found.objects["frame"].tolist() == frames and found.frame_interval == interval


def test_a_property_that_counts_frames_decides(tmp_path: Path) -> None:
    units = {"t": "second", "y": "micrometer", "x": "micrometer"}
    found = geff.read(foreign(tmp_path / "t.geff", at(0.0, 90.0, FRAME=[0, 9]), units))
    assert found.objects["frame"].tolist() == [0, 9] and found.frame_interval == 10
    assert "FRAME" not in found.objects


@pytest.mark.parametrize(
    ("unit", "times", "given", "message"),
    [
        ("second", [0.0, 1.0, 1.5], 1.0, "multiples of one interval"),
        ("frame", [0.0, 0.5], None, "whole frames"),
        ("fortnight", [0.0, 1.0], None, "fortnight"),
    ],
)
def test_times_that_are_no_frames(tmp_path: Path, unit: str, times: list, given: float | None, message: str) -> None:  # fmt: skip
    path = tmp_path / "t.geff"
    with pytest.warns(UserWarning) if unit == "fortnight" else _nothing():
        foreign(path, at(*times), {"t": unit, "y": "micrometer", "x": "micrometer"})
    with pytest.raises(InputError, match=message):
        geff.read(path, frame_interval=given)


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_axes_are_known_by_name_then_by_order(tmp_path: Path) -> None:
    node = {"t": 0, "POSITION_X": 1.0, "POSITION_Z": 3.0, "POSITION_Y": 2.0}
    units = {"t": "frame", "POSITION_X": "micrometer", "POSITION_Y": "millimeter", "POSITION_Z": "nanometer"}
    found = geff.read(foreign(tmp_path / "named.geff", [node], units)).objects
    assert found[["z", "y", "x"]].to_numpy().tolist() == [[0.003, 2000, 1]]
    node = {"t": 0, "depth": 1.0, "row": 2.0, "column": 3.0}
    units = {"t": "frame", "depth": "micrometer", "row": "micrometer", "column": "micrometer"}
    found = geff.read(foreign(tmp_path / "unnamed.geff", [node], units)).objects
    assert found[["z", "y", "x"]].to_numpy().tolist() == [[1, 2, 3]]


def test_pixels_take_the_size_of_their_own_axis(tmp_path: Path) -> None:
    node = {"t": 0, "z": 10.0, "y": 10.0, "x": 10.0}
    path = foreign(tmp_path / "t.geff", [node], {"t": "frame", "z": "pixel", "y": "pixel", "x": "pixel"})
    found = geff.read(path, voxel_size=(2.0, 0.5, 0.25))
    assert found.objects[["z", "y", "x"]].to_numpy().tolist() == [[20, 5, 2.5]]
    with pytest.warns(UserWarning, match="axis z is in pixel; its positions stay"):
        assert geff.read(path).objects["z"].tolist() == [10]


def test_scale_and_scaled_unit_win_over_the_unit(tmp_path: Path) -> None:
    units = {"t": "frame", "y": "pixel", "x": "pixel"}
    scales = {"axis_scales": [90.0, 0.5, 0.25], "scaled_units": ["second", "micrometer", "micrometer"]}
    found = geff.read(foreign(tmp_path / "t.geff", at(0, 1), units, axis_offset=None, **scales))
    assert found.objects[["y", "x"]].to_numpy().tolist() == [[0.5, 0.5]] * 2
    assert found.frame_interval == 90


def test_what_some_nodes_lack_is_missing_there(tmp_path: Path) -> None:
    nodes = at(0, 1, 2)
    nodes[0]["area"], nodes[2]["area"], nodes[1]["kind"] = 4, 6, "größer"
    found = geff.read(foreign(tmp_path / "t.geff", nodes, {"t": "frame", "y": "micrometer", "x": "micrometer"}))  # fmt: skip
    np.testing.assert_array_equal(found.objects["area"], [4, np.nan, 6])
    assert [None if pd.isna(v) else v for v in found.objects["kind"]] == [None, "größer", None]


def test_edges_keep_direction_and_properties(tmp_path: Path) -> None:
    units = {"t": "frame", "y": "micrometer", "x": "micrometer"}
    edges = ((0, 1, {"weight": 0.5}), (0, 2, {"weight": 1.5}))
    found = geff.read(foreign(tmp_path / "t.geff", at(0, 1, 1), units, edges))
    assert sorted(found.links[["source", "target", "weight"]].to_numpy().tolist()) == [[0, 1, 0.5], [0, 2, 1.5]]  # fmt: skip
    assert found.divisions["daughters"].tolist() == [(1, 2)]


def test_a_graph_without_direction_is_refused(tmp_path: Path) -> None:
    graph = nx.Graph()
    graph.add_node(0, t=0, y=1.0, x=1.0)
    graph.add_node(1, t=1, y=1.0, x=1.0)
    graph.add_edge(0, 1)
    names = {"axis_names": ["t", "y", "x"], "axis_types": ["time", "space", "space"]}
    package.write(graph, tmp_path / "t.geff", **names)
    with pytest.raises(InputError, match="edges without direction are not tracks"):
        geff.read(tmp_path / "t.geff")


@pytest.mark.parametrize("planes", [1, 4])
def test_outlines_are_the_voxels_of_each_cell(tmp_path: Path, planes: int) -> None:
    """Written beside the nodes and read again: exactly the voxels, in any frame and plane, beyond 16 bits."""
    rng = np.random.default_rng(1)
    frames = [np.zeros((planes, 12, 15), np.int32) for _ in range(2)]
    frames[0][:, 2:5, 3:7] = 70_000
    frames[0][0, 2, 3] = 0  # not a box
    frames[1][planes // 2, 8:11, 9:13] = np.where(rng.random((3, 4)) < 0.5, 4, 9)
    rows = [(5, 0, 70_000), (6, 1, 4), (9, 1, 9)]
    objects = pd.DataFrame(rows, columns=["id", "frame", "label"]).assign(z=0.5 * (planes > 1), y=1.0, x=1.0)
    movie = LabelMovie.create(tmp_path / "labels.zarr", (2, planes, 12, 15), voxel_size=(2, 0.5, 0.25))
    for t, frame in enumerate(frames):
        movie.write_frame(t, frame)
    tracks = Tracks(objects, pd.DataFrame({"source": [5], "target": [9]}), (2, 0.5, 0.25))
    geff.write(tracks, tmp_path / "t.geff", masks=movie)
    outlines = geff_masks.read(tmp_path / "t.geff")
    assert outlines is not None and sorted(outlines) == [5, 6, 9]
    for i, t, label in rows:
        found = outlines[i].index((planes, 12, 15))
        np.testing.assert_array_equal(found, np.flatnonzero(frames[t] == label))
    attributes: dict[str, Any] = dict(zarr.open_group(str(tmp_path / "t.geff"), mode="r").attrs)
    about = attributes["geff"]["extra"]["tracksdata"]
    assert about["shape"] == ([2, 12, 15] if planes == 1 else [2, 4, 12, 15])
    assert about["scale"] == ([0.5, 0.25] if planes == 1 else [2, 0.5, 0.25])
    assert not {"mask", "bbox"} & set(any_format.read(tmp_path / "t.geff").objects), "no columns of theirs"


def test_a_cell_without_voxels_leaves_all_masks_out(tmp_path: Path) -> None:
    movie = LabelMovie.create(tmp_path / "labels.zarr", (1, 1, 4, 4), voxel_size=(1, 1, 1))
    movie.write_frame(0, np.eye(4, dtype=np.int32)[None] * 3)
    for label in (2, 8):
        objects = pd.DataFrame({"frame": [0, 0], "label": [3, label], "y": 1.0, "x": 1.0})
        assert geff_masks.properties(objects, movie) is None
    geff.write(Tracks(objects), tmp_path / "t.geff", masks=movie)
    assert not geff_masks.has_masks(tmp_path / "t.geff") and geff_masks.read(tmp_path / "t.geff") is None


@pytest.mark.parametrize("start", [(0, 3, 0), (0, 0, -1)])
def test_an_outline_beyond_the_frame_is_refused(start: tuple[int, ...]) -> None:
    outline = geff_masks.Outline(np.ones((1, 2, 2), bool), start)
    with pytest.raises(InputError, match=r"cells inside \(1, 4, 4\)"):
        outline.index((1, 4, 4))
    assert geff_masks.Outline(np.ones((1, 2, 2), bool), (0, 2, 2)).index((1, 4, 4)).tolist() == [10, 11, 14, 15]  # fmt: skip

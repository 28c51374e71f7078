"""Tracks: what is refused, and what follows from objects and links."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import InputError
from helpers.tracking.tracks import Tracks


def _objects(frames: list[int], ids: list[int] | None = None, **columns) -> pd.DataFrame:
    table = pd.DataFrame({"frame": frames, "z": 0.0, "y": 0.0, "x": np.arange(len(frames), dtype=float)})
    if ids is not None:
        table.insert(0, "id", ids)
    return table.assign(**columns)


def _links(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["source", "target"])


@pytest.fixture
def family() -> Tracks:
    """10─11─12 divides into 14─15 and, over a gap, 13; 16 and 15 merge in 17; 99 is alone."""
    objects = _objects([0, 1, 2, 4, 3, 4, 4, 5, 2], [10, 11, 12, 13, 14, 15, 16, 17, 99], volume_um3=1.5)
    links = _links((10, 11), (11, 12), (12, 13), (12, 14), (14, 15), (15, 17), (16, 17))
    return Tracks(objects, links, (2.0, 0.5, 0.5), 60.0)


def test_tracklets_run_between_divisions_and_merges(family):
    by_id = dict(zip(family.objects["id"], family.tracklet_ids, strict=True))
    groups = {}
    for name, tracklet in by_id.items():
        groups.setdefault(tracklet, set()).add(name)
    assert sorted(map(sorted, groups.values())) == [[10, 11, 12], [13], [14, 15], [16], [17], [99]]
    assert by_id[10] == 0


def test_tracks_are_connected_components_and_a_lone_object_is_in_none(family):
    assert family.track_ids.tolist() == [0] * 8 + [-1]
    assert (family.n_tracks, family.n_tracklets) == (1, 6)


def test_ancestry(family):
    t = dict(zip(family.objects["id"], family.tracklet_ids.tolist(), strict=True))
    assert family.parents == {t[13]: [t[10]], t[14]: [t[10]], t[17]: sorted([t[14], t[16]])}
    assert family.children[t[10]] == sorted([t[13], t[14]])
    assert [family.generations[t[i]] for i in (10, 13, 14, 16, 17, 99)] == [0, 1, 1, 0, 1, 0]
    assert [family.lineages[t[i]] for i in (13, 14, 17, 16)] == [t[10], t[10], t[10], t[16]]


def test_events(family):
    assert family.divisions.to_dict("records") == [{"frame": 2, "parent": 12, "daughters": (13, 14)}]
    assert family.merges.to_dict("records") == [{"frame": 5, "child": 17, "parents": (15, 16)}]
    gap = family.gaps.iloc[0]
    assert (gap.source, gap.target, gap.source_frame, gap.target_frame, gap.missing) == (12, 13, 2, 4, 1)
    assert len(family.gaps) == 1


def test_a_gap_does_not_break_a_tracklet():
    tracks = Tracks(_objects([0, 1, 5], [1, 2, 3]), _links((1, 2), (2, 3)))
    assert tracks.tracklet_ids.tolist() == [0, 0, 0]


def test_columns_order_and_ids_pass_through(family):
    assert family.objects["volume_um3"].eq(1.5).all()
    assert family.objects["id"].tolist() == [10, 11, 12, 13, 14, 15, 16, 17, 99]
    assert np.isnan(family.links["cost"]).all()
    annotated = family.annotated()
    assert {"track_id", "tracklet_id", "generation", "lineage"} <= set(annotated)


def test_a_table_without_ids_or_z_gets_them():
    tracks = Tracks(pd.DataFrame({"frame": [3, 0], "y": [1, 2], "x": [1, 2]}))
    assert tracks.objects["id"].tolist() == [0, 1]
    assert tracks.objects["z"].tolist() == [0.0, 0.0]
    assert len(tracks.links) == 0


def test_the_given_tables_are_not_changed():
    objects = _objects([0, 1])
    before = objects.copy()
    Tracks(objects, _links((0, 1)))
    pd.testing.assert_frame_equal(objects, before)


def test_empty_movie():
    tracks = Tracks(_objects([]))
    assert (tracks.n_tracks, tracks.n_tracklets, len(tracks.divisions), len(tracks.gaps)) == (0, 0, 0, 0)
    assert tracks.parents == {}


def test_unsorted_rows_and_missing_frames_give_the_same_tracks(family):
    shuffled = family.objects.sample(frac=1, random_state=1)
    again = Tracks(shuffled, family.links.sample(frac=1, random_state=2))
    pd.testing.assert_frame_equal(again.divisions, family.divisions)
    ids = again.objects["id"].map(dict(zip(family.objects["id"], family.track_ids, strict=True)))
    assert ids.tolist() == again.track_ids.tolist()


NAN = float("nan")


@pytest.mark.parametrize(
    ("objects", "links", "says"),
    [
        (_objects([0, 1, 1], [1, 2, 2]), _links(), "repeated"),
        (_objects([0, 1], [1, 2]), _links((1, 7)), "not in the object table"),
        (_objects([0, 1], [1, 2]), _links((7, 2)), "not in the object table"),
        (_objects([0, 1], [1, 2]), _links((2, 1)), "backwards"),
        (_objects([1, 1], [1, 2]), _links((1, 2)), "one frame"),
        (_objects([1], [1]), _links((1, 1)), "one frame"),
        (_objects([0, 1], [1, 2]), _links((1, 2), (1, 2)), "repeated"),
        (_objects([0, 1, 2], [1, 2, 3]), _links((1, 2), (2, 3), (3, 1)), "backwards"),
        (_objects([0, 1], y=[0.0, NAN]), _links(), "position"),
        (_objects([0, 1], x=[0.0, float("inf")]), _links(), "position"),
        (_objects([0, 1], x=["a", "b"]), _links(), "numbers"),
        (_objects([0, -1]), _links(), "count from 0"),
        (_objects([0, 1]).assign(frame=[0, 0.5]), _links(), "integers"),
        (_objects([0, 1]).assign(id=[0.5, 1]), _links(), "integers"),
        (_objects([0, 1]).drop(columns="x"), _links(), "missing columns"),
        (_objects([0, 1]), pd.DataFrame({"source": [0]}), "missing columns"),
        ("objects.csv", _links(), "DataFrame"),
    ],
)
def test_bad_tables_are_refused(objects, links, says):
    with pytest.raises(InputError, match=says):
        Tracks(objects, links)


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 1), (1, NAN, 1), (1, 1, 1, 1)])
def test_bad_voxel_sizes(size):
    if len(size) == 2:
        assert Tracks(_objects([0]), voxel_size=size).voxel_size == (1.0, 1.0, 1.0)
        return
    with pytest.raises(InputError, match="voxel_size"):
        Tracks(_objects([0]), voxel_size=size)


@pytest.mark.parametrize("interval", [0, -1, NAN])
def test_bad_frame_intervals(interval):
    with pytest.raises(InputError, match="frame_interval"):
        Tracks(_objects([0]), frame_interval=interval)


@st.composite
def _graphs(draw):
    frames = draw(st.lists(st.integers(0, 5), min_size=1, max_size=15))
    ids = draw(st.permutations(range(100, 100 + len(frames))))
    pairs = [(a, b) for a in range(len(frames)) for b in range(len(frames)) if frames[a] < frames[b]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    return frames, list(ids), [(ids[a], ids[b]) for a, b in chosen]


@settings(max_examples=60, deadline=None)
@given(_graphs())
def test_derived_ids_agree_with_networkx(graph):
    frames, ids, pairs = graph
    tracks = Tracks(_objects(frames, ids), _links(*pairs))
    peer = nx.DiGraph()
    peer.add_nodes_from(ids)
    peer.add_edges_from(pairs)

    def parts(labels) -> set[frozenset[int]]:
        table = pd.Series(ids).groupby(np.asarray(labels))
        return {frozenset(group) for name, group in table if name >= 0}

    components = {frozenset(c) for c in nx.weakly_connected_components(peer) if len(c) > 1}
    assert parts(tracks.track_ids) == components
    cut = peer.copy()
    cut.remove_edges_from([(a, b) for a, b in pairs if peer.out_degree(a) > 1 or peer.in_degree(b) > 1])
    assert parts(tracks.tracklet_ids) == {frozenset(c) for c in nx.weakly_connected_components(cut)}
    assert {d.parent for d in tracks.divisions.itertuples()} == {n for n in peer if peer.out_degree(n) > 1}
    depth = {}
    for node in nx.topological_sort(peer):
        depth[node] = max((depth[p] + (peer.out_degree(p) > 1) for p in peer.predecessors(node)), default=0)
    found = tracks.annotated().set_index("id")["generation"]
    assert {node: int(found[node]) for node in ids} == depth


def test_every_cell_of_a_track_with_a_division_is_said_to_be_of_one(family):
    table = family.annotated()
    dividing = set(table.loc[table["id"].isin(family.divisions["parent"]), "track_id"])
    assert 0 < table["divides"].sum() < len(table)
    assert (table["divides"] == table["track_id"].isin(dividing)).all()

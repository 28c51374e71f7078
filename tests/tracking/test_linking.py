"""LAP linking: TrackMate's own links, and the optimum against dense and brute-force references."""

from __future__ import annotations

import itertools
import tracemalloc
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from helpers.errors import InputError
from helpers.tracking.assignment import match
from helpers.tracking.linking import LapParameters, link

BLOCKED = 1e9

# ---- TrackMate's own links ---------------------------------------------------------------------------


def _trackmate(path):
    """Return (visible objects, {(source, target): cost}, parameters) of a file; a parser of the test's own."""
    root = ET.parse(path).getroot()
    spots = [s for s in root.iter("Spot") if s.get("VISIBILITY") == "1"]
    objects = pd.DataFrame(
        {
            "id": [int(s.get("ID")) for s in spots],
            "frame": [int(float(s.get("FRAME"))) for s in spots],
            **{axis.lower(): [float(s.get(f"POSITION_{axis}")) for s in spots] for axis in "ZYX"},
        }
    )
    frame = dict(zip(objects["id"], objects["frame"], strict=True))
    edges = {}
    for edge in root.iter("Edge"):
        ends = int(edge.get("SPOT_SOURCE_ID")), int(edge.get("SPOT_TARGET_ID"))
        edges[tuple(sorted(ends, key=frame.__getitem__))] = float(edge.get("LINK_COST"))
    found = root.find(".//TrackerSettings")
    gap, split, merge = (found.find(tag) for tag in ("GapClosing", "TrackSplitting", "TrackMerging"))
    parameters = LapParameters(
        max_distance=float(found.find("Linking").get("LINKING_MAX_DISTANCE")),
        alternative_linking_cost_factor=float(found.get("ALTERNATIVE_LINKING_COST_FACTOR")),
        cutoff_percentile=float(found.get("CUTOFF_PERCENTILE")),
        gap_closing=gap.get("ALLOW_GAP_CLOSING") == "true",
        gap_closing_max_distance=float(gap.get("GAP_CLOSING_MAX_DISTANCE")),
        max_frame_gap=int(gap.get("MAX_FRAME_GAP")),
        splitting=split.get("ALLOW_TRACK_SPLITTING") == "true",
        splitting_max_distance=float(split.get("SPLITTING_MAX_DISTANCE")),
        merging=merge.get("ALLOW_TRACK_MERGING") == "true",
        merging_max_distance=float(merge.get("MERGING_MAX_DISTANCE")),
    )
    return objects, edges, parameters


def _edges(tracks) -> dict[tuple[int, int], float]:
    return {(a, b): cost for a, b, cost in tracks.links[["source", "target", "cost"]].itertuples(index=False)}


@pytest.mark.parametrize("name", ["with_gap_closing", "with_splitting_merging"])
def test_links_equal_those_of_trackmate(samples, name):
    objects, edges, parameters = _trackmate(samples / "tracks" / f"{name}.xml")
    ours = _edges(link(objects, parameters))
    assert ours.keys() == edges.keys()
    assert all(ours[pair] == pytest.approx(edges[pair], rel=1e-12) for pair in edges)


def test_links_equal_those_of_a_trackmate_file_whose_merge_was_cut_by_hand(samples):
    objects, edges, parameters = _trackmate(samples / "tracks" / "FakeTracks_v8.xml")
    ours = _edges(link(objects, parameters))
    # Spot 2066 has two sources; its author removed one of the links afterwards.
    assert ours.keys() - edges.keys() == {(2064, 2066)}
    assert edges.keys() <= ours.keys()


def test_links_equal_those_of_a_hand_edited_3d_file_away_from_the_edits(samples):
    objects, edges, parameters = _trackmate(samples / "tracks" / "Celegans-5pc-17timepoints.xml")
    ours = _edges(link(objects, parameters))
    differ = ours.keys() ^ edges.keys()
    touched = {spot for pair in edges if edges[pair] == -1 for spot in pair}
    touched |= {spot for pair in differ if touched & set(pair) for spot in pair}
    assert all(touched & set(pair) for pair in differ)
    assert len(ours.keys() & edges.keys()) == 79


# ---- the optimum -------------------------------------------------------------------------------------


def _dense(n_rows, n_columns, i, j, cost, b):
    """Return the full matrix of TrackMate: candidates, two diagonals, transposed pattern."""
    full = np.full((n_rows + n_columns, n_rows + n_columns), BLOCKED)
    full[i, j] = cost
    full[np.arange(n_rows), n_columns + np.arange(n_rows)] = b
    full[n_rows + np.arange(n_columns), np.arange(n_columns)] = b
    full[n_rows + j, n_columns + i] = b
    return full


def _dense_total(n_rows, n_columns, i, j, cost, b) -> float:
    full = _dense(n_rows, n_columns, i, j, cost, b)
    return full[linear_sum_assignment(full)].sum()


def _total(n_rows, n_columns, cost, chosen, b) -> float:
    """Return what the square matrix costs with these links: k links leave k dummies to the lower right."""
    return cost[chosen].sum() + (n_rows + n_columns - len(chosen)) * b


@st.composite
def _problems(draw, most=7):
    n, m = draw(st.integers(1, most)), draw(st.integers(1, most))
    pattern = draw(st.lists(st.booleans(), min_size=n * m, max_size=n * m))
    i, j = np.nonzero(np.array(pattern).reshape(n, m))
    # Few distinct costs make ties, the hardest case for a shortest path.
    values = st.sampled_from([0.0, 0.25, 0.5, 1.0]) if draw(st.booleans()) else st.floats(0, 2)
    cost = np.array(draw(st.lists(values, min_size=len(i), max_size=len(i))), float)
    order = np.array(draw(st.permutations(range(len(i)))), dtype=int)
    return n, m, i[order], j[order], cost[order], draw(st.sampled_from([1.0, 1.05, 0.3]))


@settings(max_examples=150, deadline=None)
@given(_problems(4))
def test_matching_equals_brute_force(problem):
    n, m, i, j, cost, b = problem
    chosen = match(i, j, cost, b)
    best = 0.0
    for size in range(1, min(n, m) + 1):
        for some in itertools.combinations(range(len(i)), size):
            some = list(some)
            if len(set(i[some])) == len(set(j[some])) == size:
                best = min(best, (cost[some] - b).sum())
    assert (cost[chosen] - b).sum() == pytest.approx(best, abs=1e-9)
    assert len(set(i[chosen])) == len(set(j[chosen])) == len(chosen)


@settings(max_examples=150, deadline=None)
@given(_problems(9))
def test_matching_equals_the_dense_matrix(problem):
    n, m, i, j, cost, b = problem
    chosen = match(i, j, cost, b)
    assert _total(n, m, cost, chosen, b) == pytest.approx(_dense_total(n, m, i, j, cost, b), abs=1e-9)


@pytest.mark.parametrize("density", [0.02, 0.1, 0.5, 1.0])
def test_large_matchings_equal_the_dense_matrix(density):
    rng = np.random.default_rng(3)
    n, m = 300, 280
    i, j = np.nonzero(rng.random((n, m)) < density)
    cost = rng.random(len(i))
    chosen = match(i, j, cost, 1.05)
    assert _total(n, m, cost, chosen, 1.05) == pytest.approx(_dense_total(n, m, i, j, cost, 1.05), abs=1e-9)


def test_a_row_without_room_leaves_the_cheaper_one_linked():
    # Two sources, one target; then a chain in which the later source must push the earlier one over.
    assert match(np.array([0, 1]), np.array([0, 0]), np.array([0.5, 0.2]), 1.0).tolist() == [1]
    chain = np.array([[0, 0, 0.1], [0, 1, 0.2], [1, 0, 0.3], [1, 2, 0.9], [2, 1, 0.4]])
    chosen = match(chain[:, 0].astype(int), chain[:, 1].astype(int), chain[:, 2], 1.0)
    assert set(chosen) in ({0, 3, 4}, {1, 2}) and chain[chosen, 2].sum() - len(chosen) == pytest.approx(-1.6)


def test_the_order_of_the_candidates_does_not_matter():
    rng = np.random.default_rng(5)
    i, j = np.nonzero(rng.random((40, 40)) < 0.3)
    cost = rng.integers(1, 3, len(i)) / 4
    pairs = {(a, b) for a, b in zip(*(x[match(i, j, cost, 1.0)] for x in (i, j)), strict=True)}
    for _ in range(5):
        p = rng.permutation(len(i))
        k = match(i[p], j[p], cost[p], 1.0)
        assert set(zip(i[p][k], j[p][k], strict=True)) == pairs


# ---- linking of objects ------------------------------------------------------------------------------


def _movie(rng, n=25, frames=7, box=60.0, step=3.0, lost=0.1, born=0.1) -> pd.DataFrame:
    positions = rng.random((n, 3)) * (0.3 * box, box, box)
    parts = []
    for t in range(frames):
        seen = positions[rng.random(len(positions)) > lost]
        parts.append(pd.DataFrame(seen, columns=["z", "y", "x"]).assign(frame=t))
        daughters = positions[rng.random(len(positions)) < born]
        positions = np.vstack([positions, daughters + rng.normal(0, step, daughters.shape)])
        positions = positions + rng.normal(0, step, positions.shape)
    table = pd.concat(parts, ignore_index=True)
    return table.assign(id=rng.permutation(len(table)) + 1000, volume_um3=rng.uniform(50, 150, len(table)))


def _reference(objects: pd.DataFrame, p: LapParameters) -> dict[tuple[int, int], float]:
    """Link as TrackMate does, with dense matrices and loops."""
    rows = {row.id: row for row in objects.itertuples()}

    def cost(a, b, penalties):
        d2 = (a.x - b.x) ** 2 + (a.y - b.y) ** 2 + (a.z - b.z) ** 2
        factor = 1.0
        for name, weight in penalties.items():
            u, v = getattr(a, name), getattr(b, name)
            factor += 0 if u == -v or np.isnan(u - v) else weight * 1.5 * abs(u - v) / ((u + v) / 2)
        return max(d2, np.finfo(float).tiny) * factor * factor

    def solve(candidates: dict[tuple[int, int], float], b: float):
        sources = sorted({a for a, _ in candidates})
        targets = sorted({b for _, b in candidates})
        i = np.array([sources.index(a) for a, _ in candidates])
        j = np.array([targets.index(b) for _, b in candidates])
        full = _dense(len(sources), len(targets), i, j, np.array(list(candidates.values())), b)
        r, c = linear_sum_assignment(full)
        return {
            (sources[u], targets[v]): candidates[sources[u], targets[v]]
            for u, v in zip(r, c, strict=True)
            if u < len(sources) and v < len(targets)
        }

    links: dict[tuple[int, int], float] = {}
    by_frame = {t: [rows[k] for k in part["id"]] for t, part in objects.groupby("frame")}
    for t, sources in by_frame.items():
        candidates = {
            (a.id, b.id): cost(a, b, p.penalties)
            for a in sources
            for b in by_frame.get(t + 1, [])
            if cost(a, b, p.penalties) < p.max_distance**2
        }
        if candidates:
            links |= solve(candidates, p.alternative_linking_cost_factor * max(candidates.values()))

    targets, sources = {b for _, b in links}, {a for a, _ in links}
    starts, ends, middles = sources - targets, targets - sources, sources & targets
    candidates = {}
    kinds = [
        (p.gap_closing, ends, starts, p.max_frame_gap, p.gap_closing_max_distance, p.gap_closing_penalties),
        (p.merging, ends, middles, 1, p.merging_max_distance, p.merging_penalties),
        (p.splitting, middles, starts, 1, p.splitting_max_distance, p.splitting_penalties),
    ]
    for allowed, some, others, gap, distance, penalties in kinds:
        for a, b in itertools.product(some, others) if allowed else ():
            if 1 <= rows[b].frame - rows[a].frame <= gap:
                value = cost(rows[a], rows[b], penalties)
                if value <= distance**2:
                    candidates[a, b] = value
    if candidates:
        ordered = sorted(candidates.values())
        index = int(np.floor((len(ordered) - 1) * p.cutoff_percentile + 0.5))
        links |= solve(candidates, p.alternative_linking_cost_factor * ordered[index])
    return links


ALL = {"splitting": True, "merging": True}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "parameters",
    [
        LapParameters(),
        LapParameters(gap_closing=False),
        LapParameters(max_distance=9.0, max_frame_gap=3, **ALL),
        LapParameters(penalties={"volume_um3": 1.0}, splitting_penalties={"volume_um3": 0.5}, **ALL),
        LapParameters(
            alternative_linking_cost_factor=1.5, cutoff_percentile=0.5, merging_max_distance=8, **ALL
        ),
        LapParameters(max_distance=60.0, gap_closing_max_distance=30, max_frame_gap=4, **ALL),
    ],
)
def test_links_equal_a_dense_reference(seed, parameters):
    objects = _movie(np.random.default_rng(seed))
    ours = _edges(link(objects, parameters))
    theirs = _reference(objects, parameters)
    assert ours.keys() == theirs.keys()
    assert sum(ours.values()) == pytest.approx(sum(theirs.values()), rel=1e-12)
    assert len(ours) > 50


def test_features_that_may_be_negative_or_missing():
    """Contrast can be negative: then P < 1, and a far object can be a candidate."""
    objects = _movie(np.random.default_rng(8), n=15)
    rng = np.random.default_rng(9)
    contrast = rng.normal(0, 1, len(objects))
    contrast[rng.random(len(objects)) < 0.2] = np.nan
    objects = objects.assign(contrast=contrast)
    parameters = LapParameters(penalties={"contrast": 0.7}, gap_closing_penalties={"contrast": 0.7})
    ours = _edges(link(objects, parameters))
    assert ours.keys() == _reference(objects, parameters).keys()
    far = objects.set_index("id")[["z", "y", "x"]]
    lengths = [np.linalg.norm(far.loc[a] - far.loc[b]) for a, b in ours]
    assert max(lengths) > 15


def test_opposite_features_add_no_penalty():
    """TrackMate's difference is 0 for a = −b, where the formula would divide by 0."""
    opposite = pd.DataFrame({"frame": [0, 1], "y": 0.0, "x": [0.0, 2.0], "contrast": [0.5, -0.5]})
    assert link(opposite, LapParameters(penalties={"contrast": 1.0})).links["cost"].tolist() == [4.0]


def _line(*points: tuple[int, float], **columns) -> pd.DataFrame:
    table = pd.DataFrame(points, columns=["frame", "x"])
    return table.assign(y=0.0, z=0.0, **columns)


def test_the_distance_from_frame_to_frame_is_not_reached_that_of_gaps_is():
    assert len(link(_line((0, 0.0), (1, 15.0))).links) == 0
    assert len(link(_line((0, 0.0), (1, 14.999))).links) == 1
    # A second candidate makes the no-link cost; lone objects take no part in gap closing.
    chains = _line((0, 0.0), (1, 0.0), (3, 15.0), (4, 15.0))
    assert len(link(chains, LapParameters(max_distance=1)).links) == 3
    assert len(link(_line((0, 0.0), (2, 1.0)), LapParameters()).links) == 0


def test_max_frame_gap_counts_frames_not_missing_ones():
    two_missing = _line((0, 0.0), (1, 0.0), (4, 0.0), (5, 0.0))
    assert len(link(two_missing, LapParameters(max_frame_gap=2)).links) == 2
    assert len(link(two_missing, LapParameters(max_frame_gap=3)).gaps) == 1


def test_a_cell_that_does_not_move_is_linked():
    tracks = link(_line((0, 1.0), (1, 1.0), (2, 1.0)))
    assert tracks.n_tracklets == 1


def test_three_frames_without_objects_end_tracks_and_order_of_rows_does_not_matter():
    objects = _movie(np.random.default_rng(4)).query("frame not in [3, 4, 5]")
    tracks = link(objects, LapParameters(max_frame_gap=2))
    source, target = tracks.objects["frame"].to_numpy()[tracks.link_rows].T
    assert not ((source < 3) & (target > 5)).any()
    again = link(objects.sample(frac=1, random_state=0), LapParameters(max_frame_gap=2))
    assert _edges(again) == _edges(tracks)


def test_equal_costs_are_settled_by_ids():
    square = pd.DataFrame(
        {"frame": [0, 0, 1, 1], "x": [0.0, 1, 0, 1], "y": [0.0, 1, 1, 0], "z": 0.0, "id": [4, 3, 2, 1]}
    )
    first = _edges(link(square))
    assert all(_edges(link(square.sample(frac=1, random_state=k))) == first for k in range(5))
    assert len(first) == 2


def test_a_large_percolating_frame_needs_no_dense_matrix():
    """One component of 2 × 5,000 objects with some 60 candidates each; a dense matrix would take 800 MB."""
    rng = np.random.default_rng(0)
    n = 5000
    a = rng.random((n, 3)) * 104
    b = a + rng.normal(0, 2, a.shape)
    objects = pd.DataFrame(np.vstack([a, b]), columns=["z", "y", "x"]).assign(frame=np.repeat([0, 1], n))
    tracemalloc.start()
    tracks = link(objects)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6

    near = cKDTree(a).sparse_distance_matrix(cKDTree(b), 15.0, output_type="ndarray")
    cost = near["v"] ** 2
    no_link = 1.05 * cost.max()
    # scipy's sparse solver wants every source matched: each gets a target of its own that stands for none.
    rows, columns = np.append(near["i"], np.arange(n)), np.append(near["j"], n + np.arange(n))
    graph = csr_array((np.append(cost, np.full(n, no_link)), (rows, columns)), shape=(n, 2 * n))
    i, j = min_weight_full_bipartite_matching(graph)
    best = graph[i, j].sum()
    assert tracks.links["cost"].sum() + (n - len(tracks.links)) * no_link == pytest.approx(best, rel=1e-12)


def test_empty_and_single_frame_movies():
    none = link(pd.DataFrame({"frame": [], "z": [], "y": [], "x": []}), LapParameters(**ALL))
    assert len(none.objects) == len(none.links) == 0
    one = link(_line((4, 0.0), (4, 1.0)), LapParameters(**ALL), voxel_size=(2, 1, 1), frame_interval=30)
    assert len(one.links) == 0
    assert (one.voxel_size, one.frame_interval) == ((2.0, 1.0, 1.0), 30.0)


def test_overlap_as_a_term_of_the_cost():
    """Two cells cross; their overlaps tell them apart where distance does not."""
    objects = _line((0, 0.0), (0, 4.0), (1, 3.0), (1, 1.0)).assign(id=[0, 1, 2, 3])
    overlaps = pd.DataFrame({"source": [0, 1], "target": [2, 3], "iou": [0.8, 0.8]})
    assert set(_edges(link(objects))) == {(0, 3), (1, 2)}
    weighted = link(objects, LapParameters(overlap_weight=5.0), overlaps=overlaps)
    assert set(_edges(weighted)) == {(0, 2), (1, 3)}
    assert _edges(weighted)[0, 2] == pytest.approx(9 * (1 + 5 * 1.5 * 0.2) ** 2)
    with pytest.raises(InputError, match="overlaps"):
        link(objects, LapParameters(overlap_weight=5.0))


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_distance", -1.0), ("max_distance", None), ("max_distance", "15"), ("max_distance", NAN), ("gap_closing_max_distance", -15.0),
        ("splitting_max_distance", -1), ("merging_max_distance", NAN), ("max_frame_gap", -1),
        ("alternative_linking_cost_factor", -0.1), ("cutoff_percentile", 1.2), ("cutoff_percentile", -0.1),
        ("penalties", {"volume_um3": -1.0}), ("overlap_weight", -1.0), ("max_distance", True), ("max_frame_gap", 1.5),
        ("max_frame_gap", "2"), ("splitting", "yes"), ("merging", 1),
    ],
)  # fmt: skip
def test_bad_parameters_are_named(name, value):
    with pytest.raises(InputError, match=name):
        LapParameters(**{name: value})


def test_bad_objects_and_penalties_are_named():
    with pytest.raises(InputError, match="penalties"):
        link(_line((0, 0.0), (1, 0.0)), LapParameters(penalties={"area": 1.0}))
    with pytest.raises(InputError, match=r"objects\.shape"):
        link(_line((0, 0.0), (1, 0.0), shape="round"), LapParameters(penalties={"shape": 1.0}))
    with pytest.raises(InputError, match=r"objects\.id"):
        link(_line((0, 0.0), (1, 0.0), id=7))
    with pytest.raises(InputError, match="position"):
        link(_line((0, NAN), (1, 0.0)))

"""What windows and panels ask of curation: where cells are, their trees, which tracks to show, usual corrections, relinking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.curation import Cell, Curation, Stroke, confirming
from helpers.curation.filters import tracks_that
from helpers.curation.lineages import write_lineages
from helpers.curation.positions import Positions
from helpers.curation.suspects.fixes import usual_fix
from helpers.curation.trees import Founders, tree_of
from helpers.errors import InputError
from helpers.tracking.linking import LapParameters, link
from tests.curation.curated_movies import VOXEL, box_index, boxes, linked, write_cells


@pytest.fixture(params=[1, 3], ids=["2D", "3D"])
def curation(request: pytest.FixtureRequest, tmp_path: Path):
    with Curation(write_cells(tmp_path / "m", labels=boxes(request.param)), "ann") as opened:
        yield opened


def measured(state, i: int) -> np.ndarray:
    t, label = state.graph.cell_of[i]
    return np.argwhere(state.labels.frame(t) == label).mean(axis=0) * VOXEL


def check_positions(state, positions: Positions) -> None:
    ids = sorted(state.graph.cell_of)
    # Of cells that no edit touched they are the table's, which has six significant digits.
    np.testing.assert_allclose(positions.of(ids), [measured(state, i) for i in ids], rtol=5e-6, atol=1e-9)


def test_positions_follow_every_kind_of_edit(curation: Curation) -> None:
    state = curation.state
    positions = Positions(state)
    check_positions(state, positions)
    curation.do("merge", keep=Cell(0, 1), other=Cell(0, 2))
    curation.do("interpolate", first=Cell(1, 2), last=Cell(3, 2))
    corner = box_index(state.shape[1:], slice(0, 1), slice(36, 39), slice(40, 44))
    curation.do("paint", stroke=Stroke(2, corner))
    curation.do("paint", stroke=Stroke(1, corner), cell=Cell(1, 1))
    check_positions(state, positions)
    curation.do("align_labels")
    check_positions(state, positions)
    while state.done:
        curation.undo()
        check_positions(state, positions)
    while state.undone:
        curation.redo()
    check_positions(state, positions)
    check_positions(state, Positions(state)), "also where they begin with a log"


def test_the_index_of_frames_follows(curation: Curation) -> None:
    def check() -> None:
        by_frame = {t: ids for t, ids in curation.state.graph.ids_in.items() if ids}
        expected: dict[int, set[int]] = {}
        for i, (t, _) in curation.state.graph.cell_of.items():
            expected.setdefault(t, set()).add(i)
        assert by_frame == expected

    check()
    curation.do("remove", cell=Cell(0, 1))
    curation.do("align_labels")
    check()
    curation.undo()
    curation.undo()
    check()


def test_a_tree_has_branches_with_rows(curation: Curation) -> None:
    graph = curation.state.graph
    at = graph.id_at
    branches = tree_of(graph, at[3, 4])
    keys = [[graph.cell_of[i] for i in branch.ids] for branch in branches]
    assert keys == [[(0, 3), (1, 3)], [(2, 3), (3, 3)], [(2, 4), (3, 4)]]
    assert [branch.row for branch in branches] == [0.5, 0.0, 1.0]
    assert [branch.sources for branch in branches] == [[], [at[1, 3]], [at[1, 3]]]
    curation.do("set_parent", daughter=Cell(1, 1), parent=Cell(0, 3))
    curation.do("unlink", first=Cell(0, 3), last=Cell(1, 3))
    assert len(tree_of(graph, at[0, 3])) == 1
    # Two tracks that merge: each a branch, and one behind.
    graph.targets[at[1, 3]].add(at[2, 1])
    graph.sources[at[2, 1]].add(at[1, 3])
    merged = tree_of(graph, at[2, 1])
    assert sorted(len(b.sources) for b in merged) == [0, 0, 1, 1, 2]
    assert len({b.row for b in merged if not graph.targets.get(b.ids[-1])}) == 3, (
        "leaves have rows of their own"
    )


def test_tracks_are_named_by_their_first_object(curation: Curation) -> None:
    graph = curation.state.graph
    founders = Founders(graph)
    tracks = founders.tracks()
    assert sorted(len(ids) for ids in tracks.values()) == [2, 4, 6]
    assert all(founders.of(i) == founder for founder, ids in tracks.items() for i in ids)
    curation.state.watchers.append(founders.forget)

    def check() -> None:
        assert founders.tracks() == Founders(graph).tracks()

    for operation, arguments in [
        ("cut", {"cell": Cell(2, 1)}),
        ("link", {"cells": [Cell(1, 2), Cell(3, 2)]}),
        ("remove", {"cell": Cell(1, 3)}),
        ("swap", {"one": Cell(3, 1), "other": Cell(3, 3)}),
        ("delete_tracks", {"cells": [Cell(0, 1)]}),
    ]:
        curation.do(operation, **arguments)
        check()
    while curation.state.done:
        curation.undo()
        check()
    assert founders.of(graph.id_at[3, 1]) == graph.id_at[0, 1]


def test_a_filter_takes_numbers_or_a_condition(curation: Curation) -> None:
    state = curation.state
    at = state.graph.id_at
    assert tracks_that(state, f"{at[0, 1]}, 9999, {at[1, 1]}") == {at[0, 1]}, (
        "the second is not the first of a track"
    )
    assert tracks_that(state, "frame == 3 and label == 4") == {at[0, 3]}
    assert tracks_that(state, "frame > 70") == set()
    curation.do("remove", cell=Cell(3, 4))
    assert tracks_that(state, "frame == 3 and label == 4") == set(), "the edits count"
    with pytest.raises(InputError, match="volume_um9"):
        tracks_that(state, "volume_um9 > 3")


def test_lineages_are_written_for_daughters(curation: Curation, tmp_path: Path) -> None:
    text = write_lineages(curation.state, tmp_path / "lineages.txt").read_text()
    rows = [line.split() for line in text.splitlines()]
    assert [row[1:3] for row in rows] == [["2", "3"], ["2", "3"]] and len({row[3] for row in rows}) == 1


def test_the_usual_fix_of_each_kind(curation: Curation) -> None:
    state = curation.state
    at = state.graph.id_at

    def fix(kind: str, key: tuple[int, int], other: tuple[int, int] | None = None):
        row = {"kind": kind, "frame": key[0], "label": key[1], "other": at.get(other, -1)}
        return usual_fix(state, row)

    assert fix("very small", (2, 5)) == ("remove", {"cell": Cell(2, 5)})
    operation, arguments = fix("division", (1, 3))
    assert operation == "remove_division" and arguments["keep"] in (Cell(2, 3), Cell(2, 4))
    assert fix("vanishes", (1, 2), (3, 2)) == ("link", {"cells": [Cell(1, 2), Cell(3, 2)]})
    assert fix("gap", (3, 2), (1, 2)) == ("interpolate", {"first": Cell(1, 2), "last": Cell(3, 2)})
    assert fix("speed", (1, 1), (0, 1)) == ("unlink", {"first": Cell(0, 1), "last": Cell(1, 1)})
    for kind in ("appears", "vanishes"):
        with pytest.raises(InputError, match="usual correction"):
            fix(kind, (1, 2))
    curation.do("cut", cell=Cell(3, 4))
    assert fix("division", (1, 3))[1]["keep"] == Cell(2, 3), "the daughter that lives longer"


def test_like_labels_become_tracks(curation: Curation) -> None:
    curation.do("delete_tracks", cells=[Cell(0, 1)])
    curation.do("unlink", first=Cell(2, 4), last=Cell(3, 4))
    before = linked(curation.state)
    curation.do("tracks_from_labels")
    after = linked(curation.state)
    assert after - before == {((2, 4), (3, 4))}, "only objects of the tables, and what was not linked"
    with pytest.raises(InputError, match="it is so already"):
        curation.do("tracks_from_labels")


TRACKERS = {"lap": {"max_distance": 3.0}, "overlap": {"min_iou": 0.2}, "global": {"max_distance": 3.0}}


@pytest.mark.parametrize("tracker", TRACKERS)
def test_relinking_leaves_what_is_confirmed(curation: Curation, tracker: str) -> None:
    state = curation.state
    anew = {"tracker": tracker, **TRACKERS[tracker]}
    labels = [state.labels.frame(t).copy() for t in range(4)]
    curation.do("swap", one=Cell(2, 1), other=Cell(2, 3))  # wrong, and confirmed all the same
    curation.do("confirm", **confirming.link(state, Cell(1, 1), Cell(2, 3)))
    curation.do("unlink", first=Cell(2, 1), last=Cell(3, 1))
    curation.do("relink", **anew)
    found = linked(state)
    assert ((1, 1), (2, 3)) in found and ((1, 1), (2, 1)) not in found, "its ends are taken"
    assert {((0, 1), (1, 1)), ((2, 1), (3, 1)), ((0, 2), (1, 2))} <= found
    curation.undo()
    assert ((2, 1), (3, 1)) not in linked(state)
    curation.do("confirm", **confirming.division(state, Cell(1, 3)))
    curation.do("link", cells=[Cell(1, 2), Cell(3, 2)])
    curation.do("confirm", **confirming.link(state, Cell(1, 2), Cell(3, 2)))
    curation.do("relink", **anew)
    found = linked(state)
    assert {((1, 3), (2, 4)), ((1, 3), (2, 1))} <= found, "a confirmed division, as unlikely as it is"
    assert ((1, 2), (3, 2)) in found, "a confirmed link over a gap"
    assert {((0, 1), (1, 1)), ((0, 3), (1, 3)), ((2, 4), (3, 4))} <= found
    for t in range(4):
        np.testing.assert_array_equal(state.labels.frame(t), labels[t])


def test_relinking_refuses_what_no_tracker_has(curation: Curation) -> None:
    with pytest.raises(InputError, match="tracker = 'kalman': known are lap, overlap, global"):
        curation.do("relink", tracker="kalman")
    with pytest.raises(InputError, match=r"those of the tracker overlap.*max_distance"):
        curation.do("relink", tracker="overlap", max_distance=3.0)
    assert not curation.state.done


def test_the_tracker_keeps_fixed_links_and_leaves_their_ends_alone() -> None:
    objects = pd.DataFrame(
        {"id": [5, 6, 7, 8], "frame": [0, 0, 1, 1], "z": 0.0, "y": 0.0, "x": [0.0, 4, 0.2, 4.2]}
    )
    parameters = LapParameters(max_distance=10.0)
    pairs = lambda tracks: set(map(tuple, tracks.links[["source", "target"]].to_numpy().tolist()))  # noqa: E731
    assert pairs(link(objects, parameters)) == {(5, 7), (6, 8)}
    fixed = pd.DataFrame({"source": [5], "target": [8]})
    assert pairs(link(objects, parameters, fixed=fixed)) == {(5, 8), (6, 7)}
    fixed = pd.DataFrame({"source": [5, 5], "target": [7, 8]})
    assert pairs(link(objects, parameters, fixed=fixed)) == {(5, 7), (5, 8)}, "a division"
    with pytest.raises(InputError, match=r"fixed.target = \[99\]: these ids are not in the object table"):
        link(objects, parameters, fixed=pd.DataFrame({"source": [5], "target": [99]}))

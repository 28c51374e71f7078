"""Each operation on links and divisions: what it does, what it refuses, and that undo gives back what was there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.curation import Cell, Curation, Stroke, confirming
from helpers.errors import InputError
from tests.curation.curated_movies import LINKS, Key, content, linked, write_cells


def now(curation: Curation) -> set[tuple[Key, Key]]:
    return linked(curation.state)


def did(curation: Curation, operation: str, **arguments) -> set[tuple[Key, Key]]:
    """Do it, make sure that undo and redo work, and return the links."""
    before = content(curation.state)
    curation.do(operation, **arguments)
    after = content(curation.state)
    curation.undo()
    assert content(curation.state) == before != after
    curation.redo()
    assert content(curation.state) == after
    return now(curation)


def test_link_over_a_gap_in_any_order(curation: Curation) -> None:
    assert did(curation, "link", cells=[Cell(3, 2), Cell(1, 2)]) == {*LINKS, ((1, 2), (3, 2))}


def test_link_takes_a_cell_into_the_tracks(curation: Curation) -> None:
    curation.do("delete_tracks", cells=[Cell(0, 2), Cell(2, 5), Cell(3, 2)])
    assert (0, 2) not in curation.state.graph.id_at
    links = did(curation, "link", cells=[Cell(0, 2), Cell(1, 2), Cell(2, 5), Cell(3, 2)])
    assert {((0, 2), (1, 2)), ((1, 2), (2, 5)), ((2, 5), (3, 2))} <= links


def test_link_makes_no_division_by_the_way(curation: Curation) -> None:
    with pytest.raises(InputError, match=r"cell 1 in frame 1 = 'goes on elsewhere: cell 1 in frame 2'"):
        curation.do("link", cells=[Cell(1, 1), Cell(2, 5)])
    with pytest.raises(InputError, match=r"cell 1 in frame 1 = 'comes from elsewhere: cell 1 in frame 0'"):
        curation.do("link", cells=_free_then(curation))
    links = did(curation, "link", cells=[Cell(1, 2), Cell(2, 1)], replace=True)
    assert ((1, 1), (2, 1)) not in links and ((1, 2), (2, 1)) in links


def _free_then(curation: Curation) -> list[Cell]:
    """A cell that goes nowhere, and one that comes from elsewhere."""
    shape = curation.state.shape[1:]
    curation.do("paint", stroke=Stroke.of_points(0, [(0, 38, x) for x in range(5)], shape))
    return [Cell(0, 6), Cell(1, 1)]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([Cell(0, 1)], "two cells or more"),
        ([Cell(0, 1), Cell(0, 2)], r"several in frames \[0\]"),
        ([Cell(0, 1), Cell(2, 99)], "cell 99 in frame 2 = 'not there'"),
        ([Cell(0, 1), Cell(8, 1)], "frame = 8: 0 to 3"),
    ],
)
def test_link_refuses(curation: Curation, cells: list[Cell], message: str) -> None:
    with pytest.raises(InputError, match=message):
        curation.do("link", cells=cells)
    assert now(curation) == set(LINKS)


def test_unlink_leaves_what_lies_outside_the_clicks(curation: Curation) -> None:
    assert did(curation, "unlink", first=Cell(2, 1), last=Cell(1, 1)) == {*LINKS} - {((1, 1), (2, 1))}
    curation.undo()
    links = did(curation, "unlink", first=Cell(0, 1), last=Cell(3, 1))
    assert not any((t, 1) in pair for pair in links for t in range(4))
    assert (1, 1) in curation.state.graph.id_at, "its cells are alone now, not gone"


@pytest.mark.parametrize(
    ("first", "last"), [(Cell(0, 1), Cell(0, 1)), (Cell(0, 1), Cell(1, 2)), (Cell(2, 3), Cell(3, 4))]
)
def test_unlink_refuses_what_is_not_one_track(curation: Curation, first: Cell, last: Cell) -> None:
    with pytest.raises(InputError, match="two cells of one track"):
        curation.do("unlink", first=first, last=last)


def test_cut_begins_a_new_track(curation: Curation) -> None:
    assert did(curation, "cut", cell=Cell(2, 4)) == {*LINKS} - {((1, 3), (2, 4))}
    with pytest.raises(InputError, match="the first of its track"):
        curation.do("cut", cell=Cell(0, 1))


def test_swap_exchanges_the_futures(curation: Curation) -> None:
    links = did(curation, "swap", one=Cell(1, 1), other=Cell(1, 2))
    assert {((0, 1), (1, 2)), ((0, 2), (1, 1)), ((1, 1), (2, 1))} <= links
    assert ((0, 1), (1, 1)) not in links and len(links) == len(LINKS)
    with pytest.raises(InputError, match="two cells of one frame"):
        curation.do("swap", one=Cell(1, 1), other=Cell(2, 1))
    with pytest.raises(InputError, match="come from different cells"):
        curation.do("swap", one=Cell(2, 3), other=Cell(2, 4))


def test_delete_takes_the_whole_track_and_leaves_labels(curation: Curation) -> None:
    links = did(curation, "delete_tracks", cells=[Cell(3, 4)])
    assert not any(label in (3, 4) for pair in links for _, label in pair)
    assert (curation.state.labels.frame(2) == 4).any()
    with pytest.raises(InputError, match="in no track"):
        curation.do("delete_tracks", cells=[Cell(3, 4)])
    with pytest.raises(InputError, match="a cell of each track"):
        curation.do("delete_tracks", cells=[])


def test_a_division_is_set_and_removed(curation: Curation) -> None:
    links = did(curation, "set_division", mother=Cell(1, 1), daughters=[Cell(2, 1), Cell(2, 4)])
    assert {((1, 1), (2, 1)), ((1, 1), (2, 4))} <= links and ((1, 3), (2, 4)) not in links
    links = did(curation, "remove_division", mother=Cell(1, 1), keep=Cell(2, 4))
    assert ((1, 1), (2, 1)) not in links and ((1, 1), (2, 4)) in links
    with pytest.raises(InputError, match="does not divide"):
        curation.do("remove_division", mother=Cell(1, 1))
    with pytest.raises(InputError, match="two different cells"):
        curation.do("set_division", mother=Cell(1, 1), daughters=[Cell(2, 1), Cell(2, 1)])
    with pytest.raises(InputError, match="a cell of a later frame"):
        curation.do("set_division", mother=Cell(1, 1), daughters=[Cell(1, 2), Cell(2, 1)])


def test_a_division_without_a_daughter_to_keep_ends_the_mother(curation: Curation) -> None:
    links = did(curation, "remove_division", mother=Cell(1, 3))
    assert not any(a == (1, 3) for a, _ in links)
    curation.undo()
    with pytest.raises(InputError, match="a daughter of cell 3 in frame 1"):
        curation.do("remove_division", mother=Cell(1, 3), keep=Cell(2, 1))


def test_a_parent_is_set(curation: Curation) -> None:
    links = did(curation, "set_parent", daughter=Cell(2, 4), parent=Cell(1, 1))
    assert ((1, 1), (2, 4)) in links and ((1, 1), (2, 1)) in links and ((1, 3), (2, 4)) not in links
    with pytest.raises(InputError, match="a cell of a later frame"):
        curation.do("set_parent", daughter=Cell(2, 4), parent=Cell(2, 1))


def test_overlap_tracking_from_a_click_joins_a_track_that_begins_on_its_way(opened, tmp_path) -> None:
    labels = np.zeros((5, 1, 20, 20), np.int32)
    labels[:, 0, 5:15, 5:15] = np.array([3, 8, 2, 9, 1])[:, None, None]
    curation = opened(write_cells(tmp_path / "m", labels=labels, links=[((2, 2), (3, 9))]))
    assert did(curation, "follow", cell=Cell(0, 3)) == {
        *[((0, 3), (1, 8)), ((1, 8), (2, 2)), ((2, 2), (3, 9)), ((3, 9), (4, 1))]
    }
    with pytest.raises(InputError, match="nothing to link"):
        curation.do("follow", cell=Cell(0, 3))


def test_overlap_tracking_stops_before_the_middle_of_another_track(curation: Curation) -> None:
    curation.do("cut", cell=Cell(2, 1))
    curation.do("link", cells=[Cell(1, 2), Cell(2, 1)])
    with pytest.raises(InputError, match="nothing to link"):
        curation.do("follow", cell=Cell(1, 1))
    with pytest.raises(InputError, match="min_overlap = 2: a share from 0 to 1"):
        curation.do("follow", cell=Cell(1, 1), min_overlap=2)


def test_overlap_tracking_wants_more_than_the_share(opened, tmp_path) -> None:
    labels = np.zeros((2, 1, 20, 20), np.int32)
    labels[0, 0, 5:15, 5:15], labels[1, 0, 8:18, 5:15] = 1, 1
    curation = opened(write_cells(tmp_path / "m", labels=labels, links=[]))
    with pytest.raises(InputError, match="nothing to link"):
        curation.do("follow", cell=Cell(0, 1))  # exactly 0.7
    curation.do("follow", cell=Cell(0, 1), min_overlap=0.69)
    assert now(curation) == {((0, 1), (1, 1))}


def test_what_is_found_correct_is_noted_and_taken_back(curation: Curation) -> None:
    state = curation.state
    marks = state.graph.marks
    i = {key: state.graph.id_at[key] for key in state.graph.id_at}
    before = content(state)
    curation.do("confirm", **confirming.cell(state, Cell(0, 1)))
    assert marks == {("cell", i[0, 1])}
    curation.do("confirm", **confirming.link(state, Cell(0, 1), Cell(1, 1)))
    assert ("link", i[0, 1], i[1, 1]) in marks and ("cell", i[1, 1]) not in marks
    curation.do("confirm", **confirming.track(state, Cell(3, 4)))
    assert {("cell", i[t, 3]) for t in range(4)} | {("cell", i[3, 4]), ("link", i[1, 3], i[2, 4])} <= marks
    curation.do("confirm", **confirming.division(state, Cell(1, 3)))
    assert ("division", i[1, 3]) in marks
    curation.do("confirm", **confirming.frame(state, 2))
    assert ("frame", 2) in marks and ("cell", i[2, 5]) in marks
    curation.do("confirm", **confirming.cell(state, Cell(0, 1)), correct=False)
    assert ("cell", i[0, 1]) not in marks
    for _ in range(6):
        curation.undo()
    assert content(state) == before
    with pytest.raises(InputError, match="a link that is there"):
        curation.do("confirm", **confirming.link(state, Cell(0, 1), Cell(1, 2)))
    with pytest.raises(InputError, match="does not divide"):
        curation.do("confirm", **confirming.division(state, Cell(0, 1)))


def test_what_is_changed_is_no_longer_correct(curation: Curation) -> None:
    state = curation.state
    curation.do("confirm", **confirming.track(state, Cell(0, 3)))
    curation.do("confirm", **confirming.division(state, Cell(1, 3)))
    curation.do("confirm", **confirming.frame(state, 2))
    before = set(state.graph.marks)
    i = state.graph.id_at
    curation.do("cut", cell=Cell(2, 4))
    gone = before - state.graph.marks
    assert gone == {("link", i[1, 3], i[2, 4]), ("division", i[1, 3]), ("frame", 2)}
    curation.undo()
    assert state.graph.marks == before
    piece = Stroke.of_points(2, [(0, 30, 5)], state.shape[1:])
    curation.do("erase", stroke=piece)
    assert before - state.graph.marks == {("cell", i[2, 3]), ("frame", 2)}


@pytest.fixture
def still(tmp_path: Path, opened, request: pytest.FixtureRequest) -> Curation:
    """One cell that keeps its place and label through five frames, in 2D or 3D, another beside it; linked as asked."""
    depth, links = request.param
    labels = np.zeros((5, depth, 20, 30), np.int32)
    labels[..., 5:15, 2:12], labels[..., 5:15, 15:25] = 1, 2
    return opened(write_cells(tmp_path / "m", labels=labels, links=links))


OVER = [((0, 1), (3, 1)), ((3, 1), (4, 1))]
AWAY = [((0, 1), (1, 2)), *[((t, 2), (t + 1, 2)) for t in range(1, 4)]]
CHAIN = [((t, 1), (t + 1, 1)) for t in range(4)]


@pytest.mark.parametrize("still", [(1, OVER), (3, OVER)], indirect=True, ids=["2D", "3D"])
def test_overlap_tracking_fills_a_gap_that_it_closes(still: Curation) -> None:
    assert did(still, "follow", cell=Cell(0, 1)) == set(CHAIN)


@pytest.mark.parametrize("still", [(1, [((0, 1), (3, 2))])], indirect=True)
def test_overlap_tracking_leaves_a_gap_that_leads_elsewhere(still: Curation) -> None:
    with pytest.raises(InputError, match="nothing to link"):
        still.do("follow", cell=Cell(0, 1))


@pytest.mark.parametrize("still", [(1, AWAY), (3, AWAY)], indirect=True, ids=["2D", "3D"])
def test_overlap_tracking_anew_from_here_on_takes_links_away_but_confirmed_ones(still: Curation) -> None:
    with pytest.raises(InputError, match="nothing to link"):
        still.do("follow", cell=Cell(0, 1))
    assert did(still, "follow", cell=Cell(0, 1), replace=True) == {*CHAIN, *AWAY[1:]}
    still.undo()
    still.do("confirm", **confirming.link(still.state, Cell(0, 1), Cell(1, 2)))
    with pytest.raises(InputError, match="nothing to link"):
        still.do("follow", cell=Cell(0, 1), replace=True)

"""Each operation on labels: what it does, what it refuses, and that undo gives back what was there."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.curation import Cell, Curation, Stroke
from helpers.errors import InputError
from tests.curation.curated_movies import SHAPE, content, linked


def labels_of(curation: Curation, t: int) -> np.ndarray:
    return curation.state.labels.frame(t)


def middle(curation: Curation) -> int:
    return curation.state.shape[1] // 2


def undone(curation: Curation, before: tuple) -> bool:
    """Whether undo gives back what was there, and redo what came after."""
    after = content(curation.state)
    curation.undo()
    same = content(curation.state) == before
    curation.redo()
    return same and content(curation.state) == after != before


def test_remove_takes_the_clicked_piece_only(curation: Curation) -> None:
    before = content(curation.state)
    cell = curation.cell_at(2, (middle(curation), 31, 40))
    curation.do("remove", cell=cell)
    left = labels_of(curation, 2) == 5
    assert left[:, 30:34, 30:34].all() and left.sum() == 16 * curation.state.shape[1]
    assert (2, 5) in curation.state.graph.id_at, "the cell is still there with its other piece"
    assert undone(curation, before)


def test_remove_cuts_the_track(curation: Curation) -> None:
    before = content(curation.state)
    curation.do("remove", cell=Cell(1, 1))
    assert not (labels_of(curation, 1) == 1).any()
    assert (1, 1) not in curation.state.graph.id_at
    assert not any((1, 1) in pair for pair in linked(curation.state))
    assert ((2, 1), (3, 1)) in linked(curation.state)
    assert undone(curation, before)


def test_remove_from_here_on_takes_both_daughters(curation: Curation) -> None:
    before = content(curation.state)
    curation.do("remove_from_here_on", cell=Cell(1, 3))
    assert all(not np.isin(labels_of(curation, t), (3, 4)).any() for t in (1, 2, 3))
    assert (labels_of(curation, 0) == 3).any()
    assert undone(curation, before)


def test_paint_makes_a_cell_with_the_next_free_label(curation: Curation) -> None:
    before = content(curation.state)
    shape = curation.state.shape[1:]
    stroke = Stroke.of_points(2, [(middle(curation), 20, x) for x in range(20, 60)], shape)
    assert len(stroke.index) == 28, "what is drawn beyond the border is cut off"
    curation.do("paint", stroke=stroke)
    assert (labels_of(curation, 2) == 6).sum() == 28
    assert (2, 6) in curation.state.graph.id_at
    assert undone(curation, before)
    curation.undo()
    curation.do("paint", stroke=stroke)
    assert (labels_of(curation, 2) == 7).sum() == 28, "a label that was used is not given again"


def test_paint_may_spare_other_cells_and_erase_one_only(curation: Curation) -> None:
    mask = np.zeros(curation.state.shape[1:], bool)
    mask[:, 20:40, 2:16] = True  # over cell 1 and cell 3
    stroke = Stroke.of_mask(1, mask)
    threes = (labels_of(curation, 1) == 3).sum()
    curation.do("paint", stroke=stroke, cell=Cell(1, 1), only_background=True)
    assert (labels_of(curation, 1) == 3).sum() == threes
    with pytest.raises(InputError, match=r"^stroke = 'other cells only'"):
        curation.do("paint", stroke=stroke, cell=Cell(1, 1), only_background=True)
    curation.do("erase", stroke=stroke, cell=Cell(1, 3))
    assert not (labels_of(curation, 1) == 3).any() and (labels_of(curation, 1)[:, 20:26, 2:16] == 1).all()
    curation.do("erase", stroke=stroke)
    assert not labels_of(curation, 1)[mask].any()


def test_a_cell_that_is_painted_over_leaves_its_track(curation: Curation) -> None:
    before = content(curation.state)
    mask = labels_of(curation, 1) == 2
    curation.do("paint", stroke=Stroke.of_mask(1, mask), cell=Cell(1, 1))
    assert (1, 2) not in curation.state.graph.id_at and ((0, 2), (1, 2)) not in linked(curation.state)
    assert undone(curation, before)


def test_outline_gives_a_cell_exactly_what_was_drawn(curation: Curation) -> None:
    mask = np.zeros(curation.state.shape[1:], bool)
    mask[:, 2:8, 20:24] = True
    curation.do("outline", stroke=Stroke.of_mask(0, mask), cell=Cell(0, 1))
    assert np.array_equal(labels_of(curation, 0) == 1, mask)
    with pytest.raises(InputError, match=r"^cell = .*a cell of frame 0"):
        curation.do("outline", stroke=Stroke.of_mask(0, mask), cell=Cell(1, 1))


def test_merge_hands_the_links_on(curation: Curation) -> None:
    before = content(curation.state)
    curation.do("merge", keep=Cell(2, 5), other=Cell(2, 4))
    assert not (labels_of(curation, 2) == 4).any()
    assert {((1, 3), (2, 5)), ((2, 5), (3, 4))} <= linked(curation.state)
    assert undone(curation, before)


def test_merge_of_daughters_ends_the_division(curation: Curation) -> None:
    curation.do("merge", keep=Cell(2, 3), other=Cell(2, 4))
    assert {b for a, b in linked(curation.state) if a == (1, 3)} == {(2, 3)}
    assert ((2, 3), (3, 3)) in linked(curation.state)


def test_merge_moves_one_piece_of_a_cell(curation: Curation) -> None:
    piece = curation.cell_at(2, (middle(curation), 31, 31))
    curation.do("merge", keep=Cell(2, 1), other=piece)
    assert (labels_of(curation, 2)[:, 30:34, 30:34] == 1).all()
    assert (labels_of(curation, 2)[:, 30:34, 38:46] == 5).all()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ((Cell(2, 1), Cell(1, 1)), "two cells of one frame"),
        ((Cell(2, 1), Cell(2, 1)), "another cell"),
        ((Cell(2, 9), Cell(2, 1)), "not there"),
    ],
)
def test_merge_refuses(curation: Curation, cells: tuple[Cell, Cell], message: str) -> None:
    before = content(curation.state)
    with pytest.raises(InputError, match=message):
        curation.do("merge", keep=cells[0], other=cells[1])
    assert content(curation.state) == before and not curation.state.done


def test_separate_makes_the_clicked_piece_a_cell(curation: Curation) -> None:
    before = content(curation.state)
    curation.do("separate", cell=curation.cell_at(2, (middle(curation), 31, 40)))
    assert (labels_of(curation, 2)[:, 30:34, 38:46] == 6).all()
    assert undone(curation, before)
    with pytest.raises(InputError, match="in one piece"):
        curation.do("separate", cell=curation.cell_at(2, (middle(curation), 31, 40)))
    with pytest.raises(InputError, match="click on the piece"):
        curation.do("separate", cell=Cell(2, 6))


def test_split_along_a_line_keeps_the_label_of_the_larger_part(curation: Curation) -> None:
    before = content(curation.state)
    curation.do("split_by_plane", cell=Cell(0, 1), points=[(0, 0.0, 4.5), (0, 9.0, 4.5)])
    frame = labels_of(curation, 0)
    assert (frame[:, 2:10, 5:12] == 1).all() and (frame[:, 2:10, 2:5] == 6).all()
    assert ((0, 1), (1, 1)) in linked(curation.state)
    assert undone(curation, before)


def test_split_along_a_plane_through_the_slices(opened, tmp_path) -> None:
    from tests.curation.curated_movies import boxes, write_cells

    curation = opened(write_cells(tmp_path / "deep", labels=boxes(4)))
    curation.do("split_by_plane", cell=Cell(0, 1), points=[(0.5, 0, 0), (0.5, 1, 0), (0.5, 0, 1)])
    frame = labels_of(curation, 0)
    assert (frame[1:, 2:10, 2:12] == 1).all() and (frame[0, 2:10, 2:12] == 6).all()
    with pytest.raises(InputError, match="not along z"):
        curation.do("split_by_plane", cell=Cell(0, 1), points=[(0, 5, 5), (3, 5, 5)])


@pytest.mark.parametrize("points", [[(0, 5, 5), (0, 5, 5)], [(0, 1, 1)], [(0, 0, 0), (0, 1, 0)]])
def test_split_refuses_a_line_that_does_not_split(curation: Curation, points: list) -> None:
    with pytest.raises(InputError, match=r"^points = "):
        curation.do("split_by_plane", cell=Cell(0, 1), points=points)


def test_split_by_seeds_meets_where_the_cell_is_thinnest(opened, tmp_path) -> None:
    from tests.curation.curated_movies import write_cells

    labels = np.zeros((1, 3, *SHAPE), np.int32)
    labels[0, :, 5:15, 5:15] = labels[0, :, 5:15, 25:35] = 1
    labels[0, :, 9:11, 15:25] = 1  # a bridge
    curation = opened(write_cells(tmp_path / "dumbbell", labels=labels, links=[]))
    curation.do("split_by_seeds", cell=Cell(0, 1), seeds=[(1, 10, 9), (1, 10, 31)])
    frame = labels_of(curation, 0)
    assert len(np.unique(frame[:, 5:15, 5:15])) == 1 and len(np.unique(frame[:, 5:15, 25:35])) == 1
    assert frame[1, 10, 9] != frame[1, 10, 31] and np.array_equal(frame > 0, labels[0] > 0)


def test_split_by_seeds_of_one_plane_in_2d_points(opened, flat) -> None:
    curation = opened(flat)
    curation.do("split_by_seeds", cell=Cell(0, 1), seeds=[(6, 3), (6, 10)])
    assert labels_of(curation, 0)[0, 6, 3] != labels_of(curation, 0)[0, 6, 10]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([(0, 5, 5)], "two seeds"),
        ([(0, 5, 5), (0, 5, 5)], "each voxel once"),
        ([(0, 5, 5), (0, 0, 0)], "a voxel of"),
    ],
)
def test_split_by_seeds_refuses(curation: Curation, seeds: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        curation.do("split_by_seeds", cell=Cell(0, 1), seeds=seeds)


@pytest.mark.parametrize("depth", [1, 3])
def test_holes_are_filled_but_cells_within_stay(opened, tmp_path, depth: int) -> None:
    from tests.curation.curated_movies import write_cells

    labels, z = np.zeros((1, depth, *SHAPE), np.int32), depth // 2
    labels[0, :, 5:20, 5:20] = 1
    labels[0, z, 7:9, 7:9], labels[0, z, 15:17, 15:17] = 0, 2
    curation = opened(write_cells(tmp_path / "holes", labels=labels, links=[]))
    before = content(curation.state)
    curation.do("fill_holes", cell=Cell(0, 1))
    frame = labels_of(curation, 0)
    assert (frame[z, 7:9, 7:9] == 1).all() and (frame[z, 15:17, 15:17] == 2).all()
    assert undone(curation, before)
    with pytest.raises(InputError, match="no holes"):
        curation.do("fill_holes", cell=Cell(0, 1))


def test_a_missed_frame_is_drawn_between_its_neighbours(curation: Curation) -> None:
    before = content(curation.state)
    curation.do("interpolate", first=Cell(1, 2), last=Cell(3, 2))
    frame, depth = labels_of(curation, 2), curation.state.shape[1] // 2
    expected = np.zeros(SHAPE, bool)
    expected[6:14, 20:30] = True  # it moves one pixel down a frame
    assert np.array_equal(frame[depth] == 2, expected)
    assert {((1, 2), (2, 2)), ((2, 2), (3, 2))} <= linked(curation.state)
    assert undone(curation, before)
    with pytest.raises(InputError, match="with at least one between"):
        curation.do("interpolate", first=Cell(1, 2), last=Cell(2, 2))
    with pytest.raises(InputError, match="the ends of a gap"):
        curation.do("interpolate", first=Cell(0, 1), last=Cell(2, 1))


def test_each_piece_becomes_a_cell(curation: Curation) -> None:
    before = content(curation.state)
    curation.do("relabel_fragments", frame=2)
    frame = labels_of(curation, 2)
    assert (frame[:, 30:34, 38:46] == 5).all(), "the larger piece keeps the label"
    assert (frame[:, 30:34, 30:34] == 6).all()
    assert undone(curation, before)
    with pytest.raises(InputError, match="a cell of several pieces"):
        curation.do("relabel_fragments", frame=2)


def test_labels_follow_the_tracks(curation: Curation) -> None:
    before = content(curation.state)
    links = len(linked(curation.state))
    curation.do("delete_tracks", cells=[Cell(0, 2)])
    curation.do("align_labels")
    graph = curation.state.graph
    assert len(linked(curation.state)) == links - 1
    one = {graph.cell_of[i][1] for i in graph.track_of(graph.id_at[0, 1])}
    assert one == {1}
    for t in range(4):
        frame = labels_of(curation, t)
        tracked = {label for frame_, label in graph.id_at if frame_ == t}
        assert len(np.unique(frame)) - 1 == len(set(np.unique(frame).tolist()) - {0})
        assert all(label > max(tracked) for label in set(np.unique(frame).tolist()) - tracked - {0})
    mothers, daughters = graph.id_at[1, 2], graph.targets[graph.id_at[1, 2]]
    assert {graph.cell_of[i][1] for i in daughters}.isdisjoint({graph.cell_of[mothers][1]})
    curation.undo()
    curation.undo()
    assert content(curation.state) == before


def test_clicks_on_background_are_refused(curation: Curation) -> None:
    z = middle(curation)
    with pytest.raises(InputError, match=r"background in frame 0; click on a cell"):
        curation.cell_at(0, (z, 0, 0))
    with pytest.raises(InputError, match=r"^at = .*inside"):
        curation.cell_at(0, (z, 4, 400))
    with pytest.raises(InputError, match=r"^frame = 9: 0 to 3"):
        curation.cell_at(9, (z, 4, 4))
    for operation, name in (("remove", "cell"), ("fill_holes", "cell"), ("separate", "cell")):
        with pytest.raises(InputError, match=r"not there|click"):
            curation.do(operation, **{name: Cell(0, 0)})
    with pytest.raises(InputError, match=r"a voxel of cell 1 in frame 0"):
        curation.do("remove", cell=Cell(0, 1, at=(z, 20, 20)))
    assert not curation.state.done


def test_an_unknown_operation_is_answered_with_the_nearest(curation: Curation) -> None:
    with pytest.raises(InputError, match="did you mean 'remove'"):
        curation.do("remov", cell=Cell(0, 1))
    with pytest.raises(InputError, match="inside frame 0"):
        curation.do("paint", stroke=Stroke(0, np.empty(0, np.int64)))
    with pytest.raises(InputError, match="it is so already"):
        curation.do("paint", stroke=Stroke.of_mask(0, labels_of(curation, 0) == 1), cell=Cell(0, 1))

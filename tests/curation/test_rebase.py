"""Edits on another segmentation or tracking, and edits of two people."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.curation import Cell, Curation, Stroke, confirming
from helpers.curation.files import bring_up_to_date, read_state
from helpers.curation.merging import merge_log
from helpers.curation.rebase import rebase
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.tracking.formats import table
from helpers.tracking.objects import measure
from tests.curation.curated_movies import LINKS, VOXEL, boxes, content, linked, tracks_of


def segment_anew(folder: Path, labels: np.ndarray, links=()) -> None:
    """Let notebooks 06_segment and 10_track come to another result."""
    movie = LabelMovie.open(folder / "labels.zarr")
    for t, frame in enumerate(labels):
        movie.write_frame(t, frame)
    tables = [measure(frame, voxel_size=VOXEL, frame=t) for t, frame in enumerate(labels)]
    table.write(tracks_of(pd.concat(tables, ignore_index=True), links), folder / "tracks.csv")


def renumbered(labels: np.ndarray) -> np.ndarray:
    """The same cells under other labels."""
    return np.where(labels > 0, 50 - labels, 0).astype(np.int32)


def test_nothing_happens_where_the_result_is_the_same(flat: Path) -> None:
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
    before = (flat / "edits.jsonl").read_bytes()
    assert rebase(flat).repeated == 0 and (flat / "edits.jsonl").read_bytes() == before


def test_edits_find_their_cells_under_other_labels(folder: Path) -> None:
    depth = LabelMovie.open(folder / "labels.zarr").shape[1]
    with Curation(folder, author="ann") as curation:
        z = depth // 2
        curation.do("remove", cell=Cell(0, 1))
        curation.do("separate", cell=curation.cell_at(2, (z, 31, 40)))
        curation.do("merge", keep=Cell(3, 3), other=Cell(3, 4))
        curation.do("link", cells=[Cell(1, 2), Cell(3, 2)])
        curation.do("remove", cell=Cell(3, 1))
        curation.undo()
        expected = curation.state.labels.frame(3).copy()
    segment_anew(folder, renumbered(boxes(depth)), [((t, 50 - a), (u, 50 - b)) for (t, a), (u, b) in LINKS])
    found = rebase(folder)
    assert found.repeated == 4 and found.missed.empty and found.former is not None
    state = read_state(folder)
    assert [e.author for e in state.done] == ["ann"] * 4 and all(e.origin for e in state.done)
    assert np.array_equal(state.labels.frame(3), renumbered(expected))
    assert ((1, 48), (3, 48)) in linked(state) and not (state.labels.frame(0) == 49).any()
    assert len(np.unique(state.labels.frame(2)[state.labels.frame(2) > 0])) == 5
    bring_up_to_date(folder)


def test_what_is_not_found_again_is_listed_and_the_former_log_kept(flat: Path) -> None:
    with Curation(flat) as curation:
        curation.do("remove", cell=Cell(0, 1))
        curation.do("cut", cell=Cell(1, 3))
    former = (flat / "edits.jsonl").read_bytes()
    labels = boxes(1)
    labels[0][labels[0] == 1] = 0
    segment_anew(flat, labels, [pair for pair in LINKS if (0, 1) not in pair])
    found = rebase(flat)
    assert found.missed["operation"].tolist() == ["remove"]
    assert "cell 1 in frame 0 = 'not found again'" in found.missed["why"][0]
    assert found.former is not None and found.former.read_bytes() == former
    assert pd.read_csv(flat / "edits_not_replayed.csv")["operation"].tolist() == ["remove"]
    assert ((0, 3), (1, 3)) not in linked(read_state(flat))
    again = rebase(flat)
    assert again.missed["operation"].tolist() == ["remove"], "it stays listed"


def test_what_was_found_correct_is_put_back(folder: Path) -> None:
    depth = LabelMovie.open(folder / "labels.zarr").shape[1]
    with Curation(folder) as curation:
        state = curation.state
        curation.do("confirm", **confirming.track(state, Cell(0, 3)))
        curation.do("confirm", **confirming.division(state, Cell(1, 3)))
        curation.do("confirm", **confirming.cell(state, Cell(2, 5)))
        n = len(state.graph.marks)
    worse = boxes(depth)
    worse[1][worse[1] == 3] = 0  # missed
    worse[2][worse[2] == 4] = 3  # two in one
    worse[3][:, 26:30][worse[3][:, 26:30] == 3] = 0  # too small
    segment_anew(folder, renumbered(worse))
    found = rebase(folder)
    assert found.missed.empty
    state = read_state(folder)
    for t in range(4):
        for label in (3, 4):
            mask = boxes(depth)[t] == label
            if mask.any():
                inside = np.unique(state.labels.frame(t)[mask])
                assert len(inside) == 1 and (state.labels.frame(t) == inside[0]).sum() == mask.sum()
    assert len(state.graph.marks) == n
    (mother,) = {mark[1] for mark in state.graph.marks if mark[0] == "division"}
    assert len(state.graph.targets[mother]) == 2
    assert len(state.graph.track_of(mother)) == 6


def test_a_confirmed_frame_stays(flat: Path) -> None:
    with Curation(flat) as curation:
        curation.do("confirm", **confirming.frame(curation.state, 2))
    segment_anew(flat, np.where(boxes(1) == 4, 3, boxes(1)))
    assert rebase(flat).missed.empty
    state = read_state(flat)
    frame = state.labels.frame(2)
    for label in range(1, 6):
        mask = boxes(1)[2] == label
        assert not mask.any() or (
            len(np.unique(frame[mask])) == 1 and (frame == frame[mask][0]).sum() == mask.sum()
        )
    assert ("frame", 2) in state.graph.marks


def test_a_cell_drawn_by_hand_that_is_found_by_now_is_not_drawn_twice(flat: Path) -> None:
    mask = np.zeros((1, 40, 48), bool)
    mask[:, 2:12, 34:44] = True
    with Curation(flat) as curation:
        curation.do("paint", stroke=Stroke.of_mask(1, mask))
    better = boxes(1)
    better[1, :, 3:12, 34:44] = 9
    segment_anew(flat, better, LINKS)
    assert rebase(flat).missed.empty
    frame = read_state(flat).labels.frame(1)
    assert np.array_equal(frame == 9, mask)


def test_tracks_anew_on_the_same_labels(flat: Path) -> None:
    with Curation(flat) as curation:
        curation.do("link", cells=[Cell(1, 2), Cell(3, 2)])
        curation.do("cut", cell=Cell(1, 1))
        curation.do("unlink", first=Cell(0, 3), last=Cell(1, 3))
    segment_anew(flat, boxes(1), [((0, 1), (1, 1)), ((1, 2), (3, 2))])
    found = rebase(flat)
    assert found.missed["operation"].tolist() == ["unlink"], "the link that it took away is not there"
    assert linked(read_state(flat)) == {((1, 2), (3, 2))}


@pytest.fixture
def two(flat: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run and its copy, with an edit that both have."""
    with Curation(flat, author="ann") as curation:
        curation.do("remove", cell=Cell(0, 1))
    return flat, Path(shutil.copytree(flat, tmp_path / "theirs" / "movie"))


def test_edits_of_two_people_come_together(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    shape = (1, 40, 48)
    with Curation(ours, author="ann") as curation:
        curation.do("paint", stroke=Stroke.of_points(0, [(0, 38, x) for x in range(6)], shape))
        curation.do("link", cells=[Cell(1, 2), Cell(3, 2)])
    with Curation(theirs, author="bob") as curation:
        curation.do("paint", stroke=Stroke.of_points(0, [(0, 20, x) for x in range(6)], shape))
        curation.do("link", cells=[Cell(0, 6), Cell(1, 1)])  # his cell 6, not hers
        curation.do("link", cells=[Cell(1, 2), Cell(3, 2)])
        curation.do("cut", cell=Cell(2, 4))
    with Curation(ours, author="ann") as curation:
        found = merge_log(curation, theirs / "edits.jsonl")
        assert (found.added, found.same, len(found.conflicts)) == (3, 1, 0), found.conflicts["why"].tolist()
        frame = curation.state.labels.frame(0)
        assert (frame[0, 38, :6] == 6).all() and (frame[0, 20, :6] == 7).all()
        assert ((0, 7), (1, 1)) in linked(curation.state) and ((1, 3), (2, 4)) not in linked(curation.state)
        assert [e.author for e in curation.state.done] == ["ann", "ann", "ann", "bob", "bob", "bob"]
        state = content(curation.state)
        again = merge_log(curation, theirs / "edits.jsonl")
        assert again.added == 0 and again.conflicts.empty and content(curation.state) == state


def test_conflicts_are_listed_and_what_depends_on_them(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    shape = (1, 40, 48)
    with Curation(ours, author="ann") as curation:
        curation.do("cut", cell=Cell(2, 3))
        curation.do("paint", stroke=Stroke.of_points(3, [(0, 0, x) for x in range(6)], shape))
    with Curation(theirs, author="bob") as curation:
        curation.do("split_by_plane", cell=Cell(2, 3), points=[(0, 30.5, 0), (0, 30.5, 9)])
        curation.do("remove", cell=Cell(2, 6))  # the half that came of it
        curation.do("paint", stroke=Stroke.of_points(3, [(0, 0, x) for x in range(5, 9)], shape))
        curation.do("remove", cell=Cell(3, 2))
    with Curation(ours, author="ann") as curation:
        found = merge_log(curation, theirs / "edits.jsonl")
        assert found.added == 1
        assert found.conflicts["operation"].tolist() == ["split_by_plane", "remove", "paint"]
        assert not (curation.state.labels.frame(3) == 2).any()


def test_what_they_have_undone_is_told(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    with Curation(theirs, author="bob") as curation:
        curation.undo()
    with Curation(ours, author="ann") as curation:
        found = merge_log(curation, theirs / "edits.jsonl")
    assert found.conflicts["why"].tolist() == ["undone by them, kept here"]


def test_logs_of_other_results_do_not_merge(two: tuple[Path, Path]) -> None:
    ours, theirs = two
    segment_anew(theirs, renumbered(boxes(1)))
    rebase(theirs)
    with Curation(ours) as curation, pytest.raises(InputError, match="made on the same automatic result"):
        merge_log(curation, theirs / "edits.jsonl")

"""Every action that a button or key does, on the desk that the notebook's panel and napari's dock share; and its replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from helpers.curation import Cell, Curation, Stroke
from helpers.curation.files import read_state, state_on_disk
from helpers.curation.suspects import find_suspects
from helpers.view.curation_actions import ACTIONS, act
from helpers.view.curation_desk import Desk, cells_of, cells_text, edit_text, points_of, points_text
from tests.curation.curated_movies import boxes, content, linked, write_cells


@pytest.fixture(params=[1, 3], ids=["2D", "3D"])
def desk(request: pytest.FixtureRequest, tmp_path: Path):
    folder = write_cells(tmp_path / "m", labels=boxes(request.param))
    with Curation(folder, "ann") as curation:
        yield Desk(curation, find_suspects(curation.state))


def do(desk: Desk, name: str, cells: str = "", points: str = "") -> str:
    desk.choose(cells_of(cells))
    desk.choose_points(points_of(points))
    return act(desk, ACTIONS[name])


def ok(desk: Desk, name: str, cells: str = "", points: str = "") -> None:
    message = do(desk, name, cells, points)
    assert message.startswith(("done", "undone")), f"{name}: {message}"


def test_each_action_does_what_it_says_and_is_replayed(desk: Desk) -> None:
    state = desk.curation.state
    z = state.shape[1] // 2
    i = dict(state.graph.id_at)
    ok(desk, "separate", "2:5", f"{z} 32 31")
    assert state.labels.frame(2)[z, 32, 31] != state.labels.frame(2)[z, 32, 40] == 5
    ok(desk, "confirm cell", "3:2")
    assert ("cell", i[3, 2]) in state.graph.marks
    ok(desk, "confirm link", "1:1, 0:1")
    assert ("link", i[0, 1], i[1, 1]) in state.graph.marks, "in the order of time"
    ok(desk, "confirm division", "1:3")
    ok(desk, "confirm track", "0:1")
    again = do(desk, "confirm track", "0:1")
    assert (
        "cell 1 in frame 0, cell 1 in frame 1, cell 1 in frame 2 …: something that changes"
        in again.replace("'", "")
    )
    assert {("cell", i[t, 1]) for t in range(4)} <= state.graph.marks
    ok(desk, "unconfirm track", "0:1")
    assert not {("cell", i[t, 1]) for t in range(4)} & state.graph.marks
    assert ("division", i[1, 3]) in state.graph.marks
    desk.shown_frame = 0
    ok(desk, "confirm frame")
    assert ("frame", 0) in state.graph.marks
    ok(desk, "cut", "2:1")
    assert ((1, 1), (2, 1)) not in linked(state)
    ok(desk, "follow", "1:1")
    assert ((1, 1), (2, 1)) in linked(state)
    ok(desk, "set parent", "3:2, 1:2")
    assert ((1, 2), (3, 2)) in linked(state)
    ok(desk, "set division", "0:2, 1:2, 1:1")
    ok(desk, "unlink", "3:2, 1:2")
    ok(desk, "relink")
    assert ("division", i[1, 3]) in state.graph.marks and ((1, 3), (2, 4)) in linked(state)
    ok(desk, "remove from here on", "2:4")
    assert not any((state.labels.frame(t) == 4).any() for t in (2, 3))
    ok(desk, "delete tracks", "0:2")
    ok(desk, "align labels")
    for name in ("undo", "undo"):
        ok(desk, name)
    again = read_state(desk.curation.folder)
    assert content(again) == content(state), "what the log says is what is shown"
    while state.done:
        act(desk, ACTIONS["undo"])
    np.testing.assert_array_equal(state.labels.frame(2), boxes(state.shape[1])[2])


def test_relabelling_and_holes(desk: Desk) -> None:
    state = desk.curation.state
    desk.shown_frame = 2
    ok(desk, "relabel fragments")
    assert len(np.unique(state.labels.frame(2))) == len(np.unique(boxes(state.shape[1])[2])) + 1
    assert "encloses background" in do(desk, "fill holes", "0:1")
    assert "linked further" not in do(desk, "tracks from labels") and do(
        desk, "tracks from labels"
    ).startswith("<b>")


def test_the_suspect_is_fixed_and_the_list_goes_on(desk: Desk) -> None:
    state = desk.curation.state
    kinds = desk.suspects["kind"].tolist()
    desk.move(kinds.index("vanishes") - desk.position)
    position = desk.position
    assert act(desk, ACTIONS["fix"]).startswith("done: link")
    assert ((1, 2), (3, 2)) in linked(state) and desk.position == min(position + 1, len(kinds) - 1)
    assert act(desk, ACTIONS["rank again"]).endswith("places are left")
    assert "vanishes" not in desk.suspects["kind"].tolist() and "gap" in desk.suspects["kind"].tolist()


def test_confirming_outlives_an_edit_that_took_the_cell_away(desk: Desk) -> None:
    row = desk.suspects.iloc[0]
    desk.do("remove", cell=Cell(int(row["frame"]), int(row["label"])))
    assert desk.confirm_suspect().startswith("confirmed")
    desk.suspects = desk.suspects.head(0)
    assert "none left" in act(desk, ACTIONS["confirm"]) and "none left" in act(desk, ACTIONS["fix"])


def test_progress_counts_what_was_seen(desk: Desk) -> None:
    n = len(desk.suspects)
    assert desk.progress() == f"0 seen, {n} left"
    desk.look()
    desk.move(1)
    desk.move(-1)
    assert desk.progress() == f"2 seen, {n - 2} left"


def test_the_history_names_the_cells(desk: Desk) -> None:
    state = desk.curation.state
    ok(desk, "merge", "2:3, 2:4")
    ok(desk, "confirm track", "0:1")
    desk.do("paint", stroke=Stroke(0, np.arange(5)))
    texts = [edit_text(edit) for edit in state.done]
    assert texts[0].startswith("merge  ·  ann  ·  20") and texts[0].endswith("  ·  2:3, 2:4")
    assert texts[1].endswith("  ·  0:1, 1:1, 2:1 …") and texts[2].endswith("  ·  frame 0")


def test_what_is_typed_is_read_back() -> None:
    assert cells_text(cells_of(" 3:17 ,4:21")) == "3:17, 4:21" and cells_of("") == []
    assert points_text(points_of("5 40 62; 5 52.5 60")) == "5 40 62; 5 52.5 60" and points_of("") == []


def test_a_movie_nobody_edited_is_read_too(tmp_path: Path) -> None:
    folder = write_cells(tmp_path / "m")
    assert not state_on_disk(folder).done and not (folder / "edits.jsonl").exists()

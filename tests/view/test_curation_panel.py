"""Correcting in a notebook: fields and buttons, and what they write."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.curation import Curation
from helpers.curation.suspects import find_suspects
from helpers.view.curation_actions import ACTIONS
from helpers.view.curation_panel import CurationPanel
from helpers.view.curation_plots import score_history, strip
from tests.curation.curated_movies import boxes, linked, write_cells


@pytest.fixture(params=[1, 3], ids=["2D", "3D"])
def panel(request: pytest.FixtureRequest, tmp_path: Path):
    folder = write_cells(tmp_path / "movie", labels=boxes(request.param))
    with Curation(folder, "ann") as curation:
        yield CurationPanel(curation, find_suspects(curation.state))


def act(panel: CurationPanel, button: str, cells: str | None = None, points: str = "") -> str:
    if cells is not None:
        panel.cells.value = cells
    panel.points.value = points
    panel.buttons[button].click()
    return panel.message.value


def test_every_button_is_shown_and_says_what_it_does(panel: CurationPanel) -> None:
    rows = [row.children for row in panel.widget.children if hasattr(row, "children")]
    assert [button.description for row in rows for button in row] == list(ACTIONS) == list(panel.buttons)
    assert all(button.tooltip for button in panel.buttons.values())


def test_the_list_is_walked_through_and_shown(panel: CurationPanel) -> None:
    first, picture = panel.title.value, bytes(panel.image.value)
    assert first.startswith(f"<b>1 of {len(panel.suspects)}</b>") and picture.startswith(b"\x89PNG")
    act(panel, "next")
    assert panel.title.value.startswith("<b>2 of") and bytes(panel.image.value) != picture
    row = panel.suspects.iloc[1]
    assert panel.cells.value.startswith(f"{row['frame']}:{row['label']}")
    act(panel, "previous")
    act(panel, "previous")
    assert (
        panel.title.value
        == first.replace("1 seen", "2 seen").replace(
            f"{len(panel.suspects) - 1} left", f"{len(panel.suspects) - 2} left"
        )
        and bytes(panel.image.value) == picture
    )


@pytest.mark.slow
def test_buttons_edit_and_undo(panel: CurationPanel) -> None:
    state = panel.curation.state
    z = state.shape[1] // 2
    assert act(panel, "interpolate", "3:2, 1:2") == "done: interpolate (1 edits in force)"
    assert (state.labels.frame(2) == 2).any()
    act(panel, "merge", "2:3, 2:4")
    assert not (state.labels.frame(2) == 4).any()
    act(panel, "split by line", "2:3", f"{z} 0 9.5; {z} 9 9.5")
    act(panel, "split by seeds", "0:1", f"{z} 5 3; {z} 5 10")
    assert state.labels.frame(0)[z, 5, 3] != state.labels.frame(0)[z, 5, 10]
    act(panel, "remove", "0:2")
    act(panel, "unlink", "2:1, 3:1")
    assert ((2, 1), (3, 1)) not in linked(state)
    act(panel, "link", "2:1, 3:1")
    act(panel, "set division", "2:1, 3:1, 3:4")
    assert {((2, 1), (3, 1)), ((2, 1), (3, 4))} <= linked(state)
    act(panel, "remove division", "2:1, 3:1")
    act(panel, "swap", "3:1, 3:3")
    n = len(state.done)
    assert [e.operation for e in state.done][-2:] == ["remove_division", "swap"]
    assert act(panel, "undo") == "undone: swap" and len(state.done) == n - 1
    assert act(panel, "redo") == "redone: swap" and len(state.done) == n
    lines = [json.loads(line) for line in panel.curation.path.read_text().splitlines()]
    assert len(lines) == 1 + n + 2, "what is shown is in the log"


def test_before_and_after_are_shown(panel: CurationPanel) -> None:
    first = bytes(panel.image.value)
    assert not panel.before.value
    row = panel.suspect
    act(panel, "remove", f"{row['frame']}:{row['label']}")
    assert bytes(panel.before.value) == first and bytes(panel.image.value) not in (first, b"")
    act(panel, "next")
    assert not panel.before.value


def _pixel(panel: CurationPanel, frame: int, y: float, x: float) -> tuple[float, float]:
    """Where a voxel of a frame is on the canvas."""
    figure, rows = panel.strip._figure, panel.window()
    axes = next(axes for axes in figure.axes if axes.get_gid() == str(frame))  # type: ignore[union-attr]
    at = axes.transData.transform((x - rows[1].start, y - rows[0].start))
    return float(at[0]), float(panel.strip.canvas.height - at[1])


def _mouse(panel: CurationPanel, tool: str, *pixels: tuple[float, float]) -> str:
    """Do what a browser tells of a mouse."""
    panel.strip.tool.value = tool
    for k, (x, y) in enumerate([*pixels, pixels[-1]]):
        event = "mouse_down" if k == 0 else "mouse_up" if k == len(pixels) else "mouse_move"
        panel.strip.canvas._handle_frontend_event(None, {"event": event, "x": x, "y": y}, [])
    return panel.message.value


def _look_at(panel: CurationPanel, frame: int, label: int) -> None:
    row = panel.suspects.iloc[[0]].copy()
    at = np.argwhere(panel.curation.state.labels.frame(frame) == label).mean(axis=0)
    row[["frame", "label"]], row[["z", "y", "x"]] = (
        (frame, label),
        at * panel.curation.state.automatic.voxel_size,
    )
    panel.rank(row.reset_index(drop=True))
    panel._show()


def test_clicks_choose_and_split(panel: CurationPanel) -> None:
    state = panel.curation.state
    _look_at(panel, 1, 1)
    assert panel.strip.place(*_pixel(panel, 2, 9, 6)) == (2, (state.shape[1] // 2, 9, 6))
    panel.cells.value = "1:1"
    assert _mouse(panel, "select", _pixel(panel, 2, 9, 6)) == "selected: 1:1, 2:1"
    assert _mouse(panel, "select", _pixel(panel, 1, 8, 6)) == "selected: 2:1", "a second click takes it off"
    assert "background" in _mouse(panel, "select", _pixel(panel, 1, 18, 15)) and panel.cells.value == "2:1"
    assert "pictures" in _mouse(panel, "select", (0.0, 0.0))
    for x in (4, 9):
        _mouse(panel, "point", _pixel(panel, 2, 10, x))
    act(panel, "split by seeds", None, panel.points.value)
    z = state.shape[1] // 2
    assert state.done[-1].operation == "split_by_seeds" and panel.points.value == ""
    assert state.labels.frame(2)[z, 10, 4] != state.labels.frame(2)[z, 10, 9]


def test_outlines_paint_and_erase(panel: CurationPanel) -> None:
    state = panel.curation.state
    _look_at(panel, 1, 1)
    z = panel.strip.z.value
    corners = [(13, 4), (13, 9), (17, 9), (17, 4)]
    _mouse(panel, "new cell", *[_pixel(panel, 1, *corner) for corner in corners])
    new = state.highest_label
    found = np.argwhere(state.labels.frame(1) == new)
    assert panel.cells.value == f"1:{new}" and set(found[:, 0]) == {z}
    assert 20 <= len(found) <= 35 and found[:, 1:].min(axis=0).tolist() == [13, 4]
    assert bytes(panel.before.value) not in (b"", bytes(panel.image.value))
    assert "one selected cell of frame 2" in _mouse(
        panel, "add", *[_pixel(panel, 2, *corner) for corner in corners]
    )
    if state.shape[1] > 1:
        panel.strip.z.value = z + 1
        _mouse(panel, "add", *[_pixel(panel, 1, *corner) for corner in corners])
        assert set(np.argwhere(state.labels.frame(1) == new)[:, 0]) == {z, z + 1}
    _mouse(panel, "erase", *[_pixel(panel, 1, y, x) for y, x in [(0, 0), (0, 14), (15, 14), (15, 0)]])
    after = state.labels.frame(1)
    assert after[z, 16, 6] == new and (after[z, 5, 6] == 1)
    assert (after[panel.strip.z.value, 13:15] != new).all()
    n = len(state.done)
    for _ in range(n):
        act(panel, "undo")
    assert not (state.labels.frame(1) == new).any()


def test_a_filter_lists_some_suspects(panel: CurationPanel) -> None:
    n = len(panel.suspects)
    panel.filter.value = "frame == 2"
    assert 0 < len(panel.suspects) < n and (panel.suspects["frame"] == 2).all()
    assert panel.message.value == f"{len(panel.suspects)} of {n} suspicious places are listed"
    panel.filter.value = "colour == 3"
    assert "not done" in panel.message.value and (panel.suspects["frame"] == 2).all()
    panel.filter.value = ""
    assert len(panel.suspects) == n
    panel.filter.value = "frame > 70"
    assert panel.title.value == "<b>Nothing suspicious is left.</b>"


@pytest.mark.parametrize(
    ("button", "cells", "points", "words"),
    [
        ("remove", "three", "", "frame:label of each cell"),
        ("remove", "", "", "one cell, as frame:label"),
        ("merge", "0:1", "", "two cells, as frame:label, frame:label"),
        ("remove", "0:99", "", "not there"),
        ("split by line", "0:1", "a b", "z y x of each point"),
        ("remove division", "", "", "one cell"),
        ("redo", "0:1", "", "nothing to redo"),
    ],
)
def test_what_cannot_be_done_is_said(
    panel: CurationPanel, button: str, cells: str, points: str, words: str
) -> None:
    assert "<b>not done:</b>" in act(panel, button, cells, points) and words in panel.message.value
    assert not panel.curation.state.done


@pytest.mark.slow
def test_confirming_all_empties_the_list(panel: CurationPanel) -> None:
    for _ in range(40):
        if panel.suspect is None:
            break
        assert "confirmed" in act(panel, "confirm")
        act(panel, "rank again")
    assert panel.title.value == "<b>Nothing suspicious is left.</b>"
    assert panel.message.value == "0 suspicious places are left"
    assert "none left" in act(panel, "confirm")


def test_a_strip_shows_three_frames_and_two_at_the_ends() -> None:
    class Movie:
        shape = (4, 1, 40, 48)

        def frame(self, t: int) -> np.ndarray:
            return boxes(1)[t]

    for t, n in ((0, 2), (1, 3), (3, 2)):
        figure = strip(Movie(), Movie(), t, (0.0, 3.0, 3.5), (2.0, 0.5, 0.5), 4.0)
        assert [axes.get_title() for axes in figure.axes].count(f"frame {t}") == 1 and len(figure.axes) == n
        names = {text.get_text() for text in figure.axes[0].texts}
        assert "1" in names, "cells bear their labels"


def test_links_of_the_selected_cells_and_what_is_confirmed_are_drawn(panel: CurationPanel) -> None:
    def drawn() -> tuple[list, set, list]:
        figure = panel.figure()
        named = {(axes.get_gid(), text.get_text()) for axes in figure.axes for text in axes.texts if text.get_color() == "white"}  # fmt: skip
        return [a.get_gid() for a in figure.artists], named, [axes.get_title() for axes in figure.axes]

    _look_at(panel, 1, 1)
    panel.cells.value = "1:1"
    assert drawn() == (["link", "link"], set(), ["frame 0", "frame 1", "frame 2"])
    before = bytes(panel.image.value)
    act(panel, "cut", "1:1")
    assert drawn()[0] == ["link"] and bytes(panel.image.value) != before
    act(panel, "confirm link", "1:1, 2:1")
    act(panel, "confirm cell", "2:1")
    assert drawn()[:2] == (["confirmed link"], {("2", "1")})
    panel.cells.value = "1:1"
    act(panel, "confirm frame", "1:1")
    assert drawn()[2] == ["frame 0", "frame 1: complete", "frame 2"]
    act(panel, "unconfirm track", "1:1, 2:1")  # two cells of one track speak of it
    assert drawn()[0] == ["link"] and ("1", "1") not in drawn()[1]
    assert "one cell" in act(panel, "unconfirm track", "1:1, 1:3")


def test_the_history_of_scores_has_a_point_each_time() -> None:
    row = {
        "time": "t",
        "edits": 3,
        "result": "automatic",
        "frames": "2–3",
        "iou": 0.9,
        "dice": 0.9,
        "ap50": 0.8,
    }
    scores = pd.DataFrame(
        [
            one
            for time in "tuv"
            for one in (
                {**row, "time": time, "f1_50": 0.9, "fault_value": 12.0},
                {**row, "time": time, "frames": "all", "f1_50": 1.0},
            )
        ]
    )
    figure = score_history(scores)
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [3] * 4
    assert [bar.get_height() for bar in figure.axes[1].patches] == [12.0] * 3

"""Correcting in napari, in a real window: by clicks and keys, what is then in the log, and what is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from helpers.curation import Curation
from helpers.data.label_export import export_v05
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from tests.curation.curated_movies import boxes, linked, write_cells


def _open(folder: Path, depth: int, wait: Any) -> Any:
    from helpers.view import napari_view

    write_cells(folder / "movies" / "m", labels=boxes(depth))
    viewer = napari_view.curate(folder, author="ann")
    viewer.window.resize(1400, 950)
    wait()
    viewer.reset_view()
    wait(3)
    dock = viewer.window.dock_widgets["Curate"]
    return SimpleNamespace(
        viewer=viewer, dock=dock, state=dock.state, wait=wait, folder=folder / "movies" / "m"
    )


@pytest.fixture
def flat(tmp_path: Path, wait) -> Iterator[Any]:
    opened = _open(tmp_path, 1, wait)
    yield opened
    opened.viewer.close()
    wait(3)


@pytest.fixture
def deep(tmp_path: Path, wait) -> Iterator[Any]:
    opened = _open(tmp_path, 3, wait)
    yield opened
    opened.viewer.close()
    wait(3)


def _key(opened: Any, key: str, *modifiers: str) -> None:
    """Press a key while the picture has the focus."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    held = Qt.KeyboardModifier.NoModifier
    for name in modifiers:
        held |= getattr(Qt.KeyboardModifier, f"{name}Modifier")
    QTest.keyClick(opened.viewer.window._qt_viewer.canvas.native, getattr(Qt.Key, f"Key_{key}"), held)
    opened.wait(3)


def _type(opened: Any, field: Any, text: str) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    field.setFocus()
    field.selectAll()
    QTest.keyClicks(field, text)
    QTest.keyClick(field, Qt.Key.Key_Return)
    opened.wait(3)


def _pixel(opened: Any, y: float, x: float) -> Any:
    """Return where a voxel of the plane is on the canvas."""
    from qtpy.QtCore import QPoint

    viewer = opened.viewer
    native = viewer.window._qt_viewer.canvas.native
    scale = opened.dock.layers.labels.scale[-2:]
    centre = np.array(viewer.scene.camera.center[-2:])
    at = (np.array([y, x]) * scale - centre) * viewer.scene.camera.zoom
    return QPoint(round(native.width() / 2 + at[1]), round(native.height() / 2 + at[0]))


def _click(opened: Any, y: float, x: float, *, shift: bool = False) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    held = Qt.KeyboardModifier.ShiftModifier if shift else Qt.KeyboardModifier.NoModifier
    native = opened.viewer.window._qt_viewer.canvas.native
    place = _pixel(opened, y, x)
    QTest.mouseMove(native, place)
    opened.wait(2)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, held, place)
    opened.wait(3)


def _picture(opened: Any, name: str | None = None) -> np.ndarray:
    opened.wait(3)
    if name is not None and (folder := _kept()) is not None:
        opened.viewer.screenshot(str(folder / f"{name}.png"), canvas_only=False, flash=False)
    return opened.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)


def _kept() -> Path | None:
    """A folder for screenshots to be looked at, where one is asked for."""
    import os

    folder = os.environ.get("VOLLTRACK_SCREENSHOTS")
    return Path(folder) if folder else None


def _operations(opened: Any) -> list[str]:
    lines = (opened.folder / "edits.jsonl").read_text().splitlines()
    return [json.loads(line)["operation"] for line in lines[1:]]


def _yellow(picture: np.ndarray) -> int:
    return int(((picture[..., 0] > 180) & (picture[..., 1] > 170) & (picture[..., 2] < 120)).sum())


def test_a_click_chooses_and_keys_edit(flat) -> None:
    dock, state = flat.dock, flat.state
    before = _picture(flat)
    _click(flat, 6, 6)
    assert dock.cells.text() == "0:1" and dock.layers.labels.selected_label == 1
    assert _yellow(_picture(flat, "chosen")) > _yellow(before) + 20, "a ring is seen"
    _click(flat, 20, 40)
    assert "background" in dock.message.text() and dock.cells.text() == "0:1", "background chooses nothing"
    _click(flat, 8, 24, shift=True)
    assert dock.cells.text() == "0:1, 0:2"
    _key(flat, "A")  # merge
    assert _operations(flat) == ["merge"] and not (state.labels.frame(0) == 2).any()
    np.testing.assert_array_equal(dock.layers.labels.data[0], state.labels.frame(0)[0])
    assert not np.array_equal(_picture(flat), before), "the edit is seen"
    _key(flat, "Z", "Control")
    assert (state.labels.frame(0) == 2).any() and _operations(flat) == ["merge", "undo"]
    _key(flat, "Z", "Control", "Shift")
    assert not (state.labels.frame(0) == 2).any()
    assert dock.log_page.list.item(0).text().startswith("merge  ·  ann")
    assert dock.log_page.list.item(0).text().endswith("0:1, 0:2")
    _key(flat, "R")
    assert "remove" in dock.message.text() and dock.cells.text() == "0:1"
    assert state.labels.frame(0)[0, 6, 6] == 0 and state.labels.frame(0)[0, 8, 24] == 1, "the clicked piece"


def test_a_stroke_of_the_brush_is_one_edit(flat) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    state, native = flat.state, flat.viewer.window._qt_viewer.canvas.native
    _key(flat, "W")
    assert flat.dock.layers.labels.mode == "paint" and flat.dock.layers.labels.selected_label == 6
    flat.dock.layers.labels.brush_size = 3
    left = Qt.MouseButton.LeftButton
    QTest.mousePress(native, left, Qt.KeyboardModifier.NoModifier, _pixel(flat, 20, 36))
    for x in range(37, 44):
        QTest.mouseMove(native, _pixel(flat, 20, x))
        flat.wait(1)
    QTest.mouseRelease(native, left, Qt.KeyboardModifier.NoModifier, _pixel(flat, 20, 43))
    flat.wait(4)
    assert _operations(flat) == ["paint"], "not one for each step of the mouse"
    drawn = np.argwhere(state.labels.frame(0)[0] == 6)
    assert len(drawn) > 15 and np.ptp(drawn[:, 1]) >= 6 and np.ptp(drawn[:, 0]) <= 3
    _picture(flat, "painted")
    _key(flat, "E")  # napari's eraser
    QTest.mouseClick(native, left, Qt.KeyboardModifier.NoModifier, _pixel(flat, 20, 36))
    flat.wait(4)
    assert _operations(flat) == ["paint", "erase"]
    _key(flat, "Z", "Control")
    _key(flat, "Z", "Control")
    np.testing.assert_array_equal(state.labels.frame(0), boxes(1)[0])
    np.testing.assert_array_equal(flat.dock.layers.labels.data[0], boxes(1)[0, 0])
    _key(flat, "6")
    assert flat.dock.layers.labels.mode == "pan_zoom"


def test_choice_goes_from_tree_to_picture_and_back(flat) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    dock = flat.dock
    _key(flat, "F3")
    _click(flat, 31, 12)  # the cell that divides
    tree = dock.track_page.tree
    assert dock.cells.text() == "0:3" and len(tree.branches) == 3, "a mother and two daughters"
    assert "1 division" in dock.track_page.list.currentItem().text()
    daughter = dock.state.graph.id_at[3, 4]
    QTest.mouseClick(tree, Qt.MouseButton.LeftButton, pos=tree.place(daughter).toPoint())
    flat.wait(3)
    assert dock.cells.text() == "3:4" and dock.frame == 3, "the picture goes there"
    assert tree.chosen == {daughter}
    seen = _picture(flat, "tree")
    assert _yellow(seen) > 20
    _key(flat, "Left", "Control")
    assert dock.cells.text() == "2:4"
    _key(flat, "Left", "Control", "Shift")
    assert dock.cells.text() == "2:4, 1:3"
    _key(flat, "U")
    assert ((1, 3), (2, 4)) not in linked(flat.state) and len(tree.branches) == 1


def test_everything_can_be_done_by_typing(flat) -> None:
    from qtpy.QtWidgets import QApplication

    dock, state = flat.dock, flat.state
    _key(flat, "K", "Control")
    window = flat.viewer.window._qt_window
    assert window.focusWidget() is dock.cells
    _type(flat, dock.cells, "1:2, 3:2")
    assert window.focusWidget() is not dock.cells and dock.frame == 3
    _key(flat, "I")
    assert (state.labels.frame(2) == 2).any() and {((1, 2), (2, 2)), ((2, 2), (3, 2))} <= linked(state)
    _type(flat, dock.cells, "2:5")
    _type(flat, dock.points, "0 31 31; 0 31 43")
    assert len(dock.layers.points.data) == 2
    _key(flat, "S", "Shift")
    assert {5, 6} <= set(state.labels.frame(2)[0, 31].tolist()) and dock.points.text() == ""
    _type(flat, dock.cells, "0:77")
    assert "not there" in dock.message.text()
    _type(flat, dock.cells, "2:3")
    _key(flat, "Y", "Shift")
    assert len(dock.layers.confirmed.data) == 2 and dock.layers.confirmed_links.visible
    green = _picture(flat, "confirmed")
    assert ((green[..., 1] > 120) & (green[..., 0] < 60) & (green[..., 2] < 160)).sum() > 10
    _key(flat, "Right", "Shift")
    assert dock.cells.text() == "2:4", "the next cell of the frame"
    _key(flat, "C", "Shift")
    assert ("frame", 2) in state.graph.marks and flat.viewer.canvas.overlays.text.visible
    QApplication.processEvents()
    n = len(state.done)
    dock.log_page.go_to(n - 1)
    assert len(state.done) == 1 and state.done[0].operation == "interpolate"


def test_suspects_are_gone_through_by_key(flat) -> None:
    dock = flat.dock
    _key(flat, "F4")
    _key(flat, "R", "Shift")
    for _ in range(200):
        if len(dock.desk.suspects):
            break
        flat.wait(5)
    n = len(dock.desk.suspects)
    assert n > 3 and dock.suspect_page.list.count() == n
    assert dock.suspect_page.progress.text() == f"1 seen, {n - 1} left"
    first = dock.cells.text()
    _key(flat, "N")
    assert dock.cells.text() != first and dock.frame == dock.desk.suspect["frame"]
    _picture(flat, "suspects")
    row = dock.desk.suspect
    _key(flat, "O")
    assert set(row["confirm"]) & flat.state.graph.marks and dock.desk.position == 2
    assert dock.suspect_page.list.item(1).text().startswith("✓")


def test_tracks_are_filtered_and_deleted(flat) -> None:
    dock = flat.dock
    page = dock.track_page
    n = page.list.count()
    assert n == 3
    _key(flat, "F", "Control")
    _type(flat, page.filter, "frame > 2 and label == 4")
    shown = page.list.count()
    assert shown == 1 and dock.message.text() == "1 track is shown"
    _key(flat, "Delete", "Shift")
    assert _operations(flat) == ["delete_tracks"] and page.list.count() == 0
    _key(flat, "A", "Control")
    assert page.list.count() == n - shown
    _key(flat, "Delete", "Shift")
    assert "set a filter first" in dock.message.text() and len(_operations(flat)) == 1
    _type(flat, page.filter, f"{min(page._founders())}, 77")
    assert dock.message.text() == "1 track is shown; there is no track 77"
    _type(flat, page.filter, "no_column > 3")
    assert "no_column" in dock.message.text()
    _key(flat, "L", "Control")
    text = (flat.folder / "lineages.txt").read_text()
    assert "written" in dock.message.text() and text.strip() == "", "what divided is deleted"


def test_in_3d_a_click_meets_the_first_cell_on_the_line_of_sight(deep) -> None:
    dock, viewer = deep.dock, deep.viewer
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    deep.wait(4)
    z, y, x = np.argwhere(deep.state.labels.frame(0) == 1).mean(axis=0)
    scale = dock.layers.labels.scale[1:]
    viewer.scene.camera.center = tuple(np.array([z, y, x]) * scale)
    deep.wait(3)
    native = viewer.window._qt_viewer.canvas.native
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest

    place = QPoint(native.width() // 2, native.height() // 2)
    QTest.mouseMove(native, place)
    deep.wait(2)
    QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    deep.wait(3)
    assert dock.cells.text() == "0:1"
    before = _picture(deep, "volume")
    _key(deep, "R")
    assert not (deep.state.labels.frame(0) == 1).any()
    assert np.abs(_picture(deep) - before).mean() > 0.3, "the cell is gone"


def test_help_names_every_key_and_no_key_means_two_things(flat) -> None:
    from helpers.view.curation_actions import ACTIONS
    from helpers.view.napari_curation_keys import MOVES
    from helpers.view.napari_curation_pages import shown_key

    text = flat.dock.tabs.widget(4).toPlainText()
    keys = [action.key for action in ACTIONS.values()] + list(MOVES)
    assert len(set(keys)) == len(keys)
    assert all(shown_key(key) in text for key in keys)
    for name, made in flat.dock.edit_page.buttons.items():
        assert f"[{shown_key(ACTIONS[name].key)}]" in made.toolTip()


def test_the_manifest_is_packaged_and_names_what_is_there() -> None:
    import tomllib

    from npe2 import PluginManifest

    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    package, file = project["project"]["entry-points"]["napari.manifest"]["volltrack"].split(":")
    assert file in project["tool"]["setuptools"]["package-data"][package]
    manifest = PluginManifest.from_file(root / package / file)
    manifest.validate_imports()
    assert {widget.display_name for widget in manifest.contributions.widgets or ()} == {
        "Tracks",
        "Curate",
        "Annotate",
    }


def test_one_person_edits_and_the_window_lets_go(tmp_path: Path, wait) -> None:
    opened = _open(tmp_path, 1, wait)
    with pytest.raises(InputError, match="ann edits it"):
        Curation(opened.folder, "bob")
    opened.viewer.close()
    wait(3)
    Curation(opened.folder, "bob").close()


def test_dropping_a_run_folder_opens_it_and_the_docks_work_on_it(
    tmp_path: Path, wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    import napari
    from napari.settings import get_settings
    from npe2 import PluginManager, PluginManifest

    import helpers
    from helpers.view import napari_plugin

    monkeypatch.setattr(get_settings().plugins, "extension2reader", {})
    folder = Path(helpers.__file__).parent
    manager = PluginManager.instance()
    manifest = PluginManifest.from_file(folder / "napari.yaml")
    if "volltrack" not in manager:
        manager.register(manifest)
    write_cells(tmp_path / "movies" / "m", labels=boxes(3))
    viewer = napari.Viewer()
    try:
        viewer.window._qt_viewer._qt_open([str(tmp_path)], stack=False, plugin="volltrack")
        wait(4)
        assert [layer.name for layer in viewer.layers] == ["labels", "tracks"]
        np.testing.assert_allclose(viewer.layers["labels"].scale, (1, 2.0, 0.5, 0.5))
        dock = viewer.window.add_plugin_dock_widget("volltrack", "Curate")[1].dock
        wait(3)
        assert dock.state.shape == (4, 3, 40, 48) and viewer.layers["labels"].data.shape == (4, 3, 40, 48)
        dock.close_curation()
        viewer.layers.clear()
        for name in ("labels.zarr", "tracks.csv"):
            viewer.open(str(tmp_path / "movies" / "m" / name), plugin="volltrack")
        assert [layer.name for layer in viewer.layers] == ["labels", "tracks"]
        made = str(tmp_path / "movies" / "m" / "labels.zarr")
        newer = export_v05(LabelMovie.open(made), tmp_path / "movies" / "m" / "newer.ome.zarr")
        napari_plugin.prefer()  # as make install does

        def asked(*_: object, **__: object) -> None:
            raise AssertionError("napari asks which plugin to take")

        monkeypatch.setattr("napari._qt.qt_viewer.handle_gui_reading", asked)
        for path in (made, str(newer)):  # as a user does, who names no plugin
            viewer.layers.clear()
            viewer.open(path, plugin=None)  # left out, napari takes its own reader, which knows no scale
            viewer.window._qt_viewer._qt_open([path], stack=False, plugin=None)
            wait(4)
            assert [type(layer) for layer in viewer.layers] == [napari.layers.Labels] * 2
            for layer in viewer.layers:
                np.testing.assert_allclose(layer.scale, (1, 2.0, 0.5, 0.5))
                assert layer.units[1:] == viewer.layers[0].units[1:] and str(layer.units[1]) == "micrometer"
    finally:
        viewer.close()
        wait(3)

"""Drawing cells in napari, in a real window: what is then on disk, what the networks' process brings, and what is seen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.data.drawings import Drawings, drawn_stacks
from helpers.data.movies import Movie, write_movie
from helpers.data.outlines import read_outlines, read_prompts
from helpers.errors import InputError

VOXEL = (1.5, 0.5, 0.5)
SHAPE = (2, 2, 6, 48, 64)


def _open(folder: Path, wait: Any, shape: tuple[int, ...] = SHAPE) -> Any:
    from helpers.view import napari_view

    rng = np.random.default_rng(0)
    frames = rng.poisson(100, shape).astype(np.uint16)
    frames[..., 10:30, 10:30] += 300
    path = write_movie(folder / "m.ome.tif", frames, voxel_size=VOXEL, frame_interval=60)
    viewer = napari_view.annotate(path, folder / "run")
    viewer.window.resize(1300, 900)
    wait()
    viewer.reset_view()
    wait(3)
    dock = viewer.window.dock_widgets["Annotate"]
    return SimpleNamespace(viewer=viewer, dock=dock, wait=wait, run=folder / "run", movie=path)


@pytest.fixture
def deep(tmp_path: Path, wait) -> Iterator[Any]:
    opened = _open(tmp_path, wait)
    yield opened
    opened.viewer.close()
    wait(3)


def _native(opened: Any) -> Any:
    return opened.viewer.window._qt_viewer.canvas.native


def _key(opened: Any, key: str, *modifiers: str) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    held = Qt.KeyboardModifier.NoModifier
    for name in modifiers:
        held |= getattr(Qt.KeyboardModifier, f"{name}Modifier")
    QTest.keyClick(_native(opened), getattr(Qt.Key, f"Key_{key}"), held)
    opened.wait(3)


def _pixel(opened: Any, y: float, x: float) -> Any:
    from qtpy.QtCore import QPoint

    viewer, native = opened.viewer, _native(opened)
    centre = np.array(viewer.scene.camera.center[-2:])
    at = (np.array([y, x]) * VOXEL[1:] - centre) * viewer.scene.camera.zoom
    return QPoint(round(native.width() / 2 + at[1]), round(native.height() / 2 + at[0]))


def _point(opened: Any, y: float, x: float) -> Any:
    from qtpy.QtTest import QTest

    place = _pixel(opened, y, x)
    QTest.mouseMove(_native(opened), place)
    opened.wait(2)
    return place


def _stroke(opened: Any, y: float, x: float) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    QTest.mouseClick(_native(opened), Qt.MouseButton.LeftButton, pos=_point(opened, y, x))
    opened.wait(3)


def _on_disk(opened: Any, frame: int = 0, channel: int = 0) -> np.ndarray | None:
    return Drawings(Movie.open(opened.movie), opened.run / "annotations").labels(frame, channel)


def _look(opened: Any, name: str) -> None:
    """Keep a picture of the window where one is asked for."""
    opened.wait(3)
    if folder := os.environ.get("VOLLTRACK_SCREENSHOTS"):
        opened.viewer.screenshot(str(Path(folder) / f"{name}.png"), canvas_only=False, flash=False)


def _until(opened: Any, true: Callable[[], bool]) -> None:
    """Let Qt do what is due until something is true, or for five minutes."""
    end = time.monotonic() + 300
    while not true() and time.monotonic() < end:
        opened.wait(1)
    assert true()


def _slice(opened: Any, z: int) -> None:
    opened.viewer.dims.set_current_step(1, z)
    opened.wait(2)


def test_strokes_keys_frames_and_channels_are_kept_as_they_are_drawn(deep) -> None:
    dock = deep.dock
    dock.labels.brush_size = 8
    assert dock.cell == 1 and dock.labels.mode == "paint"
    for z in (1, 4):
        _slice(deep, z)
        _stroke(deep, 20, 20)
    _key(deep, "I")
    assert all((dock.labels.data.frame(0)[z, 20, 20] == 2) for z in (1, 2, 3, 4)), (
        "the slices between are filled"
    )
    _key(deep, "N")
    assert dock.cell == 2
    _key(deep, "B")
    _stroke(deep, 20, 24)
    frame = dock.labels.data.frame(0)
    assert frame[4, 20, 27] == 1 and frame[4, 20, 20] == 2, "background does not cover a cell"
    _key(deep, "E")
    _stroke(deep, 20, 28)
    assert dock.labels.data.frame(0)[4, 20, 27] == 0
    _key(deep, "Z", "Control")
    assert dock.labels.data.frame(0)[4, 20, 27] == 1
    assert "1 cell," in dock.controls.state.text() and "background" in dock.controls.state.text()
    _until(deep, lambda: not dock.timer.isActive())  # it saves by itself
    saved = _on_disk(deep)
    assert saved is not None
    np.testing.assert_array_equal(saved + 1, dock.labels.data.frame(0))
    deep.viewer.dims.set_current_step(0, 1)
    deep.wait(2)
    _key(deep, "C")
    _stroke(deep, 36, 40)
    dock.controls.channel.setCurrentIndex(1)
    assert not dock.labels.data.frame(1).any() and not deep.viewer.layers["channel 0"].visible
    second, other = _on_disk(deep, 1), _on_disk(deep, 1, 1)
    assert second is not None and second[4, 36, 40] == 1 and other is None
    dock.controls.channel.setCurrentIndex(0)
    assert dock.labels.data[1, 4, 36, 40] == 2
    assert dock.controls.counts() == (2, 2)
    assert [size for *_, size in drawn_stacks(deep.run / "annotations")] == [VOXEL] * 2, (
        "as notebook 03_create_dataset reads them"
    )
    deep.viewer.dims.set_current_step(0, 0)
    _look(deep, "annotate")
    dock.labels.data[0] = 0
    dock.save()
    assert _on_disk(deep) is None, "an empty drawing leaves no file that teaches nothing"


def _found(opened: Any) -> None:
    """Write what a training writes: one cell found, and two places in doubt."""
    drawings = Drawings(Movie.open(opened.movie), opened.run / "annotations")
    labels = np.zeros(SHAPE[2:], np.int32)
    labels[1:5, 10:30, 10:30] = 7
    for kind, stack in (("found", labels), ("doubt", (labels > 0).astype(np.uint8) * 200)):
        path = drawings.path(kind, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_movie(path, stack, voxel_size=VOXEL, axes="ZYX")
    rows = [(1, 0, 2, 20, 20, 0.9, "the U-Net is unsure"), (2, 1, 5, 40, 50, 0.4, "the U-Net is unsure")]
    pd.DataFrame(rows, columns=["rank", "frame", "z", "y", "x", "doubt", "reason"]).to_csv(
        drawings.folder / "where_to_draw.csv", index=False
    )


def test_a_found_cell_is_accepted_and_a_key_goes_to_the_next_place(deep) -> None:
    dock = deep.dock
    _key(deep, "A")
    assert "no found cell" in dock.controls.message.text()
    _found(deep)
    dock.learner.ended.emit("")
    deep.wait(3)
    _slice(deep, 2)
    _look(deep, "found")
    _point(deep, 20, 20)
    _key(deep, "A")
    drawn = dock.labels.data.frame(0)
    assert (drawn[1:5, 10:30, 10:30] == 2).all() and np.count_nonzero(drawn) == 4 * 400 and dock.cell == 1
    dock.labels.brush_size = 6
    _stroke(deep, 20, 33)
    assert dock.labels.data.frame(0)[2, 20, 34] == 2, "the brush goes on with the accepted cell"
    _key(deep, "Z", "Control")
    _key(deep, "Z", "Control")
    assert not dock.labels.data.frame(0).any()
    for wanted in ((0, 2, 20, 20), (1, 5, 40, 50), (0, 2, 20, 20)):
        _key(deep, "G")
        step = deep.viewer.dims.current_step
        assert (step[0], step[1]) == wanted[:2]
        np.testing.assert_allclose(deep.viewer.scene.camera.center[-2:], np.array(wanted[2:]) * 0.5)
    assert dock.controls.list.count() == 2 and "place 1 of 2" in dock.controls.message.text()
    _look(deep, "place")


def test_a_training_is_a_process_that_is_told_of_and_can_be_ended(deep) -> None:
    dock = deep.dock
    dock.act("train")
    assert "drawn cells = 0" in dock.controls.message.text() and not dock.learner.is_running
    labels = np.full(SHAPE[2:], -1, np.int32)
    labels[1:5, 4:40, 4:40], labels[1:5, 10:30, 10:30] = 0, 1
    dock.labels.data[0] = labels + 1
    dock.act("train")
    assert dock.learner.is_running and not dock.controls.buttons["train"].isEnabled()
    _until(deep, lambda: dock.controls.progress.value() > 0 or not dock.learner.is_running)
    assert "U-Net" in dock.controls.progress.format(), dock.controls.message.text()
    _look(deep, "training")
    dock.act("cancel")
    _until(deep, lambda: not dock.learner.is_running)
    assert dock.controls.buttons["train"].isEnabled()
    assert "as they were" in dock.controls.message.text() and not (deep.run / "models" / "unet").exists()
    dock.act("find")
    _until(deep, lambda: not dock.learner.is_running)
    assert "train them first" in dock.controls.message.text()


def test_planes_and_movies_without_calibration(tmp_path: Path, wait) -> None:
    from helpers.view import napari_view

    opened = _open(tmp_path, wait, (1, 1, 1, 48, 64))
    opened.dock.labels.brush_size = 8
    _stroke(opened, 20, 20)
    opened.viewer.close()
    wait(3)
    saved = _on_disk(opened)
    assert saved is not None and saved[0, 20, 20] == 1, "closing the window saves"
    bare = tmp_path / "bare.tif"
    import tifffile

    tifffile.imwrite(bare, np.zeros((4, 16, 16), np.uint16))
    with pytest.raises(InputError, match="voxel"):
        napari_view.annotate(bare, tmp_path / "other")


def test_the_plugin_draws_in_the_file_of_the_chosen_image(tmp_path: Path, wait) -> None:
    import napari

    from helpers.view.napari_plugin import drawn_movie

    path = write_movie(tmp_path / "p.ome.tif", np.ones((1, 1, 4, 16, 16), np.uint16), voxel_size=VOXEL)
    viewer = napari.Viewer()
    try:
        with pytest.raises(InputError, match="drop a movie"):
            drawn_movie(viewer)
        viewer.open(str(path), plugin="napari")
        movie, folder = drawn_movie(viewer)
        assert movie.voxel_size == VOXEL and folder == tmp_path / "p_volltrack"
    finally:
        viewer.close()
        wait(3)


def test_what_napari_writes_of_shapes_and_points_is_read(tmp_path: Path) -> None:
    from napari.layers import Points, Shapes
    from napari_builtins.io import napari_write_points, napari_write_shapes

    shape = (6, 40, 60)
    box = np.array([[1, 3, 20, 30], [1, 3, 20, 40], [1, 3, 30, 40], [1, 3, 30, 30]], float)
    layers = {
        "shapes": (napari_write_shapes, Shapes([box], shape_type="rectangle")),
        "points": (napari_write_points, Points([[1, 2, 5, 12]])),
    }
    for name, (write, layer) in layers.items():
        data, about, _ = layer.as_layer_data_tuple()
        write(str(tmp_path / f"{name}.csv"), data, about)
    (drawn,), (click,) = (read_prompts(tmp_path / f"{name}.csv", shape) for name in layers)
    assert (drawn.z, drawn.corners.tolist()) == (3, [[20.5, 30.5], [30.5, 40.5]])
    assert (click.z, click.corners.tolist()) == (2, [[5.5, 12.5]])
    with pytest.raises(InputError, match="Convert to Labels"):
        read_outlines(tmp_path / "shapes.csv", shape)
    flat = Shapes([box[:, 2:], box[:, 2:] - 15], shape_type=["rectangle", "ellipse"])
    data, about, _ = flat.as_layer_data_tuple()
    napari_write_shapes(str(tmp_path / "flat.csv"), data, about)
    labels = read_outlines(tmp_path / "flat.csv", (1, 40, 60))[0]
    assert (labels[21:30, 31:40] == 1).all() and set(np.unique(labels)) == {-1, 1, 2}
    assert labels[10, 20] == 2 and labels[6, 16] == -1 and abs((labels == 2).sum() - np.pi * 25) < 8

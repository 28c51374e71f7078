"""napari with a run, in a real window: layers at their scale, clicks in the panel, and what is seen on the canvas."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from helpers.data.movies import LabelMovie, write_movie
from helpers.errors import InputError
from helpers.tracking.formats import table
from helpers.tracking.tracks import Tracks

VOXEL = (2.0, 0.5, 0.5)
SHAPE = (9, 6, 48, 64)


def _run(folder: Path, shape: tuple[int, ...] = SHAPE, boundary: str = "mask") -> Path:
    """A bright cell that moves to the right, one that stands still, one that divides; a tissue around them."""
    frames, depth = shape[0], shape[1]
    labels = np.zeros(shape, np.uint16)
    rows, links = [], []
    middle = (depth - 1) / 2
    for t in range(frames):
        x = 8 + 5 * t
        labels[t, :, 8:16, x - 4 : x + 4] = 1
        labels[t, :, 34:40, 10:16] = 2
        rows += [(t, middle * 2, 5.75, (x - 0.5) / 2, 1), (t, middle * 2, 18.25, 6.25, 2)]
    for t in range(4):
        rows.append((t, middle * 2, 18.0, 22.0, 3))
    for t in range(4, frames):
        rows += [(t, middle * 2, 17.0, 20.0, 4), (t, middle * 2, 19.0, 25.0, 5)]
    objects = pd.DataFrame(rows, columns=["frame", "z", "y", "x", "label"]).assign(volume_um3=50.0)
    objects["intensity_mean"] = 100 + 20 * np.sin(objects["frame"] * 2.0) + objects["label"]
    for label in range(1, 6):
        own = objects.index[objects["label"] == label]
        links += list(itertools.pairwise(own))
        if label > 3:
            links.append((objects.index[(objects["label"] == 3) & (objects["frame"] == 3)][0], own[0]))
    own = folder / "movies" / "m"
    movie = LabelMovie.create(own / "labels.zarr", shape, voxel_size=VOXEL, frame_interval=60.0)
    for t in range(frames):
        movie.write_frame(t, labels[t])
    tracks = Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), VOXEL, 60.0)
    table.write(tracks, own / "tracks.csv")
    raw = np.where(labels == 1, 1000, 20).astype(np.uint16)
    write_movie(folder / "raw.ome.tif", raw[:, None], voxel_size=VOXEL, frame_interval=60.0)
    mask = np.zeros((1, 1, *shape[1:]), np.uint8)
    mask[..., 3:45, 3:61] = 1
    write_movie(folder / "mask.ome.tif", mask, voxel_size=VOXEL)
    step = folder / "steps" / "13_analyze_boundary_distance-m"
    step.mkdir(parents=True)
    given = {"raw": str(folder / "raw.ome.tif")}
    if boundary == "mask":
        given["tissue_mask"] = str(folder / "mask.ome.tif")
    elif boundary == "roi":
        (folder / "roi.csv").write_text("y,x\n2.2,2.2\n2.2,29.8\n20.2,29.8\n20.2,2.2\n")
        given["roi"] = str(folder / "roi.csv")
    (step / "done.json").write_text(json.dumps({"parameters": given}))
    analysis = own / "analysis"
    analysis.mkdir()
    distances = pd.DataFrame({"id": tracks.objects["id"], "distance_um": np.linspace(1, 9, len(objects))})
    distances.to_csv(analysis / "boundary_objects.csv", index=False)
    n = tracks.n_tracklets
    metrics = {
        "tracklet_id": range(n),
        "directness": np.linspace(0, 1, n),
        "mean_speed_um_per_min": np.linspace(0, 1, n),
    }
    pd.DataFrame(metrics).to_csv(analysis / "migration_tracklets.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def opened(run_dir: Path, wait) -> Iterator[Any]:
    """The viewer, its panel, and a function that waits."""
    from helpers.view import napari_view

    viewer = napari_view.open(run_dir)
    viewer.window.resize(1300, 900)
    wait()
    yield SimpleNamespace(viewer=viewer, panel=viewer.window.dock_widgets["Tracks"], wait=wait)
    viewer.close()
    wait(3)


def _picture(opened: Any) -> np.ndarray:
    opened.wait(4)
    return opened.viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(float)


def _click(opened: Any, row: int) -> None:
    """Click on a row of the list, as a person does."""
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    box = opened.panel.list
    place = box.visualItemRect(box.item(row)).center()
    QTest.mouseClick(box.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    opened.wait()


def _drawn(opened: Any) -> np.ndarray:
    opened.panel.canvas.draw()
    return np.asarray(opened.panel.canvas.buffer_rgba()).copy()


def test_layers_lie_at_their_true_place(opened) -> None:
    layers = opened.viewer.layers
    assert [layer.name for layer in layers] == ["image", "boundary", "labels", "tracks"]
    for layer in layers:
        np.testing.assert_allclose(layer.scale, (1.0, *VOXEL))
    assert layers["image"].data.shape == SHAPE
    assert layers["boundary"].data.shape == SHAPE, "a mask for all frames is there in each"
    edge = np.asarray(layers["boundary"].data[5, 3])
    assert edge[3, 10] == 1 and edge[10, 10] == 0 and edge[0, 0] == 0
    # In µm the moving cell's track lies in its label, in every frame.
    data = layers["tracks"].data
    own = data[data[:, 0] == 0]
    for _, t, z, y, x in own:
        assert layers["labels"].data[int(t), int(z), round(y), round(x)].compute() == 1
    assert {len(parents) for parents in layers["tracks"].graph.values()} == {1}
    assert len(layers["tracks"].graph) == 2, "two daughters"


def test_the_picture_fits_into_the_window(run_dir: Path, wait) -> None:
    from helpers.view import napari_view

    viewer = napari_view.open(run_dir)
    wait()
    high, wide = (np.array(SHAPE) * (1, *VOXEL))[2:] * viewer.camera.zoom
    canvas = viewer.screenshot(canvas_only=True, flash=False).shape
    assert canvas[0] / 2 < high < canvas[0] or canvas[1] / 2 < wide < canvas[1]
    assert high < canvas[0] and wide < canvas[1]
    viewer.close()


def test_the_canvas_shows_the_cell_where_it_is(opened) -> None:
    for name in ("boundary", "labels", "tracks"):
        opened.viewer.layers[name].visible = False
    opened.viewer.canvas.overlays.scale_bar.visible = False
    places = []
    for t in (0, 8):
        opened.viewer.dims.set_current_step(0, t)
        picture = _picture(opened).mean(axis=-1)
        bright = np.argwhere(picture > 200)
        assert len(bright) > 50
        places.append(bright.mean(axis=0))
    assert places[1][1] - places[0][1] > 100, "it moved to the right"
    assert abs(places[1][0] - places[0][0]) < 5


def test_in_3d_something_is_seen_too(opened) -> None:
    opened.viewer.dims.ndisplay = 3
    opened.viewer.reset_view()
    picture = _picture(opened)
    assert picture.std() > 5
    opened.viewer.layers["image"].visible = False
    assert np.abs(_picture(opened) - picture).mean() > 0.5


def test_a_click_on_a_track_draws_its_plots_and_goes_to_it(opened) -> None:
    empty = _drawn(opened)
    opened.viewer.dims.set_current_step(0, 5)
    _click(opened, 1)
    assert opened.panel.track == 0, "the cell that moves"
    first = _drawn(opened)
    assert not np.array_equal(first, empty)
    assert len(opened.panel.canvas.figure.axes) == 3, "intensity, spectrum, distance"
    assert opened.viewer.layers["chosen"].data[:, 0].min() >= 0
    seen = _picture(opened)
    assert opened.viewer.dims.point[1] == pytest.approx(4, abs=2), "the plane of its cells"
    yellow = (seen[..., 0] > 180) & (seen[..., 1] > 160) & (seen[..., 2] < 130)
    assert yellow.sum() > 20, "the chosen track is marked on the canvas"
    _click(opened, 0)
    assert not np.array_equal(_drawn(opened), first)
    titles = [axes.get_title(loc="left") for axes in opened.panel.canvas.figure.axes]
    assert titles[0] == "intensity mean" and titles[2] == "distance to the boundary (µm)"


def test_the_list_is_split_by_division(opened) -> None:
    panel = opened.panel
    assert panel.list.count() == 3
    panel.kind.setCurrentText("dividing")
    assert [panel.list.item(i).text() for i in range(panel.list.count())] == [
        "track 2: 14 points, 1 division"
    ]
    panel.kind.setCurrentText("non-dividing")
    assert panel.list.count() == 2
    assert all("division" not in panel.list.item(i).text() for i in range(2))


def test_the_camera_follows_the_chosen_track(opened) -> None:
    panel, viewer = opened.panel, opened.viewer
    panel.kind.setCurrentText("non-dividing")
    _click(opened, 0)
    moving = panel.run.tracks.objects.query("label == 1").sort_values("frame")
    assert panel.track == 0
    place = viewer.camera.center
    panel.follow.click()
    assert viewer.camera.center != place, "it goes there at once"
    for t in (1, 7):
        viewer.dims.set_current_step(0, t)
        opened.wait()
        assert viewer.camera.center[-1] == pytest.approx(moving["x"].iloc[t])
        assert viewer.camera.center[-2] == pytest.approx(moving["y"].iloc[t])
    panel.follow.click()
    viewer.dims.set_current_step(0, 1)
    assert viewer.camera.center[-1] == pytest.approx(moving["x"].iloc[7]), "no longer"


def test_tracks_take_the_colour_of_a_column(opened) -> None:
    layer = opened.viewer.layers["tracks"]
    np.testing.assert_array_equal(layer.features["frame"], layer.data[:, 1], "rows are those of the points")
    np.testing.assert_allclose(layer.features["x"], layer.data[:, -1] * VOXEL[-1])
    before = layer.track_colors.copy()
    opened.panel.color.setCurrentText("distance_um")
    assert layer.color_by == "distance_um"
    assert not np.array_equal(layer.track_colors, before)


def test_the_save_button_writes(opened, run_dir: Path) -> None:
    from qtpy.QtCore import Qt
    from qtpy.QtTest import QTest

    def press() -> str:
        QTest.mouseClick(opened.panel.save, Qt.MouseButton.LeftButton)
        opened.wait(2)
        return opened.panel.message.text()

    assert "choose a track" in press(), "nothing is chosen yet, and that is said"
    _click(opened, 0)
    opened.panel.animate.setChecked(True)
    track = opened.panel.track
    assert press() == f"4 files in {run_dir / 'movies' / 'm' / 'export'}"
    rows = pd.read_csv(run_dir / "movies" / "m" / "export" / f"track_{track}.csv")
    assert set(rows["track_id"]) == {track}
    assert (run_dir / "movies" / "m" / "export" / f"track_{track}.gif").stat().st_size > 1000


def test_a_lasso_in_the_scatter_plot_filters_the_list(opened) -> None:
    from qtpy.QtCore import QPoint, Qt
    from qtpy.QtTest import QTest
    from qtpy.QtWidgets import QTabWidget

    opened.panel.findChild(QTabWidget).setCurrentIndex(1)
    opened.wait(15)
    scatter = opened.panel.scatter
    scatter.canvas.draw()
    ratio = scatter.canvas.device_pixel_ratio
    height = scatter.canvas.height()
    corners = [(-0.04, -0.04), (-0.04, 0.1), (0.1, 0.1), (0.1, -0.04), (-0.04, -0.04)]
    points = [
        QPoint(round(x / ratio), round(height - y / ratio))
        for x, y in scatter.axes.transData.transform(corners)
    ]
    left = Qt.MouseButton.LeftButton
    QTest.mousePress(scatter.canvas, left, Qt.KeyboardModifier.NoModifier, points[0])
    for point in points[1:]:
        QTest.mouseMove(scatter.canvas, point)
        opened.wait(2)
    QTest.mouseRelease(scatter.canvas, left, Qt.KeyboardModifier.NoModifier, points[-1])
    opened.wait()
    assert scatter.chosen.tolist() == [True] + [False] * (len(scatter.table) - 1)
    assert opened.panel.list.count() == 1
    QTest.mouseClick(scatter.every, left)
    assert opened.panel.list.count() == 3


def test_difficult_tracks_are_shown_and_saved(tmp_path: Path, wait) -> None:
    """A gap, a merge, a lone point, intensities that are all equal or missing, and half a second between frames."""
    from helpers.view import napari_view

    run = _run(tmp_path)
    path = run / "movies" / "m" / "tracks.csv"
    tracks = table.read(path)
    objects = tracks.objects
    objects.loc[objects["label"] == 2, "intensity_mean"] = 7.0
    objects.loc[objects["label"] >= 3, "intensity_mean"] = np.nan
    ids = objects.set_index(["label", "frame"])["id"].to_dict()
    gone = {ids[1, 4], ids[1, 7], *(ids[5, t] for t in (7, 8))}
    links = [(a, b) for a, b in tracks.links[["source", "target"]].to_numpy() if not {a, b} & gone]
    links += [(ids[1, 3], ids[1, 5]), (ids[5, 6], ids[4, 7])]  # over a gap, and into the sister
    kept = objects[~objects["id"].isin(gone - {ids[5, 8]})]  # the last is a lone point
    table.write(Tracks(kept, pd.DataFrame(links, columns=["source", "target"]), VOXEL, 0.5), path)
    viewer = napari_view.open(run)
    panel = viewer.window.dock_widgets["Tracks"]
    assert [panel.list.item(i).text().split(": ")[1] for i in range(panel.list.count())] == [
        "12 points, 1 division", "9 points", "6 points",
    ]  # fmt: skip
    assert any(len(parents) == 2 for parents in viewer.layers["tracks"].graph.values()), "the merge"
    for row in range(3):
        panel.list.setCurrentRow(row)
        wait(2)
        intensity, spectrum = panel.canvas.figure.axes
        assert "s)" in intensity.get_xlabel() and "no rhythm" in spectrum.get_title(loc="left")
        assert all(path.stat().st_size > 0 for path in panel.export())
    panel.color.setCurrentText("intensity_mean")
    assert np.isfinite(viewer.layers["tracks"].track_colors).all()
    viewer.close()


def test_a_2d_run(tmp_path: Path, wait) -> None:
    from helpers.view import napari_view

    viewer = napari_view.open(_run(tmp_path, (9, 1, 48, 64)))
    wait()
    assert viewer.dims.ndim == 3
    for layer in viewer.layers:
        np.testing.assert_allclose(layer.scale, (1.0, 0.5, 0.5))
    viewer.window.dock_widgets["Tracks"].list.setCurrentRow(0)
    wait()
    assert viewer.layers["chosen"].data.shape[1] == 4
    viewer.close()


def test_a_drawn_region_or_the_hull_of_the_cells_is_the_boundary(tmp_path: Path) -> None:
    from helpers.view.tracked_run import read_run

    region = read_run(_run(tmp_path / "roi", boundary="roi")).tissue
    assert region is not None
    inside = np.argwhere(region.frame(3)) * region.voxel_size
    np.testing.assert_allclose(inside.min(axis=0), [0, 2.5, 2.5])
    np.testing.assert_allclose(inside.max(axis=0), [10, 20, 29.5])
    hull = read_run(_run(tmp_path / "hull", boundary="hull")).tissue
    assert hull is not None
    # From the moving cell's top to the standing one's bottom.
    seen = np.argwhere(hull.frame(8)) * hull.voxel_size
    assert seen[:, 1].min() == pytest.approx(4.5) and seen[:, 1].max() == pytest.approx(19)
    assert seen[:, 2].max() == pytest.approx(25, abs=0.6)


def test_a_large_movie_shows_its_region_on_a_coarser_grid() -> None:
    from helpers.analysis.boundary import RoiBoundary
    from helpers.view.tracked_run import SampledTissue

    square = RoiBoundary(np.array([[100.0, 100], [100, 300], [300, 300], [300, 100]]))
    tissue = SampledTissue.like(square, (2, 1, 1, 4096, 4096), (1.0, 0.5, 0.5))
    assert np.prod(tissue.shape[1:]) <= 1_000_000
    inside = np.argwhere(tissue.frame(0)) * tissue.voxel_size
    np.testing.assert_allclose(inside.min(axis=0)[1:], 100, atol=tissue.voxel_size[1])
    np.testing.assert_allclose(inside.max(axis=0)[1:], 300, atol=tissue.voxel_size[1])


def test_a_movie_without_a_scale_is_refused(tmp_path: Path) -> None:
    from helpers.view.tracked_run import read_run

    run = _run(tmp_path)
    own = run / "movies" / "m"
    tracks = table.read(own / "tracks.csv")
    table.write(Tracks(tracks.objects, tracks.links), own / "tracks.csv")
    (own / "labels.zarr").rename(own / "elsewhere.zarr")
    raw = np.zeros((9, 1, *SHAPE[1:]), np.uint8)
    tifffile.imwrite(run / "raw.ome.tif", raw[:, 0], metadata={"axes": "TZYX"})
    with pytest.raises(InputError, match="voxel_size_um"):
        read_run(run)


def test_what_is_missing_is_named(tmp_path: Path, run_dir: Path) -> None:
    from helpers.view.tracked_run import read_run

    with pytest.raises(InputError, match="run notebook 10_track first"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="movie = 'other': one of m"):
        read_run(run_dir, "other")
    assert read_run(run_dir).tissue is not None


def test_files_that_were_moved_away_are_named_and_not_replaced(tmp_path: Path) -> None:
    from helpers.view.tracked_run import read_run

    folder = _run(tmp_path)
    for path in tmp_path.rglob("done.json"):
        done = json.loads(path.read_text())
        given = {"raw": tmp_path / "gone.tif", "tissue_mask": tmp_path / "mask.tif"}
        done["parameters"] |= {
            name: str(file) for name, file in given.items() if done["parameters"].get(name)
        }
        path.write_text(json.dumps(done))
    with pytest.warns(UserWarning, match="no longer there") as said:
        run = read_run(folder)
    assert {"gone.tif" in str(w.message) for w in said} == {True, False}
    assert run.movie is None and run.tissue is None and run.labels is not None

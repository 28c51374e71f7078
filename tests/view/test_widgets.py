"""The viewer in notebooks: what its controls do to what it shows, and what it writes."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backend_bases import MouseButton, MouseEvent

from helpers.analysis.spectrum import SpectrumSettings, measure_spectra
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks
from helpers.view.widgets import column_panel, explore, select_tracklets, spectrum_panel

VOXEL = (2.0, 0.5, 0.5)


class _Movie:
    """Frames of noise in memory, or of two labels."""

    def __init__(self, labels: bool = False) -> None:
        self.array = np.zeros((8, 4, 30, 40), np.uint16 if labels else np.float32)
        for t in range(8):
            for z in range(4):
                if labels:
                    self.array[t, z, 4:10, 4 + t : 10 + t] = 1
                    self.array[t, z, 20:26, 30:36] = 2
                else:
                    self.array[t, z] = np.random.default_rng([t, z]).uniform(0, 100, (30, 40))
        self.shape = self.array.shape if labels else (8, 1, 4, 30, 40)
        self.voxel_size = VOXEL
        self.read: list[int] = []

    def frame(self, t: int, channel: int = 0) -> np.ndarray:
        self.read.append(t)
        return self.array[t]


@pytest.fixture
def tracks() -> Tracks:
    """A cell that moves, one that stands still, and one that divides."""
    rows = [(t, 3.0, 3.5, (7 + t) * 0.5) for t in range(8)] + [(t, 3.0, 11.5, 16.5) for t in range(6)]
    rows += [(0, 1.0, 5.0, 15.0), (1, 1.0, 5.0, 15.0), (2, 1.0, 6.0, 15.0), (2, 1.0, 4.0, 15.0)]
    objects = pd.DataFrame(rows, columns=["frame", "z", "y", "x"]).assign(label=1)
    objects["intensity_mean"] = 10.0 + np.arange(len(objects)) % 3
    chains = [(i, i + 1) for i in [*range(7), *range(8, 13)]] + [(14, 15), (15, 16), (15, 17)]
    return Tracks(objects, pd.DataFrame(chains, columns=["source", "target"]), VOXEL, 60.0)


def _png(viewer) -> bytes:
    picture = bytes(viewer.image.value)
    assert picture.startswith(b"\x89PNG")
    return picture


def test_the_controls_change_the_picture(tracks: Tracks) -> None:
    movie = _Movie()
    viewer = explore(
        tracks, movie=movie, labels=_Movie(labels=True), panels=[column_panel(tracks, "intensity_mean")]
    )
    pictures = [_png(viewer)]
    for control, value in (
        (viewer.frame, 5),
        (viewer.projection, "mean"),
        (viewer.projection, "slice"),
        (viewer.z, 3),
        (viewer.overlay, "fill"),
        (viewer.paths, False),
        (viewer.track, viewer.track.options[1][1]),
    ):
        control.value = value
        pictures.append(_png(viewer))
    assert len(set(pictures)) == len(pictures), "each click changes what is seen"
    assert set(movie.read) == {0, 5}, "only the frames that are shown are read, once each"
    assert len(movie.read) == 2


def test_a_picture_of_the_same_track_needs_no_layout_and_is_the_same(tracks: Tracks) -> None:
    panels = [column_panel(tracks, name) for name in ("intensity_mean", "z")]
    viewer, anew = (explore(tracks, movie=_Movie(), panels=panels) for _ in range(2))
    for control, value in (("frame", 5), ("track", viewer.track.options[2][1]), ("frame", 1)):
        for one in (viewer, anew):
            getattr(one, control).value = value
        anew._layout = None
        anew._changed()
        assert _png(viewer) == _png(anew)
    assert type(viewer.figure().get_layout_engine()).__name__ == "PlaceHolderLayoutEngine"


def test_nothing_is_left_of_a_picture_that_is_shown(tracks: Tracks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its thousands of objects grow old, and the collection that looks for them takes a fifth of a second."""
    viewer = explore(tracks, movie=_Movie(), panels=[column_panel(tracks, "intensity_mean")])
    made: list[weakref.ref] = []
    draw = viewer.figure

    def noted():
        figure = draw()
        made.append(weakref.ref(figure))
        return figure

    monkeypatch.setattr(viewer, "figure", noted)
    for t in range(1, 4):
        viewer.frame.value = t
    assert len(made) == 3 and [one() for one in made] == [None] * 3
    assert gc.isenabled()


def test_the_picture_is_the_chosen_plane(tracks: Tracks) -> None:
    movie = _Movie()
    viewer = explore(tracks, movie=movie)
    viewer.frame.value = 3

    def shown() -> np.ndarray:
        return np.asarray(viewer.figure().axes[0].images[0].get_array())

    np.testing.assert_array_equal(shown(), movie.array[3].max(axis=0))
    viewer.projection.value = "mean"
    np.testing.assert_allclose(shown(), movie.array[3].mean(axis=0))
    assert viewer.z.disabled
    viewer.projection.value = "slice"
    viewer.z.value = 1
    np.testing.assert_array_equal(shown(), movie.array[3, 1])
    assert not viewer.z.disabled


def test_the_chosen_track_is_drawn_where_it_is(tracks: Tracks) -> None:
    viewer = explore(tracks, movie=_Movie())
    viewer.track.value = 0
    viewer.frame.value = 2
    axes = viewer.figure().axes[0]
    chosen = next(c for c in axes.collections if c.get_gid() == "chosen track")
    assert len(chosen.get_segments()) == 7
    np.testing.assert_allclose(axes.lines[-1].get_xydata(), [[9, 7]])


def test_the_list_is_split_and_follows_the_selection(tracks: Tracks) -> None:
    spread = pd.DataFrame({"tracklet_id": np.arange(tracks.n_tracklets), "speed": np.arange(tracks.n_tracklets) * 1.0, "size": 1.0})  # fmt: skip
    selector = select_tracklets(spread, "speed", "size")
    viewer = explore(tracks, movie=_Movie(), selector=selector)
    assert len(viewer.track.options) == 3
    assert viewer.track.options[0][0] == "track 0: 8 points"
    viewer.kind.value = "dividing"
    assert [name for name, _ in viewer.track.options] == ["track 2: 4 points, 1 division"]
    viewer.kind.value = "non-dividing"
    assert len(viewer.track.options) == 2
    viewer.kind.value = "all"
    moving = int(tracks.tracklet_ids[0])
    selector.limits_x.value = (moving - 0.4, moving + 0.4)
    assert [i for _, i in viewer.track.options] == [0]
    selector.clear.click()
    assert len(viewer.track.options) == 3


def test_the_list_is_searched_and_says_when_it_is_blank(tracks: Tracks) -> None:
    viewer = explore(tracks, movie=_Movie())
    viewer.search.value = "2"
    assert next(i for _, i in viewer.track.options) == 2, "the number itself comes first"
    viewer.search.value = "1 division"
    assert [i for _, i in viewer.track.options] == [2]
    assert viewer.message.value == ""
    viewer.search.value = "77"
    assert viewer.track.options == () and "no track" in viewer.message.value
    viewer.search.value = ""
    assert len(viewer.track.options) == 3 and viewer.message.value == ""


def test_the_slice_follows_the_chosen_cell(tracks: Tracks) -> None:
    viewer = explore(tracks, movie=_Movie())
    viewer.track.value = 0
    viewer.projection.value = "slice"
    assert viewer.z.value == round(3.0 / VOXEL[0])
    viewer.z.value = 3
    viewer.track.value = 2  # at z = 1 µm
    assert viewer.z.value == 0
    viewer.z.value = 3
    viewer.frame.value = 7  # where this track has no cell the plane stays
    assert viewer.z.value == 3


def _at(viewer, x: float, y: float) -> dict[str, float]:
    """Where in the PNG a place of the movie lies, as a browser says it."""
    to_pixels, _, height = viewer._placement
    right, up = to_pixels.transform((x, y))
    return {"dataX": right, "dataY": height - up}


@pytest.mark.parametrize("with_labels", [True, False])
def test_a_click_on_a_cell_chooses_its_track(tracks: Tracks, with_labels: bool) -> None:
    moves = tracks.objects["x"] == 16.5  # the one that stands still has the second label
    tracks.objects["label"] = np.where(moves, 2, 1)
    labels = _Movie(labels=True) if with_labels else None
    viewer = explore(tracks, movie=_Movie(), labels=labels, panels=[column_panel(tracks, "intensity_mean")])
    viewer.frame.value = 2
    click = {"type": "click"}
    viewer._mouse._handle_mouse_msg(None, click | _at(viewer, 33.4, 22.6), None)
    assert viewer.track.value == tracks.track_ids[8]
    viewer._mouse._handle_mouse_msg(None, click | _at(viewer, 9.2, 7.3), None)
    assert viewer.track.value == 0 and viewer.message.value == ""
    viewer._mouse._handle_mouse_msg(None, click | _at(viewer, 20, 27), None)
    assert viewer.track.value == 0 and viewer.message.value == "there is no cell"
    viewer.search.value = "track 2"
    viewer._mouse._handle_mouse_msg(None, click | _at(viewer, 33.4, 22.6), None)
    assert viewer.track.value == tracks.track_ids[8], "a cell that the list does not hold is chosen too"


def test_the_wheel_zooms_where_the_mouse_is(tracks: Tracks) -> None:
    viewer = explore(tracks, movie=_Movie())
    place = _at(viewer, 10.0, 7.0)
    for _ in range(3):
        viewer._mouse._handle_mouse_msg(None, {"type": "wheel", "deltaY": -1} | place, None)
    assert np.ptp(viewer.figure().axes[0].get_xlim()) == pytest.approx(40 / 1.25**3)
    np.testing.assert_allclose(list(_at(viewer, 10.0, 7.0).values()), list(place.values()), atol=2)
    assert not viewer.whole.disabled
    viewer.whole.click()
    assert viewer.figure().axes[0].get_xlim() == (-0.5, 39.5) and viewer.whole.disabled
    viewer._mouse._handle_mouse_msg(None, {"type": "wheel", "deltaY": 1} | place, None)
    assert viewer.figure().axes[0].get_xlim() == (-0.5, 39.5), "nothing lies around the picture"


def test_a_long_list_is_cut_and_says_so() -> None:
    n = 250
    objects = pd.DataFrame({"frame": [0, 1] * n, "z": 0.0, "y": np.repeat(np.arange(n), 2) % 20, "x": np.repeat(np.arange(n), 2) / 9})  # fmt: skip
    links = pd.DataFrame({"source": np.arange(0, 2 * n, 2), "target": np.arange(1, 2 * n, 2)})
    viewer = explore(Tracks(objects, links, VOXEL, 60.0))
    assert len(viewer.track.options) == 200 and "200 longest of 250" in viewer.message.value
    viewer.search.value = "249"
    assert viewer.track.value == 249 and viewer.message.value == ""


def test_a_projection_is_neither_black_nor_white(tracks: Tracks) -> None:
    movie = _Movie()
    movie.array[:] = 10.0
    movie.array[:, 1, ::3] += np.random.default_rng(0).uniform(100, 200, movie.array[:, 1, ::3].shape)
    viewer = explore(tracks, movie=movie)
    for projection, shown in (("maximum", movie.array[0].max(axis=0)), ("mean", movie.array[0].mean(axis=0))):
        viewer.projection.value = projection
        black, white = viewer.figure().axes[0].images[0].get_clim()
        assert white >= np.percentile(shown, 99) and white <= shown.max() and black <= np.percentile(shown, 2)


def test_export_writes_figure_table_and_animation(tracks: Tracks, tmp_path: Path) -> None:
    viewer = explore(tracks, movie=_Movie(), folder=tmp_path / "out")
    viewer.track.value = 2
    viewer.frame.value = 1
    viewer.animate.value = True
    viewer.save.click()
    assert viewer.message.value == f"4 files in {tmp_path / 'out'}"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["track_2.csv", "track_2.gif", "track_2_frame_0001.pdf", "track_2_frame_0001.png"]
    table = pd.read_csv(tmp_path / "out" / "track_2.csv")
    assert table["id"].tolist() == [14, 15, 16, 17] and set(table["track_id"]) == {2}


def test_a_folder_that_cannot_be_written_is_said(tracks: Tracks, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    viewer = explore(tracks, movie=_Movie(), folder=tmp_path / "file")
    viewer.save.click()
    assert "file" in viewer.message.value and "files in" not in viewer.message.value


def test_without_movie_or_tracks_there_is_still_a_viewer(tracks: Tracks) -> None:
    assert len(_png(explore(tracks))) > 500
    assert explore(tracks, labels=_Movie(labels=True)).overlay.value == "outlines"
    nobody = Tracks(tracks.objects.iloc[:1].drop(columns="id"), None, VOXEL, None)
    viewer = explore(nobody, panels=[column_panel(nobody, "intensity_mean")])
    assert viewer.track.options == () and viewer.track.value is None
    alone = Tracks(tracks.objects, tracks.links)
    assert len(_png(explore(alone))) > 500, "a table alone is drawn in µm"
    bare = _Movie()
    bare.voxel_size = None
    with pytest.raises(InputError, match="voxel_size_um = None"):
        explore(alone, movie=bare)


def test_panels_show_the_values_of_the_track(tracks: Tracks) -> None:
    spectra = measure_spectra(tracks, SpectrumSettings(n_permutations=99))
    viewer = explore(tracks, panels=[column_panel(tracks, "intensity_mean"), spectrum_panel(spectra)])
    figure = viewer.figure()
    _, time, spectrum = figure.axes
    np.testing.assert_allclose(time.lines[0].get_ydata(), tracks.objects["intensity_mean"][:8])
    np.testing.assert_allclose(time.lines[0].get_xdata(), np.arange(8))
    own = spectra.power[spectra.power["tracklet_id"] == 0]
    np.testing.assert_allclose(spectrum.lines[0].get_ydata(), own["amplitude"])
    viewer.track.value = 2
    assert viewer.figure().axes[2].texts[0].get_text() == "too short for a spectrum"
    with pytest.raises(InputError, match="column = 'light': one of "):
        column_panel(tracks, "light")


def test_a_lasso_selects(tracks: Tracks) -> None:
    table = pd.DataFrame(
        {"tracklet_id": [0, 1, 2, 3], "a": [0.0, 1.0, 2.0, 3.0], "b": [0.0, 1.0, 0.0, np.nan]}
    )
    selector = select_tracklets(table, "a", "b")
    assert selector.tracklets.tolist() == [0, 1, 2, 3]
    figure = selector.figure()
    axes = figure.axes[0]
    lasso = selector.attach_lasso(axes)
    figure.canvas.draw()
    corners = axes.transData.transform([(0.5, 0.5), (0.5, 1.05), (1.5, 1.05), (1.5, 0.5), (0.5, 0.5)])
    kinds = ["button_press_event", *["motion_notify_event"] * 3, "button_release_event"]
    for kind, (x, y) in zip(kinds, corners, strict=True):
        event = MouseEvent(kind, figure.canvas, x, y, button=MouseButton.LEFT)
        figure.canvas.callbacks.process(kind, event)
    assert selector.tracklets.tolist() == [1]
    assert selector.message.value == "1 of 4 tracklets are selected"
    assert lasso.verts is None
    selector.x.value = "b"
    assert selector.tracklets.tolist() == [0, 1, 2, 3], "other axes, another selection"
    with pytest.raises(InputError, match="metric = 'c'"):
        select_tracklets(table, "a", "c")


def test_the_mouse_draws_a_lasso_in_a_notebook(tracks: Tracks) -> None:
    table = pd.DataFrame({"tracklet_id": [0, 1, 2], "a": [0.0, 1.0, 2.0], "b": [0.0, 1.0, 0.0]})
    selector = select_tracklets(table, "a", "b")
    canvas = selector.widget.children[-1]
    axes = canvas.figure.axes[0]
    canvas.draw()
    corners = axes.transData.transform([(0.5, 0.5), (0.5, 1.05), (1.5, 1.05), (1.5, 0.5), (0.5, 0.5)])
    kinds = ["button_press", *["motion_notify"] * 3, "button_release"]
    for kind, (x, y) in zip(kinds, corners, strict=True):  # as the browser sends it
        said = {
            "type": kind,
            "x": x,
            "y": canvas.figure.bbox.height - y,
            "button": 0,
            "buttons": 1,
            "step": 0,
        }
        canvas._handle_message(canvas, said | {"modifiers": [], "guiEvent": {}}, [])
    assert selector.tracklets.tolist() == [1]


def test_selected_points_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipympl.backend_nbagg", None)  # not installed: limits alone
    table = pd.DataFrame({"tracklet_id": [0, 1], "a": [0.0, 1.0], "b": [0.0, 1.0]})
    selector = select_tracklets(table, "a", "b")
    before = bytes(selector.image.value)
    selector.select_inside([(-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5)])
    assert bytes(selector.image.value) != before
    legend = selector.figure().axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["not selected: 1", "selected: 1"]

"""Trees, paths and errors of tracks whose shape is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from helpers.errors import InputError
from helpers.tracking.tracks import Tracks
from helpers.view.style import label_colors
from helpers.view.track_plots import ERROR_KINDS, lineage_tree, link_errors, tracks_over_projection

VOXEL = (2.0, 0.5, 0.25)


@pytest.fixture
def tracks() -> Tracks:
    """Cell 0 (frames 0–2) divides into 1 (3–5) and 2 (3–4); cell 3 lives alone (0–3); object 13 is never linked."""
    rows = [(t, 0, 1.0, 1.0 + t) for t in range(3)]  # ids 0 1 2
    rows += [(t, 0, 2.0, 1.0 + t) for t in (3, 4, 5)] + [(t, 0, 4.0, 1.0 + t) for t in (3, 4)]  # 3 4 5, 6 7
    rows += [(t, 2, 7.0, 1.5) for t in range(4)] + [(5, 0, 9.0, 9.0)]  # 8…11, 12
    objects = pd.DataFrame(rows, columns=["frame", "z", "y", "x"])
    objects["volume_um3"] = np.arange(len(objects)) * 10.0
    links = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 6), (6, 7), (8, 9), (9, 10), (10, 11)]
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), VOXEL, 120.0)


def collection(axes, gid: str):
    (found,) = [c for c in axes.collections if c.get_gid() == gid]
    return found


def test_the_tree_has_a_line_per_cell_and_a_fork_per_division(tracks):
    figure = lineage_tree(tracks)
    figure.canvas.draw()
    axes = figure.axes[0]
    cells = np.array(collection(axes, "cells").get_segments())
    spans = sorted((start[0], end[0]) for start, end in cells)
    assert spans == [(0, 4), (0, 6), (6, 8), (6, 10)]  # minutes
    assert len(set(cells[:, 0, 1])) == 4 and (cells[:, 0, 1] == cells[:, 1, 1]).all()
    mother = cells[np.isclose(cells[:, 1, 0], 4)][0, 0, 1]
    daughters = cells[np.isclose(cells[:, 0, 0], 6)][:, 0, 1]
    assert mother == daughters.mean()
    # A daughter lives for two frames only.
    forks = np.array(collection(axes, "doubtful forks").get_segments())
    assert forks[:, 0].tolist() == [[4, mother]] * 2 and sorted(forks[:, 1, 1]) == sorted(daughters)
    assert axes.get_xlabel() == "time (min)"
    assert collection(axes, "doubtful forks").get_linestyle()[0][1] is not None, "dashed"
    assert "2 of 2 tracks, 1 divisions in all, 1 of them doubtful" in axes.get_title(loc="left")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0", "1"]
    names = {label.get_text(): label.get_position()[1] for label in axes.get_yticklabels()}
    assert names == {
        "0": mother,
        "1": cells[np.isclose(cells[:, 1, 0], 6) & np.isclose(cells[:, 0, 0], 0)][0, 0, 1],
    }


def test_only_the_largest_or_divided_tracks_are_drawn_on_request(tracks):
    for figure in (lineage_tree(tracks, max_tracks=1), lineage_tree(tracks, divided_only=True)):
        assert len(collection(figure.axes[0], "cells").get_segments()) == 3
    with pytest.raises(InputError, match="max_tracks"):
        lineage_tree(tracks, max_tracks=0)


def test_trees_of_nothing_of_single_objects_and_without_a_clock(tracks):
    empty = Tracks(tracks.objects.iloc[:0], None, VOXEL)  # type: ignore[arg-type]
    lineage_tree(empty).canvas.draw()
    lonely = Tracks(tracks.objects, None, VOXEL)  # type: ignore[arg-type]
    figure = lineage_tree(lonely)
    figure.canvas.draw()
    assert figure.axes[0].get_xlabel() == "frame"


def test_a_merge_is_drawn_once():
    objects = pd.DataFrame({"frame": [0, 0, 1, 2], "z": 0.0, "y": [1.0, 3, 2, 2], "x": 1.0})
    links = pd.DataFrame({"source": [0, 1, 2], "target": [2, 2, 3]})
    figure = lineage_tree(Tracks(objects, links, VOXEL))
    figure.canvas.draw()
    assert len(collection(figure.axes[0], "cells").get_segments()) == 3
    assert len(collection(figure.axes[0], "forks").get_segments()) == 2


def test_thousands_of_generations_do_not_exhaust_the_stack():
    n = 1200
    objects = pd.DataFrame({"frame": np.r_[np.arange(n), np.arange(1, n)], "z": 0.0, "y": 0.0, "x": 0.0})
    links = [(k, k + 1) for k in range(n - 1)] + [(k, n + k) for k in range(n - 1)]
    figure = lineage_tree(Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), VOXEL))
    assert len(collection(figure.axes[0], "cells").get_segments()) == 2 * n - 1


def test_paths_lie_on_the_images_pixels(tracks):
    image = np.random.default_rng(0).random((3, 30, 60)).astype(np.float32)
    figure = tracks_over_projection(image, tracks)
    figure.canvas.draw()
    axes = figure.axes[0]
    np.testing.assert_allclose(
        np.max(axes.images[0].get_array()), np.minimum(image.max(0), 1).max(), rtol=0.5
    )
    paths = collection(axes, "links")
    segments = np.array(paths.get_segments())
    position = tracks.objects[["x", "y"]].to_numpy() / (VOXEL[2], VOXEL[1])
    np.testing.assert_allclose(segments, position[tracks.link_rows])
    colors = [to_hex(color) for color in paths.get_color()]
    assert len(set(colors)) == 2 and len(set(colors[:7])) == 1
    assert colors[0] == to_hex(label_colors(np.array([1]))[0])
    (ends,) = [line for line in axes.lines if line.get_gid() == "last seen"]
    assert len(ends.get_xdata()) == 4
    assert [text.get_text() for text in axes.texts] == ["2 µm"]


def test_paths_are_coloured_by_generation_or_a_column_with_its_unit(tracks):
    image = np.zeros((30, 60))
    by_generation = tracks_over_projection(image, tracks, color_by="generation")
    by_generation.canvas.draw()
    colors = [to_hex(color) for color in collection(by_generation.axes[0], "links").get_color()]
    assert colors[0] == colors[7] != colors[2] == colors[6]
    by_volume = tracks_over_projection(image, tracks, color_by="volume_um3")
    by_volume.canvas.draw()
    np.testing.assert_allclose(
        collection(by_volume.axes[0], "links").get_array(),
        tracks.objects["volume_um3"].to_numpy()[tracks.link_rows].mean(axis=1),
    )
    assert by_volume.axes[1].get_ylabel() == "volume (µm³)"
    with pytest.raises(InputError, match="volume_um3"):
        tracks_over_projection(image, tracks, color_by="mood")
    with pytest.raises(InputError, match="voxel_size"):
        tracks_over_projection(image, Tracks(tracks.objects, tracks.links))


def test_wrong_links_are_counted_per_frame_and_placed():
    table = pd.DataFrame(
        {
            "frame": [2, 2, 4, 4, 4],
            "z": 0.0,
            "y": [1.0, 2, 3, 4, 5],
            "x": [5.0, 4, 3, 2, 1],
            "kind": ["missed link", "id switch", "missed link", "missed link", "false division"],
        }
    )
    figure = link_errors(table, n_frames=8, frame_interval=60)
    figure.canvas.draw()
    when, where = figure.axes[:2]
    by_kind = {}
    for bar in when.patches:
        by_kind.setdefault(to_hex(bar.get_facecolor()), np.zeros(8))[round(bar.get_x() + 0.45)] += (
            bar.get_height()
        )
    missed = by_kind[ERROR_KINDS["missed link"][0].lower()]
    assert missed.tolist() == [0, 0, 1, 0, 2, 0, 0, 0]
    assert len(by_kind) == 3 and sum(v.sum() for v in by_kind.values()) == 5
    tops = [bar.get_y() + bar.get_height() for bar in when.patches]
    assert max(tops) == 3
    points = {to_hex(line.get_color()): line.get_xydata().tolist() for line in where.lines}
    assert points[ERROR_KINDS["missed link"][0].lower()] == [[5, 1], [3, 3], [2, 4]]
    assert where.get_xlabel() == "x (µm)" and where.get_ylabel() == "y (µm)"
    assert "missed link: 3" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_no_wrong_links_says_so():
    figure = link_errors(pd.DataFrame({"frame": [], "z": [], "y": [], "x": [], "kind": []}))
    figure.canvas.draw()
    assert figure.axes[0].get_title() == "no wrong links"
    with pytest.raises(InputError, match="kind"):
        link_errors(pd.DataFrame({"frame": [], "y": [], "x": []}))


def test_errors_lie_on_the_movie_they_come_from() -> None:
    table = pd.DataFrame({"frame": [1], "z": 0.0, "y": [4.0], "x": [6.0], "kind": ["missed link"]})
    figure = link_errors(table, image=np.ones((2, 10, 40)), voxel_size=(1.0, 2.0, 0.5))
    (image,) = figure.axes[1].images
    assert list(image.get_extent()) == [-0.25, 19.75, 19.0, -1.0]
    assert figure.axes[1].lines[0].get_xydata().tolist() == [[6, 4]]

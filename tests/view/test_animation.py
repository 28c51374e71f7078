"""Animations are written without a display, have the right number of pictures, and show what moves."""

from __future__ import annotations

from pathlib import Path

import imageio.v2 as imageio
import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.errors import InputError
from helpers.tracking.tracks import Tracks
from helpers.view.animation import View, animate, write_gif

VOXEL = (2.0, 1.0, 0.5)


class _Movie:
    """A bright block that moves along x."""

    def __init__(self, dtype: type = np.float32) -> None:
        self.array = np.zeros((4, 6, 20, 40), dtype)
        for t in range(4):
            self.array[t, 2:4, 8:12, 4 + 8 * t : 8 + 8 * t] = 1 if dtype is np.uint16 else 200
        self.shape = (4, 1, 6, 20, 40)

    def frame(self, t: int, channel: int = 0) -> np.ndarray:
        return self.array[t]


@pytest.fixture
def tracks() -> Tracks:
    """The block's track."""
    objects = pd.DataFrame({"frame": range(4), "z": 5.0, "y": 9.5, "x": [(5.5 + 8 * t) * 0.5 for t in range(4)], "label": 1, "depth_um": [1.0, 2, 3, 4]})  # fmt: skip
    links = pd.DataFrame({"source": [0, 1, 2], "target": [1, 2, 3]})
    return Tracks(objects, links, VOXEL, 30.0)


def _pictures(path: Path) -> list[np.ndarray]:
    return [np.asarray(picture)[..., :3] for picture in imageio.get_reader(path).iter_data()]


@pytest.mark.parametrize("ending", ["gif", "mp4"])
def test_a_picture_a_frame(tracks: Tracks, tmp_path: Path, ending: str) -> None:
    if ending == "mp4":
        pytest.importorskip("imageio_ffmpeg")
    path = animate(tmp_path / f"a.{ending}", _Movie(), tracks, labels=_Movie(np.uint16), width=2.0)
    pictures = _pictures(path)
    assert len(pictures) == 4
    assert pictures[0].shape[1] == 200 and pictures[0].shape[0] % 2 == 0
    # The brightest columns move to the right by a fifth of the width a frame.
    middles = [np.average(np.arange(200), weights=(p[20:-20].astype(float).sum(axis=(0, 2)) > 12000) + 1e-9) for p in pictures]  # fmt: skip
    assert np.all(np.diff(middles) > 15)


def test_colours_by_a_column_and_a_turn(tracks: Tracks, tmp_path: Path) -> None:
    path = animate(
        tmp_path / "a.gif", _Movie(), tracks, color_by="depth_um", rotation=180, n_pictures=6, width=2.0
    )
    pictures = _pictures(path)
    assert len(pictures) == 6
    assert len({picture.shape for picture in pictures}) == 1, "the picture keeps its size while it turns"
    assert not np.array_equal(pictures[0], pictures[3])


def test_few_coloured_pixels_keep_their_colour_beside_many_greys(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(0, 255, (200, 300, 1), dtype=np.uint8), 3, axis=2)
    bar = np.round(255 * matplotlib.colormaps["viridis"](np.linspace(0, 1, 200))[:, :3]).astype(np.uint8)
    picture[180:184, 50:250] = bar
    write_gif(tmp_path / "a.gif", iter([picture, picture[::-1]]), 8.0)
    first, second = _pictures(tmp_path / "a.gif")
    for shown in (first[181, 50:250], second[18, 50:250]):
        assert np.abs(shown.astype(int) - bar).max() <= 24
    assert Image.open(tmp_path / "a.gif").info["duration"] in (120, 125, 130)


def test_points_turn_with_the_voxels() -> None:
    stack = np.zeros((9, 5, 33), np.float32)
    stack[7, 2, 28] = 1.0
    at = np.array([[7 * 2.0, 2 * 1.0, 28 * 0.5]])
    for turn in (0.0, 0.4, 1.2, 2.5):
        view = View(stack.shape, np.array(VOXEL), turn)
        image = view.project(stack)
        y, x = np.unravel_index(image.argmax(), image.shape)
        np.testing.assert_allclose(view.place(at)[0], [x, y], atol=2.5)
    assert View(stack.shape, np.array(VOXEL), None).project(stack).shape == (5, 33)


def test_tracks_alone_and_without_times(tracks: Tracks, tmp_path: Path) -> None:
    timeless = Tracks(tracks.objects, tracks.links, VOXEL)
    assert len(_pictures(animate(tmp_path / "a.gif", None, timeless, width=1.5))) == 4


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("a.avi", {}, r"\*\.gif or \*\.mp4"),
        ("a.gif", {"color_by": "light"}, "color_by = 'light'"),
        ("a.gif", {"fps": 0}, "fps = 0"),
    ],
)
def test_wrong_settings_are_named(
    tracks: Tracks, tmp_path: Path, name: str, changes: dict, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        animate(tmp_path / name, _Movie(), tracks, **changes)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_missing_voxel_size_is_named(tracks: Tracks, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="voxel_size_um = None"):
        animate(tmp_path / "a.gif", _Movie(), Tracks(tracks.objects, tracks.links))

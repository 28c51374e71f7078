"""The map of doubt and the ranked places to draw next."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.segmentation.where_to_draw import COLUMNS, over_flips, where_to_draw

VOXEL = (2.0, 0.5, 0.5)


def frame() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a frame of four cells: both networks see the first, each sees one alone, of the last the U-Net is unsure."""
    stars, seen = np.zeros((2, 8, 40, 120), np.int32)
    foreground = np.full(stars.shape, 0.01)
    boxes = [np.s_[2:6, 12:28, 30 * i + 7 : 30 * i + 23] for i in range(4)]
    for box, in_stars, in_unet, value in zip(
        boxes, (1, 1, 0, 0), (1, 0, 1, 0), (0.99, 0.02, 0.95, 0.4), strict=True
    ):
        stars[box], seen[box], foreground[box] = in_stars, in_unet, value
    return stars, seen, foreground


def test_places_are_where_networks_disagree_or_are_unsure() -> None:
    doubts, places = where_to_draw(*frame(), voxel_size=VOXEL, frame=3)
    assert tuple(places.columns) == COLUMNS and list(places["rank"]) == list(range(1, len(places) + 1))
    assert doubts.shape == (8, 40, 120) and doubts.min() >= 0 and doubts.max() <= 1
    first = places.head(3).sort_values("x")
    left, middle, right = first["x"]
    assert 40 < left < 55 and 70 < middle < 85 and right > 98
    assert list(first["reason"]) == [
        "StarDist finds a cell, the U-Net does not", "the U-Net finds a cell, StarDist does not", "the U-Net is unsure",
    ]  # fmt: skip
    assert not places["x"].between(8, 22).any() and (places["frame"] == 3).all()
    assert (places["doubt"].diff().dropna() <= 0).all()
    assert len(where_to_draw(*frame(), voxel_size=VOXEL, n_places=1)[1]) == 1


def test_what_is_drawn_is_not_listed_again() -> None:
    annotated = np.full((8, 40, 120), -1)
    annotated[:, 8:32, 32:58] = 0
    _, places = where_to_draw(*frame(), voxel_size=VOXEL, annotated=annotated)
    assert not places["x"].between(32, 57).any() and places["x"].between(68, 85).any()
    with pytest.raises(InputError, match="shape of the frame"):
        where_to_draw(*frame(), voxel_size=VOXEL, annotated=annotated[1:])


def test_where_networks_agree_there_is_nothing_to_draw() -> None:
    stars, _, _ = frame()
    assert where_to_draw(stars, stars, np.where(stars > 0, 0.999, 0.001), voxel_size=VOXEL)[1].empty


def test_what_a_mirrored_frame_says_otherwise_is_in_doubt() -> None:
    stars = frame()[0]
    sure = where_to_draw(stars, stars, np.where(stars > 0, 0.99, 0.01), voxel_size=VOXEL)[1]
    assert not len(sure)

    def left_half_only(raw: np.ndarray) -> np.ndarray:  # a network that sees cells in its left half alone
        return np.where(np.arange(raw.shape[-1]) < raw.shape[-1] // 2, raw, 0.0)

    raw = np.where(stars > 0, 0.99, 0.01)
    mean = over_flips(left_half_only, raw, left_half_only(raw))
    assert mean.shape == raw.shape and np.allclose(mean[..., :60], raw[..., :60] * 2 / 3)
    assert np.allclose(over_flips(lambda one: one, raw, raw), raw)
    places = where_to_draw(stars, stars, mean, voxel_size=VOXEL)[1]
    assert len(places) == 2 and set(places["reason"]) == {"the U-Net is unsure"}


def test_in_a_plane_cells_are_discs_and_doubt_is_not_averaged_with_what_is_above() -> None:
    stars, seen = np.zeros((2, 1, 60, 120), np.int32)
    for number, x in enumerate((20, 60, 100), start=1):
        stars[0, 20:40, x - 10 : x + 10] = number
    seen[stars == 1] = 1
    foreground = np.where(seen > 0, 0.999, 0.001)
    for z in (0.1, 10.0):  # a plane's thickness changes nothing
        doubts, places = where_to_draw(stars, seen, foreground, voxel_size=(z, 0.5, 0.5))
        assert len(places) == 2 and set(places["x"] // 10) <= {5, 6, 9, 10} and doubts.max() > 0.7

"""Filters keep what they should, and account for every object they remove."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.errors import InputError
from helpers.tracking import filters
from helpers.tracking.tracks import Tracks


@pytest.fixture
def tracks() -> Tracks:
    """Track of ids 0…4 that moves 3 µm a frame; 10─11─12 dividing into 13 and 14─15─16; 20 is alone."""
    rows = [(i, i, 0.0, 3.0 * i) for i in range(5)]
    rows += [
        (10 + k, t, 20.0, x)
        for k, (t, x) in enumerate([(0, 0), (1, 0), (2, 0), (3, 1), (3, 2), (4, 2), (5, 2)])
    ]
    rows += [(20, 2, 40.0, 0.0)]
    objects = pd.DataFrame(rows, columns=["id", "frame", "y", "x"]).assign(z=0.0)
    objects["quality"] = np.where(objects["id"] < 10, 5.0, 1.0)
    pairs = [(0, 1), (1, 2), (2, 3), (3, 4), (10, 11), (11, 12), (12, 13), (12, 14), (14, 15), (15, 16)]
    return Tracks(objects, pd.DataFrame(pairs, columns=["source", "target"]), (1, 1, 1), 30.0)


def _kept(result) -> set[int]:
    return set(result.kept.objects["id"])


def _complete(before: Tracks, result: filters.KeptTracks) -> bool:
    removed = set(result.removed["id"])
    return _kept(result) | removed == set(before.objects["id"]) and not _kept(result) & removed


LONG, FAMILY, LONE = set(range(5)), set(range(10, 17)), {20}


@pytest.mark.parametrize(
    ("bounds", "expected", "reason"),
    [
        ({"min_frames": 5}, LONG | FAMILY, "frames < 5"),
        ({"min_frames": 6}, FAMILY, "frames < 6"),
        ({"min_displacement": 12.0}, LONG, "displacement < 12 µm"),
        ({"min_displacement": 2.0}, LONG | FAMILY, "displacement < 2 µm"),
        ({"starts": (None, 1)}, LONG | FAMILY, "first frame > 1"),
        ({"ends": (3, 4)}, LONG, "last frame > 4"),
        ({"min_quality": 5.0}, LONG, "mean quality < 5"),
    ],
)
def test_filter_tracks(tracks, bounds, expected, reason):
    result = filters.filter_tracks(tracks, **bounds)
    assert _kept(result) == expected
    assert _complete(tracks, result)
    assert reason in set(result.removed["reason"])
    lone = result.removed.set_index("id")["track_id"].get(20, -1)
    assert lone == -1


def test_no_bound_removes_nothing(tracks):
    result = filters.filter_tracks(tracks)
    assert len(result.removed) == 0
    assert len(result.kept.links) == len(tracks.links)


def test_short_end_branches_of_splitting_tracks(tracks):
    result = filters.remove_short_tracklets(tracks, 2)
    assert set(result.removed["id"]) == {13}
    assert _complete(tracks, result)
    assert len(result.kept.divisions) == 0
    # The mother goes on in her other daughter.
    assert len(np.unique(result.kept.tracklet_ids)) == 3
    assert set(filters.remove_short_tracklets(tracks, 3).removed["id"]) == {13, 14, 15, 16}
    until_the_end = filters.remove_short_tracklets(tracks, 3, keep_last=True)
    assert set(until_the_end.removed["id"]) < {13, 14, 15, 16}
    assert until_the_end.removed["frame"].max() < tracks.objects["frame"].max()


def test_dividing_and_not(tracks):
    dividing, others = filters.split_dividing(tracks)
    assert set(dividing.objects["id"]) == FAMILY
    assert set(others.objects["id"]) == LONG | LONE
    assert len(dividing.links) + len(others.links) == len(tracks.links)


def test_tissue_keeps_tracks_that_enter_it_once(tracks):
    mask = np.zeros((1, 50, 30), bool)
    mask[0, 0, 12] = True
    result = filters.tracks_inside_tissue(tracks, mask)
    assert _kept(result) == LONG
    assert _complete(tracks, result)
    # The same place, but the tissue is only there at frame 3, when the cell is still at x = 9.
    movie = np.zeros((6, 1, 50, 30), bool)
    movie[3, 0, 0, 12] = True
    assert _kept(filters.tracks_inside_tissue(tracks, movie)) == set()


def test_tissue_uses_micrometres(tracks):
    mask = np.zeros((1, 50, 30), bool)
    mask[0, 0, 24] = True
    fine = Tracks(tracks.objects, tracks.links, (1, 1, 0.5))
    assert _kept(filters.tracks_inside_tissue(fine, mask)) == LONG


def test_objects_by_column_and_mask(tracks):
    mask = np.zeros((50, 30), bool)
    mask[0] = True
    result = filters.filter_objects(
        tracks.objects, minimum={"quality": 2}, maximum={"x": 9.0}, mask=mask, voxel_size=(1, 1)
    )
    assert set(result.kept["id"]) == {0, 1, 2, 3}
    reasons = result.removed.set_index("id")["reason"]
    assert reasons[4] == "x > 9" and reasons[10] == "quality < 2"
    assert len(result.kept) + len(result.removed) == len(tracks.objects)
    outside = filters.filter_objects(tracks.objects, mask=mask, voxel_size=(1, 1)).removed
    assert set(outside["reason"]) == {"outside the mask"} and len(outside) == 8


def test_a_missing_value_does_not_pass_a_bound(tracks):
    table = tracks.objects.assign(quality=np.nan)
    assert len(filters.filter_objects(table, minimum={"quality": 0}).kept) == 0


def test_empty_tracks_pass_every_filter():
    empty = Tracks(pd.DataFrame({"frame": [], "z": [], "y": [], "x": []}), voxel_size=(1, 1, 1))
    for result in (
        filters.filter_tracks(empty, min_frames=3, min_displacement=1.0),
        filters.remove_short_tracklets(empty),
        filters.tracks_inside_tissue(empty, np.ones((1, 2, 2))),
    ):
        assert len(result.kept.objects) == 0
    assert len(filters.split_dividing(empty)[0].objects) == 0


def test_what_cannot_be_filtered_by(tracks):
    with pytest.raises(InputError, match="size_px"):
        filters.filter_objects(tracks.objects, minimum={"size_px": 3})
    with pytest.raises(InputError, match="voxel_size"):
        filters.filter_objects(tracks.objects, mask=np.ones((2, 2)))
    with pytest.raises(InputError, match="min_length"):
        filters.remove_short_tracklets(tracks, -1)
    with pytest.raises(InputError, match="frame 5"):
        filters.tracks_inside_tissue(tracks, np.ones((3, 1, 50, 30)))

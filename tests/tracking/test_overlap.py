"""Overlap tracking: TrackMate's rules on voxels and on outlines."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops

from helpers.errors import InputError
from helpers.tracking.linking import LapParameters, link
from helpers.tracking.overlap import link_overlap, overlap_table


def _measured(frames) -> pd.DataFrame:
    rows = []
    for t, labels in enumerate(frames):
        for part in regionprops(labels):
            z, y, x = (0.0, *part.centroid)[-3:]
            rows.append((t, part.label, z, y, x))
    table = pd.DataFrame(rows, columns=["frame", "label", "z", "y", "x"])
    return table.astype({"frame": int, "label": int})


def _pairs(tracks) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """Return links as ((frame, label), (frame, label))."""
    table = tracks.objects[["frame", "label"]].to_numpy()[tracks.link_rows]
    return {(tuple(a.tolist()), tuple(b.tolist())) for a, b in table}


def _brute_force(frames, min_iou=0.3, min_fraction=None, scaled=lambda mask: mask):
    found = {}
    for t in range(1, len(frames)):
        for b in np.unique(frames[t])[1:]:
            target = scaled(frames[t] == b)
            best = min_iou
            for a in np.unique(frames[t - 1])[1:]:
                source = scaled(frames[t - 1] == a)
                shared = (source & target).sum()
                iou = shared / (source | target).sum()
                if iou > best and (min_fraction is None or shared / target.sum() > min_fraction):
                    best = iou
                    found[t, int(b)] = ((t - 1, int(a)), iou)
    return {(source, target): iou for target, (source, iou) in found.items()}


def _random_frames(shape, n=12, frames=4, seed=0):
    """Blobs that grow out of drifting seeds; some vanish."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(s) for s in shape), indexing="ij"), -1)
    centers = rng.random((n, len(shape))) * shape
    movie = []
    for _ in range(frames):
        distance = np.linalg.norm(grid[..., None, :] - centers, axis=-1)
        labels = distance.argmin(-1) + 1
        labels[distance.min(-1) > 6] = 0
        labels[labels == rng.integers(1, n)] = 0
        movie.append(rng.permutation(np.arange(1, n + 1) * 7)[labels - 1] * (labels > 0))
        centers = centers + rng.normal(0, 1.5, centers.shape)
    return movie


@pytest.mark.parametrize("shape", [(40, 50), (12, 30, 30)])
@pytest.mark.parametrize("options", [{}, {"min_iou": 0.6}, {"min_iou": 0.05, "min_fraction": 0.7}])
def test_links_equal_brute_force(shape, options):
    frames = _random_frames(shape)
    tracks = link_overlap(iter(frames), voxel_size=(1,) * len(shape), objects=_measured(frames), **options)
    expected = _brute_force(frames, **options)
    assert _pairs(tracks) == set(expected)
    assert len(expected) > 5
    ious = {pair: iou for pair, iou in zip(_ordered(tracks), tracks.links["iou"], strict=True)}
    assert all(ious[pair] == pytest.approx(expected[pair]) for pair in expected)
    assert np.allclose(tracks.links["cost"], 1 - tracks.links["iou"])


def _ordered(tracks):
    table = tracks.objects[["frame", "label"]].to_numpy()[tracks.link_rows]
    return [(tuple(a.tolist()), tuple(b.tolist())) for a, b in table]


def test_real_cells_equal_brute_force(samples):
    with np.load(samples / "tracks" / "cells_2d_small.npz") as stored:
        frames = stored["labels"]
    tracks = link_overlap(frames, voxel_size=(0.5, 0.5), objects=_measured(frames))
    assert _pairs(tracks) == set(_brute_force(frames))
    assert len(tracks.links) > 50


def test_splits_arise_freely_and_merges_never():
    frames = np.zeros((3, 10, 20), int)
    frames[0, 2:8, 2:18] = 1
    frames[1, 2:8, 2:9] = 2
    frames[1, 2:8, 11:18] = 3
    frames[2, 2:8, 2:18] = 4
    tracks = link_overlap(frames, voxel_size=(1, 1), objects=_measured(frames))
    assert _pairs(tracks) == {((0, 1), (1, 2)), ((0, 1), (1, 3)), ((1, 2), (2, 4))}
    assert len(tracks.divisions) == 1 and len(tracks.merges) == 0


def test_fixed_links_stand_and_their_ends_are_taken():
    frames = np.zeros((3, 10, 20), int)
    frames[:, 2:8, 2:9] = 1
    frames[:, 2:8, 10:17] = 2
    objects = _measured(frames).assign(id=lambda table: 10 * table["frame"] + table["label"])
    fixed = pd.DataFrame({"source": [1, 2], "target": [12, 22]})
    found = link_overlap(frames, voxel_size=(1, 1), objects=objects, fixed=fixed)
    assert set(map(tuple, found.links[["source", "target"]].to_numpy())) == {(1, 12), (2, 22), (11, 21)}
    with pytest.raises(InputError, match=r"fixed.source = \[7\]"):
        link_overlap(frames, voxel_size=(1, 1), objects=objects, fixed=fixed.assign(source=7))


def test_the_least_iou_is_not_reached():
    frames = np.zeros((2, 4, 40), int)
    frames[0, :, :20] = 1
    frames[1, :, 10:30] = 1  # IoU exactly 1/3
    objects = _measured(frames)
    assert len(link_overlap(frames, voxel_size=(1, 1), min_iou=1 / 3, objects=objects).links) == 0
    assert len(link_overlap(frames, voxel_size=(1, 1), min_iou=0.33, objects=objects).links) == 1


def test_an_empty_frame_ends_every_track():
    frames = np.zeros((3, 5, 5), int)
    frames[0, 1:4, 1:4] = frames[2, 1:4, 1:4] = 1
    assert len(link_overlap(frames, voxel_size=(1, 1), objects=_measured(frames)).links) == 0


def test_enlarged_objects_meet_where_the_cells_do_not():
    frames = np.zeros((2, 20, 60), int)
    frames[0, 5:15, 5:15] = 1
    frames[1, 5:15, 16:26] = 1
    objects = _measured(frames)
    assert len(link_overlap(frames, voxel_size=(1, 1), min_iou=0.0, objects=objects).links) == 0
    enlarged = link_overlap(frames, voxel_size=(1, 1), min_iou=0.0, scale_factor=2.0, objects=objects)
    # Squares of side 20, 11 apart: 9/31 in common.
    assert enlarged.links["iou"].tolist() == pytest.approx([9 / 31], abs=0.02)


def test_labels_outside_the_table_are_passed_over_and_ids_kept():
    frames = np.zeros((2, 5, 12), int)
    frames[:, :, :4] = 1
    frames[:, :, 6:10] = 2
    objects = _measured(frames).query("label == 2").assign(id=[70, 71])
    tracks = link_overlap(frames, voxel_size=(1, 1), objects=objects)
    assert tracks.links[["source", "target"]].to_numpy().tolist() == [[70, 71]]


def test_objects_are_measured_where_none_are_given():
    pytest.importorskip("helpers.tracking.objects")
    frames = np.zeros((2, 3, 6, 6), int)
    frames[0, :, 1:4, 1:4] = 5
    frames[1, :, 1:4, 2:5] = 9
    tracks = link_overlap(frames, voxel_size=(2.0, 0.5, 0.5), frame_interval=60)
    assert tracks.objects["label"].tolist() == [5, 9]
    assert tracks.objects[["z", "y", "x"]].to_numpy().tolist() == [[2.0, 1.0, 1.0], [2.0, 1.0, 1.5]]
    assert tracks.links["iou"].tolist() == pytest.approx([0.5])
    assert (tracks.voxel_size, tracks.frame_interval) == ((2.0, 0.5, 0.5), 60.0)


def test_huge_labels_and_unsigned_types():
    frames = np.zeros((2, 4, 8), np.uint32)
    frames[:, :, :4] = 4_000_000_000
    objects = pd.DataFrame({"frame": [0, 1], "label": 4_000_000_000, "y": 1.5, "x": 1.5})
    tracks = link_overlap(frames, voxel_size=(1, 1), objects=objects)
    assert len(tracks.links) == 1


def test_only_two_frames_lie_in_memory():
    shape, n = (20, 256, 256), 12
    size = np.prod(shape) * 4

    def movie():
        for t in range(n):
            labels = np.zeros(shape, np.int32)
            labels[:, 10:60, 10 + t : 60 + t] = t + 1
            yield labels

    objects = pd.DataFrame({"frame": range(n), "label": range(1, n + 1), "y": 0.0, "x": 0.0})
    tracemalloc.start()
    tracks = link_overlap(movie(), voxel_size=(1, 1, 1), objects=objects)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(tracks.links) == n - 1
    assert peak < 6 * size


class _Movie:
    """A label movie as `helpers.data.label_movies` has it."""

    shape = (2, 1, 4, 4)

    def frame(self, t: int) -> np.ndarray:
        return np.full((1, 4, 4), t + 1)


def test_a_label_movie_is_read_by_its_frames():
    objects = pd.DataFrame({"frame": [0, 1], "label": [1, 2], "y": 1.5, "x": 1.5})
    assert len(link_overlap(_Movie(), voxel_size=(1, 1, 1), objects=objects).links) == 1


def test_overlaps_serve_the_lap_tracker():
    frames = _random_frames((40, 50))
    objects = _measured(frames)
    table = overlap_table(frames, objects)
    assert len(table) > len(link_overlap(frames, voxel_size=(1, 1), objects=objects).links)
    tracks = link(objects, LapParameters(overlap_weight=1.0), overlaps=table)
    assert len(tracks.links) > 5


def test_empty_movie():
    tracks = link_overlap([], voxel_size=(1, 1, 1))
    assert len(tracks.objects) == len(tracks.links) == 0


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([np.ones((4, 4), int), np.ones((4, 5), int)], r"frames\[1\].shape"),
        ([np.ones((4, 4), int), np.ones((1, 4, 4), int)], r"frames\[1\].shape"),
        ([np.ones((4, 4))], r"frames\[0\].dtype"),
        ([np.ones(4, int)], r"frames\[0\].shape"),
        ([np.full((4, 4), -1)], r"frames\[0\]"),
    ],
)
def test_bad_frames_are_named(frames, says):
    objects = pd.DataFrame({"frame": [0], "label": [1], "y": [0.0], "x": [0.0]})
    with pytest.raises(InputError, match=says):
        link_overlap(frames, voxel_size=(1, 1), objects=objects)


@pytest.mark.parametrize(
    "options",
    [{"min_iou": -0.1}, {"min_iou": 1.5}, {"scale_factor": 0}, {"scale_factor": -1}, {"min_fraction": 2}],
)
def test_bad_parameters_are_named(options):
    with pytest.raises(InputError, match=next(iter(options))):
        link_overlap([], voxel_size=(1, 1), **options)


def test_no_voxel_size_is_an_error():
    with pytest.raises(InputError, match="voxel_size"):
        link_overlap([np.ones((4, 4), int)], voxel_size=None)


def test_two_objects_of_one_label_are_refused():
    objects = pd.DataFrame({"frame": [0, 0], "label": [1, 1], "y": 0.0, "x": 0.0})
    with pytest.raises(InputError, match=r"objects\.label"):
        link_overlap([np.ones((4, 4), int)], voxel_size=(1, 1), objects=objects)


def test_objects_that_the_movie_does_not_show_are_refused():
    frames = [np.array([[1, 1, 0]]), np.array([[1, 0, 0]])]
    objects = pd.DataFrame({"frame": [0, 1], "label": [1, 2], "y": 0.0, "x": 0.0})
    with pytest.raises(InputError, match=r"objects\.label = \[2\].*not in frame 1"):
        link_overlap(frames, voxel_size=(1, 1), objects=objects)
    late = objects.assign(frame=[0, 2], label=1)
    with pytest.raises(InputError, match="reach frame 2"):
        link_overlap(frames, voxel_size=(1, 1), objects=late)

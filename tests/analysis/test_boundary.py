"""Signed distances against geometry that is known, and masks that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from helpers.analysis.boundary import (
    HullBoundary,
    MaskBoundary,
    RoiBoundary,
    distance_errors,
    measure_distances,
    published_columns,
    signed_distance,
    summarize_tracklets,
)
from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks

VOXEL = (2.0, 0.5, 0.5)


def _ball(
    shape: tuple[int, int, int], voxel: tuple[float, ...], radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mask of a ball in the middle of the picture, and its centre in µm."""
    centre = (np.array(shape) - 1) / 2 * voxel
    grid = np.stack(
        np.meshgrid(*[np.arange(n) * v for n, v in zip(shape, voxel, strict=True)], indexing="ij"), -1
    )
    return np.linalg.norm(grid - centre, axis=-1) < radius, centre


def _points(points: np.ndarray, frame: int | np.ndarray = 0) -> Tracks:
    table = pd.DataFrame(np.asarray(points, float), columns=["z", "y", "x"]).assign(
        frame=frame, volume_um3=4.0
    )
    return Tracks(table, frame_interval=60.0)


class _Labels:
    def __init__(self, stacks: np.ndarray, voxel_size: tuple[float, ...]) -> None:
        self.stacks, self.voxel_size, self.shape = stacks, voxel_size, stacks.shape

    def frame(self, t: int) -> np.ndarray:
        return self.stacks[t]


def test_a_ball_in_anisotropic_voxels() -> None:
    mask, centre = _ball((41, 121, 121), VOXEL, 25.0)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(500, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    depth = rng.uniform(-4, 20, 500)
    points = centre + direction * (25 - depth)[:, None]
    points = points[(points >= 0).all(axis=1)]
    depth = 25 - np.linalg.norm(points - centre, axis=1)
    found = measure_distances(_points(points), MaskBoundary(mask, VOXEL))
    error = found["distance_um"] - depth
    assert error.abs().median() <= 0.25, "half a voxel in the plane"
    assert error.abs().max() <= 1.5
    assert (np.sign(found["distance_um"]) == np.sign(depth))[np.abs(depth) > 1].all()
    inward = found[["inward_z", "inward_y", "inward_x"]].to_numpy()
    cosine = -(inward * (points - centre)).sum(axis=1) / np.linalg.norm(points - centre, axis=1)
    assert np.median(cosine) > 0.99, "inward points to the middle"


def test_one_transform_gives_what_two_give() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((7, 20, 23)) < 0.6
    expected = distance_transform_edt(mask, sampling=VOXEL) - distance_transform_edt(~mask, sampling=VOXEL)
    np.testing.assert_allclose(signed_distance(mask, VOXEL), expected, rtol=1e-5)
    np.testing.assert_allclose(
        signed_distance(mask[0], VOXEL[1:]), signed_distance(mask[:1], VOXEL)[0]
    )  # a plane is measured in the plane


def test_between_voxels_the_distance_is_interpolated() -> None:
    mask = np.zeros((1, 9, 20), bool)
    mask[..., 5:] = True
    x = np.array([4.0, 4.5, 5.0, 5.25, 9.0])
    points = np.column_stack([np.zeros(5), np.full(5, 2.0), x * 0.5])
    found = measure_distances(_points(points), MaskBoundary(mask, VOXEL), inner_from=1.0)
    np.testing.assert_allclose(found["distance_um"], [-0.5, 0.0, 0.5, 0.625, 2.5])
    assert found["region"].tolist() == ["outside", "outer", "outer", "outer", "inner"]


@pytest.mark.slow
def test_the_demo_within_half_a_voxel(demo_movie, demo_tracks) -> None:
    found = measure_distances(demo_tracks, MaskBoundary(demo_movie.tissue, demo_movie.voxel_size))
    errors = distance_errors(found, demo_movie.objects, reach=3.0)
    assert len(errors) == len(demo_movie.objects)
    assert errors["error_um"].abs().median() <= min(demo_movie.voxel_size) / 2
    # Against the same by all pairs, at voxel centres, which owes nothing to a distance transform.
    outside = np.argwhere(~demo_movie.tissue[0]) * demo_movie.voxel_size
    first = found[found["frame"] == 0]
    all_pairs = KDTree(outside).query(first[["z", "y", "x"]].to_numpy())[0]
    assert np.abs(first["distance_um"] - all_pairs).median() <= min(demo_movie.voxel_size) / 2


def test_the_nearest_voxel_of_each_cell(demo_movie, demo_tracks) -> None:
    labels = _Labels(demo_movie.labels, demo_movie.voxel_size)
    found = measure_distances(
        demo_tracks, MaskBoundary(demo_movie.tissue, demo_movie.voxel_size), labels=labels
    )
    outside = KDTree(np.argwhere(~demo_movie.tissue[3]) * demo_movie.voxel_size)
    here = found[found["frame"] == 3]
    numbers = demo_movie.objects["label"].to_numpy()[here.index]
    for label, distance in zip(numbers, here["edge_distance_um"], strict=True):
        voxels = np.argwhere(demo_movie.labels[3] == label) * demo_movie.voxel_size
        assert distance == pytest.approx(outside.query(voxels)[0].min(), rel=1e-5)


def test_a_cell_on_both_sides_touches_the_boundary() -> None:
    mask = np.zeros((1, 1, 10, 10), bool)
    mask[..., 5:] = True
    labels = np.zeros((1, 1, 10, 10), int)
    labels[..., 2:4, 3:8], labels[..., 6:8, 0:2], labels[..., 6:8, 8:] = 4, 9, 7
    table = pd.DataFrame(
        {"frame": 0, "z": 0.0, "y": [2.5, 6.5, 6.5], "x": [5.0, 0.5, 8.5], "label": [4, 9, 7]}
    )
    found = measure_distances(Tracks(table), MaskBoundary(mask, (1, 1, 1)), labels=_Labels(labels, (1, 1, 1)), inner_from=2.0)  # fmt: skip
    assert found["edge_distance_um"].tolist() == [0.0, -4.0, 4.0]
    table["label"] = [4, 9, 8]
    with pytest.raises(InputError, match=r"labels = 'frame 0 without labels \[8\]'"):
        measure_distances(Tracks(table), MaskBoundary(mask, (1, 1, 1)), labels=_Labels(labels, (1, 1, 1)), inner_from=2.0)  # fmt: skip


def test_a_mask_for_each_frame_and_one_for_all(tmp_path: Path) -> None:
    masks = np.zeros((3, 1, 6, 12), np.uint8)
    for t in range(3):
        masks[t, ..., 3 + t :] = 1
    tracks = _points([[0, 1, 4.0]] * 3, np.arange(3))
    each = measure_distances(tracks, MaskBoundary(masks, (1, 0.5, 0.5)))
    np.testing.assert_allclose(each["distance_um"], [3.0, 2.5, 2.0])
    for static in (masks[0], masks[0, 0], masks[:1]):
        one = measure_distances(tracks, MaskBoundary(static, (1, 0.5, 0.5)))
        np.testing.assert_allclose(one["distance_um"], 3.0)
    write_movie(tmp_path / "mask.ome.tif", masks[:, None], voxel_size=(1, 0.5, 0.5))
    from_file = measure_distances(tracks, MaskBoundary(Movie.open(tmp_path / "mask.ome.tif")))
    pd.testing.assert_frame_equal(from_file, each)


def test_frames_without_a_mask_are_refused_or_taken_from_the_nearest() -> None:
    masks = np.zeros((3, 1, 6, 12), np.uint8)
    masks[0, ..., 3:], masks[2, ..., 5:] = 1, 1
    tracks = _points([[0, 1, 4.0]] * 5, np.arange(5))
    with pytest.raises(InputError, match=r"mask = 'frame 1 is empty'"):
        measure_distances(tracks, MaskBoundary(masks, (1, 0.5, 0.5)))
    with pytest.raises(InputError, match=r"frame 3 is missing: the mask has 3 frames"):
        MaskBoundary(masks, (1, 0.5, 0.5)).field(3)
    found = measure_distances(tracks, MaskBoundary(masks, (1, 0.5, 0.5), missing_frames="nearest"))
    np.testing.assert_allclose(found["distance_um"], [3.0, 3.0, 2.0, 2.0, 2.0])
    with pytest.raises(InputError, match="empty in every frame"):
        MaskBoundary(masks * 0, (1, 1, 1), missing_frames="nearest").field(0)


def test_a_full_mask_has_a_boundary_only_at_the_border() -> None:
    mask = np.ones((1, 5, 9), bool)
    with pytest.raises(InputError, match=r"mask, frame 0 = 'full'.*border_is_boundary"):
        MaskBoundary(mask, (1, 1, 1)).field(0)
    found = measure_distances(
        _points([[0, 2, 4], [0, 2, 0]]), MaskBoundary(mask, (1, 1, 1), border_is_boundary=True)
    )
    np.testing.assert_allclose(found["distance_um"], [3.0, 1.0])
    with pytest.raises(InputError, match=r"mask, frame 0 = 'empty'"):
        MaskBoundary(~mask, (1, 1, 1)).field(0)


def test_a_mask_of_another_shape_is_refused() -> None:
    mask = np.zeros((1, 10, 10), bool)
    mask[..., 5:] = True
    with pytest.raises(
        InputError, match=r"mask = .*1 cells lie beyond it, such as one at \[0.0, 3.0, 30.0\]"
    ):
        measure_distances(_points([[0, 3, 3], [0, 3, 30]]), MaskBoundary(mask, (1, 1, 1)))
    labels = _Labels(np.ones((1, 1, 10, 12), int), (1, 1, 1))
    table = pd.DataFrame({"frame": [0], "y": [3.0], "x": [3.0], "label": [1], "area_um2": [9.0]})
    with pytest.raises(InputError, match=r"the labels are \(1, 10, 12\)"):
        measure_distances(Tracks(table), MaskBoundary(mask, (1, 1, 1)), labels=labels)
    with pytest.raises(InputError, match=r"^voxel_size = None"):
        MaskBoundary(mask)


def test_the_hull_of_a_box() -> None:
    corners = np.array([[z, y, x] for z in (0, 10) for y in (0, 20) for x in (0, 30)], float)
    points = np.vstack([corners, [[5, 10, 15], [5, 3, 15], [9, 10, 15]]])
    hull = HullBoundary(np.zeros(len(points), int), points, is_2d=False)
    found = measure_distances(_points(points), hull)
    np.testing.assert_allclose(found["distance_um"][:8], 0, atol=1e-9)
    np.testing.assert_allclose(found["distance_um"][8:], [5, 3, 1])
    np.testing.assert_allclose(
        found[["inward_z", "inward_y", "inward_x"]].to_numpy()[-1], [-1, 0, 0], atol=1e-6
    )
    flat = HullBoundary(np.zeros(8, int), corners, is_2d=True).field(0)
    np.testing.assert_allclose(flat.at(np.array([[0.0, 10, 4]])), 4)


def test_the_hull_of_labels_reaches_around_the_cells(demo_movie, demo_tracks) -> None:
    points = demo_tracks.objects[["z", "y", "x"]].to_numpy()
    hull = HullBoundary(
        demo_tracks.objects["frame"].to_numpy(),
        points,
        False,
        _Labels(demo_movie.labels, demo_movie.voxel_size),
    )
    found = measure_distances(demo_tracks, hull)
    assert (found["distance_um"] > 0).all()
    difference = found["distance_um"] - demo_movie.objects["distance_um"]
    assert difference.abs().median() < 0.6, "the demo's tissue is nearly convex"


@pytest.mark.parametrize("n", [1, 3, 6])
def test_cells_without_hull_ask_for_a_mask(n: int) -> None:
    points = np.column_stack([np.zeros(n), np.arange(n), np.arange(n)]).astype(float)
    with pytest.raises(InputError, match=rf"tissue_mask = None: the {n} cells of frame 0 span no volume"):
        HullBoundary(np.zeros(n, int), points, is_2d=False).field(0)


def test_a_drawn_region(tmp_path: Path) -> None:
    square = np.array([[0, 0], [0, 10], [10, 10], [10, 0]], float)
    points = np.array([[3, 5, 5], [3, 5, 1], [3, 5, -2], [3, 13, 14]], float)
    found = measure_distances(_points(points), RoiBoundary(square))
    np.testing.assert_allclose(found["distance_um"], [5, 1, -2, -5])
    assert found["inward_x"][1] == pytest.approx(1.0)
    pd.DataFrame(square, columns=["y", "x"]).to_csv(tmp_path / "roi.csv", index=False)
    np.testing.assert_allclose(RoiBoundary.read(tmp_path / "roi.csv", None).vertices, square)
    napari = pd.DataFrame({"index": 0, "shape-type": "polygon", "vertex-index": range(4), "axis-0": 2.0, "axis-1": square[:, 0] / 0.5, "axis-2": square[:, 1] / 0.25})  # fmt: skip
    napari.to_csv(tmp_path / "shapes.csv", index=False)
    np.testing.assert_allclose(RoiBoundary.read(tmp_path / "shapes.csv", (1, 0.5, 0.25)).vertices, square)
    with pytest.raises(InputError, match="at least three corners"):
        RoiBoundary(square[:2])


def test_a_region_of_imagej(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    corners = np.array([[2, 4], [12, 4], [12, 24]], np.int32)  # x, y
    roifile.ImagejRoi.frompoints(corners).tofile(tmp_path / "cell.roi")
    vertices = RoiBoundary.read(tmp_path / "cell.roi", (1, 0.5, 0.25)).vertices
    np.testing.assert_allclose(vertices, corners[:, ::-1] * [0.5, 0.25])


def test_tracklets_with_gaps_divisions_merges_and_one_point(family) -> None:
    mask = np.zeros((8, 80, 80), bool)
    mask[1:7, 10:70, 10:70] = True
    family = Tracks(family.objects.assign(y=family.objects["y"] + 8), family.links, (1, 1, 1), 60.0)
    found = measure_distances(family, MaskBoundary(mask, (1.0, 1.0, 1.0)))
    table = summarize_tracklets(family, found)
    assert len(table) == family.n_tracklets
    mother = table[table["tracklet_id"] == family.tracklet_ids[0]].iloc[0]
    assert (mother["n_points"], mother["start_frame"], mother["end_frame"]) == (3, 0, 3)
    assert mother["is_parent"] and not mother["is_daughter"] and mother["track_divides"]
    # The mother nears the boundary along x with 2 µm a minute, at the same depth of −1 in z.
    assert mother["change_um"] == pytest.approx(found["distance_um"][2] - found["distance_um"][0])
    daughters = table[table["is_daughter"]]
    assert daughters["tracklet_id"].tolist() == sorted(family.tracklet_ids[[3, 5]])
    lone = table[table["tracklet_id"] == family.tracklet_ids[11]].iloc[0]
    assert lone["n_points"] == 1 and np.isnan(lone["speed_inward_um_per_h"]) and not lone["track_divides"]
    still = table[table["tracklet_id"] == family.tracklet_ids[7]].iloc[0]
    assert still["speed_inward_um_per_h"] == pytest.approx(0, abs=1e-9)
    merged = table[table["tracklet_id"] == family.tracklet_ids[14]].iloc[0]
    assert not merged["is_daughter"], "a merge is no division"


def test_speed_inward_is_the_slope_in_um_per_hour() -> None:
    mask = np.zeros((1, 5, 50), bool)
    mask[..., 5:] = True
    objects = pd.DataFrame({"frame": [0, 1, 3], "y": 2.0, "x": [10.0, 12.0, 16.0], "area_um2": 9.0})
    links = pd.DataFrame({"source": [0, 1], "target": [1, 2]})
    tracks = Tracks(objects, links, (1, 1, 1), 1800.0)
    table = summarize_tracklets(tracks, measure_distances(tracks, MaskBoundary(mask, (1, 1, 1))))
    assert table["speed_inward_um_per_h"].tolist() == pytest.approx([4.0])


def test_the_columns_that_users_know(family) -> None:
    found = measure_distances(family, RoiBoundary(np.array([[-10, -10], [-10, 90], [90, 90], [90, -10]])))  # fmt: skip
    table = published_columns(family, found)
    known = [
        "Time",
        "Cell Size",
        "Distance to Border",
        "Inner Cell Probability",
        "Cell Speed",
        "Directionality",
    ]
    assert table.columns.tolist() == ["Track", "Tracklet", *known]
    mother = table[table["Tracklet"] == family.tracklet_ids[0]]
    assert mother["Time"].tolist() == [0, 60, 180]
    np.testing.assert_allclose(mother["Cell Speed"], [np.nan, 2 / 60, 4 / 120])
    assert table["Inner Cell Probability"].between(0, 1).all()


def test_what_is_inner_needs_a_size() -> None:
    table = pd.DataFrame({"frame": [0], "y": [3.0], "x": [3.0]})
    roi = RoiBoundary(np.array([[0, 0], [0, 9], [9, 9]]))
    with pytest.raises(InputError, match=r"^inner_from_um = None"):
        measure_distances(Tracks(table), roi)
    with pytest.raises(InputError, match=r"^inner_from_um = -1"):
        measure_distances(Tracks(table), roi, inner_from=-1.0)


def test_no_cells_give_empty_tables() -> None:
    empty = Tracks(pd.DataFrame({"frame": [], "z": [], "y": [], "x": []}), frame_interval=60.0)
    found = measure_distances(empty, RoiBoundary(np.array([[0, 0], [0, 9], [9, 9]])), inner_from=2.0)
    assert len(found) == 0
    assert len(summarize_tracklets(empty, found)) == 0


def test_a_truth_without_distances_is_refused() -> None:
    with pytest.raises(InputError, match=r"needs the columns \['distance_um'\]"):
        distance_errors(pd.DataFrame(), pd.DataFrame({"frame": [], "z": [], "y": [], "x": []}), 1.0)


def test_errors_are_of_cells_at_the_same_place() -> None:
    found = pd.DataFrame(
        {"id": [5, 6], "frame": 0, "z": 0.0, "y": [0.0, 50.0], "x": 0.0, "distance_um": [2.0, 9.0]}
    )
    truth = pd.DataFrame({"frame": 0, "z": 0.0, "y": [0.4, 60.0], "x": 0.0, "distance_um": [1.5, 7.0]})
    errors = distance_errors(found, truth, reach=2.0)
    assert errors.to_dict("list") == {"id": [5], "true_row": [0], "error_um": [0.5]}

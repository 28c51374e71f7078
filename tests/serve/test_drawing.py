"""Outlines and surfaces become the voxels that they were drawn around."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.serve.client.drawing import Shape, closed_surface, draw, voxels
from helpers.serve.client.messages import offset_of, proto, shapes
from helpers.tracking.formats.trackmate_shapes import meshes_from_labels
from tests.serve.blob_server import blobs, find_blobs, outline


def _outlines(labels: np.ndarray, shift: float = 0.0) -> list[Shape]:
    shapes = []
    for label in range(1, labels.max() + 1):
        corners = np.array([(0, y + shift, x + shift) for y, x in outline(labels[0] == label)])
        shapes.append(Shape(corners, None, label / 100))
    return shapes


def test_an_outline_along_the_edges_of_pixels_gives_these_pixels() -> None:
    labels = find_blobs(blobs((1, 70, 80), 25, seed=1))
    drawn, cells = draw(_outlines(labels), labels.shape)
    np.testing.assert_array_equal(drawn, labels)
    assert cells["label"].tolist() == list(range(1, labels.max() + 1))
    np.testing.assert_allclose(cells["quality"], np.arange(1, labels.max() + 1) / 100)


def test_where_the_middle_of_a_pixel_is_follows_from_the_corners() -> None:
    labels = find_blobs(blobs((1, 40, 40), 5, seed=2))
    assert offset_of(_outlines(labels)) == 0.0
    assert offset_of(_outlines(labels, shift=0.5)) == 0.5
    assert offset_of([]) == 0.0
    by_lacss = Shape(np.array([(0, 3.5, 2.5), (0, 2.5, 3.5), (0, 3.5, 4.5), (0, 4.5, 3.5)]), None, 0.9)
    assert offset_of([by_lacss]) == 0.5, "whose corners are the centres of pixels and a half"


def test_a_cell_that_reaches_beyond_the_frame_ends_at_its_border() -> None:
    square = Shape(np.array([(0, -3.5, -3.5), (0, -3.5, 2.5), (0, 90.5, 2.5), (0, 90.5, -3.5)]), None, 1.0)
    drawn, _ = draw([square], (1, 20, 30))
    expected = np.zeros((1, 20, 30), int)
    expected[:, :, :3] = 1
    np.testing.assert_array_equal(drawn, expected)


def test_the_higher_score_takes_the_voxels_of_both_and_what_has_no_voxel_is_left_out() -> None:
    def square(low: float, high: float, score: float) -> Shape:
        return Shape(np.array([(0, low, low), (0, low, high), (0, high, high), (0, high, low)]), None, score)

    drawn, cells = draw([square(-0.5, 4.5, 0.9), square(1.5, 7.5, 0.4), square(2.1, 2.4, 1.0)], (1, 9, 9))
    assert (drawn[0, :5, :5] == 1).all() and drawn[0, 6, 6] == 2
    assert cells["quality"].tolist() == [0.9, 0.4]


def test_a_surface_gives_its_voxels() -> None:
    labels = find_blobs(blobs((12, 50, 60), 14, seed=3))
    surfaces = meshes_from_labels(labels, voxel_size=(1, 1, 1))
    shapes = [Shape(np.float32(v).astype(float), f.astype(np.int64), 0.5) for v, f in surfaces.values()]
    drawn, cells = draw(shapes, labels.shape)
    np.testing.assert_array_equal(drawn, labels)
    assert (cells["watertight"] == 1).all()


def _ball() -> tuple[np.ndarray, Shape]:
    grid = np.indices((17, 17, 17)) - 8
    labels = ((grid**2).sum(0) < 40).astype(int)
    vertices, faces = meshes_from_labels(labels, voxel_size=(1, 1, 1))[1]
    return labels, Shape(vertices, faces.astype(np.int64), 0.5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_surface_with_a_hole_is_closed_and_says_so(axis: int) -> None:
    labels, ball = _ball()
    assert ball.faces is not None
    height = ball.points[ball.faces][:, :, axis].mean(1)
    torn = Shape(ball.points, ball.faces[height < 13.8], 0.5)
    drawn, cells = draw([torn], (17, 17, 17))
    assert cells["watertight"].tolist() == [0]
    wrong = np.count_nonzero((drawn > 0) != (labels > 0))
    assert wrong <= 0.02 * labels.sum()
    assert closed_surface(ball.points, ball.faces)[2], "which is watertight as it comes"


def test_a_surface_of_which_one_face_is_missing_is_not_watertight() -> None:
    _, ball = _ball()
    assert ball.faces is not None
    _, faces, closed = closed_surface(ball.points, ball.faces[1:])
    assert not closed and len(faces) > len(ball.faces)
    assert not closed_surface(ball.points, ball.faces[2:])[2]


def test_corners_that_faces_do_not_share_are_one_where_they_meet() -> None:
    labels, ball = _ball()
    assert ball.faces is not None
    loose = Shape(ball.points[ball.faces].reshape(-1, 3), np.arange(ball.faces.size).reshape(-1, 3), 0.5)
    drawn, cells = draw([loose], (17, 17, 17))
    np.testing.assert_array_equal(drawn, labels)
    assert cells["watertight"].tolist() == [1]


def test_corners_without_faces_stand_for_their_hull_and_too_few_for_nothing() -> None:
    labels, ball = _ball()
    _, inside, watertight = voxels(Shape(ball.points, np.zeros((0, 3), np.int64), 0.5), labels.shape)
    assert not watertight and abs(inside.sum() / labels.sum() - 1) < 0.05
    drawn, cells = draw([Shape(ball.points[:2], np.zeros((0, 3), np.int64), 0.5)], labels.shape)
    assert not drawn.any() and not len(cells)


def test_masks_among_outlines_of_the_other_kind_are_kept_where_they_are() -> None:
    mask = proto.Mask(
        rectangle=proto.Rectangle(top_left=proto.Point(x=8, y=8), bottom_right=proto.Point(x=10, y=10, z=1)),
        bin_data=proto.BinData(data=np.packbits(np.ones((1, 2, 2), bool)).tobytes()),
    )
    corners = [(1, 1), (3, 1), (3, 3), (1, 3)]
    outline = proto.Polygon(points=[proto.Point(x=x, y=y) for y, x in corners])
    answer = [
        proto.ScoredROI(roi=proto.ROI(polygon=outline), score=0.5),
        proto.ScoredROI(roi=proto.ROI(mask=mask), score=0.9),
    ]
    drawn, cells = draw(shapes(answer, planar=True), (1, 12, 12))
    expected = np.zeros((1, 12, 12), int)
    expected[0, 1:3, 1:3], expected[0, 8:10, 8:10] = 1, 2
    np.testing.assert_array_equal(drawn, expected)
    assert cells["quality"].tolist() == pytest.approx([0.5, 0.9])

"""Shapes drawn again are the labels, whatever these look like."""

from __future__ import annotations

import numpy as np
import pytest
from biopb.image import DetectionResponse, Mesh, Polygon
from scipy import ndimage

from helpers.data.rings import area, rings_of_labels
from helpers.errors import InputError
from helpers.serve import shapes
from helpers.serve.client import messages
from helpers.serve.client.drawing import draw
from helpers.serve.client.wire import points_and_faces
from helpers.tracking.formats.trackmate_shapes import surface
from tests.serve.fiji import drawn, voxelised


def answer(found, n):
    message, count = shapes.answer(found, np.linspace(0.5, 1, n))
    response = DetectionResponse.FromString(message)
    assert len(response.detections) == count
    return response


@pytest.fixture(scope="module")
def odd_labels():
    """Labels in parts, with holes, touching at corners, of single pixels."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 1.2)
    labels = np.where(noise > 0.05, 1 + (np.arange(50) // 17)[None, :], 0).astype(np.int32)
    labels[0, 0], labels[39, 49], labels[20, 25] = 4, 5, 6
    return labels


def test_polygons_give_every_pixel_back(odd_labels):
    found = answer(shapes.polygons(odd_labels, (0, 0, 0)), 6)
    assert np.array_equal(drawn(found, odd_labels.shape), odd_labels)
    assert [d.score for d in found.detections] == pytest.approx(np.linspace(0.5, 1, 6))


def test_rings_enclose_the_pixels_and_their_holes(odd_labels):
    for label, rings in rings_of_labels(odd_labels):
        own = odd_labels == label
        assert sum(map(area, rings)) == own.sum()
        parts = ndimage.label(own)[1]
        assert sum(area(ring) > 0 for ring in rings) == parts
        assert all((np.abs(np.diff(ring, axis=0)).min(axis=1) == 0).all() for ring in rings)
        # No corner lies between two edges of one direction.
        for ring in rings:
            way = np.sign(np.roll(ring, -1, axis=0) - ring)
            assert (way != np.roll(way, 1, axis=0)).any(axis=1).all()


def test_a_pixel_spans_half_a_pixel_around_its_centre():
    labels = np.zeros((5, 7), np.int32)
    labels[2, 4] = 1
    ((_, _, message),) = shapes.polygons(labels, (0, 10, 20))
    points = Polygon.FromString(message).points
    corners = {(p.x, p.y) for p in points}
    assert corners == {(23.5, 11.5), (24.5, 11.5), (23.5, 12.5), (24.5, 12.5)}
    assert not any(p.HasField("z") for p in points)


def test_meshes_give_every_voxel_back_and_are_closed(odd_labels):
    stack = np.stack([odd_labels[:20, :20], odd_labels[10:30, 10:30], odd_labels[:20, :20]])
    found = answer(shapes.meshes(stack, (0, 0, 0)), 6)
    again = voxelised(found, stack.shape)
    numbers = np.unique(stack)[1:]
    assert len(found.detections) == len(numbers)
    assert np.array_equal(again, np.searchsorted(numbers, stack) * (stack > 0) + (stack > 0))
    for detection in found.detections:
        faces = np.array([(f.p1, f.p2, f.p3) for f in detection.roi.mesh.faces])
        edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0).all()


@pytest.mark.parametrize("side, width", [(3, 1), (9, 2), (100, 3)])
def test_a_mesh_is_read_as_biopb_reads_it(side, width):
    """Of few corners and of many, whose numbers take one, two or three bytes; what is zero is left out by protobuf."""
    labels = np.ones((2, side, side), np.int32)
    ((_, _, message),) = shapes.meshes(labels, (3, 0, 0))
    vertices, faces = surface(labels > 0)
    assert 7 * (width - 1) < int(len(vertices) - 1).bit_length() <= 7 * width
    mesh = Mesh.FromString(message)
    assert [(v.z - 3, v.y, v.x) for v in mesh.verts] == [tuple(v) for v in vertices.tolist()]
    assert [(f.p1, f.p2, f.p3) for f in mesh.faces] == [tuple(f) for f in faces.tolist()]
    assert min(v.z for v in mesh.verts) == 2.5 and max(v.z for v in mesh.verts) == 4.5
    assert 0 in faces and 0.0 in vertices
    for written in (message, mesh.SerializeToString()):
        points, triangles = points_and_faces(written)
        np.testing.assert_array_equal(points, vertices + np.array([3, 0, 0]))
        np.testing.assert_array_equal(triangles, faces)


def test_fields_that_nobody_knows_are_passed_over():
    """A later version of the message may have more fields: 4 and 5 of a Point here, and 9 of the Polygon."""
    message = bytes([0x0A, 17, 0x0D, 0, 0, 128, 63, 0x20, 0x81, 1, 0x29, *range(8), 0x4A, 2, 7, 7, 0x0A, 0])
    points, faces = points_and_faces(message)
    assert points.tolist() == [[0, 0, 1], [0, 0, 0]] and faces.shape == (0, 3)


def test_masks_are_the_labels_exactly_and_those_of_meshes(odd_labels):
    """Moved, so that some lie over the border of the frame that they are drawn into."""
    stack = np.stack([odd_labels, np.roll(odd_labels, 3, axis=1), odd_labels])
    for offset in ((0, 0, 0), (1, -2, 5)):
        found, n = shapes.answer(shapes.masks(stack, offset), np.linspace(0.5, 1, 6))
        detections = DetectionResponse.FromString(found).detections
        read = messages.shapes(detections, planar=False)
        drawn_again, cells = draw(read, stack.shape)
        expected = np.zeros_like(stack)
        z, y, x = (slice(max(0, o), n + min(0, o)) for o, n in zip(offset, stack.shape, strict=True))
        back = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, stack.shape, strict=True))
        expected[z, y, x] = stack[back]
        there = np.unique(expected)[1:]
        np.testing.assert_array_equal(np.concatenate([[0], there])[drawn_again], expected)
        assert n == 6 and cells["quality"].tolist() == pytest.approx(np.linspace(0.5, 1, 6)[there - 1])
    detections[0].roi.mask.bin_data.data += b"x"
    with pytest.raises(InputError, match="bits"):
        messages.shapes(detections, planar=False)

"""Shapes drawn again are the labels, whatever these look like."""

from __future__ import annotations

import numpy as np
import pytest
from biopb.image import DetectionResponse, Mesh
from fiji import drawn, voxelised
from scipy import ndimage

from helpers.serve.outlines import area, rings_of_labels
from helpers.serve.shapes import meshes, polygons, scored


def answer(shapes, n):
    return DetectionResponse(detections=scored(shapes, np.linspace(0.5, 1, n)))


@pytest.fixture(scope="module")
def odd_labels():
    """Labels in parts, with holes, touching at corners, of single pixels."""
    rng = np.random.default_rng(3)
    noise = ndimage.gaussian_filter(rng.normal(size=(40, 50)), 1.2)
    labels = np.where(noise > 0.05, 1 + (np.arange(50) // 17)[None, :], 0).astype(np.int32)
    labels[0, 0], labels[39, 49], labels[20, 25] = 4, 5, 6
    return labels


def test_polygons_give_every_pixel_back(odd_labels):
    found = answer(polygons(odd_labels, (0, 0, 0)), 6)
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
    (_, roi), *_ = polygons(labels, (0, 10, 20))
    corners = {(p.x, p.y) for p in roi.polygon.points}
    assert corners == {(23.5, 11.5), (24.5, 11.5), (23.5, 12.5), (24.5, 12.5)}
    assert not any(p.HasField("z") for p in roi.polygon.points)


def test_meshes_give_every_voxel_back_and_are_closed(odd_labels):
    stack = np.stack([odd_labels[:20, :20], odd_labels[10:30, 10:30], odd_labels[:20, :20]])
    found = answer(meshes(stack, (0, 0, 0)), 6)
    again = voxelised(found, stack.shape)
    numbers = np.unique(stack)[1:]
    assert len(found.detections) == len(numbers)
    assert np.array_equal(again, np.searchsorted(numbers, stack) * (stack > 0) + (stack > 0))
    for detection in found.detections:
        faces = np.array([(f.p1, f.p2, f.p3) for f in detection.roi.mesh.faces])
        edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0).all()


def test_bytes_are_those_that_biopb_writes():
    labels = np.ones((1, 2, 2), np.int32)
    (_, roi), *_ = meshes(labels, (3, 0, 0))
    mesh = Mesh()
    for v in roi.mesh.verts:
        mesh.verts.add(x=v.x, y=v.y, z=v.z)
    for f in roi.mesh.faces:
        mesh.faces.add(p1=f.p1, p2=f.p2, p3=f.p3)
    assert roi.mesh.SerializeToString() == mesh.SerializeToString()
    assert min(v.z for v in mesh.verts) == 2.5 and max(v.z for v in mesh.verts) == 3.5

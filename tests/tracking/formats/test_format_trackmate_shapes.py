"""Contours in 2D and meshes in 3D: made from labels, written, and read back."""

from __future__ import annotations

import struct
import zipfile

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from helpers.errors import InputError
from helpers.tracking.formats import trackmate
from helpers.tracking.tracks import Tracks
from tests.tracking.formats.format_strategies import assert_same, family, mesh_volume


def _area(contour: np.ndarray) -> float:
    y, x = contour.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_contours_enclose_exactly_the_pixels():
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((80, 80)), 2)
    labels, count = ndimage.label(noise > np.quantile(noise, 0.6))
    contours = trackmate.contours_from_labels(labels * 5000, voxel_size=(9.0, 0.5, 0.25))
    assert len(contours) == count > 10
    for label, contour in contours.items():
        filled = ndimage.binary_fill_holes(labels * 5000 == label)
        assert abs(_area(contour)) == pytest.approx(filled.sum() * 0.125)
        inside = np.argwhere(filled) * (0.5, 0.25)
        assert (contour.min(0) < inside.min(0)).all() and (contour.max(0) > inside.max(0)).all()


def test_of_pieces_the_largest_and_only_what_was_asked():
    labels = np.zeros((1, 5, 8), int)
    labels[0, 0, 0] = labels[0, 2:4, 3:6] = 4
    labels[0, 4, 7] = 9
    contours = trackmate.contours_from_labels(labels, voxel_size=(1, 1), only=[4, 6])
    assert list(contours) == [4]
    assert sorted(map(tuple, contours[4].tolist())) == [(1.5, 2.5), (1.5, 5.5), (3.5, 2.5), (3.5, 5.5)]


def _balls() -> np.ndarray:
    z, y, x = np.indices((20, 30, 40))
    labels = np.zeros(z.shape, np.int32)
    labels[(z - 8) ** 2 + (y - 10) ** 2 + (x - 10) ** 2 <= 36] = 70_000
    labels[(z - 10) ** 2 + (y - 15) ** 2 + (x - 30) ** 2 <= 25] = 3
    labels[0:2, 0:2, 0:2] = 8  # At the border, where a mesh must be closed too.
    return labels


def test_meshes_are_closed_outward_and_in_micrometres():
    labels = _balls()
    voxel = (2.0, 1.0, 0.5)
    meshes = trackmate.meshes_from_labels(labels, voxel_size=voxel)
    assert sorted(meshes) == [3, 8, 70_000]
    for label, (vertices, faces) in meshes.items():
        volume = (labels == label).sum() * np.prod(voxel)
        assert mesh_volume((vertices, faces)) == pytest.approx(volume, rel=0.15 if label != 8 else 0.5)
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all(), "every edge has two faces"
    np.testing.assert_allclose(meshes[3][0].mean(0), (20, 15, 15), atol=1e-9)


def test_the_side_car_has_the_form_of_version_9(tmp_path, read_meshes):
    labels = _balls()
    meshes = trackmate.meshes_from_labels(labels, voxel_size=(1, 1, 1), only=[3])
    objects = pd.DataFrame({"id": [41], "frame": [2], "label": [3], "z": 10.0, "y": 15.0, "x": 30.0})
    trackmate.write(Tracks(objects, voxel_size=(1, 1, 1)), tmp_path / "t.xml", meshes={41: meshes[3]})
    with zipfile.ZipFile(tmp_path / "t.xml.meshes") as stored:
        assert sorted(stored.namelist()) == ["41.ply", "mesh-info.txt"]
        assert "2,41" in stored.read("mesh-info.txt").decode().split()
        data = stored.read("41.ply")
    header, body = data.split(b"end_header\n")
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    n, m = len(meshes[3][0]), len(meshes[3][1])
    assert f"element vertex {n}\n".encode() in header and f"element face {m}\n".encode() in header
    assert len(body) == n * 32 + m * 13
    x, y, z, nx, ny, nz = struct.unpack("<6f", body[:24])
    assert (z, y, x) == tuple(meshes[3][0][0].astype(np.float32)), "x first, absolute"
    assert np.dot((nx, ny, nz), (x - 30, y - 15, z - 10)) > 0, "normals look outwards"
    found = read_meshes(tmp_path / "t.xml")
    np.testing.assert_array_equal(found[41][0], meshes[3][0].astype(np.float32))
    np.testing.assert_array_equal(found[41][1], meshes[3][1])


def test_an_older_side_car_does_not_stay(tmp_path, read_meshes):
    labels = _balls()
    tracks = family()
    mesh = trackmate.meshes_from_labels(labels, voxel_size=(1, 1, 1))[3]
    trackmate.write(tracks, tmp_path / "t.xml", meshes={10: mesh})
    assert list(read_meshes(tmp_path / "t.xml")) == [10]
    trackmate.write(tracks, tmp_path / "t.xml")
    assert read_meshes(tmp_path / "t.xml") == {}
    assert not (tmp_path / "t.xml.meshes").exists()


def test_bad_meshes_are_not_written(tmp_path):
    mesh = (np.zeros((3, 3)), np.array([[0, 1, 2]]))
    for meshes, message in (
        ({99: mesh}, "no objects"),
        ({10: (np.zeros((3, 2)), mesh[1])}, r"\(N, 3\)"),
        ({10: (np.zeros((2, 3)), mesh[1])}, "from 0"),
    ):
        with pytest.raises(InputError, match=message):
            trackmate.write_meshes(meshes, {10: 0}, tmp_path / "t.xml")


def _movie(depth: int) -> tuple[Tracks, list[np.ndarray]]:
    frames = [np.zeros((depth, 9, 9), np.uint16) for _ in range(2)]
    frames[0][:, 1:4, 2:5] = 6
    frames[1][:, 2:5, 2:5] = 7
    middle = (depth - 1) / 2
    objects = pd.DataFrame(
        {"id": [5, 8], "frame": [0, 1], "label": [6, 7], "z": middle * 2, "y": [1.0, 1.5], "x": 0.75}
    )
    links = pd.DataFrame({"source": [5], "target": [8]})
    return Tracks(objects, links, (2.0, 0.5, 0.25), 10.0), frames


def test_labels_give_a_2d_file_its_contours(tmp_path):
    tracks, frames = _movie(1)
    trackmate.write(tracks, tmp_path / "t.xml", labels=frames)
    text = (tmp_path / "t.xml").read_text()
    assert 'ROI_N_POINTS="4">' in text and 'width="9" height="9" nslices="1" nframes="2"' in text
    found = trackmate.read(tmp_path / "t.xml")
    for contour in found.objects["contour"]:
        assert sorted(map(tuple, contour.tolist())) == [
            (-0.75, -0.375),
            (-0.75, 0.375),
            (0.75, -0.375),
            (0.75, 0.375),
        ]
    assert_same(Tracks(found.objects.drop(columns="contour"), found.links, found.voxel_size, 10.0), tracks)
    assert "contour" not in trackmate.read(tmp_path / "t.xml", contours=False).objects
    trackmate.write(found, tmp_path / "again.xml")
    assert_same(trackmate.read(tmp_path / "again.xml"), found)


def test_labels_give_a_3d_file_its_meshes(tmp_path, read_meshes):
    tracks, frames = _movie(3)
    trackmate.write(tracks, tmp_path / "t.xml", labels=iter(frames))
    meshes = read_meshes(tmp_path / "t.xml")
    assert sorted(meshes) == [5, 8]
    np.testing.assert_allclose(meshes[8][0].mean(0), (2, 1.5, 0.75), atol=1e-6)
    assert "ROI_N_POINTS" not in (tmp_path / "t.xml").read_text()


def test_labels_that_do_not_fit(tmp_path):
    tracks, frames = _movie(3)
    cases = [
        ([frames[0], frames[1][:, :5]], "shape of the first"),
        ([frames[0], frames[0]], "the frame does not"),
        (frames[:1], "objects in frame 1"),
    ]
    for labels, message in cases:
        with pytest.raises(InputError, match=message):
            trackmate.write(tracks, tmp_path / "t.xml", labels=labels)
    with pytest.raises(InputError, match="column label"):
        trackmate.write(
            Tracks(tracks.objects.drop(columns="label"), voxel_size=(1, 1, 1)),
            tmp_path / "t.xml",
            labels=frames,
        )
    with pytest.raises(InputError, match="voxel_size"):
        trackmate.write(Tracks(tracks.objects), tmp_path / "t.xml", labels=frames)

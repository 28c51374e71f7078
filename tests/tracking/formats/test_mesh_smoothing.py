"""Smoothed meshes: rounder, of the same volume (Taubin) or smaller (Laplace)."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.errors import InputError
from helpers.tracking.formats.mesh_smoothing import smooth_mesh
from helpers.tracking.formats.trackmate_shapes import Mesh, meshes_from_labels
from tests.tracking.formats.format_strategies import mesh_volume


def _ball() -> Mesh:
    z, y, x = np.indices((20, 20, 20)) - 9.5
    return meshes_from_labels((z**2 + y**2 + x**2 < 49).astype(np.int32), voxel_size=(1.0, 1.0, 1.0))[1]


def _roughness(mesh: Mesh) -> float:
    """Spread of the distances of a ball's vertices from its centre (µm)."""
    return float(np.linalg.norm(mesh[0] - 9.5, axis=1).std())


def test_taubin_keeps_the_volume_and_laplace_shrinks() -> None:
    mesh = _ball()
    before = mesh_volume(mesh)
    taubin, laplacian = smooth_mesh(mesh, "taubin", 10), smooth_mesh(mesh, "laplacian", 10)
    assert _roughness(taubin) < 0.7 * _roughness(mesh)
    assert mesh_volume(taubin) == pytest.approx(before, rel=0.03)
    assert mesh_volume(laplacian) < 0.97 * before
    assert np.array_equal(taubin[1], mesh[1])


def test_the_mesh_given_stays_as_it_is() -> None:
    mesh = _ball()
    vertices = mesh[0].copy()
    smooth_mesh(mesh, "taubin", 3)
    assert np.array_equal(mesh[0], vertices)
    for same in (smooth_mesh(mesh, "none", 5), smooth_mesh(mesh, "taubin", 0)):
        assert np.allclose(same[0], vertices)


def test_wrong_parameters_are_named() -> None:
    with pytest.raises(InputError, match="mesh_smoothing = 'gauss'"):
        smooth_mesh(_ball(), "gauss")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mesh_iterations = -1"):
        smooth_mesh(_ball(), "taubin", -1)

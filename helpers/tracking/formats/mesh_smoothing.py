"""Smooth the meshes of cells for export; the labels they are made of stay as they are.

Each step moves every vertex towards the mean of its neighbours. Laplacian steps shrink a cell a little more each time;
Taubin's alternate with slightly larger steps outwards, which keeps the volume.

References
----------
Taubin, Curve and surface smoothing without shrinkage, ICCV 1995.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import sparse

from helpers.errors import InputError
from helpers.tracking.formats.trackmate_shapes import Mesh

MeshSmoothing = Literal["none", "laplacian", "taubin"]
#: Fraction of the way to the mean of the neighbours, and of the way back (Taubin's lambda and mu).
_STEP, _BACK = 0.5, -0.53


def smooth_mesh(mesh: Mesh, method: MeshSmoothing = "taubin", iterations: int = 10) -> Mesh:
    """Return a smoothed copy of a mesh.

    Parameters
    ----------
    mesh : (vertices, faces)
        Vertices (N, 3) in µm, faces (M, 3).
    method : {"taubin", "laplacian", "none"}
        Taubin's keeps the volume, Laplace's shrinks the cell.
    iterations : int
        Steps, 0 or more; one of Taubin's is inwards and outwards.

    Returns
    -------
    (vertices, faces)
        The same faces.

    Raises
    ------
    InputError
        For another method, or negative iterations.
    """
    if method not in ("none", "laplacian", "taubin"):
        raise InputError("mesh_smoothing", method, "'taubin', 'laplacian' or 'none'")
    if iterations < 0:
        raise InputError("mesh_iterations", iterations, "0 or more")
    vertices, faces = np.asarray(mesh[0], float), np.asarray(mesh[1])
    if method == "none" or len(faces) == 0:
        return vertices.copy(), faces
    mean = _mean_of_neighbours(len(vertices), faces)
    for _ in range(iterations):
        for step in (_STEP, _BACK) if method == "taubin" else (_STEP,):
            vertices = vertices + step * (mean @ vertices - vertices)
    return vertices, faces


def _mean_of_neighbours(n: int, faces: np.ndarray) -> sparse.csr_array:
    """Return the matrix that maps vertices to the means of their neighbours."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    degree = np.bincount(edges[:, 0], minlength=n)
    weights = 1.0 / degree[edges[:, 0]]
    lonely = np.flatnonzero(degree == 0)
    rows, columns = np.append(edges[:, 0], lonely), np.append(edges[:, 1], lonely)
    return sparse.csr_array((np.append(weights, np.ones(len(lonely))), (rows, columns)), shape=(n, n))

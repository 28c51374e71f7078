"""Directions in which a surface is counted: Crofton's formula on the grid of voxels.

The surface of a body is four times its mean projected area (Cauchy), and lines in a direction d, through all voxels, enter the
body as often as its projection along d has room for lines::

    S = 4 Σ_d c_d · n_d · V / l_d         n_d  runs of the body's voxels along d: how often lines enter it
    P = π Σ_d c_d · n_d · A / l_d         V, A  volume (area) of a voxel; l_d length of a step along d, µm
                                          c_d  share of all directions that are nearest to d (Voronoi)

n_d is the number of the body's voxels less the pairs of them that are one step apart. Steps are chosen for voxels that are
longer than wide (see `directions`): 13 directions in space, 8 in the plane, about as evenly spread as on a cubic grid. After
Lang, Ohser and Hilfer (2001), J. Microsc. 203:303-313, who show why shares by Voronoi serve any grid.
"""

from __future__ import annotations

from itertools import product

import numpy as np

_PLANE = [(0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (1, -2), (2, 1), (2, -1)]


def directions(voxel_size: np.ndarray, *, is_2d: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and what a run of voxels along each is worth.

    Parameters
    ----------
    voxel_size : (3,) float ndarray
        z, y, x in µm.
    is_2d : bool
        Only directions in the plane.

    Returns
    -------
    steps : (n, 3) int ndarray
        Voxels along z, y, x: one along the axes, and along diagonals as many as make both sides about equally long. Along z
        0 or 1, so that a plane and the one before it are enough.
    worth : (n,) float ndarray
        µm², in 2D µm: the surface (perimeter) is the sum of worth × runs.
    """
    steps = _plane_steps(voxel_size) if is_2d else _space_steps(voxel_size)
    vectors = steps * voxel_size
    length = np.linalg.norm(vectors, axis=1)
    unit = vectors / length[:, None]
    if is_2d:
        return steps, np.pi * _shares_of_plane(unit) * voxel_size[1] * voxel_size[2] / length
    return steps, 4 * _shares_of_space(unit) * voxel_size.prod() / length


def _plane_steps(size: np.ndarray) -> np.ndarray:
    many = np.maximum(np.rint(size.max(where=[False, True, True], initial=0) / size), 1).astype(int)
    steps = []
    for y, x in _PLANE:
        scaled = (0, y * many[1], x * many[2]) if y and x else (0, y, x)
        steps.append(scaled)
    return np.array(steps)


def _space_steps(size: np.ndarray) -> np.ndarray:
    steps = []
    for step in product((0, 1), (-1, 0, 1), (-1, 0, 1)):
        used = np.flatnonzero(step)
        if len(used) == 0 or step < (0, 0, 0) or step[used[0]] < 0:
            continue  # of two opposite ones, the one that begins with a plus
        many = np.ones(3, int)
        if len(used) > 1:
            many[used] = np.maximum(np.rint(size[used].max() / size[used]), 1)
            many[0] = 1
        steps.append(np.array(step) * many)
    return np.array(steps)


def _shares_of_plane(unit: np.ndarray) -> np.ndarray:
    angle = np.mod(np.arctan2(unit[:, 1], unit[:, 2]), np.pi)
    order = np.argsort(angle)
    gap = np.diff(angle[order], append=angle[order[0]] + np.pi)
    shares = np.empty(len(angle))
    shares[order] = (gap + np.roll(gap, 1)) / (2 * np.pi)
    return shares


def _shares_of_space(unit: np.ndarray) -> np.ndarray:
    from scipy.spatial import SphericalVoronoi

    both = np.concatenate([unit, -unit])
    area = SphericalVoronoi(both).calculate_areas()
    return (area[: len(unit)] + area[len(unit) :]) / (4 * np.pi)

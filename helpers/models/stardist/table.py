"""Which voxels lie inside a star: looked up, not computed.

All stars of a model have the same rays, and their centres are whole voxels. The face of the polyhedron that a voxel's
direction from the centre meets, and the voxel's coordinates along that face's three rays, are therefore the same for
every star, and are tabulated once for every offset::

        a ●───────● b        offset = u·a + v·b + w·c        (unit vectors along the face's three rays)
           ╲  ×  ╱
            ╲ │ ╱            inside where u/d_a + v/d_b + w/d_c ≤ 1   (d: the star's distances along these rays)
             ╲│╱
              ○ centre       three look-ups instead of a search through all faces

It is the union of tetrahedra that StarDist's ``inside_polyhedron`` tests (Weigert et al., WACV 2020).
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Offsets in a table at most (18 bytes each). What lies farther out is searched for face by face.
_MOST_OFFSETS = 1 << 22
#: A voxel on the surface is inside, whatever rounding makes of it.
SURFACE = np.float32(1 + 1e-6)


@dataclass(frozen=True)
class StarTable:
    """What a voxel's offset from a centre says of where it lies.

    Attributes
    ----------
    reach : tuple of int
        The table holds offsets -reach … reach along (z, y, x).
    corners : ndarray of int16, (Z, Y, X, 3)
        The rays at the corners of the face that the offset's direction meets.
    coordinates : ndarray of float32, (Z, Y, X, 3)
        The offset in terms of these rays' directions.
    faces : ndarray of int64, (F, 3)
        Rays at the corners of each face.
    inverses : ndarray of float64, (F, 3, 3)
        Coordinates along a face's rays are its matrix times the offset; all NaN for faces without an area.
    """

    reach: tuple[int, int, int]
    corners: NDArray[np.int16]
    coordinates: NDArray[np.float32]
    faces: NDArray[np.int64]
    inverses: NDArray[np.float64]

    @property
    def arrays(self) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """What compiled functions take."""
        return self.corners, self.coordinates, self.faces, self.inverses


def surround(rays: Any) -> bool:
    """Say whether the rays' faces surround the centre: every direction meets exactly one.

    Parameters
    ----------
    rays : stardist.rays3d.Rays_Base
        Four rays of StarDist's golden spiral, for example, do not.
    """
    unit = rays.vertices.astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    a, b, c = np.moveaxis(unit[rays.faces], 1, 0)
    triple = np.einsum("ij,ij->i", a, np.cross(b, c))
    solid = 2 * np.arctan2(triple, 1 + (a * b).sum(1) + (b * c).sum(1) + (c * a).sum(1))
    return bool((triple <= 1e-9).all()) and abs(solid.sum() + 4 * np.pi) < 1e-3


def table_for(rays: Any, extent: Sequence[float]) -> StarTable:
    """Return the table of a model's rays for stars that reach so far; the last ones are kept.

    Parameters
    ----------
    rays : stardist.rays3d.Rays_Base
        Directions and faces.
    extent : sequence of float
        How far stars reach from their centres along (z, y, x), in voxels.
    """
    reach = np.maximum(np.ceil(np.asarray(extent, float) / 4).astype(np.int64) * 4, 4)
    while np.prod(2.0 * reach + 1) > _MOST_OFFSETS:
        reach = np.maximum(np.minimum(reach, reach.max() * 7 // 8), 4)
    vertices = np.ascontiguousarray(rays.vertices, np.float32)
    faces = np.ascontiguousarray(rays.faces, np.int64)
    return _table(vertices.tobytes(), faces.tobytes(), tuple(int(r) for r in reach))


@lru_cache(maxsize=2)
def _table(vertices_: bytes, faces_: bytes, reach: tuple[int, int, int]) -> StarTable:
    vertices = np.frombuffer(vertices_, np.float32).reshape(-1, 3).astype(float)
    faces = np.frombuffer(faces_, np.int64).reshape(-1, 3)
    matrices = np.swapaxes(vertices[faces], 1, 2)
    flat = np.abs(np.linalg.det(matrices)) < 1e-9
    inverses = np.full(matrices.shape, np.nan)
    inverses[~flat] = np.linalg.inv(matrices[~flat])
    shape = tuple(2 * r + 1 for r in reach)
    corners, coordinates = np.zeros((*shape, 3), np.int16), np.zeros((*shape, 3), np.float32)
    _fill(corners, coordinates, faces, inverses, *reach)
    return StarTable(reach, corners, coordinates, faces, inverses)


@njit(cache=True, nogil=True)
def _fill(corners, coordinates, faces, inverses, rz, ry, rx):  # type: ignore[no-untyped-def]
    face = 0
    for z in range(-rz, rz + 1):
        for y in range(-ry, ry + 1):
            for x in range(-rx, rx + 1):
                face = find_face(inverses, face, z, y, x)
                for k in range(3):
                    corners[z + rz, y + ry, x + rx, k] = faces[face, k]
                    coordinates[z + rz, y + ry, x + rx, k] = coordinate(inverses, face, k, z, y, x)


@njit(cache=True, nogil=True, inline="always")
def coordinate(inverses, face, k, z, y, x):  # type: ignore[no-untyped-def]
    """Return the offset's coordinate along the k-th ray of a face."""
    return inverses[face, k, 0] * z + inverses[face, k, 1] * y + inverses[face, k, 2] * x


@njit(cache=True, nogil=True)
def find_face(inverses, hint, z, y, x):  # type: ignore[no-untyped-def]
    """Return the face that an offset's direction meets; the hint is tried first, for neighbours mostly share it."""
    best, highest = hint, -np.inf
    for k in range(-1, len(inverses)):
        face = hint if k < 0 else k
        u = coordinate(inverses, face, 0, z, y, x)
        v = coordinate(inverses, face, 1, z, y, x)
        w = coordinate(inverses, face, 2, z, y, x)
        lowest = min(u, v, w)
        if lowest >= 0:
            return face
        if lowest > highest:  # false for the NaN of flat faces
            best, highest = face, lowest
    return best


@njit(cache=True, nogil=True, inline="always")
def is_inside(table, inverse, hint, z, y, x):  # type: ignore[no-untyped-def]
    """Say whether an offset lies inside the star with such inverse distances; and the hint for the next one."""
    corners, coordinates, faces, inverses = table
    rz, ry, rx = corners.shape[0] // 2, corners.shape[1] // 2, corners.shape[2] // 2
    total = np.float32(0)
    if abs(z) <= rz and abs(y) <= ry and abs(x) <= rx:
        for k in range(3):
            ray = corners[z + rz, y + ry, x + rx, k]
            total += coordinates[z + rz, y + ry, x + rx, k] * inverse[ray]
    else:
        hint = find_face(inverses, hint, z, y, x)
        for k in range(3):
            total += np.float32(coordinate(inverses, hint, k, z, y, x)) * inverse[faces[hint, k]]
    return total <= SURFACE, hint

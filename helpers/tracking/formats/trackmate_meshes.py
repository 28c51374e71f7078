"""The mesh side-car of TrackMate 9: ``<file>.xml.meshes`` beside ``<file>.xml``.

A zip with one binary PLY file per spot, ``<spotID>.ply``, in absolute coordinates (x, y, z), and
``mesh-info.txt`` with lines ``frame,ID``. Vertices are 32-bit floats, as imglib2-mesh writes them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.tracking.formats.trackmate_shapes import Mesh

_VERTEX = np.dtype([(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz", "u", "v")])
_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def mesh_path(path: str | Path) -> Path:
    """Return where the meshes of the TrackMate file `path` lie."""
    return Path(f"{path}.meshes")


def write_meshes(meshes: Mapping[int, Mesh], frames: Mapping[int, int], path: str | Path) -> Path:
    """Write the side-car of the TrackMate file `path` and return where it lies.

    Parameters
    ----------
    meshes : mapping of int to (vertices, faces)
        By spot id: vertices (N, 3) (z, y, x) in the file's spatial unit (µm in all that we write), faces (M, 3),
        counter-clockwise seen from outside.
    frames : mapping of int to int
        Frame of each spot.
    path : path
        The XML file.

    Raises
    ------
    InputError
        A mesh of a spot that `frames` does not know, or one of another shape.
    """
    unknown = [spot for spot in meshes if spot not in frames]
    if unknown:
        raise InputError("meshes", unknown[:5], "give meshes by object id; no objects have these ids")
    with (
        atomic_path(mesh_path(path)) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as stored,
    ):
        order = sorted(meshes, key=lambda spot: (frames[spot], spot))
        stored.writestr("mesh-info.txt", "frame,ID\n" + "".join(f"{frames[i]},{i}\n" for i in order))
        for spot in order:
            stored.writestr(f"{spot}.ply", _ply(meshes[spot], f"meshes[{spot}]"))
    return mesh_path(path)


def _ply(mesh: Mesh, name: str) -> bytes:
    vertices, faces = np.asarray(mesh[0], np.float32), np.asarray(mesh[1])
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError(name, (vertices.shape, faces.shape), "give vertices (N, 3) and faces (M, 3)")
    if faces.size and not (faces.min() >= 0 and faces.max() < len(vertices)):
        raise InputError(name, int(faces.max()), f"faces number the {len(vertices)} vertices from 0")
    rows = np.zeros(len(vertices), _VERTEX)
    rows["x"], rows["y"], rows["z"] = vertices[:, 2], vertices[:, 1], vertices[:, 0]
    rows["nx"], rows["ny"], rows["nz"] = _normals(vertices[:, ::-1].astype(float), faces).T
    triangles = np.zeros(len(faces), _FACE)
    triangles["count"], triangles["corners"] = 3, faces
    header = "ply\nformat binary_little_endian 1.0\n"
    header += f"element vertex {len(rows)}\n" + "".join(f"property float {n}\n" for n in _VERTEX.names or ())
    header += f"element face {len(triangles)}\nproperty list uchar int vertex_index\nend_header\n"
    return header.encode() + rows.tobytes() + triangles.tobytes()


def _normals(xyz: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (xyz[faces[:, corner]] for corner in range(3))
    across = np.cross(b - a, c - a)
    normals = np.zeros_like(xyz)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1)

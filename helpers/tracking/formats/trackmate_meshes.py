"""The mesh side-car of TrackMate 9: ``<file>.xml.meshes`` beside ``<file>.xml``.

A zip with one binary PLY file per spot, ``<spotID>.ply``, in absolute coordinates (x, y, z), and
``mesh-info.txt`` with lines ``frame,ID``. Vertices are 32-bit floats, as imglib2-mesh writes them.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers.data.atomic import atomic_path
from helpers.errors import InputError
from helpers.tracking.formats.storage import existing
from helpers.tracking.formats.trackmate_shapes import Mesh

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_VERTEX = np.dtype([(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz", "u", "v")])
_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])


def mesh_path(path: str | Path) -> Path:
    """Return where the meshes of the TrackMate file `path` lie."""
    return Path(f"{path}.meshes")


def read_meshes(path: str | Path) -> dict[int, Mesh]:
    """Read the meshes that lie beside a TrackMate file.

    Parameters
    ----------
    path : path
        The XML file (or the side-car itself).

    Returns
    -------
    dict of int to (vertices, faces)
        By spot id: vertices (N, 3) float32 (z, y, x) in the file's spatial unit (µm in all that we write),
        faces (M, 3) int32, counter-clockwise seen from outside. Empty if there is no side-car.

    Raises
    ------
    InputError
        The side-car is not a zip, or one of its meshes cannot be read.
    """
    path = existing(path, "a TrackMate XML file")
    archive = path if path.suffix == ".meshes" else mesh_path(path)
    if not archive.exists():
        return {}
    meshes = {}
    try:
        with zipfile.ZipFile(archive) as stored:
            for entry in stored.namelist():
                if found := re.fullmatch(r"(\d+)\.ply", entry):
                    try:
                        meshes[int(found[1])] = _parse_ply(stored.read(entry))
                    except (ValueError, KeyError, IndexError) as error:
                        raise InputError(f"{archive.name}/{entry}", str(error), "a PLY mesh") from error
    except zipfile.BadZipFile as error:
        raise InputError("meshes", str(archive), "a zip of PLY files; the file is damaged") from error
    return meshes


def write_meshes(meshes: Mapping[int, Mesh], frames: Mapping[int, int], path: str | Path) -> Path:
    """Write the side-car of the TrackMate file `path` and return where it lies.

    Parameters
    ----------
    meshes : mapping of int to (vertices, faces)
        By spot id, see `read_meshes`.
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
        raise InputError("meshes", unknown[:5], "give meshes by object id; these ids are no objects")
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


def _parse_ply(data: bytes) -> Mesh:
    """Read the vertices and triangles of a PLY file, binary or text, whatever else its vertices carry."""
    mark = data.find(b"end_header")
    if not data.startswith(b"ply") or mark < 0:
        raise ValueError("no PLY header")
    body = data[data.index(b"\n", mark) + 1 :]
    style, elements = "", []
    for words in (line.split() for line in data[:mark].decode("latin-1").splitlines()):
        if words[:1] == ["format"]:
            style = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][2].append(words[1:])
    if style == "ascii":
        return _parse_text(body.decode("latin-1").split(), elements)
    order = {"binary_little_endian": "<", "binary_big_endian": ">"}[style]
    vertices = faces = None
    for kind, count, properties in elements:
        lists = [p for p in properties if p[0] == "list"]
        if not lists:
            dtype = np.dtype([(p[1], order + _TYPES[p[0]]) for p in properties])
        elif len(properties) == 1:
            # A TrackMate mesh consists of triangles, so that a row has one length.
            _, counter, corner, name = properties[0]
            dtype = np.dtype([("count", order + _TYPES[counter]), (name, order + _TYPES[corner], 3)])
        else:
            raise ValueError(f"element {kind} is not understood")
        rows = np.frombuffer(body, dtype, count)
        body = body[count * dtype.itemsize :]
        if kind == "vertex":
            vertices = np.column_stack([rows["z"], rows["y"], rows["x"]]).astype(np.float32)
        elif kind == "face":
            if count and (rows["count"] != 3).any():
                raise ValueError("faces must be triangles")
            faces = rows[properties[0][3]].astype(np.int32)
    return _mesh(vertices, faces)


def _parse_text(words: list[str], elements: list) -> Mesh:
    vertices = faces = None
    for kind, count, properties in elements:
        width = 4 if properties[0][0] == "list" else len(properties)
        rows = np.array(words[: count * width], float).reshape(count, width)
        words = words[count * width :]
        if kind == "vertex":
            names = [p[1] for p in properties]
            vertices = rows[:, [names.index(axis) for axis in "zyx"]].astype(np.float32)
        elif kind == "face":
            faces = rows[:, 1:].astype(np.int32)
    return _mesh(vertices, faces)


def _mesh(vertices: np.ndarray | None, faces: np.ndarray | None) -> Mesh:
    if vertices is None or faces is None:
        raise ValueError("vertices or faces are missing")
    if faces.size and not (faces.min() >= 0 and faces.max() < len(vertices)):
        raise ValueError("a face names a vertex that is not there")
    return vertices, faces

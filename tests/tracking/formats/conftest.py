"""What tests of formats share."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def read_meshes():
    """Read the meshes beside a TrackMate file, by spot: vertices (z, y, x), faces; written by the PLY specification alone."""

    def read(path: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        archive = Path(f"{path}.meshes")
        if not archive.exists():
            return {}
        with zipfile.ZipFile(archive) as stored:
            names = [name for name in stored.namelist() if name.endswith(".ply")]
            return {int(name.removesuffix(".ply")): _ply(stored.read(name)) for name in names}

    return read


def _ply(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    header, body = data.split(b"end_header\n", 1)
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\n")
    counts = {kind: int(n) for kind, n in re.findall(r"element (\w+) (\d+)", header.decode())}
    names = re.findall(r"property float (\w+)", header.decode())
    assert "property list uchar int vertex_index" in header.decode()
    vertices = np.frombuffer(body, "<f4", counts["vertex"] * len(names)).reshape(-1, len(names))
    faces = np.frombuffer(body[vertices.nbytes :], np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    assert len(faces) == counts["face"] and (faces["n"] == 3).all()
    return vertices[:, [names.index(axis) for axis in "zyx"]], faces["corners"]

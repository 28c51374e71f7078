"""Corners and faces out of the bytes of a message: protobuf's own way makes a Python object of each, of which a stack has millions.

A Polygon and a Mesh are rows of messages, each a tag, its length, and fields in any order; what is zero may be left out::

    0A 0F  0D xxxx 15 yyyy 1D zzzz      a Point: three numbers of four bytes
    12 06  08 p1 10 p2 18 p3            a Face: three numbers of 7 bits a byte
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_POINT, _FACE = 0x0A, 0x12


def points_and_faces(message: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return what a Polygon or a Mesh holds.

    Parameters
    ----------
    message : bytes
        As protobuf writes it.

    Returns
    -------
    points : ndarray of float64, (N, 3)
        (z, y, x).
    faces : ndarray of int64, (M, 3)
    """
    data = np.frombuffer(message, np.uint8)
    n, m = _read(data, np.empty((0, 3), np.uint32), np.empty((0, 3), np.int64))
    points, faces = np.zeros((n, 3), np.uint32), np.zeros((m, 3), np.int64)
    _read(data, points, faces)
    return points.view(np.float32)[:, ::-1].astype(np.float64), faces


@njit(cache=True, nogil=True)
def _number(data: Any, at: int) -> Any:
    """Return a number of 7 bits a byte, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = np.int64(data[at])
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at


@njit(cache=True, nogil=True)
def _skipped(data: Any, at: int, kind: int) -> int:
    """Return where a field ends that nothing is known of, by the kind in its tag."""
    if kind == 0:
        return _number(data, at)[1]
    if kind == 1:
        return at + 8
    if kind == 2:
        size, at = _number(data, at)
        return at + size
    return at + 4


@njit(cache=True, nogil=True)
def _read(data: Any, points: Any, faces: Any) -> tuple[int, int]:
    """Fill `points` (x, y, z, as bits) and `faces`, where they have rows, and return how many rows there are."""
    at, n, m = 0, 0, 0
    while at < len(data):
        tag, at = _number(data, at)
        if tag not in (_POINT, _FACE):
            at = _skipped(data, at, tag & 7)
            continue
        size, at = _number(data, at)
        end = at + size
        if tag == _POINT:
            if n < len(points):
                _read_fields(data, at, end, points[n])
            n += 1
        else:
            if m < len(faces):
                _read_fields(data, at, end, faces[m])
            m += 1
        at = end
    return n, m


@njit(cache=True, nogil=True)
def _read_fields(data: Any, at: int, end: int, row: Any) -> None:
    """Fill a row with the fields 1, 2 and 3, numbers of either kind."""
    while at < end:
        tag, at = _number(data, at)
        field, kind = tag >> 3, tag & 7
        value, after = 0, _skipped(data, at, kind)
        if kind == 5:
            for byte in range(4):
                value |= np.int64(data[at + byte]) << (8 * byte)
        elif kind == 0:
            value, _ = _number(data, at)
        if 1 <= field <= 3 and kind in (0, 5):
            row[field - 1] = value
        at = after

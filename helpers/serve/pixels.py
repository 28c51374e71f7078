"""From the bytes of a picture as clients send it to an array: `biopb.image.Pixels`.

Sizes are checked against the number of bytes before anything is allocated.

What clients announce differs from what they send in one place::

    TrackMate-Lacss, no Z axis      XYZCT   size_z 0, size_c unset   planes follow one another by channel, as announced
    TrackMate-Lacss, Z axis         XYZCT   size_z > 0, size_c unset bytes are X, Y, C, Z: ImageJ's order, not the announced
    others (biopb's Python helper)  any     all sizes set            as announced
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.units import micrometres
from helpers.errors import InputError

_DTYPE = re.compile(r"[<>=|]?([a-z]+[0-9]*|\?)")
_ORDER = "XYZCT"


@dataclass(frozen=True)
class Picture:
    """One frame as a client sent it.

    Attributes
    ----------
    channels : ndarray, (C, Z, Y, X)
        Intensities, of any numeric dtype.
    flat : bool
        The client's picture has no Z axis: it wants polygons. Otherwise it wants meshes, of one plane too.
    voxel_size : tuple of float or None
        (z, y, x) in µm; None: not calibrated.
    offset : tuple of int
        (z, y, x) of its first voxel, where it is a patch of a larger picture.
    """

    channels: NDArray
    flat: bool
    voxel_size: tuple[float, float, float] | None
    offset: tuple[int, int, int] = (0, 0, 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        return self.channels.shape[1:]  # type: ignore[return-value]


def decode(pixels: Any, data: bytes | memoryview, *, most_voxels: int) -> Picture:
    """Read a picture.

    Parameters
    ----------
    pixels : biopb.image.Pixels
        What is said of the bytes; those in it are not looked at.
    data : bytes
        The voxels.
    most_voxels : int
        Most voxels (of all channels together) that are taken.

    Returns
    -------
    Picture

    Raises
    ------
    InputError
        Naming the field, its value, and what would be right.
    """
    if not len(data):
        raise InputError("pixels", "none", "a picture: the request has no pixels")
    dtype = _dtype(pixels.dtype, pixels.bindata.endianness)
    x, y, z = pixels.size_x, pixels.size_y, max(1, pixels.size_z)
    if x == 0 or y == 0:
        raise InputError("size_x, size_y", (x, y), "the width and height of the picture, at least 1")
    if pixels.size_t > 1:
        raise InputError("size_t", pixels.size_t, "one frame per request: send the frames one by one")
    c = pixels.size_c or _channels(len(data), dtype.itemsize, (x, y, z))
    voxels = x * y * z * c
    if voxels * dtype.itemsize != len(data):
        sizes = f"{x} × {y} × {z} pixels, {c} channels of {dtype.itemsize} bytes"
        raise InputError("pixels", f"{len(data)} bytes", f"as many bytes as the sizes say ({sizes})")
    if voxels > most_voxels:
        raise InputError(
            "pixels",
            f"{voxels} voxels",
            f"at most {most_voxels} on this server: crop it, or send one channel",
        )
    channels = np.frombuffer(data, dtype).reshape(_axes(pixels, (x, y, z, c)))
    # A copy in the order of this machine: the message need not be kept.
    channels = np.array(_as_czyx(channels, pixels, c), dtype.newbyteorder("="), order="C")
    if dtype.kind == "f" and not _finite(channels):
        raise InputError(
            "pixels", "NaN or infinite", "finite numbers only: replace them in the picture first"
        )
    flat = pixels.size_z == 0 or (pixels.size_z == 1 and pixels.size_c > 0)
    offset = (pixels.offset_z, pixels.offset_y, pixels.offset_x)
    return Picture(channels, flat, _voxel_size(pixels, flat or z == 1), offset)


def _dtype(name: str, endianness: int) -> np.dtype:
    known = _DTYPE.fullmatch(name.strip())
    expected = "a type of numbers, such as f4, u1 or uint16"
    if not known:
        raise InputError("dtype", name, expected)
    try:
        dtype = np.dtype(known[1])
    except TypeError:
        raise InputError("dtype", name, expected) from None
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise InputError("dtype", name, expected)
    return dtype.newbyteorder("<" if endianness else ">")


def _channels(n_bytes: int, itemsize: int, xyz: tuple[int, int, int]) -> int:
    c, rest = divmod(n_bytes, itemsize * math.prod(xyz))
    if rest or c == 0:
        size = " × ".join(map(str, xyz))
        raise InputError("pixels", f"{n_bytes} bytes", f"{size} pixels of {itemsize} bytes, once a channel")
    return c


def _order(pixels: Any) -> str:
    order = pixels.dimension_order.strip().upper()
    if sorted(order) != sorted(_ORDER):
        raise InputError("dimension_order", pixels.dimension_order, f"the letters {_ORDER} in any order")
    if order == _ORDER and pixels.size_c == 0 and pixels.size_z > 0:
        return "XYCZT"  # what TrackMate-Lacss sends of a stack
    return order


def _axes(pixels: Any, xyzc: tuple[int, int, int, int]) -> tuple[int, ...]:
    sizes = dict(zip("XYZC", xyzc, strict=True)) | {"T": 1}
    return tuple(sizes[axis] for axis in reversed(_order(pixels)))  # the first letter is the fastest


def _as_czyx(array: NDArray, pixels: Any, c: int) -> NDArray:
    axes = _order(pixels)[::-1]
    return array.transpose([axes.index(axis) for axis in "TCZYX"])[0]


def _finite(channels: NDArray) -> bool:
    # Plane by plane: of a large picture isfinite would take a quarter of its memory again.
    return all(np.isfinite(plane).all() for channel in channels for plane in channel)


def _voxel_size(pixels: Any, plane: bool) -> tuple[float, float, float] | None:
    names = ("physical_size_z", "physical_size_y", "physical_size_x")
    given = {name: getattr(pixels, name) for name in names if pixels.HasField(name)}
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(name, value, "the size of a pixel, above 0")
    if not given:
        return None
    if plane:
        given.setdefault(names[0], 1.0)  # of no meaning in a plane
    missing = [name for name in names if name not in given]
    if missing:
        raise InputError(missing[0], "not set", "the size of a voxel along x, y and z, or none of them")
    sizes = tuple(given[name] for name in names)
    if not pixels.physical_size_unit:
        # TrackMate-Lacss sends 1.0 of what is not calibrated, and no unit ever.
        return None if all(size == 1.0 for size in sizes) else sizes  # type: ignore[return-value]
    known = [micrometres(size, pixels.physical_size_unit) for size in sizes]
    return None if None in known else tuple(known)  # type: ignore[return-value, arg-type]

"""A frame as a request, and an answer as shapes, in biopb's messages.

Pixels go as they are stored, in the order X, Y, Z, C (X fastest) with every size said, so that no server has to guess; a 2D frame
has no Z axis. Outlines and surfaces come in pixels and voxels; where the middle of a pixel lies, servers differ (`offset_of`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import biopb.image
import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError
from helpers.serve.client.drawing import Shape
from helpers.serve.client.wire import points_and_faces

#: The messages: the package loads them by name, where no type checker follows.
proto: Any = biopb.image
#: What is sent as it is; everything else as float32.
_SENT_AS_IS = ("u1", "i1", "u2", "i2", "f4")


@dataclass(frozen=True)
class DetectionParameters:
    """What TrackMate-Lacss lets its user set, by the names of the messages; what is None is left to the server.

    Attributes
    ----------
    min_cell_area : float
        Least area (2D) or volume (3D), in pixels or voxels.
    min_score : float, optional
        Least score of a cell, 0 to 1.
    segmentation_threshold : float, optional
        Least value of a cell's pixels, 0 to 1.
    nms_iou : float, optional
        Of two cells that overlap more than this (IoU) the one of the lower score goes; 0: off.
    scaling_hint : float
        By which the server resizes the picture before it looks for cells.
    """

    min_cell_area: float = 0.0
    min_score: float | None = None
    segmentation_threshold: float | None = None
    nms_iou: float | None = None
    scaling_hint: float = 1.0

    def message(self) -> Any:
        """Return the message."""
        given = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return proto.DetectionSettings(**{name: value for name, value in given.items() if value is not None})


def request(
    frame: NDArray,
    voxel_size: Sequence[float],
    settings: DetectionParameters,
    offset: Sequence[int] | None = None,
    *,
    planar: bool,
) -> Any:
    """Return the request for one frame, or a part of it.

    Parameters
    ----------
    frame : ndarray, (C, Z, Y, X)
        Intensities; Z = 1 in 2D.
    voxel_size : sequence of float
        (z, y, x) in µm.
    settings : DetectionParameters
    offset : sequence of int, optional
        (z, y, x) of a part's first voxel, in a grid of parts.
    planar : bool
        Whether the frame is 2D: then it has no Z axis. A part of a stack may have one plane.
    """
    kind = f"{frame.dtype.kind}{frame.dtype.itemsize}"
    kind = kind if kind in _SENT_AS_IS else "f4"
    channels, depth, height, width = frame.shape
    pixels = proto.Pixels(
        bindata=proto.BinData(
            data=np.ascontiguousarray(frame, f"<{kind}").tobytes(), endianness=proto.BinData.LITTLE
        ),
        dimension_order="XYZCT",
        dtype=kind,
        size_x=width,
        size_y=height,
        size_z=0 if planar else depth,
        size_c=channels,
        size_t=1,
        physical_size_x=voxel_size[-1],
        physical_size_y=voxel_size[-2],
        physical_size_z=voxel_size[0],
        physical_size_unit="µm",
    )
    for axis, first in zip("zyx", offset or (), strict=False):
        setattr(pixels, f"offset_{axis}", first)
    return proto.DetectionRequest(
        image_data=proto.ImageData(pixels=pixels), detection_settings=settings.message()
    )


def shapes(found: Iterable[Any], *, planar: bool) -> list[Shape]:
    """Return the cells of an answer.

    Parameters
    ----------
    found : iterable of ScoredROI
        Polygons or meshes; or masks, as Volltrack's server sends them.
    planar : bool
        Whether the frame is 2D.

    Raises
    ------
    InputError
        If it holds anything that is no outline (2D) or surface, such as rectangles.
    """
    read = [_shape(one, planar) for one in found]
    offset = offset_of([one for one in read if one.mask is None]) if planar else 0.0
    if not offset:
        return read
    shift = np.array([0.0, offset, offset])
    return [
        replace(one, points=one.points - shift) if one.mask is None and one.faces is None else one
        for one in read
    ]


def offset_of(outlines: Sequence[Shape]) -> float:
    """Return where outlines have the middle of the first pixel: 0, as TrackMate and Volltrack, or 0.5, as Lacss.

    Those at 0 run along the edges of pixels: all corners are halves, and all sides along an axis. Lacss's corners may be halves,
    too, for it adds 0.5 to the centres of the pixels at the rim, but its sides cut corners.
    """
    on_edges = all(_along_edges(one.points[:, 1:]) for one in outlines if one.faces is None)
    return 0.0 if on_edges else 0.5


def _along_edges(corners: NDArray[np.float64]) -> bool:
    sides = corners - np.roll(corners, 1, axis=0)
    return bool((2 * corners % 2 == 1).all() and (sides == 0).any(axis=1).all())


def _shape(one: Any, planar: bool) -> Shape:
    roi = one.roi
    kind = roi.WhichOneof("shape")
    if kind == "polygon" and planar:
        points, _ = points_and_faces(roi.polygon.SerializeToString())
        points[:, 0] = 0.0
        return Shape(points, None, one.score)
    if kind == "mesh":
        points, faces = points_and_faces(roi.mesh.SerializeToString())
        if len(faces) and faces.max() >= len(points):
            raise InputError("server", kind, "this server answers with surfaces whose faces name no corner")
        return Shape(points, faces, one.score)
    if kind == "mask":
        return _mask(roi.mask, one.score)
    wanted = "outlines (polygons)" if planar else "surfaces (meshes)"
    raise InputError("server", kind, f"of a {'2D' if planar else '3D'} frame a server must answer {wanted}")


def _mask(mask: Any, score: float) -> Shape:
    """Read a box of voxels and their bits (see `helpers.serve.shapes.masks`)."""
    ends = (mask.rectangle.top_left, mask.rectangle.bottom_right)
    corners = np.array([(end.z, end.y, end.x) for end in ends])
    size = tuple(int(n) for n in corners[1] - corners[0])
    bits = np.frombuffer(mask.bin_data.data, np.uint8)
    if min(size) < 0 or -(-int(np.prod(size)) // 8) != len(bits):
        raise InputError(
            "server", size, "this server answers with masks whose bits are not those of their boxes"
        )
    voxels = np.unpackbits(bits, count=int(np.prod(size))).astype(bool).reshape(size)
    return Shape(corners, None, score, voxels)

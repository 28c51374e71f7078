"""A server as a segmenter: one frame out, labels and the score of every cell back.

frame ─ request ─▶ server ─▶ outlines or surfaces ─ drawn as labels ─ cells kept by tissue
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from helpers.data.calibration import spacing_of
from helpers.errors import InputError
from helpers.segmentation.segmenter import Segmentation
from helpers.serve.client.connection import Connection, MessageTooLarge
from helpers.serve.client.drawing import Shape, draw
from helpers.serve.client.messages import DetectionParameters, request, shapes
from helpers.serve.client.parts import detect_in_parts

#: Bytes that any server should take.
_LEAST_MESSAGE = 2**12


@dataclass
class RemoteSegmenter:
    """Segments by a server.

    Parameters
    ----------
    connection : Connection
    settings : DetectionParameters
    voxel_size : tuple of float
        (z, y, x) in µm.
    frames_in_flight : int
        Frames that may be at the server at once; each calls this object from a thread of its own.
    message_limit : int
        Bytes of one message; a frame that needs more goes in parts. Lowered where the server says that it takes less.

    Raises
    ------
    InputError
        If the voxel size is missing.
    """

    connection: Connection
    settings: DetectionParameters = field(default_factory=DetectionParameters)
    voxel_size: tuple[float, ...] | None = None
    frames_in_flight: int = 2
    message_limit: int = 512 * 2**20

    def __post_init__(self) -> None:
        spacing_of(self.voxel_size, 2)

    def __call__(self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Segmentation:
        """Segment one frame.

        Parameters
        ----------
        frame : ndarray, (Z, Y, X), or (C, Z, Y, X) with several channels
            Raw intensities; Z = 1 in 2D.
        mask : ndarray of bool, (Z, Y, X), optional
            Tissue: cells with less than half of their voxels in it are left out.

        Returns
        -------
        Segmentation
            Its `cells` has the ``quality`` of each label, and of surfaces whether they came ``watertight``.

        Raises
        ------
        InputError
            If the server cannot be reached or refuses; it names the parameter to change.
        """
        started = time.perf_counter()
        stack = frame if frame.ndim == 4 else frame[None]
        size = (stack.shape[1], stack.shape[2], stack.shape[3])
        found = self._shapes(stack)
        middle = time.perf_counter()
        labels, cells = draw(found, size)
        if mask is not None and len(cells):
            counts = np.bincount(labels.ravel(), minlength=len(cells) + 1)
            inside = np.bincount(labels[np.reshape(mask, size)], minlength=len(counts))
            keep = (2 * inside >= counts)[1:]
            numbers = np.concatenate([[0], np.where(keep, np.cumsum(keep), 0)]).astype(np.int32)
            labels, cells = numbers[labels], cells[keep].assign(label=np.arange(1, keep.sum() + 1))
        seconds = {"server": middle - started, "draw": time.perf_counter() - middle}
        return Segmentation({"remote": labels}, seconds, cells)

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def _shapes(self, stack: NDArray) -> list[Shape]:
        voxel_size, planar = self.voxel_size or (), stack.shape[1] == 1
        while True:
            asked = request(stack, voxel_size, self.settings, planar=planar)
            size, limit = asked.ByteSize(), self.message_limit
            try:
                if size <= limit:
                    return shapes(self.connection.detect(asked).detections, planar=planar)
                del asked
                return detect_in_parts(self.connection, stack, voxel_size, self.settings, limit)
            except MessageTooLarge as error:
                # Of what was compressed, a server does not say how much it would have taken.
                smaller = error.limit or min(size, limit) // 2
                if smaller >= min(size, limit) or smaller < _LEAST_MESSAGE:
                    why = f"takes messages of less than {limit} bytes: ask who runs it to allow more"
                    raise InputError("server", self.connection.address.server, why) from None
                self.message_limit = min(smaller, self.message_limit)

"""Whether a frame fits the memory, and how much of it blocks may take."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import psutil

from helpers.errors import InputError
from helpers.segmentation.watershed import MAX_VOXELS

#: Bytes that a voxel takes where a frame is segmented whole, networks aside (they are tiled anyway): an estimate, the sum of
#: the arrays that the fusion holds at once.
WHOLE_FRAME = 68
#: Part of the available memory that a whole frame may take.
_SHARE = 0.75
#: Bytes that blocks work in, however much there is: with Python, TensorFlow and the tables, that is meant to stay below 4 GB.
_BLOCKS = 5 * 2**29
#: For tests and for machines that are shared: MB to take for the available memory.
_VARIABLE = "VOLLTRACK_MEMORY_MB"


def fits_memory(shape: Sequence[int]) -> bool:
    """Say whether a frame of this shape can be segmented as a whole.

    Raises
    ------
    InputError
        If the environment variable ``VOLLTRACK_MEMORY_MB`` is not a number above 0.
    """
    voxels = int(np.prod(shape, dtype=np.int64))
    return voxels <= MAX_VOXELS and voxels * WHOLE_FRAME <= _SHARE * _available()


def memory_for_blocks() -> int:
    """Return the bytes that one block may take, whatever the frame's size."""
    return min(_BLOCKS, int(_available() / 2))


def _available() -> float:
    given = os.environ.get(_VARIABLE)
    if given is None:
        return psutil.virtual_memory().available
    try:
        megabytes = float(given)
    except ValueError:
        megabytes = 0.0
    if not megabytes > 0:
        raise InputError(_VARIABLE, given, "a number of megabytes above 0")
    return megabytes * 2**20

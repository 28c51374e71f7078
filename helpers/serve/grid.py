"""Patches of one large picture, put together by their offsets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from helpers.errors import InputError
from helpers.serve.pixels import Picture


def put_together(patches: Sequence[Picture], *, most_voxels: int) -> Picture:
    """Return the picture that patches are of; its `offset` is that of its first voxel.

    Where patches overlap the later one counts; what none covers is as dark as the darkest voxel sent. The whole picture
    is segmented at once, so that cells at the seams are whole and counted once.

    Raises
    ------
    InputError
        If there is no patch, they do not go together, or the whole is too large.
    """
    if not patches:
        raise InputError("patches", 0, "at least one patch with pixels")
    first = patches[0]
    for patch in patches[1:]:
        if (len(patch.channels), patch.flat) != (len(first.channels), first.flat):
            raise InputError("patches", patch.channels.shape, "patches of the same axes and channels")
        if patch.voxel_size != first.voxel_size:
            raise InputError(
                "physical_size", patch.voxel_size, f"that of the first patch, {first.voxel_size}"
            )
    starts = np.array([patch.offset for patch in patches])
    ends = starts + np.array([patch.shape for patch in patches])
    corner = starts.min(axis=0)
    shape = tuple(int(n) for n in ends.max(axis=0) - corner)
    voxels = math.prod(shape) * len(first.channels)
    if voxels > most_voxels:
        raise InputError("patches", shape, f"a whole picture of at most {most_voxels} voxels on this server")
    dtype = np.result_type(*{patch.channels.dtype.newbyteorder("=") for patch in patches})
    darkest = min(patch.channels.min() for patch in patches)
    whole = np.full((len(first.channels), *shape), darkest, dtype)
    for patch, start in zip(patches, starts - corner, strict=True):
        where = tuple(slice(s, s + n) for s, n in zip(start, patch.shape, strict=True))
        whole[(slice(None), *where)] = patch.channels
    return Picture(whole, first.flat, first.voxel_size, tuple(int(n) for n in corner))  # type: ignore[arg-type]

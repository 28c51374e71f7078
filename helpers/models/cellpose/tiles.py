"""Cellpose in 3D in bounded memory: what a stack needs, tiles where that is too much, and their cells as one numbering.

In 3D Cellpose holds the whole stack, stretched to cubic voxels, several times over. Where that does not fit, the stack
is cut into tiles that overlap by the diameter of a cell. A cell belongs to the tile that decides where its centre lies::

    tile A   |===============|-----|
    tile B               |-----|===============|
    cell               (  c  )                     centre in A's part: A's outline of it is taken, whole
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import psutil
from numpy.typing import NDArray

from helpers.models import cellpose, inference
from helpers.models.cellpose import CellposeNetwork, CellposePrediction, CellposeSettings

#: Share of the free memory that a tile may take.
_MEMORY_SHARE = 0.6
#: Bytes at once per voxel of the stretched stack (input, its copy along each direction, flows) and of the frame (flows
#: and their colour picture, histogram, labels); counted in the code of cellpose 3.1.1, with room to spare.
_STRETCHED_BYTES = 72.0
_FRAME_BYTES = 90.0
#: Tiles overlap by this many diameters.
_OVERLAP = 1.0
#: A cell of a later tile that is mostly taken already is the same cell.
_SAME = 0.5


def bytes_needed(
    network: CellposeNetwork, shape: Sequence[int], settings: CellposeSettings, voxel_size: Sequence[float]
) -> int:
    """Return about how many bytes Cellpose takes for a frame, before it is segmented.

    Parameters
    ----------
    network : CellposeNetwork
    shape : sequence of int
        (Z, Y, X).
    settings : CellposeSettings
    voxel_size : sequence of float
        (z, y, x) in µm.
    """
    voxels = math.prod(shape)
    if settings.mode(shape[0]) != "3d":
        # One plane at a time, and the labels and values of all.
        return int(
            voxels * 20
            + math.prod(shape[1:])
            * (_STRETCHED_BYTES * _rescale(network, settings, voxel_size) ** 2 + _FRAME_BYTES)
        )
    return int(voxels * _bytes_per_voxel(network, settings, voxel_size))


def _bytes_per_voxel(
    network: CellposeNetwork, settings: CellposeSettings, voxel_size: Sequence[float]
) -> float:
    scale = _rescale(network, settings, voxel_size)
    return _FRAME_BYTES + _STRETCHED_BYTES * scale**3 * cellpose.anisotropy(voxel_size)


def _rescale(network: CellposeNetwork, settings: CellposeSettings, voxel_size: Sequence[float]) -> float:
    """Return by how much Cellpose enlarges the image to bring its cells to the size that the network knows."""
    diameter = cellpose.eval_arguments(settings, 1, voxel_size)["diameter"] or network.trained_diameter
    return float(getattr(network.model, "diam_mean", 30.0)) / diameter


def choose_tiles(
    network: CellposeNetwork,
    shape: Sequence[int],
    settings: CellposeSettings,
    voxel_size: Sequence[float],
    *,
    memory: int | None = None,
) -> tuple[int, int, int]:
    """Return the fewest tiles (z, y, x) whose memory is free; (1, 1, 1) wherever the mode is not 3D.

    Parameters
    ----------
    memory : int, optional
        Bytes that may be used; None: 60 % of what is free.

    See Also
    --------
    bytes_needed : the other parameters.
    """
    if settings.mode(shape[0]) != "3d":
        return (1, 1, 1)
    tiles = inference.choose_n_tiles(
        shape,
        bytes_per_voxel=_bytes_per_voxel(network, settings, voxel_size),
        radius=overlap(network, settings, voxel_size),
        block=(1, 1, 1),
        memory=memory or int(psutil.virtual_memory().available * _MEMORY_SHARE),
    )
    return tiles[0], tiles[1], tiles[2]


def overlap(
    network: CellposeNetwork, settings: CellposeSettings, voxel_size: Sequence[float]
) -> tuple[int, int, int]:
    """Return by how many voxels (z, y, x) two tiles overlap on each side: the diameter of a cell."""
    diameter = cellpose.eval_arguments(settings, 1, voxel_size)["diameter"] or network.trained_diameter
    plane = math.ceil(_OVERLAP * diameter)
    return math.ceil(plane / cellpose.anisotropy(voxel_size)), plane, plane


def predict(
    network: CellposeNetwork,
    frame: NDArray,
    settings: CellposeSettings,
    *,
    voxel_size: Sequence[float] | None,
    n_tiles: Sequence[int] | None = None,
    normalize: bool = True,
) -> CellposePrediction:
    """Segment one frame with Cellpose, in tiles where it would not fit the memory.

    Parameters
    ----------
    n_tiles : sequence of int, optional
        Tiles (z, y, x) in 3D; None: as few as fit.

    Returns
    -------
    CellposePrediction
        With one tile Cellpose's own; with several the same but for cells that are larger than the tiles' overlap.

    See Also
    --------
    helpers.models.cellpose.predict : the other parameters, and what is raised.
    """
    stack = cellpose.check_frame(network, frame)
    shape = stack.shape[1:]
    cellpose.eval_arguments(settings, shape[0], voxel_size)  # says what is wrong with the voxel size
    assert voxel_size is not None
    if settings.mode(shape[0]) != "3d":
        return cellpose.predict(network, stack, settings, voxel_size=voxel_size, normalize=normalize)
    tiles = inference.check_n_tiles(n_tiles, 3) or choose_tiles(network, shape, settings, voxel_size)
    if math.prod(tiles) == 1:
        with cellpose.plane_directions():
            return cellpose.predict(network, stack, settings, voxel_size=voxel_size, normalize=normalize)
    if normalize:  # of the whole frame, or the tiles would differ in brightness
        stack = cellpose.normalized(stack)
    labels, cellprob = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
    diameter = None
    for tile in inference.iterate_tiles(shape, tiles, overlap(network, settings, voxel_size), (1, 1, 1)):
        with cellpose.plane_directions():
            found = cellpose.predict(
                network, stack[(slice(None), *tile.read)], settings, voxel_size=voxel_size, normalize=False
            )
        diameter = found.diameter
        cellprob[tile.write] = found.cell_probability[tile.inside]
        _paste(found.labels, tile, labels)
    return CellposePrediction(_renumbered(labels), cellprob, diameter)


def _paste(found: NDArray[np.int32], tile: inference.Tile, labels: NDArray[np.int32]) -> None:
    """Add the cells whose centre the tile decides, unless an earlier tile has them."""
    view = labels[tile.read]
    number = int(labels.max())
    for label, where in _centred(found, tile.inside):
        mask = found[where] == label
        free = mask & (view[where] == 0)
        if np.count_nonzero(free) > (1 - _SAME) * np.count_nonzero(mask):
            number += 1
            view[where][free] = number


def _centred(found: NDArray[np.int32], inside: tuple[slice, ...]) -> Iterator[tuple[int, tuple[slice, ...]]]:
    from scipy import ndimage

    for label, where in enumerate(ndimage.find_objects(found), start=1):
        if where is None:
            continue
        centre = [
            float(c.mean()) + w.start for c, w in zip(np.nonzero(found[where] == label), where, strict=True)
        ]
        # One voxel more: the centres that two tiles give a cell differ a little.
        if all(s.start - 1 <= c < s.stop + 1 for c, s in zip(centre, inside, strict=True)):
            yield label, where


def _renumbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    present = np.unique(labels)
    ids = np.zeros(int(present[-1]) + 1, np.int32)
    ids[present[present > 0]] = np.arange(1, np.count_nonzero(present) + 1)
    return ids[labels]

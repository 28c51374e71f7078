"""Connected components of a foreground that is read block by block: the same as those of the whole."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.lazy import LazyStack, Region
from helpers.data.masks import instances_from_binary
from helpers.models.inference import Tile
from helpers.segmentation.blocks.store import Store, chunks_of
from helpers.segmentation.blocks.tiling import common, cut, neighbours, within
from helpers.segmentation.groups import joined

#: Bytes a voxel of a block takes.
_BYTES = 16


@dataclass(frozen=True)
class Components:
    """The components of a frame, from 1 on.

    Attributes
    ----------
    array : zarr.Array of int32
        Components of each block, from 1 on in each.
    tiles : list of Tile
        The blocks.
    names : list of ndarray of int32
        By block: the frame's component of each of its own; 0 for 0.
    """

    array: Any
    tiles: list[Tile]
    names: list[NDArray[np.int32]]

    def __len__(self) -> int:
        return max(int(names.max()) for names in self.names)

    def __getitem__(self, where: Region) -> NDArray[np.int32]:
        result = np.empty([w.stop - w.start for w in where], np.int32)
        for tile, names in zip(self.tiles, self.names, strict=True):
            shared = common(tile.write, where)
            if shared is not None:
                result[within(shared, where)] = names[self.array[shared]]
        return result


def find_components(foreground: LazyStack, threshold: float, store: Store) -> Components:
    """Return the components, connected through faces, of what lies above a threshold."""
    name = f"components_{threshold:g}"
    none, ones = [0] * foreground.ndim, [1] * foreground.ndim
    tiles = store.tiles(name, lambda: cut(foreground.shape, none, ones, store.memory / _BYTES))
    array = store.array(name, foreground.shape, np.int32, chunks_of(tiles))

    def label(_: int, tile: Tile) -> dict[str, Any]:
        labels = instances_from_binary(foreground[tile.read] > threshold)
        array[tile.write] = labels
        faces = {f"{end}{axis}": labels.take(end, axis) for axis in range(labels.ndim) for end in (0, -1)}
        return {"count": labels.max(initial=0), **faces}

    store.each(name, tiles, label)
    counts = [int(store.table(name, k)["count"]) for k in range(len(tiles))]
    first = np.concatenate([[0], np.cumsum(counts)])
    pairs = [np.zeros((2, 0), np.int64)]
    for a, b, axis in neighbours(tiles):
        last, following = store.table(name, a)[f"-1{axis}"], store.table(name, b)[f"0{axis}"]
        touch = (last > 0) & (following > 0)
        both = np.stack([last[touch] - 1 + first[a], following[touch] - 1 + first[b]])
        pairs.append(np.unique(both, axis=1))
    group = joined(np.concatenate(pairs, axis=1), int(first[-1])) + 1
    names = [np.concatenate([[0], group[a:b]]).astype(np.int32) for a, b in itertools.pairwise(first)]
    return Components(array, tiles, names)

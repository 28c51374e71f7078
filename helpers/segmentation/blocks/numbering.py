"""One number for every cell of the frame, from the labels of its blocks."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helpers.data.lazy import LazyStack, Region
from helpers.segmentation.blocks.cells import BlockLabels
from helpers.segmentation.blocks.store import Store
from helpers.segmentation.blocks.tiling import common, neighbours, size_of, within
from helpers.segmentation.groups import joined

#: Two new cells are one where, in the layers that both blocks see, they share more than this of what they cover (IoU).
_SAME = 0.5


@dataclass(frozen=True)
class Numbers:
    """The final label of every label of a block; 0: it is left out.

    Attributes
    ----------
    known : ndarray of int32, (n_known + 1,)
        Of those that are known in the whole frame.
    new : list of ndarray of int32
        By block, of its new cells; the k-th is in place k.
    """

    known: NDArray[np.int32]
    new: list[NDArray[np.int32]]


def number(
    blocks: BlockLabels, store: Store, kept: Callable[[NDArray, NDArray], NDArray[np.bool_]]
) -> Numbers:
    """Number the cells of a frame, known ones first, in the order of their labels.

    Parameters
    ----------
    blocks : BlockLabels
    store : Store
    kept : callable
        Takes voxels, and voxels in the tissue, of each cell, and says which are kept.
    """
    tables = [store.table(blocks.name, k) for k in range(len(blocks.tiles))]
    n_new = [int(table.get("new", 0)) for table in tables]
    # Things that may be one cell, in this order: known labels, each block's new cells, components.
    first = blocks.n_known + np.concatenate([[0], np.cumsum(n_new)])
    n = int(first[-1]) + blocks.components

    def place(labels: NDArray, block: int) -> NDArray[np.int64]:
        return np.where(labels > 0, labels - 1, first[block] - labels - 1).astype(np.int64)

    pairs = [np.zeros((2, 0), np.int64)]
    for a, b, axis in neighbours(blocks.tiles):
        same = _same_cells(tables[a].get(f"after{axis}"), tables[b].get(f"before{axis}"))
        pairs.append(np.stack([place(same[0], a), place(same[1], b)]))
    for k, table in enumerate(tables):
        if "ties" in table:
            pairs.append(np.stack([place(side, k) for side in table["ties"]]))
        if "linked" in table:
            label, component = table["linked"]
            pairs.append(np.stack([place(label, k), first[-1] + component - 1]))
    group = joined(np.concatenate(pairs, axis=1), n)
    counts, inside = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for k, table in enumerate(tables):
        cells = table["labels"] != 0
        at = group[place(table["labels"][cells], k)]
        np.add.at(counts, at, table["counts"][cells])
        np.add.at(inside, at, table["inside"][cells])
    keep = kept(counts, inside)
    final = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[group] if n else np.zeros(0, np.int32)
    known = np.concatenate([[0], final[: blocks.n_known]]).astype(np.int32)
    new = [np.concatenate([[0], final[a:b]]).astype(np.int32) for a, b in itertools.pairwise(first)]
    return Numbers(known, new)


def numbered(blocks: BlockLabels, numbers: Numbers) -> LazyStack:
    """Return the labels of a frame, put together when they are read; their type is the smallest that holds them."""
    largest = max(int(found.max()) for found in (numbers.known, *numbers.new))
    dtype = np.dtype(np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32)

    def read(where: Region) -> NDArray:
        result = np.empty(size_of(where), dtype)
        for tile, new in zip(blocks.tiles, numbers.new, strict=True):
            shared = common(tile.write, where)
            if shared is not None:
                part = blocks.array[shared]
                final = numbers.known[np.maximum(part, 0)]
                final += new[np.maximum(-part, 0)]
                result[within(shared, where)] = final
        return result

    return LazyStack(tuple(blocks.array.shape), dtype, read)


def _same_cells(one: NDArray | None, other: NDArray | None) -> NDArray[np.int64]:
    """Return the pairs of new cells, (2, m), that two blocks see in the same place."""
    if one is None or other is None:
        return np.zeros((2, 0), np.int64)
    both = (one < 0) & (other < 0)
    pairs, shared = np.unique(np.stack([one[both], other[both]]), axis=1, return_counts=True)
    sizes = [dict(zip(*np.unique(side, return_counts=True), strict=True)) for side in (one, other)]
    covered = np.array([sizes[0][a] + sizes[1][b] for a, b in pairs.T], np.int64) - shared
    return pairs[:, shared > _SAME * covered].astype(np.int64)

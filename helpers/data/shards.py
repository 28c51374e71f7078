"""Shards of Zarr 3: files of many chunks, with an index that says which there are.

    shard    chunk │ chunk │ …  │ index: offset, length of each chunk │ checksum

A chunk that was not written has the largest number for both; Zarr reads it as background.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_NOWHERE = np.iinfo(np.uint64).max


def lost_in_shards(
    array: Any, folder: Path, index: tuple, shards: Mapping[tuple[int, ...], str], *, absent: bool
) -> list[str]:
    """Return the chunks within shards that are not there, or reach beyond the end of their shard.

    Parameters
    ----------
    array : zarr.Array
        With shards.
    folder : Path
        Where it lies.
    index : tuple of int or slice
        Of the array; only chunks that this reads are looked for.
    shards : mapping
        Place of each shard that this reads → name of its file.
    absent : bool
        Chunks that were not written are lost, too; else they are background.
    """
    index = index + (slice(None),) * (len(array.shape) - len(index))
    spans = [_span(i, size) for i, size in zip(index, array.shape, strict=True)]
    lost = []
    for at, name in shards.items():
        if (folder / name).is_file():
            inside = [
                range(max(span.start - a * of, 0), min(span.stop - a * of, of))
                for span, a, of in zip(spans, at, array.shards, strict=True)
            ]
            lost += [f"{name}, {chunk}" for chunk in _lost_in(array, folder / name, inside, absent)]
    return lost


def _span(index: Any, size: int) -> range:
    """Return which voxels along one axis an integer or a slice reads."""
    return range(*index.indices(size)) if isinstance(index, slice) else range(int(index), int(index) + 1)


def _lost_in(array: Any, shard: Path, voxels: Sequence[range], absent: bool) -> Iterator[str]:
    counts = [of // chunk for of, chunk in zip(array.shards, array.chunks, strict=True)]
    index = _index(array.metadata.codecs[0], shard, counts)
    if index is None:
        return
    size = shard.stat().st_size
    places = [
        range(one.start // chunk, -(-one.stop // chunk))
        for one, chunk in zip(voxels, array.chunks, strict=True)
    ]
    for at in itertools.product(*places):
        offset, length = index[at]
        unwritten = offset == length == _NOWHERE
        if absent if unwritten else int(offset) + int(length) > size:
            yield f"chunk {at}"


def _index(codec: Any, shard: Path, counts: list[int]) -> np.ndarray | None:
    """Read a shard's index; None where it is damaged, which Zarr itself tells, or written in an unusual way."""
    kinds = [type(one).__name__ for one in codec.index_codecs]
    if kinds not in (["BytesCodec"], ["BytesCodec", "Crc32cCodec"]):
        return None
    n_bytes = 16 * math.prod(counts)
    with shard.open("rb") as file:
        if codec.index_location.value == "end":
            file.seek(max(0, shard.stat().st_size - n_bytes - 4 * (len(kinds) - 1)))
        content = file.read(n_bytes)
    if len(content) < n_bytes:
        return None
    return np.frombuffer(content, "<u8").reshape(*counts, 2)

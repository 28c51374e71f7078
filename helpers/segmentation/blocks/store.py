"""The temporary store of one frame: arrays that are written block by block, and a table for each block that is done.

<store>/foreground/…             a Zarr array
<store>/foreground.done/3.npz    block 3 is in it, and what else is known of that block
<store>/fusion.json              how the frame was cut, so that a later run cuts it alike
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray

from helpers.data.atomic import atomic_path, writing_to
from helpers.data.lazy import LazyStack, Region
from helpers.models.inference import Tile
from helpers.progress import progress
from helpers.segmentation.blocks.memory import memory_for_blocks

Table = dict[str, NDArray]


class Store:
    """A folder of arrays and tables.

    What blocks may take of the memory is settled when it is made, so that a run that goes on cuts the frame alike.

    Parameters
    ----------
    folder : Path
        Made where it is not there.

    Raises
    ------
    InputError
        Here and below: if it cannot be written, because the disk is full for example. What is stored stays.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.memory = int(self.note("memory", lambda: {"bytes": memory_for_blocks()})["bytes"])

    def each(self, name: str, tiles: Sequence[Tile], work: Callable[[int, Tile], Mapping[str, Any]]) -> None:
        """Call ``work(number, tile)`` for every block that is not stored yet, and store the table that it returns."""
        missing = [k for k in range(len(tiles)) if not self._table(name, k).is_file()]
        bar = progress(desc=f"  {name}", unit="block", total=len(tiles), initial=len(tiles) - len(missing))
        try:
            for k in missing:
                with writing_to(self.folder):
                    table = work(k, tiles[k])
                    with atomic_path(self._table(name, k)) as temporary:
                        np.savez(temporary, **table)
                bar.update()
        finally:
            bar.close()

    def table(self, name: str, number: int, *columns: str) -> Table:
        """Return what was stored of a block, or some columns of it."""
        with np.load(self._table(name, number)) as found:
            return {column: found[column] for column in columns or found.files}

    def _table(self, name: str, number: int) -> Path:
        return self.folder / f"{name}.done" / f"{number}.npz"

    def array(self, name: str, shape: Sequence[int], dtype: Any, chunks: Sequence[int]) -> Any:
        """Return an array, which is made where it is not there.

        Parameters
        ----------
        name : str
        shape, chunks : sequence of int
            Blocks that are written one after the other must not share a chunk.
        dtype : dtype
        """
        path = self.folder / name
        if not path.is_dir():
            with atomic_path(path, replace=False) as temporary:
                zarr.create_array(
                    str(temporary),
                    shape=tuple(shape),
                    dtype=dtype,
                    chunks=tuple(min(c, n) for c, n in zip(chunks, shape, strict=True)),
                    compressors=numcodecs.Blosc(cname="lz4", clevel=1, shuffle=numcodecs.Blosc.SHUFFLE),
                    zarr_format=2,
                    chunk_key_encoding={"name": "v2", "separator": "/"},
                )
        return zarr.open_array(str(path), mode="r+", zarr_format=2)

    def note(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what was noted under a name (JSON); made and noted where it was not yet."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            made = make()
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(made))
        return json.loads(path.read_text())

    def tiles(self, name: str, make: Callable[[], list[Tile]]) -> list[Tile]:
        """Return how the frame is cut for a step: as it was when the step began."""
        noted = self.note(name, lambda: {"tiles": [[_plain(t.read), _plain(t.write)] for t in make()]})
        return [Tile(_region(read), _region(write)) for read, write in noted["tiles"]]


def lazy(array: Any) -> LazyStack:
    """Return a stored array as a stack that is read piece by piece."""
    return LazyStack(array.shape, np.dtype(array.dtype), lambda where: np.asarray(array[where]))


def chunks_of(tiles: Sequence[Tile], grid: Sequence[int] | None = None, thin: int = 0) -> tuple[int, ...]:
    """Return the largest chunks that no two blocks share: the first block's size.

    Parameters
    ----------
    tiles : sequence of Tile
    grid : sequence of int, optional
        By which the array is coarser than the frame.
    thin : int
        Chunks along the first axis at most, where blocks are to be read plane by plane; 0: as the block.
    """
    sides = [side.stop for side in tiles[0].write]
    sides = [-(-n // g) for n, g in zip(sides, grid or [1] * len(sides), strict=True)]
    if thin and len(tiles) > 1:
        sides[0] = max(d for d in range(1, min(thin, sides[0]) + 1) if sides[0] % d == 0)
    return tuple(sides)


def _plain(where: Region) -> list[list[int]]:
    return [[int(w.start), int(w.stop)] for w in where]


def _region(where: list[list[int]]) -> Region:
    return tuple(slice(*w) for w in where)

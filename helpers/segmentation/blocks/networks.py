"""The networks, block by block; and what they see, copied from its file first.

A file may be cut in any way (one chunk for a whole stack, say); its copy is cut into blocks that are read at once. Blocks
are read with a margin of what the network looks at around a voxel, so that their borders cannot be seen in the result.
Where blocks with so wide a margin do not fit the memory, the margin is half of it: a StarDist of grid 4 looks
105 voxels far, and with half of that its probabilities differ by 0.004 at most, by 0.0001 on average (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.lazy import LazyStack, Region, pieces_of
from helpers.data.normalization import normalize, percentile_range
from helpers.models import denoising, inference, stardist, unet
from helpers.models.inference import Tile
from helpers.segmentation.blocks.store import Store, chunks_of, lazy
from helpers.segmentation.blocks.tiling import coarser, common, cut, size_of, within

#: Sides of a chunk of the copy, and bytes that are copied at once.
_CHUNK = 128
_COPIED = 1 << 28


@dataclass(frozen=True)
class StoredOutputs:
    """What the networks said of a frame, before any threshold; None where one was not asked.

    Attributes
    ----------
    shape : tuple of int
        Of the frame: (Z, Y, X), or (Y, X) for 2D models.
    foreground : LazyStack of float32 or None
        The U-Net's probability.
    elevation : LazyStack of float32 or None
        StarDist's probability, or the mean length of its rays, on its grid.
    probability : LazyStack of float32 or None
        StarDist's, on its grid, where the segmenter scores cells.
    candidates : Candidates or None
        StarDist's.
    tissue : LazyStack of bool or None
    image : LazyStack of float32
        What the networks saw.
    """

    shape: tuple[int, ...]
    foreground: LazyStack | None
    elevation: LazyStack | None
    probability: LazyStack | None
    candidates: Candidates | None
    tissue: LazyStack | None
    image: LazyStack


@dataclass(frozen=True)
class Candidates:
    """StarDist's candidates, stored by the block in which their centres lie."""

    store: Store
    tiles: list[Tile]
    grid: tuple[int, ...]
    floor: float

    def within(self, where: Region) -> tuple[NDArray, NDArray, NDArray]:
        """Return points, scores and distances of the candidates in a region, in the order of their places."""
        parts = []
        for k, tile in enumerate(self.tiles):
            if common(tile.write, where) is not None:
                table = self.store.table("stardist", k)
                parts.append(_inside(where, table["points"], table["scores"], table["distances"]))
        points, scores, distances = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        order = np.lexsort(points.T[::-1])
        return points[order], scores[order], distances[order]

    def reach(self) -> NDArray[np.float64]:
        """Return how far the stars of each block reach from their centres along each axis, at most; (blocks, D)."""
        found = [self.store.table("stardist", k, "reach")["reach"] for k in range(len(self.tiles))]
        return np.array([reach for reach in found if reach.any()]).reshape(-1, len(self.grid))

    def __len__(self) -> int:
        return sum(len(self.store.table("stardist", k, "scores")["scores"]) for k in range(len(self.tiles)))


def run_networks(segmenter: Any, frame: LazyStack, store: Store) -> StoredOutputs:
    """Run every network that the segmenter needs over a frame of as many axes as the networks have.

    Parameters
    ----------
    segmenter : VollSegSegmenter
    frame : LazyStack
        Raw intensities.
    store : Store
        Where the outputs go.

    Raises
    ------
    InputError
        If the frame does not suit the models, has no contrast, or the store cannot be written.
    """
    like = np.zeros([min(n, 2) for n in frame.shape], np.float32)
    for model in segmenter.models:
        inference.check_image_for(model, like[0] if like.ndim == 3 and len(like) == 1 else like)
    seen = _copied(frame, store)
    if segmenter.denoiser is not None:
        model = segmenter.denoiser
        seen = _mapped(store, "denoised", model, seen, lambda x, n: denoising.predict(model, x, n_tiles=n))
    low, high = store.note(
        "percentiles", lambda: {"range": percentile_range(seen, *segmenter.percentiles, name="frame")}
    )["range"]
    image = seen.mapped(lambda x: normalize(x, low, high), np.float32)
    asked = {
        "tissue": segmenter.tissue_model,
        "foreground": segmenter.unet_model if any(m != "stardist" for m in segmenter.methods) else None,
    }
    maps = {
        name: _mapped(store, name, model, image, lambda x, n, m=model: unet.predict(m, x, n_tiles=n))
        for name, model in asked.items()
        if model is not None
    }
    elevation = probability = candidates = None
    if segmenter.star_model is not None and any(m != "unet" for m in segmenter.methods):
        elevation, probability, candidates = _stars(segmenter, image, store)
    tissue = maps.get("tissue")
    cut_at = segmenter.tissue_thresh
    return StoredOutputs(
        frame.shape,
        maps.get("foreground"),
        elevation,
        probability,
        candidates,
        None if tissue is None else tissue.mapped(lambda x: x > cut_at, bool),
        image,
    )


def _copied(frame: LazyStack, store: Store) -> LazyStack:
    """Copy the frame, some planes at a time."""
    chunk = [min(n, _CHUNK) for n in frame.shape]
    row = chunk[-2] * frame.shape[-1] * np.dtype(frame.dtype).itemsize
    if frame.ndim == 3:
        chunk[0] = min(16, frame.shape[0])
        row *= frame.shape[-2] / chunk[-2]
        chunk[0] = max(1, min(chunk[0], int(_COPIED / row)))
    size = [*chunk[:-2], frame.shape[-2] if frame.ndim == 3 else chunk[-2], frame.shape[-1]]
    tiles = store.tiles("copy", lambda: [Tile(where, where) for where in pieces_of(frame.shape, size)])
    array = store.array("raw", frame.shape, frame.dtype, chunk)

    def copy(_: int, tile: Tile) -> dict[str, Any]:
        array[tile.write] = frame[tile.read]
        return {}

    store.each("copy", tiles, copy)
    return lazy(array)


def _mapped(
    store: Store,
    name: str,
    model: Any,
    image: LazyStack,
    predict: Callable[[NDArray, Sequence[int]], NDArray],
) -> LazyStack:
    """Apply a U-Net that maps an image to an image."""
    config = model.config
    block = (2**config.unet_n_depth,) * image.ndim
    radius = (inference.receptive_radius(config.unet_n_depth, config.unet_kern_size),) * image.ndim
    room = store.memory / inference.unet_bytes_per_voxel(config.unet_n_first)
    tiles = store.tiles(name, lambda: _cut_for_network(image.shape, radius, block, room))
    array = store.array(name, image.shape, np.float32, chunks_of(tiles))

    def apply(_: int, tile: Tile) -> dict[str, Any]:
        array[tile.write] = predict(image[tile.read], (1,) * image.ndim)[within(tile.write, tile.read)]
        return {}

    store.each(name, tiles, apply)
    return lazy(array)


def _stars(segmenter: Any, image: LazyStack, store: Store) -> tuple[LazyStack, LazyStack | None, Candidates]:
    model = segmenter.star_model
    grid = tuple(int(g) for g in model.config.grid)
    block, radius, bytes_per_voxel = stardist.tiling(model)
    room = store.memory / bytes_per_voxel
    tiles = store.tiles("stardist", lambda: _cut_for_network(image.shape, radius, block, room))
    shape = [-(-n // g) for n, g in zip(image.shape, grid, strict=True)]
    array = store.array("elevation", shape, np.float32, chunks_of(tiles, grid))
    scored = array if segmenter.scored and segmenter.use_probability else None
    if segmenter.scored and not segmenter.use_probability:
        scored = store.array("probability", shape, np.float32, chunks_of(tiles, grid))
    directions = np.abs(stardist.directions(model.config))

    def apply(_: int, tile: Tile) -> dict[str, Any]:
        found = stardist.predict(
            model,
            image[tile.read],
            n_tiles=(1,) * image.ndim,
            floor=segmenter.floor,
            voxel_size=segmenter.voxel_size,
        )
        write, read = coarser(tile.write, grid), coarser(tile.read, grid)
        chosen = found.probability if segmenter.use_probability else found.distance
        array[write] = chosen[within(write, read)]
        if scored is not None:
            scored[write] = found.probability[within(write, read)]
        points = found.points + np.array([r.start for r in tile.read], np.int32)
        points, scores, distances = _inside(tile.write, points, found.scores, found.distances)
        reach = [(distances * along).max(initial=0) for along in directions.T]
        return {"points": points, "scores": scores, "distances": distances, "reach": reach}

    store.each("stardist", tiles, apply)
    floor = float(model.thresholds.prob if segmenter.floor is None else segmenter.floor)
    return lazy(array), None if scored is None else lazy(scored), Candidates(store, tiles, grid, floor)


def at_full_resolution(coarse: LazyStack, grid: Sequence[int], shape: Sequence[int]) -> LazyStack:
    """Return a map on StarDist's grid as one of the frame's shape, which is interpolated where it is read."""

    def read(where: Region) -> NDArray:
        begun = tuple(slice(w.start - w.start % g, w.stop) for w, g in zip(where, grid, strict=True))
        # One grid point more: what lies before it is interpolated with it.
        points = tuple(
            slice(c.start, min(c.stop + 1, n))
            for c, n in zip(coarser(begun, grid), coarse.shape, strict=True)
        )
        return stardist.upsample(coarse[points], grid, size_of(begun))[within(where, begun)]

    return LazyStack(tuple(shape), np.dtype(np.float32), read)


def _cut_for_network(
    shape: Sequence[int], radius: Sequence[int], block: Sequence[int], voxels: float
) -> list[Tile]:
    for margin in (radius, [-(-r // 2) for r in radius]):
        tiles = cut(shape, margin, block, voxels)
        if max(np.prod([r.stop - r.start for r in tile.read]) for tile in tiles) <= voxels:
            break
    return tiles  # pyright: ignore[reportPossiblyUnboundVariable] - the loop is never empty


def _inside(where: Region, points: NDArray, *others: NDArray) -> tuple[NDArray, ...]:
    """Keep what belongs to the points in a region."""
    low, high = ([getattr(w, end) for w in where] for end in ("start", "stop"))
    keep = ((points >= low) & (points < high)).all(axis=1)
    return tuple(array[keep] for array in (points, *others))

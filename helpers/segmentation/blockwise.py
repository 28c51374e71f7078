"""The fusion of volumes larger than memory: block by block, with what lies around each block.

What a cell looks like is learnt first, from the stars of the whole volume; so the blocks judge alike. Each is fused
with an overlap on every side, and only its own part is kept::

    ┌───────────┬───────────┐       read   ╔═════════╗      kept  ┌───────┐
    │     1     │     2     │      for 2:  ║   ┌─────╫──     of 2: │   2   │
    │           │           │              ║   │  2  ║             └───────┘
    └───────────┴───────────┘              ╚═══╧═════╝

A new cell across a seam has the name that the block before gave it: the cell with which it shares most of the overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from helpers.errors import InputError
from helpers.progress import progress
from helpers.segmentation import seeds
from helpers.segmentation.fusion import Rules, Spacing, check_inputs, fuse_roles, share_out
from helpers.segmentation.typical import Crop, Sizes, Typical, learn, sample, surroundings

#: Voxels (z, y, x) that a block holds by default: some 2 GB with what it takes to fuse it.
_BLOCK = (64, 512, 512)
#: So much of the larger stars' extent is read around a block.
_REACH = 1.5
_UNWRITTEN = -1

Box = tuple[slice, ...]


def fuse_blockwise(
    probability: Any,
    star_labels: Any,
    foreground: Any,
    out: str | Path,
    *,
    voxel_size: Sequence[float] | None,
    block: tuple[int, int, int] = _BLOCK,
    overlap: tuple[int, int, int] | None = None,
    rules: Rules | None = None,
) -> zarr.Array:
    """Fuse StarDist's labels with the U-Net's foreground, a block in memory at a time.

    The result is that of `helpers.segmentation.fusion.fuse` but for the numbers of the new cells, and for what a
    block cannot see: where cells or their chains of neighbours reach beyond the overlap, voxels near a seam may go to
    a neighbour (less than 1 % of the foreground in the tests), and a component without a star that is longer
    than a block with its overlap may be divided.

    Parameters
    ----------
    probability, star_labels, foreground : array-like, (Z, Y, X)
        As for `fuse`. Anything that has a shape and a dtype, and gives numpy arrays for slices: zarr, a memory map.
    out : path
        The zarr array (int32) to make; one that is there is overwritten. Voxels that are not reached yet are -1.
    voxel_size : sequence of float
        (z, y, x) in µm.
    block : tuple of int
        Voxels (z, y, x) that are kept of each block.
    overlap : tuple of int, optional
        Voxels (z, y, x) read around it; 1.5 times the extent of the larger stars (99 % quantile), and
        `boundary_width`, by default. Peak memory is some 30 bytes a voxel of a block with its overlap.
    rules : Rules, optional
        The other parameters of `fuse`.

    Returns
    -------
    zarr.Array
        Labels, int32.

    Raises
    ------
    InputError
        As for `fuse`, before anything is written; blocks or overlaps that are not three numbers of voxels.
    """
    rules = rules or Rules()
    shape = tuple(np.shape(probability))
    if len(shape) != 3:
        raise InputError("probability", shape, "a (Z, Y, X) stack: images are small enough for fuse")
    for name, array in (("star_labels", star_labels), ("foreground", foreground)):
        if tuple(array.shape) != shape:
            raise InputError(name, tuple(array.shape), f"the shape of probability, {shape}")
    _check_voxels("block", block, 1)
    volume = _Volume(probability, star_labels, foreground)
    blocks = list(_blocks(shape, block))
    with progress(desc="Fuse", unit="block", total=3 * len(blocks)) as bar:
        spacing, stars = _census(volume, blocks, voxel_size, bar)
        typical = None
        if stars.ids.size:
            typical = learn(_sampled(volume, stars, shape), float(np.median(stars.sizes)), spacing)
        if overlap is None:
            overlap = stars.reach(rules.boundary_width, spacing)
        _check_voxels("overlap", overlap, 0)
        sizes = _grown_sizes(volume, blocks, overlap, stars, typical, rules, spacing, bar)
        labels = zarr.create_array(
            str(out), shape=shape, chunks=tuple(min(b, max(n, 1)) for b, n in zip(block, shape, strict=True)),
            dtype="int32", fill_value=_UNWRITTEN, overwrite=True,
        )  # fmt: skip
        free = int(stars.ids.max(initial=0)) + 1
        first = free
        for kept in blocks:
            read, inner = _around(kept, overlap, shape)
            roles, local, names = volume.roles(read)
            n_stars = len(names) - 1
            fuse_roles(
                volume.probability[read], local, volume.mask(read), roles, n_stars, typical, rules, spacing,
                sizes=sizes, cut=_cuts(read, shape),
            )  # fmt: skip
            new_names = _names_before(roles, np.asarray(labels[read]), n_stars, first)
            here = seeds.count_labels(
                np.ascontiguousarray(roles[inner]).reshape(-1), len(names) + len(new_names)
            )
            unnamed = np.flatnonzero((new_names == 0) & (here[len(names) :][: len(new_names)] > 0))
            new_names[unnamed] = free + np.arange(len(unnamed))
            free += len(unnamed)
            labels[kept] = np.concatenate([names, new_names]).astype(np.int32)[roles[inner]]
            bar.update()
    return labels


@dataclass(frozen=True)
class _Volume:
    """The inputs, read where they are asked for."""

    probability: Any
    star_labels: Any
    foreground: Any

    def mask(self, box: Box) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(self.foreground[box]) != 0)

    def roles(self, box: Box) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the roles of the voxels (`seeds.census`), and the stars numbered anew with their names."""
        return self.census(np.asarray(self.star_labels[box]), self.mask(box))[:3]

    @staticmethod
    def census(
        stars: np.ndarray, mask: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the same of what has been read, and the stars' sizes and boxes."""
        names = np.unique(stars).astype(np.int64)
        names = np.concatenate([[0], names[names > 0]])
        local = np.searchsorted(names, stars).astype(np.int32)
        roles = np.empty(stars.shape, np.int32)
        sizes, boxes = seeds.census(local, mask, roles, len(names) - 1)
        return roles, local, names, sizes, boxes


@dataclass(frozen=True)
class _Stars:
    """All stars: their names, sizes in voxels and boxes (see `seeds.census`)."""

    ids: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray

    def reach(self, width: float, spacing: Spacing) -> tuple[int, int, int]:
        if not self.ids.size:
            return (8, 8, 8)
        extent = np.quantile(self.boxes[:, 1::2] - self.boxes[:, 0::2] + 1, 0.99, axis=0)
        z, y, x = (int(np.ceil(_REACH * e + 2 * width / s)) + 1 for e, s in zip(extent, spacing, strict=True))
        return z, y, x


def _check_voxels(name: str, value: Any, least: int) -> None:
    if len(value) != 3 or any(int(v) != v or v < least for v in value):
        raise InputError(name, value, f"three numbers of voxels (z, y, x), {least} or more")


def _blocks(shape: tuple[int, ...], block: tuple[int, ...]) -> Iterator[Box]:
    starts = (range(0, n, b) for n, b in zip(shape, block, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(c, min(c + b, n)) for c, b, n in zip(corner, block, shape, strict=True))


def _around(kept: Box, overlap: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Box, Box]:
    """Return the block with its overlap, and where in it the block lies."""
    read = tuple(
        slice(max(s.start - o, 0), min(s.stop + o, n)) for s, o, n in zip(kept, overlap, shape, strict=True)
    )
    return read, tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(kept, read, strict=True))


def _cuts(read: Box, shape: tuple[int, ...]) -> tuple[tuple[slice | int, ...], ...]:
    """Return the faces of a part behind which the volume goes on."""
    faces: list[tuple[slice | int, ...]] = []
    for axis, (s, n) in enumerate(zip(read, shape, strict=True)):
        before = (slice(None),) * axis
        faces += [(*before, 0)] if s.start > 0 else []
        faces += [(*before, -1)] if s.stop < n else []
    return tuple(faces)


def _census(
    volume: _Volume, blocks: list[Box], voxel_size: Sequence[float] | None, bar: progress
) -> tuple[Spacing, _Stars]:
    """Check all that comes in, and list the stars."""
    nothing = np.zeros((0, 1, 1))
    spacing = check_inputs(nothing, nothing.astype(int), nothing.astype(bool), voxel_size)
    ids, sizes, boxes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, 6), np.int64)]
    for box in blocks:
        stars, foreground = np.asarray(volume.star_labels[box]), np.asarray(volume.foreground[box])
        check_inputs(np.asarray(volume.probability[box]), stars, foreground, voxel_size)
        _, _, names, size, extent = volume.census(stars, np.ascontiguousarray(foreground != 0))
        ids.append(names[1:])
        sizes.append(size[1:])
        boxes.append(extent[1:] + np.repeat([s.start for s in box], 2))
        bar.update()
    names, which = np.unique(np.concatenate(ids), return_inverse=True)
    if names.size and names[-1] > np.iinfo(np.int32).max - 2**24:
        raise InputError(
            "star_labels", int(names[-1]), "labels that leave room for new ones below 2³¹: relabel them"
        )
    low = np.full((len(names), 6), np.iinfo(np.int32).max, np.int64)
    high = np.full((len(names), 6), -1, np.int64)
    np.minimum.at(low, which, np.concatenate(boxes))
    np.maximum.at(high, which, np.concatenate(boxes))
    high[:, 0::2] = low[:, 0::2]
    return spacing, _Stars(
        names, np.bincount(which, np.concatenate(sizes), len(names)).astype(np.int64), high
    )


def _sampled(volume: _Volume, stars: _Stars, shape: tuple[int, ...]) -> Iterator[Crop]:
    for k in sample(stars.sizes):
        where, open_end = surroundings(stars.boxes[k], shape)
        roles, _, names = volume.roles(where)
        yield (
            np.asarray(volume.probability[where]),
            roles,
            int(np.searchsorted(names, stars.ids[k])),
            open_end,
        )


def _grown_sizes(
    volume: _Volume,
    blocks: list[Box],
    overlap: tuple[int, int, int],
    stars: _Stars,
    typical: Typical | None,
    rules: Rules,
    spacing: Spacing,
    bar: progress,
) -> Sizes:
    """Return how large cells are once the stars have their rims, as counted in all blocks."""
    grown = np.zeros(len(stars.ids), np.int64)
    shape = tuple(volume.probability.shape)
    for kept in blocks:
        if typical is not None:
            read, inner = _around(kept, overlap, shape)
            roles, local, names = volume.roles(read)
            n_stars = len(names) - 1
            share_out(volume.probability[read], local, roles, n_stars, typical, rules, spacing)
            counts = seeds.count_labels(np.ascontiguousarray(roles[inner]).reshape(-1), n_stars)
            grown[np.searchsorted(stars.ids, names[1:])] += counts[1:]
        bar.update()
    return Sizes.of(grown)


def _names_before(fused: np.ndarray, before: np.ndarray, n_stars: int, first: int) -> np.ndarray:
    """Return what earlier blocks call the new cells; 0 for those that none has seen.

    Of two cells that were one before, the one with more of it has its name.
    """
    count = max(int(fused.max(initial=0)) - n_stars, 0)
    names = np.zeros(count, np.int64)
    shared = (fused > n_stars) & (before >= first)
    if not shared.any():
        return names
    pairs, sizes = np.unique(
        np.stack([fused[shared] - n_stars - 1, before[shared]]), axis=1, return_counts=True
    )
    seen = np.bincount(fused[(fused > n_stars) & (before != _UNWRITTEN)] - n_stars - 1, minlength=count)
    taken: set[int] = set()
    for k in np.argsort(-sizes, kind="stable"):
        cell, name = int(pairs[0, k]), int(pairs[1, k])
        if names[cell] == 0 and name not in taken and 2 * sizes[k] > seen[cell]:
            names[cell] = name
            taken.add(name)
    return names

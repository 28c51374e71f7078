"""The cells of each method, block by block.

In the array of labels a number above 0 is known in the whole frame (a star, or a component of the foreground), and -k is
the k-th new cell of its block; `helpers.segmentation.blocks.numbering` says which new cells of two blocks are one.

What may differ from the whole frame: cells wider than the margin; labels that flood farther than it, where the U-Net is cut
so high that its own cells begin to be missed; chains of suppression longer than theirs (`helpers.segmentation.blocks.stars`);
a new cell in a component whose only star lies beyond the margin; and cells wider than that which the image divides or joins. On
a mirrored frame of 32 × 512 × 512 voxels, in blocks of half a gigabyte, two of 713 cells were others (F1 0.997).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.calibration import spacing_of
from helpers.data.lazy import LazyStack, Region
from helpers.models.inference import Tile
from helpers.segmentation.blocks.foreground import find_components
from helpers.segmentation.blocks.networks import StoredOutputs, at_full_resolution
from helpers.segmentation.blocks.stars import Stars
from helpers.segmentation.blocks.store import Store, chunks_of
from helpers.segmentation.blocks.tiling import cut, within
from helpers.segmentation.borders import BorderScale
from helpers.segmentation.fusion import CellStatistics, Samples, fuse_part
from helpers.segmentation.image_borders import follow_image, sample
from helpers.segmentation.pair_table import overlapping
from helpers.segmentation.vollseg_segmenter import REACH, VollSegSegmenter, flooded
from helpers.segmentation.watershed import watershed

#: Bytes a voxel of a block takes: drawn or copied, and fused (estimates).
_SIMPLE, _FUSED = 16, 68
#: Margin in widths of a star: a cell that a voxel belongs to, and the cell that this one is compared with.
_MARGIN = 2
#: Margin where there are no stars, in sides of the smallest voxel.
_RIM = 16
#: Planes that lie together in the array of labels, which is read plane by plane in the end.
_THIN = 16


@dataclass(frozen=True)
class BlockLabels:
    """Labels of one method as they were stored.

    Attributes
    ----------
    array : zarr.Array of int32
    name : str
        Of the blocks' tables.
    tiles : list of Tile
    n_known : int
        How many labels are known in the whole frame.
    components : int
        How many components there are of which each is one cell; 0 where components are not cells.
    """

    array: Any
    name: str
    tiles: list[Tile]
    n_known: int
    components: int = 0


@dataclass(frozen=True)
class Maker:
    """Makes the labels of a method out of what the networks said.

    Parameters
    ----------
    segmenter : VollSegSegmenter
    outputs : StoredOutputs
    tissue : LazyStack of bool or None
    store : Store
    """

    segmenter: VollSegSegmenter
    outputs: StoredOutputs
    tissue: LazyStack | None
    store: Store

    def stars(self, stars: Stars) -> BlockLabels:
        """Draw StarDist's cells."""

        def draw(tile: Tile) -> tuple[NDArray, Mapping[str, Any]]:
            labels, names = stars.drawn(tile.read)
            return names[labels], {}

        return self._blocks("labels_stardist", self._cut([0] * self._dims, _SIMPLE), draw, len(stars))

    def components(self, cut_at: float, outline: float) -> BlockLabels:
        """Make every component of the foreground a cell, grown back by what was eroded."""
        foreground = self._foreground
        components = find_components(foreground, cut_at, self.store)

        def grow(tile: Tile) -> tuple[NDArray, Mapping[str, Any]]:
            labels = components[tile.read]
            if self.segmenter.boundary_width == 0:
                return labels, {}
            seen = foreground[tile.read]
            return watershed(-seen, labels, self.segmenter.territory(seen, outline)), {}

        grown = [0] * self._dims if self.segmenter.boundary_width == 0 else self._shell()
        return self._blocks("labels_unet", self._cut(grown, _FUSED), grow, len(components))

    def fused(self, stars: Stars, cut_at: float, outline: float, divide: Any) -> BlockLabels:
        """Fuse the stars with the foreground."""
        components = find_components(self._foreground, cut_at, self.store)
        margin = np.maximum(_MARGIN * stars.width, self._shell())
        tiles = self.store.tiles("fusion", lambda: self._cut(margin, _FUSED))

        spoken = len(stars) > 0  # else StarDist has no word in what is flooded

        def fuse(
            tile: Tile, statistics: CellStatistics | None = None
        ) -> tuple[NDArray, NDArray, NDArray, NDArray, Samples]:
            drawn, names = stars.drawn(tile.read)
            known = components[tile.read]
            labels, samples = fuse_part(
                *self._seen(tile.read, drawn, cut_at, spoken),
                voxel_size=self.segmenter.voxel_size,
                territory=self.segmenter.territory(self._foreground[tile.read], outline),
                divide=divide,
                rules=self.segmenter.rules,
                components=known,
                statistics=statistics,
            )
            return labels, drawn, names, known, samples

        def look(k: int, tile: Tile) -> dict[str, Any]:
            labels, _, names, _, samples = fuse(tile)
            borders = self._own_borders(labels, tile)
            return _own_samples(tile, samples, stars.points[names[1:] - 1]) | borders

        self.store.each("samples", tiles, look)
        statistics, scale = self._whole_frame(len(tiles))

        def label(tile: Tile) -> tuple[NDArray, Mapping[str, Any]]:
            labels, drawn, names, known, _ = fuse(tile, statistics)
            ties = follow_image(
                labels,
                drawn,
                self.outputs.image[tile.read],
                spacing_of(self.segmenter.voxel_size, self._dims),
                rules=self.segmenter.rules,
                scale=scale,
                cut_off=_cut_off(labels, tile, self.outputs.shape),
            )
            own = within(tile.write, tile.read)
            ties = ties[np.isin(ties[:, 0], labels[own])]
            last = int(drawn.max(initial=0))
            named, ties = _renamed(labels, names, last), _renamed(ties, names, last)
            linked = _components_of(named, known, own) if divide == "never" else {}
            n_new = -int(min(named.min(initial=0), ties.min(initial=0)))
            return named, {"new": n_new, "ties": ties.T, **_faces(named, tile), **linked}

        one_each = len(components) if divide == "never" else 0
        return self._blocks("labels_vollseg", tiles, label, len(stars), one_each)

    @property
    def _dims(self) -> int:
        return len(self.outputs.shape)

    @property
    def _foreground(self) -> LazyStack:
        assert self.outputs.foreground is not None
        return self.outputs.foreground

    def _seen(
        self, where: Region, drawn: NDArray, cut_at: float, spoken: bool
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Return what is flooded, the stars, and the foreground."""
        outputs, foreground = self.outputs, self._foreground[where]
        if not spoken:
            return foreground, drawn, foreground > cut_at
        assert outputs.elevation is not None and outputs.candidates is not None
        elevation = at_full_resolution(outputs.elevation, outputs.candidates.grid, outputs.shape)[where]
        return flooded(elevation, foreground), drawn, foreground > cut_at

    def _shell(self) -> NDArray[np.int64]:
        """Return how far labels grow over gaps, to both sides, and a rim to grow in; voxels along each axis."""
        spacing = np.array(spacing_of(self.segmenter.voxel_size, self._dims))
        return np.ceil((2 * REACH * self.segmenter.boundary_width + _RIM * spacing.min()) / spacing).astype(
            int
        )

    def _cut(self, margin: Any, bytes_per_voxel: int) -> list[Tile]:
        candidates = self.outputs.candidates
        grid = candidates.grid if candidates else (1,) * self._dims
        return cut(self.outputs.shape, [int(m) for m in margin], grid, self.store.memory / bytes_per_voxel)

    def _own_borders(self, labels: NDArray[np.int32], tile: Tile) -> dict[str, NDArray]:
        """Return what the image says within the block's own cells, and between them."""
        flat = labels.ndim == 2
        stack = (1,) * flat + labels.shape
        own = (slice(0, 1),) * flat + tuple(within(tile.write, tile.read))
        cuts, contacts = sample(labels.reshape(stack), self.outputs.image[tile.read].reshape(stack), own)
        return {"cuts": cuts, "contacts": contacts}

    def _whole_frame(self, n: int) -> tuple[CellStatistics, BorderScale]:
        """Return what stars and borders of the whole frame are like, from the samples of n blocks."""
        tables = [self.store.table("samples", k) for k in range(n)]
        size, depth, middle, ratio, cuts, contacts = (
            np.concatenate([table[key] for table in tables])
            for key in ("size", "depth", "middle", "ratio", "cuts", "contacts")
        )
        return CellStatistics.of(size, depth, middle, ratio), BorderScale.of([cuts], [contacts])

    def _blocks(
        self, name: str, tiles: list[Tile], make: Any, n_known: int, components: int = 0
    ) -> BlockLabels:
        """Store the labels of every block, and count their voxels."""
        tiles = self.store.tiles(name, lambda: tiles)
        array = self.store.array(name, self.outputs.shape, np.int32, chunks_of(tiles, thin=_THIN))

        def work(_: int, tile: Tile) -> dict[str, Any]:
            labels, more = make(tile)
            labels = labels[within(tile.write, tile.read)]
            array[tile.write] = labels
            return {**_counts(labels, None if self.tissue is None else self.tissue[tile.write]), **more}

        self.store.each(name, tiles, work)
        return BlockLabels(array, name, tiles, n_known, components)


def _cut_off(labels: NDArray[np.int32], tile: Tile, shape: tuple[int, ...]) -> NDArray:
    """Return the labels that a face of what is read cuts, where the frame goes on beyond it."""
    faces = [np.empty(0, labels.dtype)]
    for axis, (where, length) in enumerate(zip(tile.read, shape, strict=True)):
        if where.start > 0:
            faces.append(np.take(labels, 0, axis).ravel())
        if where.stop < length:
            faces.append(np.take(labels, -1, axis).ravel())
    return np.unique(np.concatenate(faces))


def _renamed(labels: NDArray, names: NDArray, last: int) -> NDArray:
    """Return the numbers of a block as those of the frame: the names of its stars, −k for its k-th new cell."""
    return np.where(labels > last, last - labels, names[np.minimum(labels, last)]).astype(labels.dtype)


def _counts(labels: NDArray[np.int32], tissue: NDArray[np.bool_] | None) -> dict[str, NDArray]:
    """Count the voxels of each label, and those of them in the tissue."""
    low = int(labels.min(initial=0))
    counts = np.bincount(labels.ravel() - low)
    inside = counts if tissue is None else np.bincount(labels[tissue] - low, minlength=len(counts))
    found = np.flatnonzero(counts)
    return {"labels": found + low, "counts": counts[found], "inside": inside[found]}


def _own_samples(tile: Tile, samples: Samples, points: NDArray) -> dict[str, NDArray]:
    """Keep the stars whose centres lie in the block, and the contacts of which the first star is one of them."""
    low, high = ([getattr(w, end) for w in tile.write] for end in ("start", "stop"))
    own = np.zeros(len(samples.size), bool)
    own[1:] = ((points >= low) & (points < high)).all(axis=1)[: len(own) - 1]
    return {
        "size": samples.size[own],
        "depth": samples.depth[own],
        "middle": samples.middle[own],
        "ratio": samples.ratio[own[samples.low]],
    }


def _faces(labels: NDArray[np.int32], tile: Tile) -> dict[str, NDArray]:
    """Return the new cells in the two layers on both sides of each of the block's faces, as this block sees them."""
    inside = within(tile.write, tile.read)
    found = {}
    for axis, side in enumerate(inside):
        for name, at in (("before", side.start), ("after", side.stop)):
            if 0 < at < labels.shape[axis]:
                layers = tuple(slice(at - 1, at + 1) if a == axis else s for a, s in enumerate(inside))
                found[f"{name}{axis}"] = np.minimum(labels[layers], 0)
    return found


def _components_of(
    labels: NDArray[np.int32], components: NDArray[np.int32], own: Region
) -> dict[str, NDArray]:
    """Return the component that each of the block's own labels shares most voxels with, but for those that the image has divided.

    Of a cell that lies beyond the block, the block may see too little to divide it.
    """
    below = min(int(labels.min(initial=0)), 0) - 1  # new labels are negative
    label, component, counts = overlapping(np.where(labels == 0, 0, labels - below), components)
    order = np.lexsort((component, -counts, label))
    first = order[np.unique(label[order], return_index=True)[1]]
    label, component = label[first] + below, component[first]
    _, of, times = np.unique(component, return_inverse=True, return_counts=True)
    return {"linked": np.stack([label, component])[:, (times[of] == 1) & np.isin(label, labels[own])]}

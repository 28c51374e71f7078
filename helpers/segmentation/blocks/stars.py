"""Which candidates are stars, block by block, and their voxels in any region.

A block decides about the candidates whose centres lie in it, and knows those around it as far as three stars are wide:
what one star decides about another depends on who suppressed the first, but such chains are short. Where one is longer
than that margin, a star may survive that the whole frame's suppression would have refused, or the other way round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.data.lazy import Region
from helpers.models import stardist
from helpers.models.inference import Tile
from helpers.models.stardist import StarPrediction
from helpers.segmentation.blocks.networks import Candidates
from helpers.segmentation.blocks.store import Store
from helpers.segmentation.blocks.tiling import cut, size_of

#: Margin of a block, in widths of a star.
_MARGIN = 3
#: Rays of a candidate lie in memory so many times.
_COPIES = 6


@dataclass(frozen=True)
class Stars:
    """The stars of a frame, the most probable first; star k of the frame has the label k + 1.

    Attributes
    ----------
    model : stardist.models.StarDist2D or StarDist3D
    points, scores, distances : ndarray
        As in `StarPrediction`.
    reach : ndarray of float, (n, D)
        How far they reach from their centres along each axis, in voxels.
    """

    model: Any
    points: NDArray[np.int32]
    scores: NDArray[np.float32]
    distances: NDArray[np.float32]
    reach: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.points)

    @property
    def width(self) -> NDArray[np.int64]:
        """How wide the widest star is along each axis, one that is twice as wide as most left out; 0 without stars."""
        return widest(self.reach)

    def drawn(self, where: Region) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Draw the stars into a region.

        Returns
        -------
        labels : ndarray of int32
            0 background; 1…m, in the order of the frame's labels.
        names : ndarray of int32, (m + 1,)
            The frame's label of each; 0 for 0.
        """
        low, high = (np.array([getattr(w, end) for w in where]) for end in ("start", "stop"))
        near = (self.points + self.reach + 1 >= low) & (self.points - self.reach - 1 < high)
        chosen = np.flatnonzero(near.all(axis=1))
        points = (self.points[chosen] - low).astype(np.int32)
        labels = stardist.render(
            self.model, points, self.scores[chosen], self.distances[chosen], size_of(where)
        )
        return labels, np.concatenate([[0], chosen + 1]).astype(np.int32)


def widest(reach: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the width of the widest star along each axis, but twice the median at most: single rays go astray."""
    if len(reach) == 0:
        return np.zeros(reach.shape[1], np.int64)
    longest = np.minimum(reach.max(axis=0), 2 * np.median(reach, axis=0))
    return 2 * np.ceil(longest).astype(np.int64) + 1


def find_stars(
    model: Any, candidates: Candidates, shape: tuple[int, ...], prob: float, nms: float, store: Store
) -> Stars:
    """Suppress the candidates block by block.

    Parameters
    ----------
    model : stardist.models.StarDist2D or StarDist3D
    candidates : Candidates
    shape : tuple of int
        Of the frame.
    prob, nms : float
        Thresholds.
    store : Store
    """
    name = f"stars_{prob:g}_{nms:g}"
    tiles = store.tiles(name, lambda: _cut(candidates, shape, model.config.n_rays))
    coarse = tuple(-(-n // g) for n, g in zip(shape, candidates.grid, strict=True))
    nothing = np.broadcast_to(np.float32(0), coarse)

    def suppress(_: int, tile: Tile) -> dict[str, Any]:
        points, scores, distances = candidates.within(tile.read)
        known = StarPrediction(
            shape, nothing, nothing, points, scores, distances, candidates.floor, candidates.grid
        )
        found = stardist.survivors(model, known, prob, nms)
        low, high = ([getattr(w, end) for w in tile.write] for end in ("start", "stop"))
        own = found[((points[found] >= low) & (points[found] < high)).all(axis=1)]
        return {"points": points[own], "scores": scores[own], "distances": distances[own]}

    store.each(name, tiles, suppress)
    tables = [store.table(name, k) for k in range(len(tiles))]
    points, scores, distances = (
        np.concatenate([table[key] for table in tables]) for key in ("points", "scores", "distances")
    )
    order = np.lexsort((*points.T[::-1], -scores))
    along = np.abs(stardist.directions(model.config))
    reach = np.array([(distances[order] * axis).max(axis=1, initial=0) for axis in along.T]).T
    return Stars(model, points[order], scores[order], distances[order], reach.reshape(-1, len(shape)))


def _cut(candidates: Candidates, shape: tuple[int, ...], n_rays: int) -> list[Tile]:
    n = len(candidates)
    if n == 0:
        whole = tuple(slice(0, length) for length in shape)
        return [Tile(whole, whole)]
    voxels_each = math.prod(shape) / n
    room = candidates.store.memory / (4 * n_rays * _COPIES) * voxels_each
    margin = [int(_MARGIN * width) for width in widest(candidates.reach())]
    return cut(shape, margin, candidates.grid, room)

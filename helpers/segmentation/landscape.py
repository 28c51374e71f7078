"""The landscape that the fusion floods: the probability where it says something, and depth where it is silent.

StarDist is silent about the cells that it missed, and a watershed on a plateau would let their neighbours run into them.
There the border runs where the stars end, moved outwards by the rim that stars typically leave to their cells::

    height   star ▔▔▔▔▔╲                     ╱▔▔▔▔▔▔▔▔▔ missed cell: its depth
                    rim ╲                   ╱
                         ╲                 ╱
                          ╲_______________╱
             outline ──┘  └ outline + rim: both sides are equally low, and what is flooded first is theirs
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

from helpers.segmentation.depth import depth_inside, depth_unit
from helpers.segmentation.typical import Typical
from helpers.segmentation.watershed import flood

#: Below this fraction of that in the stars' middles the probability is noise.
_NOISE = 0.1
#: A voxel that waits.
_SEALED = -(1 << 31)


@dataclass(frozen=True)
class Landscape:
    """What is flooded, from its high values.

    Attributes
    ----------
    probability : ndarray, (Z, Y, X)
    lowest : float
        What is below is silent, and waits until all else is flooded; infinite where the probability says nothing.
    height : ndarray of uint16, (Z, Y, X)
        Orders the silent voxels.
    """

    probability: np.ndarray
    lowest: float
    height: np.ndarray

    def flood(self, labels: np.ndarray) -> None:
        """Let the labels > 0 spread over the voxels that are 0, in place."""
        if np.isfinite(self.lowest):
            for plane, values in zip(labels, self.probability, strict=True):
                _seal(plane, np.ascontiguousarray(values, np.float32), np.float32(self.lowest))
            flood(self.probability, labels, descending=True)
            _unseal(labels.reshape(-1))
        flood(self.height, labels, descending=True, by_descent=True)


def landscape(
    probability: np.ndarray,
    stars: np.ndarray,
    labels: np.ndarray,
    depth: np.ndarray,
    first: int,
    typical: Typical,
    thinnest: int,
    spacing: tuple[float, float, float],
) -> Landscape:
    """Make the landscape; `depth` becomes its height.

    Parameters
    ----------
    probability, stars : ndarray, (Z, Y, X)
    labels : ndarray of int32, same shape
        Roles (`helpers.segmentation.seeds.census`), with seeds from `first` on.
    depth : ndarray of uint16, same shape
        Of the stars and of what they leave over (`helpers.segmentation.depth.depth_of_regions`).
    first : int
        The first label that is no star's.
    typical : Typical
    thinnest : int
        Depth of the seeds; a rim is less.
    spacing : tuple of float
        Voxel size (z, y, x), µm.
    """
    rim = min(int(typical.rim / depth_unit(spacing) * (1 + 1e-6)), int(0.9 * thinnest), 254)
    if rim > 0:
        away = depth_inside(stars, 0, 0, spacing, np.uint8)
        _move_borders(labels.reshape(-1), depth.reshape(-1), away.reshape(-1), first, rim)
    return Landscape(probability, _NOISE * typical.middle if typical.telling else np.inf, depth)


@njit(cache=True, nogil=True)
def _move_borders(labels: Any, depth: Any, away: Any, first: int, rim: int) -> None:
    for i in range(labels.size):
        if 0 < labels[i] < first:
            depth[i] = min(np.int64(depth[i]) + 2 * rim, 65535)
        elif labels[i] == 0 and away[i] <= rim:
            depth[i] = 2 * rim + 1 - np.int64(away[i])


@njit(cache=True, nogil=True)
def _seal(labels: Any, probability: Any, lowest: Any) -> None:
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] == 0 and probability[y, x] < lowest:
                labels[y, x] = _SEALED


@njit(cache=True, nogil=True)
def _unseal(labels: Any) -> None:
    for i in range(labels.size):
        if labels[i] == _SEALED:
            labels[i] = 0

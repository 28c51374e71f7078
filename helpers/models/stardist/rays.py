"""How far it is from a voxel to its cell's border along every ray: StarDist's targets, walked on a table.

Rays are the same for every voxel, and voxels are whole numbers, so the voxels that a ray passes, one step of its
direction after another, are tabulated once, as steps through the memory of the labels::

    labels, with a layer of no cell around                 table of one ray
      · · · · · ·                                          step      1    2    3    4
      · a a a b ·   from the first a along the row:        voxel    +1   +2   +3   +4
      · a a b b ·   a, a, then b: step 3                   length  1.0  2.0  3.0  4.0
      · · · · · ·

A voxel's distance is the length at the first step whose label is another one. It is what StarDist's ``star_dist`` and
``star_dist3D`` compute, which follow each ray of each voxel anew, but for steps that end half-way between two voxels:
there StarDist, which rounds voxel and step together, goes to the even one of the array.

References
----------
Weigert et al., Star-convex polyhedra for 3D object detection and segmentation in microscopy, WACV 2020.
"""

# Compiled by numba, whose functions and integers are not those that a type checker sees.
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray


@dataclass(frozen=True)
class RayTable:
    """Where rays lead from any voxel of arrays of one shape.

    Attributes
    ----------
    shape : tuple of int
        Of the labels.
    margin : tuple of int
        Voxels of no cell that surround the labels.
    starts : ndarray of int64, grid shape
        Where the voxels lie in the flat array of labels and margin.
    steps : ndarray of int32, (rays, S)
        How far each step leads from a voxel in that array.
    lengths : ndarray of float32, (rays, S)
        The distance that a ray has which ends at this step, in voxels.
    """

    shape: tuple[int, ...]
    margin: tuple[int, ...]
    starts: NDArray[np.int64]
    steps: NDArray[np.int32]
    lengths: NDArray[np.float32]

    @classmethod
    def of(cls, directions: NDArray, shape: Sequence[int], grid: Sequence[int]) -> RayTable:
        """Tabulate rays.

        Parameters
        ----------
        directions : ndarray of float, (rays, D)
            One step along each ray, in voxels: StarDist's ``rays.vertices``, or `directions_2d`.
        shape, grid : sequence of int
            Of the labels, and every how many voxels distances are wanted.
        """
        directions = np.asarray(directions, np.float32)
        # Along its longest component a ray leaves the array in the end, wherever it begins.
        longest = np.abs(directions).argmax(axis=1)
        fastest = np.abs(directions).max(axis=1)
        n_steps = int(np.ceil((np.array(shape)[longest] + 1) / fastest).max()) + 1
        # Added up as StarDist does, in 32 bits.
        along = np.cumsum(np.repeat(directions[:, np.newaxis], n_steps, axis=1), axis=1, dtype=np.float32)
        margin = tuple(int(np.ceil(m)) for m in np.abs(directions).max(axis=0))
        padded = [n + 2 * m for n, m in zip(shape, margin, strict=True)]
        every = tuple(slice(m, m + n, g) for m, n, g in zip(margin, shape, grid, strict=True))
        starts = np.arange(np.prod(padded)).reshape(padded)[every]
        strides = np.cumprod([1, *padded[:0:-1]])[::-1]
        voxels = np.rint(along)
        steps = (voxels.astype(np.int64) * strides).sum(axis=-1)
        # Where a ray ends, as StarDist has it: in 3D in the middle of the voxel, in 2D before the step overshot.
        ends = voxels if len(shape) == 3 else along + (0.5 / fastest - 1)[:, None, None] * directions[:, None]
        lengths = np.linalg.norm(ends, axis=-1).astype(np.float32)
        return cls(tuple(shape), margin, starts, steps.astype(np.int32), lengths)

    def distances(self, labels: NDArray) -> NDArray[np.float32]:
        """Return the distances to the border, (grid shape, rays); 0 on background.

        Parameters
        ----------
        labels : ndarray of int, ``self.shape``
            Instances; 0 is background.
        """
        padded = np.full([n + 2 * m for n, m in zip(self.shape, self.margin, strict=True)], -1, np.int32)
        padded[tuple(slice(m, m + n) for n, m in zip(self.shape, self.margin, strict=True))] = labels
        result = np.empty((self.starts.size, len(self.steps)), np.float32)
        _walk(padded.ravel(), self.starts.ravel(), self.steps, self.lengths, result)
        return result.reshape(*self.starts.shape, -1)


def directions_2d(n_rays: int) -> NDArray[np.float32]:
    """Return one step (y, x) along each of StarDist's rays of two dimensions, (rays, 2)."""
    angles = np.arange(n_rays, dtype=np.float32) * np.float32(2 * np.pi / n_rays)
    # Its code calls y what it counts along x; the order of its rays follows from that.
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


@njit(cache=True, nogil=True)
def _walk(labels, starts, steps, lengths, result):  # type: ignore[no-untyped-def]
    for i in range(len(starts)):
        start = starts[i]
        label = labels[start]
        if label == 0:
            result[i] = 0
            continue
        for k in range(len(steps)):
            s = 0
            while labels[start + steps[k, s]] == label:
                s += 1
            result[i, k] = lengths[k, s]

"""Candidate links and what they cost: TrackMate's squared distance times feature penalties.

A link from a to b costs d²·P² with d in µm and ``P = 1 + Σ 1.5·w·|a−b| / ((a+b)/2)`` over the penalised features;
a feature with a = −b, or not a number on either side, adds nothing. With overlaps, ``1.5·w·(1 − IoU)`` joins
the sum. Two objects at one place cost the smallest normal number instead of 0, as in TrackMate, so that a cell
that does not move is linked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from helpers.errors import InputError

#: (source, target, cost) of links or candidates, three arrays of one length.
Links = tuple[np.ndarray, np.ndarray, np.ndarray]

#: Sources per KD-tree query: bounds the memory of the pairs before they are filtered.
_CHUNK = 16_384
#: Pairs evaluated at once when every pair has to be looked at.
_PAIRS = 2_000_000


@dataclass(frozen=True)
class Points:
    """Objects as arrays: where they are and what linking may look at.

    Parameters
    ----------
    positions : (n, 3) float ndarray
        z, y, x in µm.
    features : dict of str to (n,) float ndarray
        Columns that penalties use.
    rows : (n,) int ndarray
        Number of each object in the whole table; overlaps are looked up by it.
    """

    positions: np.ndarray
    features: Mapping[str, np.ndarray]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, index: np.ndarray | slice) -> Points:
        """Return the points at `index`."""
        return Points(
            self.positions[index],
            {name: values[index] for name, values in self.features.items()},
            self.rows[index],
        )


@dataclass(frozen=True)
class Overlaps:
    """IoU of pairs of objects, looked up by their rows; a pair that is not listed has 0."""

    keys: np.ndarray
    iou: np.ndarray
    n_objects: int

    @classmethod
    def from_table(cls, table: pd.DataFrame, ids: np.ndarray) -> Overlaps:
        """Return the lookup of a table with ``source, target`` (object ids) and ``iou``; `ids` names the rows."""
        missing = [column for column in ("source", "target", "iou") if column not in table]
        if missing:
            raise InputError("overlaps", list(table.columns), f"add the missing columns {missing}")
        index = pd.Index(ids)
        source = index.get_indexer(pd.Index(table["source"]))
        target = index.get_indexer(pd.Index(table["target"]))
        known = (source >= 0) & (target >= 0)
        keys = source[known].astype(np.int64) * len(ids) + target[known]
        order = np.argsort(keys)
        return cls(keys[order], table["iou"].to_numpy(float)[known][order], len(ids))

    def of(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return the IoU of each pair of rows."""
        keys = source * self.n_objects + target
        if len(self.keys) == 0:
            return np.zeros(len(keys))
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.iou[at], 0.0)


@dataclass(frozen=True)
class LinkCost:
    """What a link may cost and how it is computed.

    Parameters
    ----------
    max_distance : float
        µm; candidates cost less than its square.
    penalties : dict of str to float
        Weight of each feature column.
    overlap_weight : float
        Weight of 1 − IoU.
    overlaps : Overlaps, optional
        Where the IoU comes from.
    inclusive : bool
        Whether a cost equal to the square of `max_distance` is still a candidate.
    """

    max_distance: float
    penalties: Mapping[str, float] = field(default_factory=dict)
    overlap_weight: float = 0.0
    overlaps: Overlaps | None = None
    inclusive: bool = False

    def candidates(
        self, source: Points, target: Points, times: tuple[np.ndarray, np.ndarray] | None = None
    ) -> Links:
        """Return (index into source, index into target, cost) of every candidate, in any order.

        `times` restricts the pairs to those with the same number in both arrays, one number per point.
        """
        parts = [self._accepted(source, target, i, j) for i, j in self._pairs(source, target, times)]
        return stack(parts)

    def _accepted(self, source: Points, target: Points, i: np.ndarray, j: np.ndarray) -> Links:
        cost = self._costs(source, target, i, j)
        limit = self.max_distance * self.max_distance
        keep = cost <= limit if self.inclusive else cost < limit
        return i[keep], j[keep], cost[keep]

    def _costs(self, source: Points, target: Points, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        cost = np.zeros(len(i))
        for axis in (2, 1, 0):  # TrackMate sums x, y, z
            step = target.positions[j, axis] - source.positions[i, axis]
            cost += step * step
        cost[cost == 0] = np.finfo(float).tiny
        if not self.penalties and not self.overlap_weight:
            return cost
        factor = np.ones(len(i))
        for name, weight in self.penalties.items():
            a, b = source.features[name][i], target.features[name][j]
            with np.errstate(divide="ignore", invalid="ignore"):
                difference = np.abs(a - b) / ((a + b) / 2)
            difference[(a == -b) | np.isnan(difference)] = 0
            factor += weight * 1.5 * difference
        if self.overlap_weight and self.overlaps is not None:
            iou = self.overlaps.of(source.rows[i], target.rows[j])
            factor += self.overlap_weight * 1.5 * (1 - iou)
        return cost * factor * factor

    def _pairs(
        self, source: Points, target: Points, times: tuple[np.ndarray, np.ndarray] | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield pairs that hold every candidate, a part at a time."""
        if len(source) == 0 or len(target) == 0:
            return
        # A negative feature can make P smaller than 1: then distance alone excludes no pair.
        if any(
            weight and min(np.nanmin(p.features[name], initial=0) for p in (source, target)) < 0
            for name, weight in self.penalties.items()
        ):
            step = max(1, _PAIRS // len(target))
            for start in range(0, len(source), step):
                rows = np.arange(start, min(start + step, len(source)))
                i, j = np.repeat(rows, len(target)), np.tile(np.arange(len(target)), len(rows))
                if times is not None:
                    same = times[0][i] == times[1][j]
                    i, j = i[same], j[same]
                yield i, j
            return
        radius = np.nextafter(self.max_distance * (1 + 1e-12), np.inf)
        a, b = source.positions, target.positions
        if times is not None:
            # As a fourth coordinate, far apart: other times are out of reach, the same time adds nothing.
            a = np.column_stack([a, times[0] * (2 * radius + 1)])
            b = np.column_stack([b, times[1] * (2 * radius + 1)])
        tree = KDTree(b)
        for start in range(0, len(a), _CHUNK):
            near = KDTree(a[start : start + _CHUNK]).sparse_distance_matrix(
                tree, radius, output_type="ndarray"
            )
            yield near["i"] + start, near["j"].copy()


def stack(parts: Sequence[Links]) -> Links:
    """Return several (source, target, cost) triples as one."""
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    source, target, cost = (np.concatenate(part) for part in zip(*parts, strict=True))
    return source, target, cost


def radii(objects: pd.DataFrame) -> np.ndarray:
    """Return the radius of each object in µm, as TrackMate defines it.

    From ``radius_um`` or TrackMate's ``RADIUS`` if the table has it, otherwise of the ball (``volume_um3``) or
    disc (``area_um2``) of equal size.

    Raises
    ------
    InputError
        The table has none of these columns, or a size is missing.
    """
    named = [column for column in ("radius_um", "RADIUS") if column in objects]
    if named:
        radius = objects[named[0]].to_numpy(float)
    elif "volume_um3" in objects:
        radius = np.cbrt(3 * objects["volume_um3"].to_numpy(float) / (4 * np.pi))
    elif "area_um2" in objects:
        radius = np.sqrt(objects["area_um2"].to_numpy(float) / np.pi)
    else:
        raise InputError("objects", list(objects.columns), "add radius_um, volume_um3 or area_um2")
    if not np.all(radius > 0):
        raise InputError("objects", "a size that is not above 0", "every object needs radius_um or a size")
    return radius

"""Percentile normalisation of raw stacks, as csbdeep does it. Masks never come here."""

from __future__ import annotations

import numpy as np

from helpers.errors import InputError


def percentile_range(
    stack: np.ndarray, pmin: float = 1.0, pmax: float = 99.8, *, name: str = "raw"
) -> tuple[float, float]:
    """Return the intensities at two percentiles, equal to `numpy.percentile`.

    Eight- and sixteen-bit stacks are counted instead of sorted: no copy, and several times faster.

    Raises
    ------
    InputError
        The percentiles are not ``0 ≤ pmin < pmax ≤ 100``, or both fall on the same intensity (a constant or
        nearly empty image).
    """
    if not 0 <= pmin < pmax <= 100:
        raise InputError("pmin, pmax", (pmin, pmax), "percentiles with 0 ≤ pmin < pmax ≤ 100")
    stack = np.asarray(stack)
    if stack.dtype in (np.uint8, np.uint16):
        # bincount works on a copy of eight bytes a voxel: slice by slice that stays small.
        counts = sum(np.bincount(part.ravel(), minlength=2**16) for part in np.atleast_2d(stack))
        low, high = _percentiles_of_counts(np.asarray(counts), (pmin, pmax))
    else:
        low, high = (float(p) for p in np.percentile(stack, (pmin, pmax)))
    if not high > low:
        raise InputError(
            name,
            low,
            f"the intensity at percentiles {pmin:g} and {pmax:g} is the same: an image with contrast",
        )
    return low, high


def normalize(stack: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `stack` as float32, `low` at 0 and `high` at 1, nothing clipped."""
    result = np.subtract(stack, np.float32(low), dtype=np.float32)
    result /= np.float32(high - low)
    return result


def _percentiles_of_counts(counts: np.ndarray, percentiles: tuple[float, ...]) -> list[float]:
    reached = np.cumsum(counts)
    ranks = np.array(percentiles) / 100 * (reached[-1] - 1)
    below = np.searchsorted(reached, np.floor(ranks), side="right")
    above = np.searchsorted(reached, np.ceil(ranks), side="right")
    return [float(b + (a - b) * f) for b, a, f in zip(below, above, ranks % 1, strict=True)]

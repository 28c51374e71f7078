"""Percentile normalisation of raw stacks, as csbdeep does it. Masks never come here."""

from __future__ import annotations

import numpy as np

from helpers.data.lazy import LazyStack, pieces
from helpers.errors import InputError


def percentile_range(
    stack: np.ndarray | LazyStack, pmin: float = 1.0, pmax: float = 99.8, *, name: str = "raw"
) -> tuple[float, float]:
    """Return the intensities at two percentiles, equal to `numpy.percentile`.

    Eight- and sixteen-bit stacks are counted instead of sorted: no copy, and several times faster. So are those that
    are read piece by piece, others as float32.

    Raises
    ------
    InputError
        The percentiles are not ``0 ≤ pmin < pmax ≤ 100``, or both fall on the same intensity (a constant or
        nearly empty image).
    """
    if not 0 <= pmin < pmax <= 100:
        raise InputError("pmin, pmax", (pmin, pmax), "percentiles with 0 ≤ pmin < pmax ≤ 100")
    if isinstance(stack, LazyStack):
        low, high = _lazy_percentiles(stack, (pmin, pmax))
    elif (stack := np.asarray(stack)).dtype in (np.uint8, np.uint16):
        low, high = _percentiles_of_counts(_counts(stack), (pmin, pmax))
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


def _lazy_percentiles(stack: LazyStack, percentiles: tuple[float, ...]) -> list[float]:
    parts = list(pieces(stack.shape))
    if stack.dtype in (np.uint8, np.uint16):
        whole = sum(_counts(stack[part]) for part in parts)
        return _percentiles_of_counts(np.asarray(whole), percentiles)
    # The bits of floats are ordered as they are, once the negative ones are turned round: the upper half of them
    # says near which value a rank lies, the lower half of those says where.
    upper = np.asarray(sum(_counts(_ordered(stack[part]) >> 16) for part in parts))
    reached = np.cumsum(upper)
    ranks = np.array(percentiles) / 100 * (reached[-1] - 1)
    needed = np.unique(np.concatenate([np.floor(ranks), np.ceil(ranks)]).astype(np.int64))
    at = np.searchsorted(reached, needed, side="right")
    lower = dict.fromkeys(at.tolist(), np.zeros(2**16, np.int64))
    for part in parts:
        keys = _ordered(stack[part])
        for half in lower:
            lower[half] = lower[half] + _counts(keys[keys >> 16 == half] & 0xFFFF)
    values = {
        int(rank): _value(
            int(half), int(np.searchsorted(np.cumsum(lower[half]), rank - before, side="right"))
        )
        for rank, half, before in zip(needed, at.tolist(), (reached - upper)[at], strict=True)
    }
    pairs = [(values[int(np.floor(rank))], values[int(np.ceil(rank))], rank % 1) for rank in ranks]
    return [float(low + (high - low) * fraction) for low, high, fraction in pairs]


def _counts(values: np.ndarray) -> np.ndarray:
    # bincount works on a copy of eight bytes a voxel: slice by slice that stays small.
    parts = np.array_split(values.ravel(), max(1, values.size >> 22))
    return np.asarray(sum(np.bincount(part, minlength=2**16) for part in parts))


def _ordered(values: np.ndarray) -> np.ndarray:
    """Return unsigned integers in the order of the values, as float32."""
    bits = (values.astype(np.float32) + np.float32(0)).view(np.int32)
    return np.where(bits < 0, ~bits, bits ^ np.int32(-(2**31))).view(np.uint32)


def _value(upper: int, lower: int) -> float:
    key = np.uint32(upper << 16 | lower)
    bits = key ^ np.uint32(2**31) if key >> 31 else ~key
    return float(np.array(bits, np.uint32).view(np.float32))


def _percentiles_of_counts(counts: np.ndarray, percentiles: tuple[float, ...]) -> list[float]:
    reached = np.cumsum(counts)
    ranks = np.array(percentiles) / 100 * (reached[-1] - 1)
    below = np.searchsorted(reached, np.floor(ranks), side="right")
    above = np.searchsorted(reached, np.ceil(ranks), side="right")
    return [float(b + (a - b) * f) for b, a, f in zip(below, above, ranks % 1, strict=True)]

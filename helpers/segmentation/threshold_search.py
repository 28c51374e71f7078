"""Which thresholds to try, where each trial costs a fusion: one axis at a time.

::

    sweep:   the whole grid of the first axis, at the best values of the others so far; then the next axis;
             where the best value is the first or last of its grid, or nothing was found, steps beyond, up to a limit;
             again from the start as long as the score rises
    refine:  halve the steps to the left and right of the best value of each axis

Scores that differ by less than one cell's worth are a plateau, and its middle is taken: the value farthest from where
the score falls. A value to start from is left only for what is better by more than that: a peak that few cells make
is seldom there on other frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

# Two scores closer than this are one plateau: the ratios of integers are floats.
SAME = 1e-9
_MAX_SWEEPS = 4


def search(
    grids: Mapping[str, tuple[float, ...]],
    start: Mapping[str, float],
    score: Callable[[Mapping[str, float]], float],
    refinements: int,
    tolerance: float = 0.0,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, float]:
    """Return the best value of each axis.

    Parameters
    ----------
    grids : mapping
        Axis → values to sweep, ascending; a single one is kept.
    start : mapping
        Axis → value to begin with, where one is known.
    score : callable
        Values by axis → score, more is better; asked again for a set it knows, it should answer at once.
    refinements : int
        How often the steps are halved.
    tolerance : float
        Scores this much below the best are as good.
    limits : mapping, optional
        Axis → how far beyond its grid to go, where the best value lies at an end.
    """
    best = {axis: start.get(axis, grid[len(grid) // 2]) for axis, grid in grids.items()}

    def along(axis: str, values: Sequence[float]) -> float:
        scores = np.array([score({**best, axis: value}) for value in values])
        if axis in start and score(best) >= scores.max() - tolerance - SAME:
            return best[axis]
        return values[plateau_middle(scores, tolerance)]

    lines = {axis: sorted({*grid, best[axis]}) for axis, grid in grids.items()}
    reached = score(best)
    for _ in range(_MAX_SWEEPS):
        before = reached
        for axis, line in lines.items():
            best[axis] = along(axis, line)
            while farther := _beyond(line, best[axis], (limits or {}).get(axis), anywhere=score(best) == 0):
                lines[axis] = line = sorted([*line, *farther])
                best[axis] = along(axis, line)
        reached = score(best)
        if reached <= before + SAME:
            break
    for _ in range(refinements):
        for axis, line in lines.items():
            if len(line) == 1:
                continue
            at = line.index(best[axis])
            middles = [round((line[k] + line[k + 1]) / 2, 4) for k in (at - 1, at) if 0 <= k < len(line) - 1]
            lines[axis] = line = sorted({*line, *middles})
            at = line.index(best[axis])
            # Only the neighbourhood: farther values were tried with other values on the other axes.
            best[axis] = along(axis, line[max(at - 1, 0) : at + 2])
    return best


def plateau_middle(scores: np.ndarray, tolerance: float = 0.0) -> int:
    """Index of the maximum; of those as good, the middle of the longest run (the first of equally long ones)."""
    top = np.flatnonzero(scores >= scores.max() - tolerance - SAME)
    runs = np.split(top, np.flatnonzero(np.diff(top) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[(len(longest) - 1) // 2])


def _beyond(
    line: Sequence[float], best: float, limits: tuple[float, float] | None, *, anywhere: bool
) -> list[float]:
    """Return the next values beyond the end where `best` lies, or beyond both where nothing was found `anywhere`.

    They are a step of the line away, and no farther than the limits.
    """
    if limits is None or len(line) == 1:
        return []
    low = max(round(line[0] - (line[1] - line[0]), 4), limits[0])
    high = min(round(line[-1] + (line[-1] - line[-2]), 4), limits[1])
    farther = [low] if low < line[0] and (anywhere or best == line[0]) else []
    return farther + ([high] if high > line[-1] and (anywhere or best == line[-1]) else [])

"""Segments compete in one assignment: closing gaps, splitting and merging.

A segment is a chain of at least two linked objects; lone objects take no part. Its *middles* are all objects
but the first and the last::

    gap closing   end → start      1 ≤ Δframe ≤ max_frame_gap
    splitting     middle → start   Δframe = 1
    merging       end → middle     Δframe = 1

All candidates share one no-link cost: the factor × the cost at index ``round((n − 1)·percentile)`` of the sorted
candidate costs. The rules are TrackMate's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from helpers.bounds import Fraction, Index, NotNegative, check_bounds
from helpers.tracking.assignment import match
from helpers.tracking.candidates import LinkCost, Links, Points, stack


@dataclass(frozen=True, kw_only=True)
class SegmentParameters:
    """Parameters of the assignment of segments; the defaults are TrackMate's.

    Parameters
    ----------
    alternative_linking_cost_factor : float
        No-link cost, relative to the percentile of the candidate costs.
    cutoff_percentile : float
        Between 0 and 1: which of the sorted candidate costs the no-link cost is based on.
    gap_closing : bool
        Whether the end of a segment may go on at the start of another one.
    gap_closing_max_distance : float
        µm; may be reached.
    max_frame_gap : int
        Largest difference of frames over a gap: 2 means one missing frame.
    gap_closing_penalties : dict of str to float
        Weight of each feature column (`helpers.tracking.candidates`).
    splitting, merging : bool
        Whether a segment may begin at (end in) the middle of another one.
    splitting_max_distance, merging_max_distance : float
        µm; may be reached.
    splitting_penalties, merging_penalties : dict of str to float
        As `gap_closing_penalties`.

    Raises
    ------
    InputError
        Negative or missing numbers, a percentile above 1.
    """

    alternative_linking_cost_factor: NotNegative = 1.05
    cutoff_percentile: Fraction = 0.9
    gap_closing: bool = True
    gap_closing_max_distance: NotNegative = 15.0
    max_frame_gap: Index = 2
    gap_closing_penalties: Mapping[str, NotNegative] = field(default_factory=dict)
    splitting: bool = False
    splitting_max_distance: NotNegative = 15.0
    splitting_penalties: Mapping[str, NotNegative] = field(default_factory=dict)
    merging: bool = False
    merging_max_distance: NotNegative = 15.0
    merging_penalties: Mapping[str, NotNegative] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def feature_columns(self) -> list[str]:
        """Columns that any penalty uses."""
        used = [
            *(self.gap_closing_penalties if self.gap_closing else ()),
            *(self.splitting_penalties if self.splitting else ()),
            *(self.merging_penalties if self.merging else ()),
        ]
        return sorted(set(used))


def link_segments(points: Points, frames: np.ndarray, links: Links, parameters: SegmentParameters) -> Links:
    """Return the links to add between segments.

    Parameters
    ----------
    points : Points
        All objects.
    frames : (n,) int ndarray
        Their frames.
    links : tuple of (m,) ndarray
        (source, target, cost), indices into `points`; each object has at most one source and one target.
    parameters : SegmentParameters
        What is allowed, how far, and the penalties.

    Returns
    -------
    tuple of (k,) ndarray
        (source, target, cost), indices into `points`.
    """
    has_next = np.zeros(len(frames), bool)
    has_previous = np.zeros(len(frames), bool)
    has_next[links[0]] = True
    has_previous[links[1]] = True
    starts = np.flatnonzero(has_next & ~has_previous)
    ends = np.flatnonzero(has_previous & ~has_next)
    middles = np.flatnonzero(has_previous & has_next)

    found: list[Links] = []
    p = parameters
    if p.gap_closing:
        cost = LinkCost(p.gap_closing_max_distance, p.gap_closing_penalties, inclusive=True)
        for step in range(1, p.max_frame_gap + 1):
            found.append(_candidates(points, frames, ends, starts, step, cost))
    if p.merging:
        cost = LinkCost(p.merging_max_distance, p.merging_penalties, inclusive=True)
        found.append(_candidates(points, frames, ends, middles, 1, cost))
    if p.splitting:
        cost = LinkCost(p.splitting_max_distance, p.splitting_penalties, inclusive=True)
        found.append(_candidates(points, frames, middles, starts, 1, cost))
    source, target, costs = stack(found)
    if len(costs) == 0:
        return source, target, costs
    # Half rounds up, as in Java.
    cutoff = int(np.floor((len(costs) - 1) * p.cutoff_percentile + 0.5))
    no_link = p.alternative_linking_cost_factor * np.partition(costs, cutoff)[cutoff]
    chosen = match(source, target, costs, no_link)
    return source[chosen], target[chosen], costs[chosen]


def _candidates(
    points: Points, frames: np.ndarray, sources: np.ndarray, targets: np.ndarray, step: int, cost: LinkCost
) -> Links:
    i, j, costs = cost.candidates(
        points.take(sources), points.take(targets), times=(frames[sources] + step, frames[targets])
    )
    return sources[i], targets[j], costs

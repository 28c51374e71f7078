"""Trackers for cells that move: Kalman filters of constant velocity, and the nearest neighbour.

TrackMate's Kalman tracker: a pair of linked objects starts a filter with the velocity between them; every frame
the predictions and the objects are linked as in `helpers.tracking.linking.link_pair`, unassigned objects
may start new filters with unassigned objects of the frame before, and a filter that saw no object more than
``max_frame_gap`` times in all ends. The *advanced* tracker adds feature penalties and lets the resulting
segments compete for gaps, splits and merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from helpers.bounds import Index, NotNegative, check_bounds
from helpers.errors import InputError
from helpers.progress import progress
from helpers.tracking.candidates import LinkCost, Links, Points, radii, stack
from helpers.tracking.linking import link_pair, sorted_points, tracks_from
from helpers.tracking.segments import SegmentParameters, link_segments
from helpers.tracking.tracks import Tracks, check_objects

_FACTOR = 1.05  # no-link cost relative to the largest candidate cost; fixed in TrackMate's Kalman tracker


@dataclass(frozen=True, kw_only=True)
class KalmanParameters:
    """Parameters of the Kalman tracker; the defaults are TrackMate's.

    Parameters
    ----------
    initial_search_radius : float
        Largest move between the two objects that start a filter, µm.
    search_radius : float
        Largest distance of an object from its prediction, µm. A third of it is the standard deviation of the
        process noise, in position (µm) and velocity (µm per frame).
    max_frame_gap : int
        How often a filter may find no object, over its life, before it ends.
    measurement_std : float, optional
        Standard deviation of a measured position, µm. Without it a tenth of the mean radius of the objects in
        the second frame that has any.
    penalties : dict of str to float
        Weight of each feature column, as in `LapParameters`; a prediction carries the features of the last
        object of its filter.

    Raises
    ------
    InputError
        Negative or missing numbers.
    """

    initial_search_radius: NotNegative = 15.0
    search_radius: NotNegative = 20.0
    max_frame_gap: Index = 2
    measurement_std: NotNegative | None = None
    penalties: Mapping[str, NotNegative] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class AdvancedKalmanParameters(KalmanParameters):
    """Kalman tracker with segments that compete afterwards.

    Parameters
    ----------
    segments : SegmentParameters
        What is allowed between segments. Its `max_frame_gap` is not used: as in TrackMate, that of the tracker
        holds for closing gaps too.
    """

    segments: SegmentParameters = field(default_factory=SegmentParameters)


def link_kalman(
    objects: pd.DataFrame,
    parameters: KalmanParameters | None = None,
    *,
    voxel_size: Sequence[float] | None = None,
    frame_interval: float | None = None,
) -> Tracks:
    """Link objects by Kalman filters of constant velocity.

    Parameters
    ----------
    objects : DataFrame
        As in `helpers.tracking.linking.link`.
    parameters : KalmanParameters or AdvancedKalmanParameters, optional
        TrackMate's defaults if left out; advanced ones add the assignment of segments.
    voxel_size : sequence of float, optional
        For the Tracks.
    frame_interval : float, optional
        For the Tracks.

    Returns
    -------
    Tracks
        ``links.cost`` is the squared distance to the prediction (times penalties), µm². A filter may bridge
        frames, so links may cross gaps; without segments there are no divisions and no merges.

    Raises
    ------
    InputError
        A bad table, a penalty for a column that is not there, or no sizes to estimate `measurement_std` from.
    """
    parameters = parameters or KalmanParameters()
    objects = check_objects(objects)
    advanced = parameters.segments if isinstance(parameters, AdvancedKalmanParameters) else None
    columns = sorted({*parameters.penalties, *(advanced.feature_columns if advanced else ())})
    points, frames = sorted_points(objects, columns)
    measured = parameters.measurement_std
    if measured is None:
        measured = _measurement_std(objects)
    links = _filter(points, frames, parameters, measured)
    if advanced is not None:
        competing = replace(advanced, max_frame_gap=parameters.max_frame_gap)
        links = stack([links, link_segments(points, frames, links, competing)])
    return tracks_from(objects, points, links, voxel_size, frame_interval)


def link_nearest(
    objects: pd.DataFrame,
    max_distance: float = 15.0,
    *,
    voxel_size: Sequence[float] | None = None,
    frame_interval: float | None = None,
) -> Tracks:
    """Link each object to its nearest neighbour in the next frame, the closest pairs first.

    TrackMate takes the sources in the order of their table instead; with the closest pairs first the result
    does not depend on any order.

    Parameters
    ----------
    objects : DataFrame
        As in `helpers.tracking.linking.link`.
    max_distance : float
        µm; may be reached.
    voxel_size : sequence of float, optional
        For the Tracks.
    frame_interval : float, optional
        For the Tracks.

    Returns
    -------
    Tracks
        Without gaps, divisions and merges; ``links.cost`` is the squared distance, µm².

    Raises
    ------
    InputError
        A bad table or a negative distance.
    """
    if not max_distance >= 0:
        raise InputError("max_distance", max_distance, "give a distance in µm, 0 or more")
    objects = check_objects(objects)
    points, frames = sorted_points(objects, [])
    parts: list[Links] = []
    for start, end, following in _frame_slices(frames):
        if following is None:
            continue
        a, b = points.positions[start:end], points.positions[end:following]
        near = KDTree(a).sparse_distance_matrix(
            KDTree(b), np.nextafter(max_distance, np.inf), output_type="ndarray"
        )
        near = near[np.lexsort((near["j"], near["i"], near["v"]))]
        free_a, free_b = np.ones(len(a), bool), np.ones(len(b), bool)
        chosen = []
        for k, (i, j) in enumerate(zip(near["i"].tolist(), near["j"].tolist(), strict=True)):
            if free_a[i] and free_b[j]:
                free_a[i] = free_b[j] = False
                chosen.append(k)
        best = near[chosen]
        parts.append((best["i"] + start, best["j"] + end, best["v"] ** 2))
    return tracks_from(objects, points, stack(parts), voxel_size, frame_interval)


def _frame_slices(frames: np.ndarray) -> list[tuple[int, int, int | None]]:
    """Return (start, end, end of the next frame or None if that is empty) for each frame of sorted frames."""
    present, starts = np.unique(frames, return_index=True)
    bounds = np.append(starts, len(frames)).tolist()
    return [
        (
            bounds[k],
            bounds[k + 1],
            bounds[k + 2] if k + 1 < len(present) and present[k + 1] == present[k] + 1 else None,
        )
        for k in range(len(present))
    ]


def _measurement_std(objects: pd.DataFrame) -> float:
    present = np.unique(objects["frame"])
    if len(present) < 2:
        return 0.0
    second = objects[objects["frame"] == present[1]]
    try:
        return float(radii(second).mean()) / 10
    except InputError as error:
        raise InputError(
            "measurement_std", None, f"give it in µm, or a size of each object ({error.expected})"
        ) from error


@dataclass
class _Filters:
    """Filters side by side: state per axis, covariance (the same for all axes), last object, misses."""

    position: np.ndarray
    velocity: np.ndarray
    covariance: np.ndarray
    """(n, 3): of position, of position with velocity, of velocity."""
    last: np.ndarray
    missed: np.ndarray

    @classmethod
    def empty(cls) -> _Filters:
        none = np.empty((0, 3))
        return cls(none, none, none, np.empty(0, np.int64), np.empty(0, np.int64))

    def predict(self, process_variance: float) -> None:
        """Move on by one frame."""
        self.position = self.position + self.velocity
        xx, xv, vv = self.covariance.T
        self.covariance = np.column_stack(
            [xx + 2 * xv + vv + process_variance, xv + vv, vv + process_variance]
        )

    def update(self, which: np.ndarray, measured: np.ndarray, rows: np.ndarray, variance: float) -> None:
        """Correct the filters `which` by the positions they found."""
        xx, xv, vv = self.covariance[which].T
        gain_x, gain_v = xx / (xx + variance), xv / (xx + variance)
        error = measured - self.position[which]
        self.position[which] += gain_x[:, None] * error
        self.velocity[which] += gain_v[:, None] * error
        self.covariance[which] = np.column_stack([(1 - gain_x) * xx, (1 - gain_x) * xv, vv - gain_v * xv])
        self.last[which] = rows

    def keep(self, which: np.ndarray) -> None:
        """Drop the other filters."""
        for name in ("position", "velocity", "covariance", "last", "missed"):
            setattr(self, name, getattr(self, name)[which])

    def add(self, first: np.ndarray, second: np.ndarray, rows: np.ndarray) -> None:
        """Start filters at `second` with the velocity from `first`."""
        n = len(rows)
        # The first state is trusted, as in TrackMate.
        trusted = np.tile(np.array([np.finfo(float).tiny, 0.0, np.finfo(float).tiny]), (n, 1))
        self.position = np.vstack([self.position, second])
        self.velocity = np.vstack([self.velocity, second - first])
        self.covariance = np.vstack([self.covariance, trusted])
        self.last = np.concatenate([self.last, rows])
        self.missed = np.concatenate([self.missed, np.zeros(n, np.int64)])


def _filter(
    points: Points, frames: np.ndarray, parameters: KalmanParameters, measurement_std: float
) -> Links:
    present, starts = np.unique(frames, return_index=True)
    if len(present) < 2:
        return stack([])
    begin = dict(zip(present.tolist(), starts.tolist(), strict=True))
    end = dict(zip(present.tolist(), [*starts[1:].tolist(), len(frames)], strict=True))
    search = LinkCost(parameters.search_radius, parameters.penalties)
    nucleate = LinkCost(parameters.initial_search_radius, parameters.penalties)
    process_variance = (parameters.search_radius / 3) ** 2

    filters = _Filters.empty()
    orphans = np.arange(begin[present[0]], end[present[0]])
    if present[1] - present[0] > parameters.max_frame_gap:
        orphans = orphans[:0]
    found: list[Links] = []
    # As in TrackMate, the objects of the first frame wait for the second frame that has any, but no longer than a gap.
    for t in progress(range(present[1], present[-1] + 1), desc="Kalman", unit="frame", leave=False):
        rows = np.arange(begin.get(t, 0), end.get(t, 0))
        filters.predict(process_variance)
        predicted = Points(
            filters.position, {k: v[filters.last] for k, v in points.features.items()}, filters.last
        )
        which, to, cost = link_pair(predicted, points.take(rows), search, _FACTOR)
        found.append((filters.last[which], rows[to], cost))
        filters.update(which, points.positions[rows[to]], rows[to], measurement_std**2)
        seen = np.zeros(len(filters.last), bool)
        seen[which] = True
        filters.missed += ~seen
        filters.keep(filters.missed <= parameters.max_frame_gap)

        left = np.delete(rows, to)
        i, j, cost = link_pair(points.take(orphans), points.take(left), nucleate, _FACTOR)
        found.append((orphans[i], left[j], cost))
        filters.add(points.positions[orphans[i]], points.positions[left[j]], left[j])
        orphans = np.delete(left, j)
    return stack(found)

"""TrackMate's LAP tracker: linking from frame to frame, then one assignment of segments.

First, every pair of neighbouring frames is an assignment problem of its own (`helpers.tracking.assignment`) whose
no-link cost is ``alternative_linking_cost_factor`` × the largest candidate cost of that pair. Then the segments
that came out compete once more (`helpers.tracking.segments`): for closing gaps, splitting and merging.

Method: Jaqaman et al. 2008 (Nature Methods 5, 695) as TrackMate simplified it (Tinevez et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from helpers.bounds import NotNegative
from helpers.errors import InputError
from helpers.progress import progress
from helpers.tracking.assignment import match
from helpers.tracking.candidates import LinkCost, Links, Overlaps, Points, stack
from helpers.tracking.segments import SegmentParameters, link_segments
from helpers.tracking.tracks import Tracks, check_links, check_objects


@dataclass(frozen=True, kw_only=True)
class LapParameters(SegmentParameters):
    """Parameters of the LAP tracker: these and those of `SegmentParameters`; the defaults are TrackMate's.

    Parameters
    ----------
    max_distance : float
        Largest move from one frame to the next, µm. A link costs less than its square.
    penalties : dict of str to float
        Weight of each feature column for links from frame to frame, such as ``{"volume_um3": 1.0}``.
    overlap_weight : float
        Weight of 1 − IoU in the cost of links from frame to frame; needs the table of overlaps in `link`.

    Raises
    ------
    InputError
        Negative or missing numbers.
    """

    max_distance: NotNegative = 15.0
    penalties: Mapping[str, NotNegative] = field(default_factory=dict)
    overlap_weight: NotNegative = 0.0

    @property
    def feature_columns(self) -> list[str]:
        """Columns that any penalty uses."""
        return sorted({*self.penalties, *super().feature_columns})


def link(
    objects: pd.DataFrame,
    parameters: LapParameters | None = None,
    *,
    overlaps: pd.DataFrame | None = None,
    fixed: pd.DataFrame | None = None,
    voxel_size: Sequence[float] | None = None,
    frame_interval: float | None = None,
) -> Tracks:
    """Link objects with TrackMate's LAP tracker.

    Parameters
    ----------
    objects : DataFrame
        ``frame, z, y, x`` (µm), ``id`` and the columns that penalties name; see `helpers.tracking.tracks.Tracks`.
        Rows may come in any order. A frame number that does not occur is an empty frame: links from frame to
        frame never cross it, closed gaps may.
    parameters : LapParameters, optional
        TrackMate's defaults if left out.
    overlaps : DataFrame, optional
        ``source, target`` (object ids) and ``iou`` for `LapParameters.overlap_weight`; pairs that are not
        listed do not overlap. `helpers.tracking.overlap.overlap_table` makes one.
    fixed : DataFrame, optional
        ``source, target`` (object ids) of links that stand already, such as those that a person confirmed. They are among
        the links found (cost NaN), and their ends are not linked to others from frame to frame.
    voxel_size : sequence of float, optional
        (z, y, x) in µm, for the Tracks.
    frame_interval : float, optional
        Seconds, for the Tracks.

    Returns
    -------
    Tracks
        ``links.cost`` is the cost of each link, as TrackMate's LINK_COST.

    Raises
    ------
    InputError
        A bad table (see `Tracks`), a penalty for a column that is not there or not numeric, or fixed links of objects that
        are not there.
    """
    parameters = parameters or LapParameters()
    objects = check_objects(objects)
    points, frames = sorted_points(objects, parameters.feature_columns)
    lookup = None
    if parameters.overlap_weight:
        if overlaps is None:
            raise InputError("overlaps", None, "overlap_weight needs the table of overlaps (overlap_table)")
        lookup = Overlaps.from_table(overlaps, objects["id"].to_numpy())
    cost = LinkCost(parameters.max_distance, parameters.penalties, parameters.overlap_weight, lookup)

    standing = _fixed_links(fixed, objects, points)
    goes_on, comes_from = np.zeros((2, len(frames)), bool)
    goes_on[standing[0]], comes_from[standing[1]] = True, True
    found = []
    for of_source, of_target in _frame_pairs(frames):
        source, target = of_source[~goes_on[of_source]], of_target[~comes_from[of_target]]
        i, j, costs = link_pair(
            points.take(source), points.take(target), cost, parameters.alternative_linking_cost_factor
        )
        found.append((source[i], target[j], costs))
    links = stack([*found, standing])
    if parameters.gap_closing or parameters.splitting or parameters.merging:
        links = stack([links, link_segments(points, frames, links, parameters)])
    return tracks_from(objects, points, links, voxel_size, frame_interval)


def link_pair(source: Points, target: Points, cost: LinkCost, alternative_cost_factor: float) -> Links:
    """Return (index into source, index into target, cost) of the best links between two frames."""
    i, j, costs = cost.candidates(source, target)
    if len(costs) == 0:
        return i, j, costs
    chosen = match(i, j, costs, alternative_cost_factor * costs.max())
    return i[chosen], j[chosen], costs[chosen]


def sorted_points(objects: pd.DataFrame, columns: Sequence[str]) -> tuple[Points, np.ndarray]:
    """Return the points of a checked table sorted by frame, then id, and their frames.

    Raises
    ------
    InputError
        A column of `columns` is missing or not numeric.
    """
    for name in columns:
        if name not in objects:
            raise InputError(
                f"penalties[{name!r}]", list(objects.columns), "penalties name columns of the object table"
            )
        if not pd.api.types.is_numeric_dtype(objects[name]):
            raise InputError(f"objects.{name}", str(objects[name].dtype), "a penalised column holds numbers")
    rows = np.lexsort((objects["id"].to_numpy(), objects["frame"].to_numpy()))
    table = objects.iloc[rows]
    points = Points(
        table[["z", "y", "x"]].to_numpy(float),
        {name: table[name].to_numpy(float, na_value=np.nan) for name in columns},
        rows,
    )
    return points, table["frame"].to_numpy()


def tracks_from(
    objects: pd.DataFrame,
    points: Points,
    links: Links,
    voxel_size: Sequence[float] | None,
    frame_interval: float | None,
) -> Tracks:
    """Return the Tracks of links between sorted points."""
    source, target, cost = links
    order = np.lexsort((target, source))
    ids = objects["id"].to_numpy()[points.rows]
    table = pd.DataFrame({"source": ids[source[order]], "target": ids[target[order]], "cost": cost[order]})
    return Tracks(objects, table, voxel_size, frame_interval)  # type: ignore[arg-type]


def _fixed_links(fixed: pd.DataFrame | None, objects: pd.DataFrame, points: Points) -> Links:
    """Links that stand already, between sorted points."""
    fixed = check_links(fixed, objects, "fixed")
    place = pd.Index(objects["id"].to_numpy()[points.rows])
    source, target = (place.get_indexer(pd.Index(fixed[side])) for side in ("source", "target"))
    return source, target, np.full(len(fixed), np.nan)


def _frame_pairs(frames: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the positions of the points at t, and at t + 1, for all t that have both."""
    present, starts = np.unique(frames, return_index=True)
    ends = np.append(starts[1:], len(frames))
    neighbours = np.flatnonzero(np.diff(present) == 1)
    for k in progress(neighbours, desc="Link", unit="frame", leave=False):
        yield np.arange(starts[k], ends[k]), np.arange(starts[k + 1], ends[k + 1])

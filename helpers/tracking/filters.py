"""Filters on objects and on tracks: every one returns what it keeps and a table of what it removed, and why.

In the filters on tracks an object without links counts as a track of one object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from helpers.data.calibration import check_voxel_size
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks, check_objects


class KeptObjects(NamedTuple):
    """Object table that passed a filter, and the rows that did not with a column ``reason``."""

    kept: pd.DataFrame
    removed: pd.DataFrame


class KeptTracks(NamedTuple):
    """Tracks that passed a filter, and the objects that did not with ``track_id`` (before) and ``reason``."""

    kept: Tracks
    removed: pd.DataFrame


def filter_objects(
    objects: pd.DataFrame,
    *,
    minimum: Mapping[str, float] | None = None,
    maximum: Mapping[str, float] | None = None,
    mask: Any = None,
    voxel_size: Sequence[float] | None = None,
) -> KeptObjects:
    """Keep objects by their columns and by where they lie, before linking.

    Parameters
    ----------
    objects : DataFrame
        As for `Tracks`.
    minimum, maximum : dict of str to float, optional
        Bounds of columns, such as ``{"volume_um3": 50, "intensity_mean": 10}``; a bound itself is kept, a
        missing value is not.
    mask : ndarray or movie, optional
        Tissue or region of interest, non-zero inside: (Z, Y, X) or (Y, X) for all frames, (T, Z, Y, X) or
        anything with ``.frame(t)`` for each. An object is inside if the voxel at its position is; one plane
        holds for all z.
    voxel_size : sequence of float, optional
        (z, y, x) in µm; needed with `mask`.

    Returns
    -------
    KeptObjects
        ``reason`` names the first bound that failed: ``"volume_um3 < 50"``, ``"outside the mask"``.

    Raises
    ------
    InputError
        A column that is not there, a mask without voxel size or that ends before the movie.
    """
    table = check_objects(objects)
    reason = np.full(len(table), "", dtype=object)
    for bounds, sign in ((minimum or {}, "<"), (maximum or {}, ">")):
        for name, bound in bounds.items():
            values = _column(table, name)
            passed = values >= bound if sign == "<" else values <= bound
            reason[(reason == "") & ~passed] = f"{name} {sign} {bound:g}"
    if mask is not None:
        reason[(reason == "") & ~inside_mask(table, mask, voxel_size)] = "outside the mask"
    keep = reason == ""
    removed = table[~keep].assign(reason=reason[~keep])
    return KeptObjects(table[keep].reset_index(drop=True), removed.reset_index(drop=True))


def inside_mask(objects: pd.DataFrame, mask: Any, voxel_size: Sequence[float] | None) -> np.ndarray:
    """Return (n,) bool: whether the voxel at each object's position is inside `mask`; see `filter_objects`."""
    size = np.array(check_voxel_size(voxel_size, planar=True))
    frames = objects["frame"].to_numpy()
    voxel = np.rint(objects[["z", "y", "x"]].to_numpy(float) / size).astype(np.int64)
    n_frames = int(frames.max(initial=-1)) + 1
    per_frame = hasattr(mask, "frame") or np.ndim(mask) == 4
    if per_frame and mask.shape[0] < n_frames:
        raise InputError("mask", f"{mask.shape[0]} frames", f"the objects reach frame {n_frames - 1}")
    inside = np.zeros(len(frames), bool)
    for t in np.unique(frames) if per_frame else [None]:
        rows = np.arange(len(frames)) if t is None else np.flatnonzero(frames == t)
        stack = np.asarray(mask if t is None else mask.frame(int(t)) if hasattr(mask, "frame") else mask[t])
        if stack.ndim == 2:
            stack = stack[None]
        if stack.ndim != 3:
            raise InputError("mask", stack.shape, "a mask is (Z, Y, X), (Y, X) or one of these per frame")
        at = voxel[rows]
        if len(stack) == 1:
            at = at * (0, 1, 1)
        within = ((at >= 0) & (at < stack.shape)).all(axis=1)
        inside[rows[within]] = stack[tuple(at[within].T)] != 0
    return inside


def filter_tracks(
    tracks: Tracks,
    *,
    min_frames: int | None = None,
    min_displacement: float | None = None,
    starts: tuple[int | None, int | None] | None = None,
    ends: tuple[int | None, int | None] | None = None,
    min_quality: float | None = None,
    quality_column: str = "quality",
) -> KeptTracks:
    """Keep whole tracks; all bounds are inclusive.

    Parameters
    ----------
    tracks : Tracks
        What to filter.
    min_frames : int, optional
        Length in frames, from the first to the last, both counted.
    min_displacement : float, optional
        µm between the first and the farthest-in-time object (of several last ones the farthest away).
    starts, ends : (int or None, int or None), optional
        Window in which the first (last) frame lies; None is open.
    min_quality : float, optional
        Mean of `quality_column` over the track.
    quality_column : str
        Where the quality is.

    Returns
    -------
    KeptTracks
        ``reason`` names the first bound that failed.

    Raises
    ------
    InputError
        A quality column that is not there.
    """
    group, summary = _summary(tracks)
    reason = pd.Series("", index=summary.index, dtype=object)

    def demand(passed: pd.Series, why: str) -> None:
        reason[(reason == "") & ~passed] = why

    if min_frames is not None:
        demand(summary["last"] - summary["first"] + 1 >= min_frames, f"frames < {min_frames}")
    if min_displacement is not None:
        demand(summary["displacement"] >= min_displacement, f"displacement < {min_displacement:g} µm")
    for name, window in (("first", starts), ("last", ends)):
        low, high = window or (None, None)
        if low is not None:
            demand(summary[name] >= low, f"{name} frame < {low:g}")
        if high is not None:
            demand(summary[name] <= high, f"{name} frame > {high:g}")
    if min_quality is not None:
        quality = _column(tracks.objects, quality_column).groupby(group).mean()
        demand(quality >= min_quality, f"mean {quality_column} < {min_quality:g}")
    return _keep(tracks, reason.to_numpy()[group])


def tracks_inside_tissue(tracks: Tracks, mask: Any) -> KeptTracks:
    """Remove tracks that never enter the tissue (BTrackMate).

    Parameters
    ----------
    tracks : Tracks
        What to filter.
    mask : ndarray or movie
        As in `filter_objects`.

    Returns
    -------
    KeptTracks
        Tracks with at least one object inside, whole.
    """
    inside = inside_mask(tracks.objects, mask, tracks.voxel_size)
    group = _groups(tracks)
    enters = np.bincount(group, weights=inside, minlength=group.max(initial=-1) + 1) > 0
    return _keep(tracks, np.where(enters[group], "", "never inside the tissue").astype(object))


def remove_short_tracklets(tracks: Tracks, min_length: int = 2, *, keep_last: bool = False) -> KeptTracks:
    """Remove short end branches from tracks that split (BTrackMate's minimum tracklet length).

    Parameters
    ----------
    tracks : Tracks
        What to filter.
    min_length : int
        End branches (tracklets that begin at a division and end without another one) of so many frames or fewer, from
        the first to the last, are removed. 2 in BTrackMate.
    keep_last : bool
        Keep branches that reach the last frame: nobody knows how long they would have been.

    Returns
    -------
    KeptTracks
        Tracks without a division are kept as they are. A mother whose daughters are all removed but one goes
        on in that one as one tracklet.

    Raises
    ------
    InputError
        A negative length.
    """
    if not min_length >= 0:
        raise InputError("min_length", min_length, "give a number of frames, 0 or more")
    tracklet = tracks.tracklet_ids
    frames = tracks.objects["frame"].groupby(tracklet)
    first, last = frames.min().to_numpy(), frames.max().to_numpy()
    source, target = tracks.link_rows.T
    branch = np.zeros(tracks.n_tracklets, bool)
    branch[tracklet[target[tracks.out_degree[source] > 1]]] = True
    branch[list(tracks.children)] = False
    short = branch & (last - first + 1 <= min_length)
    if keep_last:
        short &= last < last.max(initial=0)
    return _keep(tracks, np.where(short[tracklet], f"end branch ≤ {min_length} frames", "").astype(object))


def split_dividing(tracks: Tracks) -> tuple[Tracks, Tracks]:
    """Return (tracks with a division, tracks without); objects without links are in the second.

    Parameters
    ----------
    tracks : Tracks
        The tracks to separate.

    Returns
    -------
    tuple of Tracks
        Together they hold every object and link once.
    """
    group = _groups(tracks)
    divides = np.bincount(group, weights=tracks.out_degree > 1, minlength=group.max(initial=-1) + 1) > 0
    return tracks.subset(divides[group]), tracks.subset(~divides[group])


def _groups(tracks: Tracks) -> np.ndarray:
    """Return a number per object, 0…n−1: its track, lone objects each on their own."""
    ids = tracks.track_ids.copy()
    lone = ids < 0
    ids[lone] = tracks.n_tracks + np.arange(lone.sum())
    return ids


def track_summary(tracks: Tracks) -> pd.DataFrame:
    """Return a row per track, then per lone object: ``n`` objects, ``first`` and ``last`` frame, ``displacement``.

    The displacement is that of `filter_tracks`, in µm.
    """
    return _summary(tracks)[1]


def _summary(tracks: Tracks) -> tuple[np.ndarray, pd.DataFrame]:
    group = _groups(tracks)
    frames = tracks.objects["frame"]
    by = frames.groupby(group)
    table = pd.DataFrame({"n": by.size(), "first": by.min(), "last": by.max()})
    positions = tracks.objects[["z", "y", "x"]].to_numpy(float)
    start = np.full(len(table), -1)
    first_rows = np.flatnonzero(frames.to_numpy() == table["first"].to_numpy()[group])
    start[group[first_rows[::-1]]] = first_rows[::-1]
    moved = np.linalg.norm(positions - positions[start[group]], axis=1)
    at_end = frames.to_numpy() == table["last"].to_numpy()[group]
    table["displacement"] = pd.Series(moved[at_end]).groupby(group[at_end]).max()
    return group, table


def _keep(tracks: Tracks, reason: np.ndarray) -> KeptTracks:
    gone = reason != ""
    removed = tracks.objects[gone].assign(track_id=tracks.track_ids[gone], reason=reason[gone])
    return KeptTracks(tracks.subset(~gone), removed.reset_index(drop=True))


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        raise InputError(f"column {name!r}", list(table.columns), "filters name columns of the object table")
    return table[name]

"""Overlap tracker: each object goes on from the object of the frame before that it overlaps best.

TrackMate's rules (Ershov et al. 2022): a target takes the source with the largest IoU above ``min_iou``, at cost
1 − IoU. Several targets may take one source, so divisions arise freely; there are no merges and no gaps.
TrackMate sees outlines in the plane; here whole voxels are counted, in 2D and 3D, frame by frame, so that a
movie never lies in memory. `helpers.tracking.contours` does the same on TrackMate's outlines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Lt
from scipy import ndimage
from scipy.sparse import csr_array

from helpers.bounds import Fraction, Positive, check_bounds
from helpers.errors import InputError
from helpers.progress import progress
from helpers.segmentation.pair_table import overlapping
from helpers.tracking.tracks import Tracks, check_links, check_objects


@dataclass(frozen=True, kw_only=True)
class OverlapParameters:
    """Parameters of the overlap tracker; the defaults are TrackMate's.

    Parameters
    ----------
    min_iou : float
        A link has a larger intersection over union than this.
    scale_factor : float
        Each object is enlarged (or shrunk) by this factor about its centroid before it is compared; enlarged
        objects may overlap each other and reach out of the image.
    min_fraction : float, optional
        If given, a link also covers a larger fraction of its target than this (0 to 1). A daughter covers only
        part of its mother but lies inside it: for divisions use a low `min_iou` with a high `min_fraction`.
    precise : bool
        Compare the outlines themselves (contours only); False compares bounding boxes, TrackMate's *fast*.

    Raises
    ------
    InputError
        Numbers out of range.
    """

    min_iou: Fraction = 0.3
    scale_factor: Annotated[Positive, Lt(np.inf), "1 keeps the size"] = 1.0
    min_fraction: Fraction | None = None
    precise: bool = True

    def __post_init__(self) -> None:
        check_bounds(self)


def link_overlap(
    frames: Iterable[np.ndarray] | Any,
    *,
    voxel_size: Sequence[float],
    min_iou: float = 0.3,
    scale_factor: float = 1.0,
    min_fraction: float | None = None,
    objects: pd.DataFrame | None = None,
    fixed: pd.DataFrame | None = None,
    frame_interval: float | None = None,
) -> Tracks:
    """Link the objects of a label movie by their overlap.

    Parameters
    ----------
    frames : iterable of (Z, Y, X) or (Y, X) int ndarray, or LabelMovie
        Labels of one frame after the other, 0 background; read once, two frames in memory. A frame without
        labels ends every track.
    voxel_size : sequence of float
        (z, y, x) or, in 2D, (y, x), µm.
    min_iou, scale_factor, min_fraction
        See `OverlapParameters`.
    objects : DataFrame, optional
        The objects to link, found in the frames by ``frame`` and ``label``; labels that are not in the table
        are passed over. Without it every label is measured (`helpers.tracking.objects.measure`).
    fixed : DataFrame, optional
        ``source, target`` (object ids) of links that stand already, such as those that a person confirmed. They are among
        the links found, and their ends are not linked to others.
    frame_interval : float, optional
        Seconds, for the Tracks.

    Returns
    -------
    Tracks
        ``links`` carry ``cost`` (1 − IoU) and ``iou``.

    Raises
    ------
    InputError
        No voxel size, frames of different shapes, labels that are not integers, parameters out of range, objects
        whose label is not in their frame, fixed links of objects that are not there.
    """
    parameters = OverlapParameters(min_iou=min_iou, scale_factor=scale_factor, min_fraction=min_fraction)
    if voxel_size is None:
        raise InputError("voxel_size", None, "give the size of a voxel, (z, y, x) in µm")
    measured, pairs = _objects_and_pairs(frames, voxel_size, parameters.scale_factor, objects)
    return tracks_of_best(measured, pairs, parameters, voxel_size, frame_interval, fixed)


def overlap_table(frames: Iterable[np.ndarray] | Any, objects: pd.DataFrame) -> pd.DataFrame:
    """Return all overlaps between neighbouring frames, for `helpers.tracking.linking.link`.

    Parameters
    ----------
    frames : iterable of (Z, Y, X) or (Y, X) int ndarray, or LabelMovie
        As in `link_overlap`.
    objects : DataFrame
        With ``frame`` and ``label``.

    Returns
    -------
    DataFrame
        ``source, target`` (object ids), ``iou`` and ``fraction`` (of the target that the source covers).

    Raises
    ------
    InputError
        As `link_overlap`.
    """
    return _objects_and_pairs(frames, None, 1.0, objects)[1]


def tracks_of_best(
    objects: pd.DataFrame,
    pairs: pd.DataFrame,
    parameters: OverlapParameters,
    voxel_size: Sequence[float] | None,
    frame_interval: float | None,
    fixed: pd.DataFrame | None = None,
) -> Tracks:
    """Return the Tracks in which every target takes its best source; `pairs` as from `overlap_table`."""
    given = check_links(fixed, objects, "fixed")[["source", "target"]]
    standing = given.merge(pairs, how="left", on=["source", "target"])
    pairs = pairs[~(pairs["source"].isin(given["source"]) | pairs["target"].isin(given["target"]))]
    good = pairs["iou"] > parameters.min_iou
    if parameters.min_fraction is not None:
        good &= pairs["fraction"] > parameters.min_fraction
    # Equal overlaps: the source with the smaller id.
    best = pairs[good].sort_values(["target", "iou", "source"], ascending=[True, False, True])
    best = best.drop_duplicates("target")
    best = (pd.concat([best, standing]) if len(standing) else best).sort_values(["source", "target"])
    links = best.assign(cost=1.0 - best["iou"])[["source", "target", "cost", "iou"]]
    return Tracks(objects, links, voxel_size, frame_interval)  # type: ignore[arg-type]


def _objects_and_pairs(
    frames: Iterable[np.ndarray] | Any,
    voxel_size: Sequence[float] | None,
    scale: float,
    objects: pd.DataFrame | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    given = None
    if objects is not None:
        given = check_objects(objects)
        if "label" not in given:
            raise InputError(
                "objects", list(given.columns), "add the column label, the value in the label frames"
            )
    tables: list[pd.DataFrame] = []
    parts: list[pd.DataFrame] = []
    before: Frame | None = None
    n_objects = 0
    t = -1
    for t, labels in enumerate(checked_frames(frames)):
        if given is None:
            from helpers.tracking.objects import measure

            assert voxel_size is not None
            size = tuple(voxel_size)[-labels.ndim :]
            table = measure(labels, voxel_size=size, frame=t).reset_index(drop=True)
            table["id"] = np.arange(n_objects, n_objects + len(table))
            n_objects += len(table)
            tables.append(table)
        else:
            table = given[given["frame"] == t]
        now = Frame.of(labels, table["label"].to_numpy(np.int64), table["id"].to_numpy(np.int64), scale)
        if (now.sizes == 0).any() and scale >= 1:
            lost = table.loc[table["id"].isin(now.ids[now.sizes == 0]), "label"]
            raise InputError(
                "objects.label", lost[:5].tolist(), f"these labels are not in frame {t} of the movie"
            )
        if before is not None:
            parts.append(_overlaps(before, now))
        before = now
    if given is not None and len(given) and given["frame"].max() > t:
        raise InputError("frames", f"{t + 1} frames", f"the objects reach frame {given['frame'].max()}")
    if given is None:
        filled = [table for table in tables if len(table)] or tables[:1]
        given = pd.concat(filled, ignore_index=True) if filled else _no_objects()
        given = check_objects(given)
    columns = {"source": np.int64, "target": np.int64, "iou": float, "fraction": float}
    pairs = (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame({name: np.empty(0, kind) for name, kind in columns.items()})
    )
    return given, pairs


@dataclass(frozen=True)
class Frame:
    """One frame: which object each voxel belongs to (1…n in the order of `ids`) and how large each one is."""

    numbers: np.ndarray
    ids: np.ndarray
    sizes: np.ndarray
    members: csr_array | None
    """(n objects, n voxels of a padded frame) for scaled objects, which may share voxels."""

    @classmethod
    def of(cls, labels: np.ndarray, wanted: np.ndarray, ids: np.ndarray, scale: float = 1.0) -> Frame:
        """Return the frame of `labels` with the objects of the labels `wanted`, called `ids`."""
        order = np.argsort(wanted, kind="stable")
        wanted, ids = wanted[order], ids[order]
        twice = wanted[1:][np.diff(wanted) == 0]
        if len(twice):
            raise InputError("objects.label", twice[:5].tolist(), "a label occurs once in a frame")
        numbers = _numbers(labels, wanted)
        if scale == 1:
            return cls(numbers, ids, np.bincount(numbers.ravel(), minlength=len(ids) + 1)[1:], None)
        members = _scaled(numbers, len(ids), scale)
        return cls(numbers, ids, members.sum(axis=1), members)


def overlaps_within(before: Frame, now: Frame) -> pd.DataFrame:
    """Return ``source, target`` (ids), ``shared`` (voxels), ``source_size``, ``target_size`` and ``iou``."""
    if before.members is not None and now.members is not None:
        common = (before.members @ now.members.T).tocoo()
        source, target, shared = common.coords[0], common.coords[1], common.data
    else:
        source, target, shared = shared_voxels(before.numbers, now.numbers)
    a, b = before.sizes[source], now.sizes[target]
    return pd.DataFrame(
        {
            "source": before.ids[source],
            "target": now.ids[target],
            "shared": shared,
            "source_size": a,
            "target_size": b,
            "iou": shared / (a + b - shared),
        }
    )


def _overlaps(before: Frame, now: Frame) -> pd.DataFrame:
    found = overlaps_within(before, now)
    return found.assign(fraction=found["shared"] / found["target_size"])[
        ["source", "target", "iou", "fraction"]
    ]


def shared_voxels(before: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (source, target, voxels in common) of two frames numbered from 1, source and target from 0."""
    source, target, voxels = overlapping(before, now)
    return source - 1, target - 1, voxels


def _numbers(labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the frame with label ``wanted[k]`` replaced by k + 1 and every other one by 0."""
    if len(wanted) == 0:
        return np.zeros(labels.shape, np.int32)
    top = int(labels.max(initial=0))
    if top <= 4 * labels.size + 1_000_000:
        lookup = np.zeros(top + 1, np.int32)
        inside = wanted <= top
        lookup[wanted[inside]] = np.flatnonzero(inside) + 1
        return lookup[labels]
    at = np.minimum(np.searchsorted(wanted, labels), len(wanted) - 1)
    return np.where(wanted[at] == labels, at + 1, 0).astype(np.int32)


def _scaled(numbers: np.ndarray, n: int, scale: float) -> csr_array:
    """Return which voxels each object covers when it is scaled about its centroid.

    A voxel p is covered if the voxel nearest to c + (p − c)/scale is the object's; the frame is padded so that
    enlarged objects are not cut.
    """
    shape = np.array(numbers.shape)
    pad = np.ceil(shape * max(scale - 1, 0)).astype(int) + 1
    strides = np.cumprod(np.concatenate([[1], (shape + 2 * pad)[:0:-1]]))[::-1].astype(np.int64)
    rows, columns = [], []
    for k, window in enumerate(ndimage.find_objects(numbers, max_label=n)):
        if window is None:
            continue
        low = np.array([part.start for part in window])
        mask = numbers[window] == k + 1
        centroid = low + np.array([axis.mean() for axis in np.nonzero(mask)])
        high = low + mask.shape - 1
        first = np.floor(centroid + (low - 0.5 - centroid) * scale).astype(int)
        last = np.ceil(centroid + (high + 0.5 - centroid) * scale).astype(int)
        axes = [np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]
        nearest = [
            np.rint(c + (p - c) / scale).astype(int) - a for p, c, a in zip(axes, centroid, low, strict=True)
        ]
        inside = [(p >= 0) & (p < size) for p, size in zip(nearest, mask.shape, strict=True)]
        covered = mask[np.ix_(*(p[good] for p, good in zip(nearest, inside, strict=True)))]
        at = np.nonzero(covered)
        voxel = np.zeros(len(at[0]), np.int64)
        for p, good, index, margin, stride in zip(axes, inside, at, pad, strides, strict=True):
            voxel += (p[good][index] + margin) * stride
        rows.append(np.full(len(voxel), k))
        columns.append(voxel)
    row = np.concatenate(rows) if rows else np.empty(0, np.int64)
    column = np.concatenate(columns) if columns else np.empty(0, np.int64)
    size = (n, int(np.prod(shape + 2 * pad)))
    return csr_array((np.ones(len(row), np.int64), (row, column)), shape=size)


def checked_frames(frames: Any) -> Iterator[np.ndarray]:
    """Yield the frames of an iterable or a label movie, all of one shape and of integers."""
    shape: tuple[int, ...] | None = None
    if hasattr(frames, "frame") and hasattr(frames, "shape"):
        movie, n = frames, int(frames.shape[0])
        frames = (movie.frame(t) for t in range(n))
    else:
        n = len(frames) if hasattr(frames, "__len__") else None
    for t, labels in enumerate(progress(frames, desc="Overlap", unit="frame", total=n, leave=False)):
        labels = np.asarray(labels)
        if labels.ndim not in (2, 3):
            raise InputError(f"frames[{t}].shape", labels.shape, "a frame of labels is (Z, Y, X) or (Y, X)")
        if not np.issubdtype(labels.dtype, np.integer):
            raise InputError(f"frames[{t}].dtype", str(labels.dtype), "labels are integers, 0 background")
        if shape is None:
            shape = labels.shape
        if labels.shape != shape:
            raise InputError(
                f"frames[{t}].shape", labels.shape, f"all frames have the shape of the first, {shape}"
            )
        if labels.dtype.kind == "i" and labels.size and labels.min() < 0:
            raise InputError(f"frames[{t}]", int(labels.min()), "labels are 0 or more")
        yield labels


def _no_objects() -> pd.DataFrame:
    table = {name: np.empty(0, np.int64) for name in ("id", "frame", "label")}
    return pd.DataFrame({**table, **{name: np.empty(0) for name in ("z", "y", "x")}})

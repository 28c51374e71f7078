"""The Cell Tracking Challenge: label masks in which a tracklet keeps its label, and a text table of tracklets.

``res_track.txt`` with ``maskTTT.tif`` (or ``man_track.txt`` with ``man_trackTTT.tif``): rows ``L B E P`` — label,
first and last frame, label of the parent or 0. The format knows less than Tracks::

    gap      a label must exist in every frame B…E, so what follows a gap is a new label with P = the one before
    merge    a label has one parent: the cheapest of the links is kept (then the lowest id), the others are left out

`write` returns the links it left out, and warns.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from skimage.measure import regionprops_table

from helpers.data.atomic import atomic_path
from helpers.data.source import looks_like_rgb
from helpers.errors import InputError, reads
from helpers.progress import progress
from helpers.tracking.formats.storage import existing, frames_of
from helpers.tracking.tracks import Tracks

_NAMES = {False: ("res_track.txt", "mask"), True: ("man_track.txt", "man_track")}
_MOST = 65_535


def write(
    tracks: Tracks, folder: str | Path, labels: Iterable[np.ndarray] | Any, *, truth: bool = False
) -> pd.DataFrame:
    """Write tracks and relabelled masks in the form of the Cell Tracking Challenge.

    Parameters
    ----------
    tracks : Tracks
        Objects with the column ``label``: their label in the frame of the label movie.
    folder : path
        Where to write; masks and the table of an older result there are replaced, other files stay.
    labels : LabelMovie or iterable of label frames
        One frame per time point, (Z, Y, X) or (Y, X). Labels that are no object are erased.
    truth : bool
        Names of the reference (``man_track``) instead of a result (``mask``).

    Returns
    -------
    DataFrame
        The links that the format cannot hold (merges), as in ``tracks.links``.

    Raises
    ------
    InputError
        No column ``label``, a label twice or not in its frame, frames that disagree in shape, or too few frames.

    Notes
    -----
    The Challenge's masks have 16 bits. More than 65,535 labels are written in 32 bits, with a warning.
    """
    objects = tracks.objects
    if "label" not in objects:
        raise InputError(
            "objects", list(objects.columns), "masks need the column label: each object's label in its frame"
        )
    twice = objects.duplicated(["frame", "label"])
    if twice.any():
        raise InputError(
            "objects",
            objects.loc[twice, ["frame", "label"]].head().to_numpy().tolist(),
            "one object per frame and label",
        )
    new, table, lost = tracklets(tracks)
    kind = np.dtype(np.uint16 if len(table) <= _MOST else np.uint32)
    if kind.itemsize > 2:
        warnings.warn(
            f"{len(table):,} labels do not fit the 16 bits of the Cell Tracking Challenge: the masks have 32.",
            stacklevel=2,
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text, prefix = _NAMES[truth]
    for old in _masks(folder, prefix).values():
        old.unlink()
    (folder / text).unlink(missing_ok=True)
    rows = {frame: index for frame, index in objects.groupby("frame").indices.items()}
    count = 0
    for frame, plane in enumerate(progress(frames_of(labels), desc="CTC masks", unit="frame", leave=False)):
        index = rows.get(frame, np.empty(0, np.int64))
        mask = _relabel(
            plane, objects["label"].to_numpy()[index], new[index].astype(kind), f"labels[{frame}]"
        )
        mask = mask[0] if mask.ndim == 3 and mask.shape[0] == 1 else mask
        with atomic_path(folder / f"{prefix}{frame:03d}.tif") as temporary:
            # Without the hint, three planes would be stored as the colours of one.
            tifffile.imwrite(temporary, mask, compression="zlib", photometric="minisblack")
        count += 1
    if len(objects) and objects["frame"].max() >= count:
        raise InputError("labels", f"{count} frames", f"there are objects in frame {objects['frame'].max()}")
    with atomic_path(folder / text) as temporary:
        temporary.write_text(
            "".join(f"{label} {b} {e} {p}\n" for label, b, e, p in table.to_numpy().tolist())
        )
    if len(lost):
        warnings.warn(
            f"{len(lost)} links are left out: a label of the Cell Tracking Challenge has one parent, and "
            f"{lost['target'].nunique()} objects here have several.",
            stacklevel=2,
        )
    return lost


def tracklets(tracks: Tracks) -> tuple[np.ndarray, pd.DataFrame, pd.DataFrame]:
    """Return the tracklets of the Challenge.

    Returns
    -------
    labels : (n_objects,) int ndarray
        Label of each object, from 1, by first frame.
    table : DataFrame
        ``label, begin, end, parent``; one row per label.
    lost : DataFrame
        Links that have no place.
    """
    links, (source, target) = tracks.links, tracks.link_rows.T
    frames = tracks.objects["frame"].to_numpy()
    # One parent per object: NaN costs last, then the lowest id of the source.
    order = np.lexsort((links["source"], links["cost"].fillna(np.inf), target))
    kept = np.zeros(len(links), bool)
    kept[order[np.flatnonzero(np.diff(target[order], prepend=-1))]] = True
    out = np.bincount(source[kept], minlength=len(frames))
    unbroken = kept & (frames[target] - frames[source] == 1) & (out[source] == 1)
    # A merge begins a new label even where its one kept parent has no other child.
    unbroken &= tracks.in_degree[target] == 1
    pieces = Tracks(tracks.objects[["id", "frame", "y", "x"]], links.loc[unbroken, ["source", "target"]])
    labels = pieces.tracklet_ids + 1
    count = pieces.n_tracklets
    begin = np.full(count + 1, np.iinfo(np.int64).max)
    end = np.full(count + 1, -1)
    np.minimum.at(begin, labels, frames)
    np.maximum.at(end, labels, frames)
    parent = np.zeros(count + 1, np.int64)
    starting = kept & ~unbroken
    parent[labels[target[starting]]] = labels[source[starting]]
    table = pd.DataFrame({"label": np.arange(count + 1), "begin": begin, "end": end, "parent": parent})
    return labels, table.iloc[1:].reset_index(drop=True), links[~kept].reset_index(drop=True)


@reads("a folder of the Cell Tracking Challenge")
def read(folder: str | Path, *, voxel_size: Sequence[float], frame_interval: float | None = None) -> Tracks:
    """Read a result or a reference of the Cell Tracking Challenge.

    Parameters
    ----------
    folder : path
        With ``res_track.txt`` or ``man_track.txt`` and its masks.
    voxel_size : sequence of float
        (z, y, x) in µm, or (y, x) for 2D.
    frame_interval : float, optional
        Seconds between frames.

    Returns
    -------
    Tracks
        Positions are the centroids of the masks; ``label`` is the label there, ids count from 0 by frame.

    Raises
    ------
    InputError
        Files missing, rows that are not ``L B E P``, a label missing from a frame of its own or present in
        others, parents that do not exist or end too late, masks that disagree in shape.
    """
    folder = existing(folder, "a folder of the Cell Tracking Challenge")
    texts = [(folder / text, prefix) for text, prefix in _NAMES.values() if (folder / text).exists()]
    if len(texts) != 1:
        raise InputError("folder", str(folder), "a folder with either res_track.txt or man_track.txt")
    text, prefix = texts[0]
    if voxel_size is None:
        raise InputError("voxel_size", None, "masks have no scale; give (z, y, x) in µm")
    table = _read_table(text)
    masks = _masks(folder, prefix)
    if not masks:
        raise InputError("folder", str(folder), f"masks {prefix}000.tif, … beside {text.name}")
    if len(table) and table["end"].max() > max(masks):
        raise InputError(text.name, int(table["end"].max()), f"the last mask is {prefix}{max(masks):03d}.tif")
    objects = _measure(masks, voxel_size)
    links = _join(table, objects, text.name)
    return Tracks(objects, links, voxel_size, frame_interval)  # type: ignore[arg-type]


def _relabel(plane: np.ndarray, old: np.ndarray, new: np.ndarray, name: str) -> np.ndarray:
    present = np.unique(plane)
    if missing := np.setdiff1d(old, present).tolist():
        raise InputError(name, missing[:5], "objects have these labels, the frame does not")
    table = np.zeros(len(present), new.dtype)
    table[np.searchsorted(present, old)] = new
    return table[np.searchsorted(present, plane)]


def _masks(folder: Path, prefix: str) -> dict[int, Path]:
    found = {}
    for path in sorted(folder.iterdir()):
        if match := re.fullmatch(rf"{prefix}(\d{{3,}})\.tiff?", path.name):
            found[int(match[1])] = path
    return found


def _read_table(path: Path) -> pd.DataFrame:
    try:
        rows = [
            [int(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()
        ]
        if any(len(row) != 4 for row in rows):
            raise ValueError("a row has not four numbers")
    except ValueError as error:
        raise InputError(path.name, str(error), "rows of four integers: L B E P") from error
    table = pd.DataFrame(rows, columns=["label", "begin", "end", "parent"], dtype=np.int64)
    wrong = table[table["label"].duplicated() | (table["label"] < 1) | (table["begin"] > table["end"])]
    if len(wrong):
        raise InputError(path.name, wrong.head().to_numpy().tolist(), "labels from 1, each once, with B ≤ E")
    end = table.set_index("label")["end"]
    children = table[table["parent"] != 0]
    unknown = children[~children["parent"].isin(table["label"])]
    if len(unknown):
        raise InputError(
            path.name, unknown.head().to_numpy().tolist(), "the parent P of a row is a label of another"
        )
    late = children[end.loc[children["parent"]].to_numpy() >= children["begin"].to_numpy()]
    if len(late):
        raise InputError(path.name, late.head().to_numpy().tolist(), "a parent ends before its child begins")
    return table


def _measure(masks: dict[int, Path], voxel_size: Sequence[float]) -> pd.DataFrame:
    tables, first = [], None
    for frame, path in progress(masks.items(), desc="CTC masks", unit="frame", leave=False):
        try:
            mask = tifffile.imread(path)
        except (tifffile.TiffFileError, ValueError, OSError) as error:
            raise InputError("mask", str(path), f"a TIFF file ({error})") from error
        first = first or mask.shape
        if looks_like_rgb(mask.shape):
            raise InputError(path.name, mask.shape, "is a colour picture; a mask has one number per voxel")
        if mask.shape != first or mask.ndim not in (2, 3) or mask.dtype.kind not in "iu":
            raise InputError(path.name, (mask.shape, str(mask.dtype)), f"integer labels of the shape {first}")
        sizes = tuple(voxel_size)[-mask.ndim :]
        if len(sizes) != mask.ndim:
            raise InputError("voxel_size", voxel_size, "the masks are 3D; give (z, y, x) in µm")
        # Measured as `helpers.tracking.objects.measure` places an object: the mean of its voxels.
        found = regionprops_table(mask.astype(np.int32), properties=("label", "centroid"))
        centroids = [found[f"centroid-{axis}"] * sizes[axis] for axis in range(mask.ndim)]
        columns = dict(zip("zyx"[-mask.ndim :], centroids, strict=True))
        tables.append(pd.DataFrame({"frame": frame, "label": found["label"], "z": 0.0} | columns))
    objects = pd.concat(tables, ignore_index=True)
    objects.insert(0, "id", np.arange(len(objects)))
    return objects


def _join(table: pd.DataFrame, objects: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the links: along each label, and from the last object of a parent to the first of its child."""
    rows = objects.sort_values(["label", "frame"])
    labels, frames, ids = (rows[column].to_numpy() for column in ("label", "frame", "id"))
    known = table.sort_values("label")
    lengths = (known["end"] - known["begin"] + 1).to_numpy()
    expected = np.repeat(known["label"].to_numpy(), lengths)
    first = np.repeat(known["begin"].to_numpy() - np.cumsum(lengths) + lengths, lengths)
    expected_frames = np.arange(len(expected)) + first
    if not (np.array_equal(labels, expected) and np.array_equal(frames, expected_frames)):
        stated = set(zip(expected.tolist(), expected_frames.tolist(), strict=True))
        seen = set(zip(labels.tolist(), frames.tolist(), strict=True))
        if absent := sorted(stated - seen)[:5]:
            raise InputError(name, absent, "these (label, frame) are not in the masks")
        raise InputError(name, sorted(seen - stated)[:5], "these (label, frame) of the masks are in no row")
    along = labels[1:] == labels[:-1]
    starts = np.searchsorted(labels, known["label"])
    start_of = dict(zip(known["label"].tolist(), ids[starts].tolist(), strict=True))
    end_of = dict(zip(known["label"].tolist(), ids[starts + lengths - 1].tolist(), strict=True))
    children = known[known["parent"] != 0]
    source = [*ids[:-1][along], *(end_of[parent] for parent in children["parent"])]
    target = [*ids[1:][along], *(start_of[label] for label in children["label"])]
    links = pd.DataFrame({"source": source, "target": target, "cost": np.nan})
    return links.sort_values(["source", "target"], ignore_index=True)

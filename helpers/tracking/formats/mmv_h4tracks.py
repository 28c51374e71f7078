"""mmv_h4tracks' ``.zarr``: picture, labels and tracks of a 2D movie in one group; and its lineage file.

::

    <name>.zarr/                              <name>.ome.zarr/
        raw_data           f8 (T, Y, X)           0                           picture
        segmentation_data  i4 (T, Y, X)           labels/<name>/0             labels
        tracking_data      i4 (N, 4)              tables/tracks/tracks.npy    [id, frame, y, x]; may be missing

Positions are voxels, rounded; a track has no gaps and two rows or more. Where the OME form has no tracks but says
``implied_tracks``, cells of one label are a track. Divisions stand in a text file beside it, one line for each daughter:
``id start end parent``, with ``[4,5]`` where tracks merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from helpers.data.atomic import atomic_path
from helpers.errors import InputError, reads
from helpers.tracking.formats.storage import existing, frames_of
from helpers.tracking.places import labels_at
from helpers.tracking.tracks import Tracks

_RAW, _LABELS, _TRACKS = "raw_data", "segmentation_data", "tracking_data"


def is_mmv(path: Path) -> bool:
    """Whether a folder is mmv_h4tracks' own form, or its OME form with a table of tracks or implied ones."""
    if not path.is_dir():
        return False
    return all((path / name).is_dir() for name in (_LABELS, _TRACKS)) or _ome_labels(path) is not None


def _ome_labels(path: Path) -> Path | None:
    """The labels' group of the OME form that tracks go with; None where there are none."""
    tables = (path / "tables" / "tracks" / "tracks.npy").is_file()
    for group in sorted((path / "labels").glob("*/0")):
        if tables or zarr.open_group(str(group.parent), mode="r").attrs.get("implied_tracks"):
            return group.parent
    return None


def labels_path(path: str | Path) -> Path:
    """Return where the labels (T, Y, X) lie.

    Raises
    ------
    InputError
        Not a zarr of mmv_h4tracks.
    """
    path = existing(path, "a .zarr of mmv_h4tracks")
    if (path / _LABELS).is_dir():
        return path / _LABELS
    found = _ome_labels(path)
    if found is None:
        raise InputError("path", str(path), f"a .zarr of mmv_h4tracks, with {_LABELS} or labels/<name>/0")
    return found / "0"


@reads("a .zarr of mmv_h4tracks")
def read(
    path: str | Path, *, voxel_size: Sequence[float] | None = None, frame_interval: float | None = None
) -> Tracks:
    """Read the tracks; each object gets the label of the cell at its place. Rows without a cell become gaps.

    Parameters
    ----------
    path : path-like
        The zarr group. A text file of lineages beside it (``<name>_lineages.txt``) adds divisions.
    voxel_size : sequence of float
        (z, y, x) in µm, or (y, x): the format has none.
    frame_interval : float, optional
        Seconds.

    Returns
    -------
    Tracks
        Cells that are in no track are missing. ``track`` is mmv_h4tracks' id.

    Raises
    ------
    InputError
        Not such a group, rows that are no (id, frame, y, x), or a lineage of a track that is not there.
    """
    path = Path(path)
    labels = zarr.open_array(str(labels_path(path)), mode="r")
    rows = _rows(path, labels)
    if voxel_size is None:
        raise InputError("voxel_size_um", None, f"{path} counts pixels; give [z, y, x] in µm")
    size = (1.0, *voxel_size)[-3:]
    if len(rows) and (rows[:, 1].min() < 0 or rows[:, 1].max() >= labels.shape[0]):
        raise InputError("tracking_data", int(rows[:, 1].max()), f"frames 0 to {labels.shape[0] - 1}")
    objects = pd.DataFrame(rows, columns=["track", "frame", "y", "x"]).assign(
        label=_labels_under(labels, rows)
    )
    objects = objects[(objects["label"] > 0) & ~objects.duplicated(["frame", "label"])].reset_index(drop=True)
    objects = objects.assign(z=0.0, y=objects["y"] * size[1], x=objects["x"] * size[2], id=objects.index)
    same = objects["track"].to_numpy()[1:] == objects["track"].to_numpy()[:-1]
    ids = objects["id"].to_numpy()
    pairs = np.column_stack([ids[:-1][same], ids[1:][same]])
    pairs = np.vstack([pairs, *_parents(path.with_name(f"{path.stem}_lineages.txt"), objects)])
    links = pd.DataFrame(pairs.astype(np.int64).reshape(-1, 2), columns=["source", "target"])
    return Tracks(objects, links, size, frame_interval)  # type: ignore[arg-type]


def _rows(path: Path, labels: Any) -> np.ndarray:
    """(N, 4) [id, frame, y, x], sorted by id and frame; tracks of one row are left out, as mmv_h4tracks does."""
    table = path / "tables" / "tracks" / "tracks.npy"
    if (path / _TRACKS).is_dir():
        rows = np.asarray(zarr.open_array(str(path / _TRACKS), mode="r")[:])
    elif table.is_file():
        rows = np.load(table, allow_pickle=False)
    else:
        rows = _implied(labels)
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise InputError("tracking_data", rows.shape, "rows [id, frame, y, x], shape (N, 4)")
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))].astype(np.int64)
    ids, counts = np.unique(rows[:, 0], return_counts=True)
    return rows[np.isin(rows[:, 0], ids[counts > 1])]


def _implied(labels: Any) -> np.ndarray:
    rows = [
        (label, t, y, x)
        for t in range(labels.shape[0])
        for label, (y, x) in _centres(np.asarray(labels[t])).items()
    ]
    return np.array(rows, np.int64).reshape(-1, 4)


def _centres(frame: np.ndarray) -> dict[int, tuple[int, int]]:
    from skimage.measure import regionprops

    return {
        int(region.label): (round(float(region.centroid[0])), round(float(region.centroid[1])))
        for region in regionprops(frame)
    }


def _labels_under(labels: Any, rows: np.ndarray) -> np.ndarray:
    """The label at each row's place."""
    size = (1, *labels.shape[1:])
    places = np.column_stack([np.zeros(len(rows)), np.clip(rows[:, 2:], 0, np.array(size[1:]) - 1)])
    return labels_at(lambda t: np.asarray(labels[t])[None], rows[:, 1], places, size)


def _parents(path: Path, objects: pd.DataFrame) -> Iterator[np.ndarray]:
    """Links from the last object of each parent to the first of its daughters."""
    if not path.is_file():
        return
    first = objects.groupby("track")["id"].first()
    last = objects.groupby("track")["id"].last()
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        parts = line.replace(", ", ",").split()
        if not parts:
            continue
        try:
            track, parents = int(parts[0]), [int(p) for p in parts[3].strip("[]").split(",")]
            yield np.array([[last[parent], first[track]] for parent in parents])
        except (IndexError, ValueError, KeyError):
            raise InputError(
                f"{path}, line {number}", line, "id start end parent, of tracks that are there"
            ) from None


def lineage_lines(tracks: Tracks) -> list[str]:
    """Return the lines of a lineage file, one for each tracklet with a parent: ``id start end parent``."""
    frames = tracks.objects["frame"].groupby(tracks.tracklet_ids)
    first, last = frames.min(), frames.max()
    lines = []
    for tracklet, parents in sorted(tracks.parents.items()):
        named = str(parents[0]) if len(parents) == 1 else f"[{','.join(map(str, parents))}]"
        lines.append(f"{tracklet} {first[tracklet]} {last[tracklet]} {named}")
    return lines


def write(tracks: Tracks, path: str | Path, labels: Any, raw: Any = None) -> None:
    """Write a 2D movie for mmv_h4tracks: ``<name>.zarr``, and ``<name>_lineages.txt`` where cells divide.

    Parameters
    ----------
    tracks : Tracks
        With ``voxel_size``. Tracklets become its tracks, counted from 0; gaps are filled, since it knows none, by places on
        the straight line; tracklets of one object are left out.
    path : path-like
        The folder to write; an older one there is replaced.
    labels : label movie, or iterable of arrays (Y, X) or (1, Y, X)
    raw : movie, optional
        Zeros without it.

    Raises
    ------
    InputError
        A movie of several planes, no voxel size, or another folder in the way.
    """
    path = Path(path)
    if path.exists() and not is_mmv(path):
        raise InputError(
            "path", str(path), "there is something else; give a new path or an older .zarr of it"
        )
    if tracks.voxel_size is None:
        raise InputError("voxel_size_um", None, "tracks with a voxel size: mmv_h4tracks counts pixels")
    with atomic_path(path) as temporary:
        group = zarr.open_group(str(temporary), mode="w", zarr_format=2)
        shape = _write_frames(group, _LABELS, "<i4", frames_of(labels))
        if raw is None:
            group.create_array(_RAW, shape=shape, chunks=(1, *shape[1:]), dtype="<f8")
        else:
            _write_frames(group, _RAW, "<f8", frames_of(raw, "raw"))
        group.create_array(_TRACKS, data=pixel_rows(tracks))
    lines = lineage_lines(tracks)
    beside = path.with_name(f"{path.stem}_lineages.txt")
    beside.unlink(missing_ok=True)
    if lines:
        with atomic_path(beside) as temporary:
            temporary.write_text("\n".join(lines) + "\n")


def _write_frames(group: Any, name: str, dtype: str, frames: Iterable[np.ndarray]) -> tuple[int, ...]:
    """Write one frame after the other, a chunk each; return the shape."""
    array = None
    for t, frame in enumerate(frames):
        plane = _plane(frame)
        if array is None:
            array = group.create_array(name, shape=(0, *plane.shape), chunks=(1, *plane.shape), dtype=dtype)
        array.resize((t + 1, *plane.shape))
        array[t] = plane
    if array is None:
        raise InputError(name, 0, "a movie of one frame or more")
    return array.shape


def _plane(frame: np.ndarray) -> np.ndarray:
    frame = np.asarray(frame)
    if frame.ndim == 3 and frame.shape[0] == 1:
        return frame[0]
    if frame.ndim != 2:
        raise InputError("labels", frame.shape, "frames of one plane: mmv_h4tracks knows 2D only")
    return frame


def pixel_rows(tracks: Tracks) -> np.ndarray:
    """Return (N, 4) int32 rows [tracklet, frame, y, x] in pixels, without gaps; tracklets of one object are left out."""
    assert tracks.voxel_size is not None
    size = np.array(tracks.voxel_size[1:])
    table = tracks.objects.assign(track=tracks.tracklet_ids).sort_values(["track", "frame"])
    rows: list[tuple[float, ...]] = []
    for track, own in table.groupby("track"):
        places = own[["frame", "y", "x"]].to_numpy(float)
        if len(places) < 2:
            continue
        for a, b in pairwise(places):
            steps = int(b[0] - a[0])
            rows += [(float(track), *(a + (b - a) * k / steps)) for k in range(steps)]  # type: ignore[arg-type]
        rows.append((float(track), *places[-1]))  # type: ignore[arg-type]
    found = np.array(rows, float).reshape(-1, 4)
    found[:, 2:] /= size
    return np.rint(found).astype(np.int32)

"""A movie of boxes, whose cells and links are drawn here.

::

    frame   0    1    2    3
    cell 1  o────o────o────o        left, each frame two pixels further down
    cell 2  o────o    ·    o        right; missed in frame 2, not linked over the gap
    cell 3  o────o──┬─o────o        below: divides after frame 1 into 3 and 4
                    └─o────o  4
    cell 5            o             alone, in two pieces
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.curation.state import State
from helpers.data.label_movies import LabelMovie
from helpers.tracking.formats import table
from helpers.tracking.objects import measure
from helpers.tracking.tracks import Tracks

VOXEL = (2.0, 0.5, 0.5)
SHAPE = (40, 48)
LINKS = [((0, 1), (1, 1)), ((1, 1), (2, 1)), ((2, 1), (3, 1)), ((0, 2), (1, 2))]
LINKS += [((0, 3), (1, 3)), ((1, 3), (2, 3)), ((1, 3), (2, 4)), ((2, 3), (3, 3)), ((2, 4), (3, 4))]
Key = tuple[int, int]


def boxes(depth: int) -> np.ndarray:
    """Return the labels (T, Z, Y, X); in 3D the first and the last slice hold nothing of cell 2."""
    labels = np.zeros((4, depth, *SHAPE), np.int32)
    for t in range(4):
        labels[t, :, 2 + 2 * t : 10 + 2 * t, 2:12] = 1
        if t != 2:
            labels[t, depth // 2, 4 + t : 12 + t, 20:30] = 2
        labels[t, :, 26:36, 4 : 14 if t < 2 else 9] = 3
        if t > 1:
            labels[t, :, 26:36, 10:15] = 4
    labels[2, :, 30:34, 30:34] = 5
    labels[2, :, 30:34, 38:46] = 5
    return labels


def write_cells(
    folder: Path, depth: int = 1, labels: np.ndarray | None = None, links: Iterable[tuple[Key, Key]] = LINKS
) -> Path:
    """Write labels and tracks as a run holds them; return the folder."""
    labels = boxes(depth) if labels is None else labels
    movie = LabelMovie.create(folder / "labels.zarr", labels.shape, voxel_size=VOXEL, frame_interval=60.0)
    tables = []
    for t, frame in enumerate(labels):
        movie.write_frame(t, frame)
        tables.append(measure(frame, voxel_size=VOXEL, frame=t))
    table.write(
        tracks_of(pd.concat(tables, ignore_index=True), links), folder / "tracks.csv", six_digits=True
    )
    return folder


def tracks_of(objects: pd.DataFrame, links: Iterable[tuple[Key, Key]]) -> Tracks:
    """Return Tracks of measured objects, linked by (frame, label)."""
    objects = objects.assign(id=np.arange(len(objects)))
    ids = dict(zip(zip(objects["frame"], objects["label"], strict=True), objects["id"], strict=True))
    pairs = pd.DataFrame([(ids[a], ids[b]) for a, b in links], columns=["source", "target"], dtype=np.int64)
    return Tracks(objects, pairs.assign(cost=0.5), VOXEL, 60.0)


def content(state: State) -> tuple:
    """Return all of a state, to be compared: labels, objects, links, what was found correct."""
    labels = [state.labels.frame(t).copy() for t in range(state.shape[0])]
    return np.stack(labels).tobytes(), dict(state.graph.cell_of), state.graph.links(), set(state.graph.marks)


def linked(state: State) -> set[tuple[Key, Key]]:
    """Return the links as pairs of (frame, label)."""
    at = state.graph.cell_of
    return {(at[a], at[b]) for a, b in state.graph.links()}


def box_index(shape: Sequence[int], *box: slice) -> np.ndarray:
    """Return the flat index of a box of a frame (Z, Y, X)."""
    mask = np.zeros(tuple(shape), bool)
    mask[tuple(box)] = True
    return np.flatnonzero(mask)

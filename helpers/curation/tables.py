"""The curated state as Tracks: rows of cells that no edit touched stay as notebook 10_track wrote them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from helpers.curation.state import State
from helpers.data.movies import Movie
from helpers.tracking.objects import measure
from helpers.tracking.tracks import Tracks


def curated_tracks(state: State, raw: Movie | None = None) -> Tracks:
    """Return objects and links with all edits in force.

    Parameters
    ----------
    state : State
    raw : Movie, optional
        The raw movie, to measure intensities of cells that were changed; without it they are NaN.

    Returns
    -------
    Tracks
        The automatic rows in their order, then new ones by id. Cells whose outline changed are measured anew; columns
        that cannot be (such as of another program) are NaN there.
    """
    automatic, graph = state.automatic, state.graph
    before = automatic.tracks.objects
    kept = before[before["id"].isin(list(graph.cell_of))].set_index("id", drop=False)
    cells = pd.DataFrame.from_dict(graph.cell_of, orient="index", columns=["frame", "label"])
    kept["label"] = cells["label"].reindex(kept.index).astype(before["label"].dtype)
    new = [i for i in sorted(graph.cell_of) if i not in kept.index]
    measured = _measured(state, raw, set(new))
    changed = [i for i in kept.index if i in measured.index]
    objects = kept
    if len(measured):
        columns = [column for column in before if column in measured]
        rows = measured.loc[[*changed, *new], columns].reindex(columns=before.columns)
        rows["id"] = rows.index
        untouched = kept.drop(index=changed)
        objects = pd.concat([part for part in (untouched, rows) if len(part)])
        objects = objects.loc[[*kept.index, *new]]
        for column in before:  # whole numbers stay whole numbers where none is missing
            if objects[column].dtype != before[column].dtype and not objects[column].isna().any():
                objects[column] = objects[column].astype(before[column].dtype)
    return Tracks(
        objects.reset_index(drop=True),
        _links(state),
        automatic.tracks.voxel_size,
        automatic.tracks.frame_interval,
    )


def _links(state: State) -> pd.DataFrame:
    before = state.automatic.tracks.links
    now = state.graph.links()
    pairs = list(zip(before["source"].tolist(), before["target"].tolist(), strict=True))
    kept = before[np.array([pair in now for pair in pairs], bool)]
    new = sorted(now - set(pairs))
    if not new:
        return kept
    added = pd.DataFrame(new, columns=["source", "target"]).assign(cost=np.nan)
    return pd.concat([kept, added], ignore_index=True) if len(kept) else added.reindex(columns=before.columns)


def _measured(state: State, raw: Movie | None, new: set[int]) -> pd.DataFrame:
    """Return a row, by id, for each object that is new or whose outline changed."""
    frames = {state.graph.cell_of[i][0] for i in new} | set(state.labels.changed_frames)
    tables = [part for t in sorted(frames) if len(part := _measured_in(state, raw, t, new))]
    return pd.concat(tables) if tables else pd.DataFrame()


def _measured_in(state: State, raw: Movie | None, t: int, new: set[int]) -> pd.DataFrame:
    graph, objects = state.graph, state.automatic.tracks.objects
    labels = state.labels.frame(t)
    of_frame: Any = objects[objects["frame"] == t]
    before = _ids(state.automatic.labels.frame(t), dict(zip(of_frame["label"], of_frame["id"], strict=True)))
    found = np.unique(labels)
    ids = {int(label): graph.id_at[t, label] for label in found.tolist() if (t, label) in graph.id_at}
    after = _ids(labels, ids)
    differs = before != after
    changed = set(np.unique(before[differs]).tolist()) | set(np.unique(after[differs]).tolist()) | new
    wanted = {label: i for label, i in ids.items() if i in changed}
    if not wanted:
        return pd.DataFrame()
    table = measure(labels, raw.frame(t) if raw else None, voxel_size=state.automatic.voxel_size, frame=t)
    table = table[table["label"].isin(list(wanted))]
    return table.set_index(table["label"].map(wanted))


def _ids(labels: np.ndarray, ids: dict[int, int]) -> np.ndarray:
    """Return the frame with ids in place of labels, and -1 where there is no object."""
    known = np.array(sorted(ids), np.int64)
    if len(known) == 0:
        return np.full(labels.shape, -1, np.int64)
    values = np.array([ids[label] for label in known.tolist()], np.int64)
    at = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    return np.where(known[at] == labels, values[at], -1)

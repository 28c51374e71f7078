"""How good is a result? It is compared with the frames that a person curated, and earlier scores are kept beside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.curation.faults import faults
from helpers.curation.state import State
from helpers.curation.tables import curated_tracks
from helpers.data.tables import write_table
from helpers.errors import InputError
from helpers.segmentation.matching import match_counts
from helpers.tracking.tracks import Tracks

#: File in the movie's folder that keeps all scores.
SCORES = "curation_scores.csv"


@dataclass(frozen=True)
class Result:
    """Labels, and perhaps tracks, of whoever made them.

    Attributes
    ----------
    name : str
        As it stands in tables.
    labels : label movie
        Anything with ``shape`` and ``frame(t)``.
    tracks : Tracks or None
        With ``label``; objects that are not in the labels are an error.
    """

    name: str
    labels: Any
    tracks: Tracks | None = None


def automatic_result(state: State) -> Result:
    """Return the automatic result that edits were made on."""
    return Result("automatic", state.automatic.labels, state.automatic.tracks)


def curated_result(state: State) -> Result:
    """Return the result with all edits in force."""
    return Result("curated", state.labels, curated_tracks(state))


def curated_frames(state: State) -> list[int]:
    """Return the frames that a person found correct."""
    return sorted(mark[1] for mark in state.graph.marks if mark[0] == "frame")


def evaluate(
    truth: Result, found: Result, frames: Sequence[int] | None = None, *, own: bool = False
) -> pd.DataFrame:
    """Score a result against curated frames, as mmv_h4tracks does.

    Parameters
    ----------
    truth : Result
        Curated.
    found : Result
        Automatic, or of another program.
    frames : sequence of int, optional
        Curated frames, such as ``range(3, 8)``; all where left out.
    own : bool
        Add the scores of notebook 11_evaluate_tracking: TRA and division F1.

    Returns
    -------
    DataFrame
        A row for these frames, one for each range of them where they are several, one for the rest of the movie, and one for
        all of it: ``result, frames`` (``"3–7, 12"``, ``"rest (0–2)"``, ``"all"``), ``n_frames, n_true, n_found`` (cells),
        ``iou, dice`` (of the foreground), ``ap50, f1_50`` (cells, one to one at an IoU of 0.5: TP / (TP + FP + FN), and F1);
        for these frames and their ranges, where both have tracks and two frames follow each other: ``false_positives,
        false_negatives, split_cells, deleted_edges, added_edges, fault_value`` (`helpers.curation.faults`), and with `own`
        ``tra, division_f1``.

    Raises
    ------
    InputError
        Movies of different shape, no frames, or frames outside the movie.
    """
    shape = tuple(truth.labels.shape)
    if tuple(found.labels.shape) != shape:
        raise InputError(
            found.name, tuple(found.labels.shape), f"labels of the shape of the curated ones, {shape}"
        )
    every = range(shape[0])
    chosen = sorted(set(every if frames is None else frames))
    if not chosen or not set(chosen) <= set(every):
        raise InputError("frames", chosen[:10], f"frames of the movie, 0 to {shape[0] - 1}")
    counts = np.array([_counts(truth.labels.frame(t), found.labels.frame(t)) for t in every])
    parts = _ranges(chosen)
    rest = [t for t in every if t not in set(chosen)]
    rows = []
    for part in [chosen, *(parts if len(parts) > 1 else [])]:
        row = {"result": found.name, "frames": shown(part), **_segmentation(counts[part])}
        consecutive = any(b - a == 1 for a, b in pairwise(part))
        if truth.tracks is not None and found.tracks is not None and consecutive:
            count = faults(truth.labels, found.labels, part, truth.tracks, found.tracks)
            row |= {**vars(count), "fault_value": count.value}
            if own:
                row |= _own(truth, found, part)
        rows.append(row)
    for name, part in ((f"rest ({shown(rest)})", rest), ("all", list(every))):
        if part:
            rows.append({"result": found.name, "frames": name, **_segmentation(counts[part])})
    return pd.DataFrame(rows)


def shown(frames: Sequence[int]) -> str:
    """Return frames in short: ``"3–7, 9"``."""
    return ", ".join("–".join(map(str, sorted({part[0], part[-1]}))) for part in _ranges(frames))


def _ranges(frames: Sequence[int]) -> list[list[int]]:
    """Return ascending frames in runs without a gap."""
    parts: list[list[int]] = []
    for t in frames:
        if parts and t == parts[-1][-1] + 1:
            parts[-1].append(t)
        else:
            parts.append([t])
    return parts


def _counts(truth: np.ndarray, found: np.ndarray) -> list[float]:
    """Count a frame: voxels of both and of either, cells of each, and those that match, are made up and are missed."""
    a, b = truth > 0, found > 0
    matched = match_counts(truth, found, iou_thresholds=[0.5])[["tp", "fp", "fn"]].to_numpy()[0]
    return [(a & b).sum(), (a | b).sum(), len(np.unique(truth[a])), len(np.unique(found[b])), *matched]


def _segmentation(counts: np.ndarray) -> dict[str, Any]:
    """Return the scores of frames from their `_counts`, a row each."""
    both, either, n_true, n_found, tp, fp, fn = (int(total) for total in counts.sum(axis=0))
    return {
        "n_frames": len(counts),
        "n_true": n_true,
        "n_found": n_found,
        "iou": _share(both, either),
        "dice": _share(2 * both, both + either),
        "ap50": _share(tp, tp + fp + fn),
        "f1_50": _share(2 * tp, 2 * tp + fp + fn),
    }


def _share(part: float, whole: float) -> float:
    """Return part / whole; where there is nothing on either side, nothing is wrong."""
    return float(part / whole) if whole else 1.0


def _own(truth: Result, found: Result, frames: list[int]) -> dict[str, float]:
    """TRA and division F1 over the span of the frames."""
    from helpers.tracking.scores import score

    span = range(frames[0], frames[-1] + 1)
    ours, theirs = _cut(found.tracks, span), _cut(truth.tracks, span)
    if len(ours.objects) == 0 or len(theirs.objects) == 0:
        return {"tra": float("nan"), "division_f1": float("nan")}
    values = score(ours, theirs, *(_frames(each.labels, span) for each in (found, truth)))
    return {name: values[name] for name in ("tra", "division_f1")}


def _frames(labels: Any, span: range) -> Iterator[np.ndarray]:
    return (labels.frame(t) for t in span)


def _cut(tracks: Tracks | None, span: range) -> Tracks:
    assert tracks is not None
    part = tracks.subset(tracks.objects["frame"].isin(list(span)).to_numpy())
    objects = part.objects.assign(frame=part.objects["frame"] - span.start)
    return Tracks(objects, part.links, tracks.voxel_size, tracks.frame_interval)


def newest_scores(scores: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the scores of the last time, from `keep_scores`, by result and frames, to be shown as a table."""
    newest = scores[scores["time"] == scores["time"].iloc[-1]].drop(columns=["time", "edits"])
    rows = newest.astype(object).where(newest.notna(), None).to_dict("records")
    return {
        f"{row.pop('result')}, frames {row.pop('frames')}".replace("frames all", "all frames"): row
        for row in rows
    }


def keep_scores(folder: str | Path, scores: pd.DataFrame, edits: int) -> pd.DataFrame:
    """Add scores to those that are kept of a movie, and return all.

    Parameters
    ----------
    folder : path-like
        ``<run>/movies/<id>``; the file is ``curation_scores.csv``.
    scores : DataFrame
        From `evaluate`.
    edits : int
        Edits in force when they were made.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    path = Path(folder) / SCORES
    when = datetime.now(UTC).isoformat(timespec="seconds")
    new = scores.assign(time=when, edits=edits)
    new = new[["time", "edits", *scores.columns]]
    earlier = [pd.read_csv(path)] if path.is_file() else []
    every = pd.concat([*earlier, new], ignore_index=True)
    write_table(every, path)
    return every

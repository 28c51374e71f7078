"""How right tracks are: the scores of traccuracy and of the Cell Tracking Challenge, and where links are wrong.

Both label movies are read once, frame by frame; what remains is which object overlaps which. As in the
challenge, a predicted object is matched to a true one if it covers more than half of it. One prediction may
cover several true objects; where a score asks for one-to-one (divisions, complete tracks, the table of wrong
links) it keeps the one with the largest IoU.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.tracking.overlap import Frame, checked_frames, overlaps_within
from helpers.tracking.tracks import Tracks


@dataclass(frozen=True)
class Matching:
    """Which predicted objects cover which true ones.

    Parameters
    ----------
    pairs : DataFrame
        ``truth``, ``predicted`` (rows of the object tables), ``iou``; the challenge's rule.
    """

    pairs: pd.DataFrame

    @property
    def one_to_one(self) -> pd.DataFrame:
        """`pairs` with each predicted object kept once, with its largest IoU."""
        ordered = self.pairs.sort_values(["iou", "truth"], ascending=[False, True])
        return ordered.drop_duplicates("predicted").sort_values("truth", ignore_index=True)


def match_objects(
    predicted: Tracks,
    truth: Tracks,
    predicted_labels: Iterable[np.ndarray] | Any,
    true_labels: Iterable[np.ndarray] | Any,
) -> Matching:
    """Match predicted to true objects by their voxels.

    Parameters
    ----------
    predicted, truth : Tracks
        With ``label`` in their objects; labels without an object are not counted.
    predicted_labels, true_labels : iterable of (Z, Y, X) or (Y, X) int ndarray, or LabelMovie
        The frames of both, as many and of the same shape.

    Returns
    -------
    Matching

    Raises
    ------
    InputError
        No labels in the tables, frames that differ in number or shape, an object whose label is not in its
        frame.
    """
    tables = []
    for name, tracks in (("predicted", predicted), ("truth", truth)):
        if "label" not in tracks.objects:
            raise InputError(f"{name}.objects", list(tracks.objects.columns), "add the column label")
        table = tracks.objects[["frame", "label"]].assign(row=np.arange(len(tracks.objects)))
        tables.append(table)
    parts = [pd.DataFrame({"truth": np.empty(0, int), "predicted": np.empty(0, int), "iou": np.empty(0)})]
    ours, theirs = checked_frames(predicted_labels), checked_frames(true_labels)
    t = -1
    for t, (a, b) in enumerate(zip_longest(ours, theirs, fillvalue=None)):
        if a is None or b is None:
            short = "predicted_labels" if a is None else "true_labels"
            raise InputError(short, f"{t} frames", "both movies have the same number of frames")
        if a.shape != b.shape:
            raise InputError(f"predicted_labels[{t}].shape", a.shape, f"the shape of true_labels, {b.shape}")
        frames = []
        for name, labels, table in (("predicted", a, tables[0]), ("truth", b, tables[1])):
            here = table[table["frame"] == t]
            frame = Frame.of(labels, here["label"].to_numpy(np.int64), here["row"].to_numpy(np.int64))
            if (frame.sizes == 0).any():
                lost = tables[0 if name == "predicted" else 1]["label"].to_numpy()[
                    frame.ids[frame.sizes == 0]
                ]
                raise InputError(
                    f"{name}.objects.label",
                    lost[:5].tolist(),
                    f"these labels are not in frame {t} of the movie",
                )
            frames.append(frame)
        found = overlaps_within(frames[1], frames[0])
        covered = found["shared"] > 0.5 * found["source_size"]
        parts.append(
            found.loc[covered, ["source", "target", "iou"]].rename(
                columns={"source": "truth", "target": "predicted"}
            )
        )
    last = max(int(table["frame"].max()) if len(table) else -1 for table in tables)
    if last > t:
        raise InputError("true_labels", f"{t + 1} frames", f"the objects reach frame {last}")
    filled = [part for part in parts if len(part)] or parts[:1]
    return Matching(pd.concat(filled, ignore_index=True))


def score(
    predicted: Tracks,
    truth: Tracks,
    predicted_labels: Iterable[np.ndarray] | Any = None,
    true_labels: Iterable[np.ndarray] | Any = None,
    *,
    frame_buffer: int = 1,
    matching: Matching | None = None,
) -> dict[str, float]:
    """Score tracks against the truth.

    Parameters
    ----------
    predicted, truth : Tracks
        With ``label`` in their objects. A merge keeps its first parent (smallest id): the challenge's scores
        know no merges; ``ignored_merge_links`` counts what was left out.
    predicted_labels, true_labels : iterable of (Z, Y, X) or (Y, X) int ndarray, or LabelMovie
        As in `match_objects`; not needed with `matching`.
    frame_buffer : int
        A division up to so many frames early or late still counts.
    matching : Matching, optional
        From `match_objects`, to score without reading the movies again.

    Returns
    -------
    dict of str to float
        ``tra, det, lnk`` (traccuracy; py-ctcmetrics' ``tra_ctc`` beside them), ``seg`` (py-ctcmetrics),
        ``division_f1, division_precision, division_recall`` (traccuracy, with tolerance), ``chota``,
        ``complete_tracks`` and ``complete_tracklets`` (fraction of the true trees and tracklets without any
        error; traccuracy), ``ignored_merge_links``. NaN where the truth has nothing to score, such as
        divisions.

    Raises
    ------
    InputError
        See `match_objects`; also an empty truth or prediction, or a negative tolerance.
    """
    if frame_buffer < 0:
        raise InputError("frame_buffer", frame_buffer, "give a number of frames, 0 or more")
    for name, tracks in (("predicted", predicted), ("truth", truth)):
        if len(tracks.objects) == 0:
            raise InputError(name, "no objects", "there is nothing to score")
    if matching is None:
        matching = match_objects(predicted, truth, predicted_labels, true_labels)
    ours, ignored = _without_merges(predicted)
    theirs, ignored_true = _without_merges(truth)
    with _compiled_once():
        from traccuracy.metrics import CHOTAMetric, CompleteTracks, CTCMetrics, DivisionMetrics

    with warnings.catch_warnings(), _without_bars():
        # Complete tracks annotate nodes and edges twice, and say so.
        warnings.filterwarnings("ignore", message=".* errors already calculated", category=UserWarning)
        ctc, chota = (
            metric.compute(_matched(ours, theirs, matching.pairs)).results
            for metric in (CTCMetrics(), CHOTAMetric())
        )
        divisions, complete = (
            metric.compute(_matched(ours, theirs, matching.one_to_one)).results
            for metric in (DivisionMetrics(max_frame_buffer=frame_buffer), CompleteTracks())
        )
    division = divisions[f"Frame Buffer {frame_buffer}"]
    f1 = division["Division F1"]
    if np.isnan(f1) and not (
        np.isnan(division["Division Precision"]) and np.isnan(division["Division Recall"])
    ):
        f1 = 0.0  # divisions on one side only: 2·TP / (2·TP + FP + FN)
    challenge = _challenge(ours, theirs, matching.pairs)
    values = {
        "tra": ctc["TRA"],
        "det": ctc["DET"],
        "lnk": ctc["LNK"],
        "seg": challenge["SEG"],
        "tra_ctc": challenge["TRA"],
        "division_f1": f1,
        "division_precision": division["Division Precision"],
        "division_recall": division["Division Recall"],
        "chota": chota["CHOTA"],
        "complete_tracks": complete["complete_lineages"],
        "complete_tracklets": complete["complete_tracklets"],
        "ignored_merge_links": ignored + ignored_true,
    }
    return {name: float(value) for name, value in values.items()}


def wrong_links(
    predicted: Tracks, truth: Tracks, matching: Matching, *, frame_buffer: int = 1
) -> pd.DataFrame:
    """Return where and when links are wrong, for a figure.

    Parameters
    ----------
    predicted, truth : Tracks
        As in `score`.
    matching : Matching
        From `match_objects`.
    frame_buffer : int
        As in `score`.

    Returns
    -------
    DataFrame
        One row per error: ``frame, z, y, x`` (of the later object of a link, of the mother of a division),
        ``kind``, ``source`` and ``target`` (ids; of the prediction for false links, id switches and false
        divisions, of the truth for missed ones; for divisions source is the mother, target −1). Kinds:

        - ``"missed link"``: a true link that was not predicted;
        - ``"false link"``: a predicted link with an end that matches no true object;
        - ``"id switch"``: a predicted link between two true objects that are not linked;
        - ``"missed division"``, ``"false division"``: as traccuracy counts them, with tolerance;
        - ``"wrong daughters"``: a predicted division at the right place with a daughter that is not hers.
    """
    with _compiled_once():
        from traccuracy import NodeFlag
        from traccuracy.metrics import DivisionMetrics

    pairs = matching.one_to_one
    to_truth = np.full(len(predicted.objects), -1)
    to_truth[pairs["predicted"]] = pairs["truth"]
    to_predicted = np.full(len(truth.objects), -1)
    to_predicted[pairs["truth"]] = pairs["predicted"]

    mapped = to_truth[predicted.link_rows]
    right = _among(mapped, truth.link_rows, len(truth.objects))
    switched = ~right & (mapped >= 0).all(axis=1)
    found = _among(to_predicted[truth.link_rows], predicted.link_rows, len(predicted.objects))
    parts = [
        _link_rows(predicted, predicted.link_rows[~right & ~switched], "false link"),
        _link_rows(predicted, predicted.link_rows[switched], "id switch"),
        _link_rows(truth, truth.link_rows[~found], "missed link"),
    ]
    ours, _ = _without_merges(predicted)
    theirs, _ = _without_merges(truth)
    matched = _matched(ours, theirs, pairs)
    with _without_bars():
        DivisionMetrics(max_frame_buffer=frame_buffer).compute(matched)
    for tracks, graph, flag, kind in (
        (truth, matched.gt_graph, NodeFlag.FN_DIV, "missed division"),
        (predicted, matched.pred_graph, NodeFlag.FP_DIV, "false division"),
        (predicted, matched.pred_graph, NodeFlag.WC_DIV, "wrong daughters"),
    ):
        nodes = [
            int(str(node)) - 1
            for node in graph.nodes_by_flag[flag]
            # NaN: no tolerance would make it right.
            if not graph.graph.nodes[node].get(NodeFlag.MIN_BUFFER_CORRECT.value, np.nan) <= frame_buffer
        ]
        rows = np.array(sorted(nodes), dtype=np.int64)
        parts.append(_link_rows(tracks, np.column_stack([rows, np.full(len(rows), -1)]), kind))
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values(["frame", "kind", "source"], ignore_index=True)


@contextlib.contextmanager
def _compiled_once() -> Iterator[None]:
    """Let numba keep on the disk what traccuracy compiles anew at every import: a quarter of the time of notebook 11_evaluate_tracking."""
    import numba

    njit = numba.njit

    def kept(signature: Any = None, **options: Any) -> Any:
        # Only where all types are given: skan, which traccuracy imports, has functions that numba cannot keep.
        return njit(signature, **({"cache": True} if isinstance(signature, list) else {}), **options)

    numba.njit = kept
    try:
        yield
    finally:
        numba.njit = njit


def _without_bars() -> contextlib.redirect_stderr[io.StringIO]:
    """Hide traccuracy's progress bars, which take a second and fill a notebook with red lines."""
    return contextlib.redirect_stderr(io.StringIO())


def _among(links: np.ndarray, known: np.ndarray, n: int) -> np.ndarray:
    """Return whether each link (pair of rows, −1 for none) is one of the known ones."""
    keys = links[:, 0] * n + links[:, 1]
    return (links >= 0).all(axis=1) & np.isin(keys, known[:, 0] * n + known[:, 1])


def _link_rows(tracks: Tracks, links: np.ndarray, kind: str) -> pd.DataFrame:
    source, target = links[:, 0], links[:, 1]
    at = np.where(target >= 0, target, source)
    ids = tracks.objects["id"].to_numpy()
    table = tracks.objects.iloc[at][["frame", "z", "y", "x"]].reset_index(drop=True)
    targets = np.where(target >= 0, ids[target], -1) if len(ids) else target
    return table.assign(kind=kind, source=ids[source], target=targets)


def _without_merges(tracks: Tracks) -> tuple[Tracks, int]:
    """Return the Tracks with one link into each object, and how many links that dropped."""
    if (tracks.in_degree <= 1).all():
        return tracks, 0
    first = ~tracks.links.sort_values("source").duplicated("target").reindex(tracks.links.index)
    kept = Tracks(tracks.objects, tracks.links[first], tracks.voxel_size, tracks.frame_interval)
    return kept, int((~first).sum())


def _matched(predicted: Tracks, truth: Tracks, pairs: pd.DataFrame):
    """Return traccuracy's matched graphs; node = row + 1."""
    from traccuracy.matchers import Matched

    mapping = list(zip((pairs["truth"] + 1).tolist(), (pairs["predicted"] + 1).tolist(), strict=True))
    return Matched(_graph(truth), _graph(predicted), mapping, {"name": "volltrack"})


def _graph(tracks: Tracks):
    import networkx as nx
    from traccuracy import TrackingGraph

    graph = nx.DiGraph()
    frames = tracks.objects["frame"].tolist()
    graph.add_nodes_from((row + 1, {"t": t}) for row, t in enumerate(frames))
    graph.add_edges_from((tracks.link_rows + 1).tolist())
    return TrackingGraph(graph, label_key=None)


def _challenge(predicted: Tracks, truth: Tracks, pairs: pd.DataFrame) -> dict[str, float]:
    """Return py-ctcmetrics' TRA and SEG."""
    from ctc_metrics.metrics import seg, tra
    from ctc_metrics.utils.representations import count_acyclic_graph_correction_operations

    n_frames = 1 + max(int(tracks.objects["frame"].max()) for tracks in (predicted, truth))
    table, labels = _challenge_table(predicted)
    true_table, true_labels = _challenge_table(truth)
    at = truth.objects["frame"].to_numpy()[pairs["truth"]]
    mapped_true = _per_frame(true_labels[pairs["truth"]], at, n_frames)
    mapped = _per_frame(labels[pairs["predicted"]], at, n_frames)
    ious = _per_frame(pairs["iou"].to_numpy(), at, n_frames)
    # py-ctcmetrics looks labels up in these by bisection, so they ascend.
    present_true = _per_frame(true_labels, truth.objects["frame"].to_numpy(), n_frames, ascending=True)
    present = _per_frame(labels, predicted.objects["frame"].to_numpy(), n_frames, ascending=True)
    if len(truth.links) == 0:  # py-ctcmetrics cannot count without a link
        return {"TRA": np.nan, "SEG": seg(present_true, ious)}
    counts = count_acyclic_graph_correction_operations(
        true_table, table, present_true, present, mapped_true, mapped
    )
    value = tra(**counts)
    return {"TRA": value[0] if isinstance(value, tuple) else value, "SEG": seg(present_true, ious)}


def _challenge_table(tracks: Tracks) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows of label, begin, end, parent; the label of each object): a gap begins a new label."""
    frames = tracks.objects["frame"].to_numpy()
    source, target = tracks.link_rows.T
    unbroken = frames[target] - frames[source] == 1
    within = unbroken & (tracks.out_degree[source] == 1)
    pieces = Tracks(tracks.objects, tracks.links[within])
    label = pieces.tracklet_ids + 1
    by = pd.Series(frames).groupby(label)
    parent = np.zeros(pieces.n_tracklets, np.int64)
    parent[label[target[~within]] - 1] = label[source[~within]]
    table = np.column_stack([np.arange(1, len(parent) + 1), by.min(), by.max(), parent])
    return table.astype(np.int64), label


def _per_frame(
    values: np.ndarray, frames: np.ndarray, n_frames: int, *, ascending: bool = False
) -> list[list]:
    order = np.lexsort((values, frames)) if ascending else np.argsort(frames, kind="stable")
    bounds = np.searchsorted(frames[order], np.arange(1, n_frames))
    return [part.tolist() for part in np.split(values[order], bounds)]

"""Scores against curated frames, by hand and against the rules of mmv_h4tracks written out plainly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.curation import Cell, Curation, confirming
from helpers.curation.evaluation import (
    Result,
    automatic_result,
    curated_frames,
    curated_result,
    evaluate,
    keep_scores,
    shown,
)
from helpers.curation.faults import Faults, frame_faults
from helpers.errors import InputError
from helpers.tracking.objects import measure
from tests.curation import mmv_cases
from tests.curation.curated_movies import LINKS, VOXEL, boxes, tracks_of


class Movie:
    """Labels in memory."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels, self.shape = labels, labels.shape

    def frame(self, t: int) -> np.ndarray:
        return self.labels[t]


def result(labels: np.ndarray, links=LINKS, name: str = "x") -> Result:
    tables = [measure(frame, voxel_size=VOXEL, frame=t) for t, frame in enumerate(labels)]
    return Result(name, Movie(labels), tracks_of(pd.concat(tables, ignore_index=True), links))


def as_mmv(truth: np.ndarray, found: np.ndarray) -> tuple[int, float, int]:
    """FP, FN and SC of one frame by the rules as the reference states them, cell by cell, pixel by pixel."""

    def ious(mask: np.ndarray, others: np.ndarray) -> list[float]:
        labels = [label for label in np.unique(others[mask]) if label]
        return [(mask & (others == b)).sum() / (mask | (others == b)).sum() for b in labels]

    fp = fn = sc = 0.0
    for label in np.unique(found[found > 0]):
        each = sorted(ious(found == label, truth), reverse=True)
        fp += not each or (each[0] < 0.4 and not (len(each) > 1 and each[1] < 0.2))
        sc += len(each) > 1 and each[1] > 0.2
    for label in np.unique(truth[truth > 0]):
        mask = truth == label
        partners = [b for b in np.unique(found[mask]) if b]
        each = ious(mask, found)
        if not each or not max(each) > 0.4:
            fn += 1
            continue
        back = sorted(ious(found == partners[int(np.argmax(each))], truth), reverse=True)
        if back[0] > max(each):
            fn += 1
        elif len(back) > 1 and back[0] == back[1]:
            fn += 0.5
    return int(fp), fn, int(sc)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1))
def test_faults_of_a_frame_are_those_of_the_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(2):
        coarse = rng.integers(0, 4, (1, 3, 4)) * rng.integers(1, 4)
        frames.append(np.kron(coarse, np.ones((1, 2, 2), int)).astype(np.int32))
    frames[1] = np.roll(frames[rng.integers(2)], rng.integers(0, 2, 2), (1, 2))
    found, _, _ = frame_faults(*frames)
    assert (found.false_positives, found.false_negatives, found.split_cells) == as_mmv(*frames)


def test_the_weights_are_those_of_the_seed() -> None:
    assert Faults(1, 1, 1, 1, 1).value == 1 + 10 + 5 + 1 + 1.5
    assert Faults(2, 0.5, 3, 4, 5).value == 2 + 5 + 15 + 4 + 7.5


@pytest.mark.parametrize("depth", [1, 3])
def test_what_is_equal_has_no_faults(depth: int) -> None:
    scores = evaluate(result(boxes(depth)), result(boxes(depth)), own=True)
    first = scores.iloc[0]
    assert first[["iou", "dice", "ap50", "f1_50", "tra", "division_f1"]].tolist() == [1.0] * 6
    assert first["fault_value"] == 0 and first["n_true"] == first["n_found"] == 14
    assert scores["frames"].tolist() == ["0–3", "all"] and scores["n_frames"].tolist() == [4, 4]


def test_each_fault_counts_once_by_its_weight() -> None:
    truth, found = boxes(1), boxes(1)
    found[0][found[0] == 2] = 0  # missed: FN, and the edge that begins there must be added
    found[3, 0, 36:39, 40:46] = 9  # invented: FP
    links = [
        pair for pair in LINKS if pair not in {((0, 2), (1, 2)), ((2, 1), (3, 1))}
    ]  # the second must be added
    links.append(((2, 5), (3, 1)))  # and this one be deleted
    first = evaluate(result(truth), result(found, links)).iloc[0]
    names = ["false_positives", "false_negatives", "split_cells", "deleted_edges", "added_edges"]
    assert first[names].tolist() == [1, 1, 0, 1, 2]
    assert first["fault_value"] == 1 + 10 + 1 + 3


def test_tra_and_divisions_are_those_of_the_frames() -> None:
    found = boxes(1)
    found[3][found[3] == 4] = 0
    links = [pair for pair in LINKS if (3, 4) not in pair and pair != ((1, 3), (2, 4))]
    inside = evaluate(result(boxes(1)), result(found, links), frames=[0, 1, 2], own=True).iloc[0]
    every = evaluate(result(boxes(1)), result(found, links), own=True).iloc[0]
    assert inside["division_f1"] == every["division_f1"] == 0
    assert every["tra"] < inside["tra"] < 1
    later = evaluate(result(boxes(1)), result(found, links), frames=[2, 3], own=True).iloc[0]
    assert later["tra"] < 1 and np.isnan(later["division_f1"]), "nothing divides after frame 2"


def test_two_cells_in_one_need_a_split() -> None:
    truth, found = boxes(1), boxes(1)
    found[2][found[2] == 4] = 3
    links = [pair for pair in LINKS if (2, 4) not in pair]
    first = evaluate(result(truth), result(found, links), frames=[2, 3]).iloc[0]
    assert first["split_cells"] == 1
    # Both halves fit the one cell equally well: half a miss each.
    assert first["false_negatives"] == 1.0


def test_the_last_frame_counts() -> None:
    links = [pair for pair in LINKS if pair != ((2, 1), (3, 1))]
    assert evaluate(result(boxes(1)), result(boxes(1), links)).iloc[0]["added_edges"] == 1
    assert evaluate(result(boxes(1)), result(boxes(1), links), frames=[0, 1, 2]).iloc[0]["added_edges"] == 0


def test_edges_are_compared_by_cells_whatever_their_labels_and_centres() -> None:
    moved = np.where(boxes(1) > 0, boxes(1) + 20, 0).astype(np.int32)
    moved[0, 0, 2, 2:12] = 0  # a row less: the centre lies half a pixel off
    links = [((t, a + 20), (u, b + 20)) for (t, a), (u, b) in LINKS]
    assert evaluate(result(boxes(1)), result(moved, links)).iloc[0]["fault_value"] == 0


MMV = json.loads(Path(__file__).with_name("mmv_h4tracks_scores.json").read_text())


@pytest.mark.parametrize("seed", MMV)
def test_scores_are_those_of_mmv_h4tracks_itself(seed: str) -> None:
    truth, found, true_tracks, tracks = mmv_cases.movie(int(seed))
    results = [result(labels[:, None].astype(np.int32), _links(rows, labels)) for labels, rows in ((truth, true_tracks), (found, tracks))]  # fmt: skip
    ours = evaluate(*results).iloc[0].to_dict()
    # It leaves the last frame's edges out, which the sheet calls an error of it.
    edges = evaluate(*results, frames=range(mmv_cases.N_FRAMES - 1)).iloc[0]
    ours |= edges[["deleted_edges", "added_edges"]].to_dict()
    assert {name: ours[name] for name in MMV[seed]} == pytest.approx(MMV[seed])
    weights = {
        "false_positives": 1,
        "false_negatives": 10,
        "split_cells": 5,
        "deleted_edges": 1,
        "added_edges": 1.5,
    }
    all_frames = evaluate(*results).iloc[0]
    assert all_frames["fault_value"] == sum(w * all_frames[name] for name, w in weights.items())


def _links(rows: np.ndarray, labels: np.ndarray) -> list:
    """The edges of mmv_h4tracks' rows (id, frame, y, x) as pairs of (frame, label)."""
    keys = [(t, int(labels[t, y, x])) for _, t, y, x in rows.tolist()]
    follows = (np.diff(rows[:, 0]) == 0) & (np.diff(rows[:, 1]) == 1)
    return [(keys[k], keys[k + 1]) for k in np.flatnonzero(follows)]


def test_foreground_scores_by_hand() -> None:
    truth, found = np.zeros((2, 1, 4, 4), np.int32), np.zeros((2, 1, 4, 4), np.int32)
    truth[0, 0, 0], found[0, 0, :2] = 1, 1  # 4 of 8 pixels
    first, rest, every = (
        row for _, row in evaluate(result(truth, []), result(found, []), frames=[0]).iterrows()
    )
    assert (first["iou"], first["dice"]) == (0.5, 2 / 3)
    assert (first["ap50"], first["f1_50"]) == (1.0, 1.0)
    assert (first["frames"], rest["frames"], every["frames"]) == ("0", "rest (1)", "all") and rest["iou"] == 1
    assert np.isnan(every.get("fault_value", np.nan)), "a single frame has no edges"
    empty = np.zeros_like(truth)
    assert evaluate(result(empty, []), result(empty, [])).iloc[0]["iou"] == 1.0


def test_each_range_the_rest_and_all_have_a_row_with_its_n() -> None:
    truth, found = boxes(1), boxes(1)
    found[3][found[3] == 1] = 0  # missed in the second range
    links = [link for link in LINKS if (3, 1) not in link]
    scores = evaluate(result(truth), result(found, links), frames=[0, 2, 3])
    assert scores["frames"].tolist() == ["0, 2–3", "0", "2–3", "rest (1)", "all"]
    assert scores["n_frames"].tolist() == [3, 1, 2, 1, 4]
    assert (scores["n_true"] - scores["n_found"]).tolist() == [1, 0, 1, 0, 1]
    assert scores["false_negatives"].notna().tolist() == [True, False, True, False, False]
    assert scores["f1_50"][1] == 1 > scores["f1_50"][2]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"^x = .*labels of the shape of the curated ones"):
        evaluate(result(boxes(1)), result(boxes(3)))
    with pytest.raises(InputError, match=r"^frames = .*0 to 3"):
        evaluate(result(boxes(1)), result(boxes(1)), frames=[3, 4])
    with pytest.raises(InputError, match=r"^frames = "):
        evaluate(result(boxes(1)), result(boxes(1)), frames=[])
    assert shown([1, 2, 3, 5, 8, 9]) == "1–3, 5, 8–9"


def test_the_automatic_result_is_scored_against_the_curated_and_earlier_scores_stay(folder: Path) -> None:
    with Curation(folder) as curation:
        state = curation.state
        curation.do("remove", cell=Cell(2, 5))
        curation.do("confirm", **confirming.frame(state, 2))
        curation.do("confirm", **confirming.frame(state, 3))
        assert curated_frames(state) == [2, 3]
        scores = evaluate(curated_result(state), automatic_result(state), curated_frames(state))
        assert scores["false_positives"][0] == 1 and scores["fault_value"][0] == 1
        kept = keep_scores(folder, scores, len(state.done))
        curation.undo()
        again = evaluate(curated_result(state), automatic_result(state), [2, 3])
        kept = keep_scores(folder, again, len(state.done))
    assert kept["edits"].tolist() == [3, 3, 3, 2, 2, 2]
    assert (
        kept["frames"].tolist()
        == ["2–3", f"rest ({shown([t for t in range(state.shape[0]) if t not in (2, 3)])})", "all"] * 2
    )
    pd.testing.assert_frame_equal(kept, pd.read_csv(folder / "curation_scores.csv"))

"""Scores of tracks worked out by hand, invariances, and the libraries' own readers on the same results.

AOGM (Matula et al. 2015): of vertices a split costs 5, a missed one 10 and a false one 1; of edges a false one costs 1, a missed
one 1.5, one of the wrong kind 1. TRA is 1 − AOGM / AOGM of an empty graph; DET counts vertices, LNK edges only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.tracking.formats import ctc
from helpers.tracking.scores import Matching, match_objects, score, wrong_links
from helpers.tracking.tracks import Tracks

#: Of the scores that say how right tracks are.
NAMES = (
    "tra",
    "det",
    "lnk",
    "seg",
    "tra_ctc",
    "division_f1",
    "chota",
    "complete_tracks",
    "complete_tracklets",
)
Movie = np.ndarray


def cells(
    rows: list[tuple[int, int, int]], links: list[tuple[int, int]], n_frames: int = 4
) -> tuple[Tracks, Movie]:
    """Draw cells (id, frame, slot) as blocks of 4 × 4 pixels, one slot beside the other; labels are ids + 1."""
    movie = np.zeros((n_frames, 6, 48), np.int32)
    for i, frame, slot in rows:
        movie[frame, 1:5, 6 * slot : 6 * slot + 4] = i + 1
    objects = pd.DataFrame(rows, columns=["id", "frame", "slot"])
    objects = objects.assign(label=objects["id"] + 1, z=0.0, y=2.5, x=6.0 * objects.pop("slot") + 1.5)
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target"])), movie


#: 0-1 divides into 2-4 and 3-5; 6-7-8-9 goes on beside them. Ten vertices, eight edges: 10 · 10 + 8 · 1.5 = 112.
ROWS = [(0, 0, 1), (1, 1, 1), (2, 2, 0), (3, 2, 2), (4, 3, 0), (5, 3, 2), *((6 + t, t, 5) for t in range(4))]
LINKS = [(0, 1), (1, 2), (1, 3), (2, 4), (3, 5), (6, 7), (7, 8), (8, 9)]
WHOLE = 10 * 10 + 1.5 * 8
TRUTH, MOVIE = cells(ROWS, LINKS)


def scored(rows: list, links: list, shown: Movie | None = None) -> dict[str, float]:
    tracks, movie = cells(rows, links)
    return score(tracks, TRUTH, movie if shown is None else shown, MOVIE)


def without(*ids: int) -> tuple[list, list]:
    rows = [row for row in ROWS if row[0] not in ids]
    return rows, [link for link in LINKS if not {*link} & {*ids}]


@pytest.mark.parametrize(
    ("gone", "vertices", "edges"),
    [((9,), 10, 1.5), ((7,), 10, 3.0), ((4, 5), 20, 3.0), ((0,), 10, 1.5), ((6, 7, 8, 9), 40, 4.5)],
)
def test_missed_cells_cost_10_and_their_edges_a_half_more_than_1(
    gone: tuple, vertices: float, edges: float
) -> None:
    found = scored(*without(*gone))
    assert found["det"] == pytest.approx(1 - vertices / 100)
    assert found["lnk"] == pytest.approx(1 - edges / 12)
    assert found["tra"] == found["tra_ctc"] == pytest.approx(1 - (vertices + edges) / WHOLE)


def test_a_false_cell_costs_1_and_a_false_edge_1() -> None:
    found = scored([*ROWS, (10, 2, 7), (11, 3, 7)], [*LINKS, (10, 11)])
    assert found["det"] == pytest.approx(1 - 2 / 100)
    assert found["lnk"] == pytest.approx(1), "an edge between false cells goes with them"
    found = scored(ROWS, [*LINKS, (7, 2)][0:1] + [link for link in LINKS[1:] if link != (1, 2)] + [(7, 2)])
    # 7-2 is false (1), 1-2 missed (1.5); 1-3 and 7-8 are of the wrong kind now (1 each).
    assert found["tra"] == pytest.approx(1 - 4.5 / WHOLE)


def test_a_daughter_that_is_not_linked_costs_a_miss_and_a_wrong_kind() -> None:
    found = scored(ROWS, [link for link in LINKS if link != (1, 3)])
    # 1-3 is missed (1.5), and 1-2 goes on where it should divide (1).
    assert found["tra"] == pytest.approx(1 - 2.5 / WHOLE)
    assert (found["division_f1"], found["complete_tracks"]) == (0, 0.5)
    # Of the tracklets 0-1, 2-4, 3-5 and 6-…-9 all have their own links.
    assert found["complete_tracklets"] == 1


def test_two_cells_in_one_cost_5() -> None:
    rows, links = without(5)
    shown = MOVIE.copy()
    shown[3, 1:5, 0:16] = 5  # cell 4 and cell 5, and what lies between
    found = scored(rows, links, shown)
    assert found["det"] == pytest.approx(1 - 5 / 100)
    # IoU of both with 4 · 16 pixels is 16 / 64 = 0.25.
    assert found["seg"] == pytest.approx((8 + 2 * 0.25) / 10)


@pytest.mark.parametrize(("columns", "iou"), [(4, 1.0), (3, 0.75), (2, 0.0), (1, 0.0)])
def test_seg_counts_what_covers_more_than_half(columns: int, iou: float) -> None:
    """Of cell 9's four columns some are found: half of them are none, more count with their IoU."""
    shown = MOVIE.copy()
    shown[3, 1:5, 30 + columns : 34] = 0
    found = scored(ROWS, LINKS, shown)
    assert found["seg"] == pytest.approx((9 + iou) / 10)
    # Half a cell is a missed one and a false one.
    assert found["det"] == pytest.approx(1 if iou else 1 - 11 / 100)


def test_divisions_are_counted_by_precision_and_recall() -> None:
    """One of two divisions is found, and two false ones: precision 1/3, recall 1/2, F1 = 2 / (2 + 2 + 1)."""
    rows, links = [], []
    for k in range(4):  # four cells with a place for daughters on both sides
        rows += [(10 * k, 0, 2 * k), (10 * k + 1, 1, 2 * k), (10 * k + 2, 1, 2 * k + 1)]
        links += [(10 * k, 10 * k + 1)]
    truth, movie = cells(rows, [*links, (0, 2), (10, 12)], 2)
    predicted, _ = cells(rows, [*links, (0, 2), (20, 22), (30, 32)], 2)
    found = score(predicted, truth, movie, movie, frame_buffer=0)
    assert found["division_precision"] == pytest.approx(1 / 3)
    assert found["division_recall"] == 0.5 and found["division_f1"] == pytest.approx(0.4)
    wrong = wrong_links(predicted, truth, match_objects(predicted, truth, movie, movie), frame_buffer=0)
    kinds = wrong.groupby("kind")["source"].apply(list).to_dict()
    assert kinds["missed division"] == [10] and sorted(kinds["false division"]) == [20, 30]
    assert (wrong.loc[wrong["kind"].str.endswith("division"), "target"] == -1).all()


def test_of_two_parents_the_one_with_the_smaller_id_is_scored() -> None:
    found = scored(ROWS, [*LINKS, (6, 1)])
    assert (found["tra"], found["division_f1"], found["ignored_merge_links"]) == (1, 1, 1)


def test_a_prediction_over_two_cells_belongs_to_the_one_of_the_larger_iou() -> None:
    pairs = pd.DataFrame({"truth": [0, 1, 2], "predicted": [5, 5, 6], "iou": [0.2, 0.6, 0.3]})
    assert Matching(pairs).one_to_one[["truth", "predicted"]].to_numpy().tolist() == [[1, 5], [2, 6]]


def test_each_kind_of_wrong_link_is_named_with_its_place() -> None:
    rows = [*(row for row in ROWS if row[0] != 9), (12, 3, 7)]
    links = [(0, 1), (1, 2), (1, 3), (2, 5), (3, 4), (6, 7), (7, 8), (8, 12)]
    tracks, movie = cells(rows, links)
    wrong = wrong_links(tracks, TRUTH, match_objects(tracks, TRUTH, movie, MOVIE))
    found = {tuple(row) for row in wrong[["frame", "kind", "source", "target"]].to_numpy().tolist()}
    assert found == {
        (3, "id switch", 2, 5), (3, "id switch", 3, 4), (3, "missed link", 2, 4), (3, "missed link", 3, 5),
        (3, "missed link", 8, 9), (3, "false link", 8, 12),
    }  # fmt: skip
    at = wrong.set_index(["kind", "target"])["x"]
    assert at["false link", 12] == 43.5 and at["missed link", 9] == 31.5, "of the later cell"


def test_a_division_with_a_daughter_of_another_is_named_so() -> None:
    links = [(0, 1), (1, 2), (1, 8), (2, 4), (3, 5), (6, 7), (8, 9)]
    tracks, movie = cells(ROWS, links)
    matching = match_objects(tracks, TRUTH, movie, MOVIE)
    wrong = wrong_links(tracks, TRUTH, matching)
    assert ("wrong daughters", 1) in set(zip(wrong["kind"], wrong["source"], strict=True))
    assert score(tracks, TRUTH, matching=matching)["division_f1"] == 0


# ---- what must not matter --------------------------------------------------------------------------------


def damaged() -> tuple[Tracks, Movie]:
    """Return a result with a bit of everything: a missed, a false and a shrunk cell, a wrong and a missed link."""
    rows = [*without(4)[0], (12, 3, 7)]
    links = [(0, 1), (1, 2), (1, 3), (6, 7), (7, 8), (8, 12)]
    tracks, movie = cells(rows, links)
    movie[0, 1, 30:34] = 0
    return tracks, movie


def _shuffled(tracks: Tracks, movie: Movie) -> tuple[Tracks, Any]:
    order = np.random.default_rng(2).permutation(len(tracks.objects))
    return Tracks(tracks.objects.iloc[order], tracks.links.iloc[::-1]), movie


def _numbered(tracks: Tracks, movie: Movie) -> tuple[Tracks, Any]:
    """Give ids and labels of which many lie beyond 16 bits, in another order."""
    new = np.random.default_rng(3).permutation(40) + 65_520
    objects = tracks.objects.assign(id=new[tracks.objects["id"]], label=new[tracks.objects["label"]])
    links = tracks.links.assign(source=new[tracks.links["source"]], target=new[tracks.links["target"]])
    return Tracks(objects, links), np.where(movie, new[movie], 0)


def _later(tracks: Tracks, movie: Movie) -> tuple[Tracks, Any]:
    objects = tracks.objects.assign(frame=tracks.objects["frame"] + 3)
    return Tracks(objects, tracks.links), np.concatenate([np.zeros((3, 6, 48), np.int32), movie])


def _deep(tracks: Tracks, movie: Movie) -> tuple[Tracks, Any]:
    """Make cells three slices deep, in voxels of unequal sides."""
    tracks = Tracks(tracks.objects.assign(z=4.0), tracks.links, (4.0, 0.5, 0.25), 60.0)
    return tracks, (np.repeat(frame[None], 3, axis=0) for frame in movie)


@pytest.mark.parametrize("change", [_shuffled, _numbered, _later, _deep])
def test_scores_do_not_depend_on(change: Any) -> None:
    expected = score(damaged()[0], TRUTH, damaged()[1], MOVIE)
    assert 0.5 < expected["tra"] < 1
    (ours, movie), (truth, true_movie) = change(*damaged()), change(TRUTH, MOVIE)
    found = score(ours, truth, movie, true_movie)
    assert {n: found[n] for n in NAMES} == pytest.approx({n: expected[n] for n in NAMES}, nan_ok=True)
    (_, movie), (_, true_movie) = change(*damaged()), change(TRUTH, MOVIE)
    wrong = wrong_links(ours, truth, match_objects(ours, truth, movie, true_movie))
    plain = wrong_links(damaged()[0], TRUTH, match_objects(damaged()[0], TRUTH, damaged()[1], MOVIE))
    assert sorted(wrong["kind"]) == sorted(plain["kind"])


def test_the_libraries_find_the_same_in_the_files(tmp_path: Path) -> None:
    """What py-ctcmetrics and traccuracy say of the results as files, read and matched by themselves."""
    evaluate = pytest.importorskip("ctc_metrics.scripts.evaluate")
    loaders = pytest.importorskip("traccuracy.loaders")
    from traccuracy import run_metrics
    from traccuracy.matchers import CTCMatcher
    from traccuracy.metrics import CTCMetrics

    tracks, movie = damaged()
    ctc.write(tracks, tmp_path / "01_RES", movie)
    ctc.write(TRUTH, tmp_path / "01_GT" / "TRA", MOVIE, truth=True)
    ctc.write(TRUTH, tmp_path / "01_GT" / "SEG", MOVIE, truth=True)
    for mask in (tmp_path / "01_GT" / "SEG").glob("man_track*.tif"):
        mask.rename(mask.with_name(mask.name.replace("track", "seg")))
    found = score(tracks, TRUTH, movie, MOVIE)
    theirs = evaluate.evaluate_sequence(
        str(tmp_path / "01_RES"), str(tmp_path / "01_GT"), metrics=["TRA", "DET", "LNK", "SEG"]
    )
    for name in ("TRA", "DET", "LNK", "SEG"):
        assert found[name.lower()] == pytest.approx(theirs[name]), name
    true, ours = (loaders.load_ctc_data(str(tmp_path / p)) for p in ("01_GT/TRA", "01_RES"))
    results, _ = run_metrics(true, ours, CTCMatcher(), [CTCMetrics()])
    for name in ("TRA", "DET", "LNK"):
        assert found[name.lower()] == pytest.approx(results[0]["results"][name]), name

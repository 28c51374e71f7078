"""Scores of tracks: right is 1, known errors cost what they should, and both libraries agree."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops

from helpers.errors import InputError
from helpers.tracking.scores import match_objects, score, wrong_links
from helpers.tracking.tracks import Tracks

FRAMES = 10


def _labels(divides_at: int = 4, hidden: int = 6) -> np.ndarray:
    """A cell 1 that divides into 2 and 3, and a cell 4 that is not seen in one frame."""
    movie = np.zeros((FRAMES, 60, 60), np.int32)
    yy, xx = np.mgrid[:60, :60]

    def disc(t, y, x, r, label):
        movie[t][(yy - y) ** 2 + (xx - x) ** 2 <= r * r] = label

    for t in range(FRAMES):
        if t < divides_at:
            disc(t, 18, 12 + 2 * t, 7, 1)
        else:
            disc(t, 13, 12 + 2 * t, 4, 2)
            disc(t, 23, 12 + 2 * t, 4, 3)
        if t != hidden:
            disc(t, 45, 10 + 3 * t, 6, 4)
    return movie


def _tracks(movie: np.ndarray, divides_at: int = 4) -> Tracks:
    """Link labels over time (over gaps too), and the mother to her daughters; ids are frame·10 + label."""
    rows = [
        (10 * t + p.label, t, p.label, 0.0, *p.centroid) for t in range(FRAMES) for p in regionprops(movie[t])
    ]
    objects = pd.DataFrame(rows, columns=["id", "frame", "label", "z", "y", "x"])
    links = []
    for _, ids in objects.groupby("label")["id"]:
        links += list(itertools.pairwise(ids))
    mother = 10 * (divides_at - 1) + 1
    links += [(mother, 10 * divides_at + 2), (mother, 10 * divides_at + 3)]
    table = pd.DataFrame(links, columns=["source", "target"])
    there = table["source"].isin(objects["id"]) & table["target"].isin(objects["id"])
    return Tracks(objects, table[there])


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    return _labels()


@pytest.fixture(scope="module")
def truth(movie) -> Tracks:
    return _tracks(movie)


def _without(tracks: Tracks, *pairs: tuple[int, int]) -> pd.DataFrame:
    gone = set(pairs)
    keep = [(a, b) not in gone for a, b in zip(tracks.links["source"], tracks.links["target"], strict=True)]
    assert len(keep) - sum(keep) == len(pairs)
    return tracks.links[keep][["source", "target"]]


def test_the_truth_scores_one(movie, truth):
    found = score(truth, truth, movie, movie)
    assert all(value == pytest.approx(1) for name, value in found.items() if name != "ignored_merge_links")
    assert len(wrong_links(truth, truth, match_objects(truth, truth, movie, movie))) == 0


def test_a_missed_link(movie, truth):
    predicted = Tracks(truth.objects, _without(truth, (14, 24)))
    matching = match_objects(predicted, truth, movie, movie)
    found = score(predicted, truth, matching=matching)
    # AOGM: a missed edge costs 1.5 of 10 per vertex and 1.5 per edge.
    whole = 10 * len(truth.objects) + 1.5 * len(truth.links)
    assert found["tra"] == pytest.approx(1 - 1.5 / whole)
    assert found["lnk"] == pytest.approx(1 - 1 / len(truth.links))
    assert found["det"] == found["division_f1"] == 1
    assert found["complete_tracks"] == 0.5
    wrong = wrong_links(predicted, truth, matching)
    assert wrong[["frame", "kind", "source", "target"]].to_numpy().tolist() == [[2, "missed link", 14, 24]]
    assert wrong[["y", "x"]].to_numpy()[0] == pytest.approx([45, 16])


def test_switched_identities(movie, truth):
    links = _without(truth, (42, 52), (43, 53))
    links = pd.concat([links, pd.DataFrame({"source": [42, 43], "target": [53, 52]})])
    predicted = Tracks(truth.objects, links)
    matching = match_objects(predicted, truth, movie, movie)
    wrong = wrong_links(predicted, truth, matching)
    assert sorted(wrong["kind"]) == ["id switch"] * 2 + ["missed link"] * 2
    assert set(wrong["frame"]) == {5}
    assert score(predicted, truth, matching=matching)["chota"] < 1


def test_a_missed_and_a_false_division(movie, truth):
    missed = Tracks(truth.objects, _without(truth, (31, 43)))
    matching = match_objects(missed, truth, movie, movie)
    assert score(missed, truth, matching=matching)["division_f1"] == 0
    wrong = wrong_links(missed, truth, matching)
    assert ("missed division", 31) in set(zip(wrong["kind"], wrong["source"], strict=True))

    extra = pd.concat([truth.links[["source", "target"]], pd.DataFrame({"source": [14], "target": [21]})])
    extra = extra[~((extra["source"] == 11) & (extra["target"] == 21))]
    false = Tracks(truth.objects, extra)
    found = score(false, truth, matching=match_objects(false, truth, movie, movie))
    assert (found["division_precision"], found["division_recall"]) == (0.5, 1)
    wrong = wrong_links(false, truth, match_objects(false, truth, movie, movie))
    assert ("false division", 14) in set(zip(wrong["kind"], wrong["source"], strict=True))


@pytest.mark.parametrize(("late", "buffer", "f1"), [(1, 0, 0.0), (1, 1, 1.0), (2, 1, 0.0), (2, 2, 1.0)])
def test_a_late_division_counts_within_the_tolerance(truth, movie, late, buffer, f1):
    shown = _labels(divides_at=4 + late)
    predicted = _tracks(shown, divides_at=4 + late)
    matching = match_objects(predicted, truth, shown, movie)
    assert score(predicted, truth, matching=matching, frame_buffer=buffer)["division_f1"] == f1
    wrong = wrong_links(predicted, truth, matching, frame_buffer=buffer)
    assert ("missed division" in set(wrong["kind"])) == (f1 == 0)
    assert ("false division" in set(wrong["kind"])) == (f1 == 0)


def test_missed_false_and_merged_objects(movie, truth):
    shown = movie.copy()
    shown[2][movie[2] == 4] = 0  # missed
    shown[3, 2:6, 50:58] = 9  # false
    shown[7][(movie[7] == 2) | (movie[7] == 3)] = 2  # two cells in one
    predicted = _tracks(shown)
    found = score(predicted, truth, shown, movie)
    matching = match_objects(predicted, truth, shown, movie)
    assert len(matching.pairs) == len(truth.objects) - 1
    assert len(matching.one_to_one) == len(truth.objects) - 2
    assert found["tra_ctc"] == pytest.approx(found["tra"], abs=1e-9)
    assert found["det"] < 1 and found["seg"] < 1
    kinds = set(wrong_links(predicted, truth, matching)["kind"])
    assert "missed link" in kinds


@pytest.mark.parametrize("seed", range(6))
def test_both_libraries_agree_on_tra(movie, truth, seed):
    """Random damage to links and labels: gaps, divisions, false links, missed and merged cells."""
    rng = np.random.default_rng(seed)
    shown = movie.copy()
    for t in rng.choice(FRAMES, 3, replace=False):
        label = rng.choice(np.unique(shown[t])[1:])
        shown[t][shown[t] == label] = 0 if rng.random() < 0.5 else max(1, label - 1)
    whole = _tracks(shown)
    kept = whole.links[rng.random(len(whole.links)) > 0.15][["source", "target"]]
    frame = whole.objects.set_index("id")["frame"]
    extra = rng.choice(whole.objects["id"], (4, 2))
    extra = extra[frame[extra[:, 1]].to_numpy() == frame[extra[:, 0]].to_numpy() + 1]
    links = pd.concat([kept, pd.DataFrame(extra, columns=["source", "target"])])
    links = links.drop_duplicates("target", keep="first")
    predicted = Tracks(whole.objects, links)
    found = score(predicted, truth, shown, movie)
    assert found["tra"] < 1
    assert found["tra_ctc"] == pytest.approx(found["tra"], abs=1e-9)


def test_merges_are_counted_as_left_out(movie, truth):
    links = pd.concat([truth.links[["source", "target"]], pd.DataFrame({"source": [14], "target": [21]})])
    assert score(Tracks(truth.objects, links), truth, movie, movie)["ignored_merge_links"] == 1


def test_nothing_linked_and_no_divisions(movie, truth):
    alone = Tracks(truth.objects)
    found = score(alone, truth, movie, movie)
    assert found["lnk"] == 0 and found["det"] == 1
    steady = Tracks(truth.objects, _without(truth, (31, 42), (31, 43)))
    assert np.isnan(score(steady, steady, movie, movie)["division_f1"])


def test_movies_may_be_streams_in_3d(movie, truth):
    found = score(truth, truth, (f[None] for f in movie), (f[None] for f in movie))
    assert found["tra"] == 1


def test_bad_input_is_named(movie, truth):
    with pytest.raises(InputError, match="same number of frames"):
        score(truth, truth, movie[:-1], movie)
    with pytest.raises(InputError, match="shape"):
        score(truth, truth, movie[:, :50], movie)
    with pytest.raises(InputError, match="reach frame 9"):
        score(truth, truth, movie[:-1], movie[:-1])
    with pytest.raises(InputError, match="not in frame 0"):
        score(truth, truth, np.where(movie == 4, 0, movie), movie)
    with pytest.raises(InputError, match="label"):
        score(Tracks(truth.objects.drop(columns="label"), truth.links), truth, movie, movie)
    with pytest.raises(InputError, match="nothing to score"):
        score(truth.subset(np.zeros(len(truth.objects), bool)), truth, movie, movie)
    with pytest.raises(InputError, match="frame_buffer"):
        score(truth, truth, movie, movie, frame_buffer=-1)


def test_a_truth_without_any_link_is_scored_for_its_cells():
    objects = pd.DataFrame({"frame": [0, 0], "label": [1, 2], "z": 0.0, "y": [0.0, 2.0], "x": 0.0})
    frames = [np.array([[1], [0], [2]])]
    found = score(Tracks(objects), Tracks(objects), frames, frames)
    assert found["det"] == found["seg"] == 1.0 and np.isnan(found["tra_ctc"])

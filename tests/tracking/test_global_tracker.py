"""The global tracker: its program against all possible choices, and cells that are cut, merged, dividing, and given."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.errors import InputError
from helpers.segmentation.borders import BorderScale, contrasts, cut_contrasts
from helpers.tracking.global_tracker.costs import GlobalParameters, Usual, link_costs
from helpers.tracking.global_tracker.margins import margins
from helpers.tracking.global_tracker.program import Problem, cost_of, solve
from helpers.tracking.global_tracker.regions import divide, regions_of
from helpers.tracking.global_tracker.tracker import GlobalResult, link_global
from helpers.tracking.objects import measure
from tests.touching_cells import tissue

VOXEL = (1.0, 1.0, 1.0)
SHAPE = (6, 40, 60)


# ---- the program ---------------------------------------------------------------------------------------------


def random_problem(seed: int) -> Problem:
    """Return three frames of two or three hypotheses each with everything that is possible."""
    rng = np.random.default_rng(seed)
    frame = np.repeat([0, 1, 2], [2, 3, 2])
    n = len(frame)
    links = np.array([(i, j) for i, j in product(range(n), repeat=2) if frame[j] - frame[i] == 1])
    links = links[rng.random(len(links)) < 0.6]
    triples = [(i, 2, 4) for i in (0, 1)] + [(3, 5, 6)]
    conflicts = np.array([(0, 2), (0, 3), (1, 3), (1, 4)])
    return Problem(
        frame,
        rng.normal(-1, 2, n),
        rng.uniform(0, 3, n) * (frame > 0),
        rng.uniform(0, 3, n) * (frame < 2),
        links,
        rng.normal(0.5, 1, len(links)),
        np.array(triples),
        rng.normal(1, 1, 3),
        conflicts,
    )


def best_of_all(problem: Problem) -> float:
    """Return the least cost of all choices that keep the constraints."""
    best = np.inf
    for links in product([False, True], repeat=len(problem.links)):
        link = np.array(links, bool)
        for divided in product([False, True], repeat=len(problem.divisions)):
            division = np.array(divided, bool)
            past = np.concatenate([problem.links[link, 1], problem.divisions[division, 1:].ravel()])
            future = np.concatenate([problem.links[link, 0], problem.divisions[division, 0]])
            if len(set(past)) < len(past) or len(set(future)) < len(future):
                continue
            needed = np.zeros(len(problem), bool)
            needed[past] = needed[future] = True
            free = np.flatnonzero(~needed)
            for more in product([False, True], repeat=len(free)):
                cells = needed.copy()
                cells[free[list(more)]] = True
                clique, member = problem.conflicts.T
                if np.bincount(clique, weights=cells[member]).max() > 1:
                    continue
                best = min(best, cost_of(problem, cells, link, division))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_what_is_chosen_is_the_best_of_all_choices(seed: int) -> None:
    problem = random_problem(seed)
    while len(problem.links) > 6:  # all choices can still be tried
        problem = Problem(
            problem.frame, problem.cost, problem.appear, problem.end, problem.links[:6], problem.link_cost[:6],
            problem.divisions, problem.division_cost, problem.conflicts,
        )  # fmt: skip
    found = solve(problem)
    assert found.optimal
    assert found.cost == pytest.approx(best_of_all(problem))


def chain(n_frames: int, n_cells: int, seed: int = 0) -> Problem:
    """Return cells that go on from frame to frame, some with a competitor in a frame, and links to neighbours."""
    rng = np.random.default_rng(seed)
    rows, cell = [], []
    for t in range(n_frames):
        for c in range(n_cells):
            for _ in range(1 + (rng.random() < 0.3)):
                rows.append(t)
                cell.append(c)
    frame, cell = np.array(rows), np.array(cell)
    links, cost = [], []
    for t in range(n_frames - 1):
        for i in np.flatnonzero(frame == t):
            for j in np.flatnonzero(frame == t + 1):
                if abs(cell[i] - cell[j]) <= 1:
                    links.append((i, j))
                    cost.append(rng.uniform(0, 1) + 2.0 * (cell[i] != cell[j]))
    key = frame * n_cells + cell
    n = len(frame)
    ends = (frame > 0, frame < n_frames - 1)
    return Problem(
        frame, rng.uniform(-5, -4, n), 4.0 * ends[0], 4.0 * ends[1], np.array(links), np.array(cost),
        conflicts=np.column_stack([key, np.arange(n)]),
    )  # fmt: skip


def test_windows_choose_what_the_whole_would() -> None:
    problem = chain(20, 4)
    whole = solve(problem, window=100)
    parts = solve(problem, window=8, overlap=3)
    np.testing.assert_array_equal(parts.cells, whole.cells)
    np.testing.assert_array_equal(parts.links, whole.links)
    assert parts.cost == pytest.approx(whole.cost)


def test_a_margin_is_what_the_solution_without_the_link_costs_more() -> None:
    problem = chain(3, 3, seed=1)
    # Without competitors, exchanging and breaking are all that can be done.
    first = np.unique(problem.conflicts[:, 0], return_index=True)[1]
    keep = np.isin(np.arange(len(problem)), first)
    number = np.cumsum(keep) - 1
    inside = keep[problem.links].all(axis=1)
    problem = Problem(
        problem.frame[keep], problem.cost[keep], problem.appear[keep], problem.end[keep],
        number[problem.links[inside]], problem.link_cost[inside],
    )  # fmt: skip
    found = solve(problem)
    margin = margins(problem, found)[0]
    for link in np.flatnonzero(found.links):
        others = np.arange(len(problem.links)) != link
        without = Problem(
            problem.frame, problem.cost, problem.appear, problem.end, problem.links[others], problem.link_cost[others]
        )  # fmt: skip
        assert margin[link] == pytest.approx(solve(without).cost - found.cost)
    assert np.isnan(margin[~found.links]).all()


# ---- cells ---------------------------------------------------------------------------------------------------


def movie(n_frames: int = 8) -> np.ndarray:
    """Return four cells of 10 × 10 × 4 voxels that keep their place, but for a jitter that no two frames share."""
    labels = np.zeros((n_frames, *SHAPE), np.int32)
    for t in range(n_frames):
        for k, (y, x) in enumerate([(3, 3), (3, 25), (23, 3), (23, 25)]):
            labels[t, 1:5, y + t % 2 : y + t % 2 + 10, x : x + 10] = k + 1
    return labels


class Raw:
    """Intensities as the tracker asks for them."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames

    def frame(self, t: int) -> np.ndarray:
        return self.frames[t]


def followed(
    *sets: np.ndarray, fixed: list[tuple] | None = None, raw: np.ndarray | None = None, **changes: Any
) -> GlobalResult:
    """Track label movies; `fixed` are pairs of (frame, label)."""
    tables = [measure(frame, voxel_size=VOXEL, frame=t) for t, frame in enumerate(sets[0])]
    objects = pd.concat(tables, ignore_index=True)
    objects["id"] = np.arange(len(objects)) + 100
    given = None
    if fixed:
        ids = objects.set_index(["frame", "label"])["id"]
        given = pd.DataFrame([(ids[a], ids[b]) for a, b in fixed], columns=["source", "target"])
    return link_global(
        sets, objects, voxel_size=VOXEL, parameters=GlobalParameters(**changes), fixed=given, frame_interval=60.0,
        intensity=None if raw is None else Raw(raw),
    )  # fmt: skip


def cut(labels: np.ndarray, frames: range, label: int = 1, new: int = 9) -> np.ndarray:
    """Return the movie with a cell cut in two halves in some frames."""
    labels = labels.copy()
    for t in frames:
        x = np.nonzero(labels[t] == label)[2].mean()
        right = (labels[t] == label) & (np.arange(SHAPE[2]) > x)
        labels[t][right] = new
    return labels


def test_cells_that_are_found_well_stay_as_they_are() -> None:
    labels = movie()
    found = followed(labels)
    assert (found.tracks.n_tracks, len(found.tracks.divisions), found.changed) == (4, 0, 0)
    for t in range(len(labels)):
        np.testing.assert_array_equal(found.labels.frame(t), labels[t])
    assert found.tracks.objects["id"].tolist() == list(range(100, 132)), "rows keep their ids"
    assert (found.tracks.links["margin"] > 0).all()


@pytest.mark.parametrize("frames", [range(3, 4), range(3, 6), range(6, 8)])
def test_a_cell_that_is_cut_in_two_for_some_frames_is_one(frames: range) -> None:
    labels = movie()
    found = followed(cut(labels, frames))
    assert (found.tracks.n_tracks, len(found.tracks.divisions)) == (4, 0)
    assert found.changed == len(frames)
    for t in range(len(labels)):
        np.testing.assert_array_equal(found.labels.frame(t) > 0, labels[t] > 0)
        assert len(np.unique(found.labels.frame(t))) == 5


def test_two_cells_that_are_one_for_a_frame_are_two() -> None:
    labels = movie()
    labels[:, 1:5, :, 13:19][labels[:, 1:5, :, 12:13].repeat(6, axis=3) == 1] = 1
    labels[:, 1:5, :, 19:25][labels[:, 1:5, :, 25:26].repeat(6, axis=3) == 2] = 2
    merged = labels.copy()
    merged[4][merged[4] == 2] = 1
    found = followed(merged)
    assert (found.tracks.n_tracks, len(found.tracks.divisions)) == (4, 0)
    assert len(np.unique(found.labels.frame(4))) == 5
    assert found.changed == 2


def tissue_movie(border: float) -> tuple[np.ndarray, np.ndarray]:
    """Return twelve cells that touch, in eight frames, and their intensities, with noise of each frame's own."""
    frames = [tissue(border, rows=3, columns=4, seed=t) for t in range(8)]
    labels, images = (np.stack(side) for side in zip(*frames, strict=True))
    return labels, images


@pytest.mark.parametrize("border", [180.0, 40.0])
def test_the_image_tells_two_cells_that_are_one_in_every_frame_of_the_segmentation(border: float) -> None:
    labels, raw = tissue_movie(border)
    merged = np.where(labels == 7, 6, labels)
    assert followed(merged, labels).tracks.n_tracks == 11, "two against one cannot say it without the image"
    found = followed(merged, labels, raw=raw)
    assert found.tracks.n_tracks == 12
    for t in (0, 4):
        assert len(np.unique(found.labels.frame(t)[np.isin(labels[t], [6, 7])])) == 2


def test_a_border_that_only_labels_have_divides_nothing() -> None:
    labels, raw = tissue_movie(180.0)
    one = np.where(labels == 7, 6, labels)
    raw[:, 1:5, 14:25, 27:31] = 100.0  # no membrane between 6 and 7
    found = followed(one, labels, raw=raw)
    assert found.tracks.n_tracks == 11
    assert len(np.unique(found.labels.frame(3)[np.isin(labels[3], [6, 7])])) == 1


def test_the_contrast_of_a_border_is_read_on_the_movies_own_scale() -> None:
    for border in (180.0, 40.0):
        labels, raw = tissue_movie(border)
        pairs, contrast = contrasts(labels[0], raw[0])
        assert pairs.tolist() == sorted(pairs.tolist()) and (contrast > 0).all() == (border > 100)
        cells, cuts = cut_contrasts(labels[0], raw[0])
        assert cells.tolist() == list(range(1, 13)), "every cell is cut once"
        scale = BorderScale.of([cuts] * 2, [contrast] * 2)
        np.testing.assert_allclose(scale.place(np.array([scale.none, scale.usual])), [0, 1])
        assert scale.tells and (scale.place(cuts) < 0.1).all()
    labels, raw = tissue_movie(100.0)
    parts = cut_contrasts(labels[0], raw[0])[1], contrasts(labels[0], raw[0])[1]
    same = BorderScale.of(*([part] * 3 for part in parts))
    assert not same.tells and np.isnan(same.place(np.zeros(2))).all(), "an image without borders says nothing"
    assert not BorderScale.of([], [np.full(50, 2.0)]).tells


def test_cells_keep_their_size_growing_and_shrinking_alike() -> None:
    p, usual = GlobalParameters(growth=2.0), Usual(5.0, 0.3, 0.8, 1.0)
    same, doubled, halved = link_costs(
        p, usual, np.full(3, 0.5), np.zeros(3), np.array([1, 2, 0.5]), np.zeros(3)
    )
    assert doubled == halved == pytest.approx(same + 2 * np.log(2))
    assert same == pytest.approx(p.overlap * 0.3)


def test_a_division_is_one() -> None:
    labels = movie(10)
    for t in range(10):  # a mother is large
        labels[t, 1:5, 3 + t % 2 : 13 + t % 2, 3:18] = 1
    found = followed(cut(labels, range(4, 10)))
    assert found.tracks.divisions["frame"].tolist() == [3]
    assert found.changed == 0


def test_a_cell_that_divides_at_the_border_of_the_image_did_not_come_in_from_outside() -> None:
    labels = movie(10)
    labels[labels == 1] = 0
    for t in range(10):
        labels[t, 1:5, : 10 + t % 2, 3:18] = 1
    found = followed(cut(labels, range(4, 10)))
    assert found.tracks.divisions["frame"].tolist() == [3]
    labels[:4][labels[:4] == 2] = 0
    labels[:, 1:5, :3, 25:35] = np.where(np.arange(10)[:, None, None, None] < 4, 0, 2)
    found = followed(cut(labels, range(4, 10)))
    assert found.tracks.divisions["frame"].tolist() == [3] and found.tracks.n_tracks == 4, "one comes in"


def test_the_other_set_has_the_cell_that_the_first_one_lacks() -> None:
    labels = movie()
    worse = labels.copy()
    worse[4][worse[4] == 3] = 0
    alone = followed(worse)
    both = followed(worse, labels)
    assert len(alone.tracks.links) < len(both.tracks.links) == 28
    assert (both.labels.frame(4) == 0)[labels[4] == 3].sum() == 0


def test_a_given_link_is_kept_and_impossible_ones_are_refused() -> None:
    labels = movie()
    found = followed(labels, fixed=[((2, 1), (3, 2))])
    ids = found.tracks.objects.set_index(["frame", "label"])["id"]
    pairs = found.tracks.links[["source", "target"]].to_numpy().tolist()
    assert [ids[2, 1], ids[3, 2]] in pairs and [ids[2, 2], ids[3, 2]] not in pairs
    with pytest.raises(InputError, match="cannot all be"):
        followed(labels, fixed=[((2, 1), (3, 2)), ((2, 2), (3, 2))])


def test_given_divisions_and_links_over_gaps_are_kept() -> None:
    labels = movie()
    fixed = [((2, 1), (3, 1)), ((2, 1), (3, 2)), ((1, 3), (4, 3)), ((4, 4), (5, 4))]
    found = followed(labels, fixed=fixed, window=5, window_overlap=2)
    at = found.tracks.objects.set_index("id")[["frame", "label"]].apply(tuple, axis=1)
    pairs = {(at[a], at[b]) for a, b in found.tracks.links[["source", "target"]].to_numpy()}
    assert set(fixed) <= pairs
    assert [b for a, b in pairs if a == (1, 3)] == [(4, 3)] and [a for a, b in pairs if b == (4, 3)] == [
        (1, 3)
    ]
    assert [a for a, b in pairs if b == (3, 2)] == [(2, 1)], "a daughter has one mother"
    with pytest.raises(InputError, match="cannot all be"):
        followed(labels, fixed=[((1, 3), (4, 3)), ((3, 3), (4, 3))])
    with pytest.raises(InputError, match="goes backwards"):
        followed(labels, fixed=[((3, 3), (2, 3))])


def test_bad_input_is_named() -> None:
    labels = movie()
    with pytest.raises(InputError, match="one shape"):
        followed(labels, labels[:, :, :20])
    with pytest.raises(InputError, match="division"):
        followed(labels, division=-1.0)


# ---- regions -------------------------------------------------------------------------------------------------


def test_atoms_know_what_regions_share() -> None:
    first = np.zeros((1, 4, 10), np.int32)
    first[0, 1:3, 1:5], first[0, 1:3, 5:9] = 1, 2
    second = np.zeros_like(first)
    second[0, 1:3, 1:7], second[0, 1:3, 7:9] = 5, 8
    found = regions_of([first, second], [], np.array([1, 2]), np.ones(3), (1, np.inf))
    shared = found.shared().toarray()
    assert found.volume.tolist() == [8, 8, 12, 4]
    np.testing.assert_array_equal(shared, [[8, 0, 8, 0], [0, 8, 4, 4], [8, 4, 12, 0], [0, 4, 0, 4]])
    assert sorted(found.conflicts().tolist()) == [[0, 2], [1, 2], [1, 3]]
    assert found.contacts.tolist() == [[0, 1]]
    joined = found.joined(np.array([0]))
    assert joined.volume.tolist() == [8, 8, 12, 4, 16]
    np.testing.assert_array_equal(joined.paint(np.array([4]), np.array([7])) == 7, first > 0)
    np.testing.assert_allclose(joined.covered()[0], [1, 1, 1.5, 0.5, 2])


def test_a_cell_is_divided_where_two_of_another_frame_lie_in_it() -> None:
    two = np.zeros((1, 6, 12), np.int32)
    two[0, 1:5, 1:5], two[0, 1:5, 7:11] = 3, 4
    one = np.where(np.ones_like(two) * (np.arange(12) < 11) * (np.arange(12) > 0), 7, 0)
    parts = divide(one, two, np.ones(3))
    assert sorted(np.unique(parts).tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(parts > 0, one > 0)
    assert not divide(two, one, np.ones(3)).any()

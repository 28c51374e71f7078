"""The search goes on where the best lies at the end of its range, and says what validation leaves open."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.segmentation.threshold_remarks import remarks
from helpers.segmentation.threshold_search import search
from helpers.segmentation.thresholds import LIMITS, Thresholds, optimize

GRIDS = {"prob": (0.4, 0.5, 0.6, 0.7, 0.8, 0.9), "foreground": (0.2, 0.5, 0.8)}


def searched(best: dict[str, float], refinements: int = 0) -> tuple[dict[str, float], set[tuple[float, ...]]]:
    """Search hills with their tops at `best`; what was found, and all that was tried."""
    tried: set[tuple[float, ...]] = set()

    def score(values):
        tried.add(tuple(values.values()))
        return 1 - sum(abs(values[axis] - top) for axis, top in best.items())

    return search(GRIDS, {}, score, refinements, limits=LIMITS), tried


@pytest.mark.parametrize(
    ("top", "found"), [(0.6, 0.6), (0.3, 0.3), (0.19, 0.2), (0.0, 0.1), (0.95, 0.98), (1.0, 0.98)]
)
def test_a_best_value_at_the_end_is_sought_beyond_it(top: float, found: float) -> None:
    best, tried = searched({"prob": top, "foreground": 0.5})
    assert best == {"prob": pytest.approx(found), "foreground": 0.5}
    assert min(prob for prob, _ in tried) >= LIMITS["prob"][0]
    if top == 0.6:
        assert {prob for prob, _ in tried} == set(GRIDS["prob"]), "no further than needed"


def test_where_nothing_is_found_it_is_sought_on_both_sides() -> None:
    def score(values):
        return float(values["prob"] < 0.25)

    assert search(GRIDS, {}, score, 0, limits=LIMITS)["prob"] < 0.25


def test_a_single_value_stays_as_it_was_given() -> None:
    assert search({"prob": (0.9,)}, {}, lambda values: values["prob"], 2, limits=LIMITS) == {"prob": 0.9}


def thresholds(rows: list[tuple[float, float, float]], chosen: int, n_true: int = 40) -> Thresholds:
    table = pd.DataFrame(rows, columns=["prob", "foreground", "score"]).assign(n_true=n_true)
    prob, foreground, score = rows[chosen]
    return Thresholds(prob, None, foreground, score, "f1", (0.5,), table)


SETTLED = [(0.4, 0.5, 0.7), (0.5, 0.2, 0.8), (0.5, 0.5, 0.9), (0.5, 0.8, 0.7), (0.6, 0.5, 0.8)]


def test_a_settled_choice_needs_no_remark() -> None:
    assert remarks({"vollseg": thresholds(SETTLED, 2)}) == []


def test_few_cells_are_said_once() -> None:
    few = thresholds(SETTLED, 2, n_true=8)
    said = remarks({"vollseg": few, "stardist": few})
    assert len(said) == 1 and "Only 8 cells" in said[0] and "0.12" in said[0]


def test_a_network_that_finds_nothing_is_named_and_nothing_else_is_said_of_it() -> None:
    nothing = thresholds([(p, f, 0.0) for p, f, _ in SETTLED], 2)
    said = remarks({"vollseg": thresholds(SETTLED, 2), "stardist": nothing})
    assert len(said) == 1
    assert said[0].startswith("StarDist finds no cell at any threshold (F1 0.0)")


def test_a_perfect_score_everywhere_tells_nothing() -> None:
    said = remarks({"unet": thresholds([(p, f, 1.0) for p, f, _ in SETTLED], 2)})
    assert len(said) == 2
    assert all(text.startswith("U-Net: validation says nothing about the ") for text in said)
    assert "from 0.4 to 0.6 every value reaches 1.000. 0.5 was taken" in said[0]


def test_a_value_at_the_end_is_named() -> None:
    (said,) = remarks({"vollseg": thresholds([*SETTLED, (0.3, 0.5, 0.95)], 5)})
    assert "probability threshold, 0.3, is the lowest that was tried: less might be better still" in said
    (said,) = remarks({"vollseg": thresholds([*SETTLED, (LIMITS["prob"][1], 0.5, 0.95)], 5)})
    assert "is the highest that was tried, and no further is sensible" in said


def test_the_price_of_a_plateaus_middle_is_named() -> None:
    rows = [*SETTLED, (0.45, 0.5, 0.914)]
    (said,) = remarks({"vollseg": thresholds(rows, 2)})
    assert "reach 0.900, the best that was tried 0.914" in said and "costs 0.014" in said


def test_the_search_and_the_remarks_work_together() -> None:
    """Cells that StarDist believes in by 0.15 only: the usual range finds nothing, and the search goes on below it."""
    truth = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((6, 6), int))

    def labels(output, *, prob, foreground):
        return np.where(output > prob, truth, 0) if foreground < 0.9 else np.zeros_like(truth)

    found = optimize(
        [np.full(truth.shape, 0.15)], [truth], labels, nms_thresholds=None, prob_thresholds=GRIDS["prob"],
        foreground_thresholds=GRIDS["foreground"],
    )  # fmt: skip
    assert found.prob is not None and found.prob < 0.15 and found.score == 1
    assert any("probability threshold" in text for text in remarks({"stardist": found}))

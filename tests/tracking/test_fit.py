"""The global tracker's costs, fitted to a movie whose tracks are known."""

from __future__ import annotations

import pytest

from helpers.tracking.global_tracker.costs import GlobalParameters
from helpers.tracking.global_tracker.fit import FITTED, fit_costs


def test_what_raises_tra_is_kept_and_the_rest_stays() -> None:
    start = GlobalParameters()
    asked: list[GlobalParameters] = []

    def scored(p: GlobalParameters) -> dict[str, float]:
        asked.append(p)
        better = (p.division == 2 * start.division) + (p.end == start.end / 2)
        return {"tra": 0.9 + 0.01 * better, "division_f1": 0.5}

    fit = fit_costs(scored, start)
    assert len(asked) == 1 + 2 * len(FITTED) == len(fit.tried)
    assert asked[0] == start
    assert fit.changed == {"division": 2 * start.division, "end": start.end / 2}
    assert (fit.parameters.border, fit.parameters.growth) == (start.border, start.growth)
    assert fit.tried["kept"].sum() == 3


def test_divisions_are_not_given_up_for_links() -> None:
    def scored(p: GlobalParameters) -> dict[str, float]:
        changed = p.division != GlobalParameters().division
        return {"tra": 0.9 + 0.05 * changed, "division_f1": 0.9 - 0.1 * changed}

    assert fit_costs(scored).changed == {}


def test_equal_scores_change_nothing() -> None:
    fit = fit_costs(lambda p: {"tra": 0.9, "division_f1": float("nan")})
    assert fit.changed == {} and fit.parameters == GlobalParameters()
    assert fit.tried["tra"].iloc[0] == pytest.approx(0.9)

"""Costs of the global tracker, learnt from a movie whose tracks are known: a small fit.

Each cost of `FITTED` is halved and doubled in turn, the others as they stand, and stays changed only where TRA rises on
this movie and F1 of divisions does not fall. So there are eleven trackings of one movie, no more: with a few divisions in it a longer search would
fit their noise. How well it holds elsewhere, another movie says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd

from helpers.progress import progress
from helpers.tracking.global_tracker.costs import GlobalParameters

#: Which costs are tried, and times what.
FITTED = ("division", "border", "edit", "end", "growth")
_FACTORS = (0.5, 2.0)


@dataclass(frozen=True)
class Fit:
    """What came of a fit.

    Attributes
    ----------
    parameters : GlobalParameters
        With the costs that were kept.
    tried : DataFrame
        ``cost, value, tra, division_f1, kept``: a row a tracking, the first with the costs that the fit began with.
    """

    parameters: GlobalParameters
    tried: pd.DataFrame

    @property
    def changed(self) -> dict[str, float]:
        """The costs that differ from the first."""
        kept = self.tried[self.tried["kept"] & (self.tried["cost"] != "")]
        return {name: float(getattr(self.parameters, name)) for name in kept["cost"].unique()}


def fit_costs(
    scored: Callable[[GlobalParameters], dict[str, float]], start: GlobalParameters | None = None
) -> Fit:
    """Fit the costs to a movie.

    Parameters
    ----------
    scored : callable
        Tracks the movie with these parameters, and returns the scores of its tracks: ``tra`` and ``division_f1``.
    start : GlobalParameters, optional
        What to begin with; the defaults if left out.
    """
    best = start = start or GlobalParameters()
    first = scored(best)
    highest, divisions = first["tra"], first["division_f1"]
    rows = [("", float("nan"), highest, divisions, True)]
    for name, factor in progress(list(product(FITTED, _FACTORS)), desc="Fit", unit="tracking"):
        value = getattr(start, name) * factor
        candidate = replace(best, **{name: value})
        found = scored(candidate)
        kept = found["tra"] > highest and not found["division_f1"] < divisions
        if kept:
            best, highest, divisions = candidate, found["tra"], found["division_f1"]
        rows.append((name, value, found["tra"], found["division_f1"], kept))
    return Fit(best, pd.DataFrame(rows, columns=["cost", "value", "tra", "division_f1", "kept"]))

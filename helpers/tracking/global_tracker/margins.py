"""How much a link is worth: what the best alternative would cost more.

Alternatives to a chosen link i → j in which all other cells stay what they are::

    break       i ends, and j appears
    exchange    i goes on as m, which k went on as; k goes on as j, or ends while j appears

and to a division that the mother ends and both daughters appear, or that she goes on as one of them and the other appears.
The least counts; below 0 nothing can be, as what was chosen costs least. Solutions that choose other cells are not looked at, so
that a margin says how sure a link is, given the cells.
"""

from __future__ import annotations

import numpy as np

from helpers.tracking.global_tracker.program import Problem, Solution


def margins(problem: Problem, solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Return the margin of each candidate link and division; NaN where it was not chosen."""
    return _of_links(problem, solution), _of_divisions(problem, solution)


def _of_links(problem: Problem, solution: Solution) -> np.ndarray:
    cost, chosen = problem.link_cost, solution.links
    i, j = problem.links[chosen].T
    margin = np.full(len(cost), np.nan)
    margin[chosen] = problem.end[i] + problem.appear[j] - cost[chosen]
    leaving, entering = np.full((2, len(problem)), -1)
    leaving[i] = entering[j] = np.flatnonzero(chosen)
    source, target = problem.links.T
    other = np.flatnonzero(~chosen & (leaving[source] >= 0) & (entering[target] >= 0))
    mine, theirs = leaving[source[other]], entering[target[other]]
    j, k = problem.links[mine, 1], problem.links[theirs, 0]
    # i → m in place of i → j, and k → j where that is a candidate, else k ends and j appears.
    keys = source * len(problem) + target
    order = np.argsort(keys)
    wanted = k * len(problem) + j
    at = np.minimum(np.searchsorted(keys[order], wanted), max(len(keys) - 1, 0))
    back = np.full(len(other), np.inf)
    known = keys[order][at] == wanted if len(keys) else np.zeros(0, bool)
    back[known] = cost[order][at[known]]
    rest = np.minimum(back, problem.end[k] + problem.appear[j])
    more = cost[other] + rest - cost[mine] - cost[theirs]
    np.minimum.at(margin, mine, more)
    np.minimum.at(margin, theirs, more)
    return margin


def _of_divisions(problem: Problem, solution: Solution) -> np.ndarray:
    chosen = solution.divisions
    margin = np.full(len(chosen), np.nan)
    links = {(a, b): c for (a, b), c in zip(problem.links.tolist(), problem.link_cost.tolist(), strict=True)}
    for d in np.flatnonzero(chosen):
        mother, *daughters = problem.divisions[d].tolist()
        apart = problem.end[mother] + problem.appear[daughters].sum()
        alone = [
            links.get((mother, one), np.inf) + problem.appear[other]
            for one, other in (daughters, daughters[::-1])
        ]
        margin[d] = min(apart, *alone) - problem.division_cost[d]
    return margin

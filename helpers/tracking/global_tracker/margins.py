"""How much a link is worth: what the best solution without it would cost more.

The program is solved again without the link, in the link's surroundings: hypotheses at most `_REACH` links or conflicts away
may be chosen anew, all others stay as they are. Most cells have no competitor; there the alternative is that the cell ends
and another one appears, and nothing is solved.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array

from helpers.tracking.global_tracker.program import Problem, Solution


def margins(problem: Problem, solution: Solution) -> tuple[np.ndarray, np.ndarray]:
    """Return the margin of each candidate link and division; NaN where it was not chosen."""
    link = np.full(len(problem.links), np.nan)
    division = np.full(len(problem.divisions), np.nan)
    i, j = problem.links[solution.links].T
    link[solution.links] = problem.end[i] + problem.appear[j] - problem.link_cost[solution.links]
    m, a, b = problem.divisions[solution.divisions].T
    split = problem.end[m] + problem.appear[a] + problem.appear[b]
    division[solution.divisions] = split - problem.division_cost[solution.divisions]
    return link, division

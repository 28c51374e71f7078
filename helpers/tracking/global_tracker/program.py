"""Choosing cells and their links at once, as one integer linear program.

Hypotheses are regions that may be cells; some exclude each other. In the manner of motile (Funke et al.):

Variables, each 0 or 1
    x_i      hypothesis i is a cell
    l_ij     i goes on as j in a later frame
    v_ijk    i divides into j and k
    a_i, e_i i appears (has no past), ends (has no future)

Constraints
    past       a_j + Σ_i l_ij + Σ_ik v_ijk = x_j      every cell has one past: it appears, goes on, or is a daughter
    future     e_i + Σ_j l_ij + Σ_jk v_ijk = x_i      and one future: it ends, goes on, or divides
    conflict   Σ_(i in C) x_i ≤ 1                     of regions that share voxels (a clique C) at most one is a cell
    fixed      l_ij = 1, v_ijk = 1, x_i = 1           what a person has confirmed

Costs
    Σ cost_i x_i + Σ cost_ij l_ij + Σ cost_ijk v_ijk + Σ appear_i a_i + Σ end_i e_i → minimum

The program falls apart into the connected components of links, divisions and conflicts, which are solved one by one
with the same optimum; few are larger than a cell and its neighbours. Long movies are solved in windows of frames that
overlap: what lies before the overlap is kept, and what lies in it is decided again with more of its future known::

    frames      0 1 2 3 4 5 6 7 8 9 …
    window 1    ■ ■ ■ ■ ■ □ □ □            ■ kept, □ decided again
    window 2            ▣ ■ ■ ■ ■ □ □ □    ▣ given by the window before: these cells exist, what becomes of them is open

Solver: HiGHS (Huangfu and Hall 2018), as in `scipy.optimize.milp`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from helpers.errors import InputError
from helpers.progress import progress


def _none(*shape: int) -> np.ndarray:
    return np.empty(shape, np.int64)


@dataclass(frozen=True)
class Problem:
    """Hypotheses, what may become of them, and what each costs.

    Parameters
    ----------
    frame : (n,) int ndarray
        Of each hypothesis, ascending.
    cost, appear, end : (n,) float ndarray
        Of being a cell, of having no past, of having no future.
    links : (m, 2) int ndarray
        Candidate links i → j.
    link_cost : (m,) float ndarray
    divisions : (d, 3) int ndarray
        Candidate divisions i → j, k.
    division_cost : (d,) float ndarray
    conflicts : (c, 2) int ndarray
        Rows (clique, hypothesis): of each clique at most one is a cell.
    fixed : (m,) bool ndarray, optional
        Links that are part of every solution.
    fixed_divisions : (d,) bool ndarray, optional
        Divisions that are.
    given : (n,) bool ndarray, optional
        Hypotheses that are cells in every solution.
    """

    frame: np.ndarray
    cost: np.ndarray
    appear: np.ndarray
    end: np.ndarray
    links: np.ndarray = field(default_factory=lambda: _none(0, 2))
    link_cost: np.ndarray = field(default_factory=lambda: np.empty(0))
    divisions: np.ndarray = field(default_factory=lambda: _none(0, 3))
    division_cost: np.ndarray = field(default_factory=lambda: np.empty(0))
    conflicts: np.ndarray = field(default_factory=lambda: _none(0, 2))
    fixed: np.ndarray = field(default=None)  # type: ignore[assignment]
    given: np.ndarray = field(default=None)  # type: ignore[assignment]
    fixed_divisions: np.ndarray = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.fixed is None:
            object.__setattr__(self, "fixed", np.zeros(len(self.links), bool))
        if self.given is None:
            object.__setattr__(self, "given", np.zeros(len(self.frame), bool))
        if self.fixed_divisions is None:
            object.__setattr__(self, "fixed_divisions", np.zeros(len(self.divisions), bool))

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Solution:
    """What is chosen.

    Attributes
    ----------
    cells, links, divisions : bool ndarray
        Of each hypothesis, candidate link and candidate division.
    cost : float
        Of the whole; of windows, the sum of what was kept.
    optimal : bool
        Whether every part was solved to the optimum (to a relative gap of 10⁻⁴) within its time.
    """

    cells: np.ndarray
    links: np.ndarray
    divisions: np.ndarray
    cost: float
    optimal: bool


def solve(problem: Problem, *, window: int = 12, overlap: int = 4, time_limit: float = 60.0) -> Solution:
    """Choose the cells, links and divisions of least cost.

    Parameters
    ----------
    problem : Problem
    window, overlap : int
        Frames solved at once, and how many of them are decided again with the next ones.
    time_limit : float
        Seconds for each connected component of a window; what is best then is taken.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        The fixed links exclude each other.
    """
    cells = np.zeros(len(problem), bool)
    links = np.zeros(len(problem.links), bool)
    divisions = np.zeros(len(problem.divisions), bool)
    optimal = True
    first, last = (int(problem.frame.min()), int(problem.frame.max())) if len(problem) else (0, -1)
    source = problem.frame[problem.links[:, 0]]
    mother = problem.frame[problem.divisions[:, 0]]
    for start, stop, keep in progress(
        list(_windows(first, last, window, overlap)), desc="Choose", leave=False
    ):
        begin = start if start == first else start - 1
        inside = (problem.frame >= begin) & (problem.frame < stop)
        # Of the frame before, what was chosen is given, and its past is no longer asked for.
        inside &= (problem.frame >= start) | cells
        rows = np.flatnonzero(inside)
        past = (problem.frame < start) & inside
        link, division = _among(problem.links, inside), _among(problem.divisions, inside)
        part = Problem(
            problem.frame[rows],
            np.where(past, 0.0, problem.cost)[rows],
            np.where(past, 0.0, problem.appear)[rows],
            # What goes on beyond the window is not said to end there.
            np.where((problem.frame == stop - 1) & (stop <= last), 0.0, problem.end)[rows],
            _renumbered(problem.links[link], rows),
            problem.link_cost[link],
            _renumbered(problem.divisions[division], rows),
            problem.division_cost[division],
            _conflicts_among(problem.conflicts, rows, len(problem)),
            problem.fixed[link],
            (problem.given | past)[rows],
            problem.fixed_divisions[division],
        )
        found = _solve_components(part, time_limit)
        optimal &= found.optimal
        kept = (problem.frame >= start) & (problem.frame < keep) & inside
        chosen = np.zeros(len(problem), bool)
        chosen[rows] = found.cells
        cells[kept] = chosen[kept]
        in_time = (source[link] < keep - 1) | (keep > last)
        links[link[in_time]] = found.links[in_time]
        in_time = (mother[division] < keep - 1) | (keep > last)
        divisions[division[in_time]] = found.divisions[in_time]
    return Solution(cells, links, divisions, cost_of(problem, cells, links, divisions), optimal)


def cost_of(problem: Problem, cells: np.ndarray, links: np.ndarray, divisions: np.ndarray) -> float:
    """Return what a choice costs; `solve` minimises it."""
    has_past, has_future = np.zeros((2, len(problem)), bool)
    has_future[problem.links[links, 0]] = True
    has_past[problem.links[links, 1]] = True
    has_future[problem.divisions[divisions, 0]] = True
    has_past[problem.divisions[divisions, 1:].ravel()] = True
    total = problem.cost[cells].sum() + problem.link_cost[links].sum()
    total += problem.division_cost[divisions].sum()
    return float(total + problem.appear[cells & ~has_past].sum() + problem.end[cells & ~has_future].sum())


def _windows(first: int, last: int, window: int, overlap: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first frame, frame after the last, frame up to which decisions are kept)."""
    window = max(window, overlap + 2)
    start = first
    while start <= last:
        stop = min(start + window, last + 1)
        keep = last + 1 if stop == last + 1 else stop - overlap
        yield start, stop, keep
        start = keep


def _among(members: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.flatnonzero(inside[members].all(axis=1))


def _renumbered(members: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.searchsorted(rows, members)


def _conflicts_among(conflicts: np.ndarray, rows: np.ndarray, n: int) -> np.ndarray:
    number = np.full(n, -1, np.int64)
    number[rows] = np.arange(len(rows))
    at = number[conflicts[:, 1]]
    return np.column_stack([conflicts[:, 0], at])[at >= 0]


def _solve_components(problem: Problem, time_limit: float) -> Solution:
    cells = np.zeros(len(problem), bool)
    links = np.zeros(len(problem.links), bool)
    divisions = np.zeros(len(problem.divisions), bool)
    if len(problem) == 0:
        return Solution(cells, links, divisions, 0.0, True)
    component = _components(problem)
    batches = _batches(component)
    optimal = True
    by = {
        "rows": _split(batches[component], int(batches.max()) + 1),
        "links": _split(batches[component[problem.links[:, 0]]], int(batches.max()) + 1),
        "divisions": _split(batches[component[problem.divisions[:, 0]]], int(batches.max()) + 1),
        "conflicts": _split(batches[component[problem.conflicts[:, 1]]], int(batches.max()) + 1),
    }
    for rows, link, division, c in zip(*by.values(), strict=True):
        part = Problem(
            problem.frame[rows],
            problem.cost[rows],
            problem.appear[rows],
            problem.end[rows],
            _renumbered(problem.links[link], rows),
            problem.link_cost[link],
            _renumbered(problem.divisions[division], rows),
            problem.division_cost[division],
            np.column_stack([problem.conflicts[c, 0], np.searchsorted(rows, problem.conflicts[c, 1])]),
            problem.fixed[link],
            problem.given[rows],
            problem.fixed_divisions[division],
        )
        found, best = _solve_one(part, time_limit)
        optimal &= best
        n, m = len(rows), len(link)
        cells[rows], links[link] = found[:n], found[n : n + m]
        divisions[division] = found[n + m : n + m + len(division)]
    return Solution(cells, links, divisions, 0.0, optimal)


def _components(problem: Problem) -> np.ndarray:
    n = len(problem)
    together = [problem.links, problem.divisions[:, :2], problem.divisions[:, [0, 2]]]
    order = np.argsort(problem.conflicts[:, 0], kind="stable")
    clique, member = problem.conflicts[order].T
    same = np.flatnonzero(np.diff(clique) == 0)
    together.append(np.column_stack([member[same], member[same + 1]]))
    a, b = np.concatenate(together).T
    return connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)[1]


#: Components are given to the solver together up to so many hypotheses: calling it costs as much as a small one.
_BATCH = 300
#: Relative gap at which HiGHS may stop.
_GAP = 1e-4


def _batches(component: np.ndarray) -> np.ndarray:
    """Return the batch of each component: small ones share one."""
    before = np.cumsum(np.bincount(component))
    return np.unique(before // _BATCH, return_inverse=True)[1]


def _split(group: np.ndarray, n: int) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    return np.split(order, np.searchsorted(group[order], np.arange(1, n)))


def _solve_one(problem: Problem, time_limit: float) -> tuple[np.ndarray, bool]:
    """Return 0 or 1 of x, l and v, and whether they are the best."""
    n, m, d = len(problem), len(problem.links), len(problem.divisions)
    past = [(problem.links[:, 1], n), (problem.divisions[:, 1], n + m), (problem.divisions[:, 2], n + m)]
    future = [(problem.links[:, 0], n), (problem.divisions[:, 0], n + m)]
    total = n + m + d + 2 * n
    equal = [_balance(n, past, n + m + d, total), _balance(n, future, n + m + d + n, total)]
    constraints = [LinearConstraint(block, 0, 0) for block in equal]
    if len(problem.conflicts):
        clique = np.unique(problem.conflicts[:, 0], return_inverse=True)[1]
        shape = (int(clique.max()) + 1, total)
        ones = np.ones(len(clique))
        constraints.append(
            LinearConstraint(csr_array((ones, (clique, problem.conflicts[:, 1])), shape=shape), -np.inf, 1)
        )
    low = np.zeros(total)
    low[:n][problem.given] = 1
    low[n : n + m][problem.fixed] = 1
    low[n + m : n + m + d][problem.fixed_divisions] = 1
    cost = np.concatenate(
        [problem.cost, problem.link_cost, problem.division_cost, problem.appear, problem.end]
    )
    whole = np.zeros(total, np.uint8)
    whole[: n + m + d] = 1  # what appears and ends follows from the others
    found = milp(
        cost,
        integrality=whole,
        bounds=Bounds(low, 1),  # type: ignore[arg-type]
        constraints=constraints,
        options={"time_limit": time_limit, "mip_rel_gap": _GAP},
    )
    if found.x is None:
        raise InputError(
            "fixed",
            f"{int(problem.fixed.sum() + 2 * problem.fixed_divisions.sum())} links",
            "these links cannot all be: a cell has one past and one future",
        )
    return found.x[: n + m + d] > 0.5, found.status == 0


def _balance(n: int, parts: Sequence[tuple[np.ndarray, int]], own: int, total: int) -> csr_array:
    """Return the rows own_i + Σ parts_i − x_i = 0."""
    rows = [np.arange(n), np.arange(n), *(at for at, _ in parts)]
    columns = [np.arange(n), own + np.arange(n), *(start + np.arange(len(at)) for at, start in parts)]
    values = [-np.ones(n), np.ones(n), *(np.ones(len(at)) for at, _ in parts)]
    return csr_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(n, total)
    )

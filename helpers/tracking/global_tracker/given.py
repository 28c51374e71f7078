"""Links that a person has confirmed, in the program: variables that are 1, and ends whose fate is settled.

::

    A ── B           a link of neighbouring frames        l_ab = 1
    A ─┬ B           two of them from one cell            v_abc = 1
       └ C
    A ──────── D     over a gap, or into three            no variable: A and D are cells, A's future and D's past are known
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from helpers.errors import InputError
from helpers.tracking.global_tracker.program import Problem


@dataclass(frozen=True)
class Given:
    """Confirmed links between hypotheses, by what they are in the program.

    Attributes
    ----------
    links : (k, 2) int ndarray
    divisions : (d, 3) int ndarray
    beyond : (b, 2) int ndarray
        Links that the program has no variable for.
    """

    links: np.ndarray
    divisions: np.ndarray
    beyond: np.ndarray


def given_of(pairs: np.ndarray, frame: np.ndarray) -> Given:
    """Sort confirmed links.

    Parameters
    ----------
    pairs : (n, 2) int ndarray
        Source and target, hypotheses.
    frame : (m,) int ndarray
        Of each hypothesis.

    Raises
    ------
    InputError
        Two links into one cell.
    """
    pairs = np.unique(np.asarray(pairs, np.int64).reshape(-1, 2), axis=0)
    if len(np.unique(pairs[:, 1])) < len(pairs):
        raise InputError(
            "fixed", f"{len(pairs)} links", "these links cannot all be: a cell has one past and one future"
        )
    links, divisions, beyond = [], [], []
    for source in np.unique(pairs[:, 0]).tolist():
        targets = pairs[pairs[:, 0] == source, 1].tolist()
        if len(targets) > 2 or (frame[targets] != frame[source] + 1).any():
            beyond += [(source, target) for target in targets]
        elif len(targets) == 2:
            divisions.append((source, *targets))
        else:
            links.append((source, *targets))
    return Given(_rows(links, 2), _rows(divisions, 3), _rows(beyond, 2))


def with_given(
    problem: Problem, iou: np.ndarray, division_iou: np.ndarray, given: Given
) -> tuple[Problem, np.ndarray, np.ndarray]:
    """Return the program with confirmed links in it, and the overlaps of its candidates.

    One that was no candidate becomes one, for nothing. Candidates of ends whose fate is settled beyond the program go.
    """
    source, target = given.beyond.T
    free = ~(np.isin(problem.links[:, 0], source) | np.isin(problem.links[:, 1], target))
    whole = ~(
        np.isin(problem.divisions[:, 0], source) | np.isin(problem.divisions[:, 1:], target).any(axis=1)
    )
    links, link_new, fixed = _added(problem.links[free], given.links)
    # A division is the same whichever daughter is named first.
    ordered = np.column_stack([problem.divisions[whole, :1], np.sort(problem.divisions[whole, 1:], axis=1)])
    divisions, division_new, fixed_divisions = _added(ordered, given.divisions)
    appear, end, certain = problem.appear.copy(), problem.end.copy(), problem.given.copy()
    end[source], appear[target] = 0.0, 0.0
    certain[source] = certain[target] = True
    made = replace(
        problem, appear=appear, end=end, given=certain, fixed=fixed, fixed_divisions=fixed_divisions,
        links=links, link_cost=np.append(problem.link_cost[free], np.zeros(link_new)),
        divisions=divisions, division_cost=np.append(problem.division_cost[whole], np.zeros(division_new)),
    )  # fmt: skip
    return (
        made,
        np.append(iou[free], np.zeros(link_new)),
        np.append(division_iou[whole], np.zeros(division_new)),
    )


def _added(known: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    """Return the candidates with what is given and was none, how many these are, and which candidates are given."""
    there = set(map(tuple, known.tolist()))
    new = [row for row in given.tolist() if tuple(row) not in there]
    every = np.concatenate([known, _rows(new, known.shape[1])])
    wanted = set(map(tuple, given.tolist()))
    return every, len(new), np.array([tuple(row) in wanted for row in every.tolist()], bool)


def _rows(rows: list, width: int) -> np.ndarray:
    return np.array(rows, np.int64).reshape(-1, width)

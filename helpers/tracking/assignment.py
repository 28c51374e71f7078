"""The assignment problem of tracking: which candidate links to take, where every object may also stay alone.

TrackMate (after Jaqaman et al. 2008) writes it as a square matrix of four blocks::

                 targets          no target
    sources  [ candidates c_ij |  b on the diagonal ]
    no source[ b on diagonal   |  b at candidatesᵀ  ]

With one no-link cost b for all, a solution with k links costs Σ c_ij + (n + m − k)·b: the lower right block can
always be filled with the links themselves. So the best solution minimises Σ (c_ij − b) over matchings, links
with c_ij ≥ b never pay, and parts of the graph that no candidate joins do not see each other. A search for the
shortest augmenting path (Jonker and Volgenant 1987) then stays within its own component and, because leaving a
source alone is always possible at cost b, within its own neighbourhood: exact, and near-linear in practice.

Own code because users wait for it: SciPy's ``min_weight_full_bipartite_matching`` needs the whole square matrix and, for the
same optimum, 3.5 times as long at 500 cells a frame, 35 times at 5,000, and 500 times (168 s) at 50,000.
"""

from __future__ import annotations

import numba
import numpy as np

from helpers import heap

_FREE = -1
_ALONE = -2


def match(rows: np.ndarray, columns: np.ndarray, costs: np.ndarray, no_link_cost: float) -> np.ndarray:
    """Return the candidates of the cheapest matching.

    Parameters
    ----------
    rows, columns : (n,) int ndarray
        Source and target of each candidate link, integers ≥ 0; each pair at most once.
    costs : (n,) float ndarray
        Cost of each candidate, ≥ 0.
    no_link_cost : float
        What each source and each target pays for staying alone.

    Returns
    -------
    (k,) int ndarray
        Indices of the chosen candidates, sorted by row. Among equal optima the choice depends on the order of
        row and column numbers alone, not on the order of the candidates.
    """
    pays = np.flatnonzero(costs < no_link_cost)
    if len(pays) == 0:
        return pays
    order = pays[np.lexsort((columns[pays], costs[pays], rows[pays]))]
    row, n_rows = _numbered(rows[order])
    column, n_columns = _numbered(columns[order])
    starts = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(row), out=starts[1:])
    chosen = _solve(starts, column.astype(np.int32), costs[order] / no_link_cost, n_columns)
    return order[chosen[chosen >= 0]]


def _numbered(names: np.ndarray) -> tuple[np.ndarray, int]:
    """Return `names` (integers ≥ 0) renumbered 0…n−1 in their order, and n."""
    used = np.zeros(names.max() + 1, bool)
    used[names] = True
    return (np.cumsum(used) - 1)[names], int(used.sum())


@numba.njit("int64[::1](int64[::1], int32[::1], float64[::1], int64)", cache=True)
def _solve(starts, columns, costs, n_columns):  # pragma: no cover - compiled
    """Return for each row the index of its candidate or a negative number.

    Costs are relative to no link and ascend within each row. Prices are never positive, so a cost alone is a
    lower bound of the reduced cost, and every scan of a row stops early.
    """
    n_rows = len(starts) - 1
    price = np.zeros(n_columns)  # dual variable of each column, ≤ 0; free columns keep 0
    row_of = np.full(n_columns, _FREE, np.int64)
    edge_of = np.full(n_rows, _FREE, np.int64)

    # Every source takes its cheapest target if that is still free.
    waiting = np.empty(n_rows, np.int64)
    n_waiting = 0
    for row in range(n_rows):
        best = starts[row]
        if row_of[columns[best]] == _FREE:
            row_of[columns[best]] = row
            edge_of[row] = best
        else:
            waiting[n_waiting] = row
            n_waiting += 1

    # Shortest augmenting paths (Dijkstra over reduced costs) for the others.
    distance = np.full(n_columns, np.inf)
    scanned = np.zeros(n_columns, np.bool_)
    reached_by = np.empty(n_columns, np.int64)
    touched = np.empty(n_columns, np.int64)
    heap_key = np.empty(1024)
    heap_column = np.empty(1024, np.int64)
    for k in range(n_waiting):
        root = waiting[k]
        row = root
        base = 0.0
        n_touched = 0
        n_heap = 0
        shortest = np.inf
        end_column = -1
        end_row = -1
        while True:
            if base + 1.0 < shortest:
                shortest = base + 1.0
                end_row = row
                end_column = -1
            for edge in range(starts[row], starts[row + 1]):
                if base + costs[edge] >= shortest:
                    break
                column = columns[edge]
                if scanned[column]:
                    continue
                length = base + costs[edge] - price[column]
                if length >= distance[column] or length >= shortest:
                    continue
                if distance[column] == np.inf:
                    touched[n_touched] = column
                    n_touched += 1
                distance[column] = length
                reached_by[column] = edge
                if row_of[column] == _FREE:
                    shortest = length
                    end_column = column
                    end_row = -1
                    continue
                if n_heap == len(heap_key):
                    heap_key = np.append(heap_key, np.empty(n_heap))
                    heap_column = np.append(heap_column, np.empty(n_heap, np.int64))
                heap.push(heap_key, heap_column, n_heap, length, column)
                n_heap += 1
            # The nearest column not yet scanned; entries that were improved since are stale.
            column = -1
            while n_heap > 0 and column < 0:
                if not scanned[heap_column[0]] and heap_key[0] == distance[heap_column[0]]:
                    column = heap_column[0]
                heap.pop(heap_key, heap_column, n_heap)
                n_heap -= 1
            if column < 0 or distance[column] >= shortest:
                break
            scanned[column] = True
            row = row_of[column]
            base = distance[column] - (costs[edge_of[row]] - price[column])

        for t in range(n_touched):
            column = touched[t]
            if scanned[column]:
                price[column] += distance[column] - shortest
                scanned[column] = False
            distance[column] = np.inf
        # Flip the path: from its end back to the root, every row takes the column it was reached from.
        if end_row >= 0:
            column = columns[edge_of[end_row]] if end_row != root else -1
            edge_of[end_row] = _ALONE
        else:
            column = end_column
        while column >= 0:
            edge = reached_by[column]
            row = np.searchsorted(starts, edge, side="right") - 1
            previous = columns[edge_of[row]] if row != root else -1
            edge_of[row] = edge
            row_of[column] = row
            column = previous
    return edge_of

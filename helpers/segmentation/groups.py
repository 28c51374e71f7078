"""Things that hang together in pairs, such as labels of two blocks that are one cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def joined(pairs: NDArray, n: int) -> NDArray[np.int64]:
    """Return the group of each of `n` things of which pairs, (2, m), belong together; groups count in their order."""
    links = coo_matrix((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), (n, n))
    group = connected_components(links, directed=False)[1]
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[group]

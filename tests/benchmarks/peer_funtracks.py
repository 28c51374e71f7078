"""How long funtracks 2.2 takes to edit one link among 200,000 cells; run in an environment of its own (.venv-funtracks).

``python tests/benchmarks/peer_funtracks.py`` prints processor time. Ours is in ``bench_editing.py``, which draws as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

N_FRAMES, N_CELLS, REPEATS = 20, 10_000, 3


def _milliseconds(do: Callable[[], object]) -> float:
    start = time.process_time()
    do()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    """Link cells through all frames; take links away, put them back, undo that."""
    from funtracks.data_model import Tracks
    from funtracks.user_actions import UserAddEdge, UserDeleteEdge
    from funtracks.utils.tracksdata_utils import create_empty_graph

    rng = np.random.default_rng(0)
    graph = create_empty_graph(ndim=4)
    places = rng.random((N_FRAMES * N_CELLS, 3)) * 500
    ids = graph.bulk_add_nodes(
        [{"t": k // N_CELLS, "pos": place, "solution": True} for k, place in enumerate(places)]
    )
    pairs = zip(ids, ids[N_CELLS:], strict=False)
    graph.bulk_add_edges([{"source_id": a, "target_id": b, "solution": True} for a, b in pairs])
    tracks = Tracks(graph, time_attr="t", pos_attr="pos", ndim=4)
    for k in range(5 * N_CELLS, 5 * N_CELLS + REPEATS):
        edge = (ids[k], ids[k + N_CELLS])
        taken = _milliseconds(lambda edge=edge: UserDeleteEdge(tracks, edge))
        given = _milliseconds(lambda edge=edge: UserAddEdge(tracks, edge))
        undone = _milliseconds(tracks.undo)
        tracks.redo()
        print(f"delete {taken:.0f} ms, add {given:.0f} ms, undo {undone:.0f} ms")


if __name__ == "__main__":
    main()

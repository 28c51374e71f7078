"""Linking against laptrack 0.17.1: the same candidates and no-link costs, time, peak memory, total cost.

laptrack is a test dependency of this suite, so both sides run under the same interpreter. Its costs are the
same squared distances; its default no-link cost is a percentile where TrackMate's is a multiple of the largest
candidate. Equality is therefore judged with settings in which both mean the same thing: in the cases with two
frames the no-link cost of both is 1.05 times the largest candidate cost, and the links' total costs agree to 1e-9.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import _harness
import numpy as np

DISTANCE = 15.0


def movie(
    n: int, frames: int, spacing: float, *, divide: float = 0.0, lose: float = 0.0
) -> dict[str, np.ndarray]:
    """Return ``positions`` (n, 3) µm and ``frames``: cells that diffuse, divide and are missed now and then."""
    rng = np.random.default_rng(0)
    positions = rng.random((n, 3)) * (n ** (1 / 3) * spacing)
    parts, times = [], []
    for t in range(frames):
        seen = positions[rng.random(len(positions)) >= lose]
        parts.append(seen)
        times.append(np.full(len(seen), t))
        daughters = positions[rng.random(len(positions)) < divide]
        positions = np.vstack([positions, daughters + rng.normal(0, 2.0, daughters.shape)])
        positions = positions + rng.normal(0, 2.0, positions.shape)
    return {"positions": np.vstack(parts), "frames": np.concatenate(times)}


def ours(positions: np.ndarray, frames: np.ndarray, splitting: bool) -> np.ndarray:
    """Return our links as (n, 3): rows of source and target, cost."""
    import pandas as pd

    from helpers.tracking.linking import LapParameters, link

    objects = pd.DataFrame(positions, columns=["z", "y", "x"]).assign(frame=frames)
    many = len(np.unique(frames)) > 2
    tracks = link(objects, LapParameters(max_distance=DISTANCE, gap_closing=many, splitting=splitting))
    return tracks.links[["source", "target", "cost"]].to_numpy(float)


def laptrack(positions: np.ndarray, frames: np.ndarray, splitting: bool) -> np.ndarray:
    """Return laptrack's links as (n, 2): rows of source and target."""
    import pandas as pd
    from laptrack import LapTrack

    many = len(np.unique(frames)) > 2
    tracker = LapTrack(
        cutoff=DISTANCE**2,
        alternative_cost_percentile=100,
        alternative_cost_factor=1.05,
        gap_closing_cutoff=DISTANCE**2 if many else False,
        gap_closing_max_frame_count=1,
        splitting_cutoff=DISTANCE**2 if splitting else False,
    )
    table = pd.DataFrame(positions, columns=["z", "y", "x"]).assign(frame=frames, row=np.arange(len(frames)))
    tree = tracker.predict([part.to_numpy() for _, part in table.groupby("frame")[["z", "y", "x"]]])
    rows = [part.to_numpy() for _, part in table.groupby("frame")["row"]]
    return np.array([(rows[a[0]][a[1]], rows[b[0]][b[1]]) for a, b in tree.edges()], dtype=float)


def cases() -> Iterator[dict[str, Any]]:
    """Yield an entry per case."""
    for name, inputs, splitting in (
        ("20,000 × 2 frames", movie(20_000, 2, 20.0), False),
        ("20,000 × 2 frames, dense", movie(20_000, 2, 8.0), False),
        ("5,000 × 10 frames, gaps and splits", movie(5_000, 10, 20.0, divide=0.02, lose=0.02), True),
    ):

        def equal(mine: np.ndarray, theirs: np.ndarray, inputs=inputs, splitting=splitting) -> Any:
            if splitting:
                return None  # TrackMate's one assignment of segments is not laptrack's two
            pairs = theirs.astype(int)
            step = inputs["positions"][pairs[:, 1]] - inputs["positions"][pairs[:, 0]]
            peer = (step**2).sum()
            return len(mine) == len(pairs) and bool(abs(mine[:, 2].sum() - peer) <= 1e-9 * peer)

        yield _harness.compare(
            "linking",
            name,
            inputs,
            ours="bench_linking.py:ours",
            peer="bench_linking.py:laptrack",
            peer_name="laptrack 0.17.1",
            peer_python=_harness.OURS_PYTHON,
            peer_repeats=1,
            equal=equal,
            splitting=splitting,
        )

"""The same frame on the same machine with a server between and without: what the wire costs beside the segmentation.

The networks are those that the demo trained (`make demo` first; skipped, with a line, where they are missing), the frame its
first one, mirrored at its borders to 22×512×512; labels, and the scores that the server adds, are compared. Both ways take
turns in one process, three times each, and what is compared is processor time, client and server together, which other programs
on the machine change less. In the notebook a frame is drawn while the server segments the next one; here nothing runs beside it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _harness import entry, measure_side
from bench_frame import RUN, _frame

SHAPE = (22, 512, 512)
ROUNDS = 3


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    if not ((RUN / "data/movie/raw.ome.tif").is_file() and (RUN / "models/stardist").is_dir()):
        print(f"skipped: {RUN} holds no models; make demo trains them", file=sys.stderr)
        return
    raw = _frame(SHAPE)
    for method in ("vollseg", "unet"):
        both = measure_side(
            "bench_remote.py:local_and_remote",
            {"raw": raw},
            repeats=1,
            warmups=0,
            timeout_s=14400,
            run=str(RUN),
            method=method,
        )
        (local_wall, local_s), (remote_wall, remote_s) = both.result["seconds"]
        cells, least = both.result["agreement"]
        yield entry(
            "segmentation by a server",
            f"{'×'.join(map(str, SHAPE))}, {cells:.0f} cells, {method}; processor time of both ends",
            replace(both, seconds=remote_s),
            "the same without a server",
            replace(both, seconds=local_s),
            equal=f"least IoU {least:.3f}; {100 * (remote_s / local_s - 1):+.1f} %, by the clock {100 * (remote_wall / local_wall - 1):+.1f} %",
        )


def local_and_remote(raw: np.ndarray, run: str, method: str) -> dict[str, np.ndarray]:
    """Segment a frame both ways; return wall and processor seconds of each, the cells, and the least IoU of one."""
    from helpers.data.movies import Movie
    from helpers.runs.serving import run_model
    from helpers.serve.client.connection import Address, Connection
    from helpers.serve.client.remote_segmenter import RemoteSegmenter
    from helpers.serve.server import start

    voxel_size = Movie.open(Path(run) / "data" / "movie" / "raw.ome.tif").require_voxel_size()
    model = run_model(Path(run), method)
    with start(model) as server:
        connection = Connection(Address(f"127.0.0.1:{server.grpc_port}"))
        connection.greet()  # as notebook 08_segment_remote does: Volltrack's own server is then asked for masks
        remote = RemoteSegmenter(connection, voxel_size=voxel_size)
        local: Any = replace(model.at(voxel_size), scored=False)  # type: ignore[type-var]
        for segmenter in (local, remote):
            segmenter(raw[:, :128, :128])  # traces the networks, and compiles
        seconds, found = [], []
        for _ in range(ROUNDS):
            found = []
            for segmenter in (local, remote):
                started = time.perf_counter(), time.process_time()
                found.append(segmenter(raw).main)
                seconds.append((time.perf_counter() - started[0], time.process_time() - started[1]))
        remote.close()
    middle = np.median(np.reshape(seconds, (ROUNDS, 2, 2)), axis=0)
    return {"seconds": middle, "agreement": np.array([found[0].max(), _least_iou(*found)])}


def _least_iou(one: np.ndarray, other: np.ndarray) -> float:
    pairs, shared = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1, return_counts=True)
    sizes = [np.bincount(labels.ravel()) for labels in (one, other)]
    iou = shared / (sizes[0][pairs[0]] + sizes[1][pairs[1]] - shared)
    best = np.zeros(len(sizes[0]))
    np.maximum.at(best, pairs[0], np.where(pairs[1] > 0, iou, 0))
    return float(best[1:][sizes[0][1:] > 0].min(initial=1))

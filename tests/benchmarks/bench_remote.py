"""The same movie on the same machine with a server between and without: what a user waits for, and what it costs.

The networks are those that the demo trained (`make demo` first; skipped, with a line, where they are missing), the movie its
first frames, mirrored at their borders to 22×512×512. Both ways are those of the notebooks, 06_segment and 08_segment_remote, to the labels
and the table on the disk; the server is the command that a lab starts. They take turns, three times each, after a frame each
that is not counted: medians by the clock, which other programs on the machine change, and in processor time of both ends together.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _harness import ROOT, entry, measure_side
from bench_frame import RUN, _frame

SHAPE = (4, 22, 512, 512)
ROUNDS = 3


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    if not ((RUN / "data/movie/raw.ome.tif").is_file() and (RUN / "models/stardist").is_dir()):
        print(f"skipped: {RUN} holds no models; make demo trains them", file=sys.stderr)
        return
    for method in ("vollseg", "unet"):
        both = measure_side(
            "bench_remote.py:local_and_remote",
            {},
            repeats=1,
            warmups=0,
            timeout_s=14400,
            run=str(RUN),
            method=method,
        )
        cells, least = both.result["agreement"]
        for what, (local_s, remote_s) in zip(
            ("by the clock", "processor time of both ends"), both.result["seconds"], strict=True
        ):
            yield entry(
                "a movie segmented by a server",
                f"{'×'.join(map(str, SHAPE))}, {cells:.0f} cells, {method}; {what}",
                replace(both, seconds=remote_s),
                "the same without a server",
                replace(both, seconds=local_s),
                equal=f"least IoU {least:.3f}; {100 * (remote_s / local_s - 1):+.1f} %",
            )


def local_and_remote(run: str, method: str, rounds: int = ROUNDS) -> dict[str, np.ndarray]:
    """Segment a movie both ways; return seconds ((clock, processor), (local, remote)), its cells, and the least IoU of one."""
    from helpers.runs.parameters import Segment, SegmentRemote
    from helpers.runs.segment_movie import SegmentedMovie, segment_movie
    from helpers.runs.steps import remote, segmentation

    with tempfile.TemporaryDirectory() as temporary, _server(run, method) as (address, process):
        folder = _run_with_movie(Path(temporary), Path(run))
        given: dict[str, Any] = {"run_dir": folder, "movie": folder / "movie.ome.tif"}
        movie = segmentation.open_movie(Segment(method=method, **given))
        opened = segmentation.open_segmenter(Segment(method=method, **given), movie.require_voxel_size())

        def local(name: str) -> SegmentedMovie:
            return segment_movie(movie, lambda: opened, Segment(method=method, movie_id=name, **given))

        def by_server(name: str) -> SegmentedMovie:
            p = SegmentRemote(server=address, movie_id=name, **given)
            return segment_movie(movie, lambda: remote.open_segmenter(p, movie.require_voxel_size()), p)

        opened(movie.frame(0))
        remote.open_segmenter(SegmentRemote(server=address, **given), movie.require_voxel_size())(
            movie.frame(0)
        )
        seconds = []
        for i in range(rounds):
            one, here = _timed(local, f"local{i}", process)
            other, there = _timed(by_server, f"remote{i}", process)
            seconds.append(np.transpose([here, there]))
        least = min(_least_iou(one.labels.frame(t), other.labels.frame(t)) for t in range(movie.n_frames))
    return {"seconds": np.median(seconds, axis=0), "agreement": np.array([len(one.objects), least])}


def _timed(segment: Callable[[str], Any], name: str, server: Any) -> tuple[Any, tuple[float, float]]:
    """Return what is found, and seconds by the clock and of both processes."""

    def spent() -> float:
        return time.process_time() + sum(server.cpu_times()[:2])

    started = time.perf_counter(), spent()
    found = segment(name)
    return found, (time.perf_counter() - started[0], spent() - started[1])


class _server:
    """The command, until its port is known; its address and its process."""

    def __init__(self, run: str, method: str) -> None:
        self._command = ["serve", "--grpc", "0", "--no-token", "--model", run, "--method", method]

    def __enter__(self) -> tuple[str, Any]:
        import psutil

        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers", *self._command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := re.search(r"at (127\.0\.0\.1:\d+)", line):
                return found[1], psutil.Process(self._process.pid)
        raise RuntimeError(f"the server ended with {self._process.wait()}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def _run_with_movie(folder: Path, run: Path) -> Path:
    """Make a run folder with the networks and thresholds of another, and the movie."""
    from helpers.data.movies import Movie
    from helpers.data.tiff import write_ome_tiff

    for path in (run / "models", run / "dataset", *run.glob("thresholds*.json")):
        (folder / path.name).symlink_to(path)
    raw = Movie.open(run / "data" / "movie" / "raw.ome.tif")
    write_ome_tiff(
        folder / "movie.ome.tif",
        (_frame(SHAPE[1:], t) for t in range(SHAPE[0])),
        shape=(SHAPE[0], 1, *SHAPE[1:]),
        dtype=raw.frame(0).dtype,
        voxel_size=raw.require_voxel_size(),
        frame_interval=raw.frame_interval,
    )
    return folder


def _least_iou(one: np.ndarray, other: np.ndarray) -> float:
    pairs, shared = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1, return_counts=True)
    sizes = [np.bincount(labels.ravel()) for labels in (one, other)]
    iou = shared / (sizes[0][pairs[0]] + sizes[1][pairs[1]] - shared)
    best = np.zeros(len(sizes[0]))
    np.maximum.at(best, pairs[0], np.where(pairs[1] > 0, iou, 0))
    return float(best[1:][sizes[0][1:] > 0].min(initial=1))

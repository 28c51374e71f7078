"""How much of notebook 06_segment's time is not the networks': reading, normalising, fusion, measuring and writing.

Runs `helpers.runs.segment_movie` with the models and thresholds that the demo found (`make demo` first; skipped, with
a line, where they are missing) on the demo's own frames. Networks and suppression have a column each; `equal` is the
share of the wall time that is neither. The parts overlap with the prediction of the next frame, so the share is of
the wall time of several. `bench_frame` has larger frames, and all parts.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import ROOT, entry, measure_side

RUN = ROOT / "runs" / "demo"
NETWORKS = ("denoise", "tissue", "unet", "stardist")


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    movie = RUN / "data" / "movie" / "raw.ome.tif"
    if not (movie.is_file() and (RUN / "models" / "stardist").is_dir()):
        print(f"skipped: {RUN} holds no models; make demo trains them", file=sys.stderr)
        return
    cases = (
        ("the demo's frames, as in the demo", 6, True),
        ("the demo's frames, VollSeg only", 6, False),
    )
    for case, frames, compare in cases:
        measured = measure_side(
            "bench_throughput.py:segment",
            {},
            repeats=1,
            warmups=0,
            timeout_s=7200,
            run=str(RUN),
            frames=frames,
            compare=compare,
        )
        wall, networks, suppression = measured.result
        made = entry(
            "notebook 06_segment, seconds a frame",
            f"{case}, {frames} frames",
            measured,
            "–",
            measured,
            equal=f"{100 * (wall - networks - suppression) / wall:.1f} % are neither networks nor suppression",
        )
        yield made | {
            "ours_s": round(wall / frames, 3),
            "peer_s": None,
            "ratio": None,
            "peer_peak_mb": None,
            "parts": {"networks": [networks / frames, None], "suppression": [suppression / frames, None]},
        }


def segment(run: str, frames: int, compare: bool) -> np.ndarray:
    """Segment a movie and return the seconds of the wall, of the networks and of suppression."""
    from helpers.data.movies import Movie, write_movie
    from helpers.runs.parameters import Segment
    from helpers.runs.segment_movie import segment_movie
    from helpers.runs.steps.segmentation import open_segmenter

    movie = Movie.open(Path(run) / "data" / "movie" / "raw.ome.tif")
    voxel_size = movie.require_voxel_size()
    stacks = [movie.frame(t) for t in range(frames)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "run").mkdir()
        for name in ("models", "thresholds.json"):
            if (Path(run) / name).exists():
                (folder / "run" / name).symlink_to(Path(run) / name)
        write_movie(folder / "movie.ome.tif", np.stack(stacks), voxel_size=voxel_size, axes="TZYX")
        p = Segment(
            run_dir=folder / "run", movie=folder / "movie.ome.tif", min_size_um3=20, compare_methods=compare
        )
        segmenter = open_segmenter(p, voxel_size)
        segmenter(stacks[0])  # traces the networks and compiles
        done = segment_movie(Movie.open(folder / "movie.ome.tif"), lambda: segmenter, p)
        seconds = done.seconds
        networks = sum(float(seconds[name].sum()) for name in NETWORKS if name in seconds)
        return np.array([done.wall_s, networks, float(seconds["nms"].sum())])

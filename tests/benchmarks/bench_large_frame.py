"""A frame in blocks: how time and memory grow with its size, and whether its cells are those of the whole frame.

The models are those that the demo trained (`make demo` first; skipped, with a line, where they are missing), the
frames its first one, mirrored at its borders again and again. The peer is the whole-frame way. The table holds sizes that
both can do; one of any size, such as that of the README's claim, runs in blocks alone, and prints its seconds and peak::

    python tests/benchmarks/bench_large_frame.py 128 3072 3072
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import ROOT, entry, measure_side

RUN = ROOT / "runs" / "demo"
#: Each of them is cut into blocks; the last has four times the voxels of the first.
SHAPES = ((32, 512, 512), (32, 1024, 512), (32, 1024, 1024))
#: MB of memory that the blocks are told to have: the sizes above fit any machine, and would be one block.
MEMORY_MB = 512
SUBJECT = "a frame in blocks"


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    if not ((RUN / "data/movie/raw.ome.tif").is_file() and (RUN / "models/stardist").is_dir()):
        print(f"skipped: {RUN} holds no models; make demo trains them", file=sys.stderr)
        return
    first = None
    for shape in SHAPES:
        ours, whole = (
            measure_side(
                f"bench_large_frame.py:{way}",
                {},
                repeats=1,
                warmups=0,
                timeout_s=14400,
                run=str(RUN),
                shape=shape,
            )
            for way in ("in_blocks", "whole_frame")
        )
        first = first or ours
        f1, n, m = _agreement(whole.result, ours.result)
        truth = _truth(shape)
        right, right_whole = (_agreement(truth, found.result, 0.5)[0] for found in (ours, whole))
        grown = f"{np.prod(shape) / np.prod(SHAPES[0]):.0f} times the voxels, {ours.seconds / first.seconds:.2f} times the time"
        yield entry(
            SUBJECT,
            "×".join(map(str, shape)),
            ours,
            "the whole frame at once",
            whole,
            equal=f"{n} and {m} cells, F1 {f1:.4f} at IoU 0.7; against the truth {right:.4f} and {right_whole:.4f} at 0.5; {grown}",
        )


def _agreement(whole: np.ndarray, blocks: np.ndarray, iou: float = 0.7) -> tuple[float, int, int]:
    from stardist.matching import matching

    found: Any = matching(whole, blocks, thresh=iou)
    return float(found.f1), int(found.n_pred), int(found.n_true)


def _truth(shape: tuple[int, ...]) -> np.ndarray:
    """Return the true labels of the mirrored frame: a cell at a mirror is one with its image."""
    from skimage.measure import label

    from helpers.data.label_movies import LabelMovie

    frame = LabelMovie.open(RUN / "data" / "movie" / "labels.ome.tif").frame(0)
    return label(frame[np.ix_(*_mirrored(shape, frame.shape))], connectivity=1)


def in_blocks(run: str, shape: list[int]) -> np.ndarray:
    """Segment and measure a frame in blocks."""
    os.environ["VOLLTRACK_MEMORY_MB"] = str(MEMORY_MB)
    return _segment(Path(run), tuple(shape))


def whole_frame(run: str, shape: list[int]) -> np.ndarray:
    """Segment and measure a frame at once."""
    return _segment(Path(run), tuple(shape))


def _segment(run: Path, shape: tuple[int, ...]) -> np.ndarray:
    with tempfile.TemporaryDirectory(dir=run.parent, prefix="large-frame-") as folder:
        return segment(run, shape, Path(folder)).labels.frame(0)


def segment(run: Path, shape: tuple[int, ...], folder: Path) -> Any:
    """Make a movie of one frame, and segment it as notebook 06_segment does."""
    from helpers.data.movies import Movie
    from helpers.runs.parameters import Segment
    from helpers.runs.segment_movie import segment_movie
    from helpers.runs.steps.segmentation import open_segmenter

    (folder / "models").symlink_to((run / "models").absolute())
    for thresholds in run.glob("thresholds*.json"):
        (folder / thresholds.name).symlink_to(thresholds.absolute())
    small = Movie.open(run / "data" / "movie" / "raw.ome.tif")
    voxel_size = small.require_voxel_size()
    _write(folder / "movie.zarr", small.frame(0), shape)
    path = folder / "movie.zarr"
    p = Segment.checked(
        {"run_dir": folder, "movie": path, "movie_id": "large", "voxel_size_um": list(voxel_size)}
    )
    movie = Movie.open(path, voxel_size=voxel_size)
    return segment_movie(movie, lambda: open_segmenter(p, voxel_size), p)


def _write(path: Path, frame: np.ndarray, shape: tuple[int, ...]) -> None:
    """Write the frame, mirrored to `shape`, some planes at a time."""
    import zarr

    chunks = tuple(min(n, c) for n, c in zip(shape, (16, 512, 512), strict=True))
    array = zarr.create_array(str(path), shape=shape, dtype=frame.dtype, chunks=chunks)
    at = _mirrored(shape, frame.shape)
    for z in range(0, shape[0], chunks[0]):
        array[z : z + chunks[0]] = frame[np.ix_(at[0][z : z + chunks[0]], at[1], at[2])]


def _mirrored(shape: tuple[int, ...], of: tuple[int, ...]) -> list[np.ndarray]:
    """Return along each axis which voxel of a frame stands where, when it is mirrored at its borders until it fills `shape`."""
    return [
        np.pad(np.arange(m), (0, max(0, n - m)), mode="symmetric")[:n] for n, m in zip(shape, of, strict=True)
    ]


def main() -> None:
    """Segment a frame of the size that the command line names."""
    sys.path.insert(0, str(ROOT))
    shape = tuple(map(int, sys.argv[1:4]))
    started, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=RUN.parent, prefix="large-frame-") as folder:
        result = segment(RUN, shape, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    said = {
        "shape": shape,
        "cells": len(result.objects),
        "wall_s": round(time.perf_counter() - started),
        "processor_s": round(time.process_time() - used),
        "peak_gb": round(peak, 2),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()

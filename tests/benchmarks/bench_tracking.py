"""The global tracker against Ultrack, our overlap and our LAP tracker, on the demo's predicted labels; and its solve at size.

The movies are those of ``make scores EXPERIMENTS=demo`` (or of ``make demo`` alone): what three methods found is given to the global
tracker, with the raw movie, in which it looks for borders, and to Ultrack, the first of them to the trackers that take one segmentation. Every side runs with its defaults; its
labels and tracks are scored against the truth. *errors* are the weighted operations of TRA, a movie; seconds are the processor's.
Ultrack needs an environment of its own: ``make benchmark ULTRACK=1`` makes it (torch, some gigabytes).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _harness import OURS_PYTHON, ROOT, Measurement, entry, measure_side

ULTRACK_PYTHON = ROOT / ".venv-ultrack" / "bin" / "python"
METHODS = ("", "_stardist", "_unet")
#: Of the Cell Tracking Challenge: what an added cell and an added link cost, which all that is true costs together.
_CELL, _LINK = 10.0, 1.5


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    yield _at_size()
    runs = _runs()
    if not runs:
        print("skipped: make demo, or make scores EXPERIMENTS=demo, first", file=sys.stderr)
        return
    inputs = {f"sets_{k}": _sets(run) for k, run in enumerate(runs)}
    voxel_size = _truth(runs[0])[1].voxel_size
    peers = {
        "our overlap tracker": ("bench_tracking.py:overlap", OURS_PYTHON),
        "our LAP tracker": ("bench_tracking.py:lap", OURS_PYTHON),
    }
    if ULTRACK_PYTHON.exists():
        peers["Ultrack 0.8.0"] = ("peer_ultrack.py:ultrack", ULTRACK_PYTHON)
    raw = {f"raw_{k}": _raw(run) for k, run in enumerate(runs)}
    mine = _side("bench_tracking.py:ours", inputs | raw, OURS_PYTHON, voxel_size)
    good = _quality(mine.result, runs)
    for name, (target, python) in peers.items():
        theirs = _side(target, inputs, python, voxel_size)
        found = _quality(theirs.result, runs)
        pairs = {measure: (value, found[measure]) for measure, value in good.items()}
        yield entry("tracking", f"demo's cells, {len(runs)} movies", mine, name, theirs, quality=pairs)


def _side(target: str, inputs: dict[str, np.ndarray], python: Path, voxel_size: Any) -> Measurement:
    """Run one side once; its seconds are the processor's."""
    found = measure_side(target, inputs, python=python, repeats=1, warmups=0, voxel_size=voxel_size)
    return replace(found, seconds=float(found.result["processor_s"]))


def _runs() -> list[Path]:
    found = [*sorted(ROOT.glob("runs/scores/demo_*/seed_*")), ROOT / "runs" / "demo"]
    return [run for run in found if all((run / f"movies/movie/labels{m}.zarr").is_dir() for m in METHODS)]


def _sets(run: Path) -> np.ndarray:
    """Return (3, T, Z, Y, X): what VollSeg, StarDist and the U-Net found."""
    from helpers.data.label_movies import LabelMovie

    movies = [LabelMovie.open(run / f"movies/movie/labels{m}.zarr") for m in METHODS]
    return np.stack([[movie.frame(t) for t in range(movie.n_frames)] for movie in movies])


def _data(run: Path) -> Path:
    """Return the folder of the movie; that of a run with whole cells is in its other run."""
    folders = (run, Path(str(run).replace("_whole", "_eroded")))
    return next(f / "data" / "movie" for f in folders if (f / "data" / "movie").is_dir())


def _raw(run: Path) -> np.ndarray:
    from helpers.data.movies import Movie

    movie = Movie.open(_data(run) / "raw.ome.tif")
    return np.stack([movie.frame(t) for t in range(movie.n_frames)])


def _truth(run: Path) -> tuple[Any, Any]:
    from helpers.data.label_movies import LabelMovie
    from helpers.tracking.formats import any_format

    folder = _data(run)
    labels = LabelMovie.open(folder / "labels.ome.tif")
    return labels, any_format.read(folder, voxel_size=labels.voxel_size, frame_interval=labels.frame_interval)


def _quality(result: dict[str, np.ndarray], runs: list[Path]) -> dict[str, float]:
    from helpers.tracking import scores

    rows = []
    for k, run in enumerate(runs):
        labels, truth = _truth(run)
        found = Frames(result[f"labels_{k}"])
        tracks = _tracks(found.array, result[f"parents_{k}"], truth.voxel_size)
        matching = scores.match_objects(tracks, truth, found, labels)
        scored = scores.score(tracks, truth, matching=matching, frame_buffer=1)
        everything = _CELL * len(truth.objects) + _LINK * len(truth.links)
        rows.append((scored["tra"], scored["division_f1"], (1 - scored["tra"]) * everything))
    tra, division, errors = np.nanmean(np.array(rows, float), axis=0)
    return {
        "TRA": round(float(tra), 3),
        "F1 of divisions": round(float(division), 2),
        "errors": round(float(errors)),
    }


class Frames:
    """An array as the movie of labels that the scores ask for."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.n_frames, self.shape = len(array), array.shape

    def frame(self, t: int) -> np.ndarray:
        """Return frame `t`."""
        return self.array[t]


def _tracks(labels: np.ndarray, parents: np.ndarray, voxel_size: Any) -> Any:
    """Return the tracks of labels that are numbers of tracklets, with (n, 2) child and parent."""
    import pandas as pd

    from helpers.tracking.objects import measure
    from helpers.tracking.tracks import Tracks

    frames = [measure(frame, voxel_size=voxel_size, frame=t) for t, frame in enumerate(labels)]
    table = pd.concat(frames, ignore_index=True).assign(id=lambda t: np.arange(len(t)))
    table = table.sort_values(["label", "frame"])
    same = table["label"].to_numpy()[1:] == table["label"].to_numpy()[:-1]
    ids = table["id"].to_numpy()
    first = table.drop_duplicates("label").set_index("label")["id"]
    last = table.drop_duplicates("label", keep="last").set_index("label")["id"]
    forks = [(last[parent], first[child]) for child, parent in parents.tolist()]
    links = np.concatenate(
        [np.column_stack([ids[:-1][same], ids[1:][same]]), np.array(forks, int).reshape(-1, 2)]
    )
    return Tracks(table.sort_values("id"), pd.DataFrame(links, columns=["source", "target"]), voxel_size)


def ours(voxel_size: Any, **movies: np.ndarray) -> dict[str, np.ndarray]:
    """Choose among all sets, in view of the image."""
    from helpers.tracking.global_tracker.tracker import link_global

    found: dict[str, np.ndarray] = {}
    start = time.process_time()
    for name, sets in movies.items():
        if not name.startswith("sets_"):
            continue
        raw = Frames(movies[name.replace("sets_", "raw_")])
        chosen = link_global(list(sets), _cells(sets[0], voxel_size), voxel_size=voxel_size, intensity=raw)
        labels = np.stack([chosen.labels.frame(t) for t in range(len(sets[0]))])
        found |= _numbered(name, chosen.tracks, labels)
    return found | {"processor_s": np.array(time.process_time() - start)}


def overlap(voxel_size: Any, **movies: np.ndarray) -> dict[str, np.ndarray]:
    """Track the first set by overlap."""
    from helpers.tracking.overlap import link_overlap

    found: dict[str, np.ndarray] = {}
    start = time.process_time()
    for name, sets in movies.items():
        tracks = link_overlap(sets[0], objects=_cells(sets[0], voxel_size), voxel_size=voxel_size)
        found |= _numbered(name, tracks, sets[0])
    return found | {"processor_s": np.array(time.process_time() - start)}


def lap(voxel_size: Any, **movies: np.ndarray) -> dict[str, np.ndarray]:
    """Track the first set by LAP, gaps and divisions allowed."""
    from helpers.tracking.linking import LapParameters, link

    found: dict[str, np.ndarray] = {}
    start = time.process_time()
    for name, sets in movies.items():
        tracks = link(_cells(sets[0], voxel_size), LapParameters(splitting=True), voxel_size=voxel_size)
        found |= _numbered(name, tracks, sets[0])
    return found | {"processor_s": np.array(time.process_time() - start)}


def _cells(labels: np.ndarray, voxel_size: Any) -> Any:
    import pandas as pd

    from helpers.tracking.objects import measure

    frames = [measure(frame, voxel_size=voxel_size, frame=t) for t, frame in enumerate(labels)]
    return pd.concat(frames, ignore_index=True).assign(id=lambda table: np.arange(len(table)))


def _numbered(name: str, tracks: Any, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return labels that are numbers of tracklets, and (n, 2) child and parent."""
    painted = np.zeros_like(labels)
    table = tracks.objects.assign(tracklet=tracks.tracklet_ids + 1)
    for t, part in table.groupby("frame"):
        number = np.zeros(int(labels[t].max()) + 1, labels.dtype)
        number[part["label"]] = part["tracklet"]
        painted[t] = number[labels[t]]
    parents = [(child + 1, parent + 1) for parent, children in tracks.children.items() for child in children]
    k = name.removeprefix("sets_")
    return {f"labels_{k}": painted, f"parents_{k}": np.array(parents, int).reshape(-1, 2)}


def _at_size() -> dict[str, Any]:
    """Solve 100 frames of 1,000 cells, 30 % of them with a competing pair: 130,000 hypotheses, 358,000 links."""
    mine = measure_side("bench_tracking.py:solve_grid", {}, repeats=1, warmups=0)
    return {
        "subject": "tracking", "case": "global: solve, 100 frames × 1,000 cells", "ours_s": float(mine.result["processor_s"]),
        "peer": "–", "peer_s": None, "ratio": None, "ours_peak_mb": round(mine.peak_mb, 1), "peer_peak_mb": None,
        "equal": "optimal" if mine.result["optimal"] else "not optimal",
    }  # fmt: skip


def solve_grid(n_frames: int = 100, width: int = 40, height: int = 25) -> dict[str, np.ndarray]:
    """Return the processor time of the solve and whether it found the optimum."""
    from helpers.tracking.global_tracker.program import Problem, solve

    rng = np.random.default_rng(0)
    n = width * height
    frame, cell = [np.repeat(np.arange(n_frames), n)], [np.tile(np.arange(n), n_frames)]
    second = rng.random((n_frames, n)) < 0.3
    order = np.argsort(np.concatenate([*frame, np.nonzero(second)[0]]), kind="stable")
    frame = np.concatenate([*frame, np.nonzero(second)[0]])[order]
    cell = np.concatenate([*cell, np.nonzero(second)[1]])[order]
    start = np.searchsorted(frame, np.arange(n_frames + 1))
    links, costs = [], []
    for t in range(n_frames - 1):
        a, b = (cell[start[k] : start[k + 1]][:, None] for k in (t, t + 1))
        same = a == b.T
        near = (abs(a % width - b.T % width) <= 1) & (abs(a // width - b.T // width) <= 1)
        i, j = np.nonzero(same | (near & (rng.random(near.shape) < 0.15)))
        links.append(np.column_stack([i + start[t], j + start[t + 1]]))
        costs.append(rng.uniform(0, 1, len(i)) + 2 * ~same[i, j])
    total = len(frame)
    problem = Problem(
        frame,
        rng.uniform(-5, -4, total),
        4.0 * (frame > 0),
        4.0 * (frame < n_frames - 1),
        np.concatenate(links),
        np.concatenate(costs),
        conflicts=np.column_stack([frame * n + cell, np.arange(total)]),
    )
    before = time.process_time()
    found = solve(problem)
    return {
        "processor_s": np.array(round(time.process_time() - before, 1)),
        "optimal": np.array(found.optimal),
    }

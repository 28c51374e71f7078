"""A whole frame, from its picture to its table of cells: where the time goes, beside StarDist's and vollseg's own ways.

The models are those that the demo trained (`make demo` first; skipped, with a line, where they are missing), the
frames its first one, mirrored at its borders to 22×512×512 and 64×512×512. Peers are `predict_instances` of StarDist
(its parts, one after the other, to time each) and vollseg 32.4.0's prediction, whose entry point needs PyTorch, napari
and cellpose: its parts in its order, StarDist's `predict_instances`, csbdeep's `predict` and its own fusion. Both sides
may use all cores, and get the same thresholds: one that leaves many candidates for the suppression, and one that
leaves few. Rows in float32 compare what comes out; where the notebooks compute in another precision (``"auto"``), more rows
say how long that takes. One row says how the time grows from a frame to one of four times the voxels.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import OURS_PYTHON, PEERS_PYTHON, ROOT, Measurement, entry, measure_side

from helpers.models.precision import resolve

RUN = ROOT / "runs" / "demo"
SHAPES = ((22, 512, 512), (64, 512, 512))
#: Least probability of a candidate; the suppression's threshold is the same.
MANY, FEW, NMS = 0.6, 0.75, 0.1
SUBJECT = "a whole frame"


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    if not ((RUN / "data/movie/raw.ome.tif").is_file() and (RUN / "models/stardist").is_dir()):
        print(f"skipped: {RUN} holds no models; make demo trains them", file=sys.stderr)
        return
    yield _growth()
    for shape in SHAPES:
        for prob in (FEW, MANY):
            yield from _beside_peers(shape, prob)


def _beside_peers(shape: tuple[int, ...], prob: float) -> Iterator[dict[str, Any]]:
    raw = _frame(shape)
    theirs = _run("bench_frame.py:stardist_and_csbdeep", {"raw": raw}, run=str(RUN), prob=prob, nms=NMS)
    fusion = _run(
        "peer_fusion.py:vollseg_32",
        {k: theirs.result[k] for k in ("probability", "star_labels", "foreground")},
        python=PEERS_PYTHON,
        voxel_size=(1.5, 0.5, 0.5),
    )
    n = int(theirs.result["candidates"])
    for precision in dict.fromkeys(("float32", resolve("auto"))):
        ours = _run(
            "bench_frame.py:ours", {"raw": raw}, run=str(RUN), prob=prob, nms=NMS, precision=precision
        )
        yield from _rows(f"{_name(shape)}, {n:,} candidates above {prob}, {precision}", ours, theirs, fusion)


def _rows(case: str, ours: Measurement, theirs: Measurement, fusion: Measurement) -> Iterator[dict[str, Any]]:
    parts = _parts(ours)
    networks, suppression, unet = theirs.result["seconds"]
    yield _entry(
        f"{case}, StarDist",
        ours,
        parts["StarDist's network"] + parts["suppression"],
        "StarDist's predict_instances",
        theirs,
        networks + suppression,
        equal=_same_stars(ours, theirs),
        parts={
            "networks": [parts["StarDist's network"], networks],
            "suppression": [parts["suppression"], suppression],
        },
    )
    yield _entry(
        f"{case}, VollSeg",
        ours,
        sum(seconds for name, seconds in parts.items() if name not in ("measuring", "writing")),
        "vollseg 32.4.0, its parts",
        theirs,
        networks + suppression + unet + fusion.seconds,
        equal=f"{len(np.unique(ours.result['vollseg'])) - 1} and {len(np.unique(fusion.result)) - 1} cells",
        parts={
            "networks": [parts["StarDist's network"] + parts["U-Net"], networks + unet],
            "suppression": [parts["suppression"], suppression],
            "fusion": [parts["fusion"], fusion.seconds],
            "measuring": [parts["measuring"], None],
            "writing": [parts["writing"], None],
        },
    )


def _growth() -> dict[str, Any]:
    """Compare a frame with one of four times its voxels, ours alone."""
    small, large = (22, 512, 512), (22, 1024, 1024)
    one, four = (
        _run("bench_frame.py:ours", {"raw": _frame(s)}, run=str(RUN), prob=MANY, nms=NMS, precision="auto")
        for s in (small, large)
    )
    a, b = _parts(one), _parts(four)
    seconds = [sum(p.values()) for p in (b, a)]
    names = {"networks": ("StarDist's network", "U-Net")}
    return _entry(
        f"{_name(large)}, four times the voxels",
        four,
        seconds[0],
        f"ours, {_name(small)}",
        one,
        seconds[1],
        equal=f"{seconds[0] / seconds[1]:.2f} times the time",
        parts={
            name: [sum(p[k] for k in names.get(name, (name,))) for p in (b, a)]
            for name in ("networks", "suppression", "fusion", "measuring", "writing")
        },
    )


def _entry(
    case: str, ours: Measurement, ours_s: float, peer: str, theirs: Measurement, peer_s: float, **columns: Any
) -> dict[str, Any]:
    made = entry(SUBJECT, case, ours, peer, theirs, **columns)
    return made | {
        "ours_s": round(ours_s, 3),
        "peer_s": round(peer_s, 3),
        "ratio": round(peer_s / ours_s, 2),
    }


def _run(
    target: str, inputs: dict[str, np.ndarray], *, python: Path = OURS_PYTHON, **settings: Any
) -> Measurement:
    return measure_side(target, inputs, python=python, repeats=1, warmups=0, timeout_s=14400, **settings)


def _name(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _parts(ours: Measurement) -> dict[str, float]:
    return dict(zip(PARTS, ours.result["seconds"].tolist(), strict=True))


def _same_stars(ours: Measurement, theirs: Measurement) -> str:
    from stardist.matching import matching

    a, b = ({tuple(p) for p in side.result["points"].tolist()} for side in (ours, theirs))
    f1 = matching(theirs.result["star_labels"], ours.result["stars"], thresh=0.9).f1  # type: ignore[union-attr]
    return f"{len(a & b)} of {len(b)} survivors common, F1 {f1:.3f} at IoU 0.9"


def _frame(shape: tuple[int, ...], t: int = 0) -> np.ndarray:
    """Return a frame of the demo, mirrored at its borders, so that cells at a seam are cells."""
    from helpers.data.movies import Movie

    frame = Movie.open(RUN / "data" / "movie" / "raw.ome.tif").frame(t)
    size = [(0, max(0, n - m)) for n, m in zip(shape, frame.shape, strict=True)]
    return np.pad(frame, size, mode="symmetric")[tuple(map(slice, shape))]


#: Seconds that `ours` returns, in this order.
PARTS = (
    "normalisation",
    "StarDist's network",
    "U-Net",
    "suppression",
    "fusion",
    "filter",
    "measuring",
    "writing",
)


def ours(raw: np.ndarray, run: str, prob: float, nms: float, precision: str) -> dict[str, np.ndarray]:
    """Segment, measure and write a frame."""
    from helpers.data.label_movies import LabelMovie
    from helpers.data.movies import Movie
    from helpers.models import stardist
    from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
    from helpers.tracking.objects import measure

    models = Path(run) / "models"
    voxel_size = Movie.open(Path(run) / "data" / "movie" / "raw.ome.tif").require_voxel_size()
    segmenter = VollSegSegmenter.open(
        stardist_dir=models / "stardist", unet_dir=models / "unet", voxel_size=voxel_size,
        prob_thresh=prob, nms_thresh=nms, foreground_thresh=0.5, precision=precision,
    )  # fmt: skip
    # Traces the networks, compiles, and makes the table of rays, as the first frame of a movie does.
    warm = raw[:, :128, :128]
    measure(segmenter(warm).main, warm, voxel_size=voxel_size)
    outputs = segmenter.network_outputs(raw)
    labels = segmenter.labels_from_outputs(outputs)
    started = time.perf_counter()
    measure(labels, raw, voxel_size=voxel_size).to_csv(Path(tempfile.mkdtemp()) / "objects.csv")
    measured = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        LabelMovie.create(Path(folder) / "labels.zarr", (1, *raw.shape), voxel_size=voxel_size).write_frame(
            0, labels
        )
        written = time.perf_counter()
    named = [outputs.seconds[k] for k in ("normalise", "stardist", "unet", "nms", "fusion", "filter")]
    stars, details = stardist.instances(
        segmenter.star_model, outputs.stars[0], prob_thresh=prob, nms_thresh=nms
    )
    return {
        "seconds": np.array([*named, measured - started, written - measured]),
        "vollseg": labels,
        "stars": stars,
        "points": details["points"],
    }


def stardist_and_csbdeep(raw: np.ndarray, run: str, prob: float, nms: float) -> dict[str, np.ndarray]:
    """Predict with StarDist's own `predict_instances`, in its two parts, and with csbdeep's `predict`."""
    from csbdeep.models import CARE
    from stardist.models import StarDist3D

    from helpers.data.normalization import normalize, percentile_range
    from helpers.models.stardist import upsample

    folder = str((Path(run) / "models").absolute())
    stack = normalize(raw, *percentile_range(raw, 1.0, 99.8, name="frame"))
    model, care = StarDist3D(None, "stardist", folder), CARE(None, "unet", folder)
    for one in (model.predict_sparse, lambda x, **k: care.predict(x, "ZYX")):
        one(stack[:, :128, :128], prob_thresh=prob)
    # One tile of 64×512×512 takes more memory than these machines have.
    tiles = (1, 2, 2) if stack.size > 2**23 else (1, 1, 1)
    started = time.perf_counter()
    probability, distances, points = model.predict_sparse(
        stack, prob_thresh=prob, n_tiles=tiles, show_tile_progress=False
    )
    predicted = time.perf_counter()
    labels, details = model._instances_from_prediction(
        stack.shape, probability, distances, points=points, prob_thresh=prob, nms_thresh=nms
    )
    suppressed = time.perf_counter()
    foreground = care.predict(stack, "ZYX", n_tiles=tiles)
    ended = time.perf_counter()
    coarse = model.predict(stack, n_tiles=tiles, show_tile_progress=False)[0]
    return {
        "seconds": np.array([predicted - started, suppressed - predicted, ended - suppressed]),
        "candidates": np.array(len(points)),
        "points": details["points"],
        "star_labels": np.asarray(labels, np.int32),
        "probability": upsample(coarse, model.config.grid, stack.shape),
        "foreground": foreground > 0.5,
    }

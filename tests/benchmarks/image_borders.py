"""What the image's word is worth: VollSeg with and without it, on the runs of ``make scores``.

    python tests/benchmarks/image_borders.py            # writes image_borders.md beside this file

The networks and thresholds are those of the runs; the cells are test cells, and nothing is chosen here. ``with`` and ``without`` are
`helpers.segmentation.image_borders`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from helpers.data.experiment import read_experiment
from helpers.data.label_movies import LabelMovie
from helpers.runs.parameters import Segment
from helpers.runs.plan import plan
from helpers.runs.steps.segmentation import open_movie, open_segmenter
from helpers.segmentation.matching import match_counts
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter

ROOT = Path(__file__).resolve().parents[2]
IOUS = (0.5, 0.7)


def measure(experiment: Path) -> np.ndarray:
    """Return F1 (2, 2) of one run: without and with the image's word, at both IoU."""
    read = read_experiment(experiment)
    truths = {movie["movie_id"]: movie["truth"] for movie in read.movies}
    counts = np.zeros((2, len(IOUS), 3))
    segmenter = None
    for p in (job.parameters for job in plan(read)):
        if not isinstance(p, Segment):
            continue
        movie, truth = open_movie(p), LabelMovie.open(truths[p.movie_id])
        if segmenter is None:
            segmenter = open_segmenter(p, movie.require_voxel_size())
            assert isinstance(segmenter, VollSegSegmenter)
            segmenter = replace(segmenter, compare=False)
        for t in range(movie.n_frames):
            outputs = segmenter.network_outputs(movie.frame(t))
            for k, seen in enumerate((replace(outputs, image=None), outputs)):
                own = segmenter.thresholds.get("vollseg", {})
                labels = segmenter.labels_from_outputs(seen, method="vollseg", **own)
                true = truth.frame(t)
                rows = match_counts(true.reshape(labels.shape), labels, iou_thresholds=IOUS)
                counts[k] += rows[["tp", "fp", "fn"]].to_numpy()
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def main() -> None:
    """Measure every run, and write the table."""
    rows = []
    for experiment in sorted(ROOT.glob("runs/scores/*/seed_*/experiment.yaml")):
        if not (experiment.parent / "thresholds.json").exists():
            continue
        found = measure(experiment)
        rows.append((experiment.parts[-3], experiment.parts[-2], *found.T.ravel()))
        print(*rows[-1], flush=True)
    numbers = np.array([row[2:] for row in rows], float)
    mean = numbers.mean(axis=0)
    lines = [
        "# What the image's word is worth to VollSeg",
        "",
        "F1 on test cells, by `python tests/benchmarks/image_borders.py` after `make scores`.",
        "",
        "| experiment | seed | IoU 0.5 without | with | IoU 0.7 without | with |",
        "|---|---|---:|---:|---:|---:|",
        *(
            f"| {name} | {seed.removeprefix('seed_')} | " + " | ".join(f"{v:.3f}" for v in values) + " |"
            for name, seed, *values in rows
        ),
        "| **mean** | | " + " | ".join(f"**{v:.3f}**" for v in mean) + " |",
    ]
    Path(__file__).with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

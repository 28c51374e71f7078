"""What each rule of the fusion is worth: every number of `Rules` changed in turn, on all runs that have a truth.

    python tests/benchmarks/fusion_rules.py runs/scores/*/seed_*      writes fusion_rules.md beside this file

For each run the networks' outputs of its true movies are made once, with the thresholds that its notebook 05_optimize_thresholds found. Then the
cells are fused with all rules, and with one of them off (or half and one and a half times as strong). A row gives the change
of F1 (mean of IoU 0.5 and 0.7, TP, FP and FN pooled over all frames) with its 95 % interval, from drawing the true cells of
each frame anew a thousand times (bootstrap; the same draw for both sides; false cells stay as they are). All seeds of an
experiment are one column. The stored outputs of real membranes, where available, and synthetic stacks are more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from helpers.data.movies import Movie  # noqa: E402
from helpers.data.samples import OVULE_TEST_FROM_Y, OVULE_VOXEL_SIZE  # noqa: E402
from helpers.runs.parameters import OptimizeThresholds  # noqa: E402
from helpers.runs.steps.thresholds import validation_stacks  # noqa: E402
from helpers.segmentation import thresholds  # noqa: E402
from helpers.segmentation.fusion import DIVIDE, Rules, fuse  # noqa: E402
from helpers.segmentation.vollseg_segmenter import Outputs, VollSegSegmenter  # noqa: E402

TABLE = Path(__file__).with_name("fusion_rules.md")
SPACING = (2.0, 0.5, 0.5)
#: What is changed: the title of the row, and the rules.
CHANGES: dict[str, Rules] = {
    "seen off (0)": Rules(seen=0.0),
    "seen × 1.5": Rules(seen=0.45),
    "min_depth off (1: nothing is thick)": Rules(min_depth=1.0),
    "min_depth × 0.5": Rules(min_depth=0.25),
    "neck off (0: never divided)": Rules(neck=0.0),
    "neck 1 (always divided)": Rules(neck=1.0),
    "min_volume off (0)": Rules(min_volume=0.0),
    "min_volume × 1.5": Rules(min_volume=0.3),
    "max_contact off (1)": Rules(max_contact=1.0),
    "max_contact × 0.5": Rules(max_contact=1 / 6),
    "core off (0: whole stars)": Rules(core=0.0),
    "core 1 (the deepest voxels)": Rules(core=1.0),
    "divides off (1)": Rules(divides=1.0),
    "divides × 0.5": Rules(divides=0.15),
    "divides × 1.5": Rules(divides=0.45),
    "joins off (0)": Rules(joins=0.0),
    "joins × 0.5": Rules(joins=0.05),
    "joins × 1.5": Rules(joins=0.15),
}


@dataclass(frozen=True)
class Case:
    """One frame with its truth, and how it is fused with any rules."""

    truth: np.ndarray
    fuse: Callable[[Rules, str | None], np.ndarray]

    def cells(self, rules: Rules, divide: str | None = None) -> tuple[np.ndarray, int]:
        """Return of each true cell whether it is found at IoU 0.5 and 0.7 (n, 2), and how many cells were found."""
        truth, found = self.truth, self.fuse(rules, divide)
        both = (truth > 0) & (found > 0)
        n = int(found.max()) + 1
        pairs, shared = np.unique(truth[both].astype(np.int64) * n + found[both], return_counts=True)
        cell, label = pairs // n, pairs % n
        sizes, others = np.bincount(truth.ravel()), np.bincount(found.ravel())
        best = np.zeros(len(sizes))
        np.maximum.at(best, cell, shared / (sizes[cell] + others[label] - shared))
        best = best[1:][sizes[1:] > 0]
        return np.stack([best >= 0.5, best >= 0.7], 1), np.count_nonzero(others[1:])


def cases_of_run(run: Path, cells: str = "test") -> Iterator[Case]:
    """Yield the frames of a run's true movies, or the stacks on which its notebook 05_optimize_thresholds chose ("validation")."""
    found = thresholds.load(run / "thresholds.json")
    ways = {way: {**found.choices, **own, "divide": way} for way, own in (found.divided or {}).items()}
    for choices in ways.values():
        choices.pop("score")
    ways[None] = found.choices
    frames = _frames(run) if cells == "test" else _validation(run)
    for raw, truth, voxel_size in frames:
        segmenter = VollSegSegmenter.open(
            stardist_dir=run / "models" / "stardist",
            unet_dir=run / "models" / "unet",
            voxel_size=voxel_size,
            precision="auto",
            candidate_floor=thresholds.LIMITS["prob"][0],
        )
        yield Case(truth.astype(np.int32), _fuser(segmenter, segmenter.network_outputs(raw), ways))


def _frames(run: Path) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, ...]]]:
    for step in sorted((run / "steps").glob("*_evaluate_segmentation*/done.json")):
        parameters = json.loads(step.read_text())["parameters"]
        if parameters.get("truth"):
            raw, truth = Movie.open(parameters["raw"]), Movie.open(parameters["truth"])
            for frame in range(raw.n_frames):
                yield raw.frame(frame), truth.frame(frame), raw.voxel_size


def _validation(run: Path) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[float, ...]]]:
    for stack in validation_stacks(OptimizeThresholds(run_dir=str(run))):
        yield stack.raw, stack.truth, stack.voxel_size


def _fuser(
    segmenter: VollSegSegmenter, outputs: Outputs, ways: dict[str | None, dict]
) -> Callable[[Rules, str | None], np.ndarray]:
    def run(rules: Rules, divide: str | None) -> np.ndarray:
        return replace(segmenter, rules=rules).labels_from_outputs(outputs, **ways[divide])

    return run


def stored() -> Iterator[tuple[str, list[Case]]]:
    """Yield the cases that need no networks."""
    from tests.segmentation.stacks import make_stack

    folder = Path(os.environ.get("VOLLTRACK_SAMPLES", ROOT.parent / "shared" / "samples")) / "plantseg"
    if (folder / "ovule_network_outputs.npz").is_file():
        with np.load(folder / "ovule_network_outputs.npz") as file:
            arrays = [file[k] for k in ("probability", "star_labels", "foreground")]
        movie = Movie.open(folder / "sample_ovule.h5", dataset="label", voxel_size=OVULE_VOXEL_SIZE)
        truth = movie.frame(0)[:, :OVULE_TEST_FROM_Y].astype(np.int32)

        def membranes(rules: Rules, divide: str | None) -> np.ndarray:
            return fuse(*arrays, voxel_size=OVULE_VOXEL_SIZE, divide=divide or "borders", rules=rules)

        yield "stored membranes", [Case(truth, membranes)]
    for kind, elevation in (("ellipsoids", "found"), ("voronoi", "all")):
        stack = make_stack((22, 512, 512), 900, kind=kind, elevation=elevation, spacing=SPACING)

        def synthetic(rules: Rules, divide: str | None, stack=stack) -> np.ndarray:  # type: ignore[no-untyped-def]
            arrays = stack.probability, stack.star_labels, stack.foreground
            return fuse(*arrays, voxel_size=SPACING, divide=divide or "always", rules=rules)

        yield f"900 {kind}", [Case(stack.truth, synthetic)]


def compare(
    cases: Sequence[Case], changes: dict[str, tuple[Rules, str | None]], draws: int = 1000
) -> list[str]:
    """Return the score with all rules, and the change with its interval for each change of them."""
    usual = [case.cells(Rules()) for case in cases]
    rng = np.random.default_rng(0)
    sizes = [len(cells) for cells, _ in usual]
    weights = [rng.multinomial(n, np.full(n, 1 / n), draws) if n else np.zeros((draws, 0)) for n in sizes]
    column = [f"{pooled_f1(usual)[0]:.3f}"]
    for rules, divide in changes.values():
        changed = [case.cells(rules, divide) for case in cases]
        change = pooled_f1(changed)[0] - pooled_f1(usual)[0]
        low, high = np.quantile(pooled_f1(changed, weights) - pooled_f1(usual, weights), [0.025, 0.975])
        column.append(f"{change:+.3f} ({low:+.3f} … {high:+.3f})" if abs(change) > 5e-4 else "0")
    return column


def pooled_f1(found: list[tuple[np.ndarray, int]], weights: list[np.ndarray] | None = None) -> np.ndarray:
    """Return F1, mean of both IoU, of each draw; without weights, of the cells as they are."""
    weights = weights or [np.ones((1, len(cells))) for cells, _ in found]
    hits = sum(weight @ cells for (cells, _), weight in zip(found, weights, strict=True))
    false = sum(n - cells.sum(0) for cells, n in found)
    n_true = sum(len(cells) for cells, _ in found)
    return (2 * hits / (hits + false + n_true)).mean(axis=-1)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, help="run folders, such as runs/scores/*/seed_*")
    parser.add_argument("--note", default="", help="a sentence about these runs, for the table")
    given = parser.parse_args()
    columns: dict[str, list[Case]] = {}
    for run in given.runs:
        if (run / "thresholds.json").is_file():
            columns.setdefault(run.parent.name, []).extend(cases_of_run(run))
    columns |= dict(stored())
    changes: dict[str, tuple[Rules, str | None]] = {name: (rules, None) for name, rules in CHANGES.items()}
    changes |= {f"divide {way}": (Rules(), way) for way in DIVIDE}
    found = {name: compare(cases, changes) for name, cases in columns.items() if cases}
    lines = [
        "# What each rule of the fusion is worth",
        "",
        "F1, mean of IoU 0.5 and 0.7, and its change with one rule changed (95 % interval; 0: less than 0.0005).",
        "Made by `python tests/benchmarks/fusion_rules.py runs/scores/*/seed_*`; `divide` is what notebook 05_optimize_thresholds chose, and in",
        "the last rows what else it could have been. Stored membranes and the synthetic stacks have no image for `divides` and `joins`.",
        *filter(None, [given.note]),
        "",
        "| rule | " + " | ".join(found) + " |",
        "|---|" + "---:|" * len(found),
        *(
            f"| {name} | " + " | ".join(column[k] for column in found.values()) + " |"
            for k, name in enumerate(["all rules", *changes])
        ),
    ]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE.read_text())


if __name__ == "__main__":
    main()

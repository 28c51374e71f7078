"""Write the README's tables from ``runs/scores.json``, and say where VollSeg is below its parts: the end of ``make scores``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- scores -->", "<!-- /scores -->"
EXPERIMENTS = {
    "demo": "synthetic membranes (`demo`)",
    "ovule": "real membranes (`ovule`)",
    "embryo": "real nuclei (`embryo`)",
    "embryo_few": "real nuclei, few to learn from (`embryo_few`)",
    "cellpose_membranes": "synthetic membranes, Cellpose in 3D (`cellpose_membranes`)",
    "cellpose_planes": "the same in 2D+Z (`cellpose_planes`)",
    "cellpose_nuclei": "real nuclei in 2D, half an image (`cellpose_nuclei`)",
    "cellpose_cells": "real thin cells in 2D, half a movie (`cellpose_cells`)",
}
FOREGROUNDS = {"_eroded": ", borders eroded", "_whole": ", whole cells", "": ""}
METHODS = {"vollseg": "VollSeg", "stardist": "StarDist alone", "unet": "U-Net alone", "cellpose": "Cellpose"}
MEASURES = {
    "f1_50": "F1 (IoU 0.5)",
    "f1_70": "F1 (IoU 0.7)",
    "precision_50": "precision",
    "recall_50": "recall",
    "mean_matched_iou": "mean IoU",
    "mse": "MSE",
    "ssim": "SSIM",
}
#: Of these more is better, of the others less.
_MORE_IS_BETTER = ("f1_50", "f1_70", "ssim")
_LAW = (*_MORE_IS_BETTER, "mse")
#: How far VollSeg may lie below the better of its parts.
TOLERANCE = 0.01

Scores = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]


def table(scores: Scores) -> str:
    """Return the scores as Markdown: of segmentation, and below it of tracking."""
    lines = [f"| experiment | method | seeds | {' | '.join(MEASURES.values())} |"]
    lines += ["|---|---|---:|" + "---:|" * len(MEASURES)]
    tracked = [
        "| experiment | seeds | TRA, true labels | F1 of divisions | TRA, found labels | F1 of divisions |"
    ]
    tracked += ["|---|" + "---:|" * 5]
    for variant, what in _names(scores):
        name = what
        for method, title in METHODS.items():
            if found := scores[variant].get(method):
                cells = " | ".join(_cell(found.get(measure)) for measure in MEASURES)
                lines.append(f"| {name} | {title} | {found['f1_50']['n']} | {cells} |")
                name = ""
        sources = [
            scores[variant].get(f"tracking_{source}", {}) for source in ("true_labels", "predicted_labels")
        ]
        if all(sources):
            cells = " | ".join(_cell(source.get(m)) for source in sources for m in ("tra", "division_f1"))
            tracked.append(f"| {what} | {sources[1]['tra']['n']} | {cells} |")
    return "\n".join([*lines, "", *tracked] if len(tracked) > 2 else lines)


def margins(scores: Scores) -> dict[str, dict[str, float]]:
    """Return by how much VollSeg's mean is better than that of the better of its parts: variant → measure → margin."""
    found: dict[str, dict[str, float]] = {}
    for variant, methods in scores.items():
        parts = [methods[name] for name in ("stardist", "unet") if name in methods]
        if "vollseg" not in methods or not parts:
            continue
        for measure in _LAW:
            sign = 1 if measure in _MORE_IS_BETTER else -1
            best = max(sign * part[measure]["mean"] for part in parts)
            found.setdefault(variant, {})[measure] = sign * methods["vollseg"][measure]["mean"] - best
    return found


def _names(scores: Scores) -> list[tuple[str, str]]:
    """Return each variant that was run and its name for people, in the order of the table."""
    names = {e + f: what + of for e, what in EXPERIMENTS.items() for f, of in FOREGROUNDS.items()}
    return [(variant, name) for variant, name in names.items() if variant in scores]


def _cell(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return "–"
    return f"{spread['mean']:.3f}" + ("" if spread["sd"] is None else f" ± {spread['sd']:.3f}")


def write(readme: Path, scores: Scores) -> None:
    """Put the tables between the markers of the README."""
    head, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(f"{head}{BEGIN}\n{table(scores)}\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    found = json.loads((ROOT / "runs" / "scores.json").read_text())
    write(ROOT / "README.md", found)
    print("\nVollSeg above (below: −) the better of its parts:")
    for variant, measured in margins(found).items():
        below = "   BELOW ITS PARTS" if min(measured.values()) < -TOLERANCE else ""
        print(f"{variant}: " + ", ".join(f"{name} {value:+.3f}" for name, value in measured.items()) + below)

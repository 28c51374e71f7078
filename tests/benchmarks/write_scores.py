"""Write the scores of finished experiments into the README: ``make scores`` runs the experiments and then this."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- scores -->", "<!-- /scores -->"
EXPERIMENTS = {
    "demo": "synthetic membranes, `make demo`",
    "ovule": "real membranes, `python -m helpers run data_manifests/ovule.yaml`",
    "embryo": "real nuclei, `python -m helpers run data_manifests/embryo.yaml`",
    "cellpose_membranes": "synthetic membranes, Cellpose in 3D, `… data_manifests/cellpose_membranes.yaml`",
    "cellpose_planes": "the same in 2D+Z, `… data_manifests/cellpose_planes.yaml`",
    "cellpose_nuclei": "real nuclei in 2D, half an image, `… data_manifests/cellpose_nuclei.yaml`",
    "cellpose_cells": "real thin cells in 2D, half a movie, `… data_manifests/cellpose_cells.yaml`",
}
TRAINING = "03_train_segmentation"
METHODS = {"vollseg": "VollSeg", "stardist": "StarDist alone", "unet": "U-Net alone", "cellpose": "Cellpose"}


def table(runs: Path) -> str:
    """Return the scores of the experiments that have been run as Markdown."""
    lines = [
        "| experiment | method | F1 | precision | recall | mean IoU | MSE | SSIM |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    names = ("f1_50", "precision_50", "recall_50", "mean_matched_iou", "mse", "ssim")
    others = [
        "| experiment | all steps together, on two CPU cores | TRA and division F1, true labels | TRA and division F1, found labels |",
        "|---|---:|---:|---:|",
    ]
    for name, what in EXPERIMENTS.items():
        path = runs / name / "summary.json"
        if not path.is_file():
            continue
        summary = json.loads(path.read_text())
        for title, scores in ((title, summary["segmentation"].get(m)) for m, title in METHODS.items()):
            if scores is not None:
                row = " | ".join(f"{scores[key]:.3f}" for key in names)
                lines.append(f"| {what} | {title} | {row} |")
                what = ""
        seconds = summary["duration_s"]
        if TRAINING in seconds:  # one that was continued took longer than its last part
            trained = json.loads((runs / name / "steps" / TRAINING / "done.json").read_text())["results"]
            seconds[TRAINING] = max(
                seconds[TRAINING], sum(network["seconds"] for network in trained.values())
            )
        minutes = sum(seconds.values()) / 60
        tracking = summary.get("tracking", {})
        tracked = " | ".join(
            f"{tracking[source]['tra']:.3f}, {tracking[source]['division_f1']:.3f}"
            if source in tracking
            else "–"
            for source in ("true_labels", "predicted_labels")
        )
        others.append(f"| {name} | {minutes:.0f} min | {tracked} |")
    return "\n".join([*lines, "", *others])


if __name__ == "__main__":
    readme = ROOT / "README.md"
    head, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    readme.write_text(f"{head}{BEGIN}\n{table(ROOT / 'runs')}\n{END}{tail}", encoding="utf-8")

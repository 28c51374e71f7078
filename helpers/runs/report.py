"""What a run says of itself when it ends: ``summary.json``, a scores table, and one HTML file to pass on."""

from __future__ import annotations

import html
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.experiment import Experiment
from helpers.runs.plan import Job, plan
from helpers.runs.run import read_done, write_json
from helpers.segmentation.scores import MovieScores, pool, summary

_SCORE_NAMES = {
    "f1_50": "F1 @ IoU 0.5",
    "precision_50": "precision",
    "recall_50": "recall",
    "mean_matched_iou": "mean matched IoU",
    "mse": "MSE",
    "ssim": "SSIM",
}

#: What the steps of analysis find out about themselves where the truth is known.
_ANALYSIS_NAMES = (
    "boundary_error_um",
    "boundary_error_of_found_cells_um",
    "frequency_recovered",
    "false_rhythms",
)


def finish(experiment: Experiment) -> str:
    """Write ``summary.json`` and ``report.html`` into the run folder.

    Parameters
    ----------
    experiment : Experiment
        Whose run folder to read.

    Returns
    -------
    str
        The scores as a text table, and where the report lies.
    """
    jobs = plan(experiment)
    found = summarize(jobs)
    experiment.run_dir.mkdir(parents=True, exist_ok=True)
    write_json(experiment.run_dir / "summary.json", found)
    report = experiment.run_dir / "report.html"
    report.write_text(_html(experiment, jobs, found))
    tables = [table.to_string(float_format="%.3f") for table in _tables(found)]
    return "\n\n".join(["", *tables, f"scores: {experiment.run_dir / 'summary.json'}\nreport: {report}"])


def summarize(jobs: list[Job]) -> dict[str, Any]:
    """Collect a run's scores and durations.

    Parameters
    ----------
    jobs : list of Job
        All jobs of the experiment.

    Returns
    -------
    dict
        ``segmentation.<method>.{f1_50, …}`` pooled over the movies (counts are summed, not ratios averaged),
        ``tracking.<true_labels|predicted_labels>.{tra, det, lnk, division_f1, …}`` averaged over them,
        ``analysis.{boundary_error_um, boundary_error_of_found_cells_um, frequency_recovered, false_rhythms}``, averaged
        over the movies whose truth says it (the first is of the true cells, without the errors of segmentation), and ``duration_s.<step>``.
    """
    scores: dict[str, list[MovieScores]] = defaultdict(list)
    tracking: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    analysis: dict[str, list[float]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for job in jobs:
        done = read_done(job.folder)
        if done is None:
            continue
        seconds[job.step] += done["duration_s"]
        if job.step == "07_evaluate_segmentation":
            for result in read_scores(job.parameters.movie_path("scores")):  # type: ignore[attr-defined]
                scores[result.method].append(result)
        if job.step == "09_evaluate_tracking":
            for name, values in done["results"].items():
                tracking[name].append(values)
        for name in _ANALYSIS_NAMES:
            if done["results"].get(name) is not None:
                analysis[name].append(done["results"][name])
    return {
        "segmentation": {method: summary(pool(results)) for method, results in scores.items()},
        "tracking": {name: _mean(values) for name, values in tracking.items()},
        "analysis": {name: float(np.mean(analysis[name])) for name in _ANALYSIS_NAMES if analysis[name]},
        "duration_s": {step: round(s, 2) for step, s in seconds.items()},
    }


def _mean(values: list[dict[str, float | None]]) -> dict[str, float]:
    """Average each score over the movies; a movie without divisions, say, has no division score."""
    return {str(name): float(mean) for name, mean in pd.DataFrame(values).astype(float).mean().items()}


def save_scores(results: list[MovieScores], folder: Path) -> None:
    """Write the scores of one movie, a pair of CSV files a method."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        result.counts.to_csv(folder / f"{result.method}.counts.csv", index=False)
        result.frames.to_csv(folder / f"{result.method}.frames.csv", index=False)


def read_scores(folder: Path) -> list[MovieScores]:
    """Read what `save_scores` wrote."""
    order = ["vollseg", "stardist", "unet", "cellpose"]
    names = sorted(
        (path.name.removesuffix(".counts.csv") for path in folder.glob("*.counts.csv")),
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )
    return [
        MovieScores(
            name, pd.read_csv(folder / f"{name}.counts.csv"), pd.read_csv(folder / f"{name}.frames.csv")
        )
        for name in names
    ]


def _tables(found: dict[str, Any]) -> list[pd.DataFrame]:
    tables = []
    if found.get("segmentation"):
        tables.append(pd.DataFrame(found["segmentation"]).T.rename(columns=_SCORE_NAMES))
    if found.get("tracking"):
        columns = ["tra", "det", "lnk", "seg", "division_f1", "chota", "complete_tracks"]
        tables.append(pd.DataFrame(found["tracking"]).T[columns])
    if found.get("analysis"):
        tables.append(pd.DataFrame({"analysis": found["analysis"]}).T)
    return tables


_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; color: #222; }
img { max-width: 100%; height: auto; } h1, h2 { line-height: 1.2; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ccc; text-align: right; } th:first-child, td:first-child { text-align: left; }
details { margin: .5rem 0; } section { border-top: 2px solid #0072b2; margin-top: 2rem; } .failed { color: #b30000; }
figure { margin: 1rem 0; }
"""


def _html(experiment: Experiment, jobs: list[Job], found: dict[str, Any]) -> str:
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(experiment.name)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(experiment.name)}</h1>",
    ]
    for table in _tables(found):
        parts.append(
            f"<div class='scroll'>{table.to_html(float_format=lambda v: f'{v:.3f}', border=0)}</div>"
        )
    parts += [_section(experiment, job) for job in jobs]
    return "\n".join([*parts, "</body></html>"])


def _section(experiment: Experiment, job: Job) -> str:
    done = read_done(job.folder)
    title = html.escape(job.name.replace("_", " "))
    if done is None:
        return f"<section><h2>{title}</h2><p class='failed'>not done</p></section>"
    notebook = job.folder / "notebook.ipynb"
    parts = [
        f"<section><h2>{title}</h2>",
        f"<p>{done['started']}, {done['duration_s']:.0f} s on {html.escape(done['device'])}; ",
        f"<a href='{notebook.relative_to(experiment.run_dir)}'>the executed notebook</a></p>",
    ]
    for name in ("parameters", "results", "packages"):
        text = html.escape(json.dumps(done[name], indent=1))
        parts.append(f"<details><summary>{name}</summary><pre class='scroll'>{text}</pre></details>")
    return "\n".join([*parts, *_figures(notebook), "</section>"])


def _figures(notebook: Path) -> list[str]:
    """Return the figures of an executed notebook, each under the last question asked before it."""
    import mistune
    import nbformat

    if not notebook.is_file():
        return []
    parts, question = [], ""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            question = cell.source
            continue
        for output in cell.get("outputs", []):
            image = output.get("data", {}).get("image/png")
            if image:
                alt = html.escape(
                    question.strip().splitlines()[0].lstrip("# ") if question.strip() else "figure"
                )
                parts.append(str(mistune.html(question)) if question else "")
                parts.append(f"<figure><img alt='{alt}' src='data:image/png;base64,{image}'></figure>")
                question = ""
    return parts

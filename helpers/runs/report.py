"""What a run says of itself when it ends: ``summary.json``, a table of scores, and a report to pass on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.experiment import Experiment
from helpers.runs.doubts import LEVELS, Check, in_words, read_checks
from helpers.runs.parameters import EvaluateSegmentation, EvaluateTracking
from helpers.runs.plan import Job, plan
from helpers.runs.report_page import write_page
from helpers.runs.run import read_done, write_json
from helpers.runs.steps.evaluation import read_scores
from helpers.segmentation.scores import MovieScores, pool, summary

_SCORE_NAMES = {
    "f1_50": "F1 @ IoU 0.5",
    "f1_70": "F1 @ IoU 0.7",
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
    tables = _tables(found)
    doubted = gather_checks(jobs)
    write_page(report, experiment, jobs, tables, doubted)
    texts = [table.to_string(float_format="%.3f") for table in tables.values()]
    texts += [in_words([replace(c, said=f"{where}: {c.said}") for where, c in doubted if c.level != "ok"])]
    return "\n\n".join(
        ["", *filter(None, texts), f"scores: {experiment.run_dir / 'summary.json'}\nreport: {report}"]
    )


def gather_checks(jobs: list[Job]) -> list[tuple[str, Check]]:
    """Return the checks of all steps with the name of the step and movie, the worst first.

    What two steps say alike of a movie stands there once, as the later one says it, which knows more of what to do.
    """
    found = {
        (job.movie_id, check.level, check.said): (job.name.replace("_", " "), check)
        for job in jobs
        if (done := read_done(job.folder)) is not None
        for check in read_checks(done)
    }
    return sorted(found.values(), key=lambda one: LEVELS.index(one[1].level))


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
        if isinstance(job.parameters, EvaluateSegmentation):
            for result in read_scores(job.parameters.movie_path("scores")):  # type: ignore[attr-defined]
                scores[result.method].append(result)
        if isinstance(job.parameters, EvaluateTracking):
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


def _tables(found: dict[str, Any]) -> dict[str, pd.DataFrame]:
    tables = {}
    if found.get("segmentation"):
        tables["Segmentation"] = pd.DataFrame(found["segmentation"]).T.rename(columns=_SCORE_NAMES)
    if found.get("tracking"):
        columns = ["tra", "det", "lnk", "seg", "division_f1", "chota", "complete_tracks"]
        tables["Tracking"] = pd.DataFrame(found["tracking"]).T[columns]
    if found.get("analysis"):
        tables["Analysis"] = pd.DataFrame({"analysis": found["analysis"]}).T
    return tables

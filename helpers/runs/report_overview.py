"""The first page of the report: what there is, what was found with its n and interval, the tables, and what was set."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from helpers.errors import InputError
from helpers.runs.parameters import STEPS, AnalyzeMigration, Track
from helpers.runs.parameters.kinds import options
from helpers.runs.plan import Job
from helpers.runs.run import read_done
from helpers.view.result_table import in_words

#: Movies that the first page lists; all are in the tables.
LISTED = 20
#: Columns of the overview.
_ORDER = (
    "movie", "frames", "cells × frames", "tracks", "divisions", "plausible divisions",
    "voxel size z × y × x (µm)", "frame interval (s)",
)  # fmt: skip
#: Table of tracklets, column → what it is called. Only those with a rhythm have a period that says anything.
_FINDINGS: dict[str, dict[str, str]] = {
    "migration_passing": {
        "mean_speed_um_per_min": "mean speed (µm/min)",
        "directness": "directness (0 to 1)",
    },
    "boundary_tracklets": {"mean_distance_um": "mean distance to the boundary (µm)"},
    "spectrum_tracklets": {"peak_period_s": "period of rhythmic tracklets (s)"},
}


def overview(jobs: Iterable[Job]) -> pd.DataFrame:
    """Return one row per movie: frames, cells, tracks, divisions, voxel size and frame interval, as far as steps have found them."""
    rows: dict[str, dict[str, Any]] = {}
    for job in jobs:
        done = read_done(job.folder)
        if done is None or job.movie_id is None:
            continue
        found, row = done["results"], rows.setdefault(job.movie_id, {"movie": job.movie_id})
        if job.parameters.segments:
            row |= {"frames": found.get("frames"), "cells × frames": found.get("cells")}
        if isinstance(job.parameters, Track):
            row |= {"cells × frames": found.get("objects", row.get("cells × frames"))}
            row |= {name: found.get(name) for name in ("tracks", "divisions")}
            row |= _scale(job.parameters.movie_path("tracks.csv.json"))  # type: ignore[attr-defined]
        if isinstance(job.parameters, AnalyzeMigration):
            row["plausible divisions"] = found.get("plausible_divisions")
    table = pd.DataFrame(list(rows.values())).dropna(axis=1, how="all")
    return table[sorted(table.columns, key=_ORDER.index)]


def _scale(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    size, interval = about.get("voxel_size"), about.get("frame_interval")
    found = {"voxel size z × y × x (µm)": " × ".join(f"{n:g}" for n in size)} if size else {}
    return found | ({"frame interval (s)": f"{interval:g}"} if interval else {})


def findings(jobs: Iterable[Job]) -> pd.DataFrame:
    """Return the medians of the measures of tracklets, one row per movie and measure, with n and 95 % interval.

    The interval is that of the median by order statistics; it speaks of the tracklets of this movie, not of other movies.
    """
    rows = []
    seen = set()
    for job in jobs:
        if job.movie_id is None or job.movie_id in seen:
            continue
        seen.add(job.movie_id)
        folder = job.parameters.run_dir / "movies" / job.movie_id / "analysis"
        for name, columns in _FINDINGS.items():
            if not (path := folder / f"{name}.csv").is_file():
                continue
            table = pd.read_csv(path)
            if "rhythmic" in table:
                table = table[table["rhythmic"].fillna(False).astype(bool)]
            for column, words in columns.items():
                values = table[column].dropna().to_numpy(float) if column in table else np.empty(0)
                if len(values):
                    rows.append((job.movie_id, words, len(values), *map(rounded, _median(values))))
    return pd.DataFrame(rows, columns=["movie", "median over tracklets", "n", "value", "95 % from", "to"])


def _median(values: np.ndarray) -> tuple[float, float, float]:
    """Return the median and its distribution-free 95 % interval; NaN where there are too few values for one."""
    ordered, n = np.sort(values), len(values)
    below = int(binom.ppf(0.025, n, 0.5))
    if below < 1 or 2 * binom.cdf(below - 1, n, 0.5) > 0.05:
        return float(np.median(values)), np.nan, np.nan
    return float(np.median(values)), float(ordered[below - 1]), float(ordered[n - below])


def rounded(value: float) -> str:
    """Return a number with four significant digits; – where there is none."""
    return "–" if np.isnan(value) else f"{value:.4g}"


def audited(jobs: Iterable[Job]) -> list[str]:
    """Return for each movie that was judged by eye how often cells and links are wrong, in words."""
    folders = {job.movie_id: job.parameters.run_dir / "movies" / job.movie_id for job in jobs if job.movie_id}
    found = []
    for movie, folder in folders.items():
        if not (folder / "audit.json").is_file():
            continue
        from helpers.curation.audit import error_rates, kept_counts  # a second, and rarely needed

        try:
            counts = kept_counts(folder)
        except InputError:  # notebook 12_curate says what is damaged
            continue
        if counts is not None and (counts["judged"] > 0).all():
            found.append(f"{movie}: {'; '.join(rate.words for rate in error_rates(counts))}.")
    return found


def tables(jobs: Iterable[Job], run_dir: Path) -> list[str]:
    """Return the CSV files that the steps wrote, relative to the run folder."""
    found: set[str] = set()
    for job in jobs:
        done = read_done(job.folder)
        for name in done["outputs"] if done else ():
            path = Path(name)
            if path.suffix == ".csv" and path.parent.name != "ctc" and (run_dir / path).is_file():
                found.add(path.as_posix())
    return sorted(found)


def changed_parameters(jobs: Iterable[Job]) -> pd.DataFrame:
    """Return the parameters that differ from their defaults, without paths and names: one row per step, parameter and value."""
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for job in jobs:
        done = read_done(job.folder)
        if done is None:
            continue
        cls = STEPS[job.step]
        defaults = cls.defaults()
        for name, value in done["parameters"].items():
            field = cls.model_fields.get(name)
            if field is None or name in ("run_dir", "movie_id") or Path in _kinds(field.annotation):
                continue
            if value != defaults[name]:
                key = (job.step, name, in_words(value), in_words(defaults[name]))
                rows.setdefault(key, []).append(job.movie_id or "")
    several = len({job.movie_id for job in jobs if job.movie_id}) > 1
    listed = [(*key, ", ".join(filter(None, movies))) for key, movies in rows.items()]
    table = pd.DataFrame(listed, columns=["step", "parameter", "value", "default", "movies"])
    return table if several else table.drop(columns="movies")


def _kinds(annotation: Any) -> list[Any]:
    import typing

    kinds = options(annotation)
    return [*kinds, *(inner for kind in kinds for inner in typing.get_args(kind))]

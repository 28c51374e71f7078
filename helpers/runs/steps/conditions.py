"""Notebook 16_compare_conditions: which movies are compared, and what is written about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.analysis import cohort
from helpers.curation.audit import error_rates, kept_counts
from helpers.data.atomic import atomic_path
from helpers.data.tables import read_table, write_table
from helpers.errors import InputError
from helpers.runs.parameters import CompareConditions


def open_cohort(p: CompareConditions) -> pd.DataFrame:
    """Read the tracklets of all movies.

    Raises
    ------
    InputError
        If neither a table nor conditions name any movies, or one of them is not analysed yet.
    """
    return cohort.read_cohort(_movies(p))


def _movies(p: CompareConditions) -> pd.DataFrame:
    """Return ``run_dir, movie_id, condition`` (and ``animal``) of each movie."""
    if p.cohort:
        # Names and conditions are text as written: 0, no and 1.50 stay what they are, and blank is blank.
        movies = read_table(p.cohort, "cohort", dtype=str, keep_default_na=False)
        movies = movies.apply(lambda column: column.str.strip()).replace("", None)
        if "run_dir" in movies:
            movies["run_dir"] = [str(p.cohort.parent / (folder or "")) for folder in movies["run_dir"]]
        return movies
    if not p.conditions:
        raise InputError("conditions", {}, "name the condition of each movie, or a table cohort")
    movies = pd.DataFrame({"movie_id": list(p.conditions), "condition": list(p.conditions.values())})
    if unknown := sorted(set(p.animals) - set(p.conditions)):
        raise InputError("animals", unknown, f"movies of conditions: {', '.join(p.conditions)}")
    movies["animal"] = [p.animals.get(movie) for movie in movies["movie_id"]]
    return movies.assign(run_dir=str(p.run_dir))


def compare_conditions(p: CompareConditions, table: pd.DataFrame) -> list[cohort.Comparison]:
    """Compare each measure that is there.

    Raises
    ------
    InputError
        If none of them is.
    """
    known = cohort.measures(table)
    chosen = [name for name in p.metrics if name in known]
    if not chosen:
        raise InputError("metrics", p.metrics, f"none is in the tables; these are: {', '.join(known)}")
    errors = audited_errors(p)
    found = (cohort.compare(table, name, unit=p.unit, test=p.test, seed=p.seed) for name in chosen)
    return [_with_errors(comparison, errors) for comparison in found]


def audited_errors(p: CompareConditions) -> dict[str, str]:
    """Return for each condition, in words, how often cells and links are wrong in its movies that were audited.

    Raises
    ------
    InputError
        A damaged audit.
    """
    found = {}
    for condition, movies in _movies(p).groupby("condition"):
        kept = [
            kept_counts(Path(str(row.run_dir)) / "movies" / str(row.movie_id)) for row in movies.itertuples()
        ]
        audited = [counts for counts in kept if counts is not None and (counts["judged"] > 0).all()]
        if audited:
            rates = "; ".join(rate.words for rate in error_rates(pd.concat(audited)))
            found[str(condition)] = f"{len(audited)} of {len(kept)} movies audited; {rates}"
    return found


def _with_errors(comparison: cohort.Comparison, errors: dict[str, str]) -> cohort.Comparison:
    """Return a comparison that states how wrong cells and links are, where that was audited."""
    if not errors:
        return comparison
    said = " | ".join(f"{condition}: {words}" for condition, words in errors.items())
    column = comparison.groups["condition"].map(errors).fillna("not audited")
    words = (
        f"{comparison.words} Errors of segmentation and tracking, which the intervals do not include: {said}."
    )
    return replace(comparison, groups=comparison.groups.assign(audited_errors=column), words=words)


def write_comparisons(p: CompareConditions, found: list[cohort.Comparison]) -> dict[str, Any]:
    """Write the values, groups, tests and sentences; return what ``done.json`` keeps."""
    folder = p.path("cohort")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("values", "groups", "pairs"):
        tables = [getattr(comparison, name).assign(metric=comparison.metric) for comparison in found]
        write_table(pd.concat(tables, ignore_index=True), folder / f"{name}.csv")
    with atomic_path(folder / "comparison.txt") as temporary:
        temporary.write_text("\n\n".join(comparison.words for comparison in found) + "\n", encoding="utf-8")
    return {comparison.metric: comparison.words for comparison in found} | {"units": _units(found)}


def _units(found: list[cohort.Comparison]) -> dict[str, int]:
    """Return of each condition the fewest animals, or movies, that a measure was compared on, whatever was compared."""
    tables = [comparison.groups.set_index("condition") for comparison in found]
    counts = [table["n_animals" if "n_animals" in table else "n_movies"].dropna() for table in tables]
    fewest = pd.concat(counts).groupby(level=0).min() if counts else pd.Series(dtype=int)
    return {str(condition): int(n) for condition, n in fewest.items()}

"""Many movies, a few conditions: what differs, by how much, and how surely.

The cells of one movie share an embryo, a day and a microscope. They are not independent, and counting each of them as
evidence makes any difference significant (Lord et al. 2020, J. Cell Biol. 219:e202001064). So a movie is one value, the
mean of its cells, wherever every condition has movies enough. Movies of one animal are not independent either: where the
animals are named, an animal is one value, the mean of its movies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from helpers.data.units import with_unit
from helpers.errors import InputError
from helpers.tracking.tracks import numeric_columns

#: Movies, or animals, that each condition needs for them to be compared, not cells.
MIN_MOVIES = 3
Unit = Literal["auto", "animal", "movie", "cell"]
#: Tables that notebooks 13_analyze_boundary_distance, 14_analyze_intensity_spectrum and 15_analyze_migration leave in a movie's folder, one row per tracklet.
TABLES = ("boundary_tracklets.csv", "spectrum_tracklets.csv", "migration_tracklets.csv")
#: Columns that say which tracklet a row is of, and are no measure.
_KEYS = ("tracklet_id", "track_id", "generation", "start_frame", "end_frame", "n_points", "n_missing")


@dataclass(frozen=True)
class Comparison:
    """One measure compared between conditions.

    Attributes
    ----------
    metric : str
        The column.
    unit : {"animal", "movie", "cell"}
        What was counted as one observation.
    cells : DataFrame
        ``condition, movie, value`` (and ``animal``): one row per tracklet.
    values : DataFrame
        ``condition, value`` and ``movie`` or ``animal``: what was compared, one row per observation.
    groups : DataFrame
        Per condition (``n_animals,``) ``n_movies, n_cells, n`` (observations)``, mean, sd, median``.
    pairs : DataFrame
        Per pair of conditions ``a, b, difference`` (mean of b − mean of a)``, low, high`` (95 % interval, bootstrap)``,
        hedges_g, cliffs_delta, statistic, p_value, p_holm`` (corrected for the number of pairs).
    test : str
        Name of the test.
    words : str
        All of it in sentences.
    """

    metric: str
    unit: str
    cells: pd.DataFrame
    values: pd.DataFrame
    groups: pd.DataFrame
    pairs: pd.DataFrame
    test: str
    words: str


def read_cohort(movies: pd.DataFrame) -> pd.DataFrame:
    """Read the tracklets of many analysed movies into one table.

    Parameters
    ----------
    movies : DataFrame
        ``run_dir, movie_id, condition``: one row per movie, in any number of run folders. A column ``animal`` says which
        movies are of one animal; one without an entry is of its own.

    Returns
    -------
    DataFrame
        One row per tracklet: ``condition, movie`` (run and movie)``, animal`` (where named)``, tracklet_id, …`` and the measures of those notebooks
        of the analyses that were run.

    Raises
    ------
    InputError
        Missing columns, the same movie twice, or movies that were not analysed.
    """
    if missing := [name for name in ("run_dir", "movie_id", "condition") if name not in movies]:
        raise InputError("cohort", list(movies), f"a table with the columns run_dir, movie_id and condition; {missing} are missing")  # fmt: skip
    if len(movies) == 0:
        raise InputError("cohort", "no movies", "name at least one")
    if (unnamed := movies["condition"].isna()).any():
        raise InputError("cohort", movies.loc[unnamed, "movie_id"].tolist(), "give these movies a condition")
    if (twice := movies.duplicated(["run_dir", "movie_id"])).any():
        raise InputError("cohort", movies.loc[twice, "movie_id"].tolist(), "name each movie once")
    named = "animal" in movies and movies["animal"].notna().any()
    if named:
        movies = movies.assign(animal=movies["animal"].fillna(""))
    tables = []
    for row in movies.itertuples():
        folder = Path(str(row.run_dir)) / "movies" / str(row.movie_id) / "analysis"
        found = [pd.read_csv(folder / name) for name in TABLES if (folder / name).is_file()]
        if not found:
            raise InputError(
                "cohort",
                str(folder),
                "this movie is not analysed yet; run notebook 13_analyze_boundary_distance, 14_analyze_intensity_spectrum or 15_analyze_migration",
            )
        table = found[0]
        for other in found[1:]:
            new = ["tracklet_id", *(name for name in other if name not in table)]
            table = table.merge(other[new], on="tracklet_id", how="outer", validate="one_to_one")
        name = f"{Path(str(row.run_dir)).name}/{row.movie_id}"
        if named:
            table.insert(0, "animal", str(row.animal or name))
        table.insert(0, "movie", name)
        table.insert(0, "condition", str(row.condition))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def measures(cohort: pd.DataFrame) -> list[str]:
    """Return the columns of a cohort that can be compared: the numbers, without the ids."""
    return [name for name in numeric_columns(cohort) if name not in _KEYS and cohort[name].notna().any()]


def compare(
    cohort: pd.DataFrame,
    metric: str,
    *,
    unit: Unit = "auto",
    test: Literal["auto", "welch", "mann_whitney"] = "auto",
    seed: int = 0,
) -> Comparison:
    """Compare one measure between conditions.

    Parameters
    ----------
    cohort : DataFrame
        ``condition, movie`` (and ``animal``) and the measure, such as from `read_cohort`.
    metric : str
        The column.
    unit : {"auto", "animal", "movie", "cell"}
        What counts as one observation; ``auto`` takes animals where they are named, else movies, where every condition
        has `MIN_MOVIES` of them.
    test : {"auto", "welch", "mann_whitney"}
        Welch's t-test (of more than two conditions Welch's ANOVA) compares means, Mann-Whitney's (Kruskal-Wallis')
        ranks; ``auto`` takes the first for animals and movies, whose means are near normal, the second for cells.
    seed : int
        Of the bootstrap.

    Returns
    -------
    Comparison
        A single condition, or conditions of a single observation, are described and not tested.

    Raises
    ------
    InputError
        A column that is not there or holds no numbers, or a choice that does not exist.
    """
    for name, value, allowed in (
        ("unit", unit, ("auto", "animal", "movie", "cell")),
        ("test", test, ("auto", "welch", "mann_whitney")),
    ):
        if value not in allowed:
            raise InputError(name, value, "one of " + ", ".join(map(repr, allowed)))
    if metric not in numeric_columns(cohort):
        raise InputError("metric", metric, f"one of {', '.join(measures(cohort))}")
    if unit == "animal" and "animal" not in cohort:
        raise InputError(
            "unit", unit, "a column animal in the table of movies, to say which are of one animal"
        )
    ids = [name for name in ("condition", "animal", "movie") if name in cohort]
    known = cohort.loc[np.isfinite(cohort[metric].to_numpy(float)), [*ids, metric]]
    cells = known.rename(columns={metric: "value"}).astype({"value": float})
    means = {"movie": cells.groupby(ids, sort=True)["value"].mean().reset_index()}
    if "animal" in ids:
        means["animal"] = means["movie"].groupby(ids[:2], sort=True)["value"].mean().reset_index()
    numbers = {name: values.groupby("condition").size() for name, values in means.items()}
    if unit == "auto":
        largest = "animal" if "animal" in ids else "movie"
        enough = len(numbers[largest]) and numbers[largest].min() >= MIN_MOVIES
        unit = largest if enough else "cell"
    values = means.get(unit, cells).reset_index(drop=True)
    by = values.groupby("condition", sort=True)["value"]
    groups = by.agg(n="count", mean="mean", sd="std", median="median").reset_index()
    groups.insert(1, "n_cells", groups["condition"].map(cells.groupby("condition").size()))
    for name in means:
        groups.insert(1, f"n_{name}s", groups["condition"].map(numbers[name]))
    parametric = test == "welch" or (test == "auto" and unit != "cell")
    samples = {str(name): part.to_numpy() for name, part in by}
    pairs = _pairs(samples, parametric, seed)
    name = "Welch's t-test" if parametric else "Mann-Whitney U test"
    return Comparison(
        metric,
        unit,
        cells,
        values,
        groups,
        pairs,
        name,
        _words(metric, unit, cells, groups, samples, pairs, parametric),
    )


def hedges_g(a: np.ndarray, b: np.ndarray) -> float:
    """Return the difference of the means of b and a in pooled standard deviations, corrected for small samples."""
    n, m = len(a), len(b)
    if n < 2 or m < 2:
        return np.nan
    spread = np.sqrt(((n - 1) * np.var(a, ddof=1) + (m - 1) * np.var(b, ddof=1)) / (n + m - 2))
    if spread == 0:
        return np.nan
    return float((b.mean() - a.mean()) / spread * (1 - 3 / (4 * (n + m) - 9)))


def cliffs_delta(a: np.ndarray, b: np.ndarray) -> float:
    """Return how much more often b is above a than below: 1 always, 0 as often, −1 never."""
    from scipy.stats import rankdata

    n, m = len(a), len(b)
    above = rankdata(np.concatenate([a, b]))[n:].sum() - m * (m + 1) / 2
    return float(2 * above / (n * m) - 1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Correct p-values for their number (Holm 1979); NaN stay NaN and do not count."""
    p = np.asarray(p_values, float)
    found = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    steps = p[order] * (len(order) - np.arange(len(order)))
    found[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return found


def _pairs(samples: dict[str, np.ndarray], parametric: bool, seed: int) -> pd.DataFrame:
    from scipy.stats import mannwhitneyu, ttest_ind

    rows = []
    for a, b in combinations(samples, 2):
        x, y = samples[a], samples[b]
        statistic = p = np.nan
        if min(len(x), len(y)) >= 2 and np.ptp(np.concatenate([x, y])) > 0:
            result = ttest_ind(x, y, equal_var=False) if parametric else mannwhitneyu(x, y)
            statistic, p = float(result.statistic), float(result.pvalue)  # type: ignore[attr-defined]
        low, high = _interval(x, y, seed)
        rows.append((a, b, y.mean() - x.mean(), low, high, hedges_g(x, y), cliffs_delta(x, y), statistic, p))
    columns = ["a", "b", "difference", "low", "high", "hedges_g", "cliffs_delta", "statistic", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table["p_value"].to_numpy(float)))


def _interval(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of the difference of means, by bootstrap."""
    from scipy.stats import bootstrap

    if min(len(x), len(y)) < 2 or np.ptp(x) == np.ptp(y) == 0:
        return np.nan, np.nan

    def difference(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return b.mean(axis=axis) - a.mean(axis=axis)

    found = bootstrap(
        (x, y), difference, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(found.low), float(found.high)


def _words(
    metric: str,
    unit: str,
    cells: pd.DataFrame,
    groups: pd.DataFrame,
    samples: dict[str, np.ndarray],
    pairs: pd.DataFrame,
    parametric: bool,
) -> str:
    counted = "; ".join(
        f"{row['condition']}: "
        + "".join(
            f"{row[f'n_{name}s']} {name if row[f'n_{name}s'] == 1 else f'{name}s'}, "
            for name in ("animal", "movie")
            if f"n_{name}s" in row
        )
        + f"{row['n_cells']} tracklets"
        for row in groups.to_dict("records")
    )
    said = [f"{with_unit(metric)} ({counted})."]
    if len(samples) < 2:
        return " ".join([*said, "There is one condition only: nothing to compare."])
    whole = _all_at_once(samples, parametric) if len(samples) > 2 else ""
    if whole:
        said.append(whole)
    name = "Welch's t-test" if parametric else "Mann-Whitney U test"
    for row in pairs.to_dict("records"):
        pair = f"{row['b']} against {row['a']}"
        if not np.isfinite(row["p_value"]):
            said.append(f"{pair}: not tested, as there are too few values, or all are equal.")
            continue
        corrected = f" (Holm: {_p(row['p_holm'])})" if len(pairs) > 1 else ""
        said.append(
            f"{pair}: {name}, two-sided, on {'tracklets' if unit == 'cell' else f'{unit} means'}, {_p(row['p_value'])}"
            f"{corrected}; difference of means {_signed(row['difference'])} (95 % interval {_signed(row['low'])} to {_signed(row['high'])}), "
            f"Hedges' g = {_signed(row['hedges_g'])}, Cliff's delta = {_signed(row['cliffs_delta'])}."
        )
    if unit == "cell":
        needed = "animals" if "n_animals" in groups else "movies"
        said.append(
            "Each tracklet counts as one value here. Those of one movie are not independent: take the p-value as a "
            f"hint, and at least {MIN_MOVIES} {needed} a condition for a test."
        )
    if unit == "movie" and "n_animals" in groups and (groups["n_animals"] < groups["n_movies"]).any():
        said.append(
            "Movies of one animal count as independent here, and are not: take the p-value as a hint."
        )
    if "animal" in cells and (cells.groupby("animal")["condition"].nunique() > 1).any():
        said.append("Some animals are in more than one condition; the test does not know of such pairs.")
    return " ".join(said)


def _all_at_once(samples: dict[str, np.ndarray], parametric: bool) -> str:
    from scipy.stats import f_oneway, kruskal

    values = list(samples.values())
    if min(map(len, values)) < 2 or np.ptp(np.concatenate(values)) == 0:
        return ""
    result = f_oneway(*values, equal_var=False) if parametric else kruskal(*values)
    return f"All conditions: {'Welch ANOVA' if parametric else 'Kruskal-Wallis test'}, {_p(float(result.pvalue))}."


def _signed(value: float) -> str:
    return f"{value:.3g}".replace("-", "−", 1) if value < 0 else f"{value:.3g}"


def _p(value: float) -> str:
    return "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}"

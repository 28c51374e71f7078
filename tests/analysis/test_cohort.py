"""Conditions compared: movies are counted, not cells, and what is said is what was computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers.analysis.cohort import cliffs_delta, compare, hedges_g, holm, measures, read_cohort
from helpers.errors import InputError


def test_movies_of_one_animal_are_one_value() -> None:
    cohort = _cohort({"wild type": [5.0, 5.5, 4.8, 5.2], "mutant": [7.0, 7.6, 6.9, 7.1]})
    # The first animal of each condition has two movies.
    animals = {name: f"{name[:-1]} {max(int(name[-1]), 1)}" for name in cohort["movie"].unique()}
    cohort = cohort.assign(animal=cohort["movie"].map(animals))
    result = compare(cohort, "speed")
    assert result.unit == "animal" and result.groups["n_animals"].tolist() == [3, 3]
    movies = cohort.groupby(["condition", "animal", "movie"])["speed"].mean()
    means = movies.groupby(level=["condition", "animal"]).mean()
    expected = stats.ttest_ind(means["mutant"], means["wild type"], equal_var=False)
    assert result.pairs["p_value"][0] == pytest.approx(expected.pvalue)
    assert "on animal means" in result.words and "mutant: 3 animals, 4 movies, 120 tracklets" in result.words
    assert "count as independent" in compare(cohort, "speed", unit="movie").words
    assert compare(cohort[cohort["animal"] != "mutant 3"], "speed").unit == "cell", "two animals are too few"
    paired = cohort.assign(animal=cohort["movie"].str[-1])
    assert "in more than one condition" in compare(paired, "speed").words
    with pytest.raises(InputError, match=r"unit = 'animal'.*column animal"):
        compare(cohort.drop(columns="animal"), "speed", unit="animal")


def _cohort(
    movies: dict[str, list[float]], *, cells: int = 30, spread: float = 1.0, seed: int = 0
) -> pd.DataFrame:
    """Cells scattered around the mean of their movie."""
    rng = np.random.default_rng(seed)
    rows = []
    for condition, means in movies.items():
        for k, mean in enumerate(means):
            rows += [(condition, f"{condition}{k}", value) for value in rng.normal(mean, spread, cells)]
    return pd.DataFrame(rows, columns=["condition", "movie", "speed"])


def test_movies_are_compared_where_there_are_enough() -> None:
    cohort = _cohort({"wild type": [5.0, 5.5, 4.8], "mutant": [7.0, 7.6, 6.9, 7.1]})
    result = compare(cohort, "speed")
    assert result.unit == "movie" and len(result.values) == 7
    means = cohort.groupby(["condition", "movie"])["speed"].mean()
    expected = stats.ttest_ind(means["mutant"], means["wild type"], equal_var=False)
    row = result.pairs.iloc[0]
    assert (row["a"], row["b"]) == ("mutant", "wild type")
    assert row["p_value"] == pytest.approx(expected.pvalue)
    assert row["difference"] == pytest.approx(means["wild type"].mean() - means["mutant"].mean())
    assert row["low"] < row["difference"] < row["high"] < 0
    assert "Welch's t-test, two-sided, on movie means, p = " in result.words
    assert "mutant: 4 movies, 120 tracklets" in result.words


def test_few_movies_fall_back_on_cells_and_say_so() -> None:
    cohort = _cohort({"a": [5.0], "b": [5.5, 6.0]})
    result = compare(cohort, "speed")
    assert result.unit == "cell" and len(result.values) == 90
    a, b = (cohort.loc[cohort["condition"] == c, "speed"] for c in "ab")
    assert result.pairs["p_value"][0] == pytest.approx(stats.mannwhitneyu(a, b).pvalue)
    assert "Mann-Whitney U test" in result.words and "not independent" in result.words
    chosen = compare(cohort, "speed", unit="movie", test="mann_whitney")
    assert chosen.unit == "movie" and "not tested" in chosen.words, "one movie has no spread"


def test_three_conditions_are_corrected_for_their_pairs() -> None:
    cohort = _cohort({"a": [1, 2, 3], "b": [1.5, 2, 2.5], "c": [8, 9, 10]}, spread=0.1)
    result = compare(cohort, "speed")
    assert len(result.pairs) == 3
    np.testing.assert_allclose(result.pairs["p_holm"], holm(result.pairs["p_value"].to_numpy()))
    assert "Welch ANOVA" in result.words and "Holm" in result.words
    assert "Kruskal-Wallis" in compare(cohort, "speed", unit="cell").words


def test_false_positives_are_what_cells_would_give() -> None:
    """With movies that differ and no effect, cells find one nearly always; movies rarely."""
    found = {"movie": 0, "cell": 0}
    for seed in range(25):
        rng = np.random.default_rng(seed)
        movies = {c: rng.normal(5, 1, 4).tolist() for c in "ab"}
        for unit in ("movie", "cell"):
            found[unit] += (
                compare(_cohort(movies, spread=0.5, seed=seed), "speed", unit=unit).pairs["p_value"][0] < 0.05
            )  # type: ignore[arg-type]
    assert found["movie"] <= 4
    assert found["cell"] >= 12


def test_what_cannot_be_tested_is_described() -> None:
    one = compare(_cohort({"only": [5.0, 6.0]}), "speed")
    assert "one condition only" in one.words and len(one.pairs) == 0
    assert one.groups["n_movies"].tolist() == [2]
    equal = compare(pd.DataFrame({"condition": list("aabb"), "movie": list("wxyz"), "speed": 1.0}), "speed")
    assert "not tested" in equal.words and np.isnan(equal.pairs["p_value"][0])
    nothing = compare(pd.DataFrame({"condition": ["a"], "movie": ["w"], "speed": [np.nan]}), "speed")
    assert len(nothing.values) == 0


def test_effect_sizes_by_hand() -> None:
    a, b = np.array([1.0, 2, 3]), np.array([3.0, 4, 5])
    assert hedges_g(a, b) == pytest.approx(2 * (1 - 3 / 15))
    assert cliffs_delta(a, b) == pytest.approx(8 / 9)
    assert cliffs_delta(b, a) == pytest.approx(-8 / 9)
    assert np.isnan(hedges_g(a[:1], b)) and np.isnan(hedges_g(a * 0, b * 0))
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, np.nan, 0.03])), [0.03, 0.06, np.nan, 0.06])


def test_runs_are_read_and_joined(tmp_path: Path) -> None:
    for run, movie in (("r1", "m1"), ("r2", "m1")):
        folder = tmp_path / run / "movies" / movie / "analysis"
        folder.mkdir(parents=True)
        pd.DataFrame({"tracklet_id": [0, 1], "generation": 0, "mean_distance_um": [1.0, 2.0]}).to_csv(folder / "boundary_tracklets.csv")  # fmt: skip
        pd.DataFrame({"tracklet_id": [1, 0], "generation": 0, "directness": [0.2, 0.1]}).to_csv(folder / "migration_tracklets.csv")  # fmt: skip
    movies = pd.DataFrame({"run_dir": [str(tmp_path / "r1"), str(tmp_path / "r2")], "movie_id": "m1", "condition": ["a", "b"]})  # fmt: skip
    cohort = read_cohort(movies)
    assert cohort["movie"].tolist() == ["r1/m1"] * 2 + ["r2/m1"] * 2
    assert cohort["directness"].tolist() == [0.1, 0.2, 0.1, 0.2]
    assert "directness" in measures(cohort) and "generation" not in measures(cohort)
    named = read_cohort(movies.assign(animal=["mouse", None]))
    assert named["animal"].tolist() == ["mouse"] * 2 + ["r2/m1"] * 2, (
        "a movie without an entry is an animal of its own"
    )
    with pytest.raises(InputError, match="name each movie once"):
        read_cohort(pd.concat([movies, movies]))
    with pytest.raises(InputError, match="not analysed yet; run notebook 13_analyze_boundary_distance"):
        read_cohort(movies.assign(movie_id="m2"))
    with pytest.raises(InputError, match=r"\['condition'\] are missing"):
        read_cohort(movies.drop(columns="condition"))
    with pytest.raises(InputError, match="give these movies a condition"):
        read_cohort(movies.assign(condition=[None, "b"]))
    with pytest.raises(InputError, match="metric = 'velocity': one of "):
        compare(cohort, "velocity")
    with pytest.raises(InputError, match="unit = 'embryo'"):
        compare(cohort, "directness", unit="embryo")  # type: ignore[arg-type]

"""Notebook 05_optimize_thresholds: whose word counts where the networks differ."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from helpers.runs.steps.thresholds import choose_division
from helpers.segmentation.threshold_remarks import remarks
from helpers.segmentation.thresholds import Thresholds, load, save

WAYS = ("always", "borders", "never")


def _found(score: float, divide: str | None = None) -> Thresholds:
    table = pd.DataFrame({"prob": [0.4, 0.5], "score": [score / 2, score], "n_true": 20, "n_predicted": 20})
    return Thresholds(0.5, None, None, score, "f1", (0.5,), table, divide=divide)


@pytest.mark.parametrize(
    ("stardist", "unet", "scores", "chosen"),
    [
        (0.91, 0.20, (0.98, 0.95, 0.80), "always"),
        (0.91, 0.20, (0.91, 0.95, 0.70), "always"),  # less than one of twenty cells apart
        (0.91, 0.20, (0.89, 0.95, 0.70), "borders"),
        (0.50, 0.60, (0.70, 0.89, 0.83), "borders"),
        (0.50, 0.60, (0.70, 0.86, 0.83), "never"),
        (0.50, 0.20, (0.95, 0.95, 0.95), "always"),  # of equals the better network's
        (0.50, 0.60, (0.95, 0.95, 0.95), "never"),
        (0.50, 0.60, (0.95, 0.95, 0.70), "borders"),
        (None, None, (0.95, 0.95, 0.80), "always"),
    ],
)
def test_what_scores_best_divides_and_of_equals_what_trusts_the_better_network(
    stardist, unet, scores, chosen, tmp_path
):
    tried = [_found(score, way) for score, way in zip(scores, WAYS, strict=True)]
    others = {} if stardist is None else {"unet": _found(unet), "stardist": _found(stardist)}
    best = choose_division(tried, others)
    assert best.divide == chosen
    assert best.divided == {one.divide: {"prob": 0.5, "score": one.score} for one in tried}
    assert best.choices == {"prob": 0.5, "divide": chosen}
    read = load(save(best, tmp_path / "thresholds.json"))
    assert (read.choices, read.divided) == (best.choices, best.divided)
    said = " ".join(remarks({"vollseg": best}))
    assert (f"always {scores[0]:.3f}" in said) == (chosen != "always")


def test_the_other_methods_have_nothing_to_divide():
    assert choose_division([_found(0.5)], {}).divided is None


@pytest.mark.parametrize(
    ("parts", "left_out"),
    [
        ({"stardist": 0.86}, "U-Net"),
        ({"unet": 0.86}, "StarDist"),
        ({"stardist": 0.86, "unet": 0.87}, "StarDist"),
        ({"stardist": 0.81}, "U-Net"),  # by less than one of twenty cells, too
        ({"stardist": 0.80, "unet": 0.79}, None),
        # Less than one below it, and the other has nothing to add.
        ({"stardist": 0.0, "unet": 0.76}, "StarDist"),
        ({"stardist": 0.04, "unet": 0.74}, None),
        ({"stardist": 0.06, "unet": 0.76}, None),
        # A U-Net that finds none may have joined all cells, and still know where they end.
        ({"stardist": 0.76, "unet": 0.0}, None),
        ({"stardist": 0.0, "unet": 0.0}, None),
    ],
)
def test_a_network_that_only_spoils_the_other_is_left_out(parts, left_out):
    tried = [
        replace(_found(score, way), outline=0.3) for score, way in zip((0.8, 0.7, 0.6), WAYS, strict=True)
    ]
    best = choose_division(tried, {method: _found(score) for method, score in parts.items()})
    shut = {"U-Net": best.foreground, "StarDist": best.prob}
    assert [name for name, value in shut.items() if value == 1.0] == ([left_out] if left_out else [])
    assert best.outline == (1.0 if left_out == "U-Net" else 0.3), "cells end where they did"
    assert (f"this {left_out}" in " ".join(remarks({"vollseg": best}))) == bool(left_out)


@pytest.mark.parametrize(
    ("probability", "left_out"), [(0.7, False), (0.75, False), (0.8, True), (0.85, True)]
)
def test_a_fusion_that_is_best_without_stars_is_the_unet_alone(probability, left_out):
    """A star that passes on another stack, 0.81, would decide what no validation cell has tested."""
    table = pd.DataFrame({"prob": [0.5, 0.7, 0.8], "score": [0.4, 0.06, 0.0], "n_true": 20, "n_predicted": 9})
    tried = [replace(_found(0.8, way), prob=probability, outline=0.3) for way in WAYS]
    others = {"unet": _found(0.8), "stardist": replace(_found(0.4), table=table)}
    best = choose_division(tried, others)
    assert (best.prob == 1.0) == left_out and best.divide == "never"
    assert ("the U-Net alone" in " ".join(remarks({"vollseg": best}))) == left_out

"""Columns that parameters name are looked for before anything runs, in tables that are there and in those to come."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.__main__ import main
from helpers.runs.columns import measured_columns
from helpers.runs.inputs import look_at_inputs
from helpers.runs.plan import open_experiment
from helpers.tracking.objects import measure

Make = Callable[..., Path]


@pytest.mark.parametrize("planar", [True, False])
@pytest.mark.parametrize("intensity", [True, False])
def test_the_columns_of_a_measurement_are_known_before_it(planar: bool, intensity: bool) -> None:
    labels = np.ones((1 if planar else 2, 4, 4), np.int32)
    table = measure(labels, labels.astype(np.uint16) if intensity else None, voxel_size=(1, 1, 1))
    assert measured_columns(planar, intensity) == list(table)


#: Step → its parameters; whether 06 measures labels first (else the table is given); the parameter that is told, or none.
CASES = {
    "color_by of a table": ("10_track", {"color_by": "hue"}, False, "color_by"),
    "color_by of a table to come": ("10_track", {"color_by": "volume_um3"}, True, "color_by"),  # the movie is 2D
    "color_by of tracks": ("10_track", {"color_by": "tracklet_id"}, True, None),
    "color_by of cells": ("10_track", {"color_by": "area_um2"}, True, None),
    "penalties": ("10_track", {"penalties": {"hue": 1.0}}, False, "penalties"),
    "penalties of divisions": (
        "10_track",
        {"splitting_max_distance_um": 5.0, "tracker_options": {"splitting_penalties": {"hue": 1.0}}},
        True,
        "tracker_options",
    ),
    "penalties that are not used": ("10_track", {"tracker_options": {"splitting_penalties": {"hue": 1.0}}}, True, None),
    "penalties of filters": ("10_track", {"tracker": "kalman", "penalties": {"hue": 1.0}}, True, "penalties"),
    "quality": ("10_track", {"min_quality": 0.5}, True, "min_quality"),
    "quality of tracks": ("10_track", {"track_filters": {"min_quality": 0.5}}, True, "track_filters"),
    "overlap": ("10_track", {"tracker": "overlap"}, False, None),
    "intensity": ("10_track", {"min_intensity": 3.0}, True, None),
    "spectrum": ("14_analyze_intensity_spectrum", {"intensity_column": "MEAN_INTENSITY_CH1"}, False, "intensity_column"),
    "spectrum of what is measured": ("14_analyze_intensity_spectrum", {"intensity_column": "intensity_sum"}, True, None),
    "scatter": ("15_analyze_migration", {"scatter_x": "speed"}, True, "scatter_x"),
    "scatter of what is measured": ("15_analyze_migration", {"scatter_y": "mean_area_um2"}, True, None),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_columns(what: str, experiment_of: Make, tmp_path: Path) -> None:
    step, given, measured, told = CASES[what]
    steps = {"06_segment": {}, "10_track": {}} if measured else {"10_track": {}}
    path = experiment_of("a", **(steps | {step: given}))
    if measured:
        table = tmp_path / "movies.csv"
        pd.read_csv(table).drop(columns="objects").to_csv(table, index=False)
    found = look_at_inputs(*open_experiment(path)).all.found
    assert [error.name.partition(f"steps.{step}.")[2] for error in found] == ([told] if told else [])
    if told:
        assert found[0].name.startswith("small.yaml, line")
        assert found[0].value == given[told]


@pytest.mark.parametrize("given", [{"tracker": "overlap"}, {"overlap_weight": 0.5}])
def test_an_overlap_needs_labels(given: dict, experiment_of: Make, tmp_path: Path) -> None:
    path = experiment_of("a", **{"10_track": given})
    table = tmp_path / "movies.csv"
    pd.read_csv(table).drop(columns="labels").to_csv(table, index=False)
    (error,) = look_at_inputs(*open_experiment(path)).all.found
    assert error.name.endswith("steps.10_track.labels") and "name the label movie" in error.expected


def test_a_column_of_one_row_is_told_with_all_else(experiment_of: Make, tmp_path: Path, capsys) -> None:
    path = experiment_of("a", "b", **{"10_track": {}, "16_compare_conditions": {"cohort": "none.csv"}})
    table = tmp_path / "movies.csv"
    rows = pd.read_csv(table).assign(color_by=["hue", "frame"], channel=[None, None])
    rows.loc[1, "movie"] = "gone.tif"
    rows.to_csv(table, index=False)
    assert main(["run", str(path), "--dry-run"]) == 2
    told = capsys.readouterr().err
    for words in (
        "line 2, column color_by = 'hue': one of the columns id, frame",
        "line 3, column movie",
        "cohort = ",
    ):
        assert words in told
    assert main(["status", str(path)]) == 2
    assert capsys.readouterr().err == told


def test_what_no_step_makes_is_said_beside_the_step_and_is_a_mistake(
    experiment_of: Make, tmp_path: Path, capsys
) -> None:
    path = experiment_of("a", **{"05_optimize_thresholds": {}, "10_track": {}})
    for command in (["run", str(path), "--dry-run"], ["status", str(path)]):
        assert main(command) == 2
        shown, told = capsys.readouterr()
        assert (
            "05_optimize_thresholds: not run yet; " in shown
            and "notebook 03_create_dataset makes it" in shown
        )
        assert "10_track [a]: not run yet\n" in shown
        lost = ("dataset/dataset.json", "models/unet/weights_best.h5", "models/stardist/weights_best.h5")
        for line, name in zip(told.splitlines(), lost, strict=True):
            assert f"run/{name} = 'missing': 05_optimize_thresholds reads it, and no step" in line
    path = experiment_of("a", "b", **{"15_analyze_migration": {}, "16_compare_conditions": {}})
    table = tmp_path / "movies.csv"
    pd.read_csv(table).assign(condition=["0", None]).to_csv(table, index=False)
    for name in "ab":  # the tracks of an earlier run
        (tmp_path / "run" / "movies" / name).mkdir(parents=True)
        shutil.copy(tmp_path / "a" / "objects.csv", tmp_path / "run" / "movies" / name / "tracks.csv")
    assert main(["run", str(path), "--dry-run"]) == 0
    assert "note: b: no condition is given; 16_compare_conditions calls it 'all'" in capsys.readouterr().out

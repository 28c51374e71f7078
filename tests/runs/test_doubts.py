"""What to doubt: a table of results and what is said of them; kept, printed, and gathered on the report."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.runs.doubts import Check, checks_of, in_words, read_checks
from helpers.runs.parameters import STEPS, Track
from helpers.runs.run import Run
from helpers.runs.steps.migration import common_motion
from helpers.runs.steps.training import still_falling

SCORE = {"f1_50": 0.9}
MIGRATION = {"tracklets": 40, "common_motion": 0.1, "divisions": 7, "plausible_divisions": 7}

#: Step, results, parameters, the worst level and words of it.
CASES: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    ("03", {"validation_patches": 8, "validation_stacks": ["a"]}, {}, "ok", "held back"),
    ("03", {"validation_patches": 0, "validation_stacks": []}, {}, "look", "Nothing is held back"),
    ("02", {"psnr_raw_db": 31.0, "psnr_denoised_db": 32.0}, {}, "ok", "32.0 dB"),
    ("02", {"psnr_raw_db": 31.0, "psnr_denoised_db": 30.0}, {}, "wrong", "30.0 dB"),
    ("04", {"U-Net": {"still_falling": 0.11, "val_loss": 1.0}}, {}, "look", "still lowered"),
    ("04", {"U-Net": {"still_falling": 0.04, "val_loss": 1.0}}, {}, "ok", "settled"),
    ("05", {"validation_cells": 8, "unet": {"score": 0.9, "highest": 0.9}}, {}, "look", "8 cells"),
    ("05", {"stardist": {"score": 0.0, "highest": 0.0}}, {}, "wrong", "StarDist finds no cell"),
    ("05", {"unet": {"score": 0.4, "highest": 0.5}}, {}, "look", "reaches 0.40"),
    ("05", {"unet": {"score": 0.9, "highest": 0.9, "foreground": 0.995}}, {}, "look", "foreground = 0.995"),
    (
        "05",
        {"validation_cells": 60, "unet": {"score": 0.9, "highest": 0.9, "foreground": 0.5}},
        {},
        "ok",
        "0.90",
    ),
    (
        "05",
        {"validated_on_training": "The scores are too good.", "unet": {"score": 0.9, "highest": 0.9}},
        {},
        "look",
        "too good",
    ),
    ("06", {"cells": 0, "cells_per_frame": 0.0}, {}, "wrong", "No cell"),
    (
        "07",
        {"cells": 9, "cells_per_frame": 3.0, "warnings": ["the voxels differ"]},
        {},
        "look",
        "The voxels differ",
    ),
    ("09", {"vollseg": SCORE, "unet": {"f1_50": 0.95}}, {}, "look", "U-Net finds more"),
    ("09", {"vollseg": {"f1_50": 0.3}}, {}, "wrong", "0.30"),
    ("09", {"vollseg": SCORE, "unet": {"f1_50": 0.905}}, {}, "ok", "0.90"),
    ("10", {"objects": 0}, {}, "wrong", "nothing to track"),
    ("10", {"objects": 90, "tracks": 30, "one_frame_tracks": 4}, {}, "look", "4 of 30 tracks"),
    # Seventeen divisions where seven are true.
    ("10", {"objects": 90, "divisions": 17, "plausible_divisions": 8}, {}, "look", "9 of 17 divisions"),
    (
        "10",
        {"objects": 90, "divisions": 17, "plausible_divisions": 8},
        {"tracker": "global"},
        "look",
        "9 of 17",
    ),
    ("10", {"objects": 90, "divisions": 10, "plausible_divisions": 9}, {}, "ok", "1 of 10 divisions"),
    ("10", {"objects": 90, "optimal": False}, {}, "look", "ran out of time"),
    ("11", {"predicted_labels": {"tra": 0.9, "division_f1": 1.0}}, {}, "look", "TRA is 0.900"),
    ("11", {"predicted_labels": {"tra": 0.99, "division_f1": 0.7}}, {}, "look", "divisions is 0.70"),
    ("11", {"predicted_labels": {"tra": 0.99, "lnk": 0.9}}, {}, "look", "LNK is 0.900: 35 %"),
    ("13", {"objects": 100, "regions": {"outer": 90, "outside": 10}}, {}, "look", "10 of 100 cells"),
    ("13", {"objects": 100, "regions": {"outer": 100}}, {}, "ok", "0 of 100 cells"),
    ("13", {"objects": 9, "tracklets": 3, "regions": {"outer": 9}}, {}, "look", "3 tracklets"),
    ("14", {"tracklets": 30, "spectra": 12, "rhythmic": 9, "false_rhythms": 0.01}, {}, "look", "12 of 30"),
    (
        "14",
        {"tracklets": 30, "spectra": 30, "rhythmic": 2, "false_rhythms": 0.05},
        {},
        "look",
        "7 % of the spectra",
    ),
    ("15", {**MIGRATION, "plausible_divisions": 5}, {}, "look", "2 of 7 divisions"),
    ("15", {**MIGRATION, "divisions": 70, "plausible_divisions": 69}, {}, "ok", "1 of 70 divisions"),
    ("15", {**MIGRATION, "common_motion": 0.8}, {}, "look", "80 % of the motion"),
    ("15", {**MIGRATION, "common_motion": 0.8}, {"remove_drift": True}, "ok", "40 tracklets"),
    ("15", {**MIGRATION, "tracklets": 4}, {}, "look", "4 tracklets"),
    ("16", {"units": {"control": 3, "drug": 2}}, {}, "look", "drug, has 2"),
]


@pytest.mark.parametrize(("step", "results", "parameters", "level", "said"), CASES)
def test_what_is_said_of_results(step, results, parameters, level, said) -> None:
    name = next(cls.name for name, cls in STEPS.items() if name.startswith(step))
    found = checks_of(name, results, parameters)
    assert found[0].level == level, found
    assert any(said in check.said for check in found if check.level == level), found
    assert all(check.remedy for check in found if check.level != "ok" and step not in ("06", "07")), found


@pytest.mark.parametrize("step", STEPS)
def test_results_of_an_older_version_say_nothing_and_break_nothing(step) -> None:
    assert all(isinstance(check, Check) for check in checks_of(STEPS[step].name, {}, {}))


def test_remedies_name_parameters_that_there_are() -> None:
    known = {name for step in STEPS.values() for name in step.model_fields} | {"time_limit", "window"}
    source = resources.files("helpers.runs").joinpath("doubts.py").read_text(encoding="utf-8")
    named = set(re.findall(r"\b[a-z]+_[a-z_]+\b", " ".join(re.findall(r'"([A-Z][^"\n]*\.)"', source))))
    assert "n_epochs" in named and "epochs" not in re.findall(r"\((\w+)\)", source)
    assert len(named & known) > 8
    assert named - known <= {"migration_divisions"}


def test_they_are_kept_printed_and_read_again(tmp_path, capsys) -> None:
    run = Run(Track.checked({"run_dir": tmp_path, "movie_id": "m"}), tmp_path)
    run.finish(
        {"objects": 90, "tracks": 30, "divisions": 17, "plausible_divisions": 8, "one_frame_tracks": 1}
    )
    printed = capsys.readouterr().out
    assert printed.index("LOOK  9 of 17 divisions") < printed.index("ok    1 of 30 tracks")
    done = json.loads((tmp_path / "done.json").read_text())
    assert [check.level for check in read_checks(done)] == ["look", "ok"]
    assert read_checks({"checks": [3, {"level": "strange"}, None]}) == [] == read_checks({"checks": "no"})
    assert in_words([]) == ""


def test_a_training_that_goes_on_learning_is_told_from_one_that_has_ended() -> None:
    ended = 0.3 + np.exp(-np.arange(40) / 3)
    learning = 1.3 - np.arange(40) / 40
    assert (still_falling(ended) or 0) < 0.001 < 0.3 < (still_falling(learning) or 0)
    assert still_falling(ended[:5]) is None and still_falling(np.full(20, np.nan)) is None


def test_motion_that_all_cells_share_is_told_from_their_own() -> None:
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    own = pd.DataFrame(
        {
            "direction_z": 0.0,
            "direction_y": np.sin(angles),
            "direction_x": np.cos(angles),
            "displacement_um": 2.0,
        }
    )
    assert common_motion(own) < 1e-9
    assert common_motion(own.assign(direction_y=0.0, direction_x=1.0)) == pytest.approx(1)
    assert common_motion(own.head(0)) == 0

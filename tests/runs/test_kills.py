"""Every process of a run is killed in every step, and the same command goes on to the same result.

By default two are killed in the last step. ``VOLLTRACK_KILLS=20`` kills each kind of process twenty times, at random moments,
twelve of them in notebooks 10_track to 16_compare_conditions; that takes an hour or two. The trainings are killed in `test_nothing_is_lost`.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helpers.runs.lock import read
from tests.runs.ended_run import KINDS, command, kill_in
from tests.runs.run_content import assert_equal, content

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("VOLLTRACK_KILLS", "0"))

#: All steps that need no network, as quick as they can be.
STEPS = {
    "06_segment": {},
    "09_evaluate_segmentation": {},
    "10_track": {"tracker": "nearest"},
    "11_evaluate_tracking": {},
    "13_analyze_boundary_distance": {"animation": "none"},
    "14_analyze_intensity_spectrum": {"n_permutations": 99},
    "15_analyze_migration": {},
    "16_compare_conditions": {},
}
#: Those that are run by default.
FEW = ("10", "15", "16")
LATE = ("10", "11", "13", "14", "15", "16")


def _plan(number: int) -> list[tuple[str, str]]:
    """Return which process is killed in which step, in the order of the steps: of each kind three fifths in 08 to 13."""
    if not number:
        return [("16", "job"), ("16", "run")]
    late = round(0.6 * number)
    steps = [LATE[-1 - k % 6] for k in range(late)] + [("06", "09")[k % 2] for k in range(number - late)]
    return [(step, kind) for step in sorted(steps) for kind in KINDS]


def _undo(step: str, run_dir: Path) -> None:
    """Have a step something to do again, and so to be killed in; of a movie half of its frames."""
    for done in run_dir.glob(f"steps/{step}*/done.json"):
        done.unlink()
    for table in run_dir.glob("movies/*/frames/*[13579].csv") if step == "06" else ():
        table.unlink()


@pytest.mark.timeout(4 * 3600 if KILLS else 1800)
def test_kills_of_every_process_change_nothing(
    experiment_of: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a", **{name: given for name, given in STEPS.items() if KILLS or name[:2] in FEW})
    table = tmp_path / "movies.csv"
    rows = pd.read_csv(table).assign(truth_tracks="a", condition="0")
    rows["truth"] = rows["labels"]
    (rows.drop(columns="objects") if KILLS else rows).to_csv(table, index=False)
    run_dir = tmp_path / "run"
    subprocess.run(command(path), check=True, capture_output=True)
    calm = content(run_dir)
    seconds = {
        done.parent.name: (read(done) or {})["duration_s"] for done in run_dir.glob("steps/*/done.json")
    }
    moments = random.Random(11)
    counts: dict[str, list[str]] = {kind: [] for kind in KINDS}
    plan = _plan(KILLS)
    for step, kind in plan:
        _undo(step, run_dir)
        longest = max(value for name, value in seconds.items() if name.startswith(step))
        if kill_in(step, kind, path, run_dir, moments.uniform(0, 0.5 * longest)):
            counts[kind].append(step)
    subprocess.run(command(path), check=True, capture_output=True)
    assert_equal(calm, content(run_dir))
    with capsys.disabled():
        print(f"\nkilled at work: {counts}" if KILLS else "")
    assert sum(map(len, counts.values())) >= len(plan) / 2, "most kills met a run that was still at work"

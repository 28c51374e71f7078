"""Runs that are killed at random moments, or meet a full disk, end as if nothing had happened.

By default a small experiment without networks is killed a few times. ``VOLLTRACK_KILLS=20`` kills one with all steps, the
trainings among them, twenty times in all, at random moments of every step; that takes the better part of an hour on two
cores.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from helpers.__main__ import main
from helpers.runs.lock import read
from tests.runs.ended_run import command, kill_in
from tests.runs.run_content import assert_equal, content

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("VOLLTRACK_KILLS", "0"))

#: All steps, as small as they can be.
ALL_STEPS = {
    "name": "all",
    "prepare": {
        "synthetic": {
            "seed": 3,
            "shape": [16, 48, 48],
            "n_cells": 8,
            "n_frames": 4,
            "n_stacks": 3,
            "irregularity": 0.5,
        }
    },
    "pairs": {"raw_dir": "train/raw", "label_dir": "train/label"},
    "movies": "movies.csv",
    "steps": {
        "03_create_dataset": {
            "patch_size": [16, 32, 32],
            "patches_per_image": 4,
            "network_depth": 2,
            "boundary_width_um": 1.5,
            "validation_stacks": ["stack_02"],
        },
        "02_train_denoiser": {
            "n_epochs": 4,
            "steps_per_epoch": 4,
            "patch_size": [16, 32, 32],
            "patches_per_image": 4,
            "network_depth": 2,
            "start_filters": 4,
            "masked_percent": 1.0,
        },
        "04_train_segmentation": {
            "n_epochs": 8,
            "steps_per_epoch": 20,
            "batch_size": 2,
            "learning_rate": 0.003,
            "schedule": "cosine",
            "network_depth": 2,
            "start_filters": 8,
            "rays": 16,
            "grid": [1, 4, 4],
        },
        "05_optimize_thresholds": {},
        "06_segment": {"compare_methods": True, "frames_per_job": 2},
        "09_evaluate_segmentation": {},
        "10_track": {"tracker": "nearest"},
        "11_evaluate_tracking": {},
        "13_analyze_boundary_distance": {"tissue_mask": "movie/tissue.ome.tif"},
        "14_analyze_intensity_spectrum": {"n_permutations": 99},
        "15_analyze_migration": {},
        "16_compare_conditions": {},
    },
}
MOVIES = "movie_id,movie,truth,truth_tracks\nmovie,movie/raw.ome.tif,movie/labels.ome.tif,movie\n"


def _finished(run_dir: Path) -> dict[str, int]:
    """Return when each finished frame and step was written: done.json of steps whose results stand, tables of frames."""
    found = [*run_dir.glob("movies/*/frames/*.csv"), *run_dir.glob("steps/*/done.json")]
    return {str(path.relative_to(run_dir)): path.stat().st_mtime_ns for path in found}


def _epochs(run_dir: Path) -> dict[str, list[str]]:
    """Return the finished epochs of each network, with the seconds they took."""
    histories = {
        path.parent.name: path.read_text().splitlines() for path in run_dir.glob("models/*/history.csv")
    }
    return {name: lines for name, lines in histories.items() if lines}


def _survive(path: Path, folder: Path, kills: list[str], seed: int) -> None:
    """Run once undisturbed and once with kills; compare the results, and that nothing finished was done again."""
    calm, killed = folder / "calm", folder / "killed"
    subprocess.run(command(path, calm), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    durations = {done.parent.name: read(done)["duration_s"] for done in calm.glob("steps/*/done.json")}  # type: ignore[index]
    moments, count = random.Random(seed), 0
    for step in kills:
        longest = max((s for name, s in durations.items() if name.startswith(step)), default=5.0)
        before, epochs = _finished(killed), _epochs(killed)
        count += kill_in(step, "run", path, killed, moments.uniform(0, 0.7 * longest))
        after, now = _finished(killed), _epochs(killed)
        assert before == {name: after.get(name) for name in before}, (
            f"done twice after the kill before {step}"
        )
        assert all(now[name][: len(lines)] == lines for name, lines in epochs.items()), (
            "an epoch was trained twice"
        )
    subprocess.run(command(path, killed), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert count >= len(kills) / 2, "most kills met a run that was still at work"
    assert_equal(content(calm), content(killed))


def test_kills_at_random_moments_change_nothing(experiment_of: Callable[..., Path], tmp_path: Path) -> None:
    _survive(experiment_of("a"), tmp_path, ["10_track", "15_analyze"], seed=1)


@pytest.mark.skipif(not KILLS, reason="takes long: VOLLTRACK_KILLS=20 runs it")
@pytest.mark.timeout(7200)
def test_kills_in_every_step_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text(MOVIES)
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump(ALL_STEPS, sort_keys=False))
    steps = list(ALL_STEPS["steps"])
    # In the order in which they run, each once, and the longest ones more often.
    extra = ["02", "04", "06", "04", "06", "02", "04", "06", "04"][: max(0, KILLS - len(steps))]
    kills = sorted([*steps[:KILLS], *extra])
    _survive(path, tmp_path, kills, seed=20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 16 MB, or skip where that is not allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    experiment_of: Callable[..., Path], tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a")
    run_dir = small_disk / "run"
    run_dir.mkdir()
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(free - 150_000))
    assert main(["run", str(path), "--run-dir", str(run_dir)]) in (1, 2)
    shown = capsys.readouterr()
    assert "space" in shown.out + shown.err, shown
    filler.unlink()
    assert main(["run", str(path), "--run-dir", str(run_dir)]) == 0
    assert main(["run", str(path), "--run-dir", str(tmp_path / "calm")]) == 0
    assert_equal(content(tmp_path / "calm"), content(run_dir))

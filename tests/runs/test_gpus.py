"""Every job that runs networks gets a GPU of its own: tested on none, by what the jobs are given."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helpers.errors import InputError
from helpers.runs import graph, lock
from helpers.runs.batch import run_experiment
from helpers.runs.gpus import gpu_of_its_own, gpus_to_use
from helpers.runs.plan import open_experiment

Make = Callable[..., Path]
SEGMENT = {"06_segment": {"foreground_thresh": 0.5, "method": "unet"}}
HOLD = """
import os, sys
from pathlib import Path
from helpers.runs.gpus import gpu_of_its_own
with gpu_of_its_own(["0", "1"], Path(sys.argv[1])):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an ``nvidia-smi`` on the path that lists two GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    listed = "".join(f"GPU {k}: NVIDIA A100 (UUID: GPU-{k})\\n  MIG 1g.5gb Device 0\\n" for k in range(2))
    (folder / "nvidia-smi").write_text(f'#!/bin/sh\nprintf "{listed}"\n')
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_gpus_are_those_present_or_left(two_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus_to_use() == ("0", "1")
    assert gpus_to_use(1) == ("0",)
    with pytest.raises(InputError, match="at most the 2 that are present"):
        gpus_to_use(3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpus_to_use() == ("1",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus_to_use() == ()


def test_without_gpus_none_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_to_use() == ()
    with pytest.raises(InputError, match="gpus"):
        gpus_to_use(1)
    before = dict(os.environ)
    with gpu_of_its_own((), tmp_path) as gpu:
        assert gpu is None and dict(os.environ) == before


def _holder(batch: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(batch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_jobs_side_by_side_see_different_gpus_and_a_killed_one_frees_its(tmp_path: Path) -> None:
    holders = [_holder(tmp_path) for _ in range(2)]
    try:
        seen = {one: one.stdout.readline().strip() for one in holders if one.stdout}
        assert sorted(seen.values()) == ["0", "1"]
        waiting = _holder(tmp_path)
        holders.append(waiting)
        holders[0].kill()
        holders[0].wait()
        assert waiting.stdout and waiting.stdout.readline().strip() == seen[holders[0]]
    finally:
        for one in holders:
            one.kill()
            one.communicate()


def _without_labels(folder: Path) -> None:
    """Take the labels out of the table of movies: those that are given need no network."""
    table = folder / "movies.csv"
    pd.read_csv(table).drop(columns="labels").to_csv(table, index=False)


def test_networks_are_given_the_gpus_and_share_the_cores_by_them(experiment_of: Make, tmp_path: Path) -> None:
    path = experiment_of("a", "b", "c", "d", **SEGMENT, **{"10_track": {}})
    nodes, _ = graph.to_run(open_experiment(path)[1])
    graph.write_graph(tmp_path, nodes, 8, ("0", "1"))
    assert not any((lock.read(one) or {})["gpus"] for one in (tmp_path / "jobs").iterdir()), (
        "labels are given"
    )
    _without_labels(tmp_path)
    _, jobs = open_experiment(path)
    nodes, _ = graph.to_run(jobs)
    graph.write_graph(tmp_path, nodes, 8, ("0", "1"))
    specs = {path.stem: lock.read(path) or {} for path in (tmp_path / "jobs").iterdir()}
    assert {spec["step"][:2]: tuple(spec["gpus"]) for spec in specs.values()} == {"06": ("0", "1"), "10": ()}
    assert specs["06_segment-a"]["threads"] == 4, "two run at once, not four"
    assert "gpu=2" in graph.arguments(tmp_path, 8, None, 2)
    assert not any("gpu" in word for word in graph.arguments(tmp_path, 8, None, 0))


@pytest.mark.slow
def test_a_run_gives_its_jobs_gpus(experiment_of: Make, tmp_path: Path, two_gpus: None) -> None:
    path = experiment_of("a", "b", **SEGMENT, **{"10_track": {"tracker": "nearest"}})
    _without_labels(tmp_path)
    experiment, _ = open_experiment(path)
    failed = run_experiment(experiment, gpus=2, cores=2, say=lambda line: None)
    batch = tmp_path / "run" / ".batch"
    segmented = [lock.read(path) or {} for path in (batch / "failed").glob("*_segment*.json")]
    assert len(failed) >= 2 and {one["gpu"] for one in segmented} <= {"0", "1"}, "they have no network"
    assert len(segmented) == 2


def test_on_a_cluster_the_profile_says_it(experiment_of: Make) -> None:
    experiment, _ = open_experiment(experiment_of("a"))
    with pytest.raises(InputError, match="leave it out with --profile"):
        run_experiment(experiment, gpus=2, profile="slurm")

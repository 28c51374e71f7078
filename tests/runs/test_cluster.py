"""The graph on a second executor: a SLURM of scripts that note what they are asked for and start worker processes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from helpers.runs import graph, lock
from helpers.runs.batch import run_experiment
from helpers.runs.parameters import STEPS
from helpers.runs.plan import open_experiment
from helpers.runs.run import read_done

pytestmark = pytest.mark.slow

SBATCH = """#!{python}
import os, subprocess, sys
from pathlib import Path
here = Path(__file__).parent
job = str(len(list(here.glob("*.call"))) + 1)
(here / f"{{job}}.call").write_text("\\n".join(sys.argv[1:]))
wrapped = next(a for a in sys.argv if a.startswith("--wrap=")).removeprefix("--wrap=")
work = sys.argv[sys.argv.index("-D") + 1]
script = f"cd '{{work}}'; ({{wrapped}}) && s=COMPLETED || s=FAILED; echo $s > '{{here}}/{{job}}.state'"
log = open(here / f"{{job}}.log", "wb")
subprocess.Popen(["bash", "-c", script], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
print(job)
"""
SACCT = """#!{python}
from pathlib import Path
here = Path(__file__).parent
for call in here.glob("*.call"):
    state = call.with_suffix(".state")
    print(f"{{call.stem}}|{{state.read_text().strip() if state.exists() else 'RUNNING'}}")
"""
SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an ``sbatch`` and an ``sacct`` on the path, and return the folder of what they note."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    scripts = {"sbatch": SBATCH, "sacct": SACCT, "squeue": SACCT, "scancel": "#!/bin/sh\n"}
    scripts |= {"sshare": "#!/bin/sh\necho lab\n", "srun": SRUN}
    for name, text in scripts.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("USER", "tester")
    return folder


def _profile(folder: Path) -> Path:
    """Return our profile, with an account and partition, and without the patience a real cluster needs."""
    content = yaml.safe_load((graph.PROFILES / "slurm" / "config.yaml").read_text())
    content["default-resources"] |= {"slurm_account": "lab", "slurm_partition": "main"}
    content |= {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 5}
    (folder / "profile").mkdir()
    (folder / "profile" / "config.yaml").write_text(yaml.safe_dump(content))
    return folder / "profile"


def test_jobs_are_submitted_with_what_they_need_and_run(
    experiment_of: Callable[..., Path], tmp_path: Path, slurm: Path
) -> None:
    path = experiment_of("a", **{"05_optimize_thresholds": {}, "10_track": {"tracker": "nearest"}})
    experiment, _ = open_experiment(path)
    lines: list[str] = []
    failed = run_experiment(experiment, profile=str(_profile(tmp_path)), say=lines.append)
    calls = {
        name: call
        for call in (path.read_text().splitlines() for path in slurm.glob("*.call"))
        for name in ("optimize_thresholds", "track")
        if any(f"rule_{name}" in word for word in call)
    }
    network, table = calls["optimize_thresholds"], calls["track"]
    assert "--gpus=1" in network
    assert not any(word.startswith("--gpus") for word in table)
    assert [call[call.index("--mem") + 1] for call in (network, table)] == ["6000", "2000"]
    assert {"--cpus-per-gpu=4", "--cpus-per-task=4"} & set(network)
    assert network[network.index("-p") + 1] == "main"
    assert failed == ["05_optimize_thresholds"], "there is no network in this run"
    assert any("notebook 03_create_dataset makes it" in line for line in lines), (
        "the worker's message is the user's"
    )
    assert read_done(tmp_path / "run" / "steps" / "10_track-a")
    assert any("10_track [a]: done in" in line for line in lines)


def test_only_networks_ask_for_a_gpu(experiment_of: Callable[..., Path], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    path = experiment_of("a", **{step: {} for step in STEPS if step[:2] not in ("09", "11")})
    table = tmp_path / "movies.csv"
    given = pd.read_csv(table)
    given.drop(columns="labels").to_csv(table, index=False)
    nodes, _ = graph.to_run(open_experiment(path)[1])
    graph.write_graph(tmp_path, nodes, None)
    written = lock.read(tmp_path / "graph.json")
    assert written is not None
    asking = {one["rule"] for one in written["jobs"].values() if one["gpu"]}
    assert asking == {
        "train_denoiser", "train_segmentation", "optimize_thresholds", "segment", "segment_cellpose",
    }  # fmt: skip
    profile = yaml.safe_load((graph.PROFILES / "slurm" / "config.yaml").read_text())
    assert set(profile["set-resources"]) <= {one["rule"] for one in written["jobs"].values()}
    given.to_csv(table, index=False)
    nodes, _ = graph.to_run(open_experiment(path)[1])
    graph.write_graph(tmp_path, nodes, None)
    (measured,) = (
        one for one in lock.read(tmp_path / "graph.json")["jobs"].values() if one["rule"] == "segment"
    )  # type: ignore[index]
    assert (measured["gpu"], measured["mem_mb"], measured["threads"]) == (0, 2000, 1), "labels are measured"

"""A run that ends, ends: nothing of it works on, its folder is free, and the same command goes on with it.

Every process of a run is killed in turn. ``VOLLTRACK_KILLS=20`` does it twenty times each, at random moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from run_content import assert_equal, content

KILLS = int(os.environ.get("VOLLTRACK_KILLS", "0"))
#: Seconds within which all of a run must have ended.
_SOON = 10.0

#: Which process is ended, and how.
WAYS = {
    "ctrl-c": ("run", signal.SIGINT),
    "terminate": ("run", signal.SIGTERM),
    "terminal closed": ("run", signal.SIGHUP),
    "run killed": ("run", signal.SIGKILL),
    "scheduler killed": ("helpers.runs.scheduler", signal.SIGKILL),
    "job killed": ("helpers.runs.job", signal.SIGKILL),
    "kernel killed": ("helpers.runs.kernel", signal.SIGKILL),
    "nobody reads": ("run", None),
}
#: Those that are tried by default; each costs seconds.
QUICK = ("terminate", "scheduler killed", "job killed", "nobody reads")
#: Exit status of the run, where its end is in order.
STATUS = {"ctrl-c": 130, "terminate": 143, "terminal closed": 129, "run killed": -9, "nobody reads": 141}


class Process:
    """A run in a process of its own, all of whose descendants carry a mark."""

    def __init__(self, path: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.run = subprocess.Popen(
            [sys.executable, "-m", "helpers", "run", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "VOLLTRACK_TEST": self.mark},
            start_new_session=True,
        )

    def all(self) -> dict[int, str]:
        """Return the command line of every process that this run has started and that lives, with its own."""
        found = {}
        for process in psutil.process_iter():
            try:
                if process.environ().get("VOLLTRACK_TEST") == self.mark and process.status() != "zombie":
                    found[process.pid] = " ".join(process.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def find(self, part: str) -> int | None:
        """Return the process of that module."""
        if part == "run":
            return self.run.pid
        return next(
            (pid for pid, line in self.all().items() if f"-m {part}" in line and "bash" not in line), None
        )

    def wait_for(self, part: str) -> int:
        """Wait until that process is there, and return its number."""
        until = time.monotonic() + 120
        while (pid := self.find(part)) is None:
            assert time.monotonic() < until and self.run.poll() is None, f"no {part}"
            time.sleep(0.05)
        return pid

    def end(self, how: str, wait: float) -> int:
        """Wait until a notebook is at work, end the run in one of the ways, and return its exit status."""
        part, number = WAYS[how]
        self.wait_for("helpers.runs.kernel")
        time.sleep(wait)
        if number is None:
            self.run.stdout.close()  # type: ignore[union-attr]
        elif (pid := self.find(part)) is not None:
            os.kill(pid, number)
        status = self.run.wait(60)
        until = time.monotonic() + _SOON
        while self.all() and time.monotonic() < until:
            time.sleep(0.1)
        assert not self.all(), f"{how}: works on alone"
        return status


@pytest.fixture
def no_leftovers() -> Iterator[list[Process]]:
    """Collect runs; what a failing test leaves of them is killed."""
    started: list[Process] = []
    yield started
    for process in started:
        for pid in process.all():
            os.kill(pid, signal.SIGKILL)


def _end(path: Path, how: str, wait: float, started: list[Process]) -> str:
    """End a run in one of the ways, check how it ended, and return what it said last."""
    process = Process(path)
    started.append(process)
    status = process.end(how, wait)
    assert process.run.stderr is not None
    words = process.run.stderr.read().decode()
    assert "Traceback" not in words, words
    assert status in (STATUS.get(how, 1), 0), (how, status, words)
    if how in ("ctrl-c", "terminate", "terminal closed") and status:
        assert words.endswith("interrupted: the same command goes on from here\n")
    return words


@pytest.mark.timeout(7200 if KILLS else 600)
def test_however_a_run_ends_all_of_it_ends_and_nothing_is_left_outside_its_folder(
    experiment_of: Callable[..., Path], tmp_path: Path, no_leftovers: list[Process]
) -> None:
    path = experiment_of("a")
    command = [sys.executable, "-m", "helpers", "run", str(path)]
    home = tmp_path / "home"
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    calm = [*command, "--run-dir", str(tmp_path / "calm")]
    subprocess.run(calm, env={**env, "HOME": str(home)}, check=True, stdout=subprocess.DEVNULL)
    assert not list(home.rglob("*")), "written outside the run folder"
    moments = random.Random(7)
    for _ in range(max(KILLS, 1)):
        for how in WAYS if KILLS else QUICK:
            if KILLS:  # a step that was done is to do again, so that there is something to end
                undone = moments.choice([*tmp_path.glob("run/steps/*/done.json"), None])
                if undone:
                    undone.unlink()
            _end(path, how, moments.uniform(0, 6) if KILLS else 0.0, no_leftovers)
    again = subprocess.run(command, capture_output=True, text=True)  # at once: the folder is free
    assert again.returncode == 0, again.stdout + again.stderr
    assert_equal(content(tmp_path / "calm"), content(tmp_path / "run"))

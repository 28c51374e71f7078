"""A run in processes of its own, of which one can be ended in the midst of a step."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

#: Seconds within which all of a run must have ended, on a machine that is busy with other things too.
SOON = 60.0
#: The processes of a run, by the module they run.
KINDS = {
    "run": "helpers",
    "scheduler": "helpers.runs.scheduler",
    "job": "helpers.runs.job",
    "kernel": "helpers.runs.kernel",
}

#: Read by every Python of a run when it starts: its kernels, forked or not, say that they are at work, and wait where they
#: open the table of cells that the notebook is about. Their end is watched for by then.
_HELD = """
import pathlib, sys, time
held = pathlib.Path(__file__).parent
def hold(event, given):
    if event == "open" and str(given[0]).endswith("objects.csv") and any("kernel" in word for word in sys.argv[:1]):
        (held / "at_work").touch()
        while (held / "wait").exists():
            time.sleep(0.05)
sys.addaudithook(hold)
"""


def command(path: Path, run_dir: Path | None = None) -> list[str]:
    """Return the command line that runs an experiment, one job after the other."""
    place = ["--run-dir", str(run_dir)] if run_dir else []
    return [sys.executable, "-m", "helpers", "run", str(path), "--cores", "1", *place]


def _as_from_a_terminal() -> None:
    """Let no signal be ignored, as all are that a shell's ``&`` or ``nohup`` keeps from the tests."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class EndedRun:
    """A run whose descendants all carry a mark; its notebooks wait for ever where `hold` names a folder for that."""

    def __init__(self, path: Path, run_dir: Path | None = None, *, hold: Path | None = None) -> None:
        self.mark = uuid.uuid4().hex
        env = {**os.environ, "VOLLTRACK_TEST": self.mark}
        if hold is not None:
            hold.mkdir(exist_ok=True)
            (hold / "sitecustomize.py").write_text(_HELD)
            (hold / "wait").touch()
            (hold / "at_work").unlink(missing_ok=True)
            env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(hold), env.get("PYTHONPATH")]))
        self.process = subprocess.Popen(
            command(path, run_dir),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,
            preexec_fn=_as_from_a_terminal,
        )

    def all(self) -> dict[int, list[str]]:
        """Return the command line of every process that this run has started and that lives, with its own."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("VOLLTRACK_TEST") == self.mark and process.status() != "zombie":
                    found[process.pid] = process.cmdline()
        return found

    def find(self, kind: str) -> int | None:
        """Return the process of that kind; None where there is none now."""
        if kind == "run":
            return self.process.pid if self.process.poll() is None else None
        lines = self.all().items()
        return next((pid for pid, line in lines if "-m" in line[1:2] and KINDS[kind] in line[2:4]), None)

    def wait_until(self, seen: Callable[[], bool]) -> bool:
        """Wait until something is seen; return whether it was before the run ended."""
        while self.process.poll() is None:
            if seen():
                return True
            time.sleep(0.02)
        return False

    def end(self, kind: str, number: int | None) -> tuple[int, str]:
        """Send a signal to a process, or close the run's output; return its exit status and last words.

        Asserts that nothing of the run works on alone.
        """
        streams = self.process.stdout, self.process.stderr
        assert streams[0] and streams[1]
        if number is None:
            streams[0].close()
        elif (pid := self.find(kind)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        words = (streams[1].read() if number is None else self.process.communicate()[1]).decode()
        status = self.process.wait(60)
        until = time.monotonic() + SOON
        while self.all() and time.monotonic() < until:
            time.sleep(0.1)
        assert not self.all(), f"{kind}: works on alone"
        return status, words

    def kill_all(self) -> None:
        """Kill what a failing test leaves."""
        for pid in self.all():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def kill_in(step: str, kind: str, path: Path, run_dir: Path, wait: float) -> bool:
    """Start a run, kill one of its processes some time after a step has begun, and return whether that was in time."""
    run = EndedRun(path, run_dir)
    try:
        running = run_dir / ".batch" / "running"
        there = run.wait_until(lambda: bool(list(running.glob(f"{step}*.json"))))
        if there and kind == "kernel":
            there = run.wait_until(lambda: run.find("kernel") is not None)
        time.sleep(wait)
        in_time = there and run.find(kind) is not None
        status, words = run.end(kind, signal.SIGKILL)
        assert "Traceback" not in words, words
        return in_time and status != 0
    finally:
        run.kill_all()

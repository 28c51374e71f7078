"""A run that ends, ends: nothing of it works on, its folder is free, and the same command goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.runs import execute
from tests.runs.ended_run import EndedRun, command
from tests.runs.run_content import assert_equal, content

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("VOLLTRACK_KILLS", "0"))

_LEAVES = "import tempfile; print(tempfile.mkdtemp(), end='')"
#: Which process is ended, and how.
WAYS = {
    "ctrl-c": ("run", signal.SIGINT),
    "terminate": ("run", signal.SIGTERM),
    "terminal closed": ("run", signal.SIGHUP),
    "run killed": ("run", signal.SIGKILL),
    "scheduler killed": ("scheduler", signal.SIGKILL),
    "job killed": ("job", signal.SIGKILL),
    "kernel killed": ("kernel", signal.SIGKILL),
    "nobody reads": ("run", None),
}
#: Those that are tried by default; each costs seconds.
QUICK = ("terminate", "scheduler killed", "job killed", "nobody reads")
#: Exit status of the run, where its end is in order.
STATUS = {"ctrl-c": 130, "terminate": 143, "terminal closed": 129, "run killed": -9, "nobody reads": 141}


def _end(path: Path, how: str, hold: Path) -> str:
    """End a run in one of the ways while a notebook is at work, check how it ended, and return what it said last."""
    run = EndedRun(path, hold=hold)
    try:
        at_work = run.wait_until((hold / "at_work").exists)
        assert at_work, f"{how}: no notebook was at work; {run.process.communicate()}"
        status, words = run.end(*WAYS[how])
    finally:
        run.kill_all()
    assert "Traceback" not in words, words
    assert status == STATUS.get(how, 1), (how, status, words)
    if how in ("ctrl-c", "terminate", "terminal closed"):
        assert words.endswith("interrupted: the same command goes on from here\n")
    return words


def test_what_libraries_leave_among_temporary_files_goes_with_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    with execute.temporary_files():
        left = [
            Path(tempfile.mkdtemp()),
            Path(subprocess.check_output([sys.executable, "-c", _LEAVES]).decode()),
        ]
        assert all(path.is_dir() and path.is_relative_to(tmp_path) for path in left)
    assert not list(tmp_path.iterdir())
    assert os.environ["TMPDIR"] == str(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such sockets")
@pytest.mark.parametrize(
    ("folder", "transport"), [("/tmp/vt-12345678", "ipc"), (f"/tmp/{'long' * 30}", "tcp")]
)
def test_kernels_start_where_the_folder_of_temporary_files_has_a_long_name(
    tmp_path: Path, folder: str, transport: str
) -> None:
    assert execute.kernel_manager(tmp_path / "log", Path(folder))().transport == transport


def test_however_a_run_ends_all_of_it_ends_and_nothing_is_left_outside_its_folder(
    experiment_of: Callable[..., Path], tmp_path: Path
) -> None:
    path = experiment_of("a")
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    calm = command(path, tmp_path / "calm")
    env |= {"HOME": str(home), "TMPDIR": str(temporary)}
    subprocess.run(calm, env=env, check=True, stdout=subprocess.DEVNULL)
    assert not [*home.iterdir(), *temporary.iterdir()], "written outside the run folder"
    for how in WAYS if KILLS else QUICK:
        for done in tmp_path.glob("run/steps/*/done.json"):
            done.unlink()  # so that there is something to end
        _end(path, how, tmp_path / "hold")
    again = subprocess.run(command(path), capture_output=True, text=True)  # at once: the folder is free
    assert again.returncode == 0, again.stdout + again.stderr
    assert_equal(content(tmp_path / "calm"), content(tmp_path / "run"))

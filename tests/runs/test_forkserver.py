"""What is forked from the server is as if it had been started, and neither it nor who asked for it outlives the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from helpers.runs import forkserver

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone"),
]

#: What is run: it says what it sees, and can wait, fail or be told to end.
MODULE = """
import json, os, random, signal, sys, tempfile, time
import numpy as np

def main(arguments):
    told = []
    signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    seen = dict(
        pid=os.getpid(), forked="pandas" in sys.modules, folder=os.getcwd(), said=os.environ.get("SAID"),
        temporary=tempfile.gettempdir(), drawn=[random.random(), np.random.random()],
        input=sys.stdin.read(), unwanted=os.environ.get("UNWANTED"), argv=sys.argv[1:], fds=len(os.listdir("/proc/self/fd")),
    )
    print(json.dumps(seen), flush=True)
    print("an error", file=sys.stderr, flush=True)
    if "wait" in arguments:
        while not told:
            time.sleep(0.02)
    if "exit" in arguments:
        sys.exit(5)
    return 7 * ("fail" in arguments)
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[subprocess.Popen[bytes], str]]]:
    """Return the servers that were started, with their addresses; of them only the last one lives, if any does."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "said.py").write_text(MODULE)
    started: list[tuple[subprocess.Popen[bytes], str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[2])]))
        yield started
    for one, _ in started:
        one.kill()
        one.wait()


@pytest.fixture
def server(
    servers: list[tuple[subprocess.Popen[bytes], str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> subprocess.Popen[bytes]:
    """Return a server that no notebook's imports are known to; it is started where none lives."""
    if not servers or servers[-1][0].poll() is not None:
        monkeypatch.setenv("UNWANTED", "of the server")
        server = forkserver.start([], tmp_path)
        assert server
        servers.append((server, os.environ[forkserver._ADDRESS]))
        monkeypatch.delenv("UNWANTED")
    server, address = servers[-1]
    monkeypatch.setenv(forkserver._ADDRESS, address)
    return server


def _ask(*arguments: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "helpers.runs.forkserver", "said", *arguments]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, text=True, **pipes)


def _seen(asking: subprocess.Popen[str], given: str = "") -> dict:
    """Return what a fork says that it sees; it may go on."""
    assert asking.stdin and asking.stdout
    asking.stdin.write(given)
    asking.stdin.close()
    return json.loads(asking.stdout.readline())


def _is_gone(pid: int) -> bool:
    until = time.monotonic() + 30
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not psutil.pid_exists(pid)


def test_a_fork_has_the_folder_environment_and_streams_of_who_asked(
    server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    asking = [_ask("fail", folder=tmp_path, SAID=said, TMPDIR=str(tmp_path)) for said in "ab"]
    seen = [_seen(one, f"given to {said}") for one, said in zip(asking, "ab", strict=True)]
    for one, what, said in zip(asking, seen, "ab", strict=True):
        assert what["forked"] and what["pid"] not in (one.pid, server.pid)
        assert (what["folder"], what["temporary"]) == (str(tmp_path), str(tmp_path))
        assert (what["said"], what["unwanted"], what["argv"]) == (said, None, ["fail"])
        assert what["input"] == f"given to {said}"
        assert one.stderr and one.stderr.read() == "an error\n"
        assert one.wait() == 7
        assert what["fds"] <= 5, "nothing of the server's stays open"
    assert not {*seen[0]["drawn"]} & {*seen[1]["drawn"]}, "forks draw numbers of their own"
    ended = _ask("exit", folder=tmp_path)
    _seen(ended)
    assert ended.wait() == 5


def test_signals_are_passed_on(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    asking = _ask("wait", folder=tmp_path)
    _seen(asking)
    asking.send_signal(signal.SIGINT)
    assert asking.wait(30) == 0


def test_who_asks_ends_with_its_parent_and_the_fork_with_it(
    server: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "helpers.runs.forkserver", "said", "wait"]
    start = f"import subprocess; subprocess.run({command!r})"
    with subprocess.Popen(
        [sys.executable, "-c", start], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout
        fork = json.loads(parent.stdout.readline())["pid"]
        parent.kill()
    assert _is_gone(fork)


@pytest.mark.parametrize("ended", ["who asked", "the fork", "the server"])
def test_neither_outlives_the_other(server: subprocess.Popen[bytes], tmp_path: Path, ended: str) -> None:
    asking = _ask("wait", folder=tmp_path)
    fork = _seen(asking)["pid"]
    os.kill({"who asked": asking.pid, "the fork": fork, "the server": server.pid}[ended], signal.SIGKILL)
    assert asking.wait(30) == (-9 if ended == "who asked" else 128 + 9)
    assert _is_gone(fork)
    # Who asks next is served, by a fork or by itself.
    again = _ask(folder=tmp_path)
    assert _seen(again)["forked"] == (ended != "the server")
    assert again.wait(30) == 0


def test_without_a_server_the_work_is_done_by_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "said.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for address in ("", "volltrack-nowhere"):
        asking = _ask("fail", folder=Path.cwd(), **{forkserver._ADDRESS: address})
        seen = _seen(asking)
        assert not seen["forked"] and seen["pid"] == asking.pid
        assert asking.wait(30) == 7


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
def test_nobody_else_is_served(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    address = os.environ[forkserver._ADDRESS]
    other = f"""
import os, socket
os.setuid(65534)
asking = socket.socket(socket.AF_UNIX)
asking.connect("\\0{address}")
print(asking.recv(1))"""
    said = subprocess.check_output([sys.executable, "-c", other], text=True)
    assert said.strip() == "b''"


def test_what_a_run_measures_is_forked_and_what_runs_networks_is_not(
    experiment_of: Callable[..., Path], tmp_path: Path
) -> None:
    from helpers.runs import graph, lock
    from helpers.runs.plan import open_experiment

    steps = {
        "06_segment": {"foreground_thresh": 0.5, "method": "unet"},
        "10_track": {},
        "15_analyze_migration": {},
    }
    path = experiment_of("a", **steps)
    table = tmp_path / "movies.csv"
    table.write_text(table.read_text().replace(",a/labels.ome.tif", ","))
    nodes, _ = graph.to_run(open_experiment(path)[1])
    for cores, expected in (
        (max(2, os.cpu_count() or 1), ["", "10_track", "15_analyze_migration"]),
        (None, [""] * 3),
    ):
        graph.write_graph(tmp_path, nodes, cores)
        jobs = (lock.read(tmp_path / "graph.json") or {})["jobs"]
        assert [jobs[f"{step}-a"]["forks"] for step in steps] == expected

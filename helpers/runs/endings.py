"""Whatever ends a run ends all of it: no process of it works on alone.

    run  <-  scheduler  <-  job  <-  kernel

Each watches the one on its left, and ends with it, however that was ended. A job or kernel that is forked ends with the process
that stands in its place here (`helpers.runs.forkserver`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import psutil

#: Variable of the environment by which jobs know their scheduler.
_SCHEDULER = "VOLLTRACK_SCHEDULER"
#: Seconds between two looks at the process watched.
_LOOK = 0.3
#: Linux: the signal that a process is sent when its parent ends.
_PR_SET_PDEATHSIG = 1


class Ended(KeyboardInterrupt):
    """The run was asked to end, by Ctrl-C, by a signal, or by a terminal that closed.

    Attributes
    ----------
    status : int
        The exit status that says so.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """Turn the signals that ask a process to end, or say that its terminal has closed, into `Ended`."""

    def end(number: int, _: FrameType | None) -> None:
        raise Ended(number)

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    # What is ignored stays so: nohup means it.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_where_nobody_reads() -> None:
    """Raise `BrokenPipeError` where standard output leads nowhere any more, as after ``| head -1``."""
    if not hasattr(select, "poll"):
        return
    output = select.poll()
    output.register(1, 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0)):
        raise BrokenPipeError("nobody reads standard output any more")


def this_process() -> dict[str, Any]:
    """Return what tells this process from every other: its number, when it began, and its machine."""
    return {"pid": os.getpid(), "created": psutil.Process().create_time(), "host": socket.gethostname()}


def lives(who: dict[str, Any]) -> bool:
    """Whether a process of this machine, told by `this_process`, still lives."""
    try:
        process = psutil.Process(who["pid"])
        return abs(process.create_time() - who["created"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def name_scheduler() -> None:
    """Tell all jobs that this process will start that it is their scheduler."""
    os.environ[_SCHEDULER] = json.dumps(this_process())


def end_with_scheduler() -> None:
    """End this job with its scheduler, where that is a process of this machine."""
    who = json.loads(os.environ.get(_SCHEDULER, "null"))
    if who and who["host"] == socket.gethostname():
        _watch(who)


def die_with_parent(pid: int) -> None:
    """Have the system kill this process as soon as the process that started it has ended, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != pid:
        os._exit(137)


def end_with_parent(pid: int) -> None:
    """End this process and its children as soon as the process that started it has ended.

    The system is asked to do it too: a thread that watches waits while compiled code holds Python.
    """
    die_with_parent(pid)
    _watch({"pid": pid, "created": psutil.Process(pid).create_time()})


def end_children(pid: int | None = None) -> None:
    """End all processes that a process has started, and theirs."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=10)


def _watch(who: dict[str, Any]) -> None:
    def watch() -> None:
        while lives(who):
            time.sleep(_LOOK)
        end_children()
        os._exit(137)

    threading.Thread(target=watch, daemon=True).start()

"""One run at a time works in a run folder, and nothing of a killed one works on beside the next."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from helpers.errors import InputError
from helpers.runs.endings import lives, this_process
from helpers.runs.run import write_json

#: What tells a process from every other.
_WHO = {"pid": int, "created": (int, float), "host": str}
#: Seconds between two signs of life, and without one for how long who works on another machine counts as dead.
_SIGN_OF_LIFE = 5.0
_SILENCE = 60.0
#: Seconds that the processes of a killed run are given to end.
_PATIENCE = 20.0


@contextlib.contextmanager
def alone_in(run_dir: Path) -> Iterator[Path]:
    """Work alone in a run folder, as long as the block lasts.

    The lock is the operating system's: whoever is killed holds it no longer.

    Yields
    ------
    Path
        ``<run_dir>/.batch``, where the run keeps its own files.

    Raises
    ------
    InputError
        If another run works there; with its process and machine.
    """
    batch = run_dir / ".batch"
    try:
        batch.mkdir(parents=True, exist_ok=True)
        lock = FileLock(batch / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise _in_use(run_dir, read(batch / "runner.json")) from None
    except OSError as error:
        raise InputError(
            "run_dir", str(run_dir), f"this folder cannot be written ({error.strerror}); choose another one"
        ) from None
    try:
        _wait_for_a_killed_run(run_dir, batch)
        with at_work(batch / "runner.json"):
            yield batch
    finally:
        lock.release()


@contextlib.contextmanager
def at_work(path: Path, **what: Any) -> Iterator[None]:
    """Say in a file which process works on what, with a sign of life every few seconds; remove it at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {**this_process(), "started": time.time(), **what})
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(_SIGN_OF_LIFE):
            with contextlib.suppress(OSError):
                path.touch()

    threading.Thread(target=live, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        path.unlink(missing_ok=True)


def is_at_work(path: Path) -> bool:
    """Whether the process that a file of `at_work` names still lives."""
    who = read(path)
    if who is None or not all(isinstance(who.get(name), kind) for name, kind in _WHO.items()):
        return False
    if who["host"] != socket.gethostname():
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime < _SILENCE
        return False
    return lives(who)


def read(path: Path) -> dict[str, Any] | None:
    """Read a JSON file that holds a mapping; None where it is gone, or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _wait_for_a_killed_run(run_dir: Path, batch: Path) -> None:
    left = [batch / "runner.json", batch / "scheduler.json", *(batch / "running").glob("*.json")]
    until = time.monotonic() + _PATIENCE
    while working := [path for path in left if is_at_work(path)]:
        if time.monotonic() > until:
            raise _in_use(run_dir, read(working[0]))
        time.sleep(0.2)


def _in_use(run_dir: Path, who: dict[str, Any] | None) -> InputError:
    by = f"process {who['pid']} on {who['host']}" if who and _WHO.keys() <= who.keys() else "another process"
    return InputError(
        "run_dir",
        str(run_dir),
        f"{by} is at work in this folder: wait for its end ('status' shows how far it is), stop it, "
        "or choose another folder with --run-dir",
    )

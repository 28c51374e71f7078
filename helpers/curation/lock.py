"""One person edits a movie at a time; a second is told who."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from helpers.data.atomic import writing_to
from helpers.errors import InputError


def whoami() -> str:
    """Return the name of who is logged in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


def lock_for(folder: Path, author: str) -> BaseFileLock:
    """Lock a movie's folder for editing; whoever is killed holds it no longer.

    Raises
    ------
    InputError
        Someone edits it (with name, process, machine and since when), or the folder cannot be written.
    """
    who = folder / ".edits.editor.json"
    with writing_to(folder / "edits.jsonl"):
        lock = FileLock(folder / ".edits.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(
                str(folder),
                _described(who),
                "one person edits a movie at a time: wait, or ask them to close it",
            ) from None
        me = {"author": author, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        who.write_text(json.dumps(me))
    return lock


def unlock(lock: BaseFileLock, folder: Path) -> None:
    """Let others edit."""
    (folder / ".edits.editor.json").unlink(missing_ok=True)
    lock.release()


def _described(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError):
        who = json.loads(path.read_text())
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(who["since"]))
        return f"{who['author']} edits it since {since} (process {who['pid']} on {who['host']})"
    return "someone edits it"

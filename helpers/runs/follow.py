"""What a run says while it runs: what starts, what ends and how, and how far each job is."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from helpers.runs.lock import read
from helpers.runs.run import read_done

#: Seconds between two lines of progress where the output is not a terminal.
_QUIET_INTERVAL = 20.0


class Follower:
    """Looks at the marks of a running batch, and says what is new.

    Parameters
    ----------
    batch : Path
        ``<run_dir>/.batch``.
    labels : mapping
        Key of each job → what to call it.
    folders : mapping
        Key of each job → folder of its executed notebook.
    say : callable
        Takes each line of text for the user.

    Attributes
    ----------
    ended, failed : set of str
        Keys of the jobs that did and that failed, so far.
    """

    def __init__(
        self, batch: Path, labels: Mapping[str, str], folders: Mapping[str, Path], say: Callable[[str], None]
    ) -> None:
        self._batch, self._labels, self._folders, self._say = batch, labels, folders, say
        self._started: set[str] = set()
        self.ended: set[str] = set()
        self.failed: set[str] = set()
        self._line = ""
        self._told: dict[str, tuple[float, str]] = {}

    def look(self) -> None:
        """Say what has happened since the last look."""
        running = _keys(self._batch / "running")
        for key in [key for key in self._labels if key in running - self._started]:
            self._start(key, read(self._batch / "running" / f"{key}.json"))
        for mark in (self._batch / "ended").glob("*/*.json"):
            if mark.stem not in self.ended and (how := read(mark)):
                self._end(mark.stem, how)
        for key in _keys(self._batch / "failed") & set(self._labels) - self.failed:
            if how := read(self._batch / "failed" / f"{key}.json"):
                self._start(key, how)
                self.failed.add(key)
                notebook = self._folders[key] / "notebook.ipynb"
                self._tell(
                    f"{self._labels[key]}: FAILED\n    {how['message']}\n    The executed notebook: {notebook}"
                )
        self._progress([key for key in running if key not in self.ended | self.failed])

    def _start(self, key: str, how: dict | None) -> None:
        if key not in self._started and how:
            self._started.add(key)
            self._tell(f"{self._labels[key]}: {how['why']}")

    def _end(self, key: str, how: dict) -> None:
        self.ended.add(key)
        if how.get("skipped"):
            self._tell(f"{self._labels[key]}: done already, skipped")
            return
        self._start(key, how)
        self._tell(f"{self._labels[key]}: done in {duration(how['seconds'])}")
        for path in how.get("kept", ()):
            self._tell(f"{self._labels[key]}: what had been changed is kept as {path}")
        for warning in ((read_done(self._folders[key]) or {}).get("results") or {}).get("warnings", ()):
            self._tell(f"    {warning}")

    def _progress(self, running: list[str]) -> None:
        texts = {key: progress_text(self._batch / "running" / f"{key}.progress") for key in sorted(running)}
        texts = {key: text for key, text in texts.items() if text}
        if sys.stdout.isatty():
            self._show(" | ".join(f"{self._labels[key]}: {text}" for key, text in texts.items()))
            return
        for key, text in texts.items():
            last, before = self._told.setdefault(key, (time.monotonic(), ""))
            if text != before and time.monotonic() - last >= _QUIET_INTERVAL:
                self._say(f"{self._labels[key]}: {text}")
                self._told[key] = (time.monotonic(), text)

    def _show(self, text: str) -> None:
        """Put the line of progress in place of the last one."""
        if text != self._line:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{text[:width]:<{width}}\r", end="", flush=True)
            self._line = text

    def _tell(self, line: str) -> None:
        if self._line:
            self._show("")
        self._say(line)


def _keys(folder: Path) -> set[str]:
    try:
        return {
            name.removesuffix(".json")
            for name in os.listdir(folder)
            if name.endswith(".json") and name[0] != "."
        }
    except FileNotFoundError:
        return set()


def progress_text(state: Path) -> str:
    """Return how far a job is, in words: ``"Segment: frame 3 of 10, about 2 min 05 s left"``."""
    now = read(state)
    if now is None or not {"desc", "unit", "n", "elapsed_s"} <= now.keys():
        return ""
    text = f"{now['desc']}: {now['unit']} {now['n']:g}"
    if now.get("total"):
        text += f" of {now['total']:g}"
        if now["n"]:
            left = now["elapsed_s"] / now["n"] * (now["total"] - now["n"])
            text += f", about {duration(left)} left"
    return text


def duration(seconds: float) -> str:
    """Return seconds in words."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"

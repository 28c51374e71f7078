"""The log of edits: an append-only file of JSON lines.

::

    {"log": "volltrack edits", "movie": {…}, "automatic": {…}}         of which movie, and of which result of it
    {"edit": "3f…", "operation": "merge", "arguments": {…}, "author": …, "time": …, "changes": {…}}
    {"edit": "a0…", "operation": "undo", "of": "3f…", "author": …, "time": …}
    {"edit": "77…", "operation": "redo", "of": "3f…", "author": …, "time": …}

``changes`` is all that is needed to do the edit again and to undo it. A line is on the disk before `append` returns, so
before anyone sees its effect; whoever is killed while writing leaves half a line, which was never seen and is cut off.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from helpers.curation.changes import Changes
from helpers.data.atomic import atomic_path, writing_to
from helpers.errors import InputError

_KIND = "volltrack edits"
UNDO, REDO = "undo", "redo"


@dataclass(frozen=True)
class Edit:
    """One line of the log.

    Attributes
    ----------
    operation : str
        A name of `helpers.curation.operations.OPERATIONS`, or ``"undo"``, ``"redo"``.
    arguments : dict
        As JSON holds them (`helpers.curation.arguments`).
    author : str
    changes : Changes
    of : str or None
        The id of the edit that is undone or redone.
    origin : str or None
        The id of the edit that this one repeats, after another segmentation or out of another log.
    id : str
    time : str
        UTC, ISO 8601.
    """

    operation: str
    arguments: dict[str, Any]
    author: str
    changes: Changes = field(default_factory=Changes)
    of: str | None = None
    origin: str | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))

    @property
    def first_id(self) -> str:
        """The id it had when it was made, through all repetitions."""
        return self.origin or self.id

    def line(self) -> str:
        """Return it as a line, without the line's end."""
        content: dict[str, Any] = {"edit": self.id, "operation": self.operation}
        optional = {"of": self.of, "origin": self.origin, "arguments": self.arguments}
        content |= {name: value for name, value in optional.items() if value}
        content |= {"author": self.author, "time": self.time}
        if self.changes:
            content["changes"] = self.changes.plain()
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def of_line(cls, content: dict[str, Any]) -> Edit:
        """Read what `line` wrote."""
        return cls(
            content["operation"],
            content.get("arguments", {}),
            content["author"],
            Changes.of(content.get("changes", {})),
            content.get("of"),
            content.get("origin"),
            content["edit"],
            content["time"],
        )


@dataclass(frozen=True)
class LogContent:
    """What a log holds.

    Attributes
    ----------
    header : dict
        ``movie`` (name, shape, voxel_size_um), ``automatic`` (fingerprints), ``highest_label``, and, after another
        segmentation or a merge, ``not_replayed``.
    edits : list of Edit
        All lines, in their order.
    size : int
        Bytes up to the end of the last whole line.
    """

    header: dict[str, Any]
    edits: list[Edit]
    size: int


def read_log(path: Path) -> LogContent:
    """Read a log; half a line at its end is passed over.

    Raises
    ------
    InputError
        No log, or a damaged line before the last, which is named.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(str(path), error.strerror, "a log of edits that can be read") from None
    lines = content.split(b"\n")
    whole, size = [], 0
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line's end is half a line
        whole.append(_parsed(path, number, line))
        size += len(line) + 1
    if not whole or whole[0].get("log") != _KIND:
        raise InputError(str(path), content[:60].decode(errors="replace"), "a log of edits of Volltrack")
    try:
        edits = [Edit.of_line(line) for line in whole[1:]]
    except (KeyError, TypeError) as error:
        raise InputError(str(path), f"{error!r}", "lines as Curation writes them") from error
    return LogContent(whole[0], edits, size)


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise InputError(
            f"{path}, line {number}",
            line[:60].decode(errors="replace"),
            f"a line of JSON ({error}); the log was changed or damaged: restore it from a copy",
        ) from None
    return content


def header(
    movie: dict[str, Any], automatic: dict[str, Any], highest_label: int, **more: Any
) -> dict[str, Any]:
    """Return the first line of a log."""
    return {
        "log": _KIND,
        "version": 1,
        "movie": movie,
        "automatic": automatic,
        "highest_label": highest_label,
        **more,
    }


def write_log(path: Path, first: dict[str, Any], edits: Iterable[Edit] = ()) -> int:
    """Write a new log, wholly or not at all, in place of what is there; return its size."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        stream.write(json.dumps(first, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        for edit in edits:
            stream.write(edit.line().encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    return path.stat().st_size


def append(path: Path, edit: Edit, size: int) -> int:
    """Write an edit behind the first `size` bytes of a log, safely on the disk; return the new size.

    Raises
    ------
    InputError
        The disk is full, the folder read-only or the like; the log stays as it was.
    """
    line = edit.line().encode() + b"\n"
    with writing_to(path), path.open("r+b", buffering=0) as stream:
        stream.truncate(size)  # half a line of someone killed, or of a full disk
        stream.seek(size)
        written = 0
        try:
            while written < len(line):
                written += stream.write(line[written:])
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise
    return size + len(line)


def active(edits: Iterable[Edit]) -> tuple[list[Edit], list[Edit]]:
    """Return the edits in force, in their order, and those that a redo would bring back, the next one last.

    Raises
    ------
    InputError
        An undo or redo of an edit that is not the one whose turn it is.
    """
    done: list[Edit] = []
    undone: list[Edit] = []
    for edit in edits:
        if edit.operation in (UNDO, REDO):
            source, goal = (done, undone) if edit.operation == UNDO else (undone, done)
            if not source or source[-1].id != edit.of:
                raise InputError("log", edit.line()[:80], "an undo or redo of the edit whose turn it is")
            goal.append(source.pop())
        else:
            done.append(edit)
            undone.clear()
    return done, undone

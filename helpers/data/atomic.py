"""Files that are wholly there or not at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from helpers.errors import InputError


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, replace: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there becomes `path` at the end.

    Works for a file and for a folder. An existing `path` is replaced; a failure leaves it as it was.

    Parameters
    ----------
    path : path-like
        The final name. Missing parent folders are made.
    replace : bool
        Whether what is there at the end is replaced; if not, it stays and the new one is dropped: another
        process was first. (False is for folders.)

    Yields
    ------
    Path
        A name that does not exist yet, in the same folder and with the same suffixes.

    Raises
    ------
    InputError
        The folder is read-only, the disk is full, or the like.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.part.{path.name}")
    try:
        with writing_to(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if not replace:
                try:
                    os.rename(temporary, path)  # fails where a folder with something in it is there
                except OSError:
                    if not path.exists():
                        raise
            elif temporary.is_dir() and path.is_dir():
                replace_folder(path, temporary)
            else:
                os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink()


def replace_folder(path: Path, new: Path) -> None:
    """Put a folder in the place of another, which cannot be renamed onto a full one: the old one steps aside first.

    A process that is killed in between leaves it there, and `restore_folder` puts it back.
    """
    before = _before(path)
    shutil.rmtree(before, ignore_errors=True)
    if path.exists():
        os.rename(path, before)
    os.rename(new, path)
    shutil.rmtree(before, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Put back a folder that `replace_folder` was killed over, and remove what else it left."""
    before = _before(path)
    if before.exists() and not path.exists():
        os.rename(before, path)
    shutil.rmtree(before, ignore_errors=True)


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of this name is one that a killed process left unfinished."""
    return name.endswith(".part") or (name.startswith(".") and ".part." in name)


def write_json(path: Path, content: Any, *, indent: int | None = None) -> None:
    """Write JSON so that a reader finds either the old file or the whole new one; indented it ends with a line break."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + ("\n" if indent else ""), encoding="utf-8")


@contextmanager
def writing_to(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the operating system's refusal to write into an `InputError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(
            str(path),
            error.strerror or str(error),
            "cannot be written; choose an output folder that is writable and has free space. "
            "What was finished before is kept",
        ) from error

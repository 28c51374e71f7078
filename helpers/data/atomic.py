"""Files that are wholly there or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
                # A folder cannot be renamed onto a full one: the old one steps aside first.
                aside = temporary.with_name(temporary.name + ".old")
                os.rename(path, aside)
                os.rename(temporary, path)
                shutil.rmtree(aside, ignore_errors=True)
            else:
                os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            with suppress(OSError):
                temporary.unlink()


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

"""The error a user is meant to read, alone or with others of its kind."""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: Parameters that readers ask for where a file does not say them: they stand beside the file, not in it.
_SCALE = ("voxel_size", "frame_interval")


class InputError(ValueError):
    """Something the user gave cannot be used, and only the user can change it.

    Parameters
    ----------
    name : str
        The parameter or file to change, as the user knows it.
    value : object
        What was found there.
    expected : str
        What would be right, as an instruction.
    """

    def __init__(self, name: str, value: object, expected: str) -> None:
        self.name = name
        self.value = value
        self.expected = expected
        shown = repr(value)
        if len(shown) > 200:
            shown = shown[:200] + "…"
        said = (
            expected if len(expected) < 4000 else expected[:4000] + "…"
        )  # a library may quote the whole file
        super().__init__(f"{name} = {shown}: {said}")

    def __reduce__(self):
        return type(self), (self.name, self.value, self.expected)


class InputErrors(InputError):
    """Several things that only the user can change, told together, a line each.

    Parameters
    ----------
    errors : list of InputError
        At least one.
    """

    def __init__(self, errors: list[InputError]) -> None:
        first = errors[0]
        super().__init__(first.name, first.value, first.expected)
        self.errors = list(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))

    def __reduce__(self):
        return type(self), (self.errors,)


class Mistakes:
    """Collects what is wrong, so that the user reads all of it at once.

    Attributes
    ----------
    found : list of InputError
        Each once, in the order they were found.
    """

    def __init__(self) -> None:
        self.found: list[InputError] = []

    def add(self, name: str, value: object, expected: str) -> None:
        """Note one mistake; the parameters are those of `InputError`."""
        self.include(InputError(name, value, expected))

    def include(self, error: InputError) -> None:
        """Note an error, or each of several."""
        known = set(map(str, self.found))
        self.found += [e for e in getattr(error, "errors", [error]) if str(e) not in known]

    def raise_all(self) -> None:
        """Raise what was found, if anything.

        Raises
        ------
        InputErrors
            With all of it.
        """
        if self.found:
            raise InputErrors(self.found)


@contextmanager
def reading(path: object, what: str, remedy: str = "get or export it again") -> Iterator[None]:
    """Turn whatever a damaged file makes of its reader into an `InputError` that names it; one that names none does then.

    Parameters
    ----------
    path : path-like
        The file.
    what : str
        What it should be, such as ``"a TrackMate XML file"``.
    remedy : str
        What to do about it.
    """
    try:
        yield
    except InputError as error:
        if Path(str(path)).name in str(error) or error.name.startswith(_SCALE):
            raise
        raise InputError(f"{path}, {error.name}", error.value, error.expected) from error
    except MemoryError:
        raise
    except Exception as error:  # a decoder of damaged bytes may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            str(path), reason, f"cannot be read as {what}: it is damaged or of another kind; {remedy}"
        ) from error


def reads(what: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that reads the file or folder that is its first argument; see `reading`."""

    def decorate(read: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(read)
        def reader(*args: P.args, **kwargs: P.kwargs) -> R:
            with reading(args[0] if args else kwargs.get("path"), what):
                return read(*args, **kwargs)

        return reader

    return decorate


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file that holds a mapping.

    Raises
    ------
    InputError
        Naming the file and, as an instruction, the remedy.
    """
    with reading(path, "JSON", remedy):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a mapping, not {type(content).__name__}")
        return content


def nearest(name: object, valid: Iterable[str]) -> str:
    """Answer a wrong name with the nearest right one, or with all of them."""
    known = list(valid)
    near = difflib.get_close_matches(str(name)[:100], known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"

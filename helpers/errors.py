"""The error a user is meant to read, alone or with others of its kind."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
        super().__init__(f"{name} = {shown}: {expected}")

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

    def tell(self) -> None:
        """Raise what was found, if anything.

        Raises
        ------
        InputErrors
            With all of it.
        """
        if self.found:
            raise InputErrors(self.found)


def nearest(name: object, valid: Iterable[str]) -> str:
    """Answer a wrong name with the nearest right one, or with all of them."""
    known = list(valid)
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"

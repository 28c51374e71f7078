"""The one error a user is meant to read."""

from __future__ import annotations


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

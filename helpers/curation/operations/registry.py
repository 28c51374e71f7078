"""The list of operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Name of an operation → the function that does it on a draft.
OPERATIONS: dict[str, Callable[..., Any]] = {}


def operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Enter a function into the list, under its name."""
    OPERATIONS[function.__name__] = function
    return function

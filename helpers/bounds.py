"""Bounds of numbers, each declared once, for notebooks' parameters and for the settings behind them.

::

    n_epochs: Count = Field(100)            # a notebook's: pydantic checks it
    epochs: Count = 100                     # a dataclass's: `check_bounds` does
    network_depth: Count = Field(3, le=6)   # where a notebook allows less, it says so beside

A text beside the bounds says what a number at the bound means, and is shown with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from numbers import Real
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from helpers.errors import InputError

Count = Annotated[int, Ge(1)]
Index = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
#: A fraction that is neither nothing nor all.
Part = Annotated[float, Gt(0), Lt(1)]

#: Fewer shuffles give no p-value below 0.05.
Shuffles = Annotated[int, Ge(19)]
Periods = Annotated[float, Ge(1)]
CellPixels = Annotated[float, Ge(5), "pixels; Cellpose's own is 30"]
CellDiameter = Annotated[float, Ge(0), "µm; 0 estimates it"]
CellprobThreshold = Annotated[float, Ge(-6), Le(6)]
FlowThreshold = Annotated[float, Ge(0), "0: no check"]
LeastIou = Annotated[float, Gt(0), Le(1)]

_WORDS = (("ge", "≥ {}"), ("gt", "above {}"), ("le", "≤ {}"), ("lt", "below {}"))


class Odd:
    """Marks whole numbers that are odd."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def checked(self, value: int) -> int:
        """Return an odd number; raise ValueError otherwise."""
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value


def complaint(hint: Any, value: Any) -> str | None:
    """Return what a number of this type, or True or False, would have to be; None where `value` is right."""
    if hint is bool:
        return None if isinstance(value, (bool, np.bool_)) else "True or False"
    options = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if value is None and len(options) > 1:
        return None
    bounded = next((option for option in options if get_origin(option) is Annotated), None)
    if bounded is None:
        return None
    kind, *conditions = get_args(bounded)
    if _is_number(value, kind) and all(_holds(condition, value) for condition in conditions):
        return None
    odd = "odd " if any(isinstance(c, Odd) for c in conditions) else ""
    words = " and ".join(
        text.format(getattr(c, key)) for c in conditions for key, text in _WORDS if hasattr(c, key)
    )
    notes = "".join(f" ({c})" for c in conditions if isinstance(c, str))
    number = f"an {odd}whole number" if odd else "a whole number" if kind is int else "a number"
    return f"{number} {words}{notes}" + (", or None" if len(options) > 1 else "")


def check_bounds(settings: Any) -> None:
    """Check the fields of a dataclass against the bounds in their types; of mappings, each value.

    Raises
    ------
    InputError
        Naming the field, its value and what would be right.
    """
    for name, hint in _types(type(settings)).items():
        value = getattr(settings, name)
        numbers = {name: value}
        if get_origin(hint) is Mapping:
            if not isinstance(value, Mapping):
                raise InputError(name, value, "a mapping of names to values")
            numbers = {f"{name}[{key!r}]": number for key, number in value.items()}
            hint = get_args(hint)[1]
        for where, number in numbers.items():
            if expected := complaint(hint, number):
                raise InputError(where, number, expected)


@cache
def _types(kind: type) -> dict[str, Any]:
    """Return the types of a class's fields: read once, for segmenters are copied for each threshold that is tried."""
    return get_type_hints(kind, include_extras=True)


def _is_number(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return kind is not int or value % 1 == 0


def _holds(condition: Any, value: Any) -> bool:
    match condition:
        case Ge(low):
            return bool(value >= low)
        case Gt(low):
            return bool(value > low)
        case Le(high):
            return bool(value <= high)
        case Lt(high):
            return bool(value < high)
        case Odd():
            return value % 2 == 1
    return True

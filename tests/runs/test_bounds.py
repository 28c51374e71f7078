"""Bounds that are declared once: pydantic and `check_bounds` draw the same line, and errors say where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pytest
from annotated_types import Le, Lt
from pydantic import TypeAdapter, ValidationError

from helpers import bounds
from helpers.bounds import Count, Fraction, NotNegative, Odd, Part, Positive, check_bounds, complaint
from helpers.errors import InputError

ALIASES = {name: kind for name, kind in vars(bounds).items() if hasattr(kind, "__metadata__")}
NUMBERS = (-7, -6, -1, 0, 1, 2, 3, 5, 6, 18, 19, 100, -6.5, 0.001, 0.5, 0.999, 4.99, float("inf"))


@pytest.mark.parametrize("kind", [*ALIASES.values(), Annotated[Count, Odd(), Le(6)]], ids=str)
def test_pydantic_and_settings_draw_the_same_line(kind: Any) -> None:
    adapter = TypeAdapter(kind)
    whole = kind.__origin__ is int
    for number in (n for n in NUMBERS if not whole or isinstance(n, int)):
        try:
            adapter.validate_python(number)
            allowed = True
        except ValidationError:
            allowed = False
        assert (complaint(kind, number) is None) == allowed, number


@dataclass(frozen=True)
class Settings:
    """Settings with one field of each kind."""

    name: str = "x"
    epochs: Count = 1
    kernel: Annotated[Count, Odd()] = 3
    patience: Count | None = None
    rate: Annotated[Positive, Lt(1), "such as 3e-4"] = 0.1
    least: Fraction = 0.0
    level: Part = 0.5
    drawn: bool = True
    weights: Mapping[str, NotNegative] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_bounds(self)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs = 0: a whole number ≥ 1"),
        ({"epochs": None}, "epochs = None: a whole number ≥ 1"),
        ({"epochs": 2.5}, "epochs = 2.5: a whole number ≥ 1"),
        ({"epochs": True}, "epochs = True: a whole number ≥ 1"),
        ({"rate": "fast"}, "rate = 'fast': a number above 0 and below 1 (such as 3e-4)"),
        ({"drawn": 1}, "drawn = 1: True or False"),
        ({"weights": {"size": 1.0, "volume": -1.0}}, "weights['volume'] = -1.0: a number ≥ 0"),
        ({"weights": 2.0}, "weights = 2.0: a mapping of names to values"),
        ({"weights": {"size": None}}, "weights['size'] = None: a number ≥ 0"),
        ({"kernel": 4}, "kernel = 4: an odd whole number ≥ 1"),
        ({"patience": 0}, "patience = 0: a whole number ≥ 1, or None"),
        ({"rate": 1}, "rate = 1: a number above 0 and below 1 (such as 3e-4)"),
        ({"least": float("nan")}, "least = nan: a number ≥ 0 and ≤ 1"),
        ({"level": 1.0}, "level = 1.0: a number above 0 and below 1"),
    ],
)
def test_an_error_names_field_value_and_bounds(given: dict[str, Any], message: str) -> None:
    right: dict[str, Any] = {"epochs": 2.0, "drawn": np.True_, "weights": {"size": np.float32(0)}}
    Settings(name="", patience=3, least=1.0, kernel=1, **right)
    with pytest.raises(InputError) as error:
        Settings(**given)
    assert str(error.value) == message

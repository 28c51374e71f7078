"""Small experiments of tests draw PNG alone: a third of a job's time is the writing of PDF, which other tests look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def png_alone(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return an experiment's steps with figures as PNG, unless a step says otherwise."""
    return {step: {"figure_formats": ["png"], **given} for step, given in steps.items()}

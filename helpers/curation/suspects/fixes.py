"""What usually corrects a suspect of each kind: one edit, which can be undone."""

from __future__ import annotations

from typing import Any

from helpers.curation.cells import Cell
from helpers.curation.state import State
from helpers.errors import InputError

_WRONG_CELL = {"very small", "short track", "untracked"}
_WRONG_LINK = {"speed", "size jump", "intensity jump", "shape jump", "close second", "tracks merge"}


def usual_fix(state: State, suspect: Any) -> tuple[str, dict[str, Any]]:
    """Return the operation, and its arguments, that usually corrects a suspect.

    A cell that vanishes is linked with the one that appears near by; a gap is filled; a division goes on as the daughter that
    lives longer; a tiny, short-lived or untracked cell is removed; a link that jumps is taken away.

    Parameters
    ----------
    state : State
    suspect : row of the table of `helpers.curation.suspects.find_suspects`

    Raises
    ------
    InputError
        There is no usual correction for this kind, or an edit took away what it is about.
    """
    kind, cell = suspect["kind"], Cell(int(suspect["frame"]), int(suspect["label"]))
    other = state.cell(int(suspect["other"])) if int(suspect["other"]) in state.graph.cell_of else None
    if kind in _WRONG_CELL:
        return "remove", {"cell": cell}
    if kind == "division":
        return "remove_division", {"mother": cell, "keep": _longer_lived(state, cell)}
    if other is not None and kind == "vanishes":
        return "link", {"cells": [cell, other]}
    if other is not None and kind == "gap":
        return "interpolate", {"first": other, "last": cell}
    if other is not None and kind in _WRONG_LINK:
        return "unlink", {"first": other, "last": cell}
    raise InputError("suspect", kind, "a kind that has a usual correction; choose one yourself")


def _longer_lived(state: State, mother: Cell) -> Cell | None:
    daughters = state.graph.targets.get(state.graph.id_at.get(mother.key, -1), set())
    if not daughters:
        return None
    return state.cell(max(sorted(daughters), key=lambda i: len(state.graph.from_here_on(i))))

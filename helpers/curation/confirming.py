"""What `helpers.curation.operations.confirm` is given: the cells and links of a track, a division, a frame.

Each function returns the arguments of an edit: ``curation.do("confirm", **track(state, cell))``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.curation.cells import Cell
from helpers.curation.state import State
from helpers.errors import InputError


def cell(_: State, cell: Cell) -> dict[str, Any]:
    """The outline of a cell."""
    return {"cells": [cell]}


def link(_: State, source: Cell, target: Cell) -> dict[str, Any]:
    """A link, not its cells' outlines."""
    return {"cells": [source, target], "links": [[0, 1]], "outlines": False}


def track(state: State, cell: Cell) -> dict[str, Any]:
    """All cells and links of the track that a cell is in."""
    ids = state.graph.track_of(_id(state, cell))
    place = {i: k for k, i in enumerate(ids)}
    links = [[place[i], place[j]] for i in ids for j in sorted(state.graph.targets.get(i, ()))]
    return {"cells": [state.cell(i) for i in ids], "links": links}


def division(state: State, mother: Cell) -> dict[str, Any]:
    """A division and its links, not the cells' outlines."""
    targets = sorted(state.graph.targets.get(_id(state, mother), ()))
    links = [[0, k] for k in range(1, len(targets) + 1)]
    cells = [mother, *map(state.cell, targets)]
    return {"cells": cells, "links": links, "outlines": False, "division": True}


def frame(state: State, t: int) -> dict[str, Any]:
    """A frame: all its cells are outlined, and outlined right."""
    if not 0 <= t < state.shape[0]:
        raise InputError("frame", t, f"0 to {state.shape[0] - 1}")
    labels = np.unique(state.labels.frame(t))
    return {"cells": [Cell(t, int(label)) for label in labels if label > 0], "frame": t}


def _id(state: State, cell: Cell) -> int:
    found = state.graph.id_at.get(cell.key)
    if found is None:
        raise InputError(str(cell), "in no track", "a cell that is tracked")
    return found

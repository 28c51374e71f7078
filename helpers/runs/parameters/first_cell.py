"""Which variables of a notebook are parameters: those that its first cell sets, and papermill's, and no others.

A cell further down may call something ``labels`` or ``raw`` too; and a line that was taken out of the first cell leaves
its variable behind. IPython keeps the source of every cell it ran (``In``), so what the first cell says *now* is known.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from typing import Any

from helpers.errors import InputError, nearest

#: How papermill begins the cell in which it sets parameters.
_PAPERMILL = "# Parameters\n"
_SETUP = ".from_notebook("


def names_set(namespace: Mapping[str, Any], known: Collection[str], step: str) -> set[str]:
    """Return the parameters that the first cell sets, or papermill.

    Parameters
    ----------
    namespace : mapping
        The notebook's ``globals()``.
    known : collection of str
        The parameters there are.
    step : str
        Name of the notebook, for the error.

    Returns
    -------
    set of str
        Outside IPython, which alone remembers its cells: all that are there.

    Raises
    ------
    InputError
        If the first cell, or papermill, sets what is no parameter; a variable that the cell itself reads is none.
    """
    cells = _until_setup([cell for cell in namespace.get("In", []) if isinstance(cell, str)])
    if not cells:
        return known & namespace.keys()
    for cell in (cells[0], *(cell for cell in cells if cell.startswith(_PAPERMILL))):
        for name in sorted(_assigned(cell) - _read(cell) - set(known)):
            if not name.startswith("_"):
                raise InputError(
                    name, namespace.get(name), f"{step} has no such parameter; {nearest(name, known)}"
                )
    return set(known) & set().union(*map(_assigned, cells)) & namespace.keys()


def _until_setup(cells: list[str]) -> list[str]:
    """Return the first cell as it last ran, and those after it up to the setup; none where it did not run here."""
    first = [
        place for place, cell in enumerate(cells) if "run_dir" in _assigned(cell) and not _injected(cell)
    ]
    if not first:
        return []
    after = cells[first[-1] :]
    end = next((place for place, cell in enumerate(after) if _SETUP in cell), len(after))
    return after[:end]


def _injected(cell: str) -> bool:
    return cell.startswith(_PAPERMILL)


def _assigned(cell: str) -> set[str]:
    """Return the variables that a cell sets."""
    return {node.id for node in _names(cell) if isinstance(node.ctx, ast.Store)}


def _read(cell: str) -> set[str]:
    return {node.id for node in _names(cell) if isinstance(node.ctx, ast.Load)}


def _names(cell: str) -> list[ast.Name]:
    try:
        return [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Name)]
    except SyntaxError:  # a cell that did not run
        return []

"""The parameters cell of a notebook, written from its class: ``python -m helpers.runs.parameters.cells`` refreshes all.

One line a parameter, as papermill reads it (name, type, default) and Colab shows it as a form; the meaning of each
stands in the table above the cell.
"""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

from helpers.runs.parameters import STEPS
from helpers.runs.parameters.base import Parameters

#: The first words of the markdown cell that holds the table.
TABLE_TITLE = "## Parameters"


def parameters_cell(cls: type[Parameters]) -> str:
    """Return the source of the notebook's first code cell.

    Parameters
    ----------
    cls : type
        The notebook's parameter class.
    """
    lines = []
    for name, field in cls.model_fields.items():
        value, kind, form = _line(field.annotation, field.default)
        lines.append(f"{name}: {kind} = {value}  # @param {form}")
    return "\n".join(lines)


def parameters_table(cls: type[Parameters]) -> str:
    """Return the markdown table that says what each parameter means."""
    rows = [f"| `{name}` | {meaning} |" for name, _, meaning in cls.table()]
    lead = "Change what you need in the cell below, then run all cells."
    return "\n".join([TABLE_TITLE, "", lead, "", "| parameter | meaning |", "|---|---|", *rows])


def refresh(notebook: Path, cls: type[Parameters]) -> None:
    """Write the table and the cell of a notebook anew, and the cell's tag."""
    content = json.loads(notebook.read_text())
    cells = content["cells"]
    table = next(c for c in cells if "".join(c["source"]).startswith(TABLE_TITLE))
    table["source"] = parameters_table(cls).splitlines(keepends=True)
    cell = next(c for c in cells if c["cell_type"] == "code")
    cell["source"] = parameters_cell(cls).splitlines(keepends=True)
    cell["metadata"] = {"tags": ["parameters"], "cellView": "form"}
    notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _line(annotation: Any, default: Any) -> tuple[str, str, str]:
    """Return the default, the type and Colab's form of one parameter."""
    options = _options(annotation)
    choices = [
        c
        for option in options
        for c in typing.get_args(option)
        if typing.get_origin(option) is typing.Literal
    ]
    if choices:
        return json.dumps(default), "str", json.dumps(choices)
    optional = type(None) in options
    kinds = [option for option in options if option is not type(None)]
    kind = kinds[0]
    if kind is bool:
        return str(default), "bool", '{type:"boolean"}'
    if kind in (Path, str):
        return json.dumps("" if default is None else str(default)), "str", '{type:"string"}'
    if kind in (int, float):
        name = kind.__name__
        if optional:  # papermill cannot read "float | None"
            return str(default), name, '{type:"raw"}'
        return str(default), name, '{type:"integer"}' if kind is int else '{type:"number"}'
    if typing.get_origin(kind) is dict:
        return str(default), "dict", '{type:"raw"}'
    value = str(list(default)) if isinstance(default, (list, tuple)) else str(default)
    return value, "list", '{type:"raw"}'


def _options(annotation: Any) -> list[Any]:
    """Return the types an annotation allows, without its conditions."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _options(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(annotation) for option in _options(part)]
    return [annotation]


if __name__ == "__main__":
    folder = Path(__file__).resolve().parents[3] / "notebooks"
    for step, parameters in STEPS.items():
        refresh(folder / f"{step}.ipynb", parameters)

"""Edits on another result: after segmentation or tracking ran anew they are repeated where the cell is found again.

::

    edits.jsonl   ──repeat each edit in force──>   edits.jsonl             of the new result
                  ──as it was───────────────────>  edits-<time>.jsonl      kept

A cell is found again where its outline overlaps (`helpers.curation.arguments.find_again`). What a person found correct is
put back as it was: outlines, links, divisions. Every edit that could not be repeated is listed with the reason.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.curation import log as logs
from helpers.curation.arguments import find_again, from_plain, to_plain
from helpers.curation.automatic import Automatic, difference
from helpers.curation.cells import Cell, Stroke
from helpers.curation.draft import NothingToDo
from helpers.curation.log import Edit, LogContent, active
from helpers.curation.session import LOG, changes_of, check_movie
from helpers.curation.state import State
from helpers.curation.voxels import voxels_index
from helpers.data.atomic import writing_to
from helpers.data.tables import write_table
from helpers.errors import InputError

_MISSED = ["edit", "operation", "author", "time", "why"]


@dataclass(frozen=True)
class Replayed:
    """What came of the edits.

    Attributes
    ----------
    repeated : int
        Edits in force now that were made on an earlier result; 0 where the result is still the same.
    missed : DataFrame
        One row per edit that could not be repeated, of this time and of earlier ones: ``edit, operation, author, time,
        why``.
    former : Path or None
        The former log, where the result was another.
    """

    repeated: int
    missed: pd.DataFrame
    former: Path | None


def rebase(folder: str | Path) -> Replayed:
    """Repeat the edits of a movie where its automatic result is another than the one they were made on.

    Parameters
    ----------
    folder : path-like
        ``<run>/movies/<id>``; nobody else edits it.

    Raises
    ------
    InputError
        No log, a log of another movie, or a folder that cannot be written.
    """
    folder = Path(folder)
    automatic = Automatic.open(folder)
    content = logs.read_log(folder / LOG)
    check_movie(folder / LOG, content, automatic)
    missed = list(content.header.get("not_replayed", []))
    if difference(content.header["automatic"], automatic.fingerprint) is None:
        return Replayed(0, pd.DataFrame(missed, columns=_MISSED), None)
    state, new = _repeat(automatic, content, missed)
    former = folder / f"edits-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}.jsonl"
    with writing_to(former):
        shutil.copyfile(folder / LOG, former)
        shutil.rmtree(folder / "curated", ignore_errors=True)  # follows from the log
    highest = state.highest_label
    logs.write_log(
        folder / LOG,
        logs.header(
            automatic.about(), automatic.fingerprint, highest, not_replayed=missed, former=former.name
        ),
        new,
    )
    table = pd.DataFrame(missed, columns=_MISSED)
    write_table(table, folder / "edits_not_replayed.csv")
    return Replayed(len({edit.origin for edit in new}), table, former)


def _repeat(
    automatic: Automatic, content: LogContent, missed: list[dict[str, Any]]
) -> tuple[State, list[Edit]]:
    state = State(automatic, highest_label=automatic.highest_label())
    new: list[Edit] = []
    for edit in active(content.edits)[0]:
        try:
            for operation, arguments in _steps(edit, state):
                changes = changes_of(state, operation, arguments)
                plain = to_plain(arguments, state.labels)
                new.append(Edit(operation, plain, edit.author, changes, origin=edit.first_id, time=edit.time))
                state.do(new[-1])
        except InputError as error:
            if isinstance(error, NothingToDo):
                continue  # the new result has it already
            row = [edit.first_id, edit.operation, edit.author, edit.time, str(error)]
            missed.append(dict(zip(_MISSED, row, strict=True)))
    return state, new


def _steps(edit: Edit, state: State):
    """Yield the operations, with arguments, that repeat an edit; each sees what the one before did."""
    plain = edit.arguments
    if edit.operation == "confirm" and plain.get("correct", True):
        yield from _put_back(plain, state)
    elif edit.operation == "paint" and "cell" not in plain:
        arguments = from_plain(plain, state.labels)
        stroke: Stroke = arguments["stroke"]
        drawn = {"cell": [stroke.frame, 0], "outline": plain["stroke"]["voxels"]}
        # Where the cell that was drawn is found by now, it is drawn on.
        yield "paint", {**arguments, "cell": find_again(drawn, state.labels)}
    else:
        yield edit.operation, from_plain(plain, state.labels)


def _put_back(plain: dict[str, Any], state: State):
    """Outlines, links and divisions as they were found correct, and the note that they are."""
    cells: list[Cell] = []
    for part in plain["cells"]:
        found = find_again(part, state.labels)
        if plain.get("outlines", True):
            stroke = Stroke(part["cell"][0], voxels_index(part["outline"]))
            if found is None:
                label = state.highest_label + 1
                yield "outline", {"stroke": stroke}
                found = Cell(stroke.frame, label)
            elif not np.array_equal(_voxels(state, found), stroke.index):
                yield "outline", {"stroke": stroke, "cell": found}
        elif found is None:
            frame, label = part["cell"]
            raise InputError(f"cell {label} in frame {frame}", "not found again", "a cell that overlaps it")
        cells.append(found)
    if plain.get("division"):
        if _targets(state, cells[0]) != {cell.key for cell in cells[1:]}:
            yield "set_division", {"mother": cells[0], "daughters": cells[1:]}
    else:
        divided = [a for a, _ in plain.get("links", [])]
        for a, b in plain.get("links", []):
            if cells[b].key not in _targets(state, cells[a]):
                several = divided.count(a) > 1
                yield (
                    ("set_parent", {"daughter": cells[b], "parent": cells[a]})
                    if several
                    else ("link", {"cells": [cells[a], cells[b]], "replace": True})
                )
    yield "confirm", {**plain, "cells": cells}


def _voxels(state: State, cell: Cell) -> np.ndarray:
    return np.flatnonzero(state.labels.frame(cell.frame).reshape(-1) == cell.label)


def _targets(state: State, cell: Cell) -> set[tuple[int, int]]:
    i = state.graph.id_at.get(cell.key)
    return {state.graph.cell_of[j] for j in state.graph.targets.get(i, ())} if i is not None else set()

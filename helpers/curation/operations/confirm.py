"""What a person found correct: it is drawn as such, never listed as suspect again, and kept when a step runs anew."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.curation.cells import Cell
from helpers.curation.changes import Mark
from helpers.curation.draft import Draft
from helpers.curation.operations.registry import operation
from helpers.errors import InputError


@operation
def confirm(
    draft: Draft,
    cells: Sequence[Cell],
    links: Sequence[Sequence[int]] = (),
    outlines: bool = True,
    division: bool = False,
    frame: int | None = None,
    correct: bool = True,
) -> None:
    """Note that cells, links, a division or a frame are correct; `correct = False` takes the note back.

    Parameters
    ----------
    draft : Draft
    cells : sequence of Cell
        What is spoken of. `helpers.curation.confirming` lists the cells of a track, a division or a frame.
    links : sequence of (int, int)
        Links between them that are correct: positions in `cells`, the earlier cell first.
    outlines : bool
        Whether the cells themselves are.
    division : bool
        Whether the first cell divides into the others, which are linked to it.
    frame : int, optional
        Whether this frame is complete: the cells are all of its.
    correct : bool

    Raises
    ------
    InputError
        A link that is not there, or a cell that does not divide.
    """
    ids = [draft.id_of(cell) for cell in cells]
    marks: list[Mark] = [("cell", i) for i in ids] if outlines else []
    for a, b in links:
        if ids[b] not in draft.targets(ids[a]):
            raise InputError("links", f"{cells[a]} to {cells[b]}", "a link that is there; link them first")
        marks.append(("link", ids[a], ids[b]))
    if division:
        if len(draft.targets(ids[0])) < 2:
            raise InputError(str(cells[0]), "does not divide", "a cell that divides; set the division first")
        marks.append(("division", ids[0]))
    if frame is not None:
        draft.seen(frame)
        marks.append(("frame", frame))
    for mark in marks:
        (draft.mark if correct else draft.unmark)(mark)

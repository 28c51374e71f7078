"""What a person works with while correcting: chosen cells, chosen points, the list of suspects, and a message.

The panel of the notebook (`helpers.view.curation_panel`) and napari's dock (`helpers.view.napari_curation`) are two faces of
it; what can be done stands in `helpers.view.curation_actions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from helpers.curation import confirming
from helpers.curation.cells import Cell
from helpers.curation.log import Edit
from helpers.curation.session import Curation
from helpers.curation.suspects import find_suspects
from helpers.errors import InputError

Point = tuple[float, ...]


class Desk:
    """Chosen cells and points, and where in the list of suspects one is.

    Parameters
    ----------
    curation : Curation
        Open for editing.
    suspects : DataFrame
        From `helpers.curation.suspects.find_suspects`, the most suspicious first.
    raw : Movie, optional
        To measure intensities of changed cells.

    Attributes
    ----------
    position : int
        Of the suspect that is looked at.
    seen : set of (frame, label)
        Suspects that were looked at.
    shown_frame : int or None
        The frame on the screen, where there is one.
    """

    def __init__(self, curation: Curation, suspects: pd.DataFrame, raw: Any = None) -> None:
        self.curation, self.suspects, self.raw = curation, suspects, raw
        self.position = 0
        self.seen: set[tuple[int, int]] = set()
        self.shown_frame: int | None = None
        self._cells: list[Cell] = []
        self._points: list[Point] = []

    # ---- what is chosen ------------------------------------------------------------------------------

    def chosen(self) -> list[Cell]:
        """Return the chosen cells, in the order in which they were chosen."""
        return list(self._cells)

    def choose(self, cells: Sequence[Cell]) -> None:
        """Choose cells."""
        self._cells = list(cells)

    def chosen_points(self) -> list[Point]:
        """Return the chosen points, (z, y, x) in voxels."""
        return list(self._points)

    def choose_points(self, points: Sequence[Point]) -> None:
        """Choose points."""
        self._points = list(points)

    @property
    def frame(self) -> int:
        """The frame that is looked at."""
        if self.shown_frame is not None:
            return self.shown_frame
        row = self.suspect
        cells = self.chosen()
        return cells[0].frame if cells else int(row["frame"]) if row is not None else 0

    def one(self) -> Cell:
        """Return the chosen cell.

        Raises
        ------
        InputError
            None is chosen, or several.
        """
        cells = self.chosen()
        if len(cells) != 1:
            raise InputError("cells", cells_text(cells), "one cell, as frame:label")
        return cells[0]

    def two(self) -> tuple[Cell, Cell]:
        """Return the two chosen cells.

        Raises
        ------
        InputError
            Fewer or more are chosen.
        """
        cells = self.chosen()
        if len(cells) != 2:
            raise InputError("cells", cells_text(cells), "two cells, as frame:label, frame:label")
        return cells[0], cells[1]

    def first(self) -> tuple[Cell, list[Cell]]:
        """Return the cell that was chosen first, and the others.

        Raises
        ------
        InputError
            None is chosen.
        """
        cells = self.chosen()
        if not cells:
            raise InputError("cells", "", "one cell or more, as frame:label")
        return cells[0], cells[1:]

    # ---- edits ---------------------------------------------------------------------------------------

    def do(self, operation: str, **arguments: Any) -> str:
        """Do an edit, and say so."""
        edit = self.curation.do(operation, **arguments)
        return f"done: {edit.operation} ({len(self.curation.state.done)} edits in force)"

    # ---- suspects ------------------------------------------------------------------------------------

    @property
    def suspect(self) -> Any:
        """The place that is looked at, a row of the list; None where it is empty."""
        return self.suspects.iloc[self.position] if len(self.suspects) else None

    def progress(self) -> str:
        """Say how many suspects were seen and how many are left."""
        keys = set(zip(self.suspects["frame"], self.suspects["label"], strict=True))
        seen = len(keys & self.seen)
        return f"{seen} seen, {len(keys) - seen} left"

    def move(self, by: int) -> None:
        """Look at another suspect: choose its cells."""
        self.position = max(0, min(self.position + by, len(self.suspects) - 1))
        self.look()

    def look(self) -> None:
        """Choose the cells of the suspect."""
        row = self.suspect
        if row is None:
            return
        self.seen.add((int(row["frame"]), int(row["label"])))
        known = self.curation.state.graph.cell_of
        keys = [(int(row["frame"]), int(row["label"])), known.get(int(row["other"]))]
        self.choose([Cell(*key) for key in keys if key is not None])

    def rank(self, suspects: pd.DataFrame | None = None) -> str:
        """Take a new list of suspects, by default that after all edits."""
        self.suspects = find_suspects(self.curation.state, self.raw) if suspects is None else suspects
        self.position = 0
        self.look()
        return f"{len(self.suspects)} suspicious places are left"

    def confirm_suspect(self) -> str:
        """Find all signs of the suspect false, and go on to the next."""
        row = self.suspect
        if row is None:
            raise InputError("suspects", "none left", "a suspect to confirm")
        for mark in row["confirm"]:
            if (arguments := self._confirmation(mark, row)) is not None:
                self.curation.do("confirm", **arguments)
        self.move(1)
        return "confirmed: it will not be listed again"

    def _confirmation(self, mark: tuple, row: Any) -> dict[str, Any] | None:
        state = self.curation.state
        kind, *ids = mark
        if kind == "frame":  # a cell in no track
            return confirming.cell(state, Cell(int(row["frame"]), int(row["label"])))
        if any(i not in state.graph.cell_of for i in ids):  # an edit took it away
            return None
        if kind == "cell":
            return confirming.cell(state, state.cell(ids[0]))
        if kind == "division":
            return confirming.division(state, state.cell(ids[0]))
        if ids[1] not in state.graph.targets.get(ids[0], ()):
            return None
        return confirming.link(state, state.cell(ids[0]), state.cell(ids[1]))


def cells_text(cells: Sequence[Cell]) -> str:
    """Write cells as they are typed: ``frame:label, frame:label``."""
    return ", ".join(f"{cell.frame}:{cell.label}" for cell in cells)


def cells_of(text: str) -> list[Cell]:
    """Read cells that were typed.

    Raises
    ------
    InputError
        Something else than ``frame:label``, separated by commas.
    """
    try:
        pairs = [part.split(":") for part in text.split(",") if part.strip()]
        return [Cell(int(t), int(label)) for t, label in pairs]
    except ValueError:
        raise InputError("cells", text, "frame:label of each cell, such as 3:17, 4:21") from None


def edit_text(edit: Edit) -> str:
    """Say who did what to which cells, and when (UTC); of many cells the first three."""
    parts = [p for value in edit.arguments.values() for p in (value if isinstance(value, list) else [value])]
    places = [f"{p['cell'][0]}:{p['cell'][1]}" for p in parts if isinstance(p, dict) and "cell" in p]
    places += [f"frame {p['stroke']}" for p in parts if isinstance(p, dict) and "stroke" in p]
    what = ", ".join(places[:3]) + (" …" if len(places) > 3 else "")
    return "  ·  ".join(filter(None, (edit.operation.replace("_", " "), edit.author, edit.time[:19], what)))


def points_text(points: Sequence[Point]) -> str:
    """Write points as they are typed: ``z y x; z y x``."""
    return "; ".join(" ".join(f"{value:.4g}" for value in point) for point in points)


def points_of(text: str) -> list[Point]:
    """Read points (voxels) that were typed.

    Raises
    ------
    InputError
        Something else than numbers, separated by spaces, the points by semicolons.
    """
    try:
        return [tuple(map(float, part.split())) for part in text.split(";") if part.strip()]
    except ValueError:
        raise InputError("points", text, "z y x of each point, such as 5 40 62; 5 52 60") from None

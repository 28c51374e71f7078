"""Correct a movie in a notebook: one suspicious place after the other, as a strip of pictures with buttons.

Cells are named as they stand in the pictures, ``frame:label``, so that everything can be done from the keyboard and without a
display. Every button writes one line of the movie's log; nothing has to be saved.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pandas as pd

from helpers.curation import confirming
from helpers.curation.cells import Cell
from helpers.curation.session import Curation
from helpers.curation.suspects import find_suspects
from helpers.curation.suspects.signs import Cells
from helpers.curation.tables import curated_tracks
from helpers.errors import InputError
from helpers.view.curation_plots import strip


class CurationPanel:
    """Pictures, fields and buttons; see the module.

    Parameters
    ----------
    curation : Curation
        Open for editing.
    suspects : DataFrame
        From `helpers.curation.suspects.find_suspects`, the most suspicious first.
    raw : Movie, optional
        Shown under the outlines.

    Attributes
    ----------
    cells, points, frame : ipywidgets
        The fields; setting their ``value`` is what typing does.
    buttons : dict of ipywidgets.Button
        By the name of what they do; ``click()`` is what a click does.
    message : ipywidgets.HTML
        What the last button did, or why it did not.
    widget : ipywidgets.VBox
        All of it.
    """

    def __init__(self, curation: Curation, suspects: pd.DataFrame, raw: Any = None) -> None:
        import ipywidgets

        self.curation, self.suspects, self.raw = curation, suspects, raw
        self.position = 0
        state = curation.state
        self._diameter = Cells(state.automatic.tracks, state.shape, state.automatic.voxel_size).diameter
        wide = ipywidgets.Layout(width="26rem")
        self.cells = ipywidgets.Text(description="cells", placeholder="frame:label, frame:label", layout=wide)
        self.points = ipywidgets.Text(description="points", placeholder="z y x; z y x (voxels)", layout=wide)
        self.title, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png")
        self.buttons = {
            name: ipywidgets.Button(description=name, tooltip=tip) for name, (tip, _) in _ACTIONS.items()
        }
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self._act(name))
        rows = [ipywidgets.HBox([self.buttons[name] for name in names]) for names in _ROWS]
        self.widget = ipywidgets.VBox([self.title, self.image, self.cells, self.points, *rows, self.message])
        self._show()

    @property
    def suspect(self) -> Any:
        """The place that is shown, a row of the list; None where it is empty."""
        return self.suspects.iloc[self.position] if len(self.suspects) else None

    def chosen(self) -> list[Cell]:
        """Return the cells in the field.

        Raises
        ------
        InputError
            Something else than ``frame:label``, separated by commas.
        """
        try:
            pairs = [part.split(":") for part in self.cells.value.split(",") if part.strip()]
            return [Cell(int(t), int(label)) for t, label in pairs]
        except ValueError:
            raise InputError(
                "cells", self.cells.value, "frame:label of each cell, such as 3:17, 4:21"
            ) from None

    def chosen_points(self) -> list[tuple[float, ...]]:
        """Return the points in the field, (z, y, x) in voxels.

        Raises
        ------
        InputError
            Something else than numbers, separated by spaces, the points by semicolons.
        """
        try:
            return [tuple(map(float, part.split())) for part in self.points.value.split(";") if part.strip()]
        except ValueError:
            raise InputError(
                "points", self.points.value, "z y x of each point, such as 5 40 62; 5 52 60"
            ) from None

    def _act(self, name: str) -> None:
        try:
            self.message.value = _ACTIONS[name][1](self) or ""
        except InputError as error:
            self.message.value = f"<b>not done:</b> {error}"
        self._show()

    def _one(self) -> Cell:
        cells = self.chosen()
        if len(cells) != 1:
            raise InputError("cells", self.cells.value, "one cell, as frame:label")
        return cells[0]

    def _two(self) -> tuple[Cell, Cell]:
        cells = self.chosen()
        if len(cells) != 2:
            raise InputError("cells", self.cells.value, "two cells, as frame:label, frame:label")
        return cells[0], cells[1]

    def _do(self, operation: str, **arguments: Any) -> str:
        edit = self.curation.do(operation, **arguments)
        return f"done: {edit.operation} ({len(self.curation.state.done)} edits in force)"

    def _move(self, by: int) -> None:
        self.position = max(0, min(self.position + by, len(self.suspects) - 1))
        self._fill()

    def _fill(self) -> None:
        """Write the suspect's cells into the field."""
        row = self.suspect
        if row is not None:
            known = self.curation.state.graph.cell_of
            cells = [(int(row["frame"]), int(row["label"])), known.get(int(row["other"]))]
            self.cells.value = ", ".join(f"{key[0]}:{key[1]}" for key in cells if key is not None)

    def _confirm(self) -> str:
        """Find all signs of the suspect false."""
        state, row = self.curation.state, self.suspect
        if row is None:
            raise InputError("suspects", "none left", "a suspect to confirm")
        graph = state.graph
        for mark in row["confirm"]:
            kind, *rest = mark
            if kind == "cell":
                self.curation.do("confirm", **confirming.cell(state, state.cell(rest[0])))
            elif kind == "link" and rest[1] in graph.targets.get(rest[0], ()):
                self.curation.do(
                    "confirm", **confirming.link(state, state.cell(rest[0]), state.cell(rest[1]))
                )
            elif kind == "division":
                self.curation.do("confirm", **confirming.division(state, state.cell(rest[0])))
            elif kind == "frame":  # a cell in no track
                cell = Cell(int(row["frame"]), int(row["label"]))
                self.curation.do("confirm", **confirming.cell(state, cell))
        self._move(1)
        return "confirmed: it will not be listed again"

    def _refresh(self) -> str:
        """Rank anew what is left."""
        self.suspects = find_suspects(self.curation.state, self.raw)
        self.position = 0
        self._fill()
        return f"{len(self.suspects)} suspicious places are left"

    def figure(self) -> Any:
        """Return the strip of pictures that is shown."""
        row = self.suspect
        state = self.curation.state
        if row is None:
            return None
        return strip(
            state.labels, self.raw, int(row["frame"]), row[["z", "y", "x"]].to_numpy(float),
            state.automatic.voxel_size, self._diameter,
        )  # fmt: skip

    def _show(self) -> None:
        row = self.suspect
        if row is None:
            self.title.value = "<b>Nothing suspicious is left.</b>"
            return
        if not self.cells.value:
            self._fill()
        n = len(self.suspects)
        self.title.value = f"<b>{self.position + 1} of {n}</b> (score {row['score']:.2f}): {row['reason']}"
        picture = io.BytesIO()
        figure = self.figure()
        figure.savefig(picture, format="png", dpi=110)
        self.image.value = picture.getvalue()

    def counts(self) -> pd.Series:
        """Return how many objects, links and divisions the curated tracks have now."""
        tracks = curated_tracks(self.curation.state, self.raw)
        return pd.Series(
            {"objects": len(tracks.objects), "links": len(tracks.links), "divisions": len(tracks.divisions)}
        )


def _division(panel: CurationPanel) -> str:
    mother, *daughters = panel.chosen()
    return panel._do("set_division", mother=mother, daughters=daughters)


def _unlink(panel: CurationPanel) -> str:
    first, last = panel._two()
    return panel._do("unlink", first=first, last=last)


def _merge(panel: CurationPanel) -> str:
    keep, other = panel._two()
    return panel._do("merge", keep=keep, other=other)


def _interpolate(panel: CurationPanel) -> str:
    first, last = sorted(panel._two(), key=lambda cell: cell.frame)
    return panel._do("interpolate", first=first, last=last)


def _swap(panel: CurationPanel) -> str:
    one, other = panel._two()
    return panel._do("swap", one=one, other=other)


def _remove_division(panel: CurationPanel) -> str:
    mother, *keep = panel.chosen() or [panel._one()]
    return panel._do("remove_division", mother=mother, keep=keep[0] if keep else None)


#: Name of a button → what it says under the mouse, and what it does.
_ACTIONS: dict[str, tuple[str, Callable[[CurationPanel], str | None]]] = {
    "previous": ("the suspect before", lambda panel: panel._move(-1)),
    "next": ("the next suspect", lambda panel: panel._move(1)),
    "confirm": (
        "this is right: never list it again, keep it when a step runs anew",
        lambda panel: panel._confirm(),
    ),
    "rank anew": ("list what is suspicious after these edits", lambda panel: panel._refresh()),
    "remove": ("remove one cell", lambda panel: panel._do("remove", cell=panel._one())),
    "merge": ("the first of two cells of a frame takes the second", _merge),
    "split by seeds": (
        "split one cell, a part for each point",
        lambda panel: panel._do("split_by_seeds", cell=panel._one(), seeds=panel.chosen_points()),
    ),
    "split by line": (
        "split one cell along the line through two points, or the plane through three",
        lambda panel: panel._do("split_by_plane", cell=panel._one(), points=panel.chosen_points()),
    ),
    "interpolate": ("draw a cell in the frames that are missing between two", _interpolate),
    "link": (
        "link cells of different frames; links in the way go",
        lambda panel: panel._do("link", cells=panel.chosen(), replace=True),
    ),
    "unlink": ("take the links between two cells of a track away", _unlink),
    "swap": ("exchange the tracks of two cells of a frame, from here on", _swap),
    "set division": ("the first cell divides into the others", _division),
    "remove division": ("the first cell goes on as the second, or ends", _remove_division),
    "undo": ("take the last edit back", lambda panel: f"undone: {panel.curation.undo().operation}"),
    "redo": ("bring it back", lambda panel: f"done again: {panel.curation.redo().operation}"),
}
_ROWS = (
    ("previous", "next", "confirm", "rank anew"),
    ("remove", "merge", "split by seeds", "split by line", "interpolate"),
    ("link", "unlink", "swap", "set division", "remove division"),
    ("undo", "redo"),
)

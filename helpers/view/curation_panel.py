"""Correct a movie in a notebook: one suspicious place after the other, as a strip of pictures with buttons.

Cells are chosen by a click, or named as they stand in the pictures, ``frame:label``, so that everything can be done from the
keyboard and without a display. Every button writes one line of the movie's log; nothing has to be saved.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from helpers.curation.cells import Cell
from helpers.curation.session import Curation
from helpers.curation.suspects.signs import Cells
from helpers.curation.tables import curated_tracks
from helpers.errors import InputError
from helpers.view.curation_actions import ACTIONS, GROUPS, act
from helpers.view.curation_canvas import StripCanvas
from helpers.view.curation_desk import Desk, Point, cells_of, cells_text, points_of, points_text
from helpers.view.curation_plots import strip, window


class CurationPanel(Desk):
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
    filter : ipywidgets.Text
        Which suspects are listed: a condition on the columns of their table, such as ``kind == "division" and frame > 3``.
    strip : StripCanvas
        The pictures, to click and draw on.
    image, before : ipywidgets.Image
        The same picture as a file, which is not shown; the place as it was before the last edit, which is.
    message : ipywidgets.HTML
        What the last button did, or why it did not.
    widget : ipywidgets.VBox
        All of it.
    """

    def __init__(self, curation: Curation, suspects: pd.DataFrame, raw: Any = None) -> None:
        import ipywidgets

        super().__init__(curation, suspects, raw)
        state = curation.state
        self._diameter = Cells(state.automatic.tracks, state.shape, state.automatic.voxel_size).diameter
        wide = ipywidgets.Layout(width="26rem")
        self.cells = ipywidgets.Text(description="cells", placeholder="frame:label, frame:label", layout=wide)
        self.points = ipywidgets.Text(description="points", placeholder="z y x; z y x (voxels)", layout=wide)
        self.title, self.message = ipywidgets.HTML(), ipywidgets.HTML()
        self.image, self.before = ipywidgets.Image(format="png"), ipywidgets.Image(format="png")
        self._before_title = ipywidgets.HTML()
        self.strip = StripCanvas(self)
        self._all = suspects
        self.filter = ipywidgets.Text(
            description="list only",
            placeholder='kind == "division" and frame > 3',
            layout=wide,
            continuous_update=False,
        )
        self.filter.observe(lambda _: self._filtered(), names="value")
        self.buttons = {
            name: ipywidgets.Button(description=name, tooltip=action.tip) for name, action in ACTIONS.items()
        }
        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: self._act(name))
        layout = ipywidgets.Layout(flex_flow="row wrap")
        rows = [
            ipywidgets.HBox([self.buttons[name] for name in names], layout=layout)
            for names in GROUPS.values()
        ]
        parts = (
            self.filter,
            self.title,
            self.strip.tool,
            self.strip.z,
            self.strip.canvas,
            self._before_title,
            self.before,
            self.cells,
            self.points,
        )
        self.widget = ipywidgets.VBox([*parts, *rows, self.message])
        self.strip.z.observe(lambda _: self._draw(), names="value")
        self._show()

    def chosen(self) -> list[Cell]:
        """Return the cells in the field.

        Raises
        ------
        InputError
            Something else than ``frame:label``, separated by commas.
        """
        return cells_of(self.cells.value)

    def choose(self, cells: Sequence[Cell]) -> None:
        """Write cells into the field."""
        self.cells.value = cells_text(cells)

    def chosen_points(self) -> list[Point]:
        """Return the points in the field, (z, y, x) in voxels.

        Raises
        ------
        InputError
            Something else than numbers, separated by spaces, the points by semicolons.
        """
        return points_of(self.points.value)

    def choose_points(self, points: Sequence[Point]) -> None:
        """Write points into the field."""
        self.points.value = points_text(points)

    def rank(self, suspects: pd.DataFrame | None = None) -> str:
        """Take a new list of suspects, by default that after all edits; the filter stays."""
        message = super().rank(suspects)
        self._all = self.suspects
        if self.filter.value:
            self._filtered()
        return message

    def _filtered(self) -> None:
        """List only the suspects that meet the condition."""
        text = self.filter.value.strip()
        try:
            found = self._all[self._all.eval(text, engine="python")] if text else self._all
        except Exception as error:  # whatever pandas makes of a text that is no condition
            columns = ", ".join(self._all.columns.drop("confirm"))
            self.message.value = f"<b>not done:</b> a condition on {columns} is wanted ({error})"
            return
        self.suspects, self.position = found.reset_index(drop=True), 0
        self.message.value = f"{len(self.suspects)} of {len(self._all)} suspicious places are listed"
        self.look()
        self._show()

    def _act(self, name: str) -> None:
        self.show_result(lambda: act(self, ACTIONS[name]))

    def show_result(self, do: Callable[[], str]) -> None:
        """Do something, and show what came of it: the message, the place, and after an edit what it was before."""
        edits, picture = len(self.curation.state.done), self.image.value
        try:
            self.message.value = do()
        except InputError as error:
            self.message.value = f"<b>not done:</b> {error}"
        self._show()
        changed = len(self.curation.state.done) != edits
        self.before.value = picture if changed else b""
        self._before_title.value = "before the edit:" if changed else ""

    def figure(self) -> Any:
        """Return the strip of pictures that is shown."""
        row = self.suspect
        state = self.curation.state
        if row is None:
            return None
        marks, cell_of = state.graph.marks, state.graph.cell_of
        marked = [cell.key for cell in _typed(self.chosen)]
        return strip(
            state.labels, self.raw, int(row["frame"]), row[["z", "y", "x"]].to_numpy(float),
            state.automatic.voxel_size, self._diameter, z=self.strip.z.value,
            points=_typed(self.chosen_points), marked=marked, links=self._links(marked),
            confirmed=[cell_of[mark[1]] for mark in marks if mark[0] == "cell"],
            complete=[mark[1] for mark in marks if mark[0] == "frame"],
        )  # fmt: skip

    def _links(
        self, marked: Sequence[tuple[int, int]]
    ) -> list[tuple[tuple[int, int], tuple[int, int], bool]]:
        """Return the links of the selected cells, with whether they are confirmed."""
        graph = self.curation.state.graph
        ids = [i for key in marked if (i := graph.id_at.get(key)) is not None]
        pairs = {(i, j) for i in ids for j in graph.targets.get(i, ())}
        pairs |= {(j, i) for i in ids for j in graph.sources.get(i, ())}
        return [(graph.cell_of[a], graph.cell_of[b], ("link", a, b) in graph.marks) for a, b in sorted(pairs)]

    def window(self) -> tuple[slice, slice]:
        """Return what of (Y, X) is shown of the place that is looked at."""
        return self._window()[1]

    def _window(self) -> tuple[int, tuple[slice, slice]]:
        state, place = self.curation.state, self.suspect[["z", "y", "x"]].to_numpy(float)
        return window(state.shape, place, state.automatic.voxel_size, self._diameter)

    def _show(self) -> None:
        row = self.suspect
        if row is None:
            self.title.value = "<b>Nothing suspicious is left.</b>"
            self.image.value = b""
            self.strip.canvas.clear()
            return
        if not self.cells.value:
            self.look()
        n = len(self.suspects)
        self.title.value = f"<b>{self.position + 1} of {n}</b> (score {row['score']:.2f}): {row['reason']} – {self.progress()}"
        if self._shown != (place := (id(self.suspects), self.position)):
            self._shown, z = place, self._window()[0]
            if z != self.strip.z.value:
                self.strip.z.value = z  # which draws
                return
        self._draw()

    def _draw(self) -> None:
        """Draw the place."""
        from PIL import Image

        if (figure := self.figure()) is None:
            return
        picture = io.BytesIO()
        Image.fromarray(self.strip.show(figure)).save(picture, format="png")
        self.image.value = picture.getvalue()

    _shown: tuple[int, int] | None = None

    def counts(self) -> pd.Series:
        """Return how many objects, links and divisions the curated tracks have now."""
        tracks = curated_tracks(self.curation.state, self.raw)
        return pd.Series(
            {"objects": len(tracks.objects), "links": len(tracks.links), "divisions": len(tracks.divisions)}
        )


def _typed(read: Callable[[], list]) -> list:
    """Read a field; nothing while something is being typed into it."""
    try:
        return read()
    except InputError:
        return []

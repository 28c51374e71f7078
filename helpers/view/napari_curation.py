"""napari's dock for correcting a movie: edits, tracks with their lineage tree, suspects, the list of edits, and help.

::

    a click on a cell     selects it; with Shift it is added        ┐
    a click in the tree   selects that cell and goes to it          ├─> the same choice in picture, tree and field
    frame:label, …        typed into the field                      ┘
    a key or a button     one edit of the selected cells: in the log first, then on the screen
    napari's brush        a stroke is one edit
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from qtpy.QtWidgets import QLabel, QLineEdit, QTabWidget, QVBoxLayout, QWidget

from helpers.curation.cells import Cell
from helpers.curation.session import Curation
from helpers.errors import InputError
from helpers.view.curation_actions import ACTIONS, act
from helpers.view.curation_desk import Desk, Point, cells_of, cells_text, points_of, points_text
from helpers.view.napari_curation_keys import bind_keys
from helpers.view.napari_curation_layers import CurationLayers, cell_under
from helpers.view.napari_curation_pages import EditPage, HelpPage, LogPage, SuspectPage, TrackPage

_NO_SUSPECTS = pd.DataFrame(
    columns=["score", "kind", "reason", "frame", "label", "z", "y", "x", "id", "other", "confirm"]
)


class CurationDock(QWidget):
    """All pages, and what they share.

    Parameters
    ----------
    viewer : napari.Viewer
    curation : Curation
        Open for editing; it is closed with the dock.
    placed : dict
        Scale, units and axis labels of the movie's layers.
    raw : Movie, optional
        To measure intensities of changed cells.

    Attributes
    ----------
    desk : Desk
    layers : CurationLayers
    cells, points : QLineEdit
        The choice, as it can be typed.
    message : QLabel
        What the last key or button did, or why it did not.
    """

    def __init__(self, viewer: Any, curation: Curation, placed: dict[str, Any], raw: Any = None) -> None:
        super().__init__()
        self.viewer, self.curation, self.state = viewer, curation, curation.state
        self.desk = Desk(curation, _NO_SUSPECTS, raw)
        self.layers = CurationLayers(viewer, self.state, placed)
        self.cells, self.points = QLineEdit(), QLineEdit()
        self.cells.setPlaceholderText("selected cells: frame:label, frame:label")
        self.points.setPlaceholderText("points: z y x; z y x (voxels)")
        self.message = QLabel("")
        self.message.setWordWrap(True)
        self.edit_page, self.track_page = EditPage(self), TrackPage(self)
        self.suspect_page, self.log_page = SuspectPage(self), LogPage(self)
        self.tabs = QTabWidget()
        pages = (self.edit_page, self.track_page, self.suspect_page, self.log_page, HelpPage())
        for page, title in zip(pages, ("Edit", "Tracks", "Suspects", "Edits", "Help"), strict=True):
            self.tabs.addTab(page, title)
        layout = QVBoxLayout(self)
        for part in (self.cells, self.points, self.tabs, self.message):
            layout.addWidget(part, 1 if part is self.tabs else 0)
        self.cells.returnPressed.connect(lambda: self.typed(self.cells, cells_of, self.choose))
        self.points.returnPressed.connect(lambda: self.typed(self.points, points_of, self.choose_points))
        viewer.dims.events.current_step.connect(self._moved)
        viewer.dims.events.ndisplay.connect(self._moved)
        viewer.mouse_drag_callbacks.append(self._clicked)
        self.layers.labels.events.paint.connect(self._painted)
        self.state.watchers.append(self._changed)
        viewer.layers.events.removed.connect(self._layer_removed)
        self.destroyed.connect(lambda: self.close_curation())
        bind_keys(self)
        self.track_page.fill()
        self.refresh()

    # ---- the choice ----------------------------------------------------------------------------------

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return self.layers.frame

    def choose(self, cells: Sequence[Cell], *, go: bool = True, centre: bool = False) -> None:
        """Choose cells, here, in the picture and in the tree; go to the last one, with `centre` to the first."""
        self.desk.choose(cells)
        if cells:
            if go:
                self.layers.go_to(cells[0] if centre else cells[-1], centre=centre)
            self.layers.labels.selected_label = cells[-1].label
        self.refresh()

    def choose_points(self, points: Sequence[Point]) -> None:
        """Choose points."""
        self.desk.choose_points(points)
        self.refresh()

    def typed(self, field: QLineEdit, read: Callable[[str], Any], take: Callable[[Any], None]) -> None:
        """Take over what was typed into a field, and give the keys back to the picture."""
        try:
            found = read(field.text())
            for cell in found:
                if isinstance(cell, Cell) and not (self.state.labels.frame(cell.frame) == cell.label).any():
                    raise InputError(str(cell), "not there", "a cell of that frame")
        except InputError as error:
            self.say(f"<b>not done:</b> {error}")
            return
        take(found)
        field.clearFocus()  # keys go to the picture again

    def under_mouse(self) -> Cell:
        """Return the cell under the mouse.

        Raises
        ------
        InputError
            There is none.
        """
        return cell_under(self.layers.labels, self.state, self.viewer, self.viewer.cursor.position)

    def _clicked(self, viewer: Any, event: Any):
        if self.layers.labels.mode != "pan_zoom":
            return
        yield
        dragged = False
        while event.type == "mouse_move":
            dragged = True
            yield
        if dragged or event.button not in (None, 1):
            return
        try:
            cell = cell_under(self.layers.labels, self.state, viewer, event.position)
        except InputError as error:
            self.say(str(error))
            return
        chosen = self.desk.chosen() if "Shift" in event.modifiers else []
        self.choose([*[c for c in chosen if c.key != cell.key], cell], go=False)

    # ---- edits ---------------------------------------------------------------------------------------

    def act(self, name: str) -> None:
        """Do an action by its name, and show what came of it."""
        if name == "rank again":
            self.suspect_page.rank()
            return
        before, row = self.desk.chosen(), self.desk.position
        self.say(act(self.desk, ACTIONS[name]))
        if self.desk.position != row or name in ("next", "previous"):
            self.choose(self.desk.chosen(), centre=True)
        else:
            self.desk.choose([cell for cell in before if self._is_there(cell)])
            self.refresh()

    def edit(self, operation: str, **arguments: Any) -> bool:
        """Do an edit, and show it; say whether it was done."""
        try:
            self.say(self.desk.do(operation, **arguments))
            return True
        except InputError as error:
            self.say(f"<b>not done:</b> {error}")
            return False
        finally:
            self.refresh(labels=True)

    def _painted(self, _: Any) -> None:
        """A stroke of napari's brush, bucket, polygon or eraser is one edit."""
        for stroke, label in self.layers.data.strokes():
            frame = self.state.labels.frame(stroke.frame)
            cell = Cell(stroke.frame, label) if label and (frame == label).any() else None
            if not label:
                self.edit("erase", stroke=stroke)
            elif self.edit("paint", stroke=stroke, cell=cell) and cell is None:
                new = self.state.labels.frame(stroke.frame).reshape(-1)[stroke.index[0]]
                self.choose([Cell(stroke.frame, int(new))], go=False)
        self.layers.labels._reset_history()

    def _is_there(self, cell: Cell) -> bool:
        return cell.key in self.state.graph.id_at or bool(
            (self.state.labels.frame(cell.frame) == cell.label).any()
        )

    def _changed(self, changes: Any) -> None:
        """An edit was done, undone or redone: note what has to be drawn anew."""
        self._labels_changed = True
        self.layers.founders.forget(changes)
        if changes.cells or changes.linked or changes.unlinked:
            self.track_page.fill_later()

    _labels_changed = _closed = False

    # ---- what is seen --------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Show a message."""
        self.message.setText(text)

    def _moved(self, _: Any = None) -> None:
        self.refresh()

    def refresh(self, *, labels: bool = False) -> None:
        """Draw the choice, and after an edit what it changed."""
        cells, self.desk.shown_frame = self.desk.chosen(), self.frame
        self.layers.refresh(cells, self.desk.chosen_points(), labels=labels or self._labels_changed)
        self.cells.setText(cells_text(cells))
        self.points.setText(points_text(self.desk.chosen_points()))
        ids = [self.state.graph.id_at.get(cell.key) for cell in cells]
        self.track_page.show_choice([i for i in ids if i is not None], self.frame)
        self.suspect_page.refresh()
        if self._labels_changed or self.log_page.list.count() == 0:
            self.log_page.fill()
        complete = ("frame", self.frame) in self.state.graph.marks
        overlay = self.viewer.canvas.overlays.text
        overlay.text, overlay.visible = f"frame {self.frame}: complete", complete
        self._labels_changed = False

    def _layer_removed(self, event: Any) -> None:
        """Without its labels, as when the window closes, there is nothing left to edit."""
        if event.value is self.layers.labels:
            self.close_curation()

    def close_curation(self) -> None:
        """Let others edit; nothing has to be saved."""
        if self._closed:
            return
        self._closed = True
        self.viewer.dims.events.current_step.disconnect(self._moved)
        self.viewer.dims.events.ndisplay.disconnect(self._moved)
        self.viewer.layers.events.removed.disconnect(self._layer_removed)
        self.viewer.mouse_drag_callbacks.remove(self._clicked)
        self.track_page.timer.stop()
        self.curation.close()

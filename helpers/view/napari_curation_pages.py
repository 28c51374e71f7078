"""Pages of the curation dock: buttons, tracks, suspects, the list of edits, help."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QScrollArea,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from helpers.curation.filters import numbers_in, tracks_that
from helpers.curation.lineages import write_lineages
from helpers.curation.log import REDO, UNDO
from helpers.errors import InputError
from helpers.view.curation_actions import ACTIONS, GROUPS
from helpers.view.curation_desk import edit_text
from helpers.view.lineage_tree import LineageTree
from helpers.view.napari_curation_keys import MOVES

if TYPE_CHECKING:
    from helpers.view.napari_curation import CurationDock

_USER = Qt.ItemDataRole.UserRole
#: Milliseconds after an edit until the list of all tracks follows: it need not hold up the picture.
_LATER = 400
#: Newest edits that are listed.
_EDITS = 500


def button(dock: CurationDock, name: str) -> QPushButton:
    """Return a button that does an action, with its key in the tooltip; keys stay with the picture."""
    action = ACTIONS[name]
    made = QPushButton(name)
    made.setToolTip(f"{action.tip} [{shown_key(action.key)}]")
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda: dock.act(name))
    return made


def shown_key(key: str) -> str:
    """Return a key as people write it."""
    return key.replace("Control", "Ctrl").replace("-", "+")


class EditPage(QWidget):
    """A button for each edit."""

    def __init__(self, dock: CurationDock) -> None:
        super().__init__()
        self.buttons = {name: button(dock, name) for name in ACTIONS}
        inside = QWidget()
        column = QVBoxLayout(inside)
        for title, actions in GROUPS.items():
            if title == "suspects":
                continue
            box, grid = QGroupBox(title), QGridLayout()
            for k, name in enumerate(actions):
                grid.addWidget(self.buttons[name], k // 3, k % 3)
            box.setLayout(grid)
            column.addWidget(box)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidget(inside)
        area.setWidgetResizable(True)
        QVBoxLayout(self).addWidget(area)


class TrackPage(QWidget):
    """All tracks, which of them are shown, and the lineage tree of the chosen one."""

    def __init__(self, dock: CurationDock) -> None:
        super().__init__()
        self.dock = dock
        self.filter, self.list = QLineEdit(), QListWidget()
        self.filter.setPlaceholderText("tracks to show: 1, 2, 3  or  volume_um3 > 500 and frame > 3")
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.tree = LineageTree(dock.state.graph, dock.state.shape[0], self._tree_clicked)
        self.delete = QPushButton("delete all shown")
        self.delete.setToolTip("delete these tracks; their labels stay, and it can be undone [Shift+Delete]")
        every = QPushButton("show all")
        every.setToolTip("[Ctrl+A]")
        area = QScrollArea()
        area.setWidget(self.tree)
        area.setWidgetResizable(True)
        layout, row = QVBoxLayout(self), QHBoxLayout()
        row.addWidget(every)
        row.addWidget(self.delete)
        layout.addWidget(self.filter)
        layout.addWidget(self.list, 3)
        layout.addLayout(row)
        layout.addWidget(QLabel("lineage of the selected cell"))
        layout.addWidget(area, 2)
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.timeout.connect(self.fill)
        self.filter.returnPressed.connect(self.apply_filter)
        self.list.itemClicked.connect(self._item_clicked)
        self.list.itemActivated.connect(self._item_clicked)
        every.clicked.connect(self.show_all)
        self.delete.clicked.connect(self.delete_shown)

    def fill_later(self) -> None:
        """Fill the list once no edit has come for a while."""
        self.timer.start(_LATER)

    def fill(self) -> None:
        """List the tracks that are shown."""
        graph, shown = self.dock.state.graph, self.dock.layers.shown
        self.list.clear()
        for founder, ids in self.dock.layers.founders.tracks().items():
            if shown is None or founder in shown:
                n = sum(len(graph.targets.get(i, ())) > 1 for i in ids)
                first, last = graph.cell_of[ids[0]][0], graph.cell_of[ids[-1]][0]
                divisions = f", {n} division{'s' if n > 1 else ''}" if n else ""
                item = QListWidgetItem(f"track {founder}: frames {first}–{last}, {len(ids)} cells{divisions}")
                item.setData(_USER, founder)
                self.list.addItem(item)

    def show_choice(self, ids: Sequence[int], frame: int) -> None:
        """Draw the tree of the chosen cells, and mark their track in the list."""
        self.tree.show_tree(ids, frame)
        founder = self.dock.layers.founders.of(ids[0]) if ids else None
        current = self.list.currentItem()
        if founder is None or (current is not None and current.data(_USER) == founder):
            return
        for k, other in enumerate(self._founders()):
            if other == founder:
                self.list.setCurrentRow(k)
                return

    def _founders(self) -> list[int]:
        """Founders of the tracks that are listed."""
        items = [self.list.item(k) for k in range(self.list.count())]
        return [int(item.data(_USER)) for item in items if item is not None]

    def _item_clicked(self, item: QListWidgetItem) -> None:
        """Go to the track's cell in this frame, or to its first."""
        graph = self.dock.state.graph
        ids = graph.track_of(int(item.data(_USER)))
        here = [i for i in ids if graph.cell_of[i][0] == self.dock.frame]
        self._tree_clicked((here or ids)[0])

    def _tree_clicked(self, i: int) -> None:
        self.dock.choose([self.dock.state.cell(i)], centre=True)

    def apply_filter(self) -> None:
        """Show only the tracks that are typed, or that meet the condition; all where nothing is typed."""
        text = self.filter.text().strip()
        dock = self.dock
        try:
            dock.layers.shown = tracks_that(dock.state, text, dock.desk.raw) if text else None
        except InputError as error:
            dock.say(f"<b>not done:</b> {error}")
            return
        self.fill()
        unknown = sorted((numbers_in(text) or set()) - (dock.layers.shown or set()))
        said = f"; there is no track {', '.join(map(str, unknown))}" if unknown else ""
        n = self.list.count()
        dock.say(f"{n} {'track is' if n == 1 else 'tracks are'} shown{said}")
        dock.refresh()
        self.filter.clearFocus()  # keys go to the picture again

    def show_all(self) -> None:
        """Hide no track."""
        self.filter.clear()
        self.apply_filter()

    def delete_shown(self) -> None:
        """Take the tracks that are shown out of the tables; all of them only where a filter is set."""
        if self.dock.layers.shown is None:
            self.dock.say("<b>not done:</b> set a filter first: all tracks are shown")
            return
        cells = [self.dock.state.cell(i) for i in self._founders()]
        self.dock.edit("delete_tracks", cells=cells)
        self.fill()

    def write_lineages(self) -> Any:
        """Write the lineages as a text file into the movie's folder."""
        return write_lineages(self.dock.state, self.dock.curation.folder / "lineages.txt")


class SuspectPage(QWidget):
    """The ranked list of suspects, how many are left, and what to do with the one that is looked at."""

    def __init__(self, dock: CurationDock) -> None:
        super().__init__()
        self.dock = dock
        self.list, self.progress, self.reason = QListWidget(), QLabel(""), QLabel("")
        self.reason.setWordWrap(True)
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        layout, row = QVBoxLayout(self), QGridLayout()
        for k, name in enumerate(GROUPS["suspects"]):
            row.addWidget(button(dock, name), k // 3, k % 3)
        for part in (self.progress, self.list, self.reason):
            layout.addWidget(part)
        layout.addLayout(row)
        self.list.itemClicked.connect(lambda item: self._go(self.list.row(item)))
        self.list.itemActivated.connect(lambda item: self._go(self.list.row(item)))
        self.progress.setText("press Shift+R to list suspects")
        self.worker: Any = None

    def rank(self) -> None:
        """List what is suspicious, in the background."""
        from napari.qt.threading import create_worker

        from helpers.curation.files import state_on_disk
        from helpers.curation.suspects import find_suspects

        if self.worker is not None:
            return
        dock = self.dock
        folder, raw = dock.curation.folder, dock.desk.raw

        def work() -> pd.DataFrame:
            return find_suspects(state_on_disk(folder), raw)

        self.progress.setText("looking …")
        self.worker = create_worker(work)
        self.worker.returned.connect(self._ranked)
        self.worker.errored.connect(lambda error: dock.say(f"<b>not done:</b> {error}"))
        self.worker.finished.connect(self._ended)
        self.worker.start()

    def _ended(self) -> None:
        self.worker = None

    def _ranked(self, suspects: pd.DataFrame) -> None:
        self.dock.say(self.dock.desk.rank(suspects))
        self.list.clear()
        for row in suspects.itertuples():
            self.list.addItem(f"{row.score:.2f}  {row.kind}: cell {row.label}, frame {row.frame}")
        self.dock.choose(self.dock.desk.chosen(), centre=True)

    def _go(self, position: int) -> None:
        self.dock.desk.move(position - self.dock.desk.position)
        self.dock.choose(self.dock.desk.chosen(), centre=True)

    def refresh(self) -> None:
        """Mark the suspect that is looked at, and what became of the others."""
        desk = self.dock.desk
        if desk.suspect is None:
            return
        self.progress.setText(desk.progress())
        self.reason.setText(str(desk.suspect["reason"]))
        self.list.setCurrentRow(desk.position)
        marks = self.dock.state.graph.marks
        for k in {desk.position, max(desk.position - 1, 0)}:
            if (item := self.list.item(k)) is None:
                continue
            confirmed = bool(marks.intersection(desk.suspects["confirm"].iloc[k]))
            text = item.text().removeprefix("✓ ")
            item.setText(f"✓ {text}" if confirmed else text)


class LogPage(QWidget):
    """All edits, the newest first; undone ones in grey. A double click goes back, or forth, to there."""

    def __init__(self, dock: CurationDock) -> None:
        super().__init__()
        self.dock, self.list = dock, QListWidget()
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.setToolTip("double click: undo or redo up to here; this edit stays")
        layout, row = QVBoxLayout(self), QHBoxLayout()
        layout.addWidget(self.list)
        for name in (UNDO, REDO):
            row.addWidget(button(dock, name))
        layout.addLayout(row)
        self.list.itemActivated.connect(lambda item: self.go_to(self.list.row(item)))

    def fill(self) -> None:
        """List the edits anew."""
        state = self.dock.state
        self.list.clear()
        for edit in state.undone:
            self._add(edit, "undone: ")
        for edit in reversed(state.done[-_EDITS:]):
            self._add(edit, "")
        if self.list.count() == 0:
            self.list.addItem("no edit yet")

    def _add(self, edit: Any, prefix: str) -> None:
        item = QListWidgetItem(prefix + edit_text(edit))
        if prefix:
            item.setForeground(Qt.GlobalColor.gray)
        self.list.addItem(item)

    def go_to(self, row: int) -> None:
        """Undo or redo until the edit in a row of the list is the last one in force."""
        state = self.dock.state
        newer = row - len(state.undone)
        step = partial(self.dock.act, UNDO if newer > 0 else REDO)
        for _ in range(newer if newer > 0 else len(state.undone) - row):
            step()


class HelpPage(QTextBrowser):
    """All keys."""

    def __init__(self) -> None:
        super().__init__()
        rows = "".join(
            f"<tr><td><b>{shown_key(k)}</b></td><td>{tip}</td></tr>" for k, (tip, _) in MOVES.items()
        )
        for title, actions in GROUPS.items():
            rows += f"<tr><td colspan=2><i>{title}</i></td></tr>"
            rows += "".join(
                f"<tr><td><b>{shown_key(action.key)}</b>&nbsp;</td><td>{name}: {action.tip}</td></tr>"
                for name, action in actions.items()
            )
        self.setHtml(
            "<p>Click a cell to select it; Shift+click adds it to the selection. Keys act on the selected cells. "
            "2 or P: brush, 1 or E: eraser, 4 or F: bucket, 6 or Z: select again; each stroke is one edit. "
            "Arrow keys step through time; Ctrl+Y switches to 3D. There is nothing to save: every edit is on the disk "
            "before you see it. Centres of cells follow their outlines by themselves.</p>"
            f"<table>{rows}</table>"
        )

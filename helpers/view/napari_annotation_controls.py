"""Buttons, counts, progress and the list of places of the annotation dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QLabel,
    QListWidget,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
)

from helpers.view.napari_curation_pages import shown_key

if TYPE_CHECKING:
    from helpers.view.napari_annotation import AnnotationDock

#: Key → method of the dock.
KEYS = {
    "C": "draw_cell",
    "N": "next_cell",
    "B": "draw_background",
    "E": "erase",
    "I": "fill",
    "D": "brush_3d",
    "Q": "take",
    "A": "accept",
    "V": "show_found",
    "G": "next_place",
    "Shift-G": "previous_place",
    "Control-T": "train",
    "Control-F": "find",
}
#: Method → what stands on its button.
_BUTTONS = {
    "draw_cell": "cell",
    "next_cell": "next cell",
    "draw_background": "background",
    "erase": "eraser",
    "fill": "fill between slices",
    "brush_3d": "3D brush",
    "show_found": "show found",
    "next_place": "next in doubt",
    "find": "find in this frame",
    "train": "train",
    "cancel": "cancel",
}
#: What keys do where the mouse points, and napari's own keys.
_HELP = (
    "over a cell: A accepts a found one, Q goes on with a drawn one; [ ] brush size, Ctrl+Z undo, space moves"
)


class Controls:
    """What the dock shows beside the picture.

    Parameters
    ----------
    dock : AnnotationDock
        Gets the widgets.
    """

    def __init__(self, dock: AnnotationDock) -> None:
        self.dock = dock
        self.buttons = {name: self._button(name, text) for name, text in _BUTTONS.items()}
        self.state, self.message = QLabel(), QLabel()
        self.minutes, self.go_on = QDoubleSpinBox(), QCheckBox("go on from the last training")
        self.progress, self.list = QProgressBar(), QListWidget()
        self.channel = QComboBox()
        for label in (self.state, self.message):
            label.setWordWrap(True)
        self.minutes.setRange(0.1, 600)
        self.minutes.setValue(3)
        self.minutes.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.go_on.setToolTip(
            "for a quick look after a few more cells; off, the training is what the final one will be"
        )
        self.progress.setRange(0, 1000)
        self.channel.addItems([f"channel {c}" for c in range(dock.movie.n_channels)])
        self.channel.currentIndexChanged.connect(dock.set_channel)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.itemClicked.connect(lambda item: dock.go_to(self.list.row(item)))
        self._lay_out()
        self.show_running(False)

    def _button(self, name: str, text: str) -> QPushButton:
        made = QPushButton(text)
        keys = [shown_key(key) for key, own in KEYS.items() if own == name]
        about = (getattr(type(self.dock), name).__doc__ or "").strip()
        made.setToolTip(f"{about} [{', '.join(keys)}]" if keys else about)
        made.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # keys stay with the picture
        if keys:
            made.setText(f"{text}  ({keys[0]})")
        made.clicked.connect(lambda: self.dock.act(name))
        return made

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self.dock)
        if self.dock.movie.n_channels > 1:
            layout.addWidget(self.channel)
        grid = QGridLayout()
        drawing = [name for name in _BUTTONS if name not in ("train", "cancel", "find")]
        for index, name in enumerate(drawing):
            grid.addWidget(self.buttons[name], index // 2, index % 2)
        form = QFormLayout()
        form.addRow("minutes a network", self.minutes)
        form.addRow(self.go_on)
        learning = QGridLayout()
        for index, name in enumerate(("train", "cancel", "find")):
            learning.addWidget(self.buttons[name], index // 2, index % 2)
        keys = QLabel(_HELP)
        keys.setWordWrap(True)
        layout.addLayout(grid)
        layout.addWidget(keys)
        layout.addWidget(self.state)
        layout.addLayout(form)
        layout.addLayout(learning)
        layout.addWidget(self.progress)
        layout.addWidget(QLabel("where to draw next"))
        layout.addWidget(self.list, 1)
        layout.addWidget(self.message)

    def training(self) -> list[str]:
        """Return the arguments of a training."""
        return ["--minutes", f"{self.minutes.value():g}", *(["--go-on"] if self.go_on.isChecked() else [])]

    def say(self, text: str) -> None:
        """Show a message."""
        self.message.setText(text)

    def counts(self) -> tuple[int, int]:
        """Return how many cells are drawn on disk in all frames of the channel, and in how many frames."""
        drawings, cells, frames = self.dock.drawings, 0, 0
        for t in range(self.dock.movie.n_frames):
            labels = drawings.labels(t, self.dock.channel)
            if labels is not None:
                cells, frames = cells + len(np.unique(labels[labels > 0])), frames + 1
        return cells, frames

    def show_state(self) -> None:
        """Show what is being drawn, and the share that is annotated."""
        dock = self.dock
        frame = dock.labels.data.frame(dock.frame)
        share, background = (100 * float((mask).mean()) for mask in (frame > 0, frame == 1))
        cells = len(np.unique(frame[frame > 1]))
        tool = {
            "erase": "erasing",
            "paint": f"drawing cell {dock.cell}" if dock.cell > 0 else "drawing background",
        }
        self.state.setText(
            f"<b>{tool.get(str(dock.labels.mode), 'looking')}</b><br>frame {dock.frame}: {cells} cell{'' if cells == 1 else 's'}, "
            f"{share:.2g} % of the voxels annotated ({background:.2g} % background)<br>kept in {dock.drawings.folder}"
        )

    def show_running(self, running: bool) -> None:
        """Show whether a process is at work."""
        for name in ("train", "find"):
            self.buttons[name].setEnabled(not running)
        self.buttons["cancel"].setEnabled(running)
        self.progress.setValue(0)
        self.progress.setFormat("starting" if running else "")

    def show_progress(self, network: str, fraction: float, loss: float) -> None:
        """Show how far a training is."""
        self.progress.setValue(round(1000 * fraction))
        self.progress.setFormat(f"{network}: %p %, loss {loss:.3g}")

    def show_places(self, places: pd.DataFrame) -> None:
        """List the places to draw next."""
        self.list.clear()
        for place in places.itertuples():
            self.list.addItem(f"{place.rank}  frame {place.frame}, z {place.z}: {place.reason}")

    def choose_place(self, row: int) -> None:
        """Mark a place of the list."""
        self.list.setCurrentRow(row)

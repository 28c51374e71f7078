"""napari's dock for drawing a few cells, training on them, and drawing on where the networks are in doubt.

::

    draw ──> saved a second later ──> train (a process of its own) ──> what they find, over the frame
     ^                                                                   │ a key accepts a cell
     └────── a key goes to the next place in doubt <─────────────────────┘
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from helpers.data.drawings import Drawings
from helpers.data.movies import Movie
from helpers.data.outlines import fill_between
from helpers.errors import InputError
from helpers.view.napari_annotation_controls import KEYS, Controls
from helpers.view.napari_frames import DrawnLabels, FrameFiles
from helpers.view.napari_learner import Learner
from helpers.view.style import OKABE_ITO, label_colors

#: Milliseconds after a stroke until it is on disk: a stroke is many changes.
_SAVE_AFTER = 1000
#: Labels with a colour of their own; those beyond share one.
_COLOURS = 1000


class AnnotationDock(QWidget):
    """Layers to draw in, tools, training, and the places to draw next.

    Parameters
    ----------
    viewer : napari.Viewer
        With the movie as a layer.
    movie : Movie
    run : Path
        Run folder: ``annotations`` and ``models`` are in it, as notebooks 03_create_dataset, 04_train_segmentation and 01_annotate have them.
    placed : dict
        Scale, units and axis labels of the movie's layers.
    dataset : str, optional
        Of the movie's file.

    Attributes
    ----------
    labels, found, doubt : napari layers
        ``drawn``, ``found`` (what the networks find) and ``doubt`` (where they differ or are unsure).
    learner : Learner
    """

    def __init__(
        self, viewer: Any, movie: Movie, run: Path, placed: dict[str, Any], *, dataset: str | None = None
    ) -> None:
        super().__init__()
        self.viewer, self.movie, self.run, self.dataset = viewer, movie, Path(run), dataset
        self.drawings = Drawings(movie, self.run / "annotations")
        self.channel = 0
        self.places, self.place = pd.DataFrame(), -1
        self.timer = QTimer(self)
        self.timer.setSingleShot(True)
        self.timer.setInterval(_SAVE_AFTER)
        self.timer.timeout.connect(self.save)
        self.learner = Learner(self)
        self.controls = Controls(self)
        self._add_layers(placed)
        self._read_places()
        self._connect()
        self.draw_cell(next_free=True)
        self.refresh()

    def _add_layers(self, placed: dict[str, Any]) -> None:
        t, _, *stack = self.movie.shape
        files = [
            FrameFiles((t, *stack), lambda t, kind=kind: self.drawings.path(kind, t, self.channel), dtype)
            for kind, dtype in (("doubt", np.uint8), ("found", np.int32))
        ]
        self.doubt = self.viewer.add_image(
            files[0], name="doubt", colormap="magma", blending="additive", opacity=0.6, contrast_limits=(0, 255),
            visible=False, **placed,
        )  # fmt: skip
        self.found = self.viewer.add_labels(files[1], name="found", opacity=0.9, **placed)
        self.found.contour = 1
        self.labels = self.viewer.add_labels(self._sheet(), name="drawn", opacity=0.5, **placed)
        self.labels.colormap = _colormap()
        self.viewer.layers.selection.active = self.labels

    def _sheet(self) -> DrawnLabels:
        return DrawnLabels(self.drawings, self.channel, lambda: self.timer.start())

    def _connect(self) -> None:
        self.viewer.dims.events.current_step.connect(self._moved)
        self.viewer.layers.events.removed.connect(self._layer_removed)
        self.labels.events.selected_label.connect(lambda _: self.controls.show_state())
        self.learner.told.connect(self._told)
        self.learner.ended.connect(self._ended)
        self.destroyed.connect(lambda: self.close_annotation())
        for key, name in KEYS.items():
            for owner in (self.viewer, self.labels):
                owner.bind_key(key, lambda _, name=name: self.act(name), overwrite=True)

    # ---- drawing -------------------------------------------------------------------------------------

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return int(self.viewer.dims.current_step[0])

    @property
    def cell(self) -> int:
        """The number of the cell that is drawn; 0: the background."""
        return int(self.labels.selected_label) - 1

    def act(self, name: str) -> None:
        """Do what a key or a button means, and say why not where it cannot be done."""
        self.controls.say("")
        try:
            getattr(self, name)()
        except InputError as error:
            self.controls.say(f"<b>not done:</b> {error}")

    def draw_cell(self, *, next_free: bool = False) -> None:
        """Take the brush for the cell that was drawn last, or for one that does not exist yet."""
        frame = self.labels.data.frame(self.frame)
        self._brush(max(2, int(frame.max()) + next_free))

    def draw_background(self) -> None:
        """Take the brush for background; drawn cells stay."""
        self._brush(1)

    def erase(self) -> None:
        """Take the eraser: what is under it becomes not annotated."""
        self.labels.preserve_labels = False
        self.labels.mode = "erase"

    def next_cell(self) -> None:
        """Fill the slices between those in which the cell is drawn, and begin another."""
        if self.cell > 0:
            self._fill(must=False)
        self.draw_cell(next_free=True)

    def fill(self) -> None:
        """Fill the slices between those in which the cell is drawn."""
        self._fill(must=True)

    def brush_3d(self) -> None:
        """Let the brush paint balls, or discs again."""
        self.labels.n_edit_dimensions = 2 if self.labels.n_edit_dimensions == 3 or self._flat else 3
        self.controls.say(f"the brush paints {'balls' if self.labels.n_edit_dimensions == 3 else 'discs'}")

    def take(self) -> None:
        """Go on with the drawn cell under the mouse."""
        value = int(self.labels.data[self._under_mouse()])
        if value < 2:
            raise InputError("mouse", "no drawn cell under it", "a drawn cell")
        self._brush(value)

    def _brush(self, value: int) -> None:
        self.viewer.layers.selection.active = self.labels
        self.labels.selected_label = value
        self.labels.preserve_labels = value == 1
        self.labels.mode = "paint"
        self.controls.show_state()

    def _fill(self, *, must: bool) -> None:
        frame, value = self.labels.data.frame(self.frame), self.cell + 1
        slices = {z: plane == value for z, plane in enumerate(frame) if (plane == value).any()}
        if self.cell < 1 or (must and len(slices) < 2):
            raise InputError("cell", max(self.cell, 0), "a cell that is drawn in two slices or more")
        filled = np.zeros(frame.shape, bool)
        for z, mask in fill_between(slices) if slices else ():
            filled[z] = mask
        self._paint(filled & (frame <= 1), value)

    def _paint(self, mask: np.ndarray, value: int) -> None:
        """Draw voxels (Z, Y, X) of the frame that is shown; napari can take it back."""
        if mask.any():
            where = np.nonzero(mask[0] if self._flat else mask)
            self.labels.data_setitem((np.full(len(where[0]), self.frame), *where), value)

    @property
    def _flat(self) -> bool:
        return self.movie.shape[2] == 1

    def _under_mouse(self) -> tuple[int, ...]:
        if self.viewer.dims.ndisplay == 3 and not self._flat:
            raise InputError("view", "3D", "the view of slices, where a place of the mouse is one voxel")
        place = np.rint(self.labels.world_to_data(self.viewer.cursor.position)).astype(int)
        if not all(0 <= at < n for at, n in zip(place, self.labels.data.shape, strict=True)):
            raise InputError("mouse", "outside the movie", "a place in the picture")
        return tuple(int(at) for at in place)

    # ---- the networks --------------------------------------------------------------------------------

    def accept(self) -> None:
        """Take the found cell under the mouse over as drawn; the brush goes on with it."""
        at = self._under_mouse()
        number = int(self.found.data[at])
        if not number:
            raise InputError("mouse", "no found cell under it", "a cell that the networks found")
        drawn = self.labels.data.frame(self.frame)
        free = (self.found.data.frame(self.frame) == number) & (drawn <= 1)
        if not free.any():
            raise InputError("cell", number, "one that is not drawn already")
        value = max(2, int(drawn.max()) + 1)
        self._paint(free, value)
        self._brush(value)

    def show_found(self) -> None:
        """Show what the networks find, or hide it."""
        self.found.visible = not self.found.visible

    def train(self) -> None:
        """Train on all that is drawn; the window goes on meanwhile."""
        self.save()
        if not self.controls.counts()[0]:
            raise InputError("drawn cells", 0, "some cells, each drawn whole, and some background")
        self._start([*self.controls.training(), *self._frame_arguments()])

    def find(self) -> None:
        """Let the networks look at the frame that is shown."""
        self.save()
        self._start(["--only-predict", *self._frame_arguments()])

    def cancel(self) -> None:
        """End the training."""
        self.learner.cancel()

    def _frame_arguments(self) -> list[str]:
        size = [str(n) for n in self.movie.require_voxel_size()]
        dataset = ["--dataset", self.dataset] if self.dataset else []
        return [
            str(self.run), "--movie", str(self.movie.path), "--frame", str(self.frame), "--channel", str(self.channel),
            *dataset, "--voxel-size", *size,
        ]  # fmt: skip

    def _start(self, arguments: list[str]) -> None:
        if self.learner.is_running:
            raise InputError("training", "going on", "its end, or Cancel")
        self.learner.start(arguments)
        self.controls.show_running(True)

    def _told(self, said: dict[str, Any]) -> None:
        if "fraction" in said:
            self.controls.show_progress(said["network"], said["fraction"], said["loss"])
        elif "found" in said:
            self.controls.say(f"frame {said['frame']}: {said['found']} cells found")

    def _ended(self, error: str) -> None:
        self.controls.show_running(False)
        if error:
            self.controls.say(f"<b>{error}</b>")
            return
        for layer in (self.found, self.doubt):
            layer.data.forget()
            layer.refresh()
        self.found.visible = True
        self._read_places()

    # ---- where to draw next --------------------------------------------------------------------------

    def _read_places(self) -> None:
        path = self.drawings.folder / "where_to_draw.csv"
        self.places = pd.read_csv(path) if path.is_file() else pd.DataFrame()
        self.place = -1
        self.controls.show_places(self.places)

    def next_place(self) -> None:
        """Go to the next place in doubt."""
        self.go_to(self.place + 1)

    def previous_place(self) -> None:
        """Go to the place in doubt before."""
        self.go_to(self.place - 1)

    def go_to(self, row: int) -> None:
        """Go to a place of the list, counted from 0."""
        if not len(self.places):
            raise InputError("places", 0, "a list of them: train first")
        self.place = row % len(self.places)
        place = self.places.iloc[self.place]
        at = [int(place[name]) for name in ("frame", "z", "y", "x")]
        for axis, step in enumerate(at[: 1 if self._flat else 2]):
            self.viewer.dims.set_current_step(axis, step)
        world = np.array(at[-2:]) * np.asarray(self.labels.scale)[-2:]
        self.viewer.scene.camera.center = (0.0, float(world[0]), float(world[1]))
        self.controls.choose_place(self.place)
        self.controls.say(f"place {self.place + 1} of {len(self.places)}: {place['reason']}")

    # ---- what is seen and kept -----------------------------------------------------------------------

    def set_channel(self, channel: int) -> None:
        """Draw in another channel."""
        self.save()
        self.channel = channel
        self.labels.data = self._sheet()
        for layer in (self.found, self.doubt):
            layer.data.forget()
            layer.refresh()
        for name in [layer.name for layer in self.viewer.layers if layer.name.startswith("channel ")]:
            self.viewer.layers[name].visible = name == f"channel {channel}"
        self.draw_cell(next_free=True)
        self.refresh()

    def save(self) -> None:
        """Write what was drawn since."""
        self.timer.stop()
        self.labels.data.save()
        self.controls.show_state()

    def _moved(self, _: Any = None) -> None:
        if self.frame != self._shown:
            if self.cell > 0:
                self.labels.selected_label = max(2, int(self.labels.data.frame(self.frame).max()) + 1)
            self.refresh()

    _shown, _closed = -1, False

    def refresh(self) -> None:
        """Show what is known of the frame."""
        self._shown = self.frame
        self.controls.show_state()

    def _layer_removed(self, event: Any) -> None:
        if event.value is self.labels:
            self.close_annotation()

    def close_annotation(self) -> None:
        """Save, and end what is at work."""
        if self._closed:
            return
        self._closed = True
        self.timer.stop()
        self.labels.data.save()
        self.learner.cancel()
        self.viewer.dims.events.current_step.disconnect(self._moved)
        self.viewer.layers.events.removed.disconnect(self._layer_removed)


def _colormap() -> Any:
    """Return the colours of drawn labels: background blue, cells as in all figures."""
    from napari.utils.colormaps import DirectLabelColormap

    colours = label_colors(np.arange(1, _COLOURS))
    cells = {n + 2: (*map(float, colour), 1.0) for n, colour in enumerate(colours)}
    return DirectLabelColormap(
        color_dict={None: OKABE_ITO["orange"], 0: "transparent", 1: (0.1, 0.3, 1.0, 1.0), **cells}
    )

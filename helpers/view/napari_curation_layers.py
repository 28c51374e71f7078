"""Layers of a movie that is being corrected, and what lies under the mouse.

``labels`` shows the curated labels, a frame read only when it is looked at; napari's brush draws on it. ``tracks`` and
``confirmed links`` show the links of some frames before the one shown; ``confirmed``, ``selected`` and ``points`` mark cells and
points of the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from helpers.curation.cells import Cell, Stroke
from helpers.curation.graph import Graph
from helpers.curation.positions import Positions
from helpers.curation.state import State
from helpers.curation.suspects.signs import Cells
from helpers.curation.trees import Founders, begins_branch
from helpers.view.napari_frames import DrawnFrames
from helpers.view.style import OKABE_ITO

#: Frames before the one shown whose links are drawn.
TAIL = 12
#: Feature of tracks that colours them.
_COLOUR = "colour"
_NONE: frozenset[int] = frozenset()
#: Steps a voxel in which a line of sight is followed.
_FINE = 2


class EditedLabels(DrawnFrames):
    """The curated labels, a frame in memory only while it is looked at.

    What napari's brush writes is kept aside until `strokes` takes it: the log decides what becomes of it.

    Parameters
    ----------
    state : State
    """

    def __init__(self, state: State) -> None:
        super().__init__(state.shape)
        self._state = state
        self._drawn: dict[int, np.ndarray] = {}

    def frame(self, t: int) -> np.ndarray:
        """Return a frame (Z, Y, X), with what is being drawn in it."""
        return self._drawn[t] if t in self._drawn else self._state.labels.frame(t)

    def _draw(self, t: int, where: tuple, values: Any) -> None:
        if t not in self._drawn:
            self._drawn[t] = self._state.labels.frame(t).copy()
        self._shown(t)[where] = values

    def strokes(self) -> list[tuple[Stroke, int]]:
        """Return what was drawn since, with the label it was drawn in (0: erased), and take it off."""
        found = []
        for t, drawn in sorted(self._drawn.items()):
            flat = drawn.reshape(-1)
            index = np.flatnonzero(flat != self._state.labels.frame(t).reshape(-1))
            found += [
                (Stroke(t, index[flat[index] == label]), int(label)) for label in np.unique(flat[index])
            ]
        self._drawn.clear()
        return found


def cell_under(layer: Any, state: State, viewer: Any, position: Sequence[float]) -> Cell:
    """Return the cell at a place of the world; in 3D the first one on the line of sight.

    Raises
    ------
    InputError
        On background, or outside the movie.
    """
    displayed = list(viewer.dims.displayed)
    if len(displayed) == 3 and layer.ndim == 4:
        direction = viewer.scene.camera.calculate_nd_view_direction(viewer.dims.ndim, viewer.dims.displayed)
        start, end = layer.get_ray_intersections(position, direction, displayed, world=True)
        if start is not None and end is not None:
            steps = max(2, int(_FINE * np.abs(end - start).max()))
            points = np.rint(np.linspace(start, end, steps)).astype(int)
            points = points[((points >= 0) & (points < layer.data.shape)).all(axis=1)]
            frame = state.labels.frame(int(points[0, 0]))
            hit = np.flatnonzero(frame[tuple(points[:, 1:].T)])
            place = points[hit[0]] if len(hit) else points[0]
            return state.cell_at(int(place[0]), place[1:])
    place = np.rint(layer.world_to_data(position)).astype(int)
    return state.cell_at(int(place[0]), place[1:])


class CurationLayers:
    """The layers that follow the edits.

    Parameters
    ----------
    viewer : napari.Viewer
    state : State
    placed : dict
        Scale, units and axis labels of the movie's layers.
    """

    def __init__(self, viewer: Any, state: State, placed: dict[str, Any]) -> None:
        self.viewer, self.state = viewer, state
        self.graph: Graph = state.graph
        self.positions, self.founders = Positions(state), Founders(state.graph)
        self.shown: set[int] | None = None
        self.data = EditedLabels(state)
        self._size = np.array(state.automatic.voxel_size)
        self._flat = state.shape[1] == 1
        self.labels = viewer.add_labels(self.data, name="labels", opacity=0.4, **placed)
        self.labels.contour = 1
        empty = np.empty((0, self.data.ndim))
        wide = {"tail_length": TAIL, "head_length": 0, "blending": "translucent_no_depth"}
        start = np.zeros((1, 1 + self.data.ndim))  # napari draws no empty tracks
        self.tracks = viewer.add_tracks(start, name="tracks", **wide, **placed)
        self.confirmed_links = viewer.add_tracks(
            start, name="confirmed links", tail_width=5, features={_COLOUR: [1.0]}, color_by=_COLOUR,
            colormaps_dict={_COLOUR: _one(OKABE_ITO["green"])}, **wide, **placed,
        )  # fmt: skip
        diameter = Cells(state.automatic.tracks, state.shape, state.automatic.voxel_size).diameter
        side = float(diameter / self._size[2])
        ring = {"face_color": "transparent", "border_width": 0.04, "blending": "translucent_no_depth"}
        self.confirmed = viewer.add_points(
            empty, name="confirmed", symbol="square", size=side / 8, face_color=OKABE_ITO["green"],
            border_color="white", border_width=0.2, blending="translucent_no_depth", **placed,
        )  # fmt: skip
        self.chosen = viewer.add_points(
            empty, name="selected", symbol="disc", size=1.3 * side, border_color=OKABE_ITO["yellow"],
            features={"order": np.empty(0, int)}, text={"string": "{order}", "color": OKABE_ITO["yellow"], "size": 11},
            **ring, **placed,
        )  # fmt: skip
        self.points = viewer.add_points(
            empty,
            name="points",
            symbol="cross",
            size=side / 2,
            face_color=OKABE_ITO["vermillion"],
            blending="translucent_no_depth",
            **placed,
        )
        viewer.layers.selection.active = self.labels

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return int(self.viewer.dims.current_step[0])

    def refresh(
        self, cells: Sequence[Cell], points: Sequence[Sequence[float]], *, labels: bool = False
    ) -> None:
        """Draw anew what a choice or another frame can change; the labels too, after an edit."""
        active = self.viewer.layers.selection.active
        if labels:
            self.labels.refresh(extent=False, thumbnail=False)
        self._draw_links()
        self._draw_marks(cells, points)
        self.viewer.layers.selection.active = active

    def _window(self) -> list[int]:
        """Ids of the frame that is shown and of some before, of tracks that are not hidden."""
        frames = range(max(0, self.frame - TAIL), self.frame + 1)
        ids = [i for t in frames for i in self._of_frame(t)]
        if self.shown is not None:
            ids = [i for i in ids if self.founders.of(i) in self.shown]
        return ids

    def _of_frame(self, t: int) -> list[int]:
        return sorted(self.graph.ids_in.get(t, ()))

    def _draw_links(self) -> None:
        ids = self._window()
        place = dict(zip(ids, self._data_points(ids), strict=True))
        inside = set(ids)
        rows, tracks, graph, branch = [], [], {}, {}
        for i in ids:  # in order of time
            sources = self.graph.sources.get(i, _NONE)
            if begins_branch(self.graph, i) or inside.isdisjoint(sources):
                branch[i] = i
                if before := sorted({branch[j] for j in sources if j in inside}):
                    graph[i] = before
            else:
                branch[i] = branch[next(iter(sources))]
            rows.append((branch[i], *place[i]))
            tracks.append(self.founders.of(i))
        _set_tracks(self.tracks, rows, _colours(tracks), graph)
        links = [mark[1:] for mark in self.graph.marks if mark[0] == "link"]
        pairs = [(a, b) for a, b in links if a in inside and b in inside]
        rows = [(k, *place[i]) for k, pair in enumerate(pairs) for i in pair]
        _set_tracks(self.confirmed_links, rows, np.ones(len(rows)), {})

    def _draw_marks(self, cells: Sequence[Cell], points: Sequence[Sequence[float]]) -> None:
        known = [i for i in self._of_frame(self.frame) if ("cell", i) in self.graph.marks]
        _set_points(self.confirmed, self._in_plane(self._data_points(known)))
        here = [(k, cell) for k, cell in enumerate(cells, start=1) if cell.frame == self.frame]
        places = [self.place_of(cell) for _, cell in here]
        order = {"order": [k for k, _ in here]}
        _set_points(
            self.chosen, self._in_plane(np.array(places, float).reshape(len(here), self.data.ndim)), order
        )
        at = np.array([[0.0] * (3 - len(p)) + list(p) for p in points], float).reshape(-1, 3)
        at = np.column_stack([np.full(len(at), self.frame), at[:, 1:] if self._flat else at])
        _set_points(self.points, self._in_plane(at))

    def _data_points(self, ids: Sequence[int]) -> np.ndarray:
        """Places (n, ndim) of objects, in voxels of the layers."""
        at = self.positions.of(ids) / self._size
        frames = [self.graph.cell_of[i][0] for i in ids]
        return np.column_stack([frames, at[:, 1:] if self._flat else at]).reshape(-1, self.data.ndim)

    def place_of(self, cell: Cell) -> np.ndarray:
        """Return the place (ndim,) of a cell, in voxels of the layers; of one that is gone, the middle of the picture."""
        i = self.graph.id_at.get(cell.key)
        if i is not None:
            return self._data_points([i])[0]
        at = np.argwhere(self.state.labels.frame(cell.frame) == cell.label)
        middle = at.mean(axis=0) if len(at) else np.array(self.state.shape[1:]) / 2
        return np.array([cell.frame, *(middle[1:] if self._flat else middle)])

    def _in_plane(self, places: np.ndarray) -> np.ndarray:
        """Marks lie in the plane that is shown, wherever in depth the cell's centre is."""
        if not self._flat and self.viewer.dims.ndisplay == 2 and len(places):
            places[:, 1] = self.viewer.dims.current_step[1]
        return places

    def go_to(self, cell: Cell, *, centre: bool = False) -> None:
        """Show a cell's frame, and the plane of its centre."""
        place = self.place_of(cell)
        world = np.asarray(self.labels.data_to_world(place))
        self.viewer.dims.set_current_step(0, cell.frame)
        if not self._flat and self.viewer.dims.ndisplay == 2:
            self.viewer.dims.set_current_step(1, int(np.rint(place[1])))
        if centre:
            shown = [axis for axis in self.viewer.dims.displayed if axis > 0]
            self.viewer.scene.camera.center = (0.0,) * (3 - len(shown)) + tuple(
                float(world[axis]) for axis in shown
            )


def _set_points(layer: Any, places: np.ndarray, features: dict[str, list] | None = None) -> None:
    """Move the marks, where they are others: napari takes its time over it."""
    same = np.array_equal(layer.data, places)
    if not same:
        layer.data = places
    if features is not None and not (same and layer.features.to_dict("list") == features):
        layer.features = features


def _set_tracks(layer: Any, rows: list, values: np.ndarray, graph: dict[int, list[int]]) -> None:
    """Draw other tracks, where they are others; `values` are the colours, from 0 to 1."""
    if layer.visible != bool(rows):  # napari draws all anew for it
        layer.visible = bool(rows)
    if not rows:
        return
    table = np.array(rows, float)
    order = np.lexsort((table[:, 1], table[:, 0]))
    table, values = table[order], values[order]
    same = np.array_equal(layer.data, table) and np.array_equal(layer.features.get(_COLOUR, ()), values)
    if same and layer.graph == graph:
        return
    with layer.events.blocker_all():  # it falls back to another colour between two lines
        layer.color_by = "track_id"
    layer.data = table
    layer.features = {_COLOUR: values}
    layer.color_by = _COLOUR
    layer.graph = graph


def _colours(tracks: Sequence[int]) -> np.ndarray:
    """Spread numbers of tracks over the colours, the same for the same number at all times."""
    return (np.asarray(tracks, float) * 0.6180339887498949) % 1.0


def _one(color: str) -> Any:
    from napari.utils import Colormap
    from napari.utils.color import ColorValue

    return Colormap([ColorValue(color)] * 2, name=color)

"""Keys of the curation dock. They act wherever the focus is, but not while something is typed into a field.

An edit's key stands beside it in `helpers.view.curation_actions`; here are those that choose, look and help.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from helpers.curation.cells import Cell
from helpers.errors import InputError
from helpers.view.curation_actions import ACTIONS

if TYPE_CHECKING:
    from helpers.view.napari_curation import CurationDock


def _select_under(dock: CurationDock) -> None:
    dock.choose([dock.under_mouse()], go=False)


def _add_under(dock: CurationDock) -> None:
    cell = dock.under_mouse()
    dock.choose([*[c for c in dock.desk.chosen() if c.key != cell.key], cell], go=False)


def _next_free(dock: CurationDock) -> None:
    dock.layers.labels.selected_label = dock.state.highest_label + 1
    dock.layers.labels.mode = "paint"
    dock.say(f"paint cell {dock.state.highest_label + 1}; press 6 to select cells again")


def _point_under(dock: CurationDock) -> None:
    place = dock.layers.labels.world_to_data(dock.viewer.cursor.position)
    at = (0.0, *place[1:]) if len(place) == 3 else place[1:]
    dock.choose_points([*dock.desk.chosen_points(), tuple(float(round(a)) for a in at)])


def _choose_none(dock: CurationDock) -> None:
    dock.desk.choose_points([])
    dock.choose([])


def _along(step: int, *, add: bool = False) -> Callable[[CurationDock], None]:
    """Go along the track of the cell that was chosen last."""

    def go(dock: CurationDock) -> None:
        chosen = dock.desk.chosen()
        graph = dock.state.graph
        i = graph.id_at.get(chosen[-1].key) if chosen else None
        if i is None:
            raise InputError("cells", "", "select a cell that is tracked first")
        reached = sorted((graph.targets if step > 0 else graph.sources).get(i, ()))
        if not reached:
            raise InputError(str(chosen[-1]), "the end of its track", "a cell that is linked further")
        cell = dock.state.cell(reached[0])
        dock.choose([*chosen, cell] if add else [cell])

    return go


def _beside(step: int, *, add: bool = False) -> Callable[[CurationDock], None]:
    """Go through the cells of the frame, in the order of their labels."""

    def go(dock: CurationDock) -> None:
        import numpy as np

        labels = np.unique(dock.state.labels.frame(dock.frame))
        labels = labels[labels > 0].tolist()
        if not labels:
            raise InputError("frame", dock.frame, "a frame with cells")
        chosen = dock.desk.chosen()
        here = [c.label for c in chosen if c.frame == dock.frame and c.label in labels]
        k = (labels.index(here[-1]) + step) % len(labels) if here else (0 if step > 0 else -1)
        cell = Cell(dock.frame, labels[k])
        dock.choose([*[c for c in chosen if c.key != cell.key], cell] if add else [cell])

    return go


def _show_all(dock: CurationDock) -> None:
    dock.track_page.show_all()


def _delete_shown(dock: CurationDock) -> None:
    dock.track_page.delete_shown()


def _lineages(dock: CurationDock) -> None:
    dock.say(f"written: {dock.track_page.write_lineages()}")


def _page(index: int) -> Callable[[CurationDock], None]:
    def go(dock: CurationDock) -> None:
        dock.tabs.setCurrentIndex(index)

    return go


def _field(name: str) -> Callable[[CurationDock], None]:
    def go(dock: CurationDock) -> None:
        field = getattr(dock, name)
        field.setFocus()
        field.selectAll()

    return go


def _filter_field(dock: CurationDock) -> None:
    dock.tabs.setCurrentIndex(1)
    dock.track_page.filter.setFocus()


#: Key → what it does, in words, and the function.
MOVES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "Q": ("select the cell under the mouse; the brush takes its label", _select_under),
    "Shift-Q": ("add the cell under the mouse to the selection", _add_under),
    "W": ("paint a new cell: the brush with the next free label", _next_free),
    "S": ("put a point under the mouse, for splitting", _point_under),
    "Backspace": ("clear the selection and the points", _choose_none),
    "Control-Right": ("the next cell of the track", _along(1)),
    "Control-Left": ("the previous cell of the track", _along(-1)),
    "Control-Shift-Right": ("add the next cell of the track to the selection", _along(1, add=True)),
    "Control-Shift-Left": ("add the previous cell of the track to the selection", _along(-1, add=True)),
    "Shift-Right": ("the next cell of this frame", _beside(1)),
    "Shift-Left": ("the previous cell of this frame", _beside(-1)),
    "Alt-Right": ("add the next cell of this frame to the selection", _beside(1, add=True)),
    "Alt-Left": ("add the previous cell of this frame to the selection", _beside(-1, add=True)),
    "Control-A": ("show all tracks", _show_all),
    "Shift-Delete": ("delete all tracks that are shown; set a filter first", _delete_shown),
    "Control-L": ("write the lineages as a text file: id, start, end, parent", _lineages),
    "Control-K": ("type cells", _field("cells")),
    "Control-P": ("type points", _field("points")),
    "Control-F": ("filter the tracks that are shown", _filter_field),
    "F2": ("the Edit page", _page(0)),
    "F3": ("the Tracks page", _page(1)),
    "F4": ("the Suspects page", _page(2)),
    "F5": ("the Edits page: everything done so far", _page(3)),
    "F1": ("this help", _page(4)),
}


def bind_keys(dock: CurationDock) -> None:
    """Let keys act, whichever layer is active; the labels' own keys give way."""
    functions = {action.key: _action(dock, name) for name, action in ACTIONS.items()}
    functions |= {key: _move(dock, go) for key, (_, go) in MOVES.items()}
    for key, function in functions.items():
        for owner in (dock.viewer, dock.layers.labels):
            owner.bind_key(key, function, overwrite=True)


def _action(dock: CurationDock, name: str) -> Callable[[Any], None]:
    return lambda _: dock.act(name)


def _move(dock: CurationDock, go: Callable[[Any], None]) -> Callable[[Any], None]:
    def press(_: Any) -> None:
        try:
            go(dock)
        except InputError as error:
            dock.say(f"<b>not done:</b> {error}")

    return press

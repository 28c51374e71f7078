"""What can be done while correcting, by name, with its key in napari. mmv_h4tracks' keys do here what they do there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from helpers.curation import confirming
from helpers.curation.cells import Cell
from helpers.curation.operations.relink import usual_tracker
from helpers.curation.suspects.fixes import usual_fix
from helpers.errors import InputError
from helpers.view.curation_desk import Desk


@dataclass(frozen=True)
class Action:
    """One thing to do.

    Attributes
    ----------
    key : str
        In napari's notation.
    tip : str
        What it does, in words.
    do : callable
        Takes the desk, and may return a message.
    """

    key: str
    tip: str
    do: Callable[[Desk], str | None]


def act(desk: Desk, action: Action) -> str:
    """Do it; return a message: what was done, or why it was not."""
    try:
        return action.do(desk) or ""
    except InputError as error:
        return f"<b>not done:</b> {error}"


def _on_one(operation: str) -> Callable[[Desk], str]:
    return lambda desk: desk.do(operation, cell=desk.one())


def _on_two(operation: str, first: str, second: str, *, in_time: bool = False) -> Callable[[Desk], str]:
    def do(desk: Desk) -> str:
        cells = desk.two()
        if in_time:
            cells = sorted(cells, key=lambda cell: cell.frame)
        return desk.do(operation, **{first: cells[0], second: cells[1]})

    return do


def _confirm(what: Callable[..., dict]) -> Callable[[Desk], str]:
    return lambda desk: desk.do("confirm", **what(desk.curation.state, desk.one()))


def _split(operation: str, name: str) -> Callable[[Desk], str]:
    def do(desk: Desk) -> str:
        message = desk.do(operation, cell=desk.one(), **{name: desk.chosen_points()})
        desk.choose_points([])
        return message

    return do


def _division(desk: Desk) -> str:
    mother, daughters = desk.first()
    return desk.do("set_division", mother=mother, daughters=daughters)


def _no_division(desk: Desk) -> str:
    mother, keep = desk.first()
    return desk.do("remove_division", mother=mother, keep=keep[0] if keep else None)


def _confirm_link(desk: Desk) -> str:
    source, target = sorted(desk.two(), key=lambda cell: cell.frame)
    return desk.do("confirm", **confirming.link(desk.curation.state, source, target))


def _confirm_track(correct: bool) -> Callable[[Desk], str]:
    def do(desk: Desk) -> str:
        """Suspects select two cells of a track; they speak of one."""
        state, (cell, others) = desk.curation.state, desk.first()
        arguments = confirming.track(state, cell)
        if not {other.key for other in others} <= {member.key for member in arguments["cells"]}:
            cell = desk.one()
        return desk.do("confirm", **arguments | {"correct": correct})

    return do


def _relink(desk: Desk) -> str:
    return desk.do("relink", **usual_tracker(desk.curation.state))


def _fix(desk: Desk) -> str:
    row = desk.suspect
    if row is None:
        raise InputError("suspects", "none left", "a suspect to correct")
    operation, arguments = usual_fix(desk.curation.state, row)
    message = desk.do(operation, **arguments)
    desk.move(1)
    return message


def _undo(desk: Desk) -> str:
    return f"undone: {desk.curation.undo().operation}"


def _redo(desk: Desk) -> str:
    return f"redone: {desk.curation.redo().operation}"


def _piece(desk: Desk) -> Cell:
    """The selected cell at the fragment that was clicked, or at the first point."""
    cell, points = desk.one(), desk.chosen_points()
    if cell.at is None and points:
        z, y, x = ([0.0] * (3 - len(points[0])) + list(points[0]))[:3]
        return Cell(cell.frame, cell.label, (round(z), round(y), round(x)))
    return cell


#: Titles of groups → name of an action → the action.
GROUPS: dict[str, dict[str, Action]] = {
    "suspects": {
        "next": Action("N", "the next suspect", lambda desk: desk.move(1)),
        "previous": Action("Shift-N", "the previous suspect", lambda desk: desk.move(-1)),
        "confirm": Action(
            "O",
            "this is correct: never list it again, and keep it when a step is run again",
            Desk.confirm_suspect,
        ),
        "fix": Action("J", "apply the usual correction for this kind of suspect", _fix),
        "rank again": Action(
            "Shift-R", "list what is still suspicious after your edits", lambda desk: desk.rank()
        ),
    },
    "cells": {
        "remove": Action(
            "R", "remove a cell, or the fragment that was clicked, from this frame", _on_one("remove")
        ),
        "remove from here on": Action(
            "Shift-D", "remove a cell from this frame and all later ones", _on_one("remove_from_here_on")
        ),
        "merge": Action(
            "A", "merge the second selected cell into the first", _on_two("merge", "keep", "other")
        ),
        "separate": Action(
            "H",
            "make the clicked fragment a cell of its own",
            lambda desk: desk.do("separate", cell=_piece(desk)),
        ),
        "split by seeds": Action(
            "Shift-S", "split a cell into one part per point", _split("split_by_seeds", "seeds")
        ),
        "split by line": Action(
            "Shift-X",
            "split a cell along the line through two points, or the plane through three",
            _split("split_by_plane", "points"),
        ),
        "fill holes": Action("Shift-F", "fill the holes of a cell", _on_one("fill_holes")),
        "interpolate": Action(
            "I",
            "draw a cell in the frames that are missing between two of its outlines",
            _on_two("interpolate", "first", "last", in_time=True),
        ),
        "relabel fragments": Action(
            "Shift-H",
            "make each fragment in this frame a cell of its own",
            lambda desk: desk.do("relabel_fragments", frame=desk.frame),
        ),
        "align labels": Action(
            "Shift-A",
            "give each tracked cell the number of its tracklet as its label",
            lambda desk: desk.do("align_labels"),
        ),
    },
    "tracks": {
        "link": Action(
            "K",
            "link cells of different frames; links that contradict this are removed",
            lambda desk: desk.do("link", cells=desk.chosen(), replace=True),
        ),
        "unlink": Action(
            "U",
            "remove the links between two cells of a track",
            _on_two("unlink", "first", "last", in_time=True),
        ),
        "cut": Action("C", "start a new track with this cell", _on_one("cut")),
        "swap": Action(
            "T", "swap the tracks of two cells from this frame on", _on_two("swap", "one", "other")
        ),
        "follow": Action(
            "G",
            "track this cell by overlap from this frame on, until a link contradicts it",
            _on_one("follow"),
        ),
        "follow again": Action(
            "Shift-G",
            "track this cell by overlap from this frame on, replacing links that are not confirmed",
            lambda desk: desk.do("follow", cell=desk.one(), replace=True),
        ),
        "tracks from labels": Action(
            "Control-T",
            "link cells with the same label in consecutive frames, where nothing is linked yet",
            lambda desk: desk.do("tracks_from_labels"),
        ),
        "relink": Action(
            "Shift-T", "track all cells again, as notebook 10_track did, keeping confirmed links", _relink
        ),
        "delete tracks": Action(
            "Delete",
            "delete the tracks of the selected cells; their labels stay",
            lambda desk: desk.do("delete_tracks", cells=desk.chosen()),
        ),
    },
    "divisions": {
        "set division": Action("D", "the first selected cell divides into the others", _division),
        "remove division": Action(
            "Shift-U",
            "the first selected cell does not divide: it continues as the second, or ends",
            _no_division,
        ),
        "set parent": Action(
            "Shift-K",
            "the second selected cell is the parent of the first",
            _on_two("set_parent", "daughter", "parent"),
        ),
    },
    "confirm": {
        "confirm cell": Action("Y", "the outline of this cell is correct", _confirm(confirming.cell)),
        "confirm link": Action("Shift-L", "the link between two cells is correct", _confirm_link),
        "confirm track": Action(
            "Shift-Y", "all cells and links of this track are correct", _confirm_track(True)
        ),
        "confirm division": Action("Shift-M", "this cell divides as it does", _confirm(confirming.division)),
        "confirm frame": Action(
            "Shift-C",
            "all cells of this frame are outlined, and outlined correctly",
            lambda desk: desk.do("confirm", **confirming.frame(desk.curation.state, desk.frame)),
        ),
        "unconfirm track": Action("Shift-O", "this track is no longer confirmed", _confirm_track(False)),
    },
    "edits": {
        "undo": Action("Control-Z", "undo the last edit", _undo),
        "redo": Action("Control-Shift-Z", "redo it", _redo),
    },
}
ACTIONS: dict[str, Action] = {name: action for group in GROUPS.values() for name, action in group.items()}

"""Editing one movie of a run: do, undo, redo; every edit is on the disk before it is seen."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from helpers.curation import log as logs
from helpers.curation.arguments import to_plain
from helpers.curation.automatic import Automatic, difference
from helpers.curation.cells import Cell
from helpers.curation.draft import Draft, finished
from helpers.curation.lock import lock_for, unlock, whoami
from helpers.curation.log import REDO, UNDO, Edit, LogContent
from helpers.curation.operations import OPERATIONS
from helpers.curation.state import State
from helpers.errors import InputError, nearest

LOG = "edits.jsonl"


class Curation:
    """A person corrects a movie; used as a context, it is closed at the end.

    Parameters
    ----------
    folder : path-like
        ``<run>/movies/<id>``, with the results of notebooks 06_segment (or 07_segment_cellpose) and 10_track.
    author : str, optional
        Who edits; the name of who is logged in where left out.

    Attributes
    ----------
    state : State

    Raises
    ------
    InputError
        Someone else edits it; the log is of another movie; segmentation or tracking ran anew since the log was begun
        (`helpers.curation.rebase` repeats the edits); the folder cannot be written.

    Examples
    --------
    >>> with Curation("runs/demo/movies/movie", author="ann") as curation:  # doctest: +SKIP
    ...     cell = curation.state.cell_at(3, (5, 40, 62))
    ...     curation.do("remove", cell=cell)
    ...     curation.undo()
    """

    def __init__(self, folder: str | Path, author: str | None = None) -> None:
        self.folder = Path(folder)
        self.author = author or whoami()
        automatic = Automatic.open(self.folder)
        self._lock = lock_for(self.folder, self.author)
        try:
            content = open_log(self.folder, automatic, begin=True)
            self.state = State(automatic, content.edits, content.header["highest_label"])
            self._header, self._size = content.header, content.size
        except BaseException:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """The log."""
        return self.folder / LOG

    def do(self, operation: str, **arguments: Any) -> Edit:
        """Do one edit.

        Parameters
        ----------
        operation : str
            A name in `helpers.curation.operations.OPERATIONS`.
        **arguments
            As the operation takes them.

        Returns
        -------
        Edit
            As it stands in the log.

        Raises
        ------
        InputError
            The operation refuses, or it would change nothing, or the log cannot be written. Nothing has changed then.
        """
        return self.repeat(operation, arguments, self.author)

    def repeat(
        self,
        operation: str,
        arguments: dict[str, Any],
        author: str,
        time: str | None = None,
        origin: str | None = None,
    ) -> Edit:
        """Do an edit that someone has made before, under their name."""
        changes = changes_of(self.state, operation, arguments)
        known = {name: value for name, value in {"time": time, "origin": origin}.items() if value}
        edit = Edit(operation, to_plain(arguments, self.state.labels), author, changes, **known)
        self._append(edit)
        self.state.do(edit)
        return edit

    def undo(self) -> Edit:
        """Take the last edit in force back; return it.

        Raises
        ------
        InputError
            There is none, or the log cannot be written.
        """
        if not self.state.done:
            raise InputError("undo", "no edit in force", "there is nothing to undo")
        edit = self.state.done[-1]
        self._append(Edit(UNDO, {}, self.author, of=edit.id))
        self.state.undo()
        return edit

    def redo(self) -> Edit:
        """Bring the edit back that was taken back last, until a new one is made; return it.

        Raises
        ------
        InputError
            There is none, or the log cannot be written.
        """
        if not self.state.undone:
            raise InputError("redo", "nothing undone since the last edit", "there is nothing to redo")
        edit = self.state.undone[-1]
        self._append(Edit(REDO, {}, self.author, of=edit.id))
        self.state.redo()
        return edit

    def _append(self, edit: Edit) -> None:
        """Write a line; the first one begins the log, so that who only looks leaves none."""
        if self._size == 0:
            self._size = logs.write_log(self.path, self._header)
        self._size = logs.append(self.path, edit, self._size)

    def cell_at(self, frame: int, at: Any) -> Cell:
        """Return the cell under a click; see `State.cell_at`."""
        return self.state.cell_at(frame, at)

    def close(self) -> None:
        """Let others edit. Nothing has to be saved: the log has every edit."""
        unlock(self._lock, self.folder)

    def __enter__(self) -> Curation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def changes_of(state: State, operation: str, arguments: dict[str, Any]):
    """Return what an edit would change.

    Raises
    ------
    InputError
        There is no such operation, it refuses, its arguments are not those it takes, or nothing would change.
    """
    if operation not in OPERATIONS:
        raise InputError("operation", operation, nearest(operation, OPERATIONS))
    draft = Draft(state)
    OPERATIONS[operation](draft, **arguments)
    return finished(draft.finish(), operation, arguments.values())


def open_log(folder: Path, automatic: Automatic, *, begin: bool = False) -> LogContent:
    """Read a movie's log, and make sure that it is of this movie and of its automatic result.

    Parameters
    ----------
    folder : Path
    automatic : Automatic
    begin : bool
        Where there is none, return what it would begin with; its size is 0.

    Raises
    ------
    InputError
        A log of another movie, or of another segmentation or tracking of it.
    """
    path = folder / LOG
    if begin and not path.exists():
        return LogContent(
            logs.header(automatic.about(), automatic.fingerprint, automatic.highest_label()), [], 0
        )
    content = logs.read_log(path)
    check_movie(path, content, automatic)
    if differs := difference(content.header["automatic"], automatic.fingerprint):
        raise InputError(
            str(path),
            f"{differs} differ from those that the edits were made on",
            "run 'python -m helpers replay RUN': it repeats the edits on the new result and lists what it could not",
        )
    return content


def check_movie(path: Path, content: LogContent, automatic: Automatic) -> None:
    """Refuse the log of another movie."""
    theirs, ours = content.header["movie"], automatic.about()
    if theirs != ours:
        differing = {name: value for name, value in theirs.items() if value != ours.get(name)}
        raise InputError(
            str(path), differing, f"the log of this movie: { ({name: ours[name] for name in differing}) }"
        )

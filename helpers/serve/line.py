"""A queue in which everybody is served in the order of arrival, and knows how many are before them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class LineFull(Exception):
    """Too many wait already."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        super().__init__(f"{waiting} requests wait already, and this server keeps no more: try again later")


class Gone(Exception):
    """Whoever waited no longer does: they left, or their deadline has passed."""


class Line:
    """Lets `places` in at a time, the others wait in the order of their coming.

    Parameters
    ----------
    places : int
        How many are served at once.
    most_waiting : int
        How many may wait; more are refused.
    """

    def __init__(self, places: int = 1, most_waiting: int = 64) -> None:
        self._places = places
        self._most = most_waiting
        self._inside = 0
        self._waiting: list[object] = []
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def inside(self) -> int:
        """How many are being served."""
        return self._inside

    @contextmanager
    def turn(self, alive: Callable[[], bool], told: Callable[[int], object] | None = None) -> Iterator[None]:
        """Wait for one's turn, and hold it.

        Parameters
        ----------
        alive : callable
            Says whether the turn is still wanted; asked several times a second.
        told : callable, optional
            Called with the number of those before, at first and whenever it changes.

        Raises
        ------
        LineFull
            Too many wait already.
        Gone
            The turn is no longer wanted.
        """
        ticket = object()
        with self._changed:
            if self._inside >= self._places and len(self._waiting) >= self._most:
                raise LineFull(len(self._waiting))
            self._waiting.append(ticket)
        try:
            self._wait(ticket, alive, told)
        except BaseException:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()
            raise
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def _wait(self, ticket: object, alive: Callable[[], bool], told: Callable[[int], object] | None) -> None:
        before = -1
        while True:
            with self._changed:
                position = self._waiting.index(ticket)
                if position == 0 and self._inside < self._places:
                    self._waiting.pop(0)
                    self._inside += 1
                    self._changed.notify_all()
                    return
                ahead = position + self._inside
                if ahead == before:
                    self._changed.wait(0.2)
            if not alive():
                raise Gone
            if told and ahead != before:
                told(ahead)
            before = ahead

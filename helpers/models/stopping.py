"""Work that nobody waits for any longer ends between the parts in which networks do it: tiles, planes, batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_CHECK: ContextVar[Callable[[], object]] = ContextVar("check", default=lambda: None)


@contextmanager
def stopped_by(check: Callable[[], object]) -> Iterator[None]:
    """Call `check` before every part of what this thread does within; what it raises ends the work."""
    before = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(before)


def go_on() -> None:
    """Return, or raise what the check raises that this thread works under."""
    _CHECK.get()()

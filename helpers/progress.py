"""Progress bars that a person sees in the notebook and a batch run sees from outside.

A notebook executed by papermill has nobody looking at its bars, so every bar also writes its state to the
file that the environment variable ``VOLLTRACK_PROGRESS`` names; the runner prints it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

#: Seconds between two writes of the state file.
_INTERVAL = 0.5
_HIDDEN: ContextVar[bool] = ContextVar("hidden", default=False)


@contextmanager
def hidden() -> Iterator[None]:
    """Draw no bars of what this thread does within: a server's log is no place for them."""
    before = _HIDDEN.set(True)
    try:
        yield
    finally:
        _HIDDEN.reset(before)


class progress(tqdm):
    """A `tqdm.auto.tqdm` bar whose state can be followed from another process.

    Parameters
    ----------
    iterable : iterable, optional
        What to iterate over; leave out to call `update` by hand.
    desc : str
        What is being done, such as ``"StarDist"``.
    unit : str
        What is counted, such as ``"epoch"`` or ``"frame"``.
    **kwargs
        Passed to tqdm (``total``, ``initial``, …).

    Examples
    --------
    >>> for t in progress(range(3), desc="Segment", unit="frame"):
    ...     pass
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        *,
        desc: str,
        unit: str = "it",
        **kwargs: Any,
    ) -> None:
        path = os.environ.get("VOLLTRACK_PROGRESS")
        self._state_file = Path(path) if path else None
        self._state_written = 0.0
        if _HIDDEN.get():
            kwargs["disable"] = True
        super().__init__(iterable, desc=desc, unit=unit, **kwargs)
        self._write_state(force=True)

    def update(self, n: float | None = 1) -> bool | None:
        """Advance the bar by `n` and, at most twice a second, its state file."""
        shown = super().update(n)
        self._write_state()
        return shown

    def refresh(self, *args: Any, **kwargs: Any) -> Any:
        """Redraw the bar; tqdm calls this from its own iteration too."""
        self._write_state()
        return super().refresh(*args, **kwargs)

    def close(self) -> None:
        """End the bar and write its last state."""
        if not getattr(self, "disable", False) and hasattr(self, "_state_file"):
            self._write_state(force=True)
        super().close()

    def _write_state(self, *, force: bool = False) -> None:
        if getattr(self, "_state_file", None) is None:
            return
        now = time.monotonic()
        if not force and now - self._state_written < _INTERVAL:
            return
        self._state_written = now
        elapsed = self.format_dict["elapsed"]
        state = {
            "desc": self.desc,
            "unit": self.unit,
            "n": self.n,
            "total": self.total,
            "elapsed_s": round(elapsed, 2),
            "time": time.time(),
        }
        assert self._state_file is not None
        temporary = self._state_file.with_suffix(f".{os.getpid()}.part")
        temporary.write_text(json.dumps(state))
        os.replace(temporary, self._state_file)

"""Arrays (T, Z, Y, X), in 2D (T, Y, X), that layers of napari show and draw in, a frame in memory only while it is needed.

napari's background is 0 and its eraser gives 0, so a layer shows sparse labels moved by one::

    on disk    -1 not annotated    0 background    n a cell
    in napari   0                  1               n + 1
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.drawings import Drawings
from helpers.data.movies import Movie


class Frames:
    """Frames (Z, Y, X) as one array; what a subclass's `frame` returns is not written in.

    Parameters
    ----------
    shape : (T, Z, Y, X)
    dtype : data type
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.int32) -> None:
        self._flat = shape[1] == 1
        self._stack = tuple(shape[1:])
        self.shape = (shape[0], *shape[2:]) if self._flat else tuple(shape)
        self.ndim, self.dtype = len(self.shape), np.dtype(dtype)

    def frame(self, t: int) -> np.ndarray:
        """Return a frame (Z, Y, X)."""
        raise NotImplementedError

    def _shown(self, t: int) -> np.ndarray:
        frame = self.frame(t)
        return frame[0] if self._flat else frame

    def _parts(self, key: Any) -> tuple[Any, tuple]:
        key = key if isinstance(key, tuple) else (key,)
        if Ellipsis in [k for k in key if not isinstance(k, np.ndarray)]:
            at = next(i for i, k in enumerate(key) if k is Ellipsis)
            key = (*key[:at], *[slice(None)] * (self.ndim - len(key) + 1), *key[at + 1 :])
        first, *rest = key or (slice(None),)
        return first, tuple(rest)

    def __getitem__(self, key: Any) -> np.ndarray:
        first, rest = self._parts(key)
        if isinstance(first, slice):
            return np.stack([self._shown(t)[rest] for t in range(*first.indices(self.shape[0]))])
        if isinstance(first, np.ndarray) and first.ndim:
            found = np.zeros(first.shape, self.dtype)
            for t in np.unique(first):
                here = first == t
                found[here] = self._shown(int(t))[tuple(k[here] for k in rest)]
            return found
        return np.array(self._shown(int(first))[rest])


class DrawnFrames(Frames):
    """Frames that napari's tools draw in, each through `_draw`."""

    def _draw(self, t: int, where: tuple, values: Any) -> None:
        """Write in a frame as it is shown."""
        raise NotImplementedError

    def __setitem__(self, key: Any, values: Any) -> None:
        first, rest = self._parts(key)
        if isinstance(first, slice):
            frames = range(*first.indices(self.shape[0]))
            for t, part in zip(frames, np.broadcast_to(values, self[key].shape), strict=True):
                self._draw(t, rest, part)
        elif isinstance(first, np.ndarray) and first.ndim:
            values = np.broadcast_to(values, first.shape)
            for t in np.unique(first):
                here = first == t
                self._draw(int(t), tuple(k[here] for k in rest), values[here])
        else:
            self._draw(int(first), rest, values)


class FrameFiles(Frames):
    """Files of frames as one array; 0 in frames that have none.

    Parameters
    ----------
    shape : (T, Z, Y, X)
    path_of : callable
        Frame → its file.
    dtype : data type
    """

    def __init__(self, shape: tuple[int, ...], path_of: Callable[[int], Path], dtype: Any = np.int32) -> None:
        super().__init__(shape, dtype)
        self.path_of = path_of
        self._frames: dict[int, np.ndarray] = {}

    def frame(self, t: int) -> np.ndarray:
        """Return a frame (Z, Y, X), not to be written in."""
        if t not in self._frames:
            self._forget_all_but(t)
            read = self._read(t)
            self._frames[t] = np.broadcast_to(self.dtype.type(0), self._stack) if read is None else read
        return self._frames[t]

    def forget(self) -> None:
        """Read the files again."""
        self._frames.clear()

    def _read(self, t: int) -> np.ndarray | None:
        path = self.path_of(t)
        return np.asarray(Movie.open(path).frame(0), self.dtype) if path.is_file() else None

    def _forget_all_but(self, t: int) -> None:
        self._frames = {own: frame for own, frame in self._frames.items() if own == t}


class DrawnLabels(FrameFiles, DrawnFrames):
    """What is drawn in a channel of a movie, moved by one as the head of this file says; napari's tools draw in it.

    Parameters
    ----------
    drawings : Drawings
    channel : int
    changed : callable
        Is called whenever something was drawn, erased or taken back.
    """

    def __init__(self, drawings: Drawings, channel: int, changed: Callable[[], object]) -> None:
        t, _, *stack = drawings.movie.shape
        super().__init__((t, *stack), lambda t: drawings.path("drawn", t, channel))
        self.drawings, self.channel, self._changed = drawings, channel, changed
        self._unsaved: set[int] = set()
        self._written: set[int] = set()

    def _read(self, t: int) -> np.ndarray | None:
        labels = self.drawings.labels(t, self.channel)
        return None if labels is None else labels + 1

    def _forget_all_but(self, t: int) -> None:
        self._frames = {own: frame for own, frame in self._frames.items() if own == t or own in self._unsaved}

    def _draw(self, t: int, where: tuple, values: Any) -> None:
        if not self.frame(t).flags.writeable:  # nothing was drawn in it yet
            self._frames[t] = np.zeros(self._stack, self.dtype)
        self._shown(t)[where] = values
        self._unsaved.add(t)
        self._changed()

    def save(self) -> None:
        """Write every frame that has changed since, and its raw stack the first time."""
        for t in sorted(self._unsaved):
            self.drawings.save(t, self.channel, self._frames[t] - 1, raw=t not in self._written)
            self._unsaved.discard(t)
            self._written.add(t)

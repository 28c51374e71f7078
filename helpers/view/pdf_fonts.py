"""Fonts of PDF files, cut once a process: for each file anew it takes longer than drawing it.

With the letters of a figure, the usual ones are embedded, so that a label can be corrected too.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

#: ASCII, and the signs of figures: 15 kB of a file.
_USUAL = frozenset([*range(0x20, 0x7F), *map(ord, "°±²³µ·×÷αβγδλσφχωΔ–—…−≤≥→")])


class _Cut(NamedTuple):
    """What matplotlib asks of `SubsetResults`; the font is written already."""

    font: bytes
    glyph_index_map: dict[int, int]


def can_cut_once() -> bool:
    """Whether matplotlib cuts fonts by their glyphs, as it does from 3.11 on."""
    from matplotlib.backends import _backend_pdf_ps as matplotlibs

    return hasattr(matplotlibs, "SubsetResults")


@contextlib.contextmanager
def cut_once() -> Iterator[None]:
    """Have matplotlib take fonts that were cut before, within the block, where it can."""
    from matplotlib.backends import _backend_pdf_ps as matplotlibs

    if not can_cut_once():
        yield
        return
    before = matplotlibs.get_glyphs_subset, matplotlibs.font_as_file
    try:
        matplotlibs.get_glyphs_subset = lambda path, glyphs: contextlib.nullcontext(
            _cut(path, frozenset(glyphs) | _usual(path), *before)
        )
        matplotlibs.font_as_file = io.BytesIO
        yield
    finally:
        matplotlibs.get_glyphs_subset, matplotlibs.font_as_file = before


@functools.lru_cache(16)
def _cut(path: Any, glyphs: frozenset[int], cut: Callable[..., Any], written: Callable[..., Any]) -> _Cut:
    with cut(path, glyphs) as subset:
        return _Cut(written(subset.font).getvalue(), dict(subset.glyph_index_map))


@functools.lru_cache(16)
def _usual(path: Any) -> frozenset[int]:
    """Return the glyphs of usual letters that a font has."""
    from matplotlib.font_manager import get_font

    return frozenset(glyph for code, glyph in get_font(path).get_charmap().items() if code in _USUAL)

"""Fonts of PDF files: cut once, with letters enough to correct a label."""

import io
import re
import zlib
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

from helpers.view import pdf_fonts
from helpers.view.style import new_figure, save_figure


def _saved(path: Path, text: str) -> bytes:
    figure = new_figure(2, 1)
    figure.text(0.1, 0.5, text)
    return save_figure(figure, path, formats=["pdf"])[0].read_bytes()


def _letters(pdf: bytes) -> set[str]:
    """Return the letters of the fonts that a PDF holds."""
    fonts = [
        zlib.decompress(one)
        for one in re.findall(rb"/Length1 .*?stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    ]
    return {chr(code) for font in fonts for code in TTFont(io.BytesIO(font)).getBestCmap() or ()}


@pytest.mark.skipif(not pdf_fonts.can_cut_once(), reason="matplotlib before 3.11")
def test_fonts_are_cut_once_and_hold_the_letters_to_correct_a_label(tmp_path: Path) -> None:
    first = _saved(tmp_path / "a", "volume (µm³)")
    cut = pdf_fonts._cut.cache_info().misses
    second = _saved(tmp_path / "b", "speed (µm/min)")
    assert pdf_fonts._cut.cache_info().misses == cut
    assert {*"Qq", "µ"} <= _letters(first) == _letters(second)
    assert "Ж" in _letters(_saved(tmp_path / "c", "Ж")), "a letter that is not usual is embedded too"
    assert _saved(tmp_path / "d", "volume (µm³)") == first

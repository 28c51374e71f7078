"""A figure drawn once for two files: the same as drawn for each."""

import io
import re
import zlib

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers.view.both_files import NotBoth, draw_both
from helpers.view.style import new_figure, pixels_of, save_figure, scale_bar, styled

DPI = 200


@styled
def _figure(rasterized: bool = False) -> Figure:
    """Return lines, markers, areas, an image, letters of all kinds, and what is cut off at the edge of axes."""
    figure = new_figure(5, 3)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1, 2], [0, 3, 1], "--o", rasterized=rasterized)
    left.scatter([0.5, 1.5], [1, 2], s=[20, 90], c=["red", "blue"], marker="^")
    left.fill_between([0, 2], [0, 1], [1, 3], alpha=0.3)
    left.set_xlim(0.2, 1.7)
    left.set_ylabel("high, µm³")
    left.set_title("$x^2$ and two\nlines")
    right.imshow(np.arange(600).reshape(20, 30))
    right.text(3, 15, "aslant", rotation=30)
    scale_bar(right, 30, 1.0)
    figure.get_layout_engine().execute(figure)  # type: ignore[union-attr]
    figure.set_layout_engine("none")
    figure.set_dpi(DPI)
    return figure


def _page(pdf: bytes) -> tuple[list[bytes], np.ndarray]:
    """Return the operators with which a page is drawn, and their numbers."""
    streams = (
        zlib.decompressobj().decompress(part) for part in re.findall(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL)
    )  # fmt: skip
    (page,) = [one for one in streams if b" Tf" in one]
    words = page.split()
    numbers = [word for word in words if re.fullmatch(rb"-?[\d.]+", word)]
    return [word for word in words if word not in set(numbers)], np.array(numbers, float)


def test_both_files_are_as_if_each_were_drawn_alone() -> None:
    pixels, pdf = draw_both(_figure())
    figure = _figure()
    np.testing.assert_array_equal(pixels, pixels_of(figure))
    alone = io.BytesIO()
    figure.savefig(alone, format="pdf", dpi=DPI)
    (drawn, places), (drawn_alone, places_alone) = _page(pdf), _page(alone.getvalue())
    assert drawn == drawn_alone and len(drawn) > 200
    np.testing.assert_allclose(
        places, places_alone, atol=72 / DPI + 0.5
    )  # where letters begin, in whole pixels


def test_what_is_pixels_in_vectors_is_drawn_for_each(tmp_path) -> None:
    with pytest.raises(NotBoth):
        draw_both(_figure(rasterized=True))
    png, pdf = save_figure(_figure(rasterized=True), tmp_path / "a", dpi=DPI)
    assert Image.open(png).size == (5 * DPI, 3 * DPI)
    images = b"/Subtype /Image"
    assert pdf.read_bytes().count(images) > draw_both(_figure())[1].count(images) > 0, "the line is one too"

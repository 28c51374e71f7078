"""Pixels as PNG: what Pillow reads of it."""

import io

import numpy as np
import pytest
from PIL import Image

from helpers.view.png import encode


@pytest.mark.parametrize(
    ("shape", "opaque", "mode"),
    [((7, 5, 3), True, "RGB"), ((7, 5, 4), True, "RGB"), ((1, 9, 4), False, "RGBA")],
)
def test_the_pixels_are_kept(shape, opaque, mode):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    if opaque:
        pixels[..., 3:] = 255
    before = pixels.copy()
    image = Image.open(io.BytesIO(encode(pixels, 300)))
    assert image.mode == mode and image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    np.testing.assert_array_equal(np.asarray(image), before[..., : len(mode)])
    np.testing.assert_array_equal(pixels, before)

from __future__ import annotations

import numpy as np
import pytest

from helpers.data.normalization import normalize, percentile_range
from helpers.errors import InputError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("percentiles", [(1, 99.8), (0, 100), (33.3, 66.6)])
def test_equals_numpy(dtype, percentiles: tuple[float, float]) -> None:
    stack = np.random.default_rng(0).gamma(2, 30, (5, 17, 13)).clip(0, 255).astype(dtype)
    expected = np.percentile(stack, percentiles)
    np.testing.assert_allclose(percentile_range(stack, *percentiles), expected, rtol=1e-6)


def test_normalize_puts_the_range_at_0_and_1_without_clipping() -> None:
    result = normalize(np.array([0, 10, 20, 40], np.uint16), 10, 20)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [-1, 0, 1, 3])


@pytest.mark.parametrize("stack", [np.full((4, 8, 8), 7, np.uint16), np.full((4, 8, 8), 0.5)])
def test_an_image_without_contrast_is_refused(stack: np.ndarray) -> None:
    with pytest.raises(InputError, match="embryo_3"):
        percentile_range(stack, name="embryo_3")


@pytest.mark.parametrize("percentiles", [(99, 1), (-1, 99), (1, 101), (50, 50)])
def test_percentiles_out_of_order(percentiles: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="pmin"):
        percentile_range(np.arange(100), *percentiles)

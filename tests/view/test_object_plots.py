"""Figures of measured cells: what they count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.errors import InputError
from helpers.view.object_plots import removal_bars, size_histogram


def _objects(n: int, column: str) -> pd.DataFrame:
    sizes = np.random.default_rng(0).lognormal(3, 0.5, n)
    return pd.DataFrame({"frame": np.arange(n) % 3, column: sizes})


@pytest.mark.parametrize(("column", "unit"), [("volume_um3", "µm³"), ("area_um2", "µm²")])
def test_every_cell_is_in_the_histogram(column: str, unit: str) -> None:
    axes = size_histogram(_objects(200, column)).axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == 200
    assert unit in axes.get_xlabel()
    assert "200 cells in 3 frames" in axes.get_title(loc="left")


def test_no_cells_draw_an_empty_histogram() -> None:
    axes = size_histogram(_objects(0, "volume_um3")).axes[0]
    assert not axes.patches
    assert "0 cells" in axes.get_title(loc="left")


def test_a_table_without_sizes_is_refused() -> None:
    with pytest.raises(InputError, match="volume_um3 or area_um2"):
        size_histogram(pd.DataFrame({"frame": [0]}))


def test_removed_and_kept_add_up() -> None:
    small = pd.DataFrame({"reason": ["too small"] * 3})
    figure = removal_bars(small, pd.DataFrame(columns=["reason"]), n_objects=10)
    lengths = [patch.get_width() for patch in figure.axes[0].patches]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert dict(zip(names, lengths, strict=True)) == {"too small": 3, "kept": 7}

"""Figures of measured cells: what they count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.errors import InputError
from helpers.view.object_plots import removal_bars, removed_over_projection, size_histogram


def _objects(n: int, column: str) -> pd.DataFrame:
    sizes = np.random.default_rng(0).lognormal(3, 0.5, n)
    return pd.DataFrame({"frame": np.arange(n) % 3, column: sizes})


@pytest.mark.parametrize(("column", "unit"), [("volume_um3", "µm³"), ("area_um2", "µm²")])
def test_every_cell_is_in_the_histogram(column: str, unit: str) -> None:
    axes = size_histogram(_objects(200, column)).axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == 200
    assert unit in axes.get_xlabel() and unit in axes.get_legend().get_texts()[0].get_text()
    assert "n = 200 cells × frames, of 3 frames" in axes.get_title(loc="left")


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


def test_removed_cells_are_shown_where_they_lie() -> None:
    kept = pd.DataFrame({"y": [1.0, 2.0], "x": [3.0, 4.0]})
    gone = pd.DataFrame({"y": [5.0], "x": [8.0], "reason": ["volume_um3 < 2"]})
    figure = removed_over_projection(np.zeros((3, 20, 40)), kept, gone, voxel_size=(2.0, 0.5, 0.25))
    lines = {line.get_gid(): line for line in figure.axes[0].lines}
    assert lines["kept"].get_xydata().tolist() == [[12, 2], [16, 4]]
    assert lines["volume_um3 < 2"].get_xydata().tolist() == [[32, 10]]
    assert lines["volume_um3 < 2"].get_label() == "volume_um3 < 2: 1"
    with pytest.raises(InputError, match="voxel_size"):
        removed_over_projection(np.zeros((20, 40)), kept, gone)


def test_without_an_image_everything_is_in_sight_at_any_place() -> None:
    kept = pd.DataFrame({"y": [-5e6, -5e6 + 30.0], "x": [7e8, 7e8 + 90.0]})
    figure = removed_over_projection(None, kept)
    axes = figure.axes[0]
    points = next(line for line in axes.lines if line.get_gid() == "kept").get_xydata()
    for k, (low, high) in enumerate((axes.get_xlim(), sorted(axes.get_ylim()))):
        assert (points[:, k] > low).all() and (points[:, k] < high).all()
    assert points[:, 0].max() - points[:, 0].min() > 0.8 * 512, "they fill the picture"

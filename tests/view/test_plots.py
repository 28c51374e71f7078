"""Figures are judged by what they show: panels, colours, lines where the labels' borders are, units, counts."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from helpers.errors import InputError
from helpers.segmentation.scores import match_table
from helpers.view.planes import outline_segments
from helpers.view.plots import (
    ERROR_COLORS,
    denoising_comparison,
    error_overlay,
    label_overlay,
    orthogonal_views,
    patch_preview,
    save_figure,
)
from helpers.view.style import label_colors, nice_length

VOXEL = (2.0, 0.5, 0.5)


@pytest.fixture
def stack() -> tuple[np.ndarray, np.ndarray]:
    """Raw noise and three cells in the planes 2…5, of which two touch."""
    raw = np.random.default_rng(0).normal(100, 10, (8, 20, 40)).astype(np.float32)
    labels = np.zeros((8, 20, 40), np.int32)
    labels[2:6, 4:12, 5:10], labels[2:6, 4:12, 10:20], labels[2:6, 14:18, 30:36] = 1, 2, 7
    return raw, labels


def drawn(figure) -> None:
    """Draw for real: what is wrong often shows only then."""
    figure.canvas.draw()


def texts(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def lines(axes, gid: str) -> np.ndarray:
    """Segments (n, 2, 2) of the collection of that name."""
    (found,) = [c for c in axes.collections if c.get_gid() == gid]
    return np.concatenate([path.vertices for path in found.get_paths()]).reshape(-1, 2, 2)


def edges(segments: np.ndarray) -> set[tuple]:
    """Cut runs into edges of one pixel, whatever their direction."""
    cut = set()
    for (x0, y0), (x1, y1) in segments:
        for k in range(round(abs(x1 - x0) + abs(y1 - y0))):
            cut.add((min(x0, x1) + k * (x0 != x1), min(y0, y1) + k * (y0 != y1), bool(x0 != x1)))
    return cut


def test_outlines_run_along_the_edges_of_pixels_once():
    labels = np.zeros((4, 5), int)
    labels[1:3, 1:3], labels[1:3, 3] = 5, 6
    found = outline_segments(labels)
    assert len(edges(found)) == 2 * 3 + 3 * 2  # two long sides of three pixels, three walls of two
    assert sum(np.abs(np.diff(found, axis=1)).sum(axis=(1, 2))) == 12
    assert (2.5, 0.5, False) in edges(found)  # the wall between the two, between columns 2 and 3


def test_outlines_close_at_the_pictures_edge_and_of_nothing_are_none():
    assert len(edges(outline_segments(np.ones((3, 4), int)))) == 14
    assert outline_segments(np.zeros((3, 4), int)).shape == (0, 2, 2)
    assert len(edges(outline_segments(np.eye(1, 1, dtype=bool)))) == 4


def test_outlines_against_a_pixelwise_definition():
    labels = np.random.default_rng(1).integers(0, 4, (9, 13))
    padded = np.pad(labels, 1)
    across = np.sum(padded[:-1] != padded[1:]) + np.sum(padded[:, :-1] != padded[:, 1:])
    assert len(edges(outline_segments(labels))) == across


def test_a_label_has_one_colour_everywhere_and_neighbours_differ():
    first, second = label_colors(np.array([[0, 1, 2], [3, 4, 5]])), label_colors(np.array([5, 3, 900]))
    np.testing.assert_array_equal(first[1, 2], second[0])
    np.testing.assert_array_equal(first[1, 0], second[1])
    assert (first[0, 0] == 0).all()
    many = label_colors(np.arange(1, 400))
    assert np.abs(np.diff(many, axis=0)).max(axis=1).min() > 0.15
    gray = many @ [0.2126, 0.7152, 0.0722]
    assert np.abs(np.diff(gray)).min() > 0.03  # also without seeing hues
    assert many.min() >= 0 and many.max() <= 1


def test_label_overlay_shows_the_central_plane_with_borders_and_bar(stack):
    figure = label_overlay(*stack, voxel_size=VOXEL)
    drawn(figure)
    left, right = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), stack[0][4])
    overlay = right.images[1].get_array()
    assert overlay.shape == (20, 40, 4)
    assert (overlay[..., 3] > 0).sum() == (stack[1][4] > 0).sum()
    np.testing.assert_allclose(overlay[5, 6, :3], label_colors(np.array([1]))[0])
    assert edges(lines(right, "outlines")) == edges(outline_segments(stack[1][4]))
    assert "5 µm" in texts(figure) and "z = 4" in texts(figure) and "3 in this plane" in texts(figure)


def test_the_scale_bar_is_as_long_as_it_says(stack):
    figure = label_overlay(*stack, voxel_size=VOXEL)
    (bar,) = [line for line in figure.axes[0].lines if line.get_gid() == "scale bar"]
    assert np.ptp(bar.get_xdata()) * 40 * VOXEL[2] == pytest.approx(5)
    assert [nice_length(v) for v in (0.9, 1, 1.9, 2, 4.99, 5, 73, 0.03)] == [0.5, 1, 1, 2, 2, 5, 50, 0.02]
    without = label_overlay(*stack)
    assert "µm" not in texts(without) and not without.axes[0].lines


def test_a_given_plane_is_shown_and_pixels_keep_their_proportions(stack):
    raw, labels = stack
    figure = label_overlay(raw, labels, z=0, voxel_size=(2, 1.0, 0.5))
    drawn(figure)
    assert "0 in this plane" in texts(figure)
    assert figure.axes[0].get_aspect() == pytest.approx(2)
    box = figure.axes[0].get_position()
    width, height = figure.get_size_inches()
    assert box.height * height / (box.width * width) == pytest.approx(20 * 1.0 / (40 * 0.5), rel=0.01)


@pytest.mark.parametrize("case", ["constant", "empty", "one", "2d"])
def test_odd_images_are_drawn(stack, case):
    raw, labels = stack
    if case == "constant":
        raw = np.full_like(raw, 7)
    elif case == "empty":
        labels = np.zeros_like(labels)
    elif case == "one":
        labels = np.where(labels == 7, 7, 0)
    else:
        raw, labels = raw[4], labels[4]
    for figure in (
        label_overlay(raw, labels, voxel_size=VOXEL),
        error_overlay(raw, labels, labels, voxel_size=VOXEL),
        denoising_comparison(raw, raw, raw, voxel_size=VOXEL),
    ):
        drawn(figure)
    n = len(set(np.unique(labels)) - {0})
    figure = error_overlay(raw, labels, labels)
    assert f"found (TP): {n}" in texts(figure)


def test_errors_are_outlined_each_in_its_colour(stack):
    raw, truth = stack
    predicted = np.zeros_like(truth)
    predicted[2:6, 4:12, 5:10] = 30  # cell 1 found
    predicted[2:6, 0:3, 24:30] = 31  # invented
    figure = error_overlay(raw, truth, predicted, match_table(truth, predicted), voxel_size=VOXEL)
    drawn(figure)
    right = figure.axes[1]
    expected = {
        "TP": predicted == 30,
        "FP": predicted == 31,
        "FN": np.where(np.isin(truth, [2, 7]), truth, 0),
    }
    for kind, labels in expected.items():
        assert edges(lines(right, kind)) == edges(outline_segments(labels[4])), kind
        (collection,) = [c for c in right.collections if c.get_gid() == kind]
        assert to_hex(collection.get_edgecolor()[0]) == to_hex(ERROR_COLORS[kind])
    fill = right.images[1].get_array()
    assert ((fill[..., 3] > 0) == (expected["FN"][4] > 0)).all()
    assert to_hex(fill[5, 12, :3]) == to_hex(ERROR_COLORS["FN"])
    for words in ("found (TP): 1", "FP): 1", "missed (FN): 2"):
        assert words in texts(figure)


def test_the_error_overlay_follows_the_table_it_is_given(stack):
    raw, truth = stack
    smaller = np.where(np.roll(truth, 3, axis=2) == truth, truth, 0)
    strict = error_overlay(raw, truth, smaller, match_table(truth, smaller, iou_threshold=0.9))
    assert "missed (FN): 3" in texts(strict)
    assert "found (TP): 2" in texts(error_overlay(raw, truth, smaller))
    with pytest.raises(InputError, match="outcome"):
        error_overlay(raw, truth, smaller, pd.DataFrame({"truth": [], "predicted": []}))


def test_side_views_have_true_proportions_and_micrometres(stack):
    figure = orthogonal_views(*stack, VOXEL)
    drawn(figure)
    assert len(figure.axes) == 4
    top, _, side, side_labels = figure.axes
    width, height = figure.get_size_inches()
    for axes, tall in ((top, 20 * 0.5), (side, 8 * 2.0)):
        box = axes.get_position()
        assert box.height * height / (box.width * width) == pytest.approx(tall / (40 * 0.5), rel=0.01)
    assert (side.get_xlabel(), side.get_ylabel(), top.get_ylabel()) == ("x (µm)", "z (µm)", "y (µm)")
    ticks = side.get_yticks()
    shown = [float(label.get_text()) for label in side.get_yticklabels()]
    np.testing.assert_allclose((np.array(ticks) + 0.5) * 2.0, shown)
    np.testing.assert_allclose(side.images[0].get_array().shape, (8, 40))
    assert edges(lines(side_labels, "outlines")) == edges(outline_segments(stack[1][:, 10]))
    assert len(orthogonal_views(stack[0], None, VOXEL).axes) == 2


def test_patches_are_shown_evenly_with_their_labels():
    rng = np.random.default_rng(0)
    x = rng.random((9, 1, 6, 16, 16)).astype(np.float32)
    y = np.zeros((9, 6, 16, 16), np.int32)
    y[:, :, 3:9, 3:9] = 4
    figure = patch_preview(x, y, 3, voxel_size=VOXEL)
    drawn(figure)
    assert len(figure.axes) == 6
    assert [axes.get_title() for axes in figure.axes[:3]] == ["patch 0", "patch 4", "patch 8"]
    np.testing.assert_array_equal(figure.axes[5].images[0].get_array(), x[8, 0, 3])
    assert edges(lines(figure.axes[4], "outlines")) == edges(outline_segments(y[4, 3]))
    assert "1 cell" in texts(figure)
    flat = patch_preview(x[:, :, 3], y[:, 3], 20)
    assert len(flat.axes) == 18


def test_denoising_tells_the_psnr_and_draws_the_profile():
    from skimage.metrics import peak_signal_noise_ratio

    rng = np.random.default_rng(0)
    clean = np.tile(np.linspace(0, 100, 40), (3, 20, 1))
    raw, denoised = clean + rng.normal(0, 10, clean.shape), clean + rng.normal(0, 2, clean.shape)
    figure = denoising_comparison(raw, denoised, clean, y=5, voxel_size=VOXEL)
    drawn(figure)
    for image, axes in ((raw, figure.axes[0]), (denoised, figure.axes[1])):
        assert f"{peak_signal_noise_ratio(clean, image, data_range=100):.1f} dB" in axes.get_title()
    assert figure.axes[2].get_title() == "truth"
    assert len({image.get_clim() for axes in figure.axes[:3] for image in axes.images}) == 1
    profile = figure.axes[3]
    assert profile.get_xlabel() == "x (µm)" and profile.get_ylabel() == "intensity"
    by_name = {line.get_label(): line for line in profile.lines}
    np.testing.assert_allclose(by_name["denoised"].get_ydata(), denoised[1, 5])
    np.testing.assert_allclose(by_name["raw"].get_xdata()[-1], 39 * 0.5)
    assert len({to_hex(line.get_color()) for line in profile.lines}) == 3
    without = denoising_comparison(raw, denoised)
    assert "dB" not in texts(without) and without.axes[2].get_xlabel() == "x (pixels)"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda r, m: label_overlay(r, m[:, :5]), "labels"),
        (lambda r, m: label_overlay(r, m, z=8), "z"),
        (lambda r, m: label_overlay(r, m, voxel_size=(1, 0, 1)), "voxel_size"),
        (lambda r, m: label_overlay(r[None], m[None]), "raw"),
        (lambda r, m: error_overlay(r, m, m[1:]), "predicted"),
        (lambda r, m: orthogonal_views(r, m, None), "voxel_size"),
        (lambda r, m: orthogonal_views(r[0], m[0], VOXEL), "raw"),
        (lambda r, m: orthogonal_views(r, m, VOXEL, y=20), "y"),
        (lambda r, m: denoising_comparison(r, r, r[1:]), "truth"),
        (lambda r, m: denoising_comparison(r, r, y=20), "y"),
        (lambda r, m: patch_preview(r[:, None], m[:3]), "labels"),
        (lambda r, m: patch_preview(r[:0, None], m[:0]), "n"),
    ],
)
def test_what_cannot_be_drawn_is_named(stack, call, name):
    with pytest.raises(InputError) as caught:
        call(*stack)
    assert caught.value.name == name


def test_figures_are_saved_as_pixels_and_vectors_and_reproducibly(stack, tmp_path):
    from PIL import Image

    figure = label_overlay(*stack, voxel_size=VOXEL)
    png, pdf = save_figure(figure, tmp_path / "figures" / "overlay.png", dpi=100)
    assert [path.name for path in (png, pdf)] == ["overlay.png", "overlay.pdf"]
    assert Image.open(png).size == tuple((figure.get_size_inches() * 100).astype(int))
    assert pdf.read_bytes().startswith(b"%PDF")
    before = png.read_bytes(), pdf.read_bytes()
    save_figure(label_overlay(*stack, voxel_size=VOXEL), tmp_path / "figures" / "overlay", dpi=100)
    assert (png.read_bytes(), pdf.read_bytes()) == before
    svg = save_figure(figure, tmp_path / "a.b", formats=["svg"])[0]
    assert svg.name == "a.b.svg" and ">raw, z = 4<" in svg.read_text()
    with pytest.raises(InputError, match="formats"):
        save_figure(figure, tmp_path / "a", formats=["eps"])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(figure, tmp_path / "file" / "a")


def test_a_notebook_shows_what_was_saved_until_it_is_changed(stack, tmp_path):
    from PIL import Image, ImageChops, ImageStat

    figure = label_overlay(*stack, voxel_size=VOXEL)
    fresh = Image.open(io.BytesIO(figure._repr_png_())).convert("L")
    save_figure(figure, tmp_path / "overlay")
    saved = Image.open(io.BytesIO(figure._repr_png_())).convert("L")
    assert saved.size == fresh.size
    # The same picture, but for the smoothing of its voxels' edges and a pixel of layout.
    assert ImageStat.Stat(ImageChops.difference(saved.reduce(40), fresh.reduce(40))).mean[0] < 5
    figure.axes[0].set_title("another title")
    assert figure.get_layout_engine() is not None
    after = figure._repr_png_()
    (tmp_path / "overlay.png").unlink()
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert ImageChops.difference(Image.open(io.BytesIO(after)).convert("L"), saved).getbbox()


def test_nothing_is_left_behind_in_pyplot_or_its_settings(stack):
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams), plt.get_fignums()
    figure = label_overlay(*stack)
    assert (dict(matplotlib.rcParams), plt.get_fignums()) == before
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_real_labels_are_drawn(samples):
    import h5py

    with h5py.File(samples / "plantseg" / "sample_ovule.h5") as file:
        raw, labels = np.asarray(file["raw"]), np.asarray(file["label"])  # type: ignore[index]
    figure = label_overlay(raw, labels, voxel_size=(0.235, 0.15, 0.15))
    drawn(figure)
    assert f"{np.count_nonzero(np.unique(labels[16]))} in this plane" in texts(figure)


def test_import_is_cheap():
    code = "import sys, helpers.view.plots, helpers.view.score_plots, helpers.view.track_plots; print('matplotlib' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
    )

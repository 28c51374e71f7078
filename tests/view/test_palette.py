"""Cells that touch never have like colours."""

from __future__ import annotations

import numpy as np
from skimage.color import rgb2lab
from skimage.segmentation import watershed

from helpers.view.palette import LEAST_DIFFERENCE, contacts, contrasting, painted
from helpers.view.style import label_colors


def _least(labels: np.ndarray, rgb_of: dict[int, np.ndarray]) -> float:
    """Return the least difference of colour (ΔE) between labels that touch."""
    lab = {label: rgb2lab(rgb[np.newaxis, np.newaxis])[0, 0] for label, rgb in rgb_of.items()}
    pairs = [(a, b) for a, others in contacts((labels,)).items() for b in others]
    return min(float(np.linalg.norm(lab[a] - lab[b])) for a, b in pairs)


def test_packed_cells_with_arbitrary_numbers_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    seeds = np.zeros((160, 160), int)
    seeds[tuple(rng.integers(0, 160, (2, 250)))] = rng.permutation(np.arange(1, 251)) * 7
    labels = watershed(np.zeros(seeds.shape), seeds)
    ids, rgb = contrasting(labels)
    assert ids.tolist() == sorted(set(labels.ravel()) - {0})
    assert _least(labels, dict(zip(ids.tolist(), rgb, strict=True))) >= LEAST_DIFFERENCE
    plain = dict(zip(ids.tolist(), label_colors(ids), strict=True))
    assert _least(labels, plain) < LEAST_DIFFERENCE, "which their own colours do not do here"


def test_a_cell_without_neighbours_keeps_its_colour_and_background_is_black() -> None:
    labels = np.array([[0, 4, 0, 900]])
    colours = painted(labels, contrasting(labels))
    np.testing.assert_allclose(colours, label_colors(labels))
    assert (painted(np.zeros((2, 2), int), contrasting(np.zeros((2, 2), int))) == 0).all()


def test_views_of_the_same_cells_share_their_colours() -> None:
    above, side = np.array([[1, 2]]), np.array([[1], [3]])
    palette = contrasting(above, side)
    np.testing.assert_array_equal(painted(above, palette)[0, 0], painted(side, palette)[0, 0])

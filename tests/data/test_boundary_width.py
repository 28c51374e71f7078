"""The border between touching cells is chosen from the labels: by how much the cells touch, and by the voxels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.data.boundary_width import choose_boundary_width, contact
from helpers.data.patches import create_training_set
from helpers.data.stacks import StackPair, open_stacks
from helpers.data.training_set import TrainingSet

VOXEL = (1.5, 0.5, 0.5)


def bricks(size: tuple[int, ...] = (8, 24, 24), gap: int = 0) -> np.ndarray:
    """Eight cells of `size` voxels in two layers, `gap` voxels between them along y and x."""
    labels = np.zeros((2 * size[0], 2 * size[1] + gap, 2 * size[2] + gap), np.uint16)
    for number in range(8):
        layer, row, column = number >> 2, number >> 1 & 1, number & 1
        z, y, x = layer * size[0], row * (size[1] + gap), column * (size[2] + gap)
        labels[z : z + size[0], y : y + size[1], x : x + size[2]] = number + 1
    return labels


def nuclei() -> np.ndarray:
    """Balls of 9 voxels across, one pair of them side by side."""
    labels = np.zeros((16, 64, 64), np.uint16)
    grid = np.indices(labels.shape) * np.array(VOXEL)[:, None, None, None]
    for number, middle in enumerate([(12, 6, 6), (12, 6, 15), (12, 24, 6), (12, 24, 24)], start=1):
        labels[sum((grid[k] - middle[k]) ** 2 for k in range(3)) < 4.6**2] = number
    return labels


def chosen(labels: np.ndarray, voxel_size: tuple[float, ...] = VOXEL):
    raw = np.random.default_rng(0).random(labels.shape)
    return choose_boundary_width(
        open_stacks([StackPair(raw, labels)], voxel_size=voxel_size, boundary_width=0.0)
    )


def test_packed_cells_are_parted_along_the_coarsest_axis() -> None:
    found = chosen(bricks())
    assert found.width == 1.5 and found.contact == 1.0
    assert "packed" in found.why and "1.5 µm" in found.why


def test_cells_that_touch_here_and_there_are_parted_by_one_fine_voxel() -> None:
    found = chosen(nuclei())
    assert found.width == 0.5
    assert 0.001 < found.contact < 0.1
    assert "nuclei" in found.why


def test_cells_that_do_not_touch_stay_whole() -> None:
    labels = bricks(gap=3)
    labels[labels > 4] = 0
    found = chosen(labels)
    assert found.width == 0 and found.contact == 0 and "hardly touch" in found.why


def test_a_border_must_leave_something_of_the_cells() -> None:
    """A slice as thick as half a cell: a border of a slice on each side would leave nothing of it."""
    assert chosen(bricks((2, 24, 24)), (6.0, 0.5, 0.5)).width == 0.5
    found = chosen(bricks((2, 2, 2)), (0.5, 0.5, 0.5))
    assert found.width == 0 and "so small" in found.why


def test_contact_counts_areas_not_faces() -> None:
    """Two cubes of voxels 1 × 2 × 3 µm, one upon the other: 6 µm² touch, on both sides."""
    labels = np.zeros((4, 3, 3), np.uint8)
    labels[1:3, 1, 1] = 1, 2
    touching, surface = contact(labels, (1.0, 2.0, 3.0))
    assert touching == 2 * 6
    assert surface == 2 * 2 * (6 + 3 + 2)


def test_planes_are_measured_in_their_plane() -> None:
    labels = bricks((1, 24, 24))[0]
    found = chosen(labels, (9.0, 0.5, 0.5))
    assert found.width == 0.5 and found.contact == 1.0 and "axis" not in found.why


def test_given_masks_are_taken_as_they_are() -> None:
    labels = bricks()
    raw = np.random.default_rng(0).random(labels.shape)
    pairs = [StackPair(raw, labels, labels > 0)]
    assert choose_boundary_width(open_stacks(pairs, voxel_size=VOXEL, boundary_width=0.0)).width == 0


def test_the_training_set_is_eroded_by_the_chosen_width_and_says_why(tmp_path: Path) -> None:
    labels = bricks()
    pairs = [StackPair(np.random.default_rng(k).random(labels.shape), labels, name=f"s{k}") for k in (0, 1)]
    settings = {"voxel_size": VOXEL, "patch_size": (8, 24, 24), "patches_per_image": 3}
    automatic = create_training_set(pairs, tmp_path / "a" / "training.npz", boundary_width=None, **settings)
    given = create_training_set(pairs, tmp_path / "b" / "training.npz", boundary_width=1.5, **settings)
    np.testing.assert_array_equal(automatic.Y[:], given.Y[:])
    assert 0 < automatic.Y[:].mean() < 0.9
    written = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert written["boundary_width"] == 1.5 and "packed" in written["boundary_width_why"]
    assert "boundary_width_why" not in TrainingSet.open(tmp_path / "b" / "training.npz").settings


@pytest.mark.parametrize(("what", "width"), [("embryo/train", 0.8), ("plantseg/sample_ovule.h5", 0.235)])
def test_real_nuclei_and_membranes(what: str, width: float, samples: Path) -> None:
    if what.endswith("h5"):
        file = samples / what
        stacks = open_stacks(
            [StackPair(file, file)], voxel_size=(0.235, 0.15, 0.15), boundary_width=0.0,
            dataset="raw", label_dataset="label",
        )  # fmt: skip
    else:
        pairs = [
            StackPair(path, samples / what / "label" / path.name)
            for path in sorted((samples / what / "raw").glob("*.tif"))
        ]
        stacks = open_stacks(pairs, voxel_size=(1.75, 0.8, 0.8), boundary_width=0.0)
    assert choose_boundary_width(stacks).width == width

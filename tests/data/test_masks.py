from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from helpers.data.masks import binary_from_instances, erosion_reach, instances_from_binary
from helpers.errors import InputError

ANISOTROPIC = (3.0, 0.52, 0.4)


@pytest.fixture
def blocks() -> np.ndarray:
    """Blocks of 3×16×16 voxels with labels 0 to 3 at random, so that all kinds of interface occur."""
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 4, (3, 4, 4)), np.ones((3, 16, 16), int)).astype(np.uint16)


@pytest.mark.parametrize("width", [0.4, 0.6, 1.1, 3.0, 3.3])
def test_erodes_exactly_what_lies_within_the_width_of_another_cell(blocks: np.ndarray, width: float) -> None:
    expected = blocks > 0
    for label in np.unique(blocks)[1:]:
        others = (blocks > 0) & (blocks != label)
        distance = ndimage.distance_transform_edt(~others, sampling=ANISOTROPIC)
        expected &= ~((blocks == label) & (distance <= width + 1e-9))
    eroded = binary_from_instances(blocks, voxel_size=ANISOTROPIC, boundary_width=width)
    assert eroded.dtype == bool
    np.testing.assert_array_equal(eroded, expected)
    assert 0 < eroded.sum() < (blocks > 0).sum()


def test_width_zero_is_the_plain_foreground(blocks: np.ndarray) -> None:
    np.testing.assert_array_equal(binary_from_instances(blocks, voxel_size=None), blocks > 0)


def test_width_below_the_z_spacing_erodes_within_slices_only() -> None:
    labels = np.zeros((4, 8, 8), np.int32)
    labels[:2], labels[2:] = 1, 2
    labels[2:, :, 4:] = 3
    eroded = binary_from_instances(labels, voxel_size=(3, 0.5, 0.5), boundary_width=0.5)
    assert eroded[:2].all()  # above the others, untouched
    assert not eroded[2:, :, 3:5].any()
    assert eroded[2:, :, :3].all() and eroded[2:, :, 5:].all()


def test_neither_background_nor_the_border_erodes() -> None:
    labels = np.zeros((6, 20, 20), np.uint16)
    labels[:, :9, :] = 1
    labels[2:5, 12:, 3:10] = 2  # four voxels, 2 µm, of background between the cells
    eroded = binary_from_instances(labels, voxel_size=(1, 0.5, 0.5), boundary_width=1.5)
    np.testing.assert_array_equal(eroded, labels > 0)


def test_touching_cells_become_components_of_their_own() -> None:
    labels = np.zeros((3, 10, 10), np.int32)
    labels[:, :, :5], labels[:, :, 5:] = 7, 9
    assert instances_from_binary(labels > 0).max() == 1
    eroded = binary_from_instances(labels, voxel_size=(3, 0.5, 0.5), boundary_width=0.5)
    found = instances_from_binary(eroded)
    assert found.dtype == np.int32 and found.max() == 2


def test_2d_and_large_ids(blocks: np.ndarray) -> None:
    plane = blocks[0].astype(np.int64) * 100_000
    flat = binary_from_instances(plane, voxel_size=(0.5, 0.5), boundary_width=0.5)
    stack = binary_from_instances(plane[None], voxel_size=(3, 0.5, 0.5), boundary_width=0.5)
    np.testing.assert_array_equal(flat, stack[0])
    assert flat.shape == plane.shape and flat.sum() < (plane > 0).sum()


def test_reach_says_how_far_carving_looks() -> None:
    assert erosion_reach(1.04, (3, 0.52, 0.26)) == (0, 2, 4)
    assert erosion_reach(0, None) == (0, 0, 0)


@pytest.mark.parametrize(
    ("voxel_size", "width", "name"),
    [
        (None, 1.0, "voxel_size"),
        ((3, 0, 1), 1.0, "voxel_size"),
        ((1,), 1.0, "voxel_size"),
        ((3, 0.5, 0.5), -1.0, "boundary_width"),
        ((3, 0.5, 0.5), float("nan"), "boundary_width"),
        ((3, 0.5, 0.5), 0.3, "boundary_width"),  # would silently erode nothing
    ],
)
def test_unusable_parameters(blocks: np.ndarray, voxel_size, width: float, name: str) -> None:
    with pytest.raises(InputError, match=name):
        binary_from_instances(blocks, voxel_size=voxel_size, boundary_width=width)


def test_float_labels_are_refused(blocks: np.ndarray) -> None:
    with pytest.raises(InputError, match="integer"):
        binary_from_instances(blocks.astype(float), voxel_size=ANISOTROPIC)

"""The fusion by blocks beside that of the whole volume."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from stacks import make_stack, recovered

from helpers.data.samples import OVULE_VOXEL_SIZE, fetch
from helpers.errors import InputError
from helpers.segmentation.blockwise import fuse_blockwise
from helpers.segmentation.fusion import Rules, fuse

SPACING = (2.0, 0.5, 0.5)


class Watched:
    """An array that is only read in parts; the largest of them is known."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def __getitem__(self, box):
        part = self.array[box]
        self.largest = max(self.largest, part.size)
        return part.copy()


def _differing(whole: np.ndarray, blocks: np.ndarray, first_new: int) -> np.ndarray:
    """Return the voxels that differ once new cells of the blocks are named as in the whole."""
    names = np.arange(max(blocks.max(), whole.max()) + 1)
    new = blocks >= first_new
    for cell in np.unique(blocks[new]):
        its, counts = np.unique(whole[blocks == cell], return_counts=True)
        names[cell] = its[np.argmax(counts)]
    return names[blocks] != whole


def _near_seams(shape: tuple[int, ...], block: tuple[int, ...], reach: tuple[int, ...]) -> np.ndarray:
    near = np.zeros(shape, bool)
    for axis, (n, b, r) in enumerate(zip(shape, block, reach, strict=True)):
        for seam in range(b, n, b):
            near[(slice(None),) * axis + (slice(max(seam - r, 0), seam + r),)] = True
    return near


@pytest.mark.parametrize("kind", ["ellipsoids", "voronoi"])
@pytest.mark.parametrize("landscape", ["all", "found"])
@pytest.mark.parametrize("block", [(16, 80, 80), (7, 64, 100)])
def test_equals_the_whole_but_for_few_voxels_at_seams(tmp_path, kind, landscape, block):
    stack = make_stack((16, 160, 160), 150, kind=kind, landscape=landscape, spacing=SPACING)
    inputs = [Watched(a) for a in (stack.probability, stack.star_labels, stack.foreground)]
    labels = np.asarray(fuse_blockwise(*inputs, tmp_path / "labels", voxel_size=SPACING, block=block)[:])
    whole = fuse(stack.probability, stack.star_labels, stack.foreground, voxel_size=SPACING)
    assert labels.dtype == np.int32 and labels.min() >= 0
    assert np.array_equal(labels > 0, whole > 0)
    differing = _differing(whole, labels, stack.star_labels.max() + 1)
    assert differing.mean() < 0.01
    assert not differing[~_near_seams(labels.shape, block, (5, 24, 24))].any()
    assert abs(len(np.unique(labels)) - len(np.unique(whole))) <= 1
    assert len(recovered(stack.truth, labels)) >= len(recovered(stack.truth, whole)) - 1


def test_the_ovule_equals_the_whole_but_for_few_voxels(samples, monkeypatch, tmp_path):
    monkeypatch.setenv("VOLLTRACK_SAMPLES", str(samples))
    with np.load(fetch("plantseg/ovule_network_outputs.npz")) as file:
        inputs = [file[k] for k in ("probability", "star_labels", "foreground")]
    whole = fuse(*inputs, voxel_size=OVULE_VOXEL_SIZE)
    folder = tmp_path / "inputs"
    stored = [
        zarr.create_array(str(folder / str(k)), data=np.ascontiguousarray(a)) for k, a in enumerate(inputs)
    ]
    labels = fuse_blockwise(*stored, tmp_path / "labels", voxel_size=OVULE_VOXEL_SIZE, block=(32, 72, 64))
    assert _differing(whole, labels[:], int(inputs[1].max()) + 1).mean() < 0.01
    assert abs(len(np.unique(labels[:])) - len(np.unique(whole))) <= 1


def test_one_block_is_the_whole(tmp_path):
    stack = make_stack((8, 80, 80), 40, landscape="all", spacing=SPACING)
    inputs = stack.probability, stack.star_labels, stack.foreground
    for rules in (Rules(), Rules(boundary_width=0.6, min_depth=0.8)):
        labels = fuse_blockwise(*inputs, tmp_path / "labels", voxel_size=SPACING, rules=rules)
        whole = fuse(
            *inputs, voxel_size=SPACING, boundary_width=rules.boundary_width, min_depth=rules.min_depth
        )
        assert np.array_equal(labels[:], whole)


def test_no_more_than_a_block_and_its_overlap_is_read_at_once(tmp_path):
    stack = make_stack((16, 160, 160), 150, spacing=SPACING)
    inputs = [Watched(a) for a in (stack.probability, stack.star_labels, stack.foreground)]
    fuse_blockwise(*inputs, tmp_path / "labels", voxel_size=SPACING, block=(8, 32, 32), overlap=(4, 16, 16))
    for array in inputs:
        assert 0 < array.largest <= 16 * 64 * 64
    labels = zarr.open_array(str(tmp_path / "labels"), mode="r")
    assert labels.chunks == (8, 32, 32)


def test_without_stars_components_are_joined_across_seams(tmp_path):
    foreground = np.zeros((6, 60, 60), bool)
    foreground[1:5, 10:22, 10:22] = foreground[1:5, 24:36, 24:36] = foreground[1:5, 40:50, 5:15] = True
    zero = np.zeros(foreground.shape, np.float32)
    labels = fuse_blockwise(
        zero,
        zero.astype(int),
        foreground,
        tmp_path / "l",
        voxel_size=SPACING,
        block=(6, 30, 30),
        overlap=(3, 12, 12),
    )[:]
    assert len(np.unique(labels)) == 4
    assert np.array_equal(labels > 0, foreground)
    for box in (np.s_[1:5, 10:22, 10:22], np.s_[1:5, 24:36, 24:36], np.s_[1:5, 40:50, 5:15]):
        assert len(np.unique(labels[box])) == 1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"probability": np.zeros((5, 5))}, "probability"),
        ({"probability": np.full((4, 5, 6), np.nan)}, "probability"),
        ({"star_labels": np.zeros((4, 5, 7), int)}, "star_labels"),
        ({"star_labels": np.zeros((4, 5, 6))}, "star_labels"),
        ({"star_labels": np.full((4, 5, 6), -1)}, "star_labels"),
        ({"star_labels": np.full((4, 5, 6), 2**31 - 1)}, "star_labels"),
        ({"foreground": np.zeros((4, 5), bool)}, "foreground"),
        ({"voxel_size": None}, "voxel_size"),
        ({"block": (0, 5, 5)}, "block"),
        ({"block": (5, 5)}, "block"),
        ({"overlap": (-1, 5, 5)}, "overlap"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(tmp_path, change, name):
    inputs = {
        "probability": np.zeros((4, 5, 6)),
        "star_labels": np.zeros((4, 5, 6), int),
        "foreground": np.zeros((4, 5, 6), bool),
        "voxel_size": SPACING,
    } | change
    with pytest.raises(InputError) as error:
        fuse_blockwise(**inputs, out=tmp_path / "labels")
    assert error.value.name == name
    assert not (tmp_path / "labels").exists()

"""Labels in which only some cells are drawn: what they may hold, and the training set made from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.data.boundary_width import contact
from helpers.data.few_cells import draw_few_cells
from helpers.data.holdout import held_back_labels
from helpers.data.patches import create_training_set
from helpers.data.sparse_labels import annotated_regions, foreground, hold_back, read_labels
from helpers.data.stacks import StackPair
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError

VOXEL = (2.0, 0.5, 0.5)
SIZE = (4, 16, 16)


def drawn_stack(seed: int, *, is_2d: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return raw and sparse labels: four boxes in a row along x, with a rim of background around each."""
    rng = np.random.default_rng(seed)
    labels = np.full((8, 24, 96), -1, np.int32)
    for i in range(4):
        x = 24 * i + 6
        labels[1:7, 5:19, x - 2 : x + 14] = 0
        labels[2:6, 7:17, x : x + 12] = 10 * seed + i + 1
    raw = rng.poisson(100 + 200 * (labels > 0)).astype(np.uint16)
    return (raw[4], labels[4]) if is_2d else (raw, labels)


def make(tmp_path: Path, *, is_2d: bool = False, n: int = 4, **settings) -> TrainingSet:
    pairs = [StackPair(*drawn_stack(seed, is_2d=is_2d), name=f"stack {seed}") for seed in range(1, n + 1)]
    settings = {"patch_size": SIZE[-2:] if is_2d else SIZE, "patches_per_image": 6, **settings}
    return create_training_set(pairs, tmp_path / "training.npz", voxel_size=VOXEL, **settings)


@pytest.mark.parametrize("is_2d", [False, True])
def test_patches_hold_annotations_and_what_is_not_annotated_stays_so(tmp_path: Path, is_2d: bool) -> None:
    patches = make(tmp_path, is_2d=is_2d, copies=3, validation_fraction=0.2, boundary_width=0.5)
    assert patches.labels is not None and patches.labels.dtype == np.int16
    for i in range(len(patches)):
        _, _, labels = patches.patch(i)
        mask = patches.read("Y", i)[0]
        assert (labels >= 0).any()
        assert np.array_equal(mask < 0, labels < 0)
        assert set(np.unique(mask)) <= {-1.0, 0.0, 1.0} and not (mask[labels == 0] > 0).any()
        assert set(np.unique(labels)) - {-1, 0} <= {10 * s + c for s in range(1, 5) for c in range(1, 5)}
    rotated = [patches.patch(i)[2] for i in patches.train if (patches.patch(i)[2] < 0).any()]
    assert len(rotated) > len(patches.train) / 2


def test_cells_held_back_validate_and_never_train(tmp_path: Path) -> None:
    patches = make(tmp_path, copies=2, validation_fraction=0.2)
    sparse = patches.settings["sparse"]
    held = {(name, cell) for name, cells in sparse["validation_cells"].items() for cell in cells}
    assert len(held) == 3 and len({name for name, _ in held}) == 3  # 0.2 of 16, of different stacks
    assert sparse["cells"] == 16 and "3 of 16 drawn cells" in sparse["validation"]
    seen: dict[bool, set] = {True: set(), False: set()}
    for i in range(len(patches)):
        labels = patches.patch(i)[2]
        seen[bool(patches.validation_mask[i])] |= {
            (str(patches.stacks[i]), int(c)) for c in np.unique(labels[labels > 0])
        }
    assert seen[True] == held and not seen[False] & held
    assert patches.train.max() < patches.validation.min()
    assert json.loads((tmp_path / "dataset.json").read_text())["sparse"] == sparse


def test_the_background_around_a_cell_goes_with_it() -> None:
    _, labels = drawn_stack(1)
    regions = annotated_regions(labels, VOXEL)
    assert np.array_equal(regions < 0, labels < 0)
    assert np.array_equal(regions[labels > 0], labels[labels > 0])
    for x, cell in ((5, 11), (29, 12), (91, 14)):
        assert (regions[:, :, x][labels[:, :, x] == 0] == cell).all()
    held, rest = (held_back_labels(labels, VOXEL, [12], keep=keep) for keep in (True, False))
    assert set(np.unique(held)) == {-1, 0, 12} and set(np.unique(rest)) == {-1, 0, 11, 13, 14}
    assert np.array_equal((held >= 0) ^ (rest >= 0), labels >= 0)  # no voxel is in both


def test_too_few_cells_give_no_validation_and_say_so(tmp_path: Path) -> None:
    patches = make(tmp_path, n=1, validation_fraction=0.15)  # one stack: full labels would be refused
    assert len(patches.validation) == 0
    assert "no validation: 0.15 of 4 drawn cells are too few" in patches.settings["sparse"]["validation"]
    assert [len(held) for held in hold_back({"a": range(1, 13)}, 0.15, 0).cells.values()] == [2]
    assert hold_back({"a": range(1, 13)}, 0, 0).why == "no validation: validation_fraction is 0"


def test_a_stack_held_out_whole(tmp_path: Path) -> None:
    patches = make(tmp_path, validation_stacks=["stack 2"])
    assert set(patches.stacks[patches.validation]) == {"stack 2"}
    assert patches.settings["sparse"]["validation_cells"] == {}


def test_the_same_seed_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        make(tmp_path / name, copies=1)
    assert (tmp_path / "a" / "training.npz").read_bytes() == (tmp_path / "b" / "training.npz").read_bytes()


def test_values_of_label_files() -> None:
    stored = np.array([[9, 9, 1, 1], [9, 2, 2, 1], [9, 3, 3, 1]], np.uint8)
    wanted = np.array([[-1, -1, 0, 0], [-1, 2, 2, 0], [-1, 3, 3, 0]])
    assert np.array_equal(read_labels(stored, "x", unannotated=9, background=1), wanted)
    zero = np.where(stored == 9, 0, stored).astype(
        np.uint8
    )  # as QuPath's and napari's users draw: 0 is nothing
    assert np.array_equal(read_labels(zero, "x", unannotated=0, background=1), wanted)
    assert np.array_equal(read_labels(wanted.astype(np.int16), "x"), wanted)
    full = np.array([[0, 1], [1, 0]], np.uint16)
    assert np.array_equal(read_labels(full, "x"), full)  # full labels may have cells in pieces


@pytest.mark.parametrize(
    ("labels", "settings", "error"),
    [
        ([[-1, 0, 0]], {}, "only background is annotated"),
        ([[-1, -1, -1]], {}, "nothing annotated"),
        ([[1, -1, 1]], {}, r"cell 1 in 2 pieces, at \(0, 0\) and \(0, 2\)"),
        ([[-3, 0, 1]], {}, "1 voxels below -1"),
        ([[-3, 0, 1]], {"unannotated": -5}, "-3"),
        ([[0, 1, 1]], {"unannotated": 0}, "background_label"),
        ([[0, 1, 2]], {"background": 1}, "set unannotated to 0"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels, settings, error: str) -> None:
    with pytest.raises(InputError, match=error):
        read_labels(np.array(labels, np.int32), "cells.tif", **settings)


def test_cells_without_any_background_are_refused(tmp_path: Path) -> None:
    raw, labels = drawn_stack(1)
    labels[labels == 0] = -1
    with pytest.raises(InputError, match="only cells are annotated"):
        create_training_set([(raw, labels)], tmp_path / "x.npz", voxel_size=VOXEL, patch_size=SIZE)


def test_the_border_with_what_is_not_annotated() -> None:
    labels = np.array([[0, 1, 1, 1, 1, -1, -1]])
    assert foreground(labels, voxel_size=(1, 1)).tolist() == [[0, 1, 1, 1, 1, -1, -1]]
    eroded = foreground(labels, voxel_size=(1, 1), boundary_width=1.0)
    assert eroded.tolist() == [[0, 1, 1, 1, 0, -1, -1]]
    assert contact(labels, (1, 1)) == (
        0,
        1,
    )  # one face to the background; the one to the unknown does not count


def test_few_cells_are_drawn_whole_within_the_share() -> None:
    full = np.zeros((6, 60, 60), np.int32)
    for i in range(9):
        y, x = 20 * (i // 3) + 2, 20 * (i % 3) + 2
        full[1:5, y : y + 8 + i, x : x + 8 + i] = i + 1
    full[1:5, :6, 50:] = 10  # cut by the border
    settings = {"voxel_size": VOXEL, "strokes": 2}
    for seed in range(4):
        drawn = draw_few_cells(full, 2, np.random.default_rng(seed), max_share=0.08, **settings)
        cells = np.unique(drawn[drawn > 0])
        assert len(cells) == 2 and 10 not in cells and 0 < (drawn >= 0).mean() <= 0.08
        assert all(np.array_equal(drawn == cell, full == cell) for cell in cells)
        assert (drawn == 0).any() and not full[drawn == 0].any()
    with pytest.raises(InputError, match="max_share"):
        draw_few_cells(full, 2, np.random.default_rng(0), max_share=0.001, **settings)


def test_background_is_drawn_close_to_cells_and_far_from_them() -> None:
    full = np.zeros((300, 300), np.int32)
    full[145:155, 145:155] = 1
    drawn = draw_few_cells(full, 1, np.random.default_rng(0), voxel_size=(1, 1), rim_um=0, strokes=6)
    y, x = np.nonzero(drawn == 0)
    away = np.hypot(y - 150, x - 150)
    dot = 113  # pixels within 6 pixels of its centre
    assert dot < (away < 27).sum() <= 3 * dot and dot < (away > 27).sum() <= 3 * dot

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from helpers.data.augment import Augmentation
from helpers.data.masks import binary_from_instances, instances_from_binary
from helpers.data.patches import PatchSampling, create_training_set
from helpers.data.stacks import StackPair
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError

VOXEL = (3.0, 0.5, 0.5)
SIZE = (4, 16, 16)


def _stack(seed: int, shape: tuple[int, int, int] = (8, 48, 40)) -> tuple[np.ndarray, np.ndarray]:
    """Touching blocky cells with ids of their own in a third of the stack's width, and a noisy image of them.

    Voxels of the image differ from stack to stack: its level is the seed.
    """
    rng = np.random.default_rng(seed)
    blocks = np.arange(1, 1 + 2 * 6 * 5).reshape(2, 6, 5) + 100 * seed
    labels = np.kron(blocks, np.ones((4, 8, 8), int))[: shape[0], : shape[1], : shape[2]].astype(np.uint16)
    labels[:, :, shape[2] // 2 :] = 0
    raw = rng.poisson(200 + 1000 * seed + 300 * (labels > 0)).astype(np.uint16)
    return raw, labels


@pytest.fixture(scope="module")
def stacks() -> list[StackPair]:
    return [StackPair(*_stack(seed), name=f"stack {seed}") for seed in range(1, 6)]


def _create(tmp_path: Path, pairs, **settings) -> TrainingSet:
    settings = {"voxel_size": VOXEL, "patch_size": SIZE, "patches_per_image": 4, **settings}
    return create_training_set(pairs, tmp_path / "training.npz", **settings)


def _boxes(patches: TrainingSet, source: np.ndarray, indices) -> list[np.ndarray]:
    starts = np.load(patches.path)["start"]
    return [source[tuple(slice(s, s + n) for s, n in zip(starts[i], SIZE, strict=True))] for i in indices]


def test_patches_are_boxes_of_their_stack_and_only_raw_is_normalised(tmp_path: Path, stacks) -> None:
    patches = _create(tmp_path, stacks, boundary_width=0.5)
    assert patches.X.shape == patches.Y.shape == (20, 1, *SIZE) and patches.labels.shape == (20, *SIZE)
    assert patches.X.dtype == patches.Y.dtype == np.float32 and patches.labels.dtype == np.uint16
    for pair in stacks:
        mine = np.flatnonzero(patches.stacks == pair.name)
        assert len(mine) == 4
        low, high = np.percentile(pair.raw, (1, 99.8))
        mask = binary_from_instances(pair.labels, voxel_size=VOXEL, boundary_width=0.5)
        for i, raw, labels, binary in zip(
            mine, *(_boxes(patches, a, mine) for a in (pair.raw, pair.labels, mask)), strict=True
        ):
            np.testing.assert_allclose(patches.X[i, 0], (raw - low) / (high - low), atol=1e-5)
            np.testing.assert_array_equal(patches.labels[i], labels)
            np.testing.assert_array_equal(patches.Y[i, 0], binary)


def test_split_goes_by_stack_and_validation_comes_last(tmp_path: Path, stacks) -> None:
    patches = _create(tmp_path, stacks, validation_fraction=0.4, copies=2)
    train, held_out = set(patches.stacks[patches.train]), set(patches.stacks[patches.validation])
    assert len(train) == 3 and len(held_out) == 2 and not train & held_out
    assert len(patches.train) == 3 * 4 * 3 and len(patches.validation) == 2 * 4  # never augmented
    assert patches.train.max() < patches.validation.min()
    # Not by name alone: ids and intensities are those of the stacks that the names say.
    for i in range(len(patches)):
        ids = np.unique(patches.labels[i])
        assert set(ids[ids > 0] // 100) <= {int(patches.stacks[i][-1])}


def test_validation_stacks_by_name(tmp_path: Path, stacks) -> None:
    patches = _create(tmp_path, stacks, validation_stacks=["stack 2", "stack 5"])
    assert set(patches.stacks[patches.validation]) == {"stack 2", "stack 5"}
    assert patches.settings["validation_stacks"] == ["stack 2", "stack 5"]


def test_a_single_stack(tmp_path: Path, stacks) -> None:
    with pytest.raises(InputError, match="two stacks"):
        _create(tmp_path, stacks[:1])
    patches = _create(tmp_path, stacks[:1], validation_fraction=0)
    assert len(patches.train) == 4 and len(patches.validation) == 0


def test_csbdeep_opens_it_with_equal_arrays(tmp_path: Path, stacks) -> None:
    from csbdeep.io import load_training_data

    patches = _create(tmp_path, stacks, copies=1)
    share = len(patches.validation) / len(patches)
    (x, y), (x_held, y_held), axes = load_training_data(str(patches.path), validation_split=share)
    assert axes == "SZYXC"
    for read, mapped, rows in (
        (x, patches.X, patches.train),
        (y, patches.Y, patches.train),
        (x_held, patches.X, patches.validation),
        (y_held, patches.Y, patches.validation),
    ):
        np.testing.assert_array_equal(read[..., 0], mapped[rows][:, 0])


def test_the_file_is_sound_and_says_how_it_was_made(tmp_path: Path, stacks) -> None:
    patches = _create(tmp_path, stacks, seed=3)
    with zipfile.ZipFile(patches.path) as archive:
        assert archive.testzip() is None
    settings = json.loads((tmp_path / "dataset.json").read_text())
    low, high = settings.pop("intensities")
    assert np.median([s.raw.min() for s in stacks]) <= low < high <= np.median([s.raw.max() for s in stacks])
    assert settings == patches.settings
    assert settings["voxel_size"] == list(VOXEL) and settings["seed"] == 3
    assert settings["train_patches"] == 16 and settings["validation_patches"] == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset.json", "training.npz"]


def test_deterministic(tmp_path: Path, stacks) -> None:
    make = {"copies": 2, "boundary_width": 0.5}
    first = _create(tmp_path / "a", stacks, seed=1, **make).path.read_bytes()
    assert _create(tmp_path / "b", stacks, seed=1, **make).path.read_bytes() == first
    other = _create(tmp_path / "c", stacks, seed=2, **make)
    assert not np.array_equal(other.X, TrainingSet.open(tmp_path / "a" / "training.npz").X)


def test_labels_are_never_interpolated_and_masks_follow_them(tmp_path: Path, stacks) -> None:
    always = replace(Augmentation(), probability=1.0)
    patches = _create(tmp_path, stacks, copies=6, augmentation=always, boundary_width=0.5)
    assert len(patches.train) == 4 * 4 * 7
    changed = 0
    for i in patches.train:
        pair = next(p for p in stacks if p.name == patches.stacks[i])
        labels, mask = patches.labels[i], patches.Y[i, 0]
        assert set(np.unique(labels)) <= set(np.unique(pair.labels))
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert not mask[labels == 0].any()
        # Cells are parted within a slice however they were turned.
        for z in range(SIZE[0]):
            parts = instances_from_binary(mask[z])
            for part in range(1, parts.max() + 1):
                assert len(np.unique(labels[z][parts == part])) == 1
        changed += not np.array_equal(labels, _boxes(patches, pair.labels, [i])[0])
    assert changed >= 4 * 4 * 6 * 0.9


def test_a_mask_of_its_own_moves_with_the_labels(tmp_path: Path) -> None:
    raw, labels = _stack(1)
    mask = (labels % 2 == 1).astype(np.uint8) * 255
    pairs = [StackPair(raw, labels, mask, name="a"), (raw, labels, mask)]
    patches = _create(tmp_path, pairs, copies=5, boundary_width=0.5)
    for i in range(len(patches)):
        np.testing.assert_array_equal(patches.Y[i, 0], patches.labels[i] % 2 == 1)


def test_instances_from_a_binary_mask(tmp_path: Path) -> None:
    raw, labels = _stack(1)
    mask = binary_from_instances(labels, voxel_size=VOXEL, boundary_width=0.5)
    mask[3:5] = False  # parted in z as well
    patches = _create(tmp_path, [(raw, None, mask)], validation_fraction=0)
    components = instances_from_binary(mask)
    for i, box in enumerate(_boxes(patches, components, range(4))):
        np.testing.assert_array_equal(patches.labels[i], box)
    np.testing.assert_array_equal(patches.labels[:] > 0, patches.Y[:, 0] > 0)


def test_denoised_copies(tmp_path: Path, stacks) -> None:
    """Denoising inverts the image here: patches taken from it are dark where cells are."""
    half = replace(Augmentation.none(), denoised=True, denoised_fraction=0.5)

    def dark_cells(**settings) -> float:
        shutil.rmtree(tmp_path / "d", ignore_errors=True)
        patches = _create(tmp_path / "d", stacks, copies=5, **settings)
        dark = [patches.X[i][patches.Y[i] > 0].mean() < 0.5 for i in patches.train]
        assert not any(patches.X[i][patches.Y[i] > 0].mean() < 0.5 for i in patches.validation)
        return float(np.mean(dark))

    assert dark_cells(augmentation=half) == 0
    assert 0.3 < dark_cells(augmentation=half, denoise=lambda raw: 20_000.0 - raw) < 0.55
    assert 0.3 < dark_cells(augmentation=half, denoise=[20_000 - p.raw for p in stacks]) < 0.55
    assert dark_cells(augmentation=Augmentation.none(), denoise=lambda raw: 20_000.0 - raw) == 0


def test_foreground_aware_sampling(tmp_path: Path) -> None:
    binary = np.zeros((4, 200, 200), bool)
    binary[1, 50:54, 60:64] = True
    binary[2, 199, 199] = True
    rng = np.random.default_rng(0)

    def fractions(**settings) -> np.ndarray:
        starts = PatchSampling((2, 16, 16), **settings).starts(binary, rng, "s")
        boxes = [binary[z : z + 2, y : y + 16, x : x + 16] for z, y, x in (next(starts) for _ in range(300))]
        assert {b.shape for b in boxes} == {(2, 16, 16)}
        return np.array([b.sum() for b in boxes])

    assert (fractions(foreground_probability=1.0, min_foreground=0.0) > 0).all()
    assert (fractions(foreground_probability=0.0, min_foreground=0.0) > 0).mean() < 0.1
    mixed = (fractions(foreground_probability=0.6, min_foreground=0.0) > 0).mean()
    assert 0.5 < mixed < 0.7
    assert (fractions(foreground_probability=0.1, min_foreground=10 / 512) >= 10).all()
    with pytest.warns(UserWarning, match=r"^s: cells are sparse.*min_foreground = 0\.5") as told:
        sparse = fractions(foreground_probability=0.5, min_foreground=0.5)
    assert len(told) == 1, "once a stack"
    assert (sparse > 0).all(), "the first run goes on, with the fullest patches there are"


def test_patches_cover_the_stack_evenly() -> None:
    """No pile-up at the borders, which clipping centred patches would make."""
    sampling = PatchSampling((1, 16, 16), 1.0, 0.0)
    starts = sampling.starts(np.ones((1, 64, 64), bool), np.random.default_rng(0), "s")
    columns = np.array([next(starts)[2] for _ in range(3000)])
    assert columns.min() == 0 and columns.max() == 48
    assert (columns == 0).mean() < 0.1 and (columns == 48).mean() < 0.1


def test_files_in_2d_and_with_voxel_sizes_of_their_own(tmp_path: Path, stacks) -> None:
    pairs = []
    for pair in stacks[:2]:
        paths = [tmp_path / f"{kind}_{pair.name}.tif" for kind in ("raw", "labels")]
        for path, array in zip(paths, (pair.raw, pair.labels), strict=True):
            tifffile.imwrite(
                path, array[0], imagej=True, resolution=(2, 2), metadata={"unit": "um", "spacing": 3.0, "axes": "YX"}
            )  # fmt: skip
        pairs.append(tuple(paths))
    patches = create_training_set(
        pairs, tmp_path / "t.npz", patch_size=(16, 16), patches_per_image=3, copies=1
    )
    assert patches.axes == "SCYX" and patches.X.shape == (9, 1, 16, 16) and patches.is_2d
    assert patches.voxel_size is not None and patches.voxel_size[-2:] == pytest.approx((0.5, 0.5))
    assert set(patches.stacks) == {f"raw_{p.name}" for p in stacks[:2]}
    np.testing.assert_array_equal(patches.patch(0)[2], patches.labels[0])


def test_ids_beyond_sixteen_bits_are_kept(tmp_path: Path) -> None:
    raw, labels = _stack(1)
    big = labels.astype(np.int32) * 1000
    patches = _create(tmp_path, [(raw, big)], validation_fraction=0)
    assert patches.labels.dtype == np.uint32
    assert set(np.unique(patches.labels)) <= set(np.unique(big)) and patches.labels.max() > 2**16
    small = _create(tmp_path / "b", [(raw, labels.astype(np.int32))], validation_fraction=0)
    assert small.labels.dtype == np.uint16


RAW, LABELS = _stack(1)


@pytest.mark.parametrize(
    ("pairs", "settings", "message"),
    [
        ([], {}, "pairs"),
        ([(RAW, None, None)], {}, "instance labels, a binary mask"),
        ([(RAW, LABELS[:-1])], {}, r"labels of stack_0.*\(7, 48, 40\)"),
        ([(RAW, LABELS, LABELS[:, :-1])], {}, "binary of stack_0"),
        ([(RAW[0, 0], LABELS[0, 0])], {}, r"\(Z, Y, X\)"),
        ([(RAW, LABELS.astype(np.float32))], {}, "labels of stack_0"),
        ([(RAW, LABELS.astype(np.int32) - 1)], {}, "labels of stack_0"),
        ([(RAW, np.zeros_like(LABELS))], {}, "labels of stack_0.*no foreground"),
        ([(RAW, None, np.zeros_like(LABELS))], {}, "no foreground"),
        ([(np.full_like(RAW, 7), LABELS)], {}, "stack_0"),
        ([(np.where(RAW > 1200, np.nan, RAW), LABELS)], {}, "stack_0.*NaN"),
        ([(RAW, LABELS)], {"voxel_size": None}, "voxel_size.*stack_0"),
        ([(RAW, LABELS)], {"patch_size": (16, 16, 16)}, "patch_size.*stack_0"),
        ([(RAW, LABELS)], {"patch_size": (16, 16)}, "patch_size.*3D"),
        ([(RAW[0], LABELS[0])], {"patch_size": (4, 16, 16)}, "patch_size.*2D"),
        ([(RAW, LABELS)], {"patch_size": (0, 16, 16)}, "patch_size"),
        ([(RAW, LABELS)], {"depth": 3}, "patch_size.*divisible by 8"),
        ([(RAW, LABELS)], {"patches_per_image": 0}, "patches_per_image"),
        ([(RAW, LABELS)], {"copies": -1}, "copies"),
        ([(RAW, LABELS)], {"foreground_probability": 2}, "foreground_probability"),
        ([(RAW, LABELS)], {"boundary_width": 0.1}, "boundary_width"),
        ([(RAW, LABELS)], {"boundary_width": 8}, "wider than twice boundary_width"),
        ([(RAW, LABELS)], {"pmin": 99.9}, "pmin"),
        ([(RAW, LABELS)], {"validation_stacks": ["nobody"]}, "validation_stacks.*stack_0"),
        ([(RAW, LABELS)], {"validation_stacks": ["stack_0"]}, "validation_stacks"),
        ([(RAW, LABELS)], {"denoise": [], "copies": 1}, "denoise"),
        ([(RAW, LABELS)], {"denoise": lambda raw: raw[1:], "copies": 1}, "denoised stack_0"),
        ([StackPair(RAW, LABELS, name="a")] * 2, {}, "pairs.*'a'"),
        ([(RAW, LABELS), (RAW[0], LABELS[0])], {}, "all 2D"),
        ([("missing.tif", "missing.tif")], {}, "missing.tif"),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_leaves_nothing(tmp_path: Path, pairs, settings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _create(tmp_path, pairs, **{"validation_fraction": 0, **settings})
    assert list(tmp_path.iterdir()) == []


def test_stacks_of_different_voxel_size(tmp_path: Path) -> None:
    for name, spacing in (("a", 3.0), ("b", 2.0)):
        for kind, array in (("raw", RAW), ("labels", LABELS)):
            tifffile.imwrite(
                tmp_path / f"{kind}_{name}.tif", array, imagej=True, resolution=(2, 2),
                metadata={"unit": "um", "spacing": spacing, "axes": "ZYX"},
            )  # fmt: skip
    pairs = [(tmp_path / f"raw_{name}.tif", tmp_path / f"labels_{name}.tif") for name in "ab"]
    with pytest.raises(InputError, match="raw_b: voxel_size"):
        _create(tmp_path / "t", pairs, voxel_size=None)
    assert _create(tmp_path / "t", pairs).voxel_size == VOXEL


def test_an_existing_file_is_kept_unless_asked(tmp_path: Path, stacks) -> None:
    before = _create(tmp_path, stacks).path.read_bytes()
    with pytest.raises(InputError, match="overwrite"):
        _create(tmp_path, stacks, seed=9)
    broken = [*stacks[:4], StackPair(stacks[4].raw, np.zeros_like(stacks[4].labels), name="empty")]
    with pytest.raises(InputError, match="empty"):
        _create(tmp_path, broken, overwrite=True)
    assert (tmp_path / "training.npz").read_bytes() == before  # an error costs nothing
    assert _create(tmp_path, stacks, seed=9, overwrite=True).path.read_bytes() != before


def test_real_nuclei(tmp_path: Path, samples: Path) -> None:
    folder = samples / "embryo" / "train"
    pairs = [(path, folder / "label" / path.name) for path in sorted((folder / "raw").glob("*.tif"))]
    patches = create_training_set(
        pairs, tmp_path / "t.npz", patch_size=(16, 64, 64), patches_per_image=4, voxel_size=(1.75, 0.8, 0.8),
        validation_fraction=0.25, depth=2, boundary_width=0.8,
    )  # fmt: skip
    assert len(patches.train) == 8 * 4 and len(patches.validation) == 3 * 4
    x, y, labels = (np.stack(a) for a in zip(*map(patches.patch, range(16)), strict=True))
    assert y.any((1, 2, 3)).mean() > 0.8
    assert x[labels > 0].mean() > 3 * x[labels == 0].mean()

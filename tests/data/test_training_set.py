from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from helpers.data.masks import instances_from_binary
from helpers.data.npz_stream import NpzWriter
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 5, (12, 2, 2, 2)), np.ones((1, 2, 4, 4), int)).astype(np.uint16)
    return {
        "X": rng.random((12, 1, 4, 8, 8), np.float32),
        "Y": (labels > 0).astype(np.float32)[:, None],
        "axes": np.array("SCZYX"),
        "labels": labels,
        "stack": np.repeat(["a", "b", "held out"], [6, 2, 4]),
        "validation": np.arange(12) >= 8,
        "settings": np.array(json.dumps({"voxel_size": [3.0, 0.5, 0.5], "seed": 1})),
    }


@pytest.fixture
def file(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    _write(tmp_path / "training.npz", arrays)
    return tmp_path / "training.npz"


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with NpzWriter(path, {name: (a.shape, a.dtype) for name, a in arrays.items()}) as npz:
        for name, array in arrays.items():
            npz.append(name, array)


def test_what_it_says_of_itself(file: Path) -> None:
    patches = TrainingSet.open(file)
    assert len(patches) == 12 and patches.patch_size == (4, 8, 8)
    assert patches.axes == "SCZYX" and not patches.is_2d
    assert patches.voxel_size == (3.0, 0.5, 0.5) and patches.settings["seed"] == 1
    np.testing.assert_array_equal(patches.train, range(8))
    np.testing.assert_array_equal(patches.validation, range(8, 12))


def test_maps_and_patches_equal_what_was_written(file: Path, arrays: dict[str, np.ndarray]) -> None:
    patches = TrainingSet.open(file)
    for name in ("X", "Y", "labels"):
        mapped = getattr(patches, name)
        assert isinstance(mapped, np.memmap) and mapped.flags.aligned and not mapped.flags.writeable
        np.testing.assert_array_equal(mapped, arrays[name])
    for index in (0, 7, 11, -1):
        x, y, labels = patches.patch(index)
        assert x.dtype == np.float32 and y.dtype == bool and labels.dtype == np.int32
        np.testing.assert_array_equal(x, arrays["X"][index, 0])
        np.testing.assert_array_equal(y, arrays["Y"][index, 0] > 0)
        np.testing.assert_array_equal(labels, arrays["labels"][index])
    with pytest.raises(IndexError):
        patches.patch(12)


@pytest.mark.parametrize("compressed", [False, True])
def test_opens_files_of_others(tmp_path: Path, arrays: dict[str, np.ndarray], compressed: bool) -> None:
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "other.npz", X=arrays["X"], Y=arrays["Y"], axes="SCZYX")
    patches = TrainingSet.open(tmp_path / "other.npz", voxel_size=(2, 1, 1), validation_fraction=0.25)
    np.testing.assert_array_equal(patches.X, arrays["X"])
    np.testing.assert_array_equal(patches.validation, [9, 10, 11])  # as csbdeep takes them
    assert patches.voxel_size == (2, 1, 1) and patches.labels is None
    x, y, labels = patches.patch(3)
    np.testing.assert_array_equal(x, arrays["X"][3, 0])
    np.testing.assert_array_equal(labels, instances_from_binary(y))
    assert TrainingSet.open(tmp_path / "other.npz", validation_fraction=0).validation.size == 0
    assert TrainingSet.open(tmp_path / "other.npz").voxel_size is None  # never a silent 1.0


def test_a_compressed_file_is_unpacked_once_and_again_when_it_changes(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    source, copy = tmp_path / "packed.npz", tmp_path / "packed.unpacked.npz"
    np.savez_compressed(source, **arrays)
    TrainingSet.open(source)
    made = copy.stat().st_mtime_ns
    assert TrainingSet.open(source).source == copy
    assert copy.stat().st_mtime_ns == made
    np.savez_compressed(source, **{**arrays, "X": arrays["X"] + 1})
    later = copy.stat().st_mtime + 10
    os.utime(source, (later, later))
    np.testing.assert_array_equal(TrainingSet.open(source).X, arrays["X"] + 1)


def test_csbdeep_reads_it(file: Path, arrays: dict[str, np.ndarray]) -> None:
    from csbdeep.io import load_training_data

    (x, y), (x_held, y_held), axes = load_training_data(str(file), validation_split=4 / 12)
    assert axes == "SZYXC"
    np.testing.assert_array_equal(x[..., 0], arrays["X"][:8, 0])
    np.testing.assert_array_equal(y[..., 0], arrays["Y"][:8, 0])
    np.testing.assert_array_equal(x_held[..., 0], arrays["X"][8:, 0])
    np.testing.assert_array_equal(y_held[..., 0], arrays["Y"][8:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": None}, "no Y"),
        ({"X": np.zeros((12, 8, 8), np.float32)}, "X"),
        ({"Y": np.zeros((12, 1, 4, 8, 7), np.float32)}, "Y"),
        ({"labels": np.zeros((11, 4, 8, 8), np.uint16)}, "labels"),
        ({"validation": np.zeros(3, bool)}, "validation"),
        ({"axes": np.array("SZYXC")}, "axes"),
        ({"settings": np.array("{")}, "settings"),
    ],
)
def test_files_that_are_no_training_set(
    tmp_path: Path, arrays: dict[str, np.ndarray], change, message
) -> None:
    changed = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    _write(tmp_path / "wrong.npz", changed)
    with pytest.raises(InputError, match=message) as error:
        TrainingSet.open(tmp_path / "wrong.npz")
    assert "wrong.npz" in str(error.value)


def test_truncated_before_and_after_opening(file: Path) -> None:
    patches = TrainingSet.open(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="complete"):
        TrainingSet.open(file)
    file.write_bytes(whole[:2000])
    with pytest.raises(InputError, match="truncated"):
        patches.patch(5)


def test_reading_patch_by_patch_does_not_fill_memory(tmp_path: Path) -> None:
    """126 MB of patches are read by a process that grows by a few.

    VmHWM and not ru_maxrss: that one starts at the size of the process that started this one.
    """
    if not Path("/proc/self/status").exists():
        pytest.skip("the kernel does not say a process's peak memory")
    n, shape = 60, (16, 128, 128)
    with NpzWriter(tmp_path / "t.npz", {k: ((n, 1, *shape), np.float32) for k in "XY"}) as npz:
        for _ in range(n):
            npz.append("X", np.ones(shape))
            npz.append("Y", np.ones(shape))
    script = f"""
        import re, pathlib
        from helpers.data.training_set import TrainingSet
        patches = TrainingSet.open({str(tmp_path / "t.npz")!r})
        def peak():
            status = pathlib.Path("/proc/self/status").read_text()
            return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
        total = sum(float(patches.read(m, 0).sum()) for m in "XY")
        before = peak()
        total = sum(float(patches.read(m, i).sum()) for m in "XY" for i in range(len(patches)))
        print(peak() - before, total)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    grown, total = map(float, done.stdout.split())
    assert total == 2 * n * 16 * 128 * 128
    assert grown < 20

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers.data.npz_stream import NpzWriter, read_members, unpack
from helpers.errors import InputError


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "X": rng.random((7, 3, 5), np.float32),
        "names": np.array(["embryo", "é", ""] + ["x"] * 4),
        "axes": np.array("SCYX"),
        "held_out": rng.random(7) < 0.5,
        "empty": np.zeros((0, 4), np.uint16),
    }


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with NpzWriter(path, {name: (a.shape, a.dtype) for name, a in arrays.items()}) as npz:
        for row in range(7):  # members grow in turns
            npz.append("X", arrays["X"][row])
            npz.append("held_out", arrays["held_out"][row : row + 1])
        for name in ("names", "axes", "empty"):
            npz.append(name, arrays[name])


def test_numpy_and_zipfile_read_it(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    _write(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert set(read.files) == set(arrays)
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            np.testing.assert_array_equal(read[name], array)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.testzip() is None  # every checksum
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_members_are_found_where_they_lie_aligned(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    _write(tmp_path / "a.npz", arrays)
    np.savez(tmp_path / "b.npz", **arrays)
    for file in ("a.npz", "b.npz"):
        member = read_members(tmp_path / file)["X"]
        mapped = np.memmap(tmp_path / file, member.dtype, "r", member.offset, member.shape)
        np.testing.assert_array_equal(mapped, arrays["X"])
    assert all(m.offset is not None and m.offset % 64 == 0 for m in read_members(tmp_path / "a.npz").values())


def test_members_beyond_4_gib(tmp_path: Path) -> None:
    """A sparse file: its holes take no disk, but its sizes and offsets need 64 bits."""
    rows, path = 5 * 2**10, tmp_path / "big.npz"
    writer = NpzWriter(path, {"X": ((rows, 2**20), np.uint8), "last": ((3,), np.int64)})
    member = writer._members["X"]
    member.written = member.size  # the zeros of the hole; their checksum is not what is tested
    with writer:
        writer.append("last", np.array([1, 2, 3]))
    assert path.stat().st_size > 2**32
    with np.load(path) as read:
        np.testing.assert_array_equal(read["last"], [1, 2, 3])
    assert read_members(path)["X"].shape == (rows, 2**20)


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), NpzWriter(tmp_path / "a.npz", {"X": ((4,), float)}):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_member_is_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="X is unfinished"),
        NpzWriter(tmp_path / "a.npz", {"X": ((4,), float)}) as npz,
    ):
        npz.append("X", np.zeros(3))
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(ValueError, match="more was appended"),
        NpzWriter(tmp_path / "a.npz", {"X": ((4,), float)}) as npz,
    ):
        npz.append("X", np.zeros(5))


def test_what_a_killed_run_left_is_replaced(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    (tmp_path / "a.npz.part").write_bytes(b"x" * 100_000)
    _write(tmp_path / "a.npz", arrays)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]
    with np.load(tmp_path / "a.npz") as read:
        np.testing.assert_array_equal(read["X"], arrays["X"])


def test_too_little_disk_is_said_beforehand(tmp_path: Path) -> None:
    rows = shutil.disk_usage(tmp_path).free // 2**20 + 100
    with pytest.raises(InputError, match="GB are free"):
        NpzWriter(tmp_path / "a.npz", {"X": ((rows, 2**20), np.uint8)})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can be written to"):
        NpzWriter(tmp_path / "file" / "a.npz", {"X": ((1,), float)})


def test_a_compressed_file_is_unpacked(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    assert all(member.offset is None for member in read_members(tmp_path / "packed.npz").values())
    unpack(tmp_path / "packed.npz", tmp_path / "stored.npz")
    with np.load(tmp_path / "stored.npz") as read:
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)


def test_files_that_are_no_npz(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_members(tmp_path / "missing.npz")
    _write(tmp_path / "a.npz", arrays)
    whole = (tmp_path / "a.npz").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 3):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(InputError, match="complete"):
            read_members(tmp_path / "cut.npz")
    np.savez(tmp_path / "pickled.npz", X=np.array([{}, 1], object))
    with pytest.raises(InputError, match="pickled"):
        read_members(tmp_path / "pickled.npz")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="no arrays"):
        read_members(tmp_path / "other.npz")

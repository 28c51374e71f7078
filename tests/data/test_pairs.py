"""Raw stacks and labels find each other by name; what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from helpers.data.checks import check_image, check_labels
from helpers.data.movies import write_movie
from helpers.data.pairs import match_pairs
from helpers.errors import InputError

RAW = np.random.default_rng(0).integers(0, 4000, (6, 16, 17), dtype=np.uint16)
LABELS = np.repeat(np.arange(6, dtype=np.uint16), 16 * 17).reshape(6, 16, 17)


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    for name in ("raw", "label"):
        (tmp_path / name).mkdir()
    return tmp_path / "raw", tmp_path / "label"


def test_pairs_by_name_in_natural_order(folders):
    raw, label = folders
    for name in ("t10", "t9.b", "t9", "T2"):
        tifffile.imwrite(raw / f"{name}.tif", RAW)
        write_movie(label / f"{name}.ome.tif", LABELS, voxel_size=(1, 1, 1), axes="ZYX")
    write_movie(raw / "z.zarr", RAW, voxel_size=(1, 1, 1), axes="ZYX")
    with h5py.File(label / "z.h5", "w") as file:
        file["label"] = LABELS
    for folder in folders:
        (folder / ".DS_Store").write_text("")
        (folder / "notes.txt").write_text("")
    pairs = match_pairs(raw, label)
    assert [r.name for r, _ in pairs] == ["T2.tif", "t9.b.tif", "t9.tif", "t10.tif", "z.zarr"]
    assert [m.name for _, m in pairs] == ["T2.ome.tif", "t9.b.ome.tif", "t9.ome.tif", "t10.ome.tif", "z.h5"]
    assert len(match_pairs(raw, label, pattern="t9*")) == 2


def test_all_files_without_a_partner_are_listed(folders):
    raw, label = folders
    for name in ("a", "b", "c"):
        tifffile.imwrite(raw / f"{name}.tif", RAW)
    for name in ("b", "d"):
        tifffile.imwrite(label / f"{name}.tif", LABELS)
    with pytest.raises(InputError) as caught:
        match_pairs(raw, label)
    message = str(caught.value)
    assert "3 files" in message and "2 in" in message and "a.tif, c.tif" in message and "d.tif" in message
    assert "b.tif" not in message


def test_a_name_that_occurs_twice(folders):
    raw, label = folders
    for name in ("a.tif", "a.ome.tif"):
        tifffile.imwrite(raw / name, RAW)
    tifffile.imwrite(label / "a.tif", LABELS)
    with pytest.raises(InputError, match=r"raw_dir = .*a\.ome\.tif.*same name"):
        match_pairs(raw, label)


def test_missing_and_empty_folders(folders, tmp_path):
    raw, label = folders
    with pytest.raises(InputError, match=r"raw_dir = .*nowhere.*does not exist"):
        match_pairs(tmp_path / "nowhere", label)
    tifffile.imwrite(raw / "a.tif", RAW)
    with pytest.raises(InputError, match=r"label_dir = .*it is empty"):
        match_pairs(raw, label)
    (label / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"label_dir = .*notes\.txt"):
        match_pairs(raw, label)
    with pytest.raises(InputError, match=r"raw_dir = .*is a file"):
        match_pairs(raw / "a.tif", label)
    with pytest.raises(InputError, match=r"raw_dir = .*'\*\.h5'"):
        match_pairs(raw, label, pattern="*.h5")


def test_a_pair_is_read(folders, load_pair):
    raw, label = folders
    write_movie(raw / "a.tif", RAW, voxel_size=(2, 0.5, 0.25), axes="ZYX")
    tifffile.imwrite(label / "a.tif", LABELS)
    stack, labels, size = load_pair(raw / "a.tif", label / "a.tif")
    np.testing.assert_array_equal(stack, RAW)
    np.testing.assert_array_equal(labels, LABELS)
    assert stack.dtype == np.uint16 and labels.dtype == np.int32 and size == (2, 0.5, 0.25)
    assert load_pair(raw / "a.tif", label / "a.tif", voxel_size=(1, 1, 1))[2] == (1, 1, 1)


def test_a_real_pair(samples, load_pair):
    file = samples / "plantseg" / "sample_ovule.h5"
    ((raw, label),) = match_pairs(file.parent, file.parent, pattern="*.h5")
    stack, labels, size = load_pair(raw, label, dataset="raw", label_dataset="label")
    assert stack.shape == labels.shape == (32, 128, 128) and size == pytest.approx((0.235, 0.15, 0.15))
    assert np.unique(labels).size == 51
    pairs = match_pairs(samples / "embryo/train/raw", samples / "embryo/train/label")
    assert len(pairs) == 11
    with pytest.raises(InputError, match="voxel_size = None"):
        load_pair(*pairs[0])


def write_pair(tmp_path: Path, raw: np.ndarray, labels: np.ndarray) -> tuple[Path, Path]:
    tifffile.imwrite(tmp_path / "raw.tif", raw)
    tifffile.imwrite(tmp_path / "label.tif", labels)
    return tmp_path / "raw.tif", tmp_path / "label.tif"


@pytest.mark.parametrize(
    ("raw", "labels", "message"),
    [
        (RAW, LABELS[:, :15], r"labels of raw = \(6, 15, 17\)"),
        (RAW, LABELS.astype(np.float32), r"labels of raw = 'float32, all whole"),
        (RAW, LABELS + np.float32(0.5), r"labels of raw = 'float32, 1632 of 1632 voxels are not whole"),
        (RAW, LABELS.astype(np.int16) - 2, r"labels of raw = "),
        (np.full_like(RAW, 7), LABELS, r"raw = '7 everywhere"),
        (np.where(RAW > 3900, np.nan, RAW).astype(np.float32), LABELS, r"raw = '\d+ NaN and 0 infinite"),
        (RAW + np.float32(np.inf), LABELS, r"raw = '0 NaN and 1632 infinite"),
        (np.stack([RAW] * 2), LABELS, r"raw.tif = '2 frames'"),
    ],
)
def test_a_bad_pair_names_the_file(tmp_path, raw, labels, message, load_pair):
    with pytest.raises(InputError, match=message):
        load_pair(*write_pair(tmp_path, raw, labels), voxel_size=(1, 1, 1))


def test_voxel_sizes_that_disagree(tmp_path, load_pair):
    write_movie(tmp_path / "raw.tif", RAW, voxel_size=(2, 0.5, 0.5), axes="ZYX")
    write_movie(tmp_path / "label.tif", LABELS, voxel_size=(1, 0.5, 0.5), axes="ZYX")
    with pytest.raises(InputError, match="voxel_size = None"):
        load_pair(tmp_path / "raw.tif", tmp_path / "label.tif")


def test_no_voxel_size(tmp_path, load_pair):
    with pytest.raises(InputError, match=r"voxel_size = None: raw"):
        load_pair(*write_pair(tmp_path, RAW, LABELS))


@pytest.mark.parametrize("dtype", ["bool", "complex64", "object", "U1"])
def test_types_that_are_no_image(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    with pytest.raises(InputError, match="stack"):
        check_image(array, "stack")
    with pytest.raises(InputError, match="stack"):
        check_labels(array, "stack")


@pytest.mark.parametrize("shape", [(4,), (0, 3), (1, 2, 3, 4)])
def test_dimensions_that_are_no_stack(shape):
    for check in (check_image, check_labels):
        with pytest.raises(InputError, match="stack"):
            check(np.zeros(shape, np.uint16), "stack")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", ">u2"])
def test_labels_keep_their_ids(dtype):
    labels = np.array([[0, 1], [2, min(np.iinfo(dtype).max, 2**31 - 1)]]).astype(dtype)
    checked = check_labels(labels, "labels")
    assert checked.dtype == np.int32
    np.testing.assert_array_equal(checked, labels)


def test_labels_too_large_for_int32():
    with pytest.raises(InputError, match="3000000000"):
        check_labels(np.array([[0, 3_000_000_000]], np.uint32), "labels")
    with pytest.raises(InputError, match="NaN"):
        check_labels(np.array([[0, np.nan]]), "labels")

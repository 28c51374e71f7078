"""Objects measured: scikit-image's numbers where it has them, solids whose measures are known, bad input."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from helpers.errors import InputError
from helpers.tracking.objects import COLUMNS, measure
from helpers.tracking.surface import directions

VOXEL = (2.0, 0.5, 0.3)
#: Labels and image; each pair is compiled once, and kept.
KINDS = [(np.uint16, np.uint8), (np.int32, np.uint16), (np.uint32, np.float32), (np.int64, np.float64)]


def _expected(labels: np.ndarray, intensity: np.ndarray, voxel_size: tuple[float, ...]) -> pd.DataFrame:
    """Measure with scikit-image; runs along each direction are counted object by object in a padded copy."""
    properties = (
        "label", "centroid", "area", "num_pixels", "bbox", "intensity_mean", "intensity_std", "intensity_min",
        "intensity_max", "axis_major_length", "axis_minor_length", "inertia_tensor_eigvals",
    )  # fmt: skip
    # float64: scikit-image sums float32 intensities in single precision.
    found = regionprops_table(labels, intensity.astype(float), properties=properties, spacing=voxel_size)
    size = np.array(voxel_size)
    table: dict[str, np.ndarray] = {"label": found["label"]}
    axes = "zyx"[-labels.ndim :]
    for k, axis in enumerate(axes):
        table[axis] = found[f"centroid-{k}"]
        table[f"extent_{axis}_um"] = (found[f"bbox-{k + labels.ndim}"] - found[f"bbox-{k}"]) * size[k]
    table["volume_um3" if labels.ndim == 3 else "area_um2"] = found["area"]
    table["n_voxels"] = found["num_pixels"]
    for ours, theirs in (("mean", "mean"), ("sd", "std"), ("min", "min"), ("max", "max")):
        table[f"intensity_{ours}"] = found[f"intensity_{theirs}"]
    table["intensity_sum"] = found["intensity_mean"] * found["num_pixels"]
    table["axis_major_um"] = found["axis_major_length"]
    table["axis_minor_um"] = found["axis_minor_length"]
    if labels.ndim == 3:
        a, b, c = (found[f"inertia_tensor_eigvals-{k}"] for k in range(3))
        table["axis_middle_um"] = np.sqrt(10 * np.maximum(a - b + c, 0))
    table["surface_um2" if labels.ndim == 3 else "perimeter_um"] = np.array(
        [_surface(labels == label, size) for label in found["label"]]
    )
    return pd.DataFrame(table)


def _surface(mask: np.ndarray, size: np.ndarray) -> float:
    flat = mask.ndim == 2
    steps, worth = directions(np.array([1.0, *size]) if flat else size, is_2d=flat)
    margin = int(np.abs(steps).max())
    solid = np.pad(mask[None] if flat else mask, margin)
    runs = [(solid & ~np.roll(solid, tuple(step), axis=(0, 1, 2))).sum() for step in steps]
    return float(np.array(runs) @ worth)


def _assert_equal(ours: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert len(ours) == len(expected)
    for name in expected:
        # A length is the root of a variance, so a variance of 0 ± 1e-16 is a length of 0 ± 1e-8.
        tolerance = 1e-6 * expected["axis_major_um"].max() if name.startswith("axis") else 1e-9
        np.testing.assert_allclose(ours[name], expected[name], rtol=1e-9, atol=tolerance, err_msg=name)


def _ball(radius_um: float, voxel_size: tuple[float, ...]) -> np.ndarray:
    half = [int(radius_um / s) + 2 for s in voxel_size]
    grid = np.ogrid[tuple(slice(-h, h + 1) for h in half)]
    return (sum((g * s) ** 2 for g, s in zip(grid, voxel_size, strict=True)) <= radius_um**2).astype(
        np.uint16
    )


@st.composite
def _frames(draw) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    n_dimensions = draw(st.sampled_from([2, 3]))
    shape = draw(st.tuples(*[st.integers(2, 9)] * n_dimensions))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind, image_kind = draw(st.sampled_from(KINDS))
    highest = draw(st.sampled_from([1, 3, 20]))
    labels = rng.integers(1, highest + 1, shape)
    if draw(st.booleans()):  # pieces larger than a voxel
        labels = labels[tuple(np.ix_(*[np.sort(rng.integers(0, n, n)) for n in shape]))]
    labels[rng.random(shape) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = 0
    intensity = rng.normal(120, 30, shape).clip(0, 255).astype(image_kind)
    spacing = draw(st.tuples(*[st.sampled_from([0.1, 0.52, 1.0, 3.0])] * n_dimensions))
    return labels.astype(kind), intensity, spacing


@pytest.mark.slow
@settings(max_examples=200, deadline=None, derandomize=True)
@given(_frames())
def test_random_labels_measure_as_with_regionprops(case) -> None:
    labels, intensity, voxel_size = case
    _assert_equal(measure(labels, intensity, voxel_size=voxel_size), _expected(labels, intensity, voxel_size))


def test_real_cells_measure_as_with_regionprops(samples) -> None:
    import h5py

    with h5py.File(samples / "plantseg" / "sample_ovule.h5") as file:
        labels, raw = file["label"][:], file["raw"][:]  # type: ignore[index]
    voxel_size = (0.235, 0.15, 0.15)
    table = measure(labels, raw, voxel_size=voxel_size)
    assert len(table) == 50
    _assert_equal(table, _expected(labels, raw, voxel_size))


@pytest.mark.parametrize("voxel_size", [(0.5, 0.5, 0.5), (1.0, 0.25, 0.25)])
def test_a_ball_has_its_volume_axes_and_surface(voxel_size) -> None:
    radius = 10.0
    row = measure(_ball(radius, voxel_size), voxel_size=voxel_size).iloc[0]
    assert row["volume_um3"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    for axis in ("axis_major_um", "axis_middle_um", "axis_minor_um"):
        assert row[axis] == pytest.approx(2 * radius, rel=0.01)
    assert row["surface_um2"] == pytest.approx(4 * np.pi * radius**2, rel=0.01)


def test_a_disc_has_its_area_axes_and_perimeter() -> None:
    row = measure(_ball(10.0, (0.2, 0.1)), voxel_size=(0.2, 0.1)).iloc[0]
    assert row["area_um2"] == pytest.approx(np.pi * 100, rel=0.01)
    assert row["axis_major_um"] == pytest.approx(20, rel=0.01)
    assert row["axis_minor_um"] == pytest.approx(20, rel=0.01)
    assert row["perimeter_um"] == pytest.approx(2 * np.pi * 10, rel=0.01)


def test_the_surface_of_a_box_is_the_same_inside_at_the_border_and_beside_another_cell() -> None:
    labels = np.zeros((20, 70, 160), np.int32)
    labels[0:8, 0:32, 0:50] = 2
    labels[10:18, 35:67, 40:90] = 1
    labels[10:18, 35:67, 90:140] = 3
    dz, dy, dx = 8 * 2.0, 32 * 0.5, 50 * 0.3
    table = measure(labels, voxel_size=VOXEL)
    np.testing.assert_allclose(table["surface_um2"], table["surface_um2"][0])
    # Sharp edges are rounded off, the less the more voxels there are.
    assert 0.85 < table["surface_um2"][0] / (2 * (dz * dy + dz * dx + dy * dx)) < 1
    np.testing.assert_allclose(table[["extent_z_um", "extent_y_um", "extent_x_um"]], [[dz, dy, dx]] * 3)


def test_one_plane_is_2d_with_two_or_three_voxel_sizes() -> None:
    rng = np.random.default_rng(1)
    labels, image = rng.integers(0, 9, (20, 30)), rng.random((20, 30))
    flat = measure(labels, image, voxel_size=(0.5, 0.3))
    assert (flat["z"] == 0).all()
    assert not {"volume_um3", "surface_um2", "extent_z_um", "axis_middle_um"} & set(flat)
    for other in (
        measure(labels, image, voxel_size=VOXEL),
        measure(labels[None], image[None], voxel_size=VOXEL),
        measure(labels[None], image, voxel_size=(0.5, 0.3)),
    ):
        pd.testing.assert_frame_equal(flat, other)


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5)])
@pytest.mark.parametrize("with_intensity", [True, False])
def test_an_empty_frame_has_the_columns_of_a_full_one(shape, with_intensity) -> None:
    image = np.ones(shape, np.uint16) if with_intensity else None
    empty = measure(np.zeros(shape, np.uint16), image, voxel_size=VOXEL, frame=3)
    full = measure(np.ones(shape, np.uint16), image, voxel_size=VOXEL, frame=3)
    assert len(empty) == 0 and len(full) == 1
    pd.testing.assert_series_equal(empty.dtypes, full.dtypes)
    assert full[["id", "frame", "label", "n_voxels"]].dtypes.eq(np.int64).all()
    assert full.loc[0, ["id", "frame", "label"]].tolist() == [0, 3, 1]


def test_every_column_is_described_once() -> None:
    image = np.ones((2, 2, 2))
    table = [*measure(image.astype(int), image, voxel_size=VOXEL)]
    plane = [*measure(image[0].astype(int), image[0], voxel_size=VOXEL)]
    assert set(table) | set(plane) == set(COLUMNS)
    assert [name for name in COLUMNS if name in table] == table
    assert [name for name in COLUMNS if name in plane] == plane
    for name, text in COLUMNS.items():
        unit = {"um": "µm", "um2": "µm²", "um3": "µm³"}.get(name.rsplit("_", 1)[-1])
        assert unit is None or unit in text


def test_seventy_thousand_labels() -> None:
    shape = (10, 70, 100)
    labels = np.random.default_rng(0).permutation(70_000).reshape(shape).astype(np.uint32) + 1
    table = measure(labels, labels, voxel_size=(1, 1, 1))
    z, y, x = np.unravel_index(np.argsort(labels.ravel()), shape)
    np.testing.assert_array_equal(table["label"], np.arange(1, 70_001))
    np.testing.assert_array_equal(table["id"], np.arange(70_000))
    np.testing.assert_array_equal(table[["z", "y", "x"]], np.column_stack([z, y, x]))
    np.testing.assert_array_equal(table["intensity_sum"], table["label"])
    assert (table["n_voxels"] == 1).all() and (table["axis_major_um"] == 0).all()


@pytest.mark.parametrize(
    ("kind", "large"), [(np.uint32, 4_000_000_000), (np.int64, 2**62), (np.uint64, 2**63 - 1)]
)
def test_large_labels_take_no_more_rows_than_there_are_objects(kind, large) -> None:
    labels = np.zeros((2, 3, 4), kind)
    labels[0, 0, :2], labels[1, 2, 1:] = large, 5
    table = measure(labels, voxel_size=VOXEL)
    assert table["label"].tolist() == [5, large]
    assert table["n_voxels"].tolist() == [3, 2]


def _layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    spread = np.zeros(tuple(2 * n for n in array.shape), array.dtype)
    spread[::2, ::2, ::2] = array
    locked = array.copy()
    locked.flags.writeable = False
    return {
        "Fortran": np.asfortranarray(array),
        "strided": spread[::2, ::2, ::2],
        "reversed": array[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1],
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
        "read-only": locked,
    }


@pytest.mark.parametrize("layout", ["Fortran", "strided", "reversed", "big-endian", "read-only"])
def test_the_layout_in_memory_does_not_matter(layout) -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 7, (4, 9, 8)).astype(np.uint16)
    image = rng.random((4, 9, 8)).astype(np.float32)
    pd.testing.assert_frame_equal(
        measure(_layouts(labels)[layout], _layouts(image)[layout], voxel_size=VOXEL),
        measure(labels, image, voxel_size=VOXEL),
    )


def test_half_precision_images_are_summed_in_double_precision() -> None:
    image = np.full((4, 40, 40), 1000, np.float16)  # their sum is beyond float16
    table = measure(np.ones(image.shape, np.int32), image, voxel_size=VOXEL)
    assert table["intensity_sum"].tolist() == [6_400_000.0]


def test_labels_and_image_are_neither_copied_nor_changed() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 50, (16, 128, 128)).astype(np.uint16)
    image = rng.random(labels.shape).astype(np.float32)
    before = labels.copy(), image.copy()
    measure(labels, image, voxel_size=VOXEL)  # compiled
    tracemalloc.start()
    measure(labels, image, voxel_size=VOXEL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000  # a single plane of the image has 65,536 bytes, the whole 1,048,576
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(image, before[1])


def test_large_objects_lose_no_digits() -> None:
    labels = np.zeros((40, 400, 400), np.uint16)
    labels[-30:, -300:, -300:] = 9
    row = measure(labels, voxel_size=(1, 1, 1)).iloc[0]
    # The variance of 0…n−1 is (n² − 1) / 12.
    assert row["axis_minor_um"] == pytest.approx(np.sqrt(20 * (30**2 - 1) / 12), rel=1e-12)
    assert row["axis_major_um"] == pytest.approx(np.sqrt(20 * (300**2 - 1) / 12), rel=1e-12)
    assert row[["z", "y", "x"]].tolist() == [24.5, 249.5, 249.5]


def test_a_high_background_costs_the_intensity_no_digits() -> None:
    rng = np.random.default_rng(4)
    noise = rng.integers(-3, 4, (10, 60, 60)).astype(float)
    table = measure(np.ones(noise.shape, np.int32), noise + 1e9, voxel_size=VOXEL)
    assert table["intensity_sd"][0] == pytest.approx(noise.std(), rel=1e-12)
    assert table["intensity_mean"][0] - 1e9 == pytest.approx(noise.mean(), abs=1e-6)
    flat = measure(np.ones(noise.shape, np.int32), np.full(noise.shape, 0.1), voxel_size=VOXEL)
    assert flat["intensity_sd"].tolist() == [0.0]


def test_nan_in_the_background_is_not_read() -> None:
    labels = np.zeros((2, 3, 4), np.int32)
    labels[:, 1, 1:3] = 1
    image = np.where(labels > 0, 5.0, np.nan)
    assert measure(labels, image, voxel_size=VOXEL)["intensity_mean"].tolist() == [5.0]


def _with(value: float, dtype: type) -> np.ndarray:
    array = np.ones((3, 4, 5), dtype)
    array[1, 2, 3] = value
    return array


LABELS = np.ones((3, 4, 5), np.int32)


@pytest.mark.parametrize(
    ("name", "labels", "intensity", "voxel_size"),
    [
        ("voxel_size", LABELS, None, None),
        ("voxel_size", LABELS, None, (0.5, 0.5)),
        ("voxel_size", LABELS, None, (1, 0, 1)),
        ("voxel_size", LABELS, None, (1, float("nan"), 1)),
        ("voxel_size", LABELS, None, 0.5),
        ("voxel_size", LABELS, None, (1, None, 1)),
        ("voxel_size", LABELS, None, (1, 1, 1, 1)),
        ("labels", LABELS.astype(np.float32), None, VOXEL),
        ("labels", LABELS > 0, None, VOXEL),
        ("labels", _with(-2, np.int32), None, VOXEL),
        ("labels", _with(-2, np.int64), None, VOXEL),
        ("labels", _with(2**63, np.uint64), None, VOXEL),
        ("labels", LABELS[None], None, VOXEL),
        ("labels", LABELS[:0], None, VOXEL),
        ("intensity", LABELS, np.ones((3, 4, 6)), VOXEL),
        ("intensity", LABELS, np.ones((4, 5)), VOXEL),
        ("intensity", LABELS, LABELS > 0, VOXEL),
        ("intensity", LABELS, _with(np.nan, np.float32), VOXEL),
        ("intensity", LABELS, _with(np.inf, np.float64), VOXEL),
    ],
)
def test_bad_input_is_named(name, labels, intensity, voxel_size) -> None:
    with pytest.raises(InputError) as caught:
        measure(labels, intensity, voxel_size=voxel_size)
    assert caught.value.name == name


def test_the_error_says_which_label_and_plane_is_not_finite() -> None:
    with pytest.raises(InputError, match="label 1, plane 1"):
        measure(LABELS, _with(np.nan, np.float32), voxel_size=VOXEL)
    with pytest.raises(InputError, match="labels = -2"):
        measure(_with(-2, np.int32), voxel_size=VOXEL)


@pytest.mark.parametrize("frame", [1.5, "0", True])
def test_a_frame_is_an_integer(frame) -> None:
    with pytest.raises(InputError, match="frame = "):
        measure(LABELS, voxel_size=VOXEL, frame=frame)


def test_the_readme_describes_every_column() -> None:
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in text

"""Voxel size and frame interval as files of many programs give them, or do not."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from helpers.data.movies import Movie, write_movie
from helpers.errors import InputError

#: What is asked of a movie, as a biologist would say it.
SAID = {
    (
        "TZYX",
        (6, 2, 4, 5),
        (2, 0.5, 0.25),
        60.0,
    ): "a: 6 frames, one every 60 s, 1 channel, 2 × 4 × 5 voxels (z, y, x) of 2 × 0.5 × 0.25 µm, uint16",
    ("YX", (4, 5), (0.5, 0.25), None): "a: 1 frame, 1 channel, 4 × 5 voxels (y, x) of 0.5 × 0.25 µm, uint16",
}

STACK = np.arange(6 * 4 * 5, dtype=np.uint16).reshape(6, 4, 5)


@pytest.mark.parametrize("what", SAID)
def test_a_movie_says_what_it_is(tmp_path, what):
    axes, shape, size, interval = what
    write_movie(
        tmp_path / "a.ome.tif",
        np.zeros(shape, np.uint16),
        voxel_size=size,
        frame_interval=interval,
        axes=axes,
    )
    assert str(Movie.open(tmp_path / "a.ome.tif")) == SAID[what]


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("um", 1), ("micron", 1), ("\\u00B5m", 1), ("nm", 1e-3), ("mm", 1e3), ("cm", 1e4), ("inch", 25400)],
)
def test_imagej_units(tmp_path, unit, factor):
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZYX", "spacing": 2.0 / factor, "unit": unit, "finterval": 2.0, "tunit": "min"}
    tifffile.imwrite(path, STACK, imagej=True, resolution=(factor / 0.25, factor / 0.5), metadata=metadata)
    movie = Movie.open(path)
    assert movie.voxel_size == pytest.approx((2.0, 0.5, 0.25), rel=1e-5)
    assert movie.frame_interval == 120.0


@pytest.mark.parametrize("unit", [None, "pixel", "pixels", ""])
def test_imagej_without_a_calibration_knows_no_voxel_size(tmp_path, unit):
    metadata = {"axes": "ZYX", "spacing": 2.0} | ({"unit": unit} if unit is not None else {})
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(1, 1), metadata=metadata)
    movie = Movie.open(tmp_path / "a.tif")
    assert movie.voxel_size is None and movie.frame_interval is None
    with pytest.raises(InputError, match=r"voxel_size = None: .*a\.tif"):
        movie.require_voxel_size()


def test_a_missing_spacing_is_not_made_up(tmp_path):
    metadata = {"axes": "ZYX", "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(4, 2), metadata=metadata)
    movie = Movie.open(tmp_path / "a.tif")
    assert movie.voxel_size is None
    with pytest.raises(InputError, match=r"only y = 0\.5 µm, x = 0\.25 µm"):
        movie.require_voxel_size()


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((40000, 20000), "CENTIMETER", (0.5, 0.25)),
        ((101600, 50800), "INCH", (0.5, 0.25)),
        ((72, 72), "INCH", None),
    ],
)
def test_plain_tiff_tags(tmp_path, resolution, unit, expected):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], resolution=resolution, resolutionunit=unit)
    size = Movie.open(tmp_path / "a.tif").voxel_size
    assert (size and size[1:]) == (expected and pytest.approx(expected))


@pytest.mark.parametrize(("unit", "factor"), [(None, 1), ("µm", 1), ("nm", 1e-3), ("mm", 1e3), ("Å", 1e-4)])
def test_ome_units(tmp_path, unit, factor):
    metadata: dict = {"axes": "TZYX", "TimeIncrement": 500.0, "TimeIncrementUnit": "ms"}
    for axis, size in zip("ZYX", (2.0, 0.5, 0.25), strict=True):
        metadata[f"PhysicalSize{axis}"] = size / factor
        if unit:
            metadata[f"PhysicalSize{axis}Unit"] = unit
    tifffile.imwrite(tmp_path / "a.ome.tif", np.stack([STACK] * 2), metadata=metadata)
    movie = Movie.open(tmp_path / "a.ome.tif")
    assert movie.voxel_size == pytest.approx((2.0, 0.5, 0.25))
    assert movie.frame_interval == 0.5


def test_ome_interval_from_the_planes(tmp_path):
    times = [0.0, 10.1, 20.0, 30.1]
    planes = {"DeltaT": [t for t in times for _ in range(6)]}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.stack([STACK] * 4), metadata={"axes": "TZYX", "Plane": planes}
    )
    movie = Movie.open(tmp_path / "a.ome.tif")
    assert movie.voxel_size is None
    assert movie.frame_interval == pytest.approx(10.1)


@pytest.mark.parametrize(("unit", "known"), [("micrometer", True), (None, False), ("pixel", False)])
def test_ome_zarr_scale_needs_a_unit(tmp_path, unit, known):
    group = zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=2)
    group.create_array("0", data=STACK)
    axes = [{"name": n, "type": "space"} | ({"unit": unit} if unit else {}) for n in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2, 0.5, 0.25]}]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    movie = Movie.open(tmp_path / "a.zarr")
    assert movie.shape == (1, 1, 6, 4, 5)
    assert movie.voxel_size == ((2, 0.5, 0.25) if known else None)
    if not known:
        with pytest.raises(InputError, match=r"scale along y is 0\.5"):
            movie.require_voxel_size()


def test_hdf5_attribute_and_its_absence(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = STACK
        file["sized"] = STACK
        file["sized"].attrs["element_size_um"] = (2.0, 0.5, 0.25)
        file["wrong"] = STACK
        file["wrong"].attrs["element_size_um"] = (2.0, 0.0, 0.25)
    assert Movie.open(tmp_path / "a.h5", dataset="raw").voxel_size is None
    assert Movie.open(tmp_path / "a.h5", dataset="/sized").voxel_size == (2.0, 0.5, 0.25)
    with pytest.raises(InputError, match="element_size_um"):
        Movie.open(tmp_path / "a.h5", dataset="wrong")


@pytest.mark.parametrize("value", [(1, 2), (1, 2, 0), (1, 2, -1), (1, 2, np.nan), 0.5, "a", (1, 2, 3, 4)])
def test_a_wrong_voxel_size_is_refused(tmp_path, value):
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    with pytest.raises(InputError, match="voxel_size"):
        Movie.open(tmp_path / "a.tif", voxel_size=value)


@pytest.mark.parametrize("value", [0, -1, np.inf, "a"])
def test_a_wrong_frame_interval_is_refused(tmp_path, value):
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    with pytest.raises(InputError, match="frame_interval"):
        Movie.open(tmp_path / "a.tif", frame_interval=value)

"""TIFF, ImageJ and OME-TIFF: lazily in, compressed and with calibration out.

Where the voxel size comes from, in this order:

- OME-TIFF: ``PhysicalSizeX/Y/Z`` with their units (µm where none is given, as OME's schema says);
  the interval from ``TimeIncrement``, else the median step of the planes' ``DeltaT``.
- ImageJ: ``unit``, ``yunit``, ``zunit`` and ``spacing`` of the description with the resolution tags;
  ``finterval`` and ``tunit``.
- Others: the resolution tags where their unit is centimetre or inch. A pixel larger than 20 µm is a print
  resolution (72 dpi is 353 µm), not a calibration. tifffile's own description may add ``spacing`` and ``unit``.

Resolution tags without a unit say nothing: (1, 1) is what programs write that know no better.
"""

from __future__ import annotations

import logging
import os
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from helpers.data.atomic import atomic_path
from helpers.data.calibration import VoxelSize
from helpers.data.source import AXES, Source, resolve_axes
from helpers.data.units import micrometres, seconds
from helpers.errors import InputError

#: Micrometres; a larger pixel in a TIFF that is not a microscope's is a print resolution.
_LARGEST_PIXEL = 20.0
#: TIFF's ResolutionUnit tag.
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}
_OME_DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")


def open_tiff(path: Path, *, dataset: str | int | None = None, axes: str | None = None) -> Source:
    """Open a TIFF of any flavour without reading its pixels.

    Parameters
    ----------
    path : Path
        The file.
    dataset : int or str, optional
        Which image, counted from 0, where the file holds several.
    axes : str, optional
        The dimensions as stored, for files that do not name them (see `helpers.data.source`).

    Raises
    ------
    InputError
        Not a TIFF, truncated, several images and no `dataset`, or dimensions that cannot be told.
    """
    with _complaints() as complaints:
        try:
            tif = tifffile.TiffFile(path)
            number = _choose_series(tif, path, dataset)
            series = tif.series[number]
            truncated = _truncated(tif, series)
        except InputError:
            raise
        except Exception as error:
            raise _unreadable(path, error) from error
    if truncated or complaints:
        raise InputError(
            str(path),
            complaints[0] if complaints else f"{os.path.getsize(path)} bytes",
            "is truncated or damaged: it ends before its image does; copy or export it again",
        )
    letters = resolve_axes(series.axes, series.shape, axes, path)
    try:
        if series.dataoffset is not None:
            array = tifffile.memmap(path, series=number, mode="r")
        else:
            array = _Pages(zarr.open_array(series.aszarr(chunkmode="page"), mode="r"), path)
    except Exception as error:
        raise _unreadable(path, error) from error
    voxel_size, interval, note = _calibration(tif, number)
    return Source(array, letters, voxel_size, interval, note)


class _Pages:
    """The compressed pages of a TIFF; a page that cannot be decoded is an error that names the file."""

    def __init__(self, array: Any, path: Path) -> None:
        self._array = array
        self._path = path
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        try:
            return self._array[index]
        except Exception as error:
            raise _unreadable(self._path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    found = f"{type(error).__name__}: {error}"
    return InputError(
        str(path), found, "cannot be read as TIFF: it is truncated, damaged or of another format"
    )


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what tifffile logs (it does not raise) when a file ends too early."""
    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if any(
                word in message
                for word in ("invalid page offset", "invalid value offset", "corrupted", "invalid offset")
            ):
                found.append(message)

    logger = logging.getLogger("tifffile")
    handler = Collect()
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


def _choose_series(tif: tifffile.TiffFile, path: Path, dataset: str | int | None) -> int:
    series = tif.series
    if not series:
        raise InputError(str(path), "no image", "is not a TIFF with an image in it")
    shapes = [s.shape for s in series]
    if dataset is None:
        if len(series) > 1:
            raise InputError(
                "dataset",
                None,
                f"{path} holds {len(series)} images, shapes {shapes}; give the number of one, from 0",
            )
        return 0
    if not str(dataset).isdigit() or int(dataset) >= len(series):
        raise InputError(
            "dataset",
            dataset,
            f"{path} holds {len(series)} images, shapes {shapes}; give the number of one, from 0",
        )
    return int(dataset)


def _truncated(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> bool:
    """Whether the data of the image, or the chain of pages, runs past the end of the file."""
    size = tif.filehandle.size
    if series.dataoffset is not None:
        return series.dataoffset + series.nbytes > size
    pages = [page for page in series.pages if page is not None]
    if len(pages) < len(series.pages):
        return True  # an OME-TIFF whose other files are missing; tifffile would fill with zeros
    last = pages[-1]
    if last.parent is tif and last.dataoffsets and last.dataoffsets[-1] + last.databytecounts[-1] > size:
        return True
    # The chain of pages must end with an offset of zero; one past the end was cut.
    offset = tif.pages.next_page_offset
    if offset is None:
        return False
    width = tif.tiff.offsetsize
    tif.filehandle.seek(offset)
    raw = tif.filehandle.read(width)
    return len(raw) < width or struct.unpack(tif.tiff.offsetformat, raw)[0] >= size


def _calibration(tif: tifffile.TiffFile, index: int) -> tuple[tuple, float | None, str]:
    """Return (z, y, x) in µm as far as known, the interval in s, and a note on what is not usable."""
    if tif.is_ome and tif.ome_metadata:
        return _ome_calibration(tif.ome_metadata, index)
    meta: dict[str, Any] = {}
    if tif.is_imagej:
        meta = tif.imagej_metadata or {}
    elif tif.is_shaped and tif.shaped_metadata:
        meta = tif.shaped_metadata[min(index, len(tif.shaped_metadata) - 1)]
    tags = tif.pages.first.tags
    unit = meta.get("unit")
    tag_unit = _RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", 1)))
    # ImageJ believes its description; for tifffile's own the tag is about x and y, "unit" about the spacing.
    plane_unit = unit or tag_unit if tif.is_imagej else tag_unit or unit
    y = micrometres(_pixel(tags.valueof("YResolution")), meta.get("yunit", plane_unit))
    x = micrometres(_pixel(tags.valueof("XResolution")), plane_unit)
    z = micrometres(meta.get("spacing"), meta.get("zunit", unit))
    note = ""
    if x is None or y is None:
        note = f"its resolution has the unit {plane_unit!r}" if plane_unit else "its resolution has no unit"
    elif max(x, y) > _LARGEST_PIXEL and plane_unit in _RESOLUTION_UNITS.values():
        note = f"its resolution makes a pixel of {x:g} µm, which is for printing"
        y = x = None
    interval = seconds(meta.get("finterval"), meta.get("tunit", "s"))
    return (z, y, x), interval, note


def _pixel(resolution: object) -> float | None:
    """Size of a pixel from the rational "pixels per unit" of a resolution tag."""
    try:
        numerator, denominator = resolution  # type: ignore[misc]
        return denominator / numerator
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def _ome_calibration(xml: str, index: int) -> tuple[tuple, float | None, str]:
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return (None, None, None), None, "its OME-XML cannot be parsed"
    found = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"]
    if index >= len(found):
        return (None, None, None), None, "its OME-XML does not describe this image"
    pixels = found[index]
    size = tuple(
        micrometres(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    )
    units = {pixels.get(f"PhysicalSize{axis}Unit") for axis in "ZYX"} - {None}
    note = (
        f"its OME-XML gives the unit {', '.join(sorted(map(str, units)))}" if None in size and units else ""
    )
    interval = seconds(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    if interval is None:
        times = {
            int(plane.get("TheT", 0)): seconds(plane.get("DeltaT"), plane.get("DeltaTUnit", "s")) or 0.0
            for plane in pixels
            if plane.tag.endswith("Plane")
            and plane.get("DeltaT")
            and plane.get("TheZ") == plane.get("TheC") == "0"
        }
        steps = np.diff([times[t] for t in sorted(times)])
        interval = seconds(float(np.median(steps)), "s") if steps.size else None
    return size, interval, note


def write_ome_tiff(
    path: str | os.PathLike[str],
    frames: Iterator[np.ndarray],
    *,
    shape: tuple[int, ...],
    dtype: np.dtype,
    voxel_size: VoxelSize,
    frame_interval: float | None,
) -> Path:
    """Write a zlib-compressed OME-TIFF plane by plane, wholly or not at all.

    Parameters
    ----------
    path : path-like
        Replaced where it exists.
    frames : iterator of ndarray, shape (Z, Y, X)
        The stacks, all channels of a frame before the next frame.
    shape : tuple of int
        T, C, Z, Y, X.
    dtype : dtype
        A type OME knows: 8 to 32 bit integers, 32 or 64 bit floats.
    voxel_size : tuple of float
        (z, y, x) in µm.
    frame_interval : float, optional
        Seconds.

    Raises
    ------
    InputError
        A type that OME-TIFF does not know, or a folder that cannot be written.
    """
    path = Path(path)
    if dtype.name not in _OME_DTYPES:
        raise InputError(
            "dtype", dtype.name, f"OME-TIFF {path} holds one of {', '.join(_OME_DTYPES)}; convert first"
        )
    metadata: dict[str, Any] = {"axes": AXES}
    for axis, size in zip("ZYX", voxel_size, strict=True):
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if frame_interval is not None:
        metadata |= {"TimeIncrement": frame_interval, "TimeIncrementUnit": "s"}
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            (plane for stack in frames for plane in stack),
            shape=shape,
            dtype=dtype,
            ome=True,
            bigtiff=nbytes > 2**31,
            photometric="minisblack",
            compression="zlib",
            predictor=True if dtype.kind in "ui" else None,
            # The same plane resolution for programs that read only the TIFF tags.
            resolution=(1e4 / voxel_size[2], 1e4 / voxel_size[1]),
            resolutionunit="CENTIMETER",
            metadata=metadata,
        )
    return path

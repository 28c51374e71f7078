"""Which reader a path needs; HDF5, folders of stacks, and bioio for the microscopes' own formats.

TIFF is in `helpers.data.tiff`, OME-Zarr in `helpers.data.ome_zarr`.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from helpers.data import cellpose_gui
from helpers.data.calibration import check_voxel_size
from helpers.data.numbering import frame_files
from helpers.data.ome_zarr import open_ome_zarr
from helpers.data.source import Source, is_image, is_zarr, natural_key, resolve_axes
from helpers.data.tiff import open_tiff
from helpers.errors import InputError

_TIFF = (".tif", ".tiff", ".btf")
_HDF5 = (".h5", ".hdf5", ".hdf")
_PLUGINS = {
    ".czi": "bioio-czi",
    ".nd2": "bioio-nd2",
    ".lif": "bioio-lif",
    ".dv": "bioio-dv",
    ".sldy": "bioio-sldy",
    ".jpg": "bioio-imageio",
    ".gif": "bioio-imageio",
}


def open_source(
    path: str | os.PathLike[str],
    *,
    dataset: str | int | None = None,
    axes: str | None = None,
    missing: Literal["refuse", "empty"] = "refuse",
) -> Source:
    """Open whatever lies at `path` without reading its pixels.

    Parameters
    ----------
    path : path-like
        A file, an OME-Zarr folder, a folder of stacks, or a glob such as ``"raw/*.tif"``.
    dataset : str or int, optional
        What inside the file: an HDF5 key, a path in a Zarr group, the number of an image in a TIFF.
    axes : str, optional
        The dimensions as stored, where the file does not name them (see `helpers.data.source`).
    missing : {"refuse", "empty"}
        What to do where a stack of a folder or a chunk of a Zarr is missing: refuse, or read zeros.

    Raises
    ------
    InputError
        Nothing there, not readable, or no numbers in it; names the file.
    """
    source = _open(path, dataset, axes, missing)
    if source.dtype.kind not in "biuf":
        raise InputError(
            str(path), source.dtype.name, "must hold integers or real numbers; export the image as such"
        )
    return source


def _open(
    path: str | os.PathLike[str],
    dataset: str | int | None,
    axes: str | None,
    missing: Literal["refuse", "empty"],
) -> Source:
    here = Path(path)
    try:
        there = here.exists()
    except OSError as error:  # such as a name that is too long, or a folder that may not be looked into
        raise InputError("path", str(path), f"cannot be opened: {error.strerror}") from None
    if not there:
        if glob.has_magic(str(path)):
            return _open_stacks(map(Path, glob.glob(str(path))), str(path), dataset, axes, missing)
        raise InputError("path", str(path), "does not exist; check the spelling and the folder")
    if here.is_dir():
        if is_zarr(here):
            return open_ome_zarr(here, dataset=dataset, axes=axes, missing=missing)
        return _open_stacks(here.iterdir(), str(path), dataset, axes, missing)
    if not here.is_file():
        raise InputError(str(path), "a pipe or device", "cannot be opened as an image; give a file")
    suffix = here.suffix.lower()
    if suffix in _TIFF:
        return open_tiff(here, dataset=dataset, axes=axes)
    if suffix in _HDF5:
        return open_hdf5(here, dataset=dataset, axes=axes)
    if suffix == ".png":
        return _open_png(here, axes)
    if here.name.endswith(cellpose_gui.ENDING):
        masks = cellpose_gui.read_masks(here)
        return Source(masks, resolve_axes("ZYX"[-masks.ndim :], masks.shape, axes, here))
    return open_bioio(here, dataset=dataset, axes=axes)


def _open_png(path: Path, axes: str | None) -> Source:
    """Open a PNG, such as the masks that Cellpose's GUI saves of a plane."""
    from skimage.io import imread

    try:
        array = np.asarray(imread(path))
    except Exception as error:
        raise InputError(str(path), str(error), "cannot be read as PNG: truncated or damaged") from error
    return Source(array, resolve_axes("YXS"[: array.ndim], array.shape, axes, path))


def open_hdf5(path: Path, *, dataset: str | int | None = None, axes: str | None = None) -> Source:
    """Open one dataset of an HDF5 file.

    The voxel size is the attribute ``element_size_um`` (z, y, x), as PlantSeg and ilastik's users write it;
    dimensions are named by ilastik's ``axistags`` or HDF5's dimension labels where present.

    Raises
    ------
    InputError
        Not HDF5, truncated, or no such `dataset`: the error lists the keys found.
    """
    try:
        file = h5py.File(path, "r", locking=False)
        found: dict[str, h5py.Dataset] = {}
        file.visititems(
            lambda key, item: (
                found.__setitem__(key, item)
                if isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "biufc"
                else None
            )
        )
    except Exception as error:
        raise InputError(
            str(path), str(error), "cannot be read as HDF5: it is truncated, damaged or of another format"
        ) from error
    keys = ", ".join(f"{key} {item.shape}" for key, item in found.items()) or "no images"
    key = str(dataset).strip("/") if dataset is not None else next(iter(found)) if len(found) == 1 else None
    if key not in found:
        raise InputError("dataset", dataset, f"give one of the keys of {path}: {keys}")
    data = found[key]
    try:
        letters = _hdf5_axes(data)
        size = data.attrs.get("element_size_um")
    except Exception as error:
        raise InputError(str(path), str(error), f"has attributes on {key} that cannot be read") from error
    resolved = resolve_axes(letters, data.shape, axes, path)
    voxel_size = (None, None, None)
    if size is not None:
        size = np.atleast_1d(size)
        voxel_size = check_voxel_size(size, planar=size.size == 2, name=f"element_size_um of {path}")
    return Source(data, resolved, voxel_size)


def _hdf5_axes(data: h5py.Dataset) -> str:
    tags = data.attrs.get("axistags")
    if tags is not None:
        letters = "".join(axis["key"] for axis in json.loads(tags)["axes"])
    else:
        letters = "".join((dimension.label or "?")[0] for dimension in data.dims)
    return letters.upper() if len(letters) == data.ndim else "?" * data.ndim


def _open_stacks(
    files: Iterable[Path],
    where: str,
    dataset: str | int | None,
    axes: str | None,
    missing: Literal["refuse", "empty"],
) -> Source:
    """Open a folder or glob of stacks, each one frame, in natural order of their names."""
    found = sorted(files, key=natural_key)
    files = [file for file in found if is_image(file)]
    files = files or [file for file in found if file.suffix.lower() == ".png"]
    files = files or [file for file in found if file.name.endswith(cellpose_gui.ENDING)]
    if not files:
        raise InputError("path", where, "holds no images; a folder of stacks has one file for each frame")
    frames = frame_files(files, where, fill=missing == "empty")
    sources = []
    for file in files:
        source = open_source(file, dataset=dataset, axes=axes)
        if source.shape[0] != 1:
            raise InputError(
                str(file),
                f"{source.shape[0]} frames",
                "in a folder of stacks each file is one frame; open the file by itself, or give axes='ZYX'",
            )
        # Only what was learnt is kept: a thousand open files are too many.
        sources.append(replace(source, array=_Closed(source.array.shape, source.array.dtype)))
    # The most frequent shape is the right one, so the error names the odd file even if it is the first.
    for what, values in {
        "shape (C, Z, Y, X)": [s.shape[1:] for s in sources],
        "dtype": [s.dtype.name for s in sources],
        "voxel size in µm": [s.voxel_size for s in sources],
    }.items():
        usual = max(values, key=values.count)
        for file, value in zip(files, values, strict=True):
            if value != usual:
                raise InputError(
                    str(file), value, f"the {what} is {usual} in the other stacks of {where}; they must agree"
                )
    first = sources[0]
    stacks = _Stacks(frames, first, dataset, axes)
    return Source(stacks, "TCZYX", first.voxel_size, first.frame_interval, first.note, stacks.empty)


class _Closed:
    """Shape and type of an array that is opened again when it is read."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)


class _Stacks:
    """Files as one TCZYX array, of which stacks, or boxes of them, are read."""

    def __init__(
        self, files: Sequence[Path | None], like: Source, dataset: str | int | None, axes: str | None
    ) -> None:
        self._files = files
        self.empty = frozenset(t for t, file in enumerate(files) if file is None)
        self._dataset = dataset
        self._axes = axes
        self.shape = (len(files), *like.shape[1:])
        self.dtype = like.dtype

    def __getitem__(self, index: tuple) -> np.ndarray:
        t, channel, *rest = index
        file = self._files[t]
        if file is None:
            return np.broadcast_to(np.zeros((), self.dtype), self.shape[2:])[tuple(rest)]
        return open_source(file, dataset=self._dataset, axes=self._axes).region(0, channel, tuple(rest))


def open_bioio(path: Path, *, dataset: str | int | None = None, axes: str | None = None) -> Source:
    """Open a microscope's own format through bioio and its plugins.

    Parameters
    ----------
    path : Path
        The file.
    dataset : str or int, optional
        Name or number of the scene; the first one where it is left out.
    axes : str, optional
        Refused: these formats name their dimensions.

    Raises
    ------
    InputError
        No plugin reads this format (names the one to install), or the file is damaged.
    """
    import bioio
    from bioio_base.exceptions import UnsupportedFileFormatError

    if axes is not None:
        raise InputError("axes", axes, f"leave it out: {path} names its own dimensions")
    if path.suffix.lower() in (".npy", ".npz"):
        raise InputError(
            str(path),
            path.suffix,
            "is not read; save it as TIFF (of Cellpose's GUI, _seg.npy is read, and masks as PNG or TIFF)",
        )
    plugin = _PLUGINS.get(path.suffix.lower(), "bioio-bioformats (needs Java)")
    try:
        image = bioio.BioImage(path)
        if dataset is not None:
            image.set_scene(int(dataset) if str(dataset).isdigit() else str(dataset))
        array = _BioImage(image, path)
        size = image.physical_pixel_sizes
        interval = image.time_interval
    except UnsupportedFileFormatError as error:
        raise InputError(
            str(path),
            path.suffix,
            f"no reader for this format is installed: pip install {plugin}, or save it as OME-TIFF",
        ) from error
    except Exception as error:
        raise InputError(
            str(path),
            f"{type(error).__name__}: {error}",
            "cannot be read: damaged, or no such scene (dataset)",
        ) from error
    step = interval.total_seconds() if hasattr(interval, "total_seconds") else interval
    voxel_size = tuple(float(v) if v else None for v in (size.Z, size.Y, size.X))
    return Source(array, "TCZYX", voxel_size, float(step) if step else None)  # type: ignore[arg-type]


class _BioImage:
    """A bioio image of which stacks, or boxes of them, are read."""

    def __init__(self, image: Any, path: Path) -> None:
        self._image = image
        self._path = path
        self.shape = tuple(image.shape)
        self.dtype = image.dtype

    def __getitem__(self, index: tuple) -> np.ndarray:
        t, channel, *rest = index
        try:
            return self._image.get_image_dask_data("ZYX", T=t, C=channel)[tuple(rest)].compute()
        except Exception as error:
            raise InputError(
                str(self._path), f"{type(error).__name__}: {error}", "cannot be read: truncated or damaged"
            ) from error

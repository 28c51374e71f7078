"""Cells drawn as outlines elsewhere: ImageJ's ``.roi`` and ``.zip``, GeoJSON as QuPath writes it, napari's shapes as ``.csv``.

What lies in no outline is not annotated. An outline called ``Background`` (its class in QuPath, its name in ImageJ) is
background, one called ``Ignore…`` is not annotated, every other is a cell; where they overlap, cells win. In 3D a cell is
drawn in several slices, by outlines of one group or one name; the slices between are filled in. A pixel belongs to an
outline in which its centre lies: pixel (x, y) covers x … x + 1 in ImageJ and QuPath, and half a pixel less in napari, whose
shapes have no names, so that each is a cell. Points, and boxes around what is drawn, are prompts for Segment Anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from helpers.data.sparse_labels import UNANNOTATED, read_labels
from helpers.errors import InputError, reading

#: Endings of files with outlines.
ENDINGS = (".roi", ".zip", ".geojson", ".csv")
_AREAS = "polygon, freehand, traced, oval and rectangle"


@dataclass(frozen=True)
class Outline:
    """One closed outline in one slice.

    Attributes
    ----------
    cell : str
        Outlines of the same text are one cell; ``""``: background.
    name : str
        For errors.
    z : int or None
        Slice, from 0; None where the file does not say it.
    rings : list of (n, 2) float ndarray
        Corners (y, x) in pixels; what lies in an odd number of rings is inside, so that a second one is a hole. A single corner is
        a point.
    """

    cell: str
    name: str
    z: int | None
    rings: list[np.ndarray]


@dataclass(frozen=True)
class Prompt:
    """A click into a cell, or a box around it.

    Attributes
    ----------
    z : int
        Slice, from 0.
    corners : (1, 2) or (2, 2) float ndarray
        The place (y, x) of the click in pixels, pixel 0 covering 0 … 1; or the first and the last corner of the box.
    name : str
        For errors.
    """

    z: int
    corners: np.ndarray
    name: str = "prompt"


def is_outline_file(source: Any) -> bool:
    """Whether a path ends as files with outlines do; a zipped OME-Zarr is none."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    name = Path(source).name.lower()
    return name.endswith(ENDINGS) and not name.endswith(".zarr.zip")


def read_outlines(path: str | os.PathLike[str], shape: Sequence[int]) -> np.ndarray:
    """Read outlines as sparse labels.

    Parameters
    ----------
    path : path
        ``.roi``, ``.zip`` of them, or ``.geojson``.
    shape : (Z, Y, X)
        Of the raw stack.

    Returns
    -------
    (Z, Y, X) int32 ndarray
        -1 not annotated, 0 background, cells from 1 in the order of the file.

    Raises
    ------
    InputError
        An unreadable file, no outline, one that encloses nothing (a point, a line) or lies outside the stack, a slice that is
        missing or does not exist, cells in several pieces, or no cell at all.
    """
    path = Path(path)
    outlines = _outlines(path)
    if not outlines:
        raise InputError(str(path), "no outlines", "cells drawn as polygons, and background")
    for outline in outlines:
        if len(outline.rings[0]) == 1:
            raise InputError(str(path), f"{outline.name}: point", f"cells drawn as areas: {_AREAS}")
    depth, height, width = (int(n) for n in shape)
    if path.suffix.lower() == ".csv" and depth > 1:
        raise InputError(
            str(path),
            "shapes of napari in a stack",
            "labels: shapes do not say which slices are of one cell; in napari, right-click the layer, Convert to Labels, save "
            "that layer as TIFF, and say with unannotated what its 0 is",
        )
    masks: dict[str, dict[int, np.ndarray]] = {}
    for outline in outlines:
        z = _slice_of(outline, depth, path)
        mask = filled(outline.rings, (height, width))
        if not mask.any():
            raise InputError(
                str(path),
                f"outline {outline.name} holds no pixel of {width} × {height}",
                "an area in the image",
            )
        slices = masks.setdefault(outline.cell, {})
        slices[z] = slices[z] | mask if z in slices else mask
    labels = np.full((depth, height, width), UNANNOTATED, np.int32)
    for z, mask in masks.pop("", {}).items():
        labels[z][mask] = 0
    for number, slices in enumerate(masks.values(), start=1):
        for z, mask in fill_between(slices):
            labels[z][mask] = number
    return read_labels(labels, str(path))


def read_prompts(path: str | os.PathLike[str], shape: Sequence[int]) -> list[Prompt]:
    """Read points, and boxes around whatever else is drawn in a file with outlines; its background is left out.

    Parameters
    ----------
    path : path
        ``.roi``, ``.zip`` of them, ``.geojson``, or the ``.csv`` of a layer of points or shapes in napari.
    shape : (Z, Y, X)
        Of the raw stack.

    Raises
    ------
    InputError
        An unreadable file, nothing in it, a slice that is missing or does not exist, or a place outside the image.
    """
    path = Path(path)
    depth, *size = (int(n) for n in shape)
    prompts = []
    for outline in _outlines(path):
        corners = np.concatenate(outline.rings)
        ends = np.array([corners.min(axis=0), corners.max(axis=0)])
        if outline.cell:
            prompts.append(
                Prompt(_slice_of(outline, depth, path), ends[:1] if len(corners) == 1 else ends, outline.name)
            )
            if (ends[1] < 0).any() or (ends[0] >= size).any():
                raise InputError(
                    str(path), f"{outline.name} lies outside", f"a place in {size[1]} × {size[0]} pixels"
                )
    if not prompts:
        raise InputError(str(path), "neither boxes nor points", "boxes around cells, or points in them")
    return prompts


def _outlines(path: Path) -> list[Outline]:
    read = {".geojson": _of_geojson, ".csv": _of_napari}.get(path.suffix.lower(), _of_imagej)
    return list(read(path))


def _slice_of(outline: Outline, depth: int, path: Path) -> int:
    if depth == 1:
        return 0
    if outline.z is None:
        raise InputError(
            str(path),
            f"outline {outline.name} says no slice",
            f"the slice of each outline, as the stack has {depth}: in ImageJ's ROI Manager, Options, 'Associate Show All "
            "ROIs with slices'",
        )
    if not 0 <= outline.z < depth:
        raise InputError(
            str(path), f"outline {outline.name} in slice {outline.z + 1}", f"a slice from 1 to {depth}"
        )
    return outline.z


def filled(rings: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return the pixels (Y, X) whose centres lie inside an odd number of rings."""
    from skimage.draw import polygon

    mask = np.zeros(shape, bool)
    for ring in rings:
        rows, columns = polygon(ring[:, 0] - 0.5, ring[:, 1] - 0.5, shape)
        mask[rows, columns] ^= True
    return mask


def fill_between(slices: dict[int, np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the drawn slices of a cell, and those between, interpolated by signed distances (Raya and Udupa, 1990)."""
    drawn = sorted(slices)
    for below, above in pairwise(drawn):
        yield below, slices[below]
        if above - below > 1:
            first, last = _signed_distance(slices[below]), _signed_distance(slices[above])
            for z in range(below + 1, above):
                part = (z - below) / (above - below)
                yield z, (1 - part) * first + part * last > 0
    yield drawn[-1], slices[drawn[-1]]


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    return ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)  # type: ignore[operator]


def _cell(name: str, key: str) -> str | None:
    """Return which cell something is part of: ``""`` is background, None not annotated."""
    word = name.strip().casefold()
    if word.startswith("ignore"):
        return None
    return "" if word.startswith("background") else key


def _of_imagej(path: Path) -> Iterator[Outline]:
    import roifile

    with reading(path, "regions of ImageJ"):
        found = roifile.roiread(str(path))
        regions = found if isinstance(found, list) else [found]
    kinds = roifile.ROI_TYPE
    areas = (kinds.POLYGON, kinds.RECT, kinds.OVAL, kinds.FREEHAND, kinds.TRACED)
    for region in regions:
        name = region.name or path.stem
        cell = _cell(name, f"group {region.group}" if region.group else f"name {name}")
        if cell is None:
            continue
        if region.roitype not in (*areas, kinds.POINT):
            raise InputError(
                str(path), f"{name}: {kinds(region.roitype).name.lower()}", f"cells drawn as areas: {_AREAS}"
            )
        slices = region.z_position or region.position
        with reading(path, "regions of ImageJ"):
            rings = [np.asarray(ring, float)[:, ::-1] for ring in region.coordinates(multi=True)]
        z = slices - 1 if slices > 0 else None
        if region.roitype == kinds.POINT:
            yield from (Outline(cell, name, z, [place[np.newaxis]]) for place in rings[0])
        else:
            yield Outline(cell, name, z, rings)


def _of_geojson(path: Path) -> Iterator[Outline]:
    with reading(path, "GeoJSON"):
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content if isinstance(content, list) else content.get("features", [content])
    for index, feature in enumerate(features):
        with reading(path, "GeoJSON"):
            geometry, properties = feature["geometry"], feature.get("properties") or {}
            kind, corners = geometry["type"], geometry["coordinates"]
            name = str(properties.get("name") or f"{index + 1} of {len(features)}")
            group = str((properties.get("classification") or {}).get("name", ""))
            z = (geometry.get("plane") or {}).get("z", 0)
        own = properties.get("name")
        cell = _cell(group, f"name {own}" if own else f"feature {index}")
        if cell is None:
            continue
        if kind in ("Point", "MultiPoint"):
            for place in np.atleast_2d(np.asarray(corners, float)):
                yield Outline(cell, name, int(z), [place[np.newaxis, 1::-1]])
            continue
        if kind not in ("Polygon", "MultiPolygon"):
            raise InputError(
                str(path), f"object {name}: {kind}", "cells drawn as areas: Polygon or MultiPolygon"
            )
        with reading(path, "GeoJSON"):
            polygons = [corners] if kind == "Polygon" else corners
            rings = [np.asarray(ring, float)[:, 1::-1] for polygon in polygons for ring in polygon]
        yield Outline(cell, name, int(z), rings)


def _of_napari(path: Path) -> Iterator[Outline]:
    """Yield what napari writes of a layer of shapes or points: a row for each corner, ``axis-0`` … in voxels."""
    with reading(path, "the table of a layer of shapes or points, as napari writes it"):
        table = pd.read_csv(path)
        axes = [name for name in table.columns if str(name).startswith("axis-")]
        if len(axes) < 2 or "index" not in table:
            raise ValueError("without columns index, axis-0, axis-1")
        places = table[axes].to_numpy(float)
        kinds = table["shape-type"] if "shape-type" in table else pd.Series("point", table.index)
    if len(axes) > 3 and np.ptp(np.rint(places[:, :-3]), axis=0).any():
        raise InputError(str(path), "drawn in several frames", "what is drawn in one frame")
    for number, rows in table.groupby("index", sort=False).indices.items():
        kind, name = str(kinds.iloc[rows[0]]), f"{kinds.iloc[rows[0]]} {number}"
        corners, z = places[rows, -2:] + 0.5, None  # its pixel 0 covers -0.5 … 0.5
        if kind in ("line", "path"):
            raise InputError(str(path), name, "cells drawn as areas: polygons, ellipses and rectangles")
        if len(axes) > 2:
            z = int(np.rint(places[rows[0], -3]))
            if np.ptp(places[rows, -3]) > 0.5:
                raise InputError(str(path), f"{name} in several slices", "each shape in one slice")
        yield Outline(name, name, z, [_ellipse(corners) if kind == "ellipse" else corners])


def _ellipse(box: np.ndarray) -> np.ndarray:
    """Return corners on the ellipse in a box of four corners, which may be turned."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, np.newaxis]
    return box.mean(axis=0) + np.cos(angle) * (box[1] - box[0]) / 2 + np.sin(angle) * (box[3] - box[0]) / 2

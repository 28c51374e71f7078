"""What QuPath's extension Cellsparse sends, as arrays, and labels as the GeoJSON that it reads.

The extension deletes the outlines of the last run as soon as it sees status 200, and only then reads the answer. So
what is returned here must be readable: an array, not a FeatureCollection; closed rings of finite numbers; no
`classification`, with which outlines would stay at the next run and train as annotations.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from helpers.data.rings import area, rings_of_labels
from helpers.data.sparse_labels import UNANNOTATED
from helpers.errors import InputError

_FORMATS = ("PNG", "TIFF", "JPEG", "BMP", "GIF", "WEBP")
#: Points and clicks are drawn by the extension as one pixel, which says nothing of a cell's outline.
_LEAST_DRAWN = 4


class Call(BaseModel):
    """A call to train, to segment, or both. Further keys are ignored."""

    modelname: str = Field(description="Name of the model: letters, digits, space, '_', '-' and '.'.")
    b64img: str = Field(description="The image, base64 of a PNG (grey of 8 or 16 bit, palette, RGB or RGBA).")
    b64lbl: str | None = Field(
        None,
        description="The annotations, base64 of a PNG: 0 not annotated, 1 background, 2 and more one number per cell.",
    )
    train: bool = Field(False, description="Train, from the model's last weights if there are any.")
    eval: bool = Field(False, description="Segment the image and answer the outlines of its cells.")
    epochs: int = Field(1, ge=1, le=10_000)
    trainpatch: int = Field(
        224, ge=16, le=1024, description="Side of the patches that are learnt, in pixels."
    )
    batchsize: int = Field(8, ge=1, le=64)
    steps: int = Field(200, ge=1, le=100_000, description="Batches in an epoch; crops for Cellpose.")
    lr: float | None = Field(None, gt=0, lt=1, description="Learning rate; left out: what suits the network.")
    minarea: float = Field(10.0, ge=0, le=1e12, description="Cells found with fewer pixels are left out.")
    simplify_tol: float | None = Field(
        None, ge=0, le=1000, description="Corners of outlines may move by so many pixels to be fewer."
    )
    n_channels_in: int = Field(1, ge=1, le=4, description="For StarDist; colours are made grey all the same.")
    chan1: int = Field(0, ge=0, le=3, description="For Cellpose: 0 grey, 1 red, 2 green, 3 blue.")
    chan2: int = Field(0, ge=0, le=0, description="For Cellpose: a second channel is not offered here.")


class Reset(BaseModel):
    """A call to delete a model."""

    modelname: str
    pretrained: str | None = Field(None, description="Not offered here: nothing is downloaded.")


def read_image(text: str, *, channel: int = 0, most_pixels: int) -> NDArray:
    """Return the image as one channel (Y, X), of 8 bit, 16 bit or float32; transparency is left out.

    Parameters
    ----------
    text : str
        Base64 of an image file.
    channel : int
        0: the mean of the colours; 1, 2, 3: red, green or blue alone.
    most_pixels : int

    Raises
    ------
    InputError
        If it is missing, too large, no image, or not finite.
    """
    if not text:
        raise InputError(
            "image",
            "",
            "an image: QuPath cannot send one of several channels as PNG, so make it one channel or RGB first",
        )
    image = _open("image", text, most_pixels)
    if image.mode in ("P", "PA", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa"):
        image = image.convert("RGB")
    array = np.asarray(image)
    if array.ndim == 3:
        colours = array[..., :3] if array.shape[-1] >= 3 else array[..., :1]
        if channel:
            colours = colours[..., [min(channel, colours.shape[-1]) - 1]]
        grey = np.ascontiguousarray(colours[..., 0])
        array = grey if (colours == grey[..., None]).all() else colours.mean(-1, dtype=np.float32)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="))
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all() or np.abs(array).max() > 1e30:
        raise InputError("image", "not finite", "intensities that a camera can have")
    return array


def read_annotations(text: str | None, shape: tuple[int, ...], *, most_pixels: int) -> NDArray[np.int32]:
    """Return sparse labels (Y, X): -1 not annotated, 0 background, cells from 1.

    The numbers are the indices of a palette, never its colours.

    Raises
    ------
    InputError
        If they are missing, of another size than the image, or hold no cell.
    """
    if not text:
        raise InputError("annotations", text, "annotations of class Foreground, and some of class Background")
    image = _open("annotations", text, most_pixels)
    array = np.asarray(image)
    if array.ndim != 2 or array.dtype.kind not in "bui":
        raise InputError(
            "annotations", image.mode, "an image of one number per pixel, grey or with a palette"
        )
    if array.shape != shape:
        expected = f"{shape[1]} × {shape[0]} pixels, as the image has"
        raise InputError("annotations", f"{array.shape[1]} × {array.shape[0]} pixels", expected)
    labels = array.astype(np.int64) - 1
    if labels.min() < UNANNOTATED or labels.max() > 2**20:
        raise InputError(
            "annotations", (int(array.min()), int(array.max())), "numbers from 0 to about a million"
        )
    drawn, where, counts = np.unique(labels, return_inverse=True, return_counts=True)
    drawn[(drawn > 0) & (counts < _LEAST_DRAWN)] = UNANNOTATED
    if not (drawn > 0).any():
        raise InputError(
            "annotations",
            "no cell",
            "at least one outlined cell of class Foreground (points and lines have no area)",
        )
    return drawn[where].reshape(shape).astype(np.int32)


def features(labels: NDArray, *, min_area: float = 0, tolerance: float | None = None) -> list[dict[str, Any]]:
    """Return every label (Y, X) as a GeoJSON feature, with its holes and all its parts.

    Outlines run along the edges of pixels. In QuPath pixel (x, y) covers x … x + 1, as in `helpers.data.rings`,
    so that what is drawn there is the label, pixel by pixel.

    Parameters
    ----------
    labels : ndarray of int, (Y, X)
    min_area : float
        Smaller labels are left out, in pixels.
    tolerance : float, optional
        Corners are left out where the outline moves by less, in pixels.
    """
    from shapely.geometry import mapping

    counts = np.bincount(labels.ravel(), minlength=1)
    found = []
    for label, rings in rings_of_labels(labels):
        if counts[label] < min_area:
            continue
        shape = _shape(rings)
        if tolerance:
            simpler = shape.simplify(tolerance)
            if simpler.is_valid and simpler.area > 0:
                shape = simpler
        properties = {"object_idx": len(found), "label": "object"}
        found.append({"type": "Feature", "geometry": mapping(shape), "properties": properties})
    return found


def _shape(rings: list[NDArray[np.float64]]) -> Any:
    """Return a valid Polygon or MultiPolygon: a ring that passes a corner twice is taken apart there."""
    import shapely

    def union(chosen: list[NDArray[np.float64]]) -> Any:
        return shapely.union_all([shapely.make_valid(shapely.Polygon(ring[:, ::-1])) for ring in chosen])

    shape = union([ring for ring in rings if area(ring) > 0])
    if holes := [ring for ring in rings if area(ring) < 0]:
        shape = shape.difference(union(holes))
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shapely.MultiPolygon([part for part in shape.geoms if part.geom_type == "Polygon"])


def _open(name: str, text: str, most_pixels: int) -> Any:
    """Open an image file; its size is looked at before its pixels are."""
    from PIL import Image

    kinds = "base64 of a PNG, as QuPath's extension sends it"
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise InputError(name, text[:20], kinds) from None
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        width, height = image.size
    except Exception:  # whatever a decoder says of a broken file
        raise InputError(name, f"{len(content)} bytes", kinds) from None
    if width * height > most_pixels:
        expected = f"at most {most_pixels / 1e6:.0f} million pixels: crop it in QuPath"
        raise InputError(name, f"{width} × {height} pixels", expected)
    try:
        image.load()
    except Exception:
        raise InputError(name, f"{len(content)} bytes", f"a whole file: {kinds}") from None
    return image

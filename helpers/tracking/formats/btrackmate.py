"""The CSV that BTrackMate reads detections from: eleven columns, known by their place.

``T, X, Y, Z, Label, Perimeter, Volume, Intensity, ExtentX, ExtentY, ExtentZ`` — everything in pixels; positions,
T, Label and Intensity are integers. There are no links. VollSeg, which writes this format too, states the product of
the bounding box as Volume and the count of voxels as Intensity; here Volume is the count of voxels and Intensity the
sum of the intensities. Perimeter is the perimeter in pixels (2D) or the surface in faces of a voxel of the same volume
with equal sides (3D).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.calibration import check_voxel_size
from helpers.data.tables import write_table
from helpers.errors import InputError, reads
from helpers.tracking.formats.storage import existing
from helpers.tracking.tracks import Tracks

COLUMNS = ("T", "X", "Y", "Z", "Label", "Perimeter", "Volume", "Intensity", "ExtentX", "ExtentY", "ExtentZ")
_INTEGERS = ("T", "X", "Y", "Z", "Label", "Intensity")


@reads("a BTrackMate CSV")
def read(path: str | Path, *, voxel_size: Sequence[float], frame_interval: float | None = None) -> Tracks:
    """Read the detections of a BTrackMate CSV as Tracks without links.

    Parameters
    ----------
    path : path
        The CSV file; columns are known by their place, the header line may be missing.
    voxel_size : sequence of float
        (z, y, x) in µm.
    frame_interval : float, optional
        Seconds between frames.

    Raises
    ------
    InputError
        No voxel size, fewer than eleven columns, or cells that are not numbers.
    """
    path = existing(path, "a BTrackMate CSV file")
    voxel = _voxel(voxel_size)
    try:
        raw = pd.read_csv(path, header=None, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            "path", str(path), f"a CSV with the columns {', '.join(COLUMNS)} ({error})"
        ) from error
    if raw.shape[1] < len(COLUMNS):
        raise InputError("path", str(path), f"a CSV with the {len(COLUMNS)} columns {', '.join(COLUMNS)}")
    if len(raw) and raw.shape[1] > len(COLUMNS) and raw.iat[0, 0] == "":  # pandas' own numbers of the rows
        raw = raw.iloc[:, 1:].set_axis(range(raw.shape[1] - 1), axis=1)
    if len(raw) and not is_number(str(raw.iat[0, 0])):
        raw = raw.iloc[1:]
    table = {}
    for place, column in enumerate(COLUMNS):
        try:
            table[column] = np.array([float(text) for text in raw[place]])
        except ValueError as error:
            raise InputError(f"{path.name} column {column}", str(error), "every cell is a number") from error
    z, y, x = voxel
    flat = not table["Z"].any() and (table["ExtentZ"] <= 1).all()
    objects = {
        "frame": table["T"],
        "label": _whole(table["Label"], f"{path.name} column Label"),
        "z": table["Z"] * z,
        "y": table["Y"] * y,
        "x": table["X"] * x,
    }
    if flat:
        objects |= {
            "area_um2": table["Volume"] * (y * x),
            "perimeter_um": table["Perimeter"] * np.sqrt(y * x),
        }
    else:
        objects |= {
            "volume_um3": table["Volume"] * (z * y * x),
            "surface_um2": table["Perimeter"] * (z * y * x) ** (2 / 3),
            "extent_z_um": table["ExtentZ"] * z,
        }
    objects |= {
        "extent_y_um": table["ExtentY"] * y,
        "extent_x_um": table["ExtentX"] * x,
        "intensity_sum": table["Intensity"],
    }
    return Tracks(pd.DataFrame(objects), voxel_size=(z, y, x), frame_interval=frame_interval)


def write(tracks: Tracks, path: str | Path, *, voxel_size: Sequence[float] | None = None) -> None:
    """Write the objects of `tracks` for BTrackMate.

    What the table does not hold is written as 0 (extents as 1 pixel); a missing ``label`` as the object's id.

    Parameters
    ----------
    tracks : Tracks
        Objects; their links are not written.
    path : path
        The CSV file.
    voxel_size : sequence of float, optional
        (z, y, x) in µm; that of `tracks` by default.

    Raises
    ------
    InputError
        No voxel size.
    """
    z, y, x = _voxel(voxel_size if voxel_size is not None else tracks.voxel_size)
    objects = tracks.objects
    flat = "volume_um3" not in objects

    def column(name: str, size: float, default: float = 0.0) -> np.ndarray:
        if name not in objects:
            return np.full(len(objects), default)
        # A length of six digits, divided by a voxel's, falls just beside the whole number that was meant.
        pixels = objects[name].to_numpy(float) / size
        near = np.rint(pixels)
        return np.where(np.isclose(pixels, near, rtol=5e-6, atol=1e-9), near, pixels)

    table = {
        "T": objects["frame"],
        "X": column("x", x),
        "Y": column("y", y),
        "Z": column("z", z),
        "Label": objects["label" if "label" in objects else "id"],
        "Perimeter": column("perimeter_um", np.sqrt(y * x))
        if flat
        else column("surface_um2", (z * y * x) ** (2 / 3)),
        "Volume": column("area_um2", y * x) if flat else column("volume_um3", z * y * x),
        "Intensity": column("intensity_sum", 1.0),
        "ExtentX": column("extent_x_um", x, 1.0),
        "ExtentY": column("extent_y_um", y, 1.0),
        "ExtentZ": column("extent_z_um", z, 1.0),
    }
    for name in _INTEGERS:
        table[name] = np.nan_to_num(np.rint(np.asarray(table[name], float))).astype(np.int64)
    write_table(pd.DataFrame(table, columns=list(COLUMNS)), path, na_rep="NaN")


def _voxel(voxel_size: Sequence[float] | None) -> tuple[float, float, float]:
    if voxel_size is None:
        raise InputError("voxel_size", None, "BTrackMate counts pixels; give (z, y, x) in µm")
    return check_voxel_size(voxel_size, planar=True)


def _whole(values: np.ndarray, name: str) -> np.ndarray:
    if not (np.isfinite(values) & (values == np.rint(values))).all():
        raise InputError(name, values[values != np.rint(values)][:5].tolist(), "labels are integers")
    return values.astype(np.int64)


def is_number(text: str) -> bool:
    """Return whether a cell of a table holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True

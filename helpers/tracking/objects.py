"""A label frame → one measured row per cell.

One pass over the voxels, plane by plane, collects everything. It moves along x in runs of equal labels, and
a run enters the sums in closed form; a voxel by itself is only compared with those one step away, in the row and plane
at hand and before::

    labels of a row    0 0 7 7 7 7 0 3 3     run of 7: n = 4, Σx = 2+3+4+5, Σx² = 4+9+16+25
    the row above it   0 7 7 7 5 5 0 3 3     two pairs of 7 along y, three along a diagonal

    runs along a direction = voxels - pairs along it: they tell the surface (`helpers.tracking.surface`)

Positions are summed relative to the object's first voxel and intensities merged run by run (Chan, Golub and
LeVeque 1979), so that neither a large volume nor a high background costs digits. Rows are found by hashing
the label: what the largest label is does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numba import njit

from helpers.data.calibration import check_voxel_size
from helpers.data.lazy import LazyStack, Planes
from helpers.errors import InputError
from helpers.tracking.surface import directions

#: What each column of the table says, and its unit.
COLUMNS: dict[str, str] = {
    "id": "number of the row, 0…n−1",
    "frame": "time point, counted from 0",
    "label": "value of the object's voxels in the label frame",
    "z": "centroid, µm; 0 in 2D",
    "y": "centroid, µm",
    "x": "centroid, µm",
    "volume_um3": "volume of all voxels, µm³ (3D)",
    "area_um2": "area of all pixels, µm² (2D)",
    "n_voxels": "number of voxels",
    "surface_um2": "surface, µm² (3D); of smooth objects from 4 voxels of radius on within 3 %",
    "perimeter_um": "perimeter, µm (2D); of smooth objects from 4 pixels of radius on within 3 %",
    "extent_z_um": "side of the bounding box along z, µm (3D)",
    "extent_y_um": "side of the bounding box along y, µm",
    "extent_x_um": "side of the bounding box along x, µm",
    "intensity_sum": "sum over the voxels, in the image's units",
    "intensity_mean": "mean over the voxels, in the image's units",
    "intensity_sd": "standard deviation over the voxels (of the population, not the sample), in the image's units",
    "intensity_min": "smallest voxel, in the image's units",
    "intensity_max": "largest voxel, in the image's units",
    "axis_major_um": "longest axis (whole length) of the ellipsoid, in 2D ellipse, of the same second moments, µm",
    "axis_middle_um": "middle axis of that ellipsoid, µm (3D)",
    "axis_minor_um": "shortest axis of that ellipsoid or ellipse, µm",
}
_INTEGER = ("id", "frame", "label", "n_voxels")

# What is collected of an object: both ends (inclusive) of its bounding box and its first voxel, …
_Z0, _Z1, _Y0, _Y1, _X0, _X1, _FIRST_Z, _FIRST_Y, _FIRST_X = range(9)
# … sums over its voxels, of positions relative to the first voxel, of pairs and of runs, …
_N, _Z, _Y, _X, _ZZ, _YY, _XX, _ZY, _ZX, _YX = range(9, 19)
# … its intensities: _MEAN is relative to the first one, _M2 the sum of squared deviations from the mean, …
_SUM, _FIRST, _MEAN, _M2, _MIN, _MAX = range(19, 25)
_PAIRS = 25  # … and from here on pairs of voxels one step apart, for each direction; all float64, exact for indices
# What a plane can end with.
_FINE, _NEGATIVE, _NOT_FINITE, _TOO_LARGE = range(4)
_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads consecutive labels (Knuth)


def measure(
    labels: Any, intensity: Any = None, *, voxel_size: Sequence[float] | None, frame: int = 0
) -> pd.DataFrame:
    """Measure every object of one label frame.

    Parameters
    ----------
    labels : ndarray of integers, (Z, Y, X) or (Y, X)
        0 is background, other values ≥ 1 need not be consecutive. (Y, X) and (1, Y, X) are 2D. Read where it
        lies; non-contiguous arrays and foreign byte orders are copied one plane at a time. A `LazyStack` is read some
        planes at a time.
    intensity : ndarray of integers or floats, shape of `labels`, optional
        Adds the ``intensity_…`` columns. NaN and infinity are allowed in the background only.
    voxel_size : sequence of float
        (z, y, x) in µm; in 2D (y, x) as well.
    frame : int
        Goes into the column ``frame``.

    Returns
    -------
    DataFrame
        A row per label, in ascending order of label; `COLUMNS` says what the columns are. Counts are int64,
        all else float64. Without objects it has no rows but the same columns and dtypes.

    Raises
    ------
    InputError
        No or impossible voxel size; labels that are floats, a mask, negative or above 2⁶³ − 1; an array that is
        empty or not 2D or 3D; an intensity of another shape, or not finite inside an object.

    Notes
    -----
    Centroids and axes are those of ``skimage.measure.regionprops(labels, spacing=voxel_size)``: positions are
    voxel centres, voxel (0, 0, 0) is at 0 µm, and voxels are points (no 1/12 for their own extent), so an
    object one voxel thick has a shortest axis of 0. With λ an eigenvalue of the covariance of the positions
    an axis measures √(20 λ) in 3D and √(16 λ) in 2D, which for a solid ellipsoid or ellipse is its length.

    ``surface_um2`` and ``perimeter_um`` follow from how often lines in 13 (2D: 8) directions enter the object
    (`helpers.tracking.surface`), without bias for balls and ellipsoids; sharp edges are rounded off
    (a box of 8 voxels a side comes out 13 % too small), and so is what is thinner than a voxel is long. The border of the image counts as surface, so an object has the same wherever it lies.
    """
    labels, intensity = _check(labels, intensity)
    is_2d = labels.shape[0] == 1
    size = _check_voxel_size(voxel_size, is_2d)
    if isinstance(frame, bool) or not isinstance(frame, int | np.integer):
        raise InputError("frame", frame, "give the number of the time point, an integer")
    steps, worth = directions(size, is_2d=is_2d)
    found, rows = _collect(labels, intensity, steps)
    order = np.argsort(found)
    found, rows = found[order], rows[order]

    n = rows[:, _N]
    extent = (rows[:, [_Z1, _Y1, _X1]] - rows[:, [_Z0, _Y0, _X0]] + 1) * size
    centroid = (rows[:, [_FIRST_Z, _FIRST_Y, _FIRST_X]] + rows[:, [_Z, _Y, _X]] / n[:, None]) * size
    surface = (n[:, None] - rows[:, _PAIRS:]) @ worth
    table: dict[str, Any] = {
        "id": np.arange(len(found)),
        "frame": np.full(len(found), frame),
        "label": found,
        **dict(zip("zyx", centroid.T, strict=True)),
    }
    if is_2d:
        table["z"] = np.zeros(len(found))
        table["area_um2"] = n * (size[1] * size[2])
        table["n_voxels"] = n
        table["perimeter_um"] = surface
    else:
        table["volume_um3"] = n * size.prod()
        table["n_voxels"] = n
        table["surface_um2"] = surface
        table["extent_z_um"] = extent[:, 0]
    table["extent_y_um"], table["extent_x_um"] = extent[:, 1], extent[:, 2]
    if intensity is not None:
        table["intensity_sum"] = rows[:, _SUM]
        table["intensity_mean"] = rows[:, _FIRST] + rows[:, _MEAN]
        table["intensity_sd"] = np.sqrt(rows[:, _M2] / n)
        table["intensity_min"], table["intensity_max"] = rows[:, _MIN], rows[:, _MAX]
    axes = _axes(rows, size, is_2d)
    for name, length in zip(
        ("major", "minor") if is_2d else ("major", "middle", "minor"), axes.T, strict=True
    ):
        table[f"axis_{name}_um"] = length
    return pd.DataFrame(
        {name: np.asarray(column, np.int64 if name in _INTEGER else float) for name, column in table.items()}
    )


def as_measured(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that was read from a file with the dtypes of `measure`: a file does not tell 34.0 from 34."""
    measures = [name for name in table if name in COLUMNS and name not in _INTEGER]
    return table.astype(dict.fromkeys(measures, float))


def _axes(rows: np.ndarray, size: np.ndarray, is_2d: bool) -> np.ndarray:
    """Return (n, 3) or, in 2D, (n, 2) lengths in µm, longest first."""
    n = rows[:, _N, None, None]
    squares = rows[:, [_ZZ, _ZY, _ZX, _ZY, _YY, _YX, _ZX, _YX, _XX]].reshape(-1, 3, 3)
    firsts = rows[:, [_Z, _Y, _X]]
    # The numerator is made of whole numbers, exact for objects of the usual size: a flat one gets exactly 0.
    covariance = (n * squares - firsts[:, :, None] * firsts[:, None, :]) / n**2
    covariance *= size[:, None] * size
    if is_2d:
        covariance = covariance[:, 1:, 1:]
    # Rounding can leave a variance of 0 slightly negative.
    eigenvalues = np.maximum(np.linalg.eigvalsh(covariance), 0)
    return np.sqrt((16 if is_2d else 20) * eigenvalues[:, ::-1])


def _check(labels: Any, intensity: Any) -> tuple[Any, Any]:
    """Return both as (Z, Y, X): arrays, or planes that are read when they are asked for."""
    labels = labels if isinstance(labels, LazyStack) else np.asarray(labels)
    if labels.dtype.kind not in "iu":
        hint = {
            "f": "labels must be integers; this is an intensity image, or labels that were saved or "
            "interpolated as floats",
            "b": "a mask does not tell cells apart; label its components first",
        }.get(labels.dtype.kind, "labels must be integers")
        raise InputError("labels", labels.dtype.name, hint)
    if labels.ndim not in (2, 3) or labels.size == 0:
        raise InputError("labels", labels.shape, "give one frame, (Z, Y, X) or (Y, X), that is not empty")
    labels = Planes(labels) if isinstance(labels, LazyStack) else labels if labels.ndim == 3 else labels[None]
    if intensity is None:
        return labels, None
    intensity = intensity if isinstance(intensity, LazyStack) else np.asarray(intensity)
    if intensity.dtype.kind not in "iuf":
        raise InputError("intensity", intensity.dtype.name, "an image must hold integers or real numbers")
    whole: Any = Planes(intensity) if isinstance(intensity, LazyStack) else intensity
    whole = intensity[None] if intensity.ndim == 2 else whole
    if whole.shape != labels.shape:
        raise InputError("intensity", intensity.shape, f"must have the shape of the labels, {labels.shape}")
    return labels, whole


def _check_voxel_size(voxel_size: Sequence[float] | None, is_2d: bool) -> np.ndarray:
    """Return (z, y, x) in µm; z is 1 in 2D."""
    size = np.array(check_voxel_size(voxel_size, planar=is_2d))
    return np.concatenate([[1.0], size[-2:]]) if is_2d else size


def _collect(
    labels: np.ndarray | Planes, intensity: np.ndarray | Planes | None, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels (n,) of the objects and what was collected of each, (n, _PAIRS + directions)."""
    no_image = np.empty((0, 0), np.uint8)
    n, slots = 0, np.zeros(256, np.int64)
    found, rows = np.empty(128, np.int64), np.empty((128, _PAIRS + len(steps)))
    # A step beyond the border meets 0, which is no object's.
    up, aside = int(np.abs(steps[:, 1]).max()), int(np.abs(steps[:, 2]).max())
    shape = (labels.shape[1] + 2 * up, labels.shape[2] + 2 * aside)
    plane, before = np.zeros((2, *shape), labels.dtype.newbyteorder("="))
    inner = (slice(up, shape[0] - up), slice(aside, shape[1] - aside))
    for z in range(len(labels)):
        plane[inner] = labels[z]
        image = no_image if intensity is None else _native(intensity[z])
        state, bad, n, slots, found, rows = _add_plane(
            z, plane, before, image, steps, up, aside, n, slots, found, rows
        )
        if state == _NEGATIVE:
            raise InputError("labels", bad, "labels must be integers ≥ 0, 0 is background")
        if state == _TOO_LARGE:
            raise InputError("labels", int(plane.max()), "labels must not be larger than 2⁶³ − 1")
        if state == _NOT_FINITE:
            raise InputError(
                "intensity",
                f"NaN or infinite in label {bad}, plane {z}",
                "every voxel of an object must be a finite number; replace them, or cut them out of the labels",
            )
        plane, before = before, plane
    return found[:n], rows[:n]


def _native(plane: np.ndarray) -> np.ndarray:
    """Return the plane as compiled code can read it; a copy only where it must be."""
    if plane.dtype.kind == "f" and plane.dtype.itemsize not in (4, 8):
        return plane.astype(float)
    return np.ascontiguousarray(plane, plane.dtype.newbyteorder("="))


@njit(cache=True, nogil=True)
def _add_plane(z, plane, before, image, steps, up, aside, n, slots, found, rows):
    """Add plane `z` to the `n` objects known; `before` is the plane before it, `image` its intensities or empty.

    Both planes have a margin of 0, `up` along y and `aside` along x.

    Returns the outcome, the label at which it went wrong, and the state, perhaps grown.
    """
    height, width = plane.shape[0] - 2 * up, plane.shape[1] - 2 * aside
    for y in range(height):
        row = plane[y + up, aside : aside + width]
        x = 0
        while x < width:
            label = row[x]
            if label == 0:
                x += 1
                continue
            start = x
            while x < width and row[x] == label:
                x += 1
            key = np.int64(label)
            if key < 0:
                return _NEGATIVE if label < 0 else _TOO_LARGE, key, n, slots, found, rows

            if n == len(found):
                slots, found, rows = _grow(n, found, rows)
            slot = _slot(slots, found, key)
            i = slots[slot] - 1
            if i < 0:
                i = n
                n += 1
                slots[slot] = n
                found[i] = key
                for k in range(rows.shape[1]):
                    rows[i, k] = 0
                rows[i, _FIRST_Z] = rows[i, _Z0] = z
                rows[i, _FIRST_Y] = rows[i, _Y0] = y
                rows[i, _FIRST_X] = rows[i, _X0] = start

            rows[i, _Z1] = z
            rows[i, _Y0] = min(rows[i, _Y0], y)
            rows[i, _Y1] = max(rows[i, _Y1], y)
            rows[i, _X0] = min(rows[i, _X0], start)
            rows[i, _X1] = max(rows[i, _X1], x - 1)

            length = float(x - start)
            dz, dy = z - rows[i, _FIRST_Z], y - rows[i, _FIRST_Y]
            middle = 0.5 * (start + x - 1) - rows[i, _FIRST_X]
            sum_x = length * middle
            rows[i, _N] += length
            rows[i, _Z] += length * dz
            rows[i, _Y] += length * dy
            rows[i, _X] += sum_x
            rows[i, _ZZ] += length * dz * dz
            rows[i, _YY] += length * dy * dy
            rows[i, _XX] += sum_x * middle + length * (length * length - 1) / 12
            rows[i, _ZY] += length * dz * dy
            rows[i, _ZX] += dz * sum_x
            rows[i, _YX] += dy * sum_x
            for d in range(len(steps)):
                if steps[d, 0] == 0 and steps[d, 1] == 0 and steps[d, 2] == 1:
                    rows[i, _PAIRS + d] += length - 1
                    continue
                other = before if steps[d, 0] else plane
                far = other[y + up - steps[d, 1]]
                # Unsigned: an index that cannot be negative lets the compiler count several voxels at once.
                begin = np.uint64(start + aside - steps[d, 2])
                pairs = np.int32(0)
                for k in range(np.uint64(x - start)):
                    pairs += np.int32(far[begin + k] == label)
                rows[i, _PAIRS + d] += pairs
            if image.size and not _add_intensities(image[y], start, x, rows[i]):
                return _NOT_FINITE, key, n, slots, found, rows
    return _FINE, np.int64(0), n, slots, found, rows


@njit(cache=True, nogil=True)
def _add_intensities(row, start, stop, v):
    """Merge row[start:stop] into an object that already counts these voxels; False if they are not finite."""
    origin = np.float64(row[start])  # float() would leave a float32 what it is
    total, squares, low, high = 0.0, 0.0, row[start], row[start]
    for j in range(start, stop):
        value = row[j]
        d = np.float64(value) - origin
        total += d
        squares += d * d
        low = min(low, value)
        high = max(high, value)
    if not np.isfinite(total):
        return False
    length, n = float(stop - start), v[_N]
    mean = total / length
    m2 = max(squares - total * mean, 0.0)
    if n == length:
        v[_FIRST], v[_MEAN], v[_M2], v[_MIN], v[_MAX] = origin, mean, m2, low, high
    else:
        delta = (origin - v[_FIRST]) + mean - v[_MEAN]
        v[_MEAN] += delta * (length / n)
        v[_M2] += m2 + delta * delta * (length * (n - length) / n)
        v[_MIN] = min(v[_MIN], low)
        v[_MAX] = max(v[_MAX], high)
    v[_SUM] += origin * length + total
    return True


@njit(cache=True, nogil=True)
def _slot(slots, found, key):
    """Return where the hash table holds `key`, or the empty slot for it; slots hold 1 + the object's row."""
    mask = np.uint64(len(slots) - 1)
    at = np.uint64(key) * _HASH
    at = (at ^ (at >> np.uint64(32))) & mask
    while slots[at] and found[slots[at] - 1] != key:
        at = (at + np.uint64(1)) & mask
    return at


@njit(cache=True, nogil=True)
def _grow(n, found, rows):
    """Double the room for objects; the hash table stays at most half full."""
    new_found, new_rows = np.empty(2 * n, np.int64), np.empty((2 * n, rows.shape[1]))
    slots = np.zeros(4 * n, np.int64)
    for i in range(n):
        new_found[i] = found[i]
        for k in range(rows.shape[1]):
            new_rows[i, k] = rows[i, k]
        slots[_slot(slots, new_found, new_found[i])] = i + 1
    return slots, new_found, new_rows

"""Augmentation of training patches: one geometry for image and labels, then intensity and noise for the image.

The order is that of the world: the cells turn and deform (geometry), fluoresce more or less (intensity), and
are recorded by a camera (Poisson, then Gaussian noise).

Geometry stays within the slices, apart from the mirror in z: voxels are usually several times as long in z as
in y and x, and a rotation out of the plane would make cells that no microscope shows. Rotation and elastic
deformation are one resampling, linear for the image and nearest-neighbour for labels, from a region larger
than the patch (`margin`), so that no border has to be invented; beyond the region it is mirrored.
Intensities are those of a percentile-normalised image: background near 0, bright cells near 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import ndimage

from helpers.data.calibration import spacing_of
from helpers.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a patch: a switch and a strength for each kind.

    Attributes
    ----------
    probability : float
        Chance of each kind other than mirrors and quarter turns (those choose evenly among their outcomes).
    denoised, denoised_fraction : bool, float
        Take this fraction of the augmented patches from the denoised stack, where one is given.
    flip, flip_z : bool
        Mirror in y and x; in z (switch off where top and bottom differ, as in polarised tissue).
    rotate_90 : bool
        Quarter turns in the plane, exact (half turns only, where a patch or a pixel is not square).
    rotate, rotate_degrees : bool, float
        A free angle in the plane, up to this many degrees each way.
    elastic, elastic_sd, elastic_spacing : bool, float, float
        Smooth random displacement in the plane: its standard deviation, and the distance between the points
        where it is drawn, in pixels.
    intensity, intensity_scale, intensity_gamma, intensity_offset : bool, then (low, high)
        Brightness factor, exponent and shift.
    poisson, poisson_photons : bool, (low, high)
        Shot noise of a camera that counts this many photons where the image is 1.
    gaussian, gaussian_sd : bool, (low, high)
        Read noise, standard deviation.
    """

    probability: float = 0.5
    denoised: bool = True
    denoised_fraction: float = 0.25
    flip: bool = True
    flip_z: bool = True
    rotate_90: bool = True
    rotate: bool = True
    rotate_degrees: float = 45.0
    elastic: bool = True
    elastic_sd: float = 1.5
    elastic_spacing: float = 24.0
    intensity: bool = True
    intensity_scale: tuple[float, float] = (0.7, 1.3)
    intensity_gamma: tuple[float, float] = (0.7, 1.4)
    intensity_offset: tuple[float, float] = (-0.1, 0.1)
    poisson: bool = True
    poisson_photons: tuple[float, float] = (20.0, 200.0)
    gaussian: bool = True
    gaussian_sd: tuple[float, float] = (0.01, 0.1)

    def __post_init__(self) -> None:
        for name, value in vars(self).copy().items():
            if isinstance(value, (tuple, list)):
                low = -math.inf if name == "intensity_offset" else 0
                if len(value) != 2 or not low <= value[0] <= value[1] < math.inf:
                    raise InputError(
                        name, value, "(low, high) with 0 ≤ low ≤ high (an offset may be negative)"
                    )
                if name in ("intensity_scale", "intensity_gamma", "poisson_photons") and value[0] == 0:
                    raise InputError(name, value, "(low, high), both above 0")
                object.__setattr__(self, name, tuple(value))
            elif not 0 <= value < math.inf:
                raise InputError(name, value, "0 or more")
        for name in ("probability", "denoised_fraction"):
            if getattr(self, name) > 1:
                raise InputError(name, getattr(self, name), "a chance, 0 to 1")
        if self.elastic_spacing < 2:
            raise InputError("elastic_spacing", self.elastic_spacing, "2 pixels or more")

    @classmethod
    def none(cls) -> Augmentation:
        """Everything switched off."""
        return replace(cls(), **{field.name: False for field in fields(cls) if field.default is True})


@dataclass(frozen=True)
class Geometry:
    """One drawn transform of a region into a patch, to be applied alike to image, labels and mask.

    Attributes
    ----------
    patch_size : (z, y, x)
    flips : (z, y, x) of bool
    quarter_turns : int
        In the plane.
    coordinates : (2, Y, X) float ndarray or None
        Where in a (turned) region, relative to its centre in pixels, each pixel of the patch is read.
    """

    patch_size: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    quarter_turns: int
    coordinates: np.ndarray | None

    def apply(self, region: np.ndarray, *, nearest: bool) -> np.ndarray:
        """Return the transformed centre of `region` (Z, Y, X): float32 by linear interpolation, or,
        if `nearest`, values of the region itself in its own dtype."""
        turned = np.rot90(region, self.quarter_turns, axes=(1, 2))
        turned = np.flip(turned, tuple(axis for axis in range(3) if self.flips[axis]))
        if self.coordinates is None:
            return np.ascontiguousarray(_centre(turned, self.patch_size))
        turned = _centre(turned, (self.patch_size[0], *turned.shape[1:]))
        height, width = turned.shape[1:]
        y = self.coordinates[0] + (height - 1) / 2
        x = self.coordinates[1] + (width - 1) / 2
        flat = np.ascontiguousarray(turned).reshape(len(turned), -1)

        def at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            index = mirrored(rows.astype(np.intp), height) * width + mirrored(columns.astype(np.intp), width)
            return flat.take(index.ravel(), axis=1).reshape(len(flat), *index.shape)

        if nearest:
            return at(np.rint(y), np.rint(x))
        top, left = np.floor(y), np.floor(x)
        down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
        result = at(top, left) * ((1 - down) * (1 - right))
        result += at(top, left + 1) * ((1 - down) * right)
        result += at(top + 1, left) * (down * (1 - right))
        result += at(top + 1, left + 1) * (down * right)
        return result.astype(np.float32, copy=False)


def mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Return indices folded into ``0 … size - 1`` by reflection at the first and the last sample."""
    if size == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * size - 2)
    return np.minimum(folded, 2 * size - 2 - folded)


def margin(
    patch_size: Sequence[int], settings: Augmentation, *, voxel_size: Sequence[float] | None = None
) -> tuple[int, int, int]:
    """Return how far (z, y, x) beyond a patch the geometry may read, on each side."""
    height, width = (int(n) for n in patch_size[-2:])
    aspect = _aspect(voxel_size)
    far_y = far_x = 0.0
    if settings.rotate:
        angle = math.radians(min(settings.rotate_degrees, 90.0))
        half_y, half_x = height / 2 * aspect, width / 2
        tilt_y = min(angle, math.atan2(half_x, half_y))
        tilt_x = min(angle, math.atan2(half_y, half_x))
        far_y = (half_y * math.cos(tilt_y) + half_x * math.sin(tilt_y) - half_y) / aspect
        far_x = half_x * math.cos(tilt_x) + half_y * math.sin(tilt_x) - half_x
    elastic = 3 * settings.elastic_sd if settings.elastic else 0.0
    far = math.ceil(max(far_y, far_x) + elastic) + 1 if settings.rotate or settings.elastic else 0
    return 0, far, far


def draw_geometry(
    patch_size: Sequence[int],
    settings: Augmentation,
    rng: np.random.Generator,
    *,
    voxel_size: Sequence[float] | None = None,
) -> Geometry:
    """Draw a transform for patches of `patch_size` (z, y, x)."""
    depth, height, width = (int(n) for n in patch_size)
    aspect = _aspect(voxel_size)
    square = height == width and aspect == 1
    turns = int(rng.integers(4)) if settings.rotate_90 else 0
    if not square:
        turns -= turns % 2
    flips = rng.integers(2, size=3).astype(bool) & (settings.flip_z, settings.flip, settings.flip)
    angle = 0.0
    if settings.rotate and rng.random() < settings.probability:
        angle = math.radians(rng.uniform(-1, 1) * settings.rotate_degrees)
    bend = settings.elastic and settings.elastic_sd > 0 and rng.random() < settings.probability
    coordinates = None
    if angle or bend:
        y = (np.arange(height) - (height - 1) / 2)[:, None] * aspect  # in units of a pixel's width
        x = (np.arange(width) - (width - 1) / 2)[None, :]
        coordinates = np.stack(
            [
                (math.cos(angle) * y - math.sin(angle) * x) / aspect,
                math.sin(angle) * y + math.cos(angle) * x,
            ]
        )
        if bend:
            coordinates += _smooth_displacement((height, width), settings, rng)
    return Geometry(
        (depth, height, width), (bool(flips[0]), bool(flips[1]), bool(flips[2])), turns, coordinates
    )


def change_intensity(raw: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Return `raw`, normalised float32, brightened, bent, shifted and made noisy as `settings` may have it."""

    def happens(switch: bool) -> bool:
        return switch and rng.random() < settings.probability

    raw = raw.astype(np.float32, copy=False)
    if happens(settings.intensity):
        low = min(float(raw.min()), 0.0)
        span = max(float(raw.max()), 1.0) - low
        bent = ((raw - low) / span) ** np.float32(rng.uniform(*settings.intensity_gamma)) * span + low
        raw = bent * np.float32(rng.uniform(*settings.intensity_scale))
        raw += np.float32(rng.uniform(*settings.intensity_offset))
    if happens(settings.poisson):
        photons = rng.uniform(*settings.poisson_photons)
        expected = np.maximum(raw, 0) * np.float32(photons)
        # What lies below 0 is darker than the normalisation's background: it stays as it is.
        raw = rng.poisson(expected).astype(np.float32) / np.float32(photons) + np.minimum(raw, 0)
    if happens(settings.gaussian):
        sd = np.float32(rng.uniform(*settings.gaussian_sd))
        raw = raw + sd * rng.standard_normal(raw.shape, dtype=np.float32)
    return raw.astype(np.float32, copy=False)


def augment(
    raw: np.ndarray,
    labels: np.ndarray,
    settings: Augmentation,
    rng: np.random.Generator,
    *,
    voxel_size: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return one augmented patch and its labels.

    Parameters
    ----------
    raw : (Z, Y, X) or (Y, X) ndarray
        Percentile-normalised intensities. Rotations read mirrored voxels at the border.
    labels : ndarray, shape of `raw`
        Instances or a mask; the same geometry, nearest-neighbour: no value that was not there.
    settings : Augmentation
    rng : numpy.random.Generator
    voxel_size : sequence of float, optional
        µm; only the ratio of y to x matters. Square pixels by default.

    Returns
    -------
    raw : float32 ndarray
    labels : ndarray of the dtype given

    Raises
    ------
    InputError
        Shapes do not agree.
    """
    raw, labels = np.asarray(raw), np.asarray(labels)
    shape = labels.shape
    if labels.ndim not in (2, 3) or raw.shape != shape:
        raise InputError("labels", shape, f"the shape of raw, {raw.shape}, in 2 or 3 dimensions")
    stack = (1, *shape)[-3:]
    geometry = draw_geometry(stack, settings, rng, voxel_size=voxel_size)
    moved = geometry.apply(raw.reshape(stack), nearest=False).reshape(shape)
    return change_intensity(moved, settings, rng), geometry.apply(
        labels.reshape(stack), nearest=True
    ).reshape(shape)


def _aspect(voxel_size: Sequence[float] | None) -> float:
    """Height of a pixel over its width; 1 where they agree within a thousandth."""
    if voxel_size is None:
        return 1.0
    height, width = spacing_of(voxel_size, 2)
    return 1.0 if math.isclose(height, width, rel_tol=1e-3) else height / width


def _centre(array: np.ndarray, size: Sequence[int]) -> np.ndarray:
    starts = [(given - wanted) // 2 for given, wanted in zip(array.shape, size, strict=True)]
    return array[tuple(slice(start, start + wanted) for start, wanted in zip(starts, size, strict=True))]


def _smooth_displacement(
    size: tuple[int, int], settings: Augmentation, rng: np.random.Generator
) -> np.ndarray:
    points = [max(2, math.ceil(n / settings.elastic_spacing) + 1) for n in size]
    coarse = np.clip(rng.standard_normal((2, *points)), -2.5, 2.5) * settings.elastic_sd
    smooth = np.empty((2, *size))
    for axis in range(2):
        ndimage.zoom(coarse[axis], [n / p for n, p in zip(size, points, strict=True)], smooth[axis], order=3)
    return smooth.clip(-3 * settings.elastic_sd, 3 * settings.elastic_sd)

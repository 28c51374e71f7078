"""What a synthetic movie shows, and what cannot be asked of one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from typing import cast

from helpers.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """What the movie shows. The defaults are the demo's look.

    Attributes
    ----------
    shape : tuple of int
        (Z, Y, X) of a frame in voxels; Z = 1 makes a 2D movie.
    n_frames : int
        Time points.
    n_cells : int
        Cells in the first frame.
    voxel_size : tuple of float
        (z, y, x) in µm.
    frame_interval : float
        Seconds between frames.
    seed : int
        Equal seeds give equal movies.
    division_rate : float
        Divisions per founder and frame; round(rate × n_cells × (n_frames − 1)) divisions happen in all.
    speed : float
        How far cells strive to move from frame to frame, in cell diameters (root mean square); their
        neighbours hold them back to about a half to two thirds of it. At most 0.3, beyond which nobody could track them.
    irregularity : float
        0: convex cells; 1: bent, interlocked, for a good share not star-convex. At most 1.3.
    rhythmic_fraction : float
        Share of the cells that brighten and dim as a sinusoid, the cytoplasm most, the membranes with it. The
        others' brightness is white noise of the same variance, in which any rhythm found is false.
    rhythm_amplitude : float
        Relative amplitude of the rhythm in the cytoplasm, 0 (switched off) to < 1.
    rhythm_periods : tuple of float
        Shortest and longest period in frames (above 2, after Nyquist).
    photons : float
        Photons per voxel at the brightness of a typical membrane before blur; fewer are noisier.
    read_noise : float
        Standard deviation of the camera's noise in counts.
    psf : tuple of float
        Standard deviations (z, y, x) in µm of the point spread function.
    haze : float
        Share of the light that is far out of focus, 0 to < 1.
    membrane_width : float
        Standard deviation in µm of a membrane's profile before blur.
    cytoplasm : float
        Brightness of the cytoplasm relative to the membranes.
    unevenness : float
        Spread of the membranes' brightness between cells, walls and places, 0 (even) to 1.
    illumination : float
        Loss of light from the brightest to the darkest corner, 0 to < 1.
    """

    shape: tuple[int, int, int] = (24, 128, 128)
    n_frames: int = 12
    n_cells: int = 40
    voxel_size: tuple[float, float, float] = (1.5, 0.5, 0.5)
    frame_interval: float = 60.0
    seed: int = 0
    division_rate: float = 0.02
    speed: float = 0.08
    irregularity: float = 1.0
    rhythmic_fraction: float = 1.0
    rhythm_amplitude: float = 0.5
    rhythm_periods: tuple[float, float] = (2.6, 4.0)
    photons: float = 120.0
    read_noise: float = 4.0
    psf: tuple[float, float, float] = (0.9, 0.4, 0.4)
    haze: float = 0.15
    membrane_width: float = 0.35
    cytoplasm: float = 0.12
    unevenness: float = 0.5
    illumination: float = 0.35

    def __post_init__(self) -> None:
        for name, (kind, count, low, high) in _ALLOWED.items():
            value = getattr(self, name)
            object.__setattr__(self, name, _checked(name, value, kind, count, low, high))
        if min(self.shape[1:]) < 8:
            raise InputError("shape", self.shape, "Y and X need at least 8 voxels")
        if 1 < self.shape[0] < 6:
            raise InputError("shape", self.shape, "a closed tissue needs Z ≥ 6 slices, or Z = 1 for 2D")
        if self.rhythm_periods[0] > self.rhythm_periods[1]:
            raise InputError("rhythm_periods", self.rhythm_periods, "give the shortest period first")

    @property
    def is_2d(self) -> bool:
        """Whether frames are planes."""
        return self.shape[0] == 1


#: Of every setting: its kind, how many numbers (0: one, not in a tuple), and from where to where it may go.
_ALLOWED: dict[str, tuple[type, int, float, float]] = {
    "shape": (int, 3, 1, math.inf),
    "n_frames": (int, 0, 1, math.inf),
    "n_cells": (int, 0, 1, math.inf),
    "voxel_size": (float, 3, 1e-6, math.inf),
    "frame_interval": (float, 0, 1e-9, math.inf),
    "seed": (int, 0, 0, math.inf),
    "division_rate": (float, 0, 0, 1),
    "speed": (float, 0, 0, 0.3),
    "irregularity": (float, 0, 0, 1.3),
    "rhythmic_fraction": (float, 0, 0, 1),
    "rhythm_amplitude": (float, 0, 0, 0.95),
    "rhythm_periods": (float, 2, 2.01, math.inf),
    "photons": (float, 0, 1e-3, 30000),
    "read_noise": (float, 0, 0, 1000),
    "psf": (float, 3, 0, math.inf),
    "haze": (float, 0, 0, 0.9),
    "membrane_width": (float, 0, 1e-6, math.inf),
    "cytoplasm": (float, 0, 0, 1),
    "unevenness": (float, 0, 0, 1),
    "illumination": (float, 0, 0, 0.9),
}


def _checked(name: str, value: object, kind: type, count: int, low: float, high: float) -> object:
    """The value as plain Python numbers of its kind, or an error that says what it may be."""
    what = "a whole number" if kind is int else "a number"
    limits = f"at least {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
    expected = f"give {f'{count} numbers' if count else what}, {limits}"
    if count:
        expected += ", whole" if kind is int else ""
        if isinstance(value, str) or not isinstance(value, Iterable) or len(found := tuple(value)) != count:
            raise InputError(name, value, expected)
    else:
        found = (value,)
    numbers = []
    for number in found:
        if isinstance(number, bool) or not isinstance(number, Real):
            raise InputError(name, value, expected)
        plain = float(number)
        if not (math.isfinite(plain) and low <= plain <= high) or (kind is int and plain != int(plain)):
            raise InputError(name, value, expected)
        numbers.append(kind(cast(float, number)))
    return tuple(numbers) if count else numbers[0]

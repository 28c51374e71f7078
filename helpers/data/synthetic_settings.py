"""What a synthetic movie shows, and what cannot be asked of one."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

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
        How far cells strive to move from frame to frame, in cell diameters (root mean square); neighbours
        hold them back by a third. At most 0.3, beyond which nobody could track them.
    irregularity : float
        0: convex cells; 1: bent, interlocked, for a good share not star-convex. At most 1.3.
    rhythmic_fraction : float
        Share of the cells that brighten and dim as a sinusoid, the cytoplasm most, the membranes with it. The
        others' brightness is white noise of the same variance, in which any rhythm found is false.
    rhythm_amplitude : float
        Relative amplitude of the rhythm in the cytoplasm, 0 (switched off) to < 1.
    rhythm_periods : tuple of float
        Shortest and longest period in frames (at least 2, after Nyquist).
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
        for name in ("shape", "voxel_size", "psf"):
            value = getattr(self, name)
            if len(value) != 3:
                raise InputError(name, value, "give three numbers: z, y, x")
            object.__setattr__(self, name, tuple(value))
        for name in ("shape", "n_frames", "n_cells", "seed"):
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, bool) or number != int(number):
                    raise InputError(name, value, "give whole numbers")
        if min(self.shape) < 1 or min(self.shape[1:]) < 8:
            raise InputError("shape", self.shape, "Z ≥ 1 (1 for 2D) and Y, X ≥ 8 voxels")
        if 1 < self.shape[0] < 6:
            raise InputError("shape", self.shape, "a closed tissue needs Z ≥ 6 slices, or Z = 1 for 2D")
        _at_least("n_frames", self.n_frames, 1)
        _at_least("n_cells", self.n_cells, 1)
        _at_least("seed", self.seed, 0)
        for name in ("voxel_size", "frame_interval", "photons", "membrane_width"):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(v) and v > 0 for v in numbers):
                raise InputError(name, value, "must be greater than 0")
        for name in ("psf", "division_rate", "speed", "read_noise", "cytoplasm"):
            value = getattr(self, name)
            numbers = value if isinstance(value, tuple) else (value,)
            if not all(math.isfinite(v) and v >= 0 for v in numbers):
                raise InputError(name, value, "must be at least 0")
        for name, top in {
            "irregularity": 1.3,
            "speed": 0.3,
            "rhythmic_fraction": 1.0,
            "rhythm_amplitude": 0.95,
            "haze": 0.9,
            "unevenness": 1.0,
            "illumination": 0.9,
        }.items():
            value = getattr(self, name)
            if not 0 <= value <= top:
                raise InputError(name, value, f"must lie between 0 and {top}")
        periods = self.rhythm_periods
        if len(periods) != 2 or not 2 <= periods[0] <= periods[1]:
            raise InputError("rhythm_periods", periods, "give (shortest, longest) in frames, 2 ≤ shortest")

    @property
    def is_2d(self) -> bool:
        """Whether frames are planes."""
        return self.shape[0] == 1


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(name, value, f"must be at least {least}")


def demo_settings(**changes: object) -> SyntheticSettings:
    """The settings of the demo experiment: the defaults, with `changes`."""
    unknown = set(changes) - {f.name for f in fields(SyntheticSettings)}
    if unknown:
        raise InputError("changes", sorted(unknown), "no such setting")
    return replace(SyntheticSettings(), **changes)  # type: ignore[arg-type]

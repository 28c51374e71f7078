"""The optical half of the synthetic movies: fluorescence → what a camera writes.

The order is the physical one: structure, uneven labelling and illumination, point spread function and
out-of-focus haze, photons (Poisson), camera (gain, Gaussian read noise, offset, 16 bits).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


@dataclass(frozen=True)
class Microscope:
    """What stands between the fluorescence and the file.

    Attributes
    ----------
    voxel_size : tuple of float
        (z, y, x) in µm.
    psf : tuple of float
        Standard deviations (z, y, x) in µm of the Gaussian point spread function.
    haze : float
        Share of the light that comes back blurred from far out of focus.
    photons : float
        Photons per voxel at fluorescence 1.
    gain : float
        Camera counts per photon.
    offset : float
        Camera counts in the dark.
    read_noise : float
        Standard deviation of the camera's noise in counts.
    """

    voxel_size: tuple[float, float, float]
    psf: tuple[float, float, float]
    haze: float
    photons: float
    gain: float
    offset: float
    read_noise: float

    def expose(self, fluorescence: np.ndarray) -> np.ndarray:
        """The expected image in camera counts, free of noise, (Z, Y, X) float32."""
        size = np.array(self.voxel_size)
        sharp = self._blur(fluorescence, np.array(self.psf))
        if self.haze:
            far = self._blur(fluorescence, np.maximum(6 * np.array(self.psf), 6 * size.min()))
            sharp = (1 - self.haze) * sharp + self.haze * far
        return (self.offset + self.gain * self.photons * sharp).astype(np.float32)

    def record(self, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One noisy image in camera counts, uint16."""
        photons = np.maximum(expected - self.offset, 0) / self.gain
        counts = rng.poisson(photons) * self.gain + self.offset
        if self.read_noise:
            counts = counts + rng.normal(0, self.read_noise, expected.shape)
        return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)

    def _blur(self, image: np.ndarray, sigma_um: np.ndarray) -> np.ndarray:
        sigma = sigma_um / np.array(self.voxel_size)
        if image.shape[0] == 1:
            sigma[0] = 0
        return gaussian_filter(image, sigma, mode="nearest", truncate=3)


def smooth_noise(shape: tuple[int, ...], scale_voxels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random field of mean 0 and standard deviation 1 with structures of `scale_voxels` a dimension."""
    coarse_shape = [int(np.ceil(n / max(s, 1))) + 3 for n, s in zip(shape, scale_voxels, strict=True)]
    coarse_shape = [1 if n == 1 else c for n, c in zip(shape, coarse_shape, strict=True)]
    coarse = rng.normal(size=coarse_shape).astype(np.float32)
    factors = [1 if n == 1 else max(s, 1) for n, s in zip(shape, scale_voxels, strict=True)]
    fine = np.asarray(zoom(coarse, factors, order=1))[tuple(slice(0, n) for n in shape)]
    return (fine - fine.mean()) / max(float(fine.std()), 1e-6)


def illumination(shape: tuple[int, int, int], strength: float, rng: np.random.Generator) -> np.ndarray:
    """Excitation over the field of view: a gradient in the plane and light lost with depth.

    Parameters
    ----------
    shape : tuple of int
        (Z, Y, X).
    strength : float
        Relative loss from the brightest to the darkest corner, 0 (even) to < 1.
    rng : numpy.random.Generator
        Decides the direction of the gradient.

    Returns
    -------
    ndarray (Z, Y, X) float32
        At most 1.
    """
    angle = rng.uniform(0, 2 * np.pi)
    z, y, x = (np.linspace(0, 1, n, dtype=np.float32) if n > 1 else np.zeros(1, np.float32) for n in shape)
    slope = np.cos(angle) * (y - 0.5)[:, None] + np.sin(angle) * (x - 0.5)[None, :]
    slope = (slope - slope.min()) / max(float(np.ptp(slope)), 1e-6)
    loss = 0.6 * slope[None] + 0.4 * z[:, None, None]
    return (1 - strength * loss).astype(np.float32)

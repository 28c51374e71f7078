"""The outline of the synthetic tissue, and how deep a point lies in it. Lengths in µm, points (z, y, x)."""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
from scipy.ndimage import map_coordinates


@dataclass(frozen=True)
class Tissue:
    """A smooth closed body: a superellipsoid with a few low lobes.

    Attributes
    ----------
    centre, semi_axes : ndarray (3,)
        µm; the semi-axis along z is infinite in 2D.
    waves : ndarray (n, 3)
        Wave vectors of the lobes over the unit sphere of directions.
    phases : ndarray (n,)
        Phases of the lobes in rad.
    lobes : float
        How deep the lobes may dent the body, relative to its radius.
    peak : float
        Height of the highest lobe, which just touches the superellipsoid.
    """

    centre: np.ndarray
    semi_axes: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    lobes: float
    peak: float

    @classmethod
    def create(cls, extent: np.ndarray, voxel_size: np.ndarray, rng: np.random.Generator) -> Tissue:
        """Fit a tissue with random lobes into a field of view of `extent` µm, with background all around."""
        is_2d = extent[0] <= voxel_size[0]
        # At least one and a half voxels of background on each side keep the surface closed within the image.
        margin = np.maximum(0.03 * extent, 1.5 * voxel_size)
        semi_axes = extent / 2 - margin
        if is_2d:
            semi_axes[0] = np.inf
        waves = rng.normal(size=(4, 3))
        waves *= rng.uniform(1.5, 3.5, size=(4, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
        phases = rng.uniform(0, 2 * np.pi, 4)
        directions = rng.normal(size=(4000, 3))
        directions[:, 0] *= not is_2d
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        peak = float(np.cos(directions @ waves.T + phases).mean(axis=1).max())
        # Voxel centres lie at index × voxel size, so the middle of the field of view is at (n − 1) / 2.
        return cls((extent - voxel_size) / 2, semi_axes, waves, phases, 0.2, peak)

    def level(self, points: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """Positive inside, 0 on the surface of the tissue grown to `scale`, negative outside (no unit)."""
        q = (points - self.centre) / self.semi_axes
        radius = (np.abs(q) ** 2.7).sum(axis=-1) ** (1 / 2.7)
        direction = q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-6)
        lobes = np.zeros(q.shape[:-1])
        for wave, phase in zip(self.waves, self.phases, strict=True):
            lobes += np.cos(direction @ wave + phase)
        # At most 1: the lobes dent the body, they never push it out of the image.
        return scale * (1 + self.lobes * np.minimum(lobes / len(self.phases) - self.peak, 0)) - radius

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """`n` points drawn evenly from the full-grown tissue, (n, 3) in µm."""
        box = np.where(np.isfinite(self.semi_axes), self.semi_axes, 0)
        found: list[np.ndarray] = []
        while sum(map(len, found)) < n:
            points = self.centre + box * rng.uniform(-1, 1, size=(2 * n, 3))
            found.append(points[self.level(points) > 0])
        return np.concatenate(found)[:n]

    def volume(self, rng: np.random.Generator) -> float:
        """Volume in µm³ (2D: area in µm²) of the full-grown tissue, by Monte Carlo."""
        finite = np.isfinite(self.semi_axes)
        box = np.where(finite, self.semi_axes, 0)
        points = self.centre + box * rng.uniform(-1, 1, size=(20000, 3))
        return float((self.level(points) > 0).mean() * np.prod(2 * self.semi_axes[finite]))


def boundary_distance(
    tissue: np.ndarray, points: np.ndarray, voxel_size: tuple[float, float, float]
) -> np.ndarray:
    """Signed distance of `points` to the boundary of `tissue`.

    Parameters
    ----------
    tissue : ndarray (Z, Y, X) bool
        The mask. Measured is the way to the centre of the nearest voxel on its other side; against the
        smooth surfaces of `Tissue` that is the estimate with the smallest median error (0.15 µm at voxels
        of 2 × 0.5 × 0.5 µm), better than to the nearest face or to the nearest voxel of the rim.
    points : ndarray (n, 3)
        (z, y, x) in voxels.
    voxel_size : tuple of float
        (z, y, x) in µm.

    Returns
    -------
    ndarray (n,) float64
        µm, inside positive.
    """
    flat = tissue.shape[0] == 1
    mask = tissue[0] if flat else tissue
    size = voxel_size[-mask.ndim :]
    inside = np.ascontiguousarray(mask)
    signed = edt.edt(inside, anisotropy=size) - edt.edt(~inside, anisotropy=size)
    return map_coordinates(signed, points[:, -mask.ndim :].T, order=1, mode="nearest")

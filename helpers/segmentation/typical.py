"""What a cell looks like, learnt from the stars: the measure for what they leave over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from helpers.segmentation import seeds
from helpers.segmentation.depth import depth_inside

#: Stars that are measured.
_SAMPLED_STARS = 256
#: The landscape tells borders from middles if it is below this fraction of the middles at the stars' rims.
_TELLING = 0.9
#: So many stars tell how large cells are.
_ENOUGH_STARS = 10

#: A star with its surroundings: the probability, the roles (see `seeds.census`), the star's label, and whether the
#: stack goes on behind the crop's faces (see `seeds.rays`).
Crop = tuple[np.ndarray, np.ndarray, int, np.ndarray]


@dataclass(frozen=True)
class Typical:
    """A typical cell.

    Attributes
    ----------
    radius : float
        Median inscribed radius of the stars, in steps of depth.
    size : float
        Median size of the stars, voxels.
    middle : float
        Median probability in their middles.
    telling : bool
        Whether the probability falls from their middles to their rims.
    rim : float
        By how much stars are smaller than their cells, µm: the median of what is left over before their faces.
    """

    radius: float
    size: float
    middle: float
    telling: bool
    rim: float


@dataclass(frozen=True)
class Sizes:
    """How large cells are, rims included.

    Attributes
    ----------
    usual, largest : float
        Median and 99 % quantile, voxels; infinite where too few stars tell.
    """

    usual: float
    largest: float

    @classmethod
    def of(cls, counts: np.ndarray) -> Sizes:
        """Return them for cells of so many voxels; zeros are none."""
        counts = counts[counts > 0]
        if not counts.size:
            return cls(np.inf, np.inf)
        usual = float(np.median(counts)) if len(counts) >= _ENOUGH_STARS else np.inf
        return cls(usual, float(np.quantile(counts, 0.99)))


def sample(sizes: np.ndarray) -> np.ndarray:
    """Return the labels of some stars, given the sizes of all."""
    present = np.flatnonzero(sizes)
    return present[np.linspace(0, len(present) - 1, min(len(present), _SAMPLED_STARS)).astype(int)]


def surroundings(box: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return where a star with as much around it as half its box is, and behind which faces the stack goes on."""
    low, high = box[0::2].astype(int), box[1::2].astype(int) + 1
    margin = np.maximum((high - low) // 2, 1)
    start, stop = np.maximum(low - margin, 0), np.minimum(high + margin, shape)
    open_end = np.concatenate([start > 0, (stop < shape)[::-1]])
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True)), open_end


def learn(stars: Iterable[Crop], size: float, spacing: tuple[float, float, float]) -> Typical:
    """Measure what a cell looks like on a sample of stars, given their median size in voxels."""
    radii, middles, rims, rays = [], [], [], []
    for probability, roles, star, open_end in stars:
        inside = (roles == star) | (roles == -1 - star)
        depth = depth_inside(inside, 1, 1, spacing)
        deepest = int(depth.max())
        rays.append(seeds.rays(roles, star, np.array(spacing), open_end))
        if deepest == np.iinfo(depth.dtype).max:
            continue  # it fills the volume
        values = probability.astype(np.float32)
        radii.append(deepest)
        middles.append(values[depth >= deepest / 2].mean())
        # The volume's faces bound no cell.
        rims.append(values[inside & ~_eroded(inside)].mean())
    free = np.concatenate(rays)
    rim = float(np.median(free)) if free.size else 0.0
    rim = rim if np.isfinite(rim) else 0.0
    if not radii:
        return Typical(1.0, size, 0.0, False, rim)
    middle = float(np.median(middles))
    telling = middle > 0 and float(np.median(rims)) < _TELLING * middle
    return Typical(float(np.median(radii)), size, middle, telling, rim)


def _eroded(inside: np.ndarray) -> np.ndarray:
    """Return which voxels have no neighbour outside, as ``binary_erosion(inside, border_value=1)``, for small arrays faster."""
    eroded = inside.copy()
    for axis in range(inside.ndim):
        from_low, to_low = (
            (slice(None),) * axis + (slice(1, None),),
            (slice(None),) * axis + (slice(None, -1),),
        )
        eroded[from_low] &= inside[to_low]
        eroded[to_low] &= inside[from_low]
    return eroded

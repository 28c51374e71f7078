"""What networks of many kinds would make of known cells: for the law that VollSeg is not below its parts.

Trained networks are one draw each, and slow. Here StarDist and the U-Net are as good or bad as one likes: cells that both know,
with everything that goes wrong in practice put in (missed cells, neighbours taken for one, bodies that are too round,
foreground with holes, bridges and specks). What follows the networks is the suite's own, from candidates on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
from scipy import ndimage
from stardist import Rays_GoldenSpiral
from stardist.geometry import star_dist3D
from stardist.models import Config3D
from stardist.utils import edt_prob

from helpers.models.stardist import StarPrediction
from helpers.segmentation.vollseg_segmenter import Outputs, VollSegSegmenter
from tests.segmentation.stacks import make_stack

SPACING = (2.0, 1.0, 1.0)
_GRID = (1, 2, 2)
_FLOOR = 0.1
_ANISOTROPY = tuple(s / min(SPACING) for s in SPACING)
_RAYS = Rays_GoldenSpiral(32, anisotropy=_ANISOTROPY)


@dataclass(frozen=True)
class StarKind:
    """How StarDist errs: shares of cells, and of the rays' lengths."""

    missed: float = 0.03
    merged: float = 0.0
    split: float = 0.0
    round: float = 0.1
    noise: float = 0.05
    level: float = 1.0


@dataclass(frozen=True)
class MaskKind:
    """How the U-Net errs; `eroded` in µm on each side of a border."""

    eroded: float = 0.0
    missed: float = 0.03
    bridges: float = 0.0
    noise: float = 0.15
    specks: int = 0


STARS = {
    "good": StarKind(),
    "rough": StarKind(missed=0.1, merged=0.1, split=0.1, round=0.5, noise=0.15),
    "bad": StarKind(missed=0.3, merged=0.3, split=0.2, round=0.8, noise=0.3),
    "blind": StarKind(level=0.05),
}
MASKS = {
    "eroded": MaskKind(eroded=1.5, bridges=0.05),
    "whole": MaskKind(),
    "rough": MaskKind(eroded=1.5, missed=0.2, bridges=0.3, noise=0.4, specks=6),
    "blind": MaskKind(missed=1.0),
}


@dataclass(frozen=True)
class SimulatedSegmenter(VollSegSegmenter):
    """The suite's segmenter on networks that are made up; a "raw" stack is the truth."""

    star_kind: StarKind = field(default_factory=StarKind)
    mask_kind: MaskKind = field(default_factory=MaskKind)
    seed: int = 0

    def network_outputs(self, frame: np.ndarray, *, mask: np.ndarray | None = None) -> Outputs:
        """Return what the networks would say of these cells."""
        rng = np.random.default_rng((self.seed, int(frame.sum())))
        return Outputs((_stars(frame, self.star_kind, rng),), _foreground(frame, self.mask_kind, rng), mask)


def segmenter(stars: StarKind, mask: MaskKind, seed: int = 0) -> SimulatedSegmenter:
    """Return a segmenter of all methods whose networks err in these ways."""
    config = Config3D(rays=_RAYS, grid=_GRID, anisotropy=_ANISOTROPY, backbone="unet", use_gpu=False)
    thresholds = SimpleNamespace(prob=0.5, nms=0.3)
    return SimulatedSegmenter(
        star_model=SimpleNamespace(name="stars", config=config, thresholds=thresholds),
        unet_model=SimpleNamespace(name="mask", config=SimpleNamespace(n_dim=3)),
        compare=True,
        voxel_size=SPACING,
        boundary_width=mask.eroded,
        candidate_floor=_FLOOR,
        star_kind=stars,
        mask_kind=mask,
        seed=seed,
    )


def cells(tissue: str, seed: int, n_cells: int = 28) -> np.ndarray:
    """Return true labels: "nuclei" lie in clumps and touch; "membranes" fill the middle of the stack."""
    shape = (12, 80, 80)
    if tissue == "nuclei":
        touching = np.random.default_rng(seed).uniform(0.9, 1.15)
        return make_stack(shape, n_cells, touching=touching, spacing=SPACING, seed=seed).truth
    truth = make_stack(shape, n_cells, kind="voronoi", spacing=SPACING, seed=seed).truth
    axes = [np.linspace(-1, 1, n) ** 2 for n in shape]
    z, y, x = np.ix_(*axes)
    return np.where(z * 0.7 + y + x < 1, truth, 0).astype(np.int32)


def _stars(truth: np.ndarray, kind: StarKind, rng: np.random.Generator) -> StarPrediction:
    labels = _relabelled(truth, kind, rng)
    coarse = tuple(slice(None, None, g) for g in _GRID)
    probability = edt_prob(labels.astype(np.uint16), anisotropy=_ANISOTROPY)[coarse]
    distances = np.asarray(star_dist3D(labels.astype(np.uint16), _RAYS, mode="cpp", grid=_GRID))
    there = probability > 0
    if there.any():
        usual = np.median(distances[there], axis=0)
        size = distances.mean(-1, keepdims=True) / max(usual.mean(), 1e-6)
        distances = (1 - kind.round) * distances + kind.round * usual * size
    distances *= np.exp(kind.noise * rng.standard_normal(distances.shape))
    level = np.where(
        rng.random(labels.max() + 1) < kind.missed, 0.3, rng.uniform(0.85, 1.0, labels.max() + 1)
    )
    blurred = ndimage.gaussian_filter(rng.standard_normal(probability.shape), (0.5, 1, 1))
    probability = probability * level[labels[coarse]] * kind.level + 0.5 * kind.noise * blurred * (
        0.2 + there
    )
    probability = np.clip(probability, 0, 1).astype(np.float32)
    where = np.nonzero(probability > _FLOOR)
    spacing_rays = np.linalg.norm(_RAYS.vertices * np.array(SPACING), axis=1)
    return StarPrediction(
        shape=truth.shape,
        probability=probability,
        distance=(distances @ spacing_rays / len(spacing_rays)).astype(np.float32),
        points=(np.stack(where, 1) * np.array(_GRID)).astype(np.int32),
        scores=probability[where],
        distances=np.maximum(distances[where], 1e-3).astype(np.float32),
        floor=_FLOOR,
        grid=_GRID,
    )


def _relabelled(truth: np.ndarray, kind: StarKind, rng: np.random.Generator) -> np.ndarray:
    """Return the cells as StarDist takes them: some neighbours are one, some cells two."""
    labels, n = truth.copy(), int(truth.max())
    for a in rng.permutation(n)[: round(kind.merged * n)] + 1:
        near = ndimage.binary_dilation(labels == a, iterations=1)
        others = np.setdiff1d(labels[near], [0, a])
        if len(others):
            labels[labels == a] = rng.choice(others)
    for a in rng.permutation(n)[: round(kind.split * n)] + 1:
        where = np.argwhere(labels == a)
        if len(where):
            beyond = (where - where.mean(0)) @ rng.standard_normal(3) > 0
            labels[tuple(where[beyond].T)] = labels.max() + 1
    return labels


def _foreground(truth: np.ndarray, kind: MaskKind, rng: np.random.Generator) -> np.ndarray:
    n = int(truth.max())
    seen = rng.random(n + 1) >= kind.missed
    seen[0] = False
    labels = np.where(seen[truth], truth, 0)
    inside = np.zeros(truth.shape, np.float32)
    for k, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            own = np.pad(labels[box] == k, 1)
            if not kind.eroded:
                own = np.pad(labels[box] > 0, 1)
            depth = ndimage.distance_transform_edt(own, SPACING)[1:-1, 1:-1, 1:-1]
            inside[box] = np.maximum(inside[box], depth * (labels[box] == k))
    logit = 2.0 * (inside - kind.eroded - 0.5)
    if kind.bridges:
        middles = ndimage.center_of_mass(labels > 0, labels, np.unique(labels[labels > 0]))
        for a in rng.permutation(len(middles))[: round(kind.bridges * len(middles))]:
            away = np.linalg.norm((np.array(middles) - middles[a]) * SPACING, axis=1)
            if len(away) > 1:
                b = np.argsort(away)[1]
                for t in np.linspace(0, 1, 40):
                    z, y, x = np.round(np.array(middles[a]) * (1 - t) + np.array(middles[b]) * t).astype(int)
                    ball = (
                        slice(max(z - 1, 0), z + 2),
                        slice(max(y - 2, 0), y + 3),
                        slice(max(x - 2, 0), x + 3),
                    )
                    logit[ball] = np.maximum(logit[ball], 1.5)
    for _ in range(kind.specks):
        z, y, x = (int(rng.integers(2, s - 2)) for s in truth.shape)
        logit[z - 1 : z + 2, y - 2 : y + 3, x - 2 : x + 3] = 2
    blurred = ndimage.gaussian_filter(rng.standard_normal(truth.shape), (0.5, 1.2, 1.2))
    logit = logit + 4 * kind.noise * blurred / max(blurred.std(), 1e-6)
    return (1 / (1 + np.exp(-logit))).astype(np.float32)

"""Makes the frames of a synthetic movie one by one: cells in their places, painted, photographed, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers.data.synthetic.lineage import grow_lineage
from helpers.data.synthetic.microscope import Microscope, illumination, smooth_noise
from helpers.data.synthetic.motion import Motion, Warp
from helpers.data.synthetic.settings import SyntheticSettings
from helpers.data.synthetic.shapes import keep_whole, paint
from helpers.data.synthetic.tissue import Tissue, boundary_distance
from helpers.errors import InputError

#: Smallest diameter of a newborn cell in voxels along any axis; below, cells are no longer cells.
_MIN_DIAMETER = 2.5

#: How much of the cytoplasm's rhythm the cell's own side of its membranes shares. Without it, the walls' change
#: of place and light would drown the rhythm, or pass for one, in the intensity of the whole label.
_MEMBRANE_RHYTHM = 0.6


@dataclass(frozen=True)
class SyntheticFrame:
    """One time point.

    Attributes
    ----------
    raw : ndarray (Z, Y, X) uint16
        The picture, in camera counts.
    clean : ndarray (Z, Y, X) float32
        Its expectation, free of noise, in the same counts.
    labels : ndarray (Z, Y, X) int32
        Cell ids; 0 outside the tissue. Touching cells touch in the middle of their membrane.
    tissue : ndarray (Z, Y, X) bool
        The tissue mask.
    objects : DataFrame
        One row per cell; see `SyntheticMovie.objects` (without `id`).
    """

    raw: np.ndarray
    clean: np.ndarray
    labels: np.ndarray
    tissue: np.ndarray
    objects: pd.DataFrame


class Generator:
    """Makes the frames of one movie in order, holding one at a time.

    Parameters
    ----------
    settings : SyntheticSettings
        What to make.

    Attributes
    ----------
    cells : DataFrame
        As in `SyntheticMovie`; known before the first frame is painted.
    lineage : dict of int to Cell
        The same as objects.

    Raises
    ------
    InputError
        When the cells do not fit into the volume or the divisions not into the movie.
    """

    def __init__(self, settings: SyntheticSettings) -> None:
        self.settings = s = settings
        size = np.array(s.voxel_size)
        extent = np.array(s.shape) * size
        # One stream of chance per subject: changing the noise does not move the cells.
        streams = [np.random.default_rng([s.seed, k]) for k in range(6)]
        self._tissue = Tissue.create(extent, size, streams[0])
        if min(a for a in self._tissue.semi_axes) <= 0:
            raise InputError("shape", s.shape, "too few voxels for a tissue with background around it")
        self.lineage = grow_lineage(s.n_cells, s.n_frames, s.division_rate, streams[1])
        last = [
            cell.relative_volume(s.n_frames - 1)
            for cell in self.lineage.values()
            if cell.alive(s.n_frames - 1)
        ]
        newborn = self._tissue.volume(streams[0]) / sum(last)
        dimension = 2 if s.is_2d else 3
        diameter = 2 * (newborn / np.pi) ** 0.5 if s.is_2d else (newborn * 6 / np.pi) ** (1 / 3)
        if diameter < _MIN_DIAMETER * size[-dimension:].max():
            raise InputError(
                "n_cells",
                s.n_cells,
                f"a newborn cell would be {diameter:.3g} µm across, less than {_MIN_DIAMETER} voxels; "
                "make fewer cells, fewer divisions, a larger shape or smaller voxels",
            )
        self._diameter = diameter
        # The warp bends cells: waves of one to two cell diameters, short of folding space onto itself.
        waves, bend = (
            (1.1 * diameter, 2.0 * diameter),
            (0.13 if s.is_2d else 0.18) * s.irregularity * diameter,
        )
        warp = Warp.create(24, waves, bend, 1.2 * s.speed, s.is_2d, streams[2])
        self._motion_arguments = (self._tissue, self.lineage, warp, newborn, s.speed, s.irregularity, s.is_2d)
        self._warp = warp
        self.cells = self._describe(streams[3])
        self._modulation = self._modulate(streams[4])
        self._salt = streams[5].integers(0, 2**63, len(self.cells), dtype=np.uint64)
        self._light = illumination(s.shape, s.illumination, streams[5])
        patches = smooth_noise(s.shape, 0.2 * diameter / size, streams[5])
        self._patches = np.clip(1 + 0.5 * s.unevenness * patches, 0.25, 2).astype(np.float32)
        mottle = smooth_noise(s.shape, 0.12 * diameter / size, streams[5])
        self._mottle = np.clip(1 + 0.2 * mottle, 0.4, 1.6).astype(np.float32)
        self._microscope = Microscope(
            s.voxel_size, s.psf, s.haze, s.photons, gain=2.0, offset=20.0, read_noise=s.read_noise
        )

    def __len__(self) -> int:
        return self.settings.n_frames

    def __iter__(self) -> Iterator[SyntheticFrame]:
        motion = Motion(*self._motion_arguments, np.random.default_rng([self.settings.seed, 6]))
        for t in range(self.settings.n_frames):
            yield self._frame(t, motion)

    # -- one frame ---------------------------------------------------------------------------------

    def _frame(self, t: int, motion: Motion) -> SyntheticFrame:
        s = self.settings
        seeds = motion.step()
        surface = self._surface(seeds.tissue_scale)
        warp, step = self._warp_grid(t)
        rows = seeds.ids - 1
        membrane_brightness = self.cells["membrane_brightness"].to_numpy()
        cytoplasm_brightness = self.cells["cytoplasm_brightness"].to_numpy()
        indices, membrane = paint(
            surface,
            warp,
            step,
            seeds.points,
            seeds.weights,
            seeds.cells,
            membrane_brightness[rows],
            self._salt[rows],
            voxel_size=s.voxel_size,
            thickness=s.membrane_width,
            pair_variation=0.6 * s.unevenness,
        )
        indices, _ = keep_whole(indices)
        labels = np.concatenate([[0], seeds.ids])[indices].astype(np.int32)
        tissue = labels > 0
        modulation = self._modulation[t, rows]
        inside = np.concatenate([[0.02], cytoplasm_brightness[rows] * modulation]).astype(np.float32)
        glow = np.concatenate([[1], 1 + _MEMBRANE_RHYTHM * (modulation - 1)]).astype(np.float32)
        structure = membrane * self._patches * glow[indices] + inside[indices] * self._mottle
        fluorescence = structure * self._light
        clean = self._microscope.expose(fluorescence)
        raw = self._microscope.record(clean, np.random.default_rng([s.seed, 7, t]))
        objects = self._measure(t, seeds.ids, indices, clean, tissue)
        objects["modulation"] = modulation
        return SyntheticFrame(raw, clean, labels, tissue, objects)

    def _surface(self, scale: float) -> np.ndarray:
        """Signed distance to the tissue's smooth surface in µm, to first order (exact near the surface)."""
        s = self.settings
        axes = [np.arange(n) * v for n, v in zip(s.shape, s.voxel_size, strict=True)]
        surface = np.empty(s.shape, np.float32)
        step = 0.25 * min(s.voxel_size[-2:])
        for z, height in enumerate(axes[0]):
            plane = np.stack(np.meshgrid([height], axes[1], axes[2], indexing="ij"), axis=-1)[0]
            level = self._tissue.level(plane, scale)
            slope = np.zeros_like(level)
            for axis in range(1 if s.is_2d else 0, 3):
                moved = plane.copy()
                moved[..., axis] += step
                slope += ((self._tissue.level(moved, scale) - level) / step) ** 2
            surface[z] = level / np.maximum(np.sqrt(slope), 1e-9)
        return surface

    def _warp_grid(self, t: int) -> tuple[np.ndarray, tuple[int, int, int]]:
        """The warp on a grid of an eighth of a cell: linear interpolation does the rest."""
        s = self.settings
        step = [max(1, int(self._diameter / 8 / v)) for v in s.voxel_size]
        axes = [
            np.arange(-(-n // k) + 2) * k * v for n, k, v in zip(s.shape, step, s.voxel_size, strict=True)
        ]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        displacement = self._warp.displacement(points.reshape(-1, 3), t).reshape(points.shape)
        return displacement.astype(np.float32), (step[0], step[1], step[2])

    def _measure(
        self, t: int, ids: np.ndarray, indices: np.ndarray, clean: np.ndarray, tissue: np.ndarray
    ) -> pd.DataFrame:
        s = self.settings
        z, y, x = np.nonzero(indices)
        owner = indices[z, y, x] - 1
        n = len(ids)
        counts = np.bincount(owner, minlength=n)
        if (counts == 0).any():
            raise InputError(
                "n_cells", s.n_cells, f"a cell vanished in frame {t}; make fewer cells, or a larger shape"
            )
        centroids = np.stack([np.bincount(owner, c, minlength=n) / counts for c in (z, y, x)], axis=1)
        total = np.bincount(owner, clean[z, y, x], minlength=n)
        size = np.array(s.voxel_size)
        position = centroids * size
        content = {"area_um2": counts * size[1:].prod()} if s.is_2d else {"volume_um3": counts * size.prod()}
        return pd.DataFrame(
            {
                "frame": t,
                "label": ids,
                "z": position[:, 0],
                "y": position[:, 1],
                "x": position[:, 2],
                **content,
                "distance_um": boundary_distance(tissue, centroids, s.voxel_size),
                "intensity_sum": total,
                "intensity_mean": total / counts,
            }
        )

    # -- tables ------------------------------------------------------------------------------------

    def _describe(self, rng: np.random.Generator) -> pd.DataFrame:
        s = self.settings
        lineage = list(self.lineage.values())
        n = len(lineage)
        # Exactly the share asked for, spread by chance.
        rhythmic = rng.permutation(np.arange(n) < round(s.rhythmic_fraction * n)) & (s.rhythm_amplitude > 0)
        periods = rng.uniform(*s.rhythm_periods, n) * s.frame_interval
        phases = rng.uniform(0, 2 * np.pi, n)
        spread = 0.35 * s.unevenness
        return pd.DataFrame(
            {
                "id": [cell.id for cell in lineage],
                "parent": [cell.parent for cell in lineage],
                "generation": [cell.generation for cell in lineage],
                "first_frame": [cell.first_frame for cell in lineage],
                "last_frame": [cell.last_frame for cell in lineage],
                "divides": [bool(cell.daughters) for cell in lineage],
                "rhythmic": rhythmic,
                "frequency_hz": np.where(rhythmic, 1 / periods, np.nan),
                "phase_rad": np.where(rhythmic, phases, np.nan),
                "amplitude": np.where(rhythmic, s.rhythm_amplitude, 0.0),
                "membrane_brightness": np.clip(np.exp(rng.normal(0, spread, n)), 0.5, 2),
                "cytoplasm_brightness": s.cytoplasm * np.clip(np.exp(rng.normal(0, spread, n)), 0.5, 2),
            }
        )

    def _modulate(self, rng: np.random.Generator) -> np.ndarray:
        """The factor on each cell's cytoplasm, (n_frames, cells)."""
        s = self.settings
        times = np.arange(s.n_frames)[:, None] * s.frame_interval
        cells = self.cells
        wave = cells["amplitude"].to_numpy() * np.sin(
            2 * np.pi * np.nan_to_num(cells["frequency_hz"].to_numpy()) * times
            + np.nan_to_num(cells["phase_rad"].to_numpy())
        )
        white = rng.normal(0, s.rhythm_amplitude / np.sqrt(2), wave.shape)
        return np.maximum(1 + np.where(cells["rhythmic"].to_numpy(), wave, white), 0.02)

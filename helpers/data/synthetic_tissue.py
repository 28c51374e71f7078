"""The living half of the synthetic movies: the tissue's outline, who divides when, and how the cells move.

Every cell is a small cluster of points in a power diagram. One point alone would give a convex cell; the union
of the regions of two or three points, seen through a smoothly warped space, is bent and interlocked with its
neighbours, as cells in a packed tissue are. All lengths here are in µm, all points (z, y, x).

Relaxing the points towards the centroid of their region is Lloyd's algorithm; steering the volumes by the
weights of the power diagram follows Aurenhammer, Hoffmann & Aronov (1998), Algorithmica 20:61-76.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from helpers.errors import InputError

#: A daughter lives at least this many frames before it may divide itself, so that it can be tracked.
MIN_LIFE = 3
#: Frames over which a daughter takes on its own irregular shape, and a mother stretches before it divides.
_RESHAPE = 4
#: Sample points per cell for the relaxation; the labels themselves are painted from all voxels.
_SAMPLES_PER_CELL = 120


# ---------------------------------------------------------------------------------------------- tissue


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
        Relative height of the lobes.
    """

    centre: np.ndarray
    semi_axes: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    lobes: float

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
        # Voxel centres lie at index × voxel size, so the middle of the field of view is at (n − 1) / 2.
        return cls((extent - voxel_size) / 2, semi_axes, waves, rng.uniform(0, 2 * np.pi, 4), 0.06)

    def level(self, points: np.ndarray, scale: float = 1.0) -> np.ndarray:
        """Positive inside, 0 on the surface of the tissue grown to `scale`, negative outside (no unit)."""
        q = (points - self.centre) / self.semi_axes
        radius = (np.abs(q) ** 2.7).sum(axis=-1) ** (1 / 2.7)
        direction = q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-6)
        lobes = np.zeros(q.shape[:-1])
        for wave, phase in zip(self.waves, self.phases, strict=True):
            lobes += np.cos(direction @ wave + phase)
        # Between 1 − 2·lobes and 1: the lobes dent the body, they never push it out of the image.
        return scale * (1 - self.lobes + self.lobes * lobes / len(self.phases)) - radius

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


# --------------------------------------------------------------------------------------------- lineage


@dataclass
class Cell:
    """One cell from its birth to its division or the end of the movie.

    Attributes
    ----------
    id, parent : int
        `parent` is 0 for the founders.
    first_frame, last_frame : int
        Both are part of the cell's life; daughters are born in the frame after the mother's last.
    daughters : tuple of int
        Empty, or the two daughters' ids.
    phase_first, phase_last : float
        Place in the cell cycle (0 born, 1 dividing) in the first frame and one frame after the last; the
        cell's share of the tissue's volume grows as 2 ** phase.
    """

    id: int
    parent: int
    first_frame: int
    last_frame: int
    phase_first: float
    phase_last: float
    generation: int = 0
    daughters: tuple[int, ...] = ()

    def alive(self, frame: int) -> bool:
        """Whether the cell exists in `frame`."""
        return self.first_frame <= frame <= self.last_frame

    def relative_volume(self, frame: int) -> float:
        """The volume the cell strives for, in units of that of a newborn cell."""
        life = self.last_frame + 1 - self.first_frame
        progress = (frame - self.first_frame) / life
        return float(2 ** (self.phase_first + progress * (self.phase_last - self.phase_first)))


def grow_lineage(
    n_cells: int, n_frames: int, division_rate: float, rng: np.random.Generator
) -> dict[int, Cell]:
    """Decide who divides when.

    Parameters
    ----------
    n_cells : int
        Founders.
    n_frames : int
        Length of the movie.
    division_rate : float
        Divisions per founder and frame; round(rate × n_cells × (n_frames − 1)) divisions happen in all.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    dict of int to Cell
        All cells by id, founders 1…n_cells first.

    Raises
    ------
    InputError
        When so many divisions do not fit (a daughter lives at least `MIN_LIFE` frames).
    """
    n_divisions = round(division_rate * n_cells * (n_frames - 1))
    rate = max(division_rate, 1e-3) / np.log(2)
    phases = rng.permutation((np.arange(n_cells) + rng.uniform(0, 1, n_cells)) / n_cells) * 0.9
    cells = {i + 1: Cell(i + 1, 0, 0, n_frames - 1, phases[i], np.nan) for i in range(n_cells)}
    frames = np.sort(rng.integers(1, n_frames, n_divisions)) if n_divisions else np.empty(0, int)
    frame = 1
    for drawn in frames:
        frame = max(frame, int(drawn))
        while True:
            ripe = [
                cell
                for cell in cells.values()
                if not cell.daughters and (cell.parent == 0 or frame - cell.first_frame >= MIN_LIFE)
            ]
            if ripe and frame < n_frames:
                break
            frame += 1
            if frame >= n_frames:
                raise InputError(
                    "division_rate",
                    division_rate,
                    f"{n_divisions} divisions of {n_cells} cell(s) do not fit into {n_frames} frames; "
                    "lower the rate or make the movie longer",
                )
        mother = max(ripe, key=lambda cell: cell.phase_first + rate * (frame - cell.first_frame))
        first = len(cells) + 1
        mother.last_frame, mother.phase_last, mother.daughters = frame - 1, 1.0, (first, first + 1)
        for i in mother.daughters:
            cells[i] = Cell(
                i, mother.id, frame, n_frames - 1, rng.uniform(0, 0.08), np.nan, mother.generation + 1
            )
    for cell in cells.values():
        if not cell.daughters:
            life = cell.last_frame + 1 - cell.first_frame
            cell.phase_last = min(cell.phase_first + rate * life, 1.0)
    return cells


# ---------------------------------------------------------------------------------------------- motion


@dataclass(frozen=True)
class Warp:
    """A smooth, slowly changing displacement of space: a sum of random plane waves.

    Attributes
    ----------
    waves : ndarray (n, 3)
        Wave vectors in rad/µm.
    amplitudes : ndarray (n, 3)
        Displacements in µm, perpendicular to their wave so that volumes are kept.
    phases, drift : ndarray (n,)
        Phase in rad at frame 0 and its change per frame.
    """

    waves: np.ndarray
    amplitudes: np.ndarray
    phases: np.ndarray
    drift: np.ndarray

    @classmethod
    def create(
        cls,
        n: int,
        wavelength: tuple[float, float],
        rms: float,
        drift: float,
        is_2d: bool,
        rng: np.random.Generator,
    ) -> Warp:
        """`n` waves with lengths in µm within `wavelength`, displacing by `rms` µm in all."""
        directions = rng.normal(size=(n, 3))
        across = rng.normal(size=(n, 3))
        if is_2d:
            directions[:, 0] = across[:, 0] = 0
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        across -= (across * directions).sum(axis=1, keepdims=True) * directions
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        lengths = rng.uniform(*wavelength, size=(n, 1))
        return cls(
            directions * 2 * np.pi / lengths,
            across * rms * np.sqrt(2 / n),
            rng.uniform(0, 2 * np.pi, n),
            rng.normal(0, drift, n),
        )

    def displacement(self, points: np.ndarray, frame: float) -> np.ndarray:
        """Displacement in µm, (n, 3), at `points` (n, 3)."""
        return np.cos(points @ self.waves.T + self.phases + self.drift * frame) @ self.amplitudes


@dataclass
class Seeds:
    """The weighted points from which one frame's cells are painted.

    Attributes
    ----------
    points : ndarray (n, 3)
        µm, in the warped space.
    weights : ndarray (n,)
        µm²; a point wins where its squared distance less its weight is smallest.
    cells : ndarray (n,)
        Index, into the frame's list of cell ids, of the cell that owns the point.
    ids : ndarray (m,)
        Ids of the cells alive.
    tissue_scale : float
        Linear size of the tissue relative to its final one.
    """

    points: np.ndarray
    weights: np.ndarray
    cells: np.ndarray
    ids: np.ndarray
    tissue_scale: float


@dataclass
class _Body:
    """Where a cell is (µm), its weight (µm²) and the directions of its points in units of its radius."""

    centre: np.ndarray
    weight: float
    offsets: np.ndarray
    velocity: np.ndarray


@dataclass
class Motion:
    """Moves the cells frame by frame; call `step` with 0, 1, 2, … in order.

    Parameters
    ----------
    tissue, cells
        From `Tissue.create` and `grow_lineage`.
    warp : Warp
        Through which the cells are seen.
    cell_volume : float
        Volume in µm³ (µm² in 2D) of a newborn cell.
    speed : float
        Root mean square displacement per frame in mean cell diameters.
    irregularity : float
        0: one point a cell; 1: two or three points well apart.
    is_2d : bool
        Everything stays in the plane z = 0.
    rng : numpy.random.Generator
        Source of chance.
    """

    tissue: Tissue
    cells: dict[int, Cell]
    warp: Warp
    cell_volume: float
    speed: float
    irregularity: float
    is_2d: bool
    rng: np.random.Generator
    _bodies: dict[int, _Body] = field(default_factory=dict)
    _frame: int = -1

    def __post_init__(self) -> None:
        self._radius = self.radius(1.4)
        diameter = 2 * self._radius
        # Long waves: neighbours move together, as in a tissue.
        self._flow = Warp.create(
            6, (5 * diameter, 9 * diameter), 0.8 * self.speed * diameter, 0.05, self.is_2d, self.rng
        )
        last = max(cell.last_frame for cell in self.cells.values())
        self._final_volume = self._relative_volume(last)
        self._samples = self.tissue.sample(_SAMPLES_PER_CELL * len(self.cells), self.rng)

    def radius(self, relative_volume: float) -> float:
        """Radius in µm of a ball (2D: disc) of that volume, in units of a newborn cell's."""
        volume = relative_volume * self.cell_volume
        return float(np.sqrt(volume / np.pi)) if self.is_2d else float((volume * 3 / (4 * np.pi)) ** (1 / 3))

    def step(self) -> Seeds:
        """Move on to the next frame (the first call makes frame 0) and return its seeds."""
        self._frame += 1
        frame = self._frame
        if frame == 0:
            self._found()
        else:
            self._move()
            self._divide()
        ids = sorted(self._bodies)
        for _ in range(60 if frame == 0 else 4):
            self._relax(ids)
        return self._seeds(ids)

    # -- one frame ---------------------------------------------------------------------------------

    def _found(self) -> None:
        founders = [i for i, cell in self.cells.items() if cell.alive(0)]
        chosen = self.rng.choice(len(self._samples), len(founders), replace=False)
        for i, point in zip(founders, self._scaled_samples()[chosen], strict=True):
            self._bodies[i] = self._body(i, point)

    def _move(self) -> None:
        growth = self._scale(self._frame) / self._scale(self._frame - 1)
        sd = 0.6 * self.speed * 2 * self._radius / np.sqrt(2 if self.is_2d else 3)
        ids = sorted(self._bodies)
        centres = np.array([self._bodies[i].centre for i in ids])
        flow = self._flow.displacement(centres, self._frame)
        for i, drift in zip(ids, flow, strict=True):
            body = self._bodies[i]
            body.velocity = 0.7 * body.velocity + np.sqrt(1 - 0.7**2) * self._noise(sd)
            origin = self.tissue.centre
            body.centre = origin + (body.centre - origin) * growth + drift + body.velocity

    def _divide(self) -> None:
        for i in sorted(self._bodies):
            if self.cells[i].alive(self._frame):
                continue
            mother = self._bodies.pop(i)
            offsets = self._offsets(i, mother, self._frame - 1)
            for daughter, offset in zip(self.cells[i].daughters, offsets, strict=True):
                body = self._body(daughter, mother.centre + offset)
                body.weight, body.velocity = mother.weight, mother.velocity.copy()
                self._bodies[daughter] = body

    def _relax(self, ids: list[int]) -> None:
        """One damped step of Lloyd's algorithm, with the weights steered towards the volumes wanted."""
        seeds = self._seeds(ids)
        samples = self._scaled_samples()
        samples = samples + self.warp.displacement(samples, self._frame)
        lift = np.sqrt(seeds.weights.max() - seeds.weights)
        tree = cKDTree(np.column_stack([seeds.points, lift]))
        _, nearest = tree.query(np.column_stack([samples, np.zeros(len(samples))]))
        owner = seeds.cells[nearest]
        counts = np.bincount(owner, minlength=len(ids))
        sums = np.stack([np.bincount(owner, samples[:, k], minlength=len(ids)) for k in range(3)], axis=1)
        wanted = np.array([self.cells[i].relative_volume(self._frame) for i in ids])
        wanted *= len(samples) / wanted.sum()
        for k, i in enumerate(ids):
            body = self._bodies[i]
            radius = self.radius(self.cells[i].relative_volume(self._frame))
            if counts[k]:
                offsets = self._offsets(i, body, self._frame)
                body.centre = body.centre + 0.35 * (
                    sums[k] / counts[k] - body.centre - offsets.mean(axis=0) / 2
                )
            lack = np.clip((wanted[k] - counts[k]) / wanted[k], -0.5, 0.5)
            body.weight = float(np.clip(body.weight + 0.3 * lack * radius**2, -(radius**2), radius**2))

    # -- parts -------------------------------------------------------------------------------------

    def _relative_volume(self, frame: int) -> float:
        return sum(cell.relative_volume(frame) for cell in self.cells.values() if cell.alive(frame))

    def _scale(self, frame: int) -> float:
        """The tissue grows as its cells do and has its full size in the last frame."""
        return (self._relative_volume(frame) / self._final_volume) ** (1 / 2 if self.is_2d else 1 / 3)

    def _scaled_samples(self) -> np.ndarray:
        return self.tissue.centre + (self._samples - self.tissue.centre) * self._scale(self._frame)

    def _noise(self, sd: float) -> np.ndarray:
        noise = self.rng.normal(0, sd, 3)
        if self.is_2d:
            noise[0] = 0
        return noise

    def _body(self, i: int, centre: np.ndarray) -> _Body:
        """A cell's points: two on an axis, or, in cells that never divide, sometimes three in a bend."""
        axis, side = self._noise(1), self._noise(1)
        axis /= np.linalg.norm(axis)
        side -= side @ axis * axis
        side /= np.linalg.norm(side)
        reach, bend = self.rng.uniform(0.55, 0.75), self.rng.uniform(0.6, 0.9)
        if not self.cells[i].daughters and self.rng.random() < 0.6:
            offsets = np.array([reach * axis, bend * side, -reach * axis])
        else:
            offsets = np.array([reach * axis, -reach * axis])
        return _Body(centre, 0.0, offsets, np.zeros(3))

    def _offsets(self, i: int, body: _Body, frame: int) -> np.ndarray:
        """The points of the cell relative to its centre in µm."""
        cell = self.cells[i]
        radius = self.radius(cell.relative_volume(frame))
        grown = 1.0 if cell.parent == 0 else min(1.0, (1 + frame - cell.first_frame) / _RESHAPE)
        offsets = body.offsets * self.irregularity * grown
        if cell.daughters:
            near = np.clip(1 - (cell.last_frame - frame) / _RESHAPE, 0, 1)
            axis = body.offsets / np.linalg.norm(body.offsets, axis=1, keepdims=True)
            offsets = (1 - near) * offsets + near * 0.7 * axis
        return offsets * radius

    def _seeds(self, ids: list[int]) -> Seeds:
        offsets = [self._offsets(i, self._bodies[i], self._frame) for i in ids]
        counts = [len(o) for o in offsets]
        return Seeds(
            points=np.concatenate([self._bodies[i].centre + o for i, o in zip(ids, offsets, strict=True)]),
            weights=np.repeat([self._bodies[i].weight for i in ids], counts),
            cells=np.repeat(np.arange(len(ids)), counts),
            ids=np.array(ids),
            tissue_scale=self._scale(self._frame),
        )

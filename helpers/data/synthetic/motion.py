"""Where the cells of a synthetic movie are, frame by frame.

Every cell is a small cluster of points in a power diagram. One point alone would give a convex cell; the union
of the regions of two or three points, seen through a smoothly warped space, is bent and interlocked with its
neighbours, as cells in a packed tissue are. Lengths in µm, points (z, y, x).

Relaxing the points towards the centroid of their region is Lloyd's algorithm; steering the volumes by the
weights of the power diagram follows Aurenhammer, Hoffmann & Aronov (1998), Algorithmica 20:61-76.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import KDTree

from helpers.data.synthetic.lineage import Cell
from helpers.data.synthetic.tissue import Tissue

#: Frames over which a daughter takes on its own irregular shape, and a mother stretches before it divides.
_RESHAPE = 4
#: Sample points per cell for the relaxation; the labels themselves are painted from all voxels.
_SAMPLES_PER_CELL = 120


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
    """Where a cell is (µm), its weight (µm²), its points relative to the centre in units of its radius, its
    velocity (µm per frame), and how far its points may lie apart at present (1: as far as they want)."""

    centre: np.ndarray
    weight: float
    offsets: np.ndarray
    velocity: np.ndarray
    spread: float = 1.0


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
        Root mean square displacement per frame in mean cell diameters that the cells strive for; their
        neighbours hold them back a little.
    irregularity : float
        0: one point per cell; 1: two or three points well apart.
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
            self._settle(60)
        else:
            # Cells that go far go in small steps, or they would jump over one another.
            steps = max(1, int(np.ceil(self.speed / 0.1)))
            self._grow()
            self._divide()
            for _ in range(steps):
                self._move(1 / steps)
                self._settle(4)
        ids = sorted(self._bodies)
        return self._seeds(ids)

    # -- one frame ---------------------------------------------------------------------------------

    def _found(self) -> None:
        founders = [i for i, cell in self.cells.items() if cell.alive(0)]
        chosen = self.rng.choice(len(self._samples), len(founders), replace=False)
        for i, point in zip(founders, self._scaled_samples()[chosen], strict=True):
            self._bodies[i] = self._body(i, point)

    def _grow(self) -> None:
        growth = self._scale(self._frame) / self._scale(self._frame - 1)
        for body in self._bodies.values():
            body.centre = self.tissue.centre + (body.centre - self.tissue.centre) * growth

    def _settle(self, times: int) -> None:
        ids = sorted(self._bodies)
        samples = self._scaled_samples()
        samples = samples + self.warp.displacement(samples, self._frame)
        for _ in range(times):
            self._relax(ids, samples)

    def _move(self, share: float) -> None:
        sd = 0.6 * self.speed * 2 * self._radius / np.sqrt(2 if self.is_2d else 3)
        ids = sorted(self._bodies)
        centres = np.array([self._bodies[i].centre for i in ids])
        flow = self._flow.displacement(centres, self._frame)
        for i, drift in zip(ids, flow, strict=True):
            body = self._bodies[i]
            body.velocity = 0.7 * body.velocity + np.sqrt(1 - 0.7**2) * self._noise(sd)
            body.centre = body.centre + share * (drift + body.velocity)

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

    def _relax(self, ids: list[int], samples: np.ndarray) -> None:
        """One damped step of Lloyd's algorithm, with the weights steered towards the volumes wanted."""
        seeds = self._seeds(ids)
        lift = np.sqrt(seeds.weights.max() - seeds.weights)
        tree = KDTree(np.column_stack([seeds.points, lift]))
        _, nearest = tree.query(np.column_stack([samples, np.zeros(len(samples))]))
        torn = self._torn(seeds, tree)
        owner = seeds.cells[nearest]
        counts = np.bincount(owner, minlength=len(ids))
        sums = np.stack([np.bincount(owner, samples[:, k], minlength=len(ids)) for k in range(3)], axis=1)
        wanted = np.array([self.cells[i].relative_volume(self._frame) for i in ids])
        wanted *= len(samples) / wanted.sum()
        for k, i in enumerate(ids):
            body = self._bodies[i]
            radius = self.radius(self.cells[i].relative_volume(self._frame))
            if counts[k]:
                body.centre = body.centre + 0.35 * (sums[k] / counts[k] - body.centre)
            else:  # crowded out, or pushed out of the tissue: back to the nearest place inside
                nearest_place = samples[((samples - body.centre) ** 2).sum(axis=1).argmin()]
                body.centre = body.centre + 0.7 * (nearest_place - body.centre)
            lack = np.clip((wanted[k] - counts[k]) / wanted[k], -0.5, 0.5)
            body.spread = max(body.spread * 0.95, 0.3) if torn[k] else min(body.spread + 0.01, 1.0)
            body.weight = float(np.clip(body.weight + 0.3 * lack * radius**2, -(radius**2), radius**2))

    @staticmethod
    def _torn(seeds: Seeds, tree: KDTree) -> np.ndarray:
        """Which cells do not own the whole way between their points: a neighbour is about to cut them."""
        torn = np.zeros(len(seeds.ids), bool)
        along = np.flatnonzero(seeds.cells[:-1] == seeds.cells[1:])
        for share in (0.2, 0.35, 0.5, 0.65, 0.8):
            way = (1 - share) * seeds.points[along] + share * seeds.points[along + 1]
            _, nearest = tree.query(np.column_stack([way, np.zeros(len(way))]))
            cut = seeds.cells[nearest] != seeds.cells[along]
            torn[seeds.cells[along[cut]]] = True
        return torn

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
        reach, bend = self.rng.uniform(0.72, 0.89), self.rng.uniform(0.7, 1.0)
        if not self.cells[i].daughters and self.rng.random() < 0.75:
            # A bent cell: the middle point stands back, and a neighbour fills the hollow.
            hollow = bend * side / 3
            offsets = np.array([reach * axis + hollow, -2 * hollow, -reach * axis + hollow])
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
        return offsets * radius * body.spread

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

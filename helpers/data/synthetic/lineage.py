"""Who lives when in a synthetic movie: births, growth and divisions, before anybody has a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from helpers.errors import InputError

#: A daughter lives at least this many frames before it may divide itself, so that it can be tracked.
MIN_LIFE = 3


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

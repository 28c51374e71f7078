"""Membrane movies whose truth is known: labels, lineage, tissue, distance to its boundary, intensity rhythms.

    settings = SyntheticSettings(shape=(24, 128, 128), n_cells=40, n_frames=12, seed=1)
    movie = make_movie(settings)
    movie.raw, movie.labels          # (T, Z, Y, X)
    movie.cells                      # one row per cell: parent, life, rhythm
    movie.save("synthetic")          # OME-TIFF and CSV

How a frame is made: `lineage` decides who lives when, `tissue` and `motion` where,
`shapes` paints labels and membranes, `microscope` takes the picture, and `frames`
brings them together. Equal settings give equal arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.synthetic.frames import Generator, SyntheticFrame
from helpers.data.synthetic.lineage import Cell
from helpers.data.synthetic.settings import SyntheticSettings
from helpers.data.synthetic.tissue import boundary_distance
from helpers.data.tables import write_table
from helpers.errors import InputError
from helpers.progress import progress

__all__ = [
    "Generator",
    "SyntheticFrame",
    "SyntheticMovie",
    "SyntheticSettings",
    "boundary_distance",
    "make_movie",
    "make_pairs",
    "save_pairs",
]


@dataclass(frozen=True)
class SyntheticMovie:
    """A movie and all that is true of it.

    Attributes
    ----------
    raw, clean, labels, tissue : ndarray (T, Z, Y, X)
        As in `SyntheticFrame`: uint16, float32, int32, bool. A cell keeps its label for life; daughters get
        new ones.
    cells : DataFrame
        One row per cell: `id, parent` (0: none)`, generation, first_frame, last_frame, divides, rhythmic,
        frequency_hz, phase_rad, amplitude` (relative, of the cytoplasm; 0, and NaN frequency and phase,
        without a rhythm)`, membrane_brightness, cytoplasm_brightness`. A cell that divides has its daughters
        in the frame after its `last_frame`.
    objects : DataFrame
        One row per cell and frame: `id, frame, label` (= the cell's id)`, z, y, x` (µm)`, volume_um3`
        (2D: `area_um2`)`, distance_um` (of the centroid to the tissue's boundary, inside positive)`,
        intensity_sum, intensity_mean` (of `clean`)`, modulation` (the factor on the cell's cytoplasm).
    links : DataFrame
        `source, target` (object ids)`, cost` (0), divisions included.
    settings : SyntheticSettings
        How it was made.
    """

    raw: np.ndarray
    clean: np.ndarray
    labels: np.ndarray
    tissue: np.ndarray
    cells: pd.DataFrame
    objects: pd.DataFrame
    links: pd.DataFrame
    settings: SyntheticSettings

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """(z, y, x) in µm."""
        return self.settings.voxel_size

    @property
    def frame_interval(self) -> float:
        """Seconds between frames."""
        return self.settings.frame_interval

    def save(self, folder: str | Path) -> Path:
        """Write `raw, labels, tissue, clean .ome.tif` and `cells, objects, links .csv` into `folder`."""
        from helpers.data.movies import write_movie

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in {
            "raw": self.raw,
            "labels": self.labels.astype(_label_type(self.labels)),
            "tissue": self.tissue.astype(np.uint8),
            "clean": self.clean,
        }.items():
            write_movie(
                folder / f"{name}.ome.tif",
                array[:, None],
                voxel_size=self.voxel_size,
                frame_interval=self.frame_interval,
            )
        for name in ("cells", "objects", "links"):
            write_table(getattr(self, name), folder / f"{name}.csv")
        return folder


def make_movie(settings: SyntheticSettings | None = None) -> SyntheticMovie:
    """Make a movie; `Generator` makes the same frames one by one for movies that do not fit into memory.

    Raises
    ------
    InputError
        When the cells do not fit into the volume or the divisions not into the movie.
    """
    settings = settings or SyntheticSettings()
    generator = Generator(settings)
    size = (settings.n_frames, *settings.shape)
    raw, clean = np.empty(size, np.uint16), np.empty(size, np.float32)
    labels, tissue = np.empty(size, np.int32), np.empty(size, bool)
    tables = []
    for t, frame in enumerate(
        progress(generator, desc="Synthetic movie", unit="frame", total=settings.n_frames)
    ):
        raw[t], clean[t], labels[t], tissue[t] = frame.raw, frame.clean, frame.labels, frame.tissue
        tables.append(frame.objects)
    objects = pd.concat(tables, ignore_index=True)
    objects.insert(0, "id", np.arange(len(objects)))
    links = _links(objects, generator.lineage)
    return SyntheticMovie(raw, clean, labels, tissue, generator.cells, objects, links, settings)


def make_pairs(settings: SyntheticSettings | None = None, n_stacks: int = 6) -> Iterator[SyntheticFrame]:
    """Independent single stacks in the style of the movie, for training sets.

    Parameters
    ----------
    settings : SyntheticSettings
        `n_frames` and `division_rate` are not used; stack k is made with a seed of its own, which no movie
        and no other `settings.seed` below 1000 shares.
    n_stacks : int
        How many.

    Yields
    ------
    SyntheticFrame
        One stack at a time.
    """
    settings = settings or SyntheticSettings()
    if n_stacks < 1:
        raise InputError("n_stacks", n_stacks, "must be at least 1")
    for k in range(n_stacks):
        seed = 1000 * (settings.seed + 1) + k
        yield next(iter(Generator(replace(settings, n_frames=1, division_rate=0.0, seed=seed))))


def save_pairs(folder: str | Path, settings: SyntheticSettings | None = None, n_stacks: int = 6) -> Path:
    """Write `make_pairs` as `raw/stack_00.tif`, `label/stack_00.tif`, `clean/stack_00.tif`, `tissue/stack_00.tif`, …

    Returns
    -------
    Path
        `folder`.
    """
    from helpers.data.movies import write_movie

    folder = Path(folder)
    settings = settings or SyntheticSettings()
    pairs = make_pairs(settings, n_stacks)
    for k, frame in enumerate(progress(pairs, desc="Synthetic stacks", unit="stack", total=n_stacks)):
        for name, stack in {
            "raw": frame.raw,
            "label": frame.labels.astype(_label_type(frame.labels)),
            "clean": frame.clean,
            "tissue": frame.tissue.astype(np.uint8),
        }.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_movie(
                folder / name / f"stack_{k:02d}.tif",
                stack[None, None],
                voxel_size=settings.voxel_size,
                frame_interval=settings.frame_interval,
            )
    return folder


def _label_type(labels: np.ndarray) -> type[np.unsignedinteger]:
    return np.uint16 if int(labels.max()) < 2**16 else np.uint32


def _links(objects: pd.DataFrame, lineage: dict[int, Cell]) -> pd.DataFrame:
    """Links along each life and from a mother's last object to the daughters' first."""
    place = {
        (frame, label): i
        for frame, label, i in zip(objects["frame"], objects["label"], objects["id"], strict=True)
    }
    pairs = []
    for (frame, label), i in place.items():
        cell = lineage[label]
        before = label if frame > cell.first_frame else cell.parent
        if before:
            pairs.append((place[frame - 1, before], i))
    links = pd.DataFrame(pairs, columns=["source", "target"], dtype=np.int64)
    links["cost"] = 0.0
    return links

"""What is drawn in a movie: for every frame that something is drawn in, a stack and its sparse labels, as two files.

::

    <folder>/raw/<movie>_t0003_c0.tif      the frame
    <folder>/drawn/<movie>_t0003_c0.tif    -1 not annotated, 0 background, cells from 1

Notebook 03_create_dataset reads the two folders as ``raw_dir`` and ``annotation_dir``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.data.movies import Movie, write_movie
from helpers.data.sparse_labels import UNANNOTATED, translated
from helpers.errors import InputError


@dataclass(frozen=True)
class Drawing:
    """A frame and what is drawn in it.

    Attributes
    ----------
    raw : (Z, Y, X) ndarray
    labels : (Z, Y, X) int32 ndarray
        -1 not annotated, 0 background, cells from 1; is drawn in.
    voxel_size : (z, y, x) in µm
    raw_path, path : Path
        Where `save` writes the frame and the labels.
    """

    raw: np.ndarray
    labels: np.ndarray
    voxel_size: tuple[float, ...]
    raw_path: Path
    path: Path

    def save(self) -> Path:
        """Write the frame and the labels, and return the labels' file; what is half drawn may be saved, too."""
        write_stack(self.raw_path, self.raw, self.voxel_size)
        return write_stack(self.path, self.labels, self.voxel_size)

    @property
    def n_cells(self) -> int:
        """Cells that are drawn."""
        return len(np.unique(self.labels[self.labels > 0]))

    @property
    def annotated_share(self) -> float:
        """Share of the voxels that are annotated, 0 to 1."""
        return float((self.labels >= 0).mean())


@dataclass(frozen=True)
class Drawings:
    """All that is drawn in a movie.

    Attributes
    ----------
    movie : Movie
    folder : Path
        ``annotations`` in a run folder.
    """

    movie: Movie
    folder: Path

    def open(self, frame: int, channel: int = 0, *, labels: np.ndarray | None = None) -> Drawing:
        """Open a frame, with what was drawn in it before, or with `labels` in place of that.

        Raises
        ------
        InputError
            No such frame or channel, no voxel size, or labels of another shape.
        """
        there = (("frame", frame, self.movie.n_frames), ("channel", channel, self.movie.n_channels))
        for name, wanted, count in there:
            if not 0 <= wanted < count:
                raise InputError(name, wanted, f"less than {count}, counted from 0")
        raw = self.movie.frame(frame, channel)
        if labels is None:
            labels = self.labels(frame, channel)
        if labels is None:
            labels = np.full(raw.shape, UNANNOTATED, np.int32)
        if labels.shape != raw.shape:
            raise InputError("annotation", labels.shape, f"the shape of the frame, {raw.shape}")
        labels = np.array(labels, np.int32)
        size = self.movie.require_voxel_size()
        paths = (self.path(kind, frame, channel) for kind in ("raw", "drawn"))
        return Drawing(raw, labels, size, *paths)

    def labels(self, frame: int, channel: int = 0) -> np.ndarray | None:
        """Return what is drawn in a frame, (Z, Y, X) int32; None where nothing is."""
        path = self.path("drawn", frame, channel)
        return (
            np.asarray(translated(Movie.open(path).frame(0), str(path)), np.int32) if path.is_file() else None
        )

    def save(self, frame: int, channel: int, labels: np.ndarray, *, raw: bool = True) -> None:
        """Write what is drawn in a frame, (Z, Y, X), and the frame (`raw`); with nothing annotated, which teaches nothing, both go."""
        if (labels >= 0).any():
            size = self.movie.require_voxel_size()
            if raw:
                write_stack(self.path("raw", frame, channel), self.movie.frame(frame, channel), size)
            write_stack(self.path("drawn", frame, channel), labels, size)
            return
        for kind in ("drawn", "raw"):
            self.path(kind, frame, channel).unlink(missing_ok=True)

    def path(self, kind: str, frame: int, channel: int = 0) -> Path:
        """Return the file of a frame in the folder ``raw``, ``drawn`` or another."""
        return self.folder / kind / f"{self.movie.name}_t{frame:04d}_c{channel}.tif"


def write_stack(path: Path, stack: np.ndarray, voxel_size: tuple[float, ...]) -> Path:
    """Write a stack (Z, Y, X) as a file of drawings, and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_movie(path, stack, voxel_size=voxel_size, axes="ZYX")
    return path


def drawn_stacks(folder: Path) -> list[tuple[np.ndarray, np.ndarray, tuple[float, ...]]]:
    """Return raw stack, sparse labels and voxel size of every frame in which a cell is drawn.

    Raises
    ------
    InputError
        If there is none.
    """
    found = []
    for path in sorted((folder / "drawn").glob("*.tif")):
        labels, raw = Movie.open(path), Movie.open(folder / "raw" / path.name)
        drawn = translated(labels.frame(0), str(path))
        if (drawn > 0).any():
            found.append((raw.frame(0), drawn, raw.require_voxel_size()))
    if not found:
        raise InputError("annotations", str(folder), "some cells and some background drawn first")
    return found

"""A movie becomes labels and a table of cells: frame by frame, in bounded memory, resumable.

While the networks work on one frame, the next is read and the last is measured and written:

    reader    frame 3
    networks  frame 2
    writer    frame 1   labels first, then its row of objects: only then the frame counts as finished
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.progress import progress
from helpers.runs.parameters import Segment
from helpers.runs.run import identity, write_json
from helpers.segmentation.segmenter import Segmentation, Segmenter
from helpers.tracking.objects import measure


@dataclass(frozen=True)
class SegmentedMovie:
    """What notebook 05 leaves behind for one movie.

    Attributes
    ----------
    folder : Path
        ``<run>/movies/<movie>``.
    labels : LabelMovie
        The chosen method's labels.
    objects : DataFrame
        One row a cell and frame, in µm.
    seconds : DataFrame
        One row a frame: seconds in each part of the work.
    wall_s : float
        Seconds of this call, all frames together.
    """

    folder: Path
    labels: LabelMovie
    objects: pd.DataFrame
    seconds: pd.DataFrame
    wall_s: float

    def summary(self) -> dict[str, Any]:
        """Return the counts and times that ``done.json`` keeps."""
        per_frame = self.objects.groupby("frame").size().reindex(range(self.labels.n_frames), fill_value=0)
        return {
            "frames": self.labels.n_frames,
            "cells": len(self.objects),
            "cells_per_frame": float(per_frame.mean()),
            "seconds": self.seconds.drop(columns="frame").sum().round(3).to_dict(),
        }


def segment_movie(movie: Movie, segmenter: Segmenter, p: Segment) -> SegmentedMovie:
    """Segment every frame that is not finished yet, then join the tables of all frames.

    Parameters
    ----------
    movie : Movie
        The raw movie, with its voxel size.
    segmenter : Segmenter
        One frame in, labels of each method out.
    p : Segment
        Parameters of notebook 05.

    Returns
    -------
    SegmentedMovie
        ``labels.zarr``, ``objects.csv`` and, with `compare_methods`, ``labels_<method>.zarr`` lie in its folder.

    Raises
    ------
    InputError
        If the movie's voxel size is unknown, the tissue mask does not fit, or the folder cannot be written.
    """
    started = time.perf_counter()
    folder = p.movie_path()
    movies = _open(movie, p)
    mask = _TissueMask(p, movie)
    missing = [t for t in range(movie.n_frames) if not _is_finished(folder, movies, t)]
    bar = progress(desc="Segment", unit="frame", total=movie.n_frames, initial=movie.n_frames - len(missing))
    reading, writing = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    try:
        pending: Future[None] | None = None
        for t, frame in _read_ahead(reading, movie, missing, p.channel):
            result = segmenter(frame, mask=mask.frame(t))
            if pending is not None:
                pending.result()
                bar.update()
            pending = writing.submit(_write, folder, movies, t, frame, result, movie.require_voxel_size())
        if pending is not None:
            pending.result()
            bar.update()
    finally:
        reading.shutdown(cancel_futures=True)
        writing.shutdown()
        bar.close()
    return _finish(folder, movies[p.method], p, time.perf_counter() - started)


def _open(movie: Movie, p: Segment) -> dict[str, LabelMovie]:
    """Open the label movies; frames that other parameters, models or inputs made are removed first."""
    folder = p.movie_path()
    made_from = identity(p, without=("movie_id", "save_tiff", "n_tiles"))
    marker = folder / "segmentation.json"
    folder.mkdir(parents=True, exist_ok=True)
    if marker.is_file() and json.loads(marker.read_text())["sha256"] != made_from["sha256"]:
        for old in [*folder.glob("labels*.zarr"), folder / "frames"]:
            shutil.rmtree(old, ignore_errors=True)
    write_json(marker, made_from)
    (folder / "frames").mkdir(exist_ok=True)
    methods = ["vollseg", "stardist", "unet"] if p.compare_methods else [p.method]
    shape = (movie.n_frames, *movie.shape[2:])
    return {
        method: LabelMovie.create(
            folder / ("labels.zarr" if method == p.method else f"labels_{method}.zarr"),
            shape,
            voxel_size=movie.require_voxel_size(),
            frame_interval=movie.frame_interval,
        )
        for method in sorted(methods, key=lambda method: method != p.method)
    }


def _is_finished(folder: Path, movies: dict[str, LabelMovie], t: int) -> bool:
    return _table(folder, t).is_file() and all(t in labels.done_frames() for labels in movies.values())


def _table(folder: Path, t: int) -> Path:
    return folder / "frames" / f"{t:05d}.csv"


def _read_ahead(
    pool: ThreadPoolExecutor, movie: Movie, frames: list[int], channel: int
) -> Iterator[tuple[int, np.ndarray]]:
    coming = pool.submit(movie.frame, frames[0], channel) if frames else None
    for i, t in enumerate(frames):
        assert coming is not None
        frame = coming.result()
        if i + 1 < len(frames):
            coming = pool.submit(movie.frame, frames[i + 1], channel)
        yield t, frame


def _write(
    folder: Path,
    movies: dict[str, LabelMovie],
    t: int,
    frame: np.ndarray,
    result: Segmentation,
    voxel_size: tuple[float, ...],
) -> None:
    started = time.perf_counter()
    for method, labels in movies.items():
        labels.write_frame(t, result.labels[method])
    main = result.labels[next(iter(movies))]
    table = measure(main, frame, voxel_size=voxel_size, frame=t)
    write_json(
        folder / "frames" / f"{t:05d}.json",
        {"frame": t, **result.seconds, "measure_and_write": time.perf_counter() - started},
    )
    part = _table(folder, t).with_suffix(".part")
    table.to_csv(part, index=False)
    part.replace(_table(folder, t))


def _finish(folder: Path, labels: LabelMovie, p: Segment, wall_s: float) -> SegmentedMovie:
    tables = [pd.read_csv(_table(folder, t)) for t in range(labels.n_frames)]
    filled = [table for table in tables if len(table)] or tables[:1]
    objects = pd.concat(filled, ignore_index=True)
    objects["id"] = np.arange(len(objects))
    part = folder / "objects.csv.part"
    objects.to_csv(part, index=False)
    part.replace(folder / "objects.csv")
    if p.save_tiff:
        labels.export_tiff(folder / "labels.ome.tif")
    seconds = [json.loads((folder / "frames" / f"{t:05d}.json").read_text()) for t in range(labels.n_frames)]
    return SegmentedMovie(folder, labels, objects, pd.DataFrame(seconds).fillna(0.0), wall_s)


class _TissueMask:
    """The tissue mask of a movie, frame by frame; a mask of one frame serves all."""

    def __init__(self, p: Segment, movie: Movie) -> None:
        self._mask = None
        if p.tissue_mask is None:
            return
        mask = Movie.open(p.tissue_mask, voxel_size=movie.voxel_size)
        if mask.shape[2:] != movie.shape[2:] or mask.n_frames not in (1, movie.n_frames):
            raise InputError(
                "tissue_mask",
                f"{p.tissue_mask} of shape {mask.shape}",
                f"must have the frames and the size of the movie, {movie.shape}, or one frame for all",
            )
        self._mask = mask

    def frame(self, t: int) -> np.ndarray | None:
        """Return the mask of frame `t` as booleans, or None."""
        if self._mask is None:
            return None
        return self._mask.frame(t if self._mask.n_frames > 1 else 0) > 0

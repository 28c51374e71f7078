"""A movie becomes labels and a table of cells: frame by frame, in bounded memory, resumable.

While the networks work on one frame, the next is read and the last is measured and written:

    reader    frame 3
    networks  frame 2
    writer    frame 1   labels first, then its row of objects: only then the frame counts as finished

A frame that is larger than memory is read, segmented, measured and written in blocks, one frame after the other; what
its blocks leave meanwhile lies in ``frames/<frame>.blocks`` (`helpers.segmentation.blocks`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from helpers.data.label_export import export_tiff, export_v05
from helpers.data.label_movies import LabelMovie
from helpers.data.lazy import LazyStack
from helpers.data.movies import Movie
from helpers.data.tables import write_table
from helpers.progress import progress
from helpers.runs import finished_frames
from helpers.runs.given_labels import GivenLabels
from helpers.runs.label_outputs import (
    TissueMask,
    channels_of,
    frames_folder,
    measured_channel,
    method_of,
    named,
    open_labels,
)
from helpers.runs.parameters import Segment, SegmentsMovie
from helpers.runs.parameters.segmentation import V05
from helpers.segmentation.blocks import fits_memory, segment_by_blocks
from helpers.segmentation.segmenter import Segmentation, Segmenter
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter
from helpers.tracking.objects import measure

#: Voxels of a frame, along z, y and x, that are looked at.
_SHOWN = (256, 1024, 1024)


@dataclass(frozen=True)
class SegmentedMovie:
    """What notebook 06_segment, 07_segment_cellpose or 08_segment_remote leaves behind for one movie.

    Attributes
    ----------
    folder : Path
        ``<run>/movies/<movie>``.
    labels : LabelMovie
        The chosen method's labels.
    objects : DataFrame
        One row per cell and frame, in µm.
    seconds : DataFrame
        One row per frame: seconds in each part of the work.
    wall_s : float
        Seconds of this call, all frames together.
    """

    folder: Path
    labels: LabelMovie
    objects: pd.DataFrame
    seconds: pd.DataFrame
    wall_s: float

    def shown(self, movie: Movie, t: int, channel: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return raw and labels of one frame to look at, both (Z, Y, X): of a very large one its middle."""
        where = tuple(
            slice(max(0, n - most) // 2, max(0, n - most) // 2 + min(n, most))
            for n, most in zip(movie.shape[2:], _SHOWN, strict=True)
        )
        return movie.lazy_frame(t, channel)[where], self.labels.frame(t, where)

    def summary(self, remarks: Sequence[str] = ()) -> dict[str, Any]:
        """Return the counts and times that ``done.json`` keeps; `remarks` and its own become its ``warnings``."""
        per_frame = self.objects.groupby("frame").size().reindex(range(self.labels.n_frames), fill_value=0)
        return {
            "frames": self.labels.n_frames,
            "cells": len(self.objects),
            "cells_per_frame": float(per_frame.mean()),
            "seconds": self.seconds.drop(columns="frame").sum().round(3).to_dict(),
            "warnings": [*remarks, *self._remarks(per_frame)],
        }

    def _remarks(self, per_frame: pd.Series) -> list[str]:
        empty = int((per_frame == 0).sum())
        if not empty:
            return []
        where = "any frame" if empty == len(per_frame) else f"{empty} of {len(per_frame)} frames"
        return [f"no cell was found in {where}: look at the channel, the scale and the thresholds"]


def segment_movie(movie: Movie, open_segmenter: Callable[[], Segmenter], p: SegmentsMovie) -> SegmentedMovie:
    """Segment every frame that is not finished yet, then join the tables of all frames.

    Parameters
    ----------
    movie : Movie
        The raw movie, with its voxel size.
    open_segmenter : callable
        Returns the segmenter (one frame in, labels of each method out); called only if a frame is missing and there
        are no labels from elsewhere.
    p : Segment, SegmentCellpose or SegmentRemote
        Parameters of notebook 06_segment, 07_segment_cellpose or 08_segment_remote.

    Returns
    -------
    SegmentedMovie
        ``labels.zarr``, ``objects.csv`` and, with `compare_methods`, ``labels_<method>.zarr`` lie in its folder;
        with `beside_segment` ``labels_<method>.zarr`` and ``objects_<method>.csv``.

    Raises
    ------
    InputError
        If the movie's voxel size is unknown, the tissue mask does not fit, the folder cannot be written, or it holds
        what the other notebook made.
    """
    started = time.perf_counter()
    movies = segment_frames(movie, open_segmenter, p, range(movie.n_frames))
    return _finish(p.movie_path(), movies[method_of(p)], p, time.perf_counter() - started)


def segment_frames(
    movie: Movie, open_segmenter: Callable[[], Segmenter], p: SegmentsMovie, frames: range
) -> dict[str, LabelMovie]:
    """Segment those of some frames that are not finished yet; other processes may work on others meanwhile.

    Parameters
    ----------
    movie : Movie
        The raw movie, with its voxel size.
    open_segmenter : callable
        Returns the segmenter; called only if a frame is missing and there are no labels from elsewhere.
    p : Segment, SegmentCellpose or SegmentRemote
        Parameters of notebook 06_segment, 07_segment_cellpose or 08_segment_remote.
    frames : range
        The frames that are this process's.

    Returns
    -------
    dict
        Method → its label movie, the chosen method first.

    Raises
    ------
    InputError
        As `segment_movie`.
    """
    given = GivenLabels(p, movie) if isinstance(p, Segment) and p.labels else None
    p.movie_path().mkdir(parents=True, exist_ok=True)
    with FileLock(named(p, "segmentation.lock")):  # of those that begin at once, one makes room
        movies = open_labels(movie, p)
    mask = TissueMask(p, movie)
    folder = frames_folder(p)
    states = finished_frames.states(folder, frames, movies)
    for t in (t for t in frames if states[t] == "changed"):
        print(f"frame {t}: its labels were changed since they were written; they stay, and are measured anew")
        intensity = movie.lazy_frame(t, p.channel) if p.movie else None
        _measure_anew(folder, movies, t, intensity, movie.require_voxel_size())
    missing = [t for t in frames if states[t] == "missing"]
    for t in set(frames).difference(missing):
        for labels in movies.values():
            labels.mend_levels(t)
        shutil.rmtree(_blocks(folder, t), ignore_errors=True)
    if not missing:
        return movies
    segmenter = None if given else open_segmenter()
    bar = progress(desc="Segment", unit="frame", total=len(frames), initial=len(frames) - len(missing))
    if isinstance(segmenter, VollSegSegmenter) and not segmenter.slice_wise and _by_blocks(movie, folder):
        for t in missing:
            _segment_large(folder, movies, t, movie, segmenter, mask, p)
            bar.update()
        bar.close()
        return movies

    def segmented(t: int, frame: np.ndarray) -> Segmentation:
        if t in movie.empty_frames:
            return _nothing(movie, movies)
        if given:
            return given.segmentation(t, mask.frame(t))
        assert segmenter is not None
        return segmenter(frame, mask=mask.frame(t))

    reading, writing = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    try:
        pending: Future[None] | None = None
        read = _read_ahead(reading, movie, missing, p)
        for t, frame, result in _in_flight(read, segmented, getattr(segmenter, "frames_in_flight", 1)):
            if pending is not None:
                pending.result()
                bar.update()
            intensity = None if p.movie is None else frame if frame.ndim == 3 else frame[measured_channel(p)]
            pending = writing.submit(_write, folder, movies, t, intensity, result, movie.require_voxel_size())
        if pending is not None:
            pending.result()
            bar.update()
    finally:
        getattr(segmenter, "close", lambda: None)()
        reading.shutdown(cancel_futures=True)
        writing.shutdown()
        bar.close()
    return movies


def _in_flight(
    frames: Iterator[tuple[int, np.ndarray]],
    segmented: Callable[[int, np.ndarray], Segmentation],
    at_once: int,
) -> Iterator[tuple[int, np.ndarray, Segmentation]]:
    """Segment frames, several at once where they are at a server: as they come back.

    Where one fails, those on their way are still waited for, and kept.
    """
    if at_once == 1:
        for t, frame in frames:
            yield t, frame, segmented(t, frame)
        return
    pool = ThreadPoolExecutor(at_once)
    flying: dict[Future[Segmentation], tuple[int, np.ndarray]] = {}
    failed: BaseException | None = None
    try:
        while True:
            while failed is None and len(flying) < at_once and (one := next(frames, None)) is not None:
                flying[pool.submit(segmented, *one)] = one
            if not flying:
                break
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                t, frame = flying.pop(future)
                if error := future.exception():
                    failed = failed or error
                else:
                    yield t, frame, future.result()
        if failed is not None:
            raise failed
    finally:  # interrupted, nobody waits: the segmenter is closed next
        pool.shutdown(wait=False, cancel_futures=True)


def _by_blocks(movie: Movie, frames: Path) -> bool:
    """Say whether frames are segmented in blocks: they do not fit the memory, or one has been begun so."""
    return not fits_memory(movie.shape[2:]) or any(frames.glob("*.blocks"))


def _blocks(frames: Path, t: int) -> Path:
    return frames / f"{t:05d}.blocks"


def _segment_large(
    frames: Path,
    movies: dict[str, LabelMovie],
    t: int,
    movie: Movie,
    segmenter: VollSegSegmenter,
    mask: TissueMask,
    p: SegmentsMovie,
) -> None:
    frame, blocks = movie.lazy_frame(t, p.channel), _blocks(frames, t)
    if t in movie.empty_frames:
        result = _nothing(movie, movies)
    else:
        result = segment_by_blocks(segmenter, frame, blocks, mask=mask.lazy(t))
    _write(frames, movies, t, frame, result, movie.require_voxel_size())
    shutil.rmtree(blocks, ignore_errors=True)


def _nothing(movie: Movie, methods: Iterable[str]) -> Segmentation:
    # One voxel of memory, whatever the shape.
    background = np.broadcast_to(np.zeros((), np.int32), movie.shape[2:])
    return Segmentation(dict.fromkeys(methods, background), seconds={})


def read_frame(movie: Movie, t: int, p: SegmentsMovie) -> np.ndarray:
    """Return what the segmenter is given of frame `t`: (Z, Y, X), or (C, Z, Y, X) with further channels."""
    chosen = range(movie.n_channels) if getattr(p, "all_channels", False) else channels_of(p)
    stacks = [movie.frame(t, channel) for channel in chosen]
    return stacks[0] if len(stacks) == 1 else np.stack(stacks)


def _read_ahead(
    pool: ThreadPoolExecutor, movie: Movie, missing: list[int], p: SegmentsMovie
) -> Iterator[tuple[int, np.ndarray]]:
    coming = pool.submit(read_frame, movie, missing[0], p) if missing else None
    for i, t in enumerate(missing):
        assert coming is not None
        frame = coming.result()
        if i + 1 < len(missing):
            coming = pool.submit(read_frame, movie, missing[i + 1], p)
        yield t, frame


def _write(
    frames: Path,
    movies: dict[str, LabelMovie],
    t: int,
    frame: np.ndarray | LazyStack | None,
    result: Segmentation,
    voxel_size: tuple[float, ...],
) -> None:
    started = time.perf_counter()
    for method, labels in movies.items():
        labels.write_frame(t, result.labels[method])
    main = result.labels[next(iter(movies))]
    table = measure(main, frame, voxel_size=voxel_size, frame=t)
    if result.cells is not None:
        table = table.merge(result.cells, on="label", how="left")
    seconds = {**result.seconds, "measure_and_write": time.perf_counter() - started}
    finished_frames.finish(frames, t, movies, result.labels, table, seconds)


def _measure_anew(
    frames: Path,
    movies: dict[str, LabelMovie],
    t: int,
    frame: LazyStack | None,
    voxel_size: tuple[float, ...],
) -> None:
    """Measure labels that were changed by hand; of its cells keep what only the segmenter knew."""
    labels = {method: movie.lazy_frame(t) for method, movie in movies.items()}
    measured = measure(labels[next(iter(movies))], frame, voxel_size=voxel_size, frame=t)
    table = measured.merge(finished_frames.own_columns(frames, t, measured), on="label", how="left")
    finished_frames.finish(frames, t, movies, labels, table, finished_frames.seconds_of(frames, t))


def _finish(folder: Path, labels: LabelMovie, p: SegmentsMovie, wall_s: float) -> SegmentedMovie:
    frames = frames_folder(p)
    objects, seconds = finished_frames.read_tables(frames, labels.n_frames)
    objects["id"] = np.arange(len(objects))
    write_table(objects, named(p, "objects.csv"))
    if p.save_tiff:
        export_tiff(labels, named(p, "labels.ome.tif"))
    if getattr(p, "save_ome_zarr_05", False):
        export_v05(labels, folder / V05 / named(p, "labels.ome.zarr").name)
    return SegmentedMovie(folder, labels, objects, seconds, wall_s)

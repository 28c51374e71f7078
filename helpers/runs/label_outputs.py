"""What a notebook that segments writes for a movie, and where; what other parameters, models or inputs made is removed first.

The tissue mask that it reads is here, too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.label_movies import LabelMovie
from helpers.data.lazy import LazyStack
from helpers.data.movies import Movie
from helpers.errors import InputError, read_json
from helpers.runs.given_labels import IMPORTED
from helpers.runs.parameters import Segment, SegmentsMovie
from helpers.runs.run import identity, write_json
from helpers.segmentation.vollseg_segmenter import METHODS


def method_of(p: SegmentsMovie) -> str:
    """Return which method makes the labels that go on; they may be given."""
    return IMPORTED if getattr(p, "labels", None) else p.method


def channels_of(p: SegmentsMovie) -> tuple[int, ...]:
    """Return the channels that the segmenter is given."""
    second = getattr(p, "second_channel", None)
    return (p.channel,) if second is None else (p.channel, second)


def measured_channel(p: SegmentsMovie) -> int:
    """Return which of the channels that the segmenter is given is measured."""
    return p.channel if getattr(p, "all_channels", False) else 0


def named(p: SegmentsMovie, name: str) -> Path:
    """Return a file of the movie's folder; notebooks 07_segment_cellpose and 08_segment_remote have their own names where they work beside 05."""
    stem, dot, ending = name.partition(".")
    return p.movie_path() / (
        f"{stem}_{p.method}{dot}{ending}" if getattr(p, "beside_segment", False) else name
    )


def frames_folder(p: SegmentsMovie) -> Path:
    """Return the folder in which finished frames are noted."""
    return named(p, "frames")


def open_labels(movie: Movie, p: SegmentsMovie) -> dict[str, LabelMovie]:
    """Open the label movies; frames that other parameters, models or inputs made are removed first."""
    folder = p.movie_path()
    made_from = {"method": method_of(p), "step": p.step, **identity(p, without=p.without_effect)}
    marker = named(p, "segmentation.json")
    compare = isinstance(p, Segment) and p.compare_methods and method_of(p) in METHODS
    compared = ["vollseg", "stardist", "unet"] if compare else []
    paths = {
        method: named(p, "labels.zarr") if method == method_of(p) else folder / f"labels_{method}.zarr"
        for method in sorted({method_of(p), *compared}, key=lambda method: method != method_of(p))
    }
    if marker.is_file():
        before = _made_before(marker)
        if before.get("step", Segment.step) != p.step:
            raise InputError(
                "movie_id",
                folder.name,
                f"{folder} holds the labels of notebook {before.get('step', Segment.step)}: give another movie_id"
                + (", or set beside_segment" if hasattr(p, "beside_segment") else ""),
            )
        if before["sha256"] != made_from["sha256"]:
            others = [] if p.step != Segment.step else [folder / f"labels_{m}.zarr" for m in METHODS]
            for old in [*paths.values(), *others, frames_folder(p)]:
                shutil.rmtree(old, ignore_errors=True)
    write_json(marker, made_from)
    frames_folder(p).mkdir(exist_ok=True)
    return {
        method: LabelMovie.create(
            path,
            (movie.n_frames, *movie.shape[2:]),
            voxel_size=movie.require_voxel_size(),
            frame_interval=movie.frame_interval,
        )
        for method, path in paths.items()
    }


def _made_before(marker: Path) -> dict[str, Any]:
    remedy = f"delete it and the labels in {marker.parent}: they are made again from the start"
    before = read_json(marker, remedy)
    if not isinstance(before.get("sha256"), str):
        raise InputError(
            str(marker),
            before,
            f"is not what notebook 06_segment, 07_segment_cellpose or 08_segment_remote writes; {remedy}",
        )
    return before


class TissueMask:
    """The tissue mask of a movie, frame by frame; a mask of one frame serves all."""

    def __init__(self, p: SegmentsMovie, movie: Movie) -> None:
        self._mask = None
        if p.tissue_mask is None:
            return
        mask = Movie.open(p.tissue_mask, voxel_size=movie.voxel_size, missing_frames="empty")
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

    def lazy(self, t: int) -> LazyStack | None:
        """Return the mask of frame `t` as booleans that are read piece by piece, or None."""
        if self._mask is None:
            return None
        return self._mask.lazy_frame(t if self._mask.n_frames > 1 else 0).mapped(lambda x: x > 0, bool)

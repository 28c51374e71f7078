"""Frames that a person found complete, as pairs of stacks that networks learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.curation.evaluation import curated_frames
from helpers.curation.files import is_curated, read_state
from helpers.data.movies import Movie, write_movie
from helpers.data.stacks import StackPair
from helpers.errors import InputError
from helpers.runs.curation import raw_movie


def curated_pairs(runs: Sequence[Path], folder: Path) -> list[StackPair]:
    """Write the frames of curated movies that are marked complete as stacks, and return them in pairs.

    Frames that are not marked complete are left out: what a person did not look at is no background.

    Parameters
    ----------
    runs : sequence of Path
        Run folders with movies that were corrected in notebook 14 or napari.
    folder : Path
        Where ``raw/<run>_<movie>_t<frame>.tif`` and ``labels/…`` are written; those of the same name are replaced.

    Raises
    ------
    InputError
        A run without a curated movie or without a complete frame, a raw movie that is no longer there or has another shape,
        or two runs of one name.
    """
    pairs: dict[str, StackPair] = {}
    for run in runs:
        found = [(movie, curated_frames(read_state(movie))) for movie in _movies(run)]
        if not any(frames for _, frames in found):
            raise InputError(
                "curated_runs", str(run), "a run with frames that are complete: confirm them in notebook 14"
            )
        for movie, frames in found:
            for pair in _pairs_of(movie, frames, f"{run.resolve().name}_{movie.name}", folder):
                if pair.name in pairs:
                    raise InputError("curated_runs", pair.name, "runs of different names")
                pairs[pair.name] = pair
    return list(pairs.values())


def _movies(run: Path) -> list[Path]:
    found = sorted(path for path in Path(run).glob("movies/*") if is_curated(path))
    if not found:
        raise InputError(
            "curated_runs", str(run), "a run folder with a movie that was corrected in notebook 14"
        )
    return found


def _pairs_of(movie: Path, frames: Sequence[int], name: str, folder: Path) -> list[StackPair]:
    if not frames:
        return []
    state = read_state(movie)
    raw = raw_movie(movie)
    if raw is None:
        raise InputError(
            "curated_runs", str(movie), "a movie whose raw images are still where notebook 05 found them"
        )
    if raw.shape[-3:] != state.shape[1:]:
        raise InputError(
            "curated_runs", f"{raw.path}: {raw.shape[-3:]}", f"the shape of its labels, {state.shape[1:]}"
        )
    return [_pair(state, raw, t, f"{name}_t{t:04d}", folder) for t in frames]


def _pair(state, raw: Movie, t: int, name: str, folder: Path) -> StackPair:
    labels = state.labels.frame(t)
    kind = np.uint16 if labels.max(initial=0) < 2**16 else np.uint32
    size = state.automatic.voxel_size
    paths = folder / "raw" / f"{name}.tif", folder / "labels" / f"{name}.tif"
    for path, stack in zip(paths, (raw.frame(t), labels.astype(kind)), strict=True):
        write_movie(path, stack, voxel_size=size, axes="ZYX")
    return StackPair(*paths, name=name)

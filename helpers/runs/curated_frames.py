"""Frames that a person curated, as pairs of stacks that networks learn from.

::

    complete frame      every voxel is annotated: cells as curated, all else background
    another one         −1 (not annotated) but for the cells that were confirmed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from helpers.curation.evaluation import curated_frames
from helpers.curation.files import is_curated, read_state
from helpers.curation.operations.pieces import pieces_of
from helpers.curation.state import State
from helpers.data.movies import Movie, write_movie
from helpers.data.sparse_labels import UNANNOTATED
from helpers.data.stacks import StackPair
from helpers.errors import InputError
from helpers.runs.curation import raw_movie


def curated_pairs(runs: Sequence[Path], folder: Path, *, cells: bool = False) -> list[StackPair]:
    """Write the frames of curated movies that are marked complete as stacks, and return them in pairs.

    Of the other frames nothing is taken, or the confirmed cells: what a person did not look at is no background.

    Parameters
    ----------
    runs : sequence of Path
        Run folders with movies that were corrected in notebook 12_curate or napari.
    folder : Path
        Where ``raw/<run>_<movie>_t<frame>.tif`` and ``labels/…`` are written; those of the same name are replaced.
    cells : bool
        Take confirmed cells of frames that are not complete, too. Those in several pieces are left out.

    Raises
    ------
    InputError
        A run without a curated movie or without a complete frame, a raw movie that is no longer there or has another shape,
        or two runs of one name.
    """
    pairs: dict[str, StackPair] = {}
    for run in runs:
        found = [(movie, state, _taught(state, cells)) for movie, state in _movies(run)]
        if not any(frames for _, _, frames in found):
            raise InputError(
                "curated_runs",
                str(run),
                "a run with frames that are complete: confirm them in notebook 12_curate"
                + (", or some of their cells" if cells else ""),
            )
        for movie, state, frames in found:
            for pair in _pairs_of(movie, state, frames, f"{run.resolve().name}_{movie.name}", folder):
                if pair.name in pairs:
                    raise InputError("curated_runs", pair.name, "runs of different names")
                pairs[pair.name] = pair
    return list(pairs.values())


def _movies(run: Path) -> list[tuple[Path, State]]:
    found = sorted(path for path in Path(run).glob("movies/*") if is_curated(path))
    if not found:
        raise InputError(
            "curated_runs", str(run), "a run folder with a movie that was corrected in notebook 12_curate"
        )
    return [(movie, read_state(movie)) for movie in found]


def _taught(state: State, cells: bool) -> dict[int, set[int] | None]:
    """Return the frames that teach something, each with the labels of its confirmed cells; None where it is complete."""
    found: dict[int, set[int] | None] = {}
    if cells:
        known = (state.graph.cell_of.get(mark[1]) for mark in state.graph.marks if mark[0] == "cell")
        for t, label in filter(None, known):
            found.setdefault(t, set()).add(label)  # type: ignore[union-attr]
    return dict(sorted((found | dict.fromkeys(curated_frames(state))).items()))


def _pairs_of(
    movie: Path, state: State, frames: Mapping[int, set[int] | None], name: str, folder: Path
) -> list[StackPair]:
    if not frames:
        return []
    raw = raw_movie(movie)
    if raw is None:
        raise InputError(
            "curated_runs",
            str(movie),
            "a movie whose raw images are still where notebook 06_segment found them",
        )
    if raw.shape[-3:] != state.shape[1:]:
        raise InputError(
            "curated_runs", f"{raw.path}: {raw.shape[-3:]}", f"the shape of its labels, {state.shape[1:]}"
        )
    found = [_pair(state, raw, t, known, f"{name}_t{t:04d}", folder) for t, known in frames.items()]
    return [pair for pair in found if pair is not None]


def _pair(
    state: State, raw: Movie, t: int, confirmed: set[int] | None, name: str, folder: Path
) -> StackPair | None:
    labels = state.labels.frame(t)
    if confirmed is not None:
        labels = _only(labels, confirmed)
        if labels.max() < 1:
            return None
    elif labels.max(initial=0) < 2**16:
        labels = labels.astype(np.uint16)
    size = state.automatic.voxel_size
    paths = folder / "raw" / f"{name}.tif", folder / "labels" / f"{name}.tif"
    for path, stack in zip(paths, (raw.frame(t), labels), strict=True):
        write_movie(path, stack, voxel_size=size, axes="ZYX")
    return StackPair(*paths, name=name)


def _only(labels: np.ndarray, confirmed: set[int]) -> np.ndarray:
    """Return labels in which all but the confirmed cells that are in one piece is not annotated."""
    whole = [
        label
        for label, box in enumerate(ndimage.find_objects(labels), start=1)
        if label in confirmed and box is not None and pieces_of(labels[box] == label)[1] == 1
    ]
    return np.where(np.isin(labels, whole), labels, UNANNOTATED).astype(np.int32)

"""Notebook 07_segment_cellpose: Cellpose's segmenter, previews of a crop to tune it on, and the surfaces of the cells."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.models import cellpose
from helpers.models.cellpose import CellposeSettings
from helpers.models.cellpose.weights import CELLPOSE_3_MODELS
from helpers.models.pretrained import licence
from helpers.progress import progress
from helpers.runs.parameters import SegmentCellpose
from helpers.runs.segment_movie import SegmentedMovie, read_frame
from helpers.runs.steps import segmentation
from helpers.segmentation.cellpose_segmenter import CellposeSegmenter
from helpers.tracking.formats.mesh_smoothing import smooth_mesh
from helpers.tracking.formats.trackmate_meshes import mesh_path, write_meshes
from helpers.tracking.formats.trackmate_shapes import meshes_from_labels


@dataclass(frozen=True)
class Preview:
    """A crop of one frame, segmented as the movie will be.

    Attributes
    ----------
    frame : int
    raw : ndarray, (Z, Y, X)
        The channel that is segmented.
    labels : ndarray of int32, (Z, Y, X)
    value : float or None
        Of the parameter whose values are compared.
    """

    frame: int
    raw: np.ndarray
    labels: np.ndarray
    value: float | None = None

    @property
    def n_cells(self) -> int:
        """Cells in the crop."""
        return int(np.count_nonzero(np.unique(self.labels)))


def open_movie(p: SegmentCellpose) -> Movie:
    """Open the movie to segment.

    Raises
    ------
    InputError
        If no movie is named, or it cannot be opened or has not those channels.
    """
    movie = segmentation.open_movie(p)
    if p.second_channel is not None and p.second_channel >= movie.n_channels:
        raise InputError(
            "second_channel",
            p.second_channel,
            f"{movie.name} has {movie.n_channels} channels, counted from 0",
        )
    return movie


def model_used(p: SegmentCellpose) -> str:
    """Return the model that is loaded: where only cellpose 4 can be had, its own takes the place of a built-in one."""
    name = p.weights()
    return "cpsam" if cellpose.cellpose_version() >= (4,) and name in CELLPOSE_3_MODELS else name


def open_segmenter(p: SegmentCellpose, voxel_size: tuple[float, ...]) -> CellposeSegmenter:
    """Load the model, with the parameters of the notebook.

    Raises
    ------
    InputError
        If the model cannot be used (see `helpers.models.cellpose.load`).
    """
    names = CellposeSettings.__dataclass_fields__
    return CellposeSegmenter.open(
        model_used(p),
        second_channel=p.second_channel is not None,
        gpu=p.use_gpu,
        settings=CellposeSettings(**{name: getattr(p, name) for name in names}),
        voxel_size=voxel_size,
        smoothing=p.smooth_labels,
        min_size_um3=p.min_size_um3,
        min_quality=p.min_quality,
        n_tiles=tuple(p.n_tiles) if p.n_tiles else None,
    )


def describe(p: SegmentCellpose, segmenter: CellposeSegmenter, movie: Movie) -> str:
    """Return, before anything is segmented, with which model, in which mode, and how much memory a frame takes."""
    model = f"Cellpose {_version()}, model {model_used(p)}"
    if model_used(p) != p.weights():
        why = ", which there is not for this Python" if sys.version_info >= (3, 13) else ""
        model += f" instead of {p.model}: that is one of Cellpose 3{why}"
    if told := licence(model_used(p)):
        model += f"\n{told}"
    shape = movie.shape[2:]
    mode = {"2d": "2D", "2d+z": "2D+Z: planes joined by overlap", "3d": "3D"}[
        segmenter.settings.mode(shape[0])
    ]
    needed, tiles = segmenter.memory_needed(shape)
    cut = "" if np.prod(tiles) == 1 else f", so it is cut into {' × '.join(map(str, tiles))} tiles (z, y, x)"
    arguments = cellpose.eval_arguments(segmenter.settings, shape[0], segmenter.voxel_size)
    given = ", ".join(f"{name} = {value:.4g}" for name, value in arguments.items() if value is not None)
    return f"{model}\n{mode}; a frame needs about {max(needed / 2**30, 0.1):.1f} GiB{cut}\nCellpose is given {given}"


def _crop(p: SegmentCellpose, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the crop of the preview.

    Raises
    ------
    InputError
        Naming the axis along which nothing is left.
    """
    crop = p.preview_crop or [[0, size] for size in shape]
    for axis, (first, last), size in zip("zyx", crop, shape, strict=True):
        if first >= min(last, size):
            raise InputError("preview_crop", crop, f"the crop is empty along {axis}: the frame has {size}")
    return tuple(slice(first, min(last, size)) for (first, last), size in zip(crop, shape, strict=True))


def previews(p: SegmentCellpose, movie: Movie, segmenter: CellposeSegmenter) -> list[Preview]:
    """Segment the crop of each preview frame; nothing else of the movie is read.

    Raises
    ------
    InputError
        If the crop is empty or the movie has no such frame.
    """
    return [_preview(p, movie, segmenter, t) for t in p.preview_frames]


def preview_values(p: SegmentCellpose, movie: Movie, segmenter: CellposeSegmenter) -> list[Preview]:
    """Segment the crop of the first preview frame with each of the values to compare."""
    found = []
    for name, values in p.preview_values.items():
        for value in progress(values, desc=f"Cellpose, {name}", unit="value"):
            one = _preview(p, movie, _with(segmenter, name, value), (p.preview_frames or [0])[0])
            found.append(replace(one, value=value))
    return found


def _with(segmenter: CellposeSegmenter, name: str, value: float) -> CellposeSegmenter:
    if name == "smooth_labels":
        return replace(segmenter, smoothing=value)
    changes: dict[str, Any] = {name: int(value) if name == "min_size_voxels" else value}
    return replace(segmenter, settings=replace(segmenter.settings, **changes))


def _preview(p: SegmentCellpose, movie: Movie, segmenter: CellposeSegmenter, t: int) -> Preview:
    frame = cellpose.check_frame(segmenter.network, read_frame(movie, t, p))
    crop = _crop(p, frame.shape[1:])
    # Scaled by the whole frame: a dark corner must look as it will in the run.
    seen = cellpose.normalized(frame)[(slice(None), *crop)]
    return Preview(t, frame[0][crop], segmenter.segment(seen, normalize=False).main.reshape(seen.shape[1:]))


def export_meshes(p: SegmentCellpose, result: SegmentedMovie) -> Path:
    """Write the surface of every cell as PLY files in a zip, named by the cells' ids; the labels stay as they are.

    Raises
    ------
    InputError
        For a 2D movie, which has no surfaces.
    """
    if result.labels.is_2d:
        raise InputError("export_meshes", True, "a 3D movie: the cells of a 2D movie have no surface")
    method = p.export_meshes if p.export_meshes in ("taubin", "laplacian") else "none"
    meshes, frames = {}, {}
    for t in progress(range(result.labels.n_frames), desc="Surfaces", unit="frame"):
        of_frame = result.objects[result.objects["frame"] == t]
        found = meshes_from_labels(result.labels.frame(t), voxel_size=result.labels.voxel_size or ())
        for label, number in zip(of_frame["label"], of_frame["id"], strict=True):
            meshes[int(number)] = smooth_mesh(found[int(label)], method, p.mesh_iterations)
            frames[int(number)] = t
    write_meshes(meshes, frames, result.folder / "objects")
    return mesh_path(result.folder / "objects")


def summary(result: SegmentedMovie, p: SegmentCellpose) -> dict[str, Any]:
    """Return what ``done.json`` keeps: the counts, the times, and the version of Cellpose."""
    return {**result.summary(), "model": model_used(p), "cellpose": _version()}


def _version() -> str:
    return ".".join(map(str, cellpose.cellpose_version()))

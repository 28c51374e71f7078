"""Labels and tracks of another program, to be scored beside the automatic result.

::

    labels    a label movie, mmv_h4tracks' .zarr, or what napari-track-edit saved or exported
    tracks    any format of notebook 10_track; a node without a label is the cell at its place
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.curation.evaluation import Result
from helpers.data.label_movies import LabelMovie
from helpers.errors import InputError
from helpers.tracking.formats import any_format, geff, geff_masks, mmv_h4tracks
from helpers.tracking.formats.geff_masks import Outline
from helpers.tracking.places import labels_at
from helpers.tracking.tracks import Tracks

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class OutlinedLabels:
    """Labels drawn from the outlines that a GEFF holds, as napari-track-edit saves them.

    Attributes
    ----------
    path : Path
        The GEFF.
    shape : tuple of int
        (T, Z, Y, X).
    nodes : dict
        Frame → {label: outline}.
    label_of : dict
        Id of a node → its label.
    """

    path: Path
    shape: Shape
    nodes: dict[int, dict[int, Outline]]
    label_of: dict[int, int]

    def frame(self, t: int) -> np.ndarray:
        """Return one frame, (Z, Y, X) int32."""
        labels = np.zeros(self.shape[1:], np.int32)
        for label, outline in self.nodes.get(t, {}).items():
            labels.reshape(-1)[outline.index(self.shape[1:])] = label
        return labels


def open_labels(path: Path, shape: Shape) -> LabelMovie | OutlinedLabels:
    """Open the labels of another program.

    Parameters
    ----------
    path : Path
        A label movie, mmv_h4tracks' ``.zarr``, or a folder of napari-track-edit.
    shape : tuple of int
        (T, Z, Y, X) of the movie: planes without names of their axes are frames where it has as many.

    Raises
    ------
    InputError
        No labels there, or of another shape.
    """
    found: LabelMovie | OutlinedLabels
    graph = any_format.inside(path)
    if mmv_h4tracks.is_mmv(path):
        found = LabelMovie.open(mmv_h4tracks.labels_path(path), axes="TYX")
    elif geff.is_geff(graph) and geff_masks.has_masks(graph):
        found = _outlined(graph, shape)
    else:
        beside = path / "segmentation" if graph != path else path
        found = LabelMovie.open(beside)
        if (found.shape[1], 1, *found.shape[2:]) == shape:
            found = LabelMovie.open(beside, axes="TYX")
    if found.shape != shape:
        raise InputError(str(path), found.shape, f"labels of the shape of the movie, {shape} (T, Z, Y, X)")
    return found


def _outlined(path: Path, shape: Shape) -> OutlinedLabels:
    tracks, outlines = geff.read(path, voxel_size=(1.0, 1.0, 1.0)), geff_masks.read(path) or {}
    frame_of = dict(zip(tracks.objects["id"].tolist(), tracks.objects["frame"].tolist(), strict=True))
    label_of = {i: k for k, i in enumerate(outlines, start=1)}
    nodes: dict[int, dict[int, Outline]] = {}
    for i, outline in outlines.items():
        if not 0 <= frame_of[i] < shape[0]:
            raise InputError(str(path), f"a cell in frame {frame_of[i]}", f"frames 0 to {shape[0] - 1}")
        outline.index(shape[1:])
        nodes.setdefault(frame_of[i], {})[label_of[i]] = outline
    return OutlinedLabels(path, shape, nodes, label_of)


def read_result(
    labels: Path, tracks: Path | None, shape: Shape, voxel_size: Sequence[float], interval: float | None
) -> Result:
    """Read what another program made of the movie.

    Parameters
    ----------
    labels, tracks : Path
        The same where both lie in one folder.
    shape : tuple of int
        (T, Z, Y, X) of the movie.
    voxel_size : sequence of float
        (z, y, x) in µm.
    interval : float, optional
        Seconds between frames.

    Returns
    -------
    Result
        Its name says how many nodes were left out since no cell is at their place.

    Raises
    ------
    InputError
        Labels of another shape, tracks that cannot be read, or fewer than half of their nodes on cells.
    """
    opened = open_labels(labels, shape)
    if tracks is None:
        return Result(labels.name, opened)
    found = any_format.read(tracks, voxel_size=voxel_size, frame_interval=interval)
    found, lost = _labelled(found, opened, any_format.inside(tracks), voxel_size)
    return Result(labels.name + (f" ({lost} nodes in no cell)" if lost else ""), opened, found)


def _labelled(
    tracks: Tracks, labels: LabelMovie | OutlinedLabels, path: Path, voxel_size: Sequence[float]
) -> tuple[Tracks, int]:
    """Return the tracks with the label of each node, and how many were left out since no cell is there."""
    objects = tracks.objects
    if isinstance(labels, OutlinedLabels) and labels.path == path:
        label: Any = objects["id"].map(labels.label_of).fillna(0).to_numpy()
    elif "label" in objects and objects["label"].notna().all():
        return tracks, 0
    else:
        places = objects[["z", "y", "x"]].to_numpy(float) / np.asarray(voxel_size)
        label = labels_at(labels.frame, objects["frame"].to_numpy(), places, labels.shape[1:])
    objects = objects.assign(label=label.astype(np.int64))
    keep = ((objects["label"] > 0) & ~objects.duplicated(["frame", "label"])).to_numpy()
    if keep.sum() < len(objects) / 2:
        raise InputError(
            str(path), f"{len(objects)} nodes", f"tracks of these labels: {keep.sum()} lie on cells"
        )
    named = Tracks(objects, tracks.links, tracks.voxel_size, tracks.frame_interval)
    return named.subset(keep), int((~keep).sum())

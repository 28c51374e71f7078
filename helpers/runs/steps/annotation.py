"""Notebook 16: a frame, what is drawn in it, and where to draw next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.movies import Movie, write_movie
from helpers.data.outlines import is_outline_file, read_outlines
from helpers.data.sparse_labels import UNANNOTATED, read_labels, translated
from helpers.errors import InputError
from helpers.models import stardist, unet
from helpers.runs.parameters import Annotate
from helpers.segmentation.segmenter import VollSegSegmenter
from helpers.segmentation.where_to_draw import where_to_draw


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
        Where `save` writes the frame and the labels: what notebook 01 reads as `raw_dir` and `annotation_dir`.
    """

    raw: np.ndarray
    labels: np.ndarray
    voxel_size: tuple[float, ...]
    raw_path: Path
    path: Path

    def save(self) -> Path:
        """Write frame and labels, and return the labels' file; what is half drawn may be saved, too."""
        for path, stack in ((self.raw_path, self.raw), (self.path, self.labels)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_movie(path, stack, voxel_size=self.voxel_size, axes="ZYX")
        return self.path


def open_drawing(p: Annotate) -> Drawing:
    """Open the frame, with what was drawn elsewhere, else with what was saved here before.

    Raises
    ------
    InputError
        No movie, no such frame or channel, or annotations that do not fit (`helpers.data.sparse_labels`).
    """
    if p.movie is None:
        raise InputError("movie", None, "name the movie, or the stack, to draw in")
    movie = Movie.open(p.movie, voxel_size=p.voxel_size_um, dataset=p.dataset_key)
    for name, wanted, there in (("frame", p.frame, movie.n_frames), ("channel", p.channel, movie.n_channels)):
        if wanted >= there:
            raise InputError(name, wanted, f"less than {there}, counted from 0")
    raw = movie.frame(p.frame, p.channel)
    name = f"{movie.name}_t{p.frame:04d}_c{p.channel}.tif"
    folder = p.path("annotations")
    path = folder / "drawn" / name
    return Drawing(raw, _labels(p, path, raw.shape), movie.require_voxel_size(), folder / "raw" / name, path)


def _labels(p: Annotate, saved: Path, shape: tuple[int, ...]) -> np.ndarray:
    if p.annotation is None:
        if not saved.is_file():
            return np.full(shape, UNANNOTATED, np.int32)
        labels = translated(Movie.open(saved).frame(0), str(saved))
    elif is_outline_file(p.annotation):
        return read_outlines(p.annotation, shape)
    else:
        stack = Movie.open(p.annotation, missing_frames="empty")
        if stack.n_channels > 1 or stack.n_frames > 1:
            raise InputError("annotation", str(p.annotation), "labels of one channel and one frame")
        labels = read_labels(
            stack.frame(0), str(p.annotation), unannotated=p.unannotated, background=p.background_label
        )
    if labels.shape != shape:
        raise InputError("annotation", labels.shape, f"the shape of the frame, {shape}")
    return np.array(labels, np.int32)


def suggest(p: Annotate, drawing: Drawing) -> tuple[np.ndarray, pd.DataFrame] | None:
    """Return the map of doubt and the places to draw next; None before StarDist and the U-Net were trained."""
    folders = [p.path("models", name) for name in ("stardist", "unet")]
    if not all((folder / "weights_best.h5").is_file() for folder in folders):
        return None
    star_model, unet_model = stardist.load(folders[0]), unet.load(folders[1])
    segmenter = VollSegSegmenter(star_model, unet_model, compare=True, voxel_size=drawing.voxel_size)
    outputs = segmenter.network_outputs(drawing.raw)
    found = {method: segmenter.labels_from_outputs(outputs, method=method) for method in ("stardist", "unet")}
    assert outputs.foreground is not None
    shape = drawing.raw.shape
    doubts, places = where_to_draw(
        found["stardist"].reshape(shape),
        found["unet"].reshape(shape),
        outputs.foreground.reshape(shape),
        voxel_size=drawing.voxel_size,
        annotated=drawing.labels,
        frame=p.frame,
        n_places=p.places,
    )
    places.to_csv(p.path("annotations", "where_to_draw.csv"), index=False)
    return doubts, places


def results(drawing: Drawing, places: pd.DataFrame | None) -> dict[str, Any]:
    """Return what ``done.json`` keeps."""
    cells = np.unique(drawing.labels[drawing.labels > 0])
    return {
        "drawn_cells": len(cells),
        "annotated_share": float((drawing.labels >= 0).mean()),
        "background_voxels": int((drawing.labels == 0).sum()),
        "places": 0 if places is None else len(places),
    }

"""Notebook 01_annotate: a frame, what is drawn in it, and where to draw next."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from helpers.data.drawings import Drawing, Drawings
from helpers.data.movies import Movie
from helpers.data.outlines import is_outline_file, read_outlines, read_prompts
from helpers.data.sparse_labels import read_labels
from helpers.data.tables import write_table
from helpers.errors import InputError
from helpers.models.segment_anything import SegmentAnything
from helpers.runs.parameters import Annotate
from helpers.segmentation.learn_from_drawings import are_trained, predict
from helpers.segmentation.prompted import Outliner


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
    return Drawings(movie, p.path("annotations")).open(p.frame, p.channel, labels=_from_elsewhere(p, movie))


def _from_elsewhere(p: Annotate, movie: Movie) -> np.ndarray | None:
    if p.annotation is None:
        return None
    if is_outline_file(p.annotation):
        return read_outlines(p.annotation, movie.shape[-3:])
    stack = Movie.open(p.annotation, missing_frames="empty")
    if stack.n_channels > 1 or stack.n_frames > 1:
        raise InputError("annotation", str(p.annotation), "labels of one channel and one frame")
    return read_labels(
        stack.frame(0), str(p.annotation), unannotated=p.unannotated, background=p.background_label
    )


def open_outliner(p: Annotate, drawing: Drawing) -> Outliner | None:
    """Open Segment Anything for the frame, and draw the cells of `prompts`; None where neither is asked for.

    Raises
    ------
    InputError
        Prompts without weights, saying which file from where; weights or prompts that cannot be read.
    """
    if p.sam_weights is None and p.prompts is None:
        return None
    outliner = Outliner(SegmentAnything.open(p.sam_weights), drawing.raw)
    if p.prompts is not None:
        prompts = read_prompts(p.prompts, drawing.raw.shape)
        without = outliner.draw(drawing.labels, prompts)
        print(f"{len(prompts) - len(without)} cells drawn from {len(prompts)} clicks and boxes")
        if without:
            print("no cell that is not drawn already at", ", ".join(without))
    return outliner


def suggest(p: Annotate, drawing: Drawing) -> tuple[np.ndarray, pd.DataFrame] | None:
    """Return the map of doubt and the places to draw next; None before StarDist and the U-Net were trained."""
    if not are_trained(p.path("models")):
        return None
    found = predict(p.path("models"), drawing, frame=p.frame, n_places=p.places)
    path = p.path("annotations", "where_to_draw.csv")
    write_table(found.places, path)
    return found.doubt, found.places


def results(drawing: Drawing, places: pd.DataFrame | None) -> dict[str, Any]:
    """Return what ``done.json`` keeps."""
    return {
        "drawn_cells": drawing.n_cells,
        "annotated_share": drawing.annotated_share,
        "background_voxels": int((drawing.labels == 0).sum()),
        "places": 0 if places is None else len(places),
    }

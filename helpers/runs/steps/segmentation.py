"""Notebooks 04 and 05: the segmenter of a run, with its models and thresholds."""

from __future__ import annotations

import json
from typing import Any

from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs.parameters import OptimizeThresholds, Segment, SegmentCellpose
from helpers.runs.parameters.base import Parameters
from helpers.segmentation import thresholds
from helpers.segmentation.segmenter import METHODS, VollSegSegmenter

#: Networks each method needs.
NETWORKS = {"vollseg": ("unet", "stardist"), "stardist": ("stardist",), "unet": ("unet",)}


def open_movie(p: Segment | SegmentCellpose) -> Movie:
    """Open the movie to segment.

    Raises
    ------
    InputError
        If no movie is named, or it cannot be opened or has not that channel.
    """
    if p.movie is None:
        raise InputError("movie", None, "name the movie to segment, such as 'data/movie.tif'")
    movie = Movie.open(
        p.movie, voxel_size=p.voxel_size_um, frame_interval=p.frame_interval_s, dataset=p.dataset_key
    )
    movie.require_intensities()
    if p.channel >= movie.n_channels:
        raise InputError(
            "channel", p.channel, f"{movie.name} has {movie.n_channels} channels, counted from 0"
        )
    return movie


def thresholds_path(p: Parameters, method: str):
    """Return the file with the thresholds of one method; VollSeg's is ``thresholds.json``."""
    return p.path("thresholds.json" if method == "vollseg" else f"thresholds_{method}.json")


def _own_thresholds(p: Segment, methods: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return each method's thresholds: those given, else what notebook 04 found for that method."""
    given = {"prob": p.prob_thresh, "nms": p.nms_thresh, "foreground": p.foreground_thresh}
    found = {}
    for method in methods:
        path = thresholds_path(p, method)
        values = thresholds.load(path).choices if path.is_file() else {}
        found[method] = values | {k: v for k, v in given.items() if v is not None}
    return found


def open_segmenter(p: Segment | OptimizeThresholds, voxel_size: tuple[float, ...]) -> VollSegSegmenter:
    """Load the models of the run that the method needs, with their thresholds.

    Raises
    ------
    InputError
        Naming the folder of a model that is missing or does not fit.
    """
    compare = isinstance(p, OptimizeThresholds) or p.compare_methods
    methods = METHODS if compare and p.method == "vollseg" else (p.method,)
    networks = {network for method in methods for network in NETWORKS[method]}
    settings: dict[str, Any] = {"method": p.method, "compare": len(methods) > 1}
    if isinstance(p, Segment):
        settings |= {
            "thresholds": _own_thresholds(p, methods),
            "min_size_um3": p.min_size_um3,
            "max_size_um3": p.max_size_um3,
            "slice_wise": p.slice_wise,
        }
    else:
        settings["candidate_floor"] = thresholds.LIMITS["prob"][0]
    tissue = isinstance(p, Segment) and p.use_tissue_model
    return VollSegSegmenter.open(
        stardist_dir=p.path("models", "stardist") if "stardist" in networks else None,
        unet_dir=p.path("models", "unet") if "unet" in networks else None,
        denoiser_dir=p.path("models", "denoiser") if p.use_denoiser else None,
        tissue_dir=p.path("models", "tissue") if tissue else None,
        voxel_size=voxel_size,
        use_probability=p.use_probability,
        n_tiles=tuple(p.n_tiles) if p.n_tiles else None,
        precision=p.precision,
        **settings,
    )


def describe(segmenter: VollSegSegmenter) -> str:
    """Return the thresholds in use as text."""
    return json.dumps(segmenter.thresholds, indent=1)

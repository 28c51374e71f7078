"""Notebooks 05_optimize_thresholds and 06_segment: the segmenter of a run, with its models and thresholds."""

from __future__ import annotations

import json
from typing import Any, overload

import numpy as np

from helpers.data.lazy import pieces
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.models import model_folder
from helpers.runs.inputs import voxel_remark
from helpers.runs.parameters import OptimizeThresholds, Segment, SegmentsMovie
from helpers.runs.parameters.base import Parameters
from helpers.segmentation import thresholds
from helpers.segmentation.resampled import ResampledSegmenter
from helpers.segmentation.segmenter import Segmenter
from helpers.segmentation.vollseg_segmenter import METHODS, VollSegSegmenter

#: How many times wider or narrower a movie's range of intensities may be than that of the training stacks.
CONTRAST = 4.0
#: Networks each method needs.
NETWORKS = {"vollseg": ("unet", "stardist"), "stardist": ("stardist",), "unet": ("unet",)}


def open_movie(p: SegmentsMovie) -> Movie:
    """Open the movie to segment.

    Raises
    ------
    InputError
        If no movie is named, or it cannot be opened or has not that channel.
    """
    labels = getattr(p, "labels", None)
    if p.movie is None and labels is None:
        raise InputError("movie", None, "name the movie to segment, such as 'data/movie.tif'")
    scale: dict[str, Any] = {
        "voxel_size": p.voxel_size_um,
        "frame_interval": p.frame_interval_s,
        "missing_frames": p.missing_frames,
    }
    if labels is not None:
        key = p.labels_key  # type: ignore[union-attr]
        as_background: dict[str, Any] = scale | {"missing_frames": "empty"}
        found = Movie.open(labels, dataset=key, **as_background)
        if p.movie is None:
            return found
        if Movie.open(p.movie, dataset=p.dataset_key, missing_frames="empty").voxel_size is None:
            scale["voxel_size"] = found.voxel_size
    movie = Movie.open(p.movie, dataset=p.dataset_key, **scale)  # type: ignore[arg-type]
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
    """Return each method's thresholds: those given, else what notebook 05_optimize_thresholds found for that method."""
    given = {"prob": p.prob_thresh, "nms": p.nms_thresh, "foreground": p.foreground_thresh}
    found = {}
    for method in methods:
        path = thresholds_path(p, method)
        values = thresholds.load(path).choices if path.is_file() else {}
        found[method] = values | {k: v for k, v in given.items() if v is not None}
    return found


def training_remarks(p: Segment, movie: Movie) -> list[str]:
    """Say where a movie is far from what the networks were trained on; nothing where it is not, or is not known."""
    if p.labels:
        return []
    found = [] if p.resample_to_training else [voxel_remark(movie.voxel_size, trained_voxels(p))]
    about = p.path("dataset", "dataset.json")
    learnt = json.loads(about.read_text()) if about.is_file() else {}
    if "intensities" in learnt:
        low, high = learnt["intensities"]
        frame = movie.lazy_frame(0, p.channel)
        parts = list(pieces(frame.shape))  # one, but of a very large frame, where those in the middle will do
        ours = np.percentile(frame[parts[len(parts) // 2]], (learnt["pmin"], learnt["pmax"]))
        span = (ours[1] - ours[0]) / (high - low)
        if not 1 / CONTRAST <= span <= CONTRAST:
            found.append(
                f"its intensities reach from {ours[0]:.4g} to {ours[1]:.4g} in the first frame, those of the training "
                f"stacks from {low:.4g} to {high:.4g}: is it the right channel, of the same exposure?"
            )
    return [remark for remark in found if remark]


def trained_voxels(p: Segment) -> tuple[float, ...] | None:
    """Return the voxels that the networks were trained on, where their folders say it."""
    for network in NETWORKS[p.method]:
        if size := model_folder.training_set_of(p.path("models", network)).get("voxel_size"):
            return tuple(size)
    return None


@overload
def open_segmenter(p: OptimizeThresholds, voxel_size: tuple[float, ...]) -> VollSegSegmenter: ...
@overload
def open_segmenter(p: Segment, voxel_size: tuple[float, ...]) -> Segmenter: ...
def open_segmenter(p: Segment | OptimizeThresholds, voxel_size: tuple[float, ...]) -> Segmenter:
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
    seen = trained_size(p, voxel_size) if isinstance(p, Segment) and p.resample_to_training else voxel_size
    segmenter = VollSegSegmenter.open(
        stardist_dir=p.path("models", "stardist") if "stardist" in networks else None,
        unet_dir=p.path("models", "unet") if "unet" in networks else None,
        denoiser_dir=p.path("models", "denoiser") if p.use_denoiser else None,
        tissue_dir=p.path("models", "tissue") if tissue else None,
        voxel_size=seen,
        use_probability=p.use_probability,
        n_tiles=tuple(p.n_tiles) if p.n_tiles else None,
        precision=p.precision,
        **settings,
    )
    return segmenter if seen == voxel_size else ResampledSegmenter(segmenter, tuple(voxel_size), seen)


def trained_size(p: Segment, voxel_size: tuple[float, ...]) -> tuple[float, ...]:
    """Return the voxel size to show the networks: the one they were trained on; of planes only y and x.

    Raises
    ------
    InputError
        If they do not say it.
    """
    trained = trained_voxels(p)
    if trained is None:
        raise InputError(
            "resample_to_training",
            True,
            f"the networks in {p.path('models')} do not say their voxel size: set it to False",
        )
    flat = len(trained) == 2 or p.slice_wise
    return (voxel_size[0], *trained[-2:]) if flat else trained


def describe(segmenter: VollSegSegmenter) -> str:
    """Return the thresholds in use as text."""
    return json.dumps(segmenter.thresholds, indent=1)

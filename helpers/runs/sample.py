"""Sample data for a notebook in which nothing is named, so that each can be run as it is.

A notebook left as it is, whose run folder is not there yet, works in ``runs/sample`` on a small synthetic movie, with
settings that take minutes without a GPU, and says so. A notebook that names data or a run folder of its own never does,
nor does one that an experiment runs.
"""

from __future__ import annotations

import importlib.metadata
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from helpers.runs.parameters.base import Parameters
from helpers.runs.parameters.kinds import options

_P = TypeVar("_P", bound=Parameters)

#: Where the sample data and what the notebooks make of them lie.
RUN = Path("runs/sample")
#: Environment variable that is set where an experiment runs a notebook.
IN_EXPERIMENT = "VOLLTRACK_EXPERIMENT"

_DATA = RUN / "data"
_RAW = _DATA / "movie" / "raw.ome.tif"
_LABELS = _DATA / "movie" / "labels.ome.tif"
_MOVIE = {"movie_id": "movie", "raw": _RAW}
_TRUTH = {"truth_tracks": _DATA / "movie"}
#: The beginning of the movie, for a network that is slow.
FIRST_FRAMES = _DATA / "first_frames.ome.tif"

#: Name of a notebook → what stands for its defaults.
SETTINGS: dict[str, dict[str, Any]] = {
    "create_dataset": {
        "raw_dir": _DATA / "train" / "raw",
        "label_dir": _DATA / "train" / "label",
        "patch_size": (16, 48, 48),
        "patches_per_image": 12,
        "network_depth": 2,
        "boundary_width_um": 1.5,
        "validation_stacks": ["stack_04"],
    },
    "train_denoiser": {
        "raw_paths": [_RAW],
        "clean_paths": [_DATA / "movie" / "clean.ome.tif"],
        "patch_size": (16, 48, 48),
        "patches_per_image": 4,
        "n_epochs": 10,
        "steps_per_epoch": 30,
        "learning_rate": 0.001,
        "network_depth": 2,
        "start_filters": 8,
        "masked_percent": 1.0,
    },
    "train_segmentation": {
        "n_epochs": 12,
        "steps_per_epoch": 40,
        "batch_size": 2,
        "learning_rate": 0.002,
        "schedule": "cosine",
        "network_depth": 2,
        "start_filters": 12,
        "rays": 32,
        "grid": [1, 4, 4],
    },
    "optimize_thresholds": {},
    "segment": {"movie_id": "movie", "movie": _RAW, "compare_methods": True, "min_size_um3": 20.0},
    "segment_cellpose": {"movie_id": "movie", "movie": _RAW, "beside_segment": True, "min_size_um3": 20.0},
    "segment_remote": {"movie_id": "movie", "movie": _RAW, "beside_segment": True},
    "evaluate_segmentation": {**_MOVIE, "truth": _LABELS},
    "track": {**_MOVIE, "tracker": "overlap", "min_iou": 0.2},
    "evaluate_tracking": {"movie_id": "movie", "truth": _LABELS, **_TRUTH},
    "analyze_boundary_distance": {
        **_MOVIE,
        **_TRUTH,
        "tissue_mask": _DATA / "movie" / "tissue.ome.tif",
        "inner_from_um": 6.0,
    },
    "analyze_intensity_spectrum": {**_MOVIE, **_TRUTH, "n_permutations": 199},
    "analyze_migration": _MOVIE,
    "compare_conditions": {"cohort": _DATA / "cohort" / "movies.csv"},
    "curate": _MOVIE,
    "annotate": {"movie": _RAW},
}


def instead_of(p: _P, namespace: Mapping[str, Any]) -> _P:
    """Return the parameters of a notebook, or those for the sample data where it names none.

    Parameters
    ----------
    p : Parameters
        As the notebook's first cell has them.
    namespace : mapping
        The notebook's ``globals()``.

    Returns
    -------
    Parameters
        With the sample data, which are made first, and what the notebooks before this one leave. What was changed in
        the cell stays.
    """
    interactive = "get_ipython" in namespace and IN_EXPERIMENT not in os.environ
    if not (interactive and p.name in SETTINGS and _names_nothing(p)):
        return p
    from helpers.runs import sample_steps

    settings = _settings(p.name)
    kept = {name: getattr(p, name) for name in settings if getattr(p, name) != _default(p, name)}
    found = type(p).checked({**p.model_dump(), **settings, **kept, "run_dir": RUN})
    print(_words(found, settings.keys() - kept.keys()))
    return found.model_copy(update=sample_steps.before(found.name) or {})


def settings_of(cls: type[_P]) -> _P:
    """Return the parameters with which a step works on the sample data."""
    return cls.checked({**_settings(cls.name), "run_dir": RUN})


def _settings(name: str) -> dict[str, Any]:
    settings = SETTINGS[name]
    if name == "segment_cellpose":
        settings = {**settings, **_for_cellpose()}
    return settings


def _for_cellpose() -> dict[str, Any]:
    """Return what differs with the Cellpose that is installed: 3 gets a network that is trained here, 4 without a GPU little to do."""
    if cellpose_can_learn():
        return {"model": None}
    try:
        from cellpose.core import use_gpu
    except ImportError:  # the notebook will say so
        return {}
    # Its network takes seconds a slice, and half an hour a frame in 3D mode.
    little = {"movie_id": "first_frames", "movie": FIRST_FRAMES, "stitch_planes": True}
    return {} if use_gpu() else little


def cellpose_can_learn() -> bool:
    """Whether the Cellpose that is installed can be trained: then no weights need be fetched."""
    try:
        return importlib.metadata.version("cellpose").startswith("3.")
    except importlib.metadata.PackageNotFoundError:
        return False


def _names_nothing(p: Parameters) -> bool:
    """Whether no data are named, and there is no run to go on with, but that of the sample data."""
    data = [name for name in type(p).model_fields if name != "run_dir" and _is_data(p, name)]
    started = p.run_dir.is_dir() and any(p.run_dir.iterdir())
    own = p.run_dir != _default(p, "run_dir") or started
    return all(getattr(p, name) == _default(p, name) for name in data) and (p.run_dir == RUN or not own)


def _is_data(p: Parameters, name: str) -> bool:
    """Whether a parameter names data: a path, several, or movies."""
    kinds = options(type(p).model_fields[name].annotation)
    inside = [one for kind in kinds for one in typing.get_args(kind)]
    return Path in (*kinds, *inside) or name in (
        "movie_id",
        "server",
        "conditions",
        "animals",
        *p.file_or_name,
    )


def _default(p: Parameters, name: str) -> Any:
    return type(p).model_fields[name].default


def _words(p: Parameters, changed: typing.AbstractSet[str]) -> str:
    lines = [
        f"SAMPLE DATA: nothing is named in the first cell, so this notebook works on a synthetic movie, in {RUN}.",
        *([advice] if (advice := _ADVICE.get(p.name, "")) else []),
    ]
    values = [f"{name} = {p.plain()[name]!r}" for name in type(p).model_fields if name in changed]
    return "\n".join(
        [*lines, *(["Set for it, in place of the defaults:"] if values else []), *(f"  {v}" for v in values)]
    )


_OF_RUN = "For your own data set run_dir to the run folder in which you ran the notebooks before this one"
_ADVICE = {
    "create_dataset": "For your own data set raw_dir and label_dir (and a run_dir).",
    "train_denoiser": "For your own data set raw_paths (and a run_dir).",
    "train_segmentation": f"{_OF_RUN}.",
    "optimize_thresholds": f"{_OF_RUN}.",
    "segment": f"{_OF_RUN}, and movie.",
    "segment_cellpose": "For your own data set movie (and a run_dir).",
    "segment_remote": "For your own data set server and movie (and a run_dir).",
    "evaluate_segmentation": f"{_OF_RUN}, and truth.",
    "track": f"{_OF_RUN}; or objects and labels.",
    "evaluate_tracking": f"{_OF_RUN}, and truth.",
    "analyze_boundary_distance": f"{_OF_RUN}; or tracks.",
    "analyze_intensity_spectrum": f"{_OF_RUN}; or tracks.",
    "analyze_migration": f"{_OF_RUN}; or tracks.",
    "compare_conditions": "For your own data set cohort, or run_dir and conditions.",
    "curate": f"{_OF_RUN}.",
    "annotate": "For your own data set movie (and a run_dir).",
}

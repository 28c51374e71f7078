"""Notebook 00_start_here: which notebooks to run for what one has, how long they take here, and whether the machine is ready."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.runs import colab
from helpers.runs.parameters import STEPS, step_of
from helpers.runs.parameters.start import StartHere
from helpers.runs.sample import RUN
from helpers.runs.sample_steps import make_data

_TRAIN = {
    "train_denoiser": "only where noise hides the cells: set raw_paths",
    "create_dataset": "set raw_dir and label_dir to your stacks and their outlines",
    "train_segmentation": "",
    "optimize_thresholds": "",
    "segment": "set movie",
}
_TRACK = {
    "track": "set max_distance_um to somewhat more than a cell moves between two frames",
    "curate": "look at the most doubtful places, and correct them",
}
_ANALYSE = {
    "analyze_boundary_distance": "",
    "analyze_intensity_spectrum": "",
    "analyze_migration": "",
    "compare_conditions": "once there are several movies: set conditions",
}
_WAYS: dict[str, dict[str, str]] = {
    "a movie only": {
        "segment_cellpose": "set movie; a model that others have trained finds the cells",
        **_TRACK,
        **_ANALYSE,
    },
    "a movie and a few outlines": {
        "annotate": "set movie, and draw a few cells and some background; or annotation to what was drawn elsewhere",
        **_TRAIN,
        "create_dataset": "set raw_dir and annotation_dir to annotations/raw and annotations/drawn of that run",
        **_TRACK,
        **_ANALYSE,
    },
    "training stacks": {
        **_TRAIN,
        "evaluate_segmentation": "where a movie has true labels: set truth",
        **_TRACK,
        **_ANALYSE,
    },
    "labels from another program": {
        "segment": "set labels to your label movie: it is measured as it is, and no network runs",
        **_TRACK,
        **_ANALYSE,
    },
    "tracks from another program": {
        name: remark or "set tracks to your TrackMate XML, GEFF, BTrackMate CSV or folder of the CTC"
        for name, remark in _ANALYSE.items()
    },
}
#: Minutes that a notebook took on the demo (12 frames of 24 × 128 × 128 voxels), with two cores of the pace below.
#: Those of Cellpose, of conditions, of curation and of drawing are of the sample data of the notebooks themselves.
MINUTES = {
    "create_dataset": 0.3,
    "train_denoiser": 2.1,
    "train_segmentation": 9.2,
    "optimize_thresholds": 1.6,
    "segment": 0.6,
    "segment_cellpose": 8.0,
    "evaluate_segmentation": 0.4,
    "track": 0.5,
    "evaluate_tracking": 0.4,
    "analyze_boundary_distance": 0.4,
    "analyze_intensity_spectrum": 0.3,
    "analyze_migration": 0.4,
    "compare_conditions": 0.2,
    "curate": 0.2,
    "annotate": 0.2,
}
#: What `pace` gave there, in seconds, and how many cores there were.
_PACE, _CORES = 0.18, 2


def way(p: StartHere) -> pd.DataFrame:
    """Return the notebooks to run, in order.

    Parameters
    ----------
    p : StartHere
        Says what there is.

    Returns
    -------
    DataFrame
        `notebook`, `what it does`, `what to set`, and `minutes`: about what the demo's movie takes on this machine, without
        a GPU. Larger movies take longer in proportion to their voxels.
    """
    slower = pace() / _PACE
    cores = min(os.cpu_count() or 1, 8) / _CORES
    rows = []
    for name, remark in _WAYS[p.i_have].items():
        cls = STEPS[str(step_of(name))]
        minutes = MINUTES[name] * slower / (cores if cls.runs_networks else 1)
        rows.append((f"{cls.step}.ipynb", cls.about(), remark, max(0.1, round(minutes, 1))))
    return pd.DataFrame(rows, columns=["notebook", "what it does", "what to set", "minutes"])


def pace() -> float:
    """Return the seconds of one processor core for a small fixed computation."""
    image = np.random.default_rng(0).random((256, 256))
    started = time.process_time()
    for _ in range(40):
        image = np.abs(np.fft.ifft2(np.fft.fft2(image)))
    return time.process_time() - started


def machine() -> str:
    """Say what is installed, which GPU is seen, how much memory is free, and what to do about what is missing."""
    from helpers.runs.check import check

    text, _ = check()
    if not colab.is_colab():
        return text
    # Each notebook installs on Colab what it needs itself.
    lines = [line for line in text.splitlines() if "TO DO" not in line and "MISSING" not in line]
    if "sees the GPU" not in text:
        lines.append(
            "TO DO: choose a GPU for notebooks 02_train_denoiser to 07_segment_cellpose: Runtime → Change runtime type → T4 GPU → Save, then run all again"
        )
    drive = "is mounted" if Path("/content/drive").is_dir() else "is not mounted"
    lines.append(
        f"Google Drive {drive}; a run_dir below /content/drive/MyDrive keeps the results, and asks for access"
    )
    return "\n".join(lines)


def sample_data(p: StartHere) -> list[Path]:
    """Make the synthetic sample data, fetch the real sample that is chosen, and return their folders.

    Raises
    ------
    InputError
        If the real sample can be had neither locally nor from the network.
    """
    from helpers.data.samples import PREPARATIONS

    folders = [make_data()] if p.make_sample else []
    if p.real_sample != "none":
        folder = RUN.with_name("samples") / p.real_sample
        try:
            folders.append(PREPARATIONS[p.real_sample](folder))
        except InputError as error:
            raise InputError(
                "real_sample", p.real_sample, f"{error}; choose 'none' without a network"
            ) from None
    return folders

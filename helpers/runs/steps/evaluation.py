"""Notebook 07: a movie's labels by method, beside their truth."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs.parameters import EvaluateSegmentation


def truth_and_labels(p: EvaluateSegmentation) -> tuple[LabelMovie, dict[str, LabelMovie]]:
    """Open the truth and the labels of each method, the chosen method first.

    Raises
    ------
    InputError
        If there is no truth, no label movie, or their shapes differ.
    """
    if p.truth is None:
        raise InputError("truth", None, "name the true labels of this movie")
    truth = LabelMovie.open(p.truth, dataset=p.truth_key)
    folder = p.movie_path()
    marker = folder / "segmentation.json"
    made = json.loads(marker.read_text()) if marker.is_file() else {}
    main = made.get("method") or made.get("parameters", {}).get("method", "vollseg")
    found = {main: folder / "labels.zarr"}
    found |= {path.stem.removeprefix("labels_"): path for path in sorted(folder.glob("labels_*.zarr"))}
    if not found[main].exists():
        raise InputError(
            "movie_id",
            p.movie_id,
            f"there are no labels in {folder}; run notebook 05 or 06 on this movie first",
        )
    order = {"vollseg": 0, "stardist": 1, "unet": 2, "cellpose": 3}
    predicted = {
        m: LabelMovie.open(found[m]) for m in sorted(found, key=lambda m: (m != main, order.get(m, 9), m))
    }
    for method, labels in predicted.items():
        if labels.shape != truth.shape:
            raise InputError(
                "truth",
                truth.shape,
                f"must have the shape of the {method} labels, {labels.shape} (T, Z, Y, X)",
            )
    return truth, predicted


class Frames:
    """A label movie's frames, read one by one."""

    def __init__(self, movie: LabelMovie) -> None:
        self._movie = movie

    def __len__(self) -> int:
        return self._movie.n_frames

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._movie.frame(t) for t in range(self._movie.n_frames))


def raw_frame(p: EvaluateSegmentation, frame: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the raw frame to show under the overlay, or black where no raw movie is named."""
    if p.raw is None:
        return np.zeros(shape, np.float32)
    return Movie.open(p.raw, dataset=p.dataset_key).frame(frame, p.channel)

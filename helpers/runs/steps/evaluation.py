"""Notebook 07: a movie's labels by method, beside their truth, and the files of their scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError, read_json
from helpers.runs.parameters import EvaluateSegmentation
from helpers.segmentation.scores import MovieScores

#: How methods stand in tables and figures; others follow.
_ORDER = {"vollseg": 0, "stardist": 1, "unet": 2, "cellpose": 3}


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
    made = (
        read_json(marker, "delete it and the labels beside it, and segment again") if marker.is_file() else {}
    )
    main = made.get("method") or made.get("parameters", {}).get("method", "vollseg")
    found = {main: folder / "labels.zarr"}
    found |= {path.stem.removeprefix("labels_"): path for path in p.label_movies() if path != found[main]}
    if not found[main].exists():
        raise InputError(
            "movie_id",
            p.movie_id,
            f"there are no labels in {folder}; run notebook 05 or 06 on this movie first",
        )
    names = sorted(found, key=lambda name: (name != main, _ORDER.get(name, len(_ORDER)), name))
    predicted = {name: LabelMovie.open(found[name]) for name in names}
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
    return Movie.open(p.raw, dataset=p.dataset_key, missing_frames="empty").frame(frame, p.channel)


def save_scores(results: list[MovieScores], folder: Path) -> None:
    """Write the scores of one movie, a pair of CSV files a method."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        result.counts.to_csv(folder / f"{result.method}.counts.csv", index=False)
        result.frames.to_csv(folder / f"{result.method}.frames.csv", index=False)


def read_scores(folder: Path) -> list[MovieScores]:
    """Read what `save_scores` wrote."""
    names = sorted(
        (path.name.removesuffix(".counts.csv") for path in folder.glob("*.counts.csv")),
        key=lambda name: (_ORDER.get(name, len(_ORDER)), name),
    )
    return [
        MovieScores(
            name, pd.read_csv(folder / f"{name}.counts.csv"), pd.read_csv(folder / f"{name}.frames.csv")
        )
        for name in names
    ]

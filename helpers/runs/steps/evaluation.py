"""Notebook 09_evaluate_segmentation: a movie's labels by method, beside their truth, and the files of their scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.tables import write_table
from helpers.errors import InputError, read_json
from helpers.progress import progress
from helpers.runs.parameters import EvaluateSegmentation
from helpers.segmentation.matching import match_table
from helpers.segmentation.scores import MovieScores
from helpers.tracking.objects import measure

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
            f"there are no labels in {folder}; run notebook 06_segment or 07_segment_cellpose on this movie first",
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


class RawFrames:
    """The channel of the raw movie that is shown under the cells."""

    def __init__(self, movie: Movie, channel: int) -> None:
        self._movie, self._channel = movie, channel

    def frame(self, t: int) -> np.ndarray:
        """Return (Z, Y, X) intensities."""
        return self._movie.frame(t, self._channel)


def raw_movie(p: EvaluateSegmentation) -> RawFrames | None:
    """Return the raw movie to show under the cells, where one is named."""
    if p.raw is None:
        return None
    return RawFrames(Movie.open(p.raw, dataset=p.dataset_key, missing_frames="empty"), p.channel)


def raw_frame(p: EvaluateSegmentation, frame: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the raw frame to show under the overlay, or black where no raw movie is named."""
    movie = raw_movie(p)
    return np.zeros(shape, np.float32) if movie is None else movie.frame(frame)


def compare_cells(truth: LabelMovie, labels: LabelMovie) -> pd.DataFrame:
    """Compare the cells of all frames one by one.

    Parameters
    ----------
    truth, labels : LabelMovie
        Of one shape; the scale is that of `labels`, or of `truth`.

    Returns
    -------
    DataFrame
        ``frame, truth, predicted, iou, outcome`` as `helpers.segmentation.matching.match_table` at IoU 0.5, and of cells that
        were found ``volume_error`` (found by true size, minus 1) and ``distance_um`` between the centroids.
    """
    size = labels.voxel_size or truth.voxel_size or (1.0, 1.0, 1.0)
    parts = []
    for t in progress(range(truth.n_frames), desc="Compare", unit="frame"):
        true, found = truth.frame(t), labels.frame(t)
        table = match_table(true, found, iou_threshold=0.5)
        table.insert(0, "frame", t)
        a, b = (measure(frame, voxel_size=size).set_index("label") for frame in (true, found))
        both = table["outcome"] == "TP"
        a, b = a.loc[table.loc[both, "truth"]], b.loc[table.loc[both, "predicted"]]
        table.loc[both, "volume_error"] = b["n_voxels"].to_numpy() / a["n_voxels"].to_numpy() - 1
        place = ["z", "y", "x"]
        table.loc[both, "distance_um"] = np.linalg.norm(b[place].to_numpy() - a[place].to_numpy(), axis=1)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def exactness(cells: pd.DataFrame) -> tuple[dict[str, float], str]:
    """Return how exactly the cells that were found are measured, as ``done.json`` keeps it and in a sentence."""
    found = cells[cells["outcome"] == "TP"]
    if found.empty:
        return {"cells_compared": 0}, "No cell was found, so nothing says how exactly cells are measured."
    low, middle, high = found["volume_error"].quantile([0.25, 0.5, 0.75])
    off = float(found["distance_um"].median())
    kept = {"cells_compared": len(found), "volume_error": float(middle), "centroid_error_um": off}
    if abs(middle) < 0.0005:
        size = "as large as"
    else:
        size = f"{100 * abs(middle):.1f} % {'larger' if middle > 0 else 'smaller'} than"
    return kept, (
        f"Cells that were found (n = {len(found)} cells × frames) are {size} the true ones (median; quartiles "
        f"{100 * low:+.1f} and {100 * high:+.1f} %), their centres {off:.2g} µm off (median). Volumes in all later "
        "notebooks carry this error."
    )


def frame_to_show(p: EvaluateSegmentation, cells: pd.DataFrame) -> int:
    """Return the frame that is asked for, else the one with the most cells missed and invented."""
    if p.show_frame is not None:
        return p.show_frame
    wrong = cells.loc[cells["outcome"] != "TP", "frame"]
    return int(wrong.mode().iloc[0]) if len(wrong) else 0


def save_scores(results: list[MovieScores], folder: Path) -> None:
    """Write the scores of one movie, a pair of CSV files a method."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        write_table(result.counts, folder / f"{result.method}.counts.csv")
        write_table(result.frames, folder / f"{result.method}.frames.csv")


def read_scores(folder: Path) -> list[MovieScores]:
    """Read what `save_scores` wrote."""
    names = sorted(
        (path.name.removesuffix(".counts.csv") for path in folder.glob("[!.]*.counts.csv")),
        key=lambda name: (_ORDER.get(name, len(_ORDER)), name),
    )
    return [
        MovieScores(
            name, pd.read_csv(folder / f"{name}.counts.csv"), pd.read_csv(folder / f"{name}.frames.csv")
        )
        for name in names
    ]

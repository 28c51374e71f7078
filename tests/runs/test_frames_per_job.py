"""The frames of a movie, split over jobs, give what one job gives; those that are finished are not done again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs import graph
from helpers.runs.parameters import Segment
from helpers.runs.plan import open_experiment
from helpers.runs.segment_movie import segment_frames, segment_movie
from tests.runs.threshold_segmenter import Threshold


@pytest.fixture
def parameters(cells: Path, tmp_path: Path) -> Segment:
    """Return notebook 06_segment's parameters, with thresholds and an empty model, for the movie of five frames."""
    (tmp_path / "models" / "unet").mkdir(parents=True)
    (tmp_path / "models" / "unet" / "weights_best.h5").touch()
    return Segment(
        run_dir=tmp_path, movie=cells / "raw.ome.tif", movie_id="m", method="unet", foreground_thresh=0.5
    )


def _made(folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    labels = LabelMovie.open(folder / "labels.zarr")
    return pd.read_csv(folder / "objects.csv"), np.stack(list(labels.frames()))


def test_parts_that_run_side_by_side_give_what_one_job_gives(parameters: Segment, tmp_path: Path) -> None:
    whole = parameters.model_copy(update={"movie_id": "whole"})
    movie = Movie.open(str(parameters.movie))
    segment_movie(movie, Threshold, whole)
    parts = [threading.Thread(target=_part, args=(parameters, frames)) for frames in (range(0, 2), range(2, 4), range(4, 5))]  # fmt: skip
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    last = Threshold()
    segment_movie(movie, lambda: last, parameters)
    assert last.sums == [], "the notebook that comes last finds every frame finished"
    (table, labels), (expected, true) = (_made(tmp_path / "movies" / name) for name in ("m", "whole"))
    pd.testing.assert_frame_equal(table, expected)
    np.testing.assert_array_equal(labels, true)


def test_the_disk_is_asked_once_which_frames_are_finished(
    parameters: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie = Movie.open(str(parameters.movie))
    segment_movie(movie, Threshold, parameters)
    real, asked = LabelMovie.done_frames, []
    monkeypatch.setattr(LabelMovie, "done_frames", lambda self: asked.append(self.path.name) or real(self))
    again = Threshold()
    segment_movie(movie, lambda: again, parameters)
    assert again.sums == [] and asked == ["labels.zarr"]


def _part(p: Segment, frames: range) -> None:
    segment_frames(Movie.open(str(p.movie)), Threshold, p, frames)


def test_a_part_opens_no_network_where_its_frames_are_finished(parameters: Segment) -> None:
    _part(parameters, range(2))
    movie = Movie.open(str(parameters.movie))
    segment_frames(movie, lambda: pytest.fail("nothing is missing"), parameters, range(2))
    rest = Threshold()
    segment_frames(movie, lambda: rest, parameters, range(movie.n_frames))
    assert rest.sums == [int(movie.frame(t).sum()) for t in (2, 3, 4)]


def test_parts_with_other_parameters_make_room_once(parameters: Segment, tmp_path: Path) -> None:
    _part(parameters, range(5))
    changed = parameters.model_copy(update={"min_size_um3": 1.0})
    _part(changed, range(2))
    _part(changed, range(2, 4))
    assert LabelMovie.open(tmp_path / "movies" / "m" / "labels.zarr").done_frames() == {0, 1, 2, 3}


def test_the_graph_has_the_parts_before_their_movie(
    experiment_of: Callable[..., Path], tmp_path: Path
) -> None:
    steps = {"06_segment": {"frames_per_job": 2, "foreground_thresh": 0.5, "method": "unet"}, "10_track": {}}
    _, jobs = open_experiment(experiment_of("a", "b", **steps))
    nodes, _ = graph.to_run(jobs)
    parts = tuple(f"06_segment-a.frames-{t:05d}" for t in (0, 2, 4))
    assert nodes["06_segment-a"].needs == parts
    assert nodes["10_track-a"].needs == ("06_segment-a",)
    assert nodes[parts[2]].label == "[1/4] 06_segment [a] frames 4–4"
    graph.write_graph(tmp_path, nodes, 2)
    assert json.loads((tmp_path / "jobs" / f"{parts[1]}.json").read_text())["frames"] == [2, 4]


@pytest.mark.parametrize("frames", [0, "many", 1.5, True])
def test_frames_per_job_is_a_whole_number(experiment_of: Callable[..., Path], frames: object) -> None:
    with pytest.raises(InputError, match=r"line \d+, column \d+, steps\.06_segment\.frames_per_job"):
        open_experiment(experiment_of("a", **{"06_segment": {"frames_per_job": frames}}))
    with pytest.raises(InputError, match="did you mean 'frames_per_job'"):
        open_experiment(experiment_of("a", **{"06_segment": {"frame_per_job": 2}}))

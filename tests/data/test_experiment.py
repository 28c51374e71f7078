"""Experiment files: what they say, and mistakes named by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.data.experiment import read_experiment
from helpers.errors import InputError
from helpers.runs.batch import plan

GOOD = """\
name: mine
run_dir: {run}
pairs: {{raw_dir: raw, label_dir: label}}
movies: movies.csv
steps:
  01_create_dataset: {{patches_per_image: 4}}
  05_segment:
    prob_thresh: 0.4
  07_evaluate_segmentation:
"""
MOVIES = "movie_id,movie,truth,min_size_um3\n007,a.tif,a_truth.tif,\nb,b.tif,,12.5\n"


def _write(folder: Path, yaml: str = GOOD, movies: str = MOVIES) -> Path:
    (folder / "movies.csv").write_text(movies)
    path = folder / "mine.yaml"
    path.write_text(yaml.format(run=folder / "run"))
    return path


def test_paths_are_relative_to_the_file_and_rows_override(tmp_path: Path) -> None:
    jobs = plan(read_experiment(_write(tmp_path)))
    assert [job.name for job in jobs] == [
        "01_create_dataset", "05_segment [007]", "05_segment [b]", "07_evaluate_segmentation [007]",
    ]  # fmt: skip
    dataset, first, second, scores = (job.parameters.plain() for job in jobs)
    assert dataset["raw_dir"] == str(tmp_path / "raw")
    assert dataset["patches_per_image"] == 4
    assert first["movie"] == str(tmp_path / "a.tif")
    assert (first["min_size_um3"], second["min_size_um3"]) == (None, 12.5)
    assert first["prob_thresh"] == 0.4
    assert scores["truth"] == str(tmp_path / "a_truth.tif"), "a movie without truth is not scored"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("movies: movies.csv", "movis: movies.csv", ["line 4", "did you mean 'movies'"]),
        ("05_segment:", "05_segmnt:", ["line 7", "did you mean '05_segment'"]),
        ("prob_thresh", "prob_tresh", ["line 7", "did you mean 'prob_thresh'"]),
        ("patches_per_image: 4", "patches_per_image: 0", ["line 6", "patches_per_image = 0"]),
        ("raw_dir: raw", "raw: raw", ["line 3", "did you mean 'raw_dir'"]),
        ("movies.csv", "movie.csv", ["line 4", "no such file"]),
        ("steps:", "prepare: {{sinthetic: }}\nsteps:", ["line 5", "did you mean 'synthetic'"]),
        ("name: mine", "name: [mine", ["not valid YAML"]),
    ],
)
def test_mistakes_in_the_file_are_named_by_line(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as error:
        plan(read_experiment(_write(tmp_path, GOOD.replace(old, new))))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("movies", "words"),
    [
        ("movie_id,film\na,b\n", ["needs a column 'movie'"]),
        ("movie_id,movie\na,x.tif\na,y.tif\n", ["line 3", "movie_id", "stands twice"]),
        ("movie_id,movie\na\n", ["line 2", "one value for each"]),
        ("movie_id,movie\na,\n", ["line 2", "column movie"]),
        ("movie_id,movie\n../a,x.tif\n", ["line 2", "plain name"]),
    ],
)
def test_mistakes_in_the_table_are_named_by_line(tmp_path: Path, movies: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        read_experiment(_write(tmp_path, movies=movies))
    for word in words:
        assert word in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml"):
        read_experiment(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "data_manifests").glob("*.yaml")), ids=lambda p: p.stem
)
def test_our_own_experiments_are_right(path: Path) -> None:
    assert plan(read_experiment(path))

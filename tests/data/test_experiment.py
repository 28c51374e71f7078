"""Experiment files: what they say, and mistakes named by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.data.experiment import read_experiment
from helpers.errors import InputError, InputErrors
from helpers.runs.parameters import Segment
from helpers.runs.plan import open_experiment, plan

GOOD = """\
name: mine
run_dir: {run}
pairs: {{raw_dir: raw, label_dir: label}}
movies: movies.csv
steps:
  03_create_dataset: {{patches_per_image: 4}}
  06_segment:
    prob_thresh: 0.4
  09_evaluate_segmentation:
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
        "03_create_dataset", "06_segment [007]", "06_segment [b]", "09_evaluate_segmentation [007]",
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
        ("06_segment:", "05_segmnt:", ["line 7", "did you mean '06_segment'"]),
        ("prob_thresh", "prob_tresh", ["line 8, column 5", "did you mean 'prob_thresh'"]),
        ("patches_per_image: 4", "patches_per_image: 0", ["line 6", "patches_per_image = 0"]),
        ("raw_dir: raw", "raw: raw", ["line 3", "did you mean 'raw_dir'"]),
        ("movies.csv", "movie.csv", ["line 4", "no such file"]),
        ("steps:", "prepare: {{sinthetic: }}\nsteps:", ["line 5", "did you mean 'synthetic'"]),
        ("name: mine", "name: [mine", ["not valid YAML"]),
        ("name: mine", " name: mine", ["not valid YAML", "the same column as the others"]),
    ],
)
def test_mistakes_in_the_file_are_named_by_line(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as error:
        plan(read_experiment(_write(tmp_path, GOOD.replace(old, new))))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["segment", "99_segment"])
def test_a_step_is_known_by_its_name_whatever_its_number(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path, GOOD.replace("06_segment", name).replace("prob_thresh: 0.4", "prob_tresh: 0.4"))
    with pytest.raises(InputError, match=r"line 8, column 5.*did you mean 'prob_thresh'"):
        plan(read_experiment(path))
    path.write_text(path.read_text().replace("prob_tresh", "prob_thresh"))
    experiment = read_experiment(path)
    first = [job.step for job in plan(experiment)]
    assert first.count(Segment.step) == 2
    assert [job.step for job in plan(experiment)] == first, "planning again changes nothing"


def test_a_step_named_twice_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD + "  segment: {{}}\n")
    with pytest.raises(InputError, match=f"segment.*is {Segment.step}, which is there too"):
        plan(read_experiment(path))


def test_all_mistakes_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    yaml = GOOD.replace("prob_thresh: 0.4", "prob_tresh: 0.4\n    channel: DAPI").replace(
        "raw_dir", "raw_folder"
    )
    table = "movie_id,movie,min_size_um3,min_volume\na,a.tif,-3,\na,b.tif,,\n"
    with pytest.raises(InputErrors) as error:
        open_experiment(_write(tmp_path, yaml, table))
    assert [e.name for e in error.value.errors] == [
        "mine.yaml, line 3, column 9, pairs.raw_folder",
        "movies.csv, line 3, column movie_id",
        "movies.csv, line 1, column 4, min_volume",
        "mine.yaml, line 9, column 5, steps.06_segment.channel",
        "movies.csv, line 2, column min_size_um3",
        "mine.yaml, line 8, column 5, steps.06_segment.prob_tresh",
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: mine", "name: mine\nname: other", ["line 2, column 1", "stands twice"]),
        ("prob_thresh: 0.4", "prob_thresh: 0.4\n    prob_thresh: 0.5", ["line 9, column 5", "stands twice"]),
        ("prob_thresh: 0.4", "run_dir: /", ["line 8", "top of the file"]),
        ("prob_thresh: 0.4", "movie_id: x", ["line 8", "table of movies"]),
        ("movies: movies.csv\n", "", ["steps.06_segment", "no movies"]),
        ("  06_segment:\n    prob_thresh: 0.4", "  06_segment: 0.4", ["line 7, column 3", "name: value"]),
        ("steps:", "prepare: {{synthetic: {{n_cell: 3}}}}\nsteps:", ["line 5", "did you mean 'n_cells'"]),
        (
            "steps:",
            "prepare: {{synthetic: {{speed: fast}}}}\nsteps:",
            ["speed = 'fast'", "between 0 and 0.3"],
        ),
        ("steps:", "prepare: {{ovule: {{validation_from_x: x}}}}\nsteps:", ["validation_from_x = 'x'"]),
    ],
)
def test_more_mistakes_in_the_file(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as error:
        open_experiment(_write(tmp_path, GOOD.replace(old, new)))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a\\b", "/etc", "a:b", "x" * 101])
def test_names_cannot_lead_out_of_the_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"movies\.csv, line 2, column movie_id"):
        open_experiment(_write(tmp_path, movies=f"movie_id,movie\n{name},a.tif\n"))


@pytest.mark.parametrize(
    "text", ["run_dir: ../elsewhere", "run_dir: runs/../../elsewhere", "name: ../elsewhere"]
)
def test_the_run_folder_cannot_be_led_elsewhere_unseen(tmp_path: Path, text: str) -> None:
    key = text.partition(":")[0]
    lines = [line for line in GOOD.splitlines() if not line.startswith(("run_dir", f"{key}:"))]
    with pytest.raises(InputError, match=rf"mine\.yaml, line 1, column 1, {key}"):
        open_experiment(_write(tmp_path, "\n".join([text, *lines])))


def test_a_link_in_the_run_folder_is_not_followed_out_of_it(tmp_path: Path) -> None:
    path = _write(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / "movies").mkdir(parents=True)
    (tmp_path / "run" / "movies" / "b").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"movies/b.*leads out of the run folder"):
        open_experiment(path)


def test_who_waits_for_whom(tmp_path: Path) -> None:
    yaml = GOOD.replace("steps:", "steps:\n  02_train_denoiser:\n  16_compare_conditions:")
    yaml = yaml.replace("patches_per_image: 4", "patches_per_image: 4, augment_denoised: true")
    _, jobs = open_experiment(_write(tmp_path, yaml + "  15_analyze_migration:\n"))
    assert [job.name for job in jobs[:2]] == ["02_train_denoiser", "03_create_dataset"]
    waits = {job.name: [other.name for other in jobs if job.reads(other)] for job in jobs}
    assert waits["03_create_dataset"] == ["02_train_denoiser"]
    assert waits["09_evaluate_segmentation [007]"] == ["06_segment [007]"]
    assert waits["16_compare_conditions"] == ["15_analyze_migration [007]", "15_analyze_migration [b]"]


@pytest.mark.parametrize(
    ("movies", "words"),
    [
        ("movie_id,film\na,b\n", ["needs a column 'movie'"]),
        ("movie_id,movie\na,x.tif\na,y.tif\n", ["line 3", "movie_id", "stands twice"]),
        ("movie_id,movie\na\n", ["line 2", "one value for each"]),
        ("movie_id,movie\na,\n", ["line 2", "column movie"]),
        ("movie_id,movie\n../a,x.tif\n", ["line 2", "plain name"]),
        ("movie_id;movie\na;x.tif\n", ["line 1", "separate columns by commas"]),
        ("movie_id,movie,movie\na,x.tif,y.tif\n", ["column movie", "stands twice"]),
    ],
)
def test_mistakes_in_the_table_are_named_by_line(tmp_path: Path, movies: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        read_experiment(_write(tmp_path, movies=movies))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("prob_tresh", ["line 1, column 3", "did you mean 'prob_thresh'"]),
        ("n_epochs", ["serves all movies", "below steps in mine.yaml"]),
        ("run_dir", ["top of the file"]),
    ],
)
def test_unknown_columns_are_refused(tmp_path: Path, column: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        open_experiment(_write(tmp_path, movies=f"movie_id,movie,{column}\na,x.tif,1\n"))
    for word in words:
        assert word in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml"):
        read_experiment(tmp_path / "nothing.yaml")


def test_a_model_is_a_file_of_the_experiment_or_a_name(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"")
    for given, planned in (("mine", str(tmp_path / "mine")), ("cyto3", "cyto3")):
        path = tmp_path / "e.yaml"
        path.write_text(f"name: e\nmovies: e.csv\nsteps:\n  07_segment_cellpose: {{model: {given}}}\n")
        (tmp_path / "e.csv").write_text("movie_id,movie\nm,m.tif\n")
        assert [job.parameters.model for job in plan(read_experiment(path))] == [planned]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "data_manifests").glob("*.yaml")), ids=lambda p: p.stem
)
def test_our_own_experiments_are_right(path: Path) -> None:
    assert plan(read_experiment(path))

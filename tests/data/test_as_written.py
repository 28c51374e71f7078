"""Names and conditions are text as it is written, whatever they look like; numbers are numbers, or one clear error."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from helpers.data.experiment import read_experiment
from helpers.errors import InputError
from helpers.runs.parameters import CompareConditions
from helpers.runs.plan import Job, open_experiment
from helpers.runs.steps.conditions import open_cohort

WORDS = [
    "0",
    "007",
    "no",
    "yes",
    "on",
    "~",
    "null",
    "12:30",
    "0x10",
    "1.50",
    "1e3",
    "²",
    "2024-01-01",
    "1_000",
    ".5",
]


def _experiment(folder: Path, table: str, steps: str = "  16_compare_conditions:\n", top: str = "") -> Path:
    (folder / "movies.csv").write_text(table, encoding="utf-8")
    path = folder / "mine.yaml"
    path.write_text(f"name: mine\nrun_dir: {folder / 'run'}\n{top}movies: movies.csv\nsteps:\n{steps}")
    return path


def _job(path: Path, step: str) -> Job:
    _, jobs = open_experiment(path)
    return next(job for job in jobs if job.step.startswith(step))


@pytest.mark.parametrize("word", WORDS)
def test_conditions_and_ids_of_the_table(tmp_path: Path, word: str) -> None:
    name = word.replace(":", "-").replace(".", "-")  # what a folder may be called
    path = _experiment(tmp_path, f"movie_id,movie,condition\n{name},a.tif,{word}\nother,b.tif, \n")
    conditions = _job(path, "16").parameters.plain()["conditions"]
    assert conditions == {name: word, "other": "all"}, "a blank is a blank"


@pytest.mark.parametrize("word", [w for w in WORDS if w not in ("~", "null")])
def test_conditions_ids_and_names_of_the_file(tmp_path: Path, word: str) -> None:
    steps = (
        f"  16_compare_conditions:\n    conditions: {{{word}: {word}, b: {word}}}\n"
        f"  03_create_dataset:\n    validation_stacks: [{word}]\n    dataset_key: {word}\n"
    )
    path = _experiment(tmp_path, "movie_id,movie\na,a.tif\n", steps)
    assert _job(path, "16").parameters.plain()["conditions"] == {word: word, "b": word}
    assert _job(path, "03").parameters.plain()["validation_stacks"] == [word]
    assert _job(path, "03").parameters.plain()["dataset_key"] == word
    named = path.with_name("named.yaml")
    named.write_text(path.read_text().replace("name: mine", f"name: {word}"))
    assert read_experiment(named).name == word


def test_nothing_is_still_nothing(tmp_path: Path) -> None:
    path = _experiment(tmp_path, "movie_id,movie\na,a.tif\n", "  03_create_dataset:\n    dataset_key: null\n")
    assert _job(path, "03").parameters.plain()["dataset_key"] is None


def test_conditions_of_a_cohort(tmp_path: Path) -> None:
    rows = []
    for number, word in enumerate(WORDS):
        folder = tmp_path / "run" / "movies" / f"0{number}" / "analysis"
        folder.mkdir(parents=True)
        pd.DataFrame({"tracklet_id": [0], "directness": [0.5]}).to_csv(folder / "migration_tracklets.csv")
        rows.append(f"run,0{number},{word}")
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("run_dir,movie_id,condition\n" + "\n".join(rows), encoding="utf-8")
    found = open_cohort(CompareConditions(run_dir=tmp_path, cohort=cohort))
    assert found["condition"].tolist() == WORDS
    cohort.write_text("run_dir,movie_id,condition\nrun,00, \n", encoding="utf-8")
    with pytest.raises(InputError, match="give these movies a condition"):
        open_cohort(CompareConditions(run_dir=tmp_path, cohort=cohort))


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("3", 3.0), ("2.5", 2.5), ("1e2", 100.0), ("none", None), ("", None),
        ("12:30", "12:30"), ("0x10", "0x10"), ("yes", "yes"), ("[1]", "[1]"), ("{1", "{1"), ("nan", "nan"), ("³", "³"),
    ],
)  # fmt: skip
def test_numbers_of_the_table(tmp_path: Path, cell: str, value: object) -> None:
    """A cell of a number is that number, or refused with its place; never another one."""
    path = _experiment(
        tmp_path, f"movie_id,movie,min_size_um3,tracker\na,a.tif,{cell},lap\n", "  10_track:\n"
    )
    if isinstance(value, str):
        with pytest.raises(InputError, match=r"movies\.csv, line 2, column min_size_um3"):
            open_experiment(path)
    else:
        assert _job(path, "10").parameters.plain()["min_size_um3"] == value


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('movie_id,movie,note\na,a.tif,"lost\nb,b.tif,fine\n', ["movies.csv, line 2", "quote"]),
        ('movie_id,movie,note\na,a.tif,fine\nb,b.tif,"x" y\n', ["movies.csv, line 3", "not valid CSV"]),
        ("movie_id,movie,note,note\na,a.tif,x,y\n", ["line 1, column note", "stands twice"]),
        ("movie_id,movie,channel\na,a.tif,1.5\n", ["line 2, column channel", "1.5"]),
        ("movie_id,movie,channel\na,a.tif,yes\n", ["line 2, column channel", "'yes'"]),
        (
            "movie_id,movie,voxel_size_um\na,a.tif,[1.75, 0.8, 0.8]\n",
            ["movies.csv, line 2", "stands in quotes"],
        ),
    ],
)
def test_tables_that_would_be_read_as_another(tmp_path: Path, table: str, words: list[str]) -> None:
    with pytest.raises(InputError) as error:
        open_experiment(_experiment(tmp_path, table, "  07_segment_cellpose:\n"))
    for word in words:
        assert word in str(error.value)
    assert "no movies" not in str(error.value)


def test_scale_is_given_once_and_a_movie_may_have_its_own(tmp_path: Path) -> None:
    table = 'movie_id,movie,voxel_size_um,frame_interval_s\na,a.tif,,\nb,b.tif,"[1.75, 0.8, 0.8]",30\n'
    steps = "".join(f"  {s}:\n" for s in ("07_segment_cellpose", "10_track", "15_analyze_migration"))
    steps += "  03_create_dataset: {voxel_size_um: [9, 1, 1]}\n"
    path = _experiment(tmp_path, table, steps, top="voxel_size_um: [2, 1, 1]\nframe_interval_s: 60\n")
    _, jobs = open_experiment(path)
    found = {job.name: job.parameters.plain() for job in jobs}
    for step in ("07_segment_cellpose", "10_track", "15_analyze_migration"):
        a, b = found[f"{step} [a]"], found[f"{step} [b]"]
        assert (a["voxel_size_um"], a["frame_interval_s"]) == ([2, 1, 1], 60)
        assert (b["voxel_size_um"], b["frame_interval_s"]) == ([1.75, 0.8, 0.8], 30)
    assert found["03_create_dataset"]["voxel_size_um"] == [9, 1, 1], "a step's own value goes before it"


@pytest.mark.parametrize("value", ["-1", "[1, 1]]", "[1, nan, 1]", "[.inf, 1, 1]", "fast", "true", "[1]"])
def test_a_wrong_scale_is_named_where_it_stands(tmp_path: Path, value: str) -> None:
    path = _experiment(
        tmp_path,
        "movie_id,movie\na,a.tif\n",
        "  07_segment_cellpose:\n  10_track:\n",
        top=f"voxel_size_um: {value}\n",
    )
    with pytest.raises(InputError, match=r"mine\.yaml, line 3") as error:
        open_experiment(path)
    assert str(error.value).count("\n") == 0, "told once, not for every step"
    assert "papermill" not in str(error.value)

"""Notebooks in which nothing is named run on sample data, and say so; those that name anything, and experiments, never do."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs import sample, sample_steps, start
from helpers.runs.parameters import (
    NOTEBOOKS,
    STEPS,
    AnalyzeMigration,
    CompareConditions,
    CreateDataset,
    Segment,
    SegmentCellpose,
    StartHere,
    Track,
)
from helpers.runs.parameters.cells import parameters_cell
from helpers.runs.run import Run
from helpers.runs.steps import migration
from helpers.runs.steps.conditions import compare_conditions, open_cohort
from helpers.runs.steps.tracked import open_tracks


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the steps that something was prepared for; nothing is."""
    steps: list[str] = []
    monkeypatch.setattr(sample_steps, "before", steps.append)
    return steps


def notebook(cls, **changed) -> dict:
    """Return the globals of a notebook after its first cell."""
    namespace: dict = {"get_ipython": None}
    exec(parameters_cell(cls), namespace)
    return namespace | changed


@pytest.mark.parametrize("step", STEPS)
def test_a_notebook_left_as_it_is_takes_the_sample_data(step: str, prepared: list[str], capsys) -> None:
    p = STEPS[step].from_notebook(notebook(STEPS[step]))
    assert p.run_dir == sample.RUN and prepared == [STEPS[step].name]
    said = capsys.readouterr().out
    assert said.startswith("SAMPLE DATA: nothing is named") and "or your own data" in said
    for name, value in sample.SETTINGS[STEPS[step].name].items():
        assert f"{name} = " in said and getattr(p, name) == value


@pytest.mark.parametrize(
    ("cls", "changed"),
    [
        (CreateDataset, {"raw_dir": "mine"}),
        (CreateDataset, {"run_dir": "runs/mine"}),
        (CreateDataset, {"curated_runs": ["runs/mine"]}),
        (Segment, {"movie": "mine.tif"}),
        (Segment, {"movie_id": "mine"}),
        (CompareConditions, {"conditions": {"a": "b"}}),
    ],
)
def test_whoever_names_data_never_gets_the_sample(cls, changed: dict, prepared: list[str], capsys) -> None:
    p = cls.from_notebook(notebook(cls, **changed))
    assert p == cls.checked(changed) and not prepared and not capsys.readouterr().out


def test_a_run_that_is_there_is_gone_on_with(prepared: list[str]) -> None:
    Path("runs/my_experiment/models").mkdir(parents=True)
    assert Segment.from_notebook(notebook(Segment)) == Segment() and not prepared


def test_an_experiment_never_gets_the_sample(prepared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sample.IN_EXPERIMENT, "06_segment")
    assert Segment.from_notebook(notebook(Segment)) == Segment() and not prepared


def test_what_was_changed_in_the_cell_stays(prepared: list[str]) -> None:
    p = Track.from_notebook(notebook(Track, tracker="lap", min_iou=0.5, max_distance_um=9.0))
    assert (p.tracker, p.min_iou, p.max_distance_um) == ("overlap", 0.5, 9.0)


def test_the_analyses_find_tracks_without_any_network(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """As on Colab, where these notebooks install no TensorFlow."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    p = AnalyzeMigration.from_notebook(notebook(AnalyzeMigration))
    Run.start(p)
    tracks = open_tracks(p)
    truth = pd.read_csv(sample.RUN / "data" / "movie" / "cells.csv")
    assert (len(tracks.divisions), tracks.n_tracks) == (truth.divides.sum(), (truth.parent == 0).sum())
    steps, tracklets = migration.measure(p, tracks, None)
    assert len(tracklets) == len(truth) and steps["speed_um_per_min"].notna().any()
    assert capsys.readouterr().out.count("First, for want of earlier notebooks") == 2
    AnalyzeMigration.from_notebook(notebook(AnalyzeMigration))
    assert "First" not in capsys.readouterr().out, "what is there is taken"


def test_conditions_differ_as_they_were_made_to(capsys) -> None:
    p = CompareConditions.from_notebook(notebook(CompareConditions))
    comparison = compare_conditions(p, open_cohort(p))[0]
    means = comparison.values.groupby("condition")["value"].mean()
    assert comparison.metric == "mean_speed_um_per_min" and means["restless"] > 1.3 * means["calm"]


def test_cellpose_4_without_a_gpu_is_given_little_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    core = pytest.importorskip("cellpose.core")
    for module in (sample, sample_steps):
        monkeypatch.setattr(module, "cellpose_can_learn", lambda: False)
    for gpu, expected in ((True, (12, "movie", False)), (False, (2, "first_frames", True))):
        monkeypatch.setattr(core, "use_gpu", lambda gpu=gpu: gpu)
        p = SegmentCellpose.from_notebook(notebook(SegmentCellpose))
        assert (Movie.open(p.movie).n_frames, p.movie_id, p.stitch_planes) == expected


def test_a_killed_call_leaves_no_half_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(part: Path, *_) -> None:
        (part / "raw").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sample_steps, "save_pairs", killed)
        with pytest.raises(KeyboardInterrupt):
            sample_steps.make_data()
    assert not (sample.RUN / "data" / "train").exists()


def test_every_way_names_notebooks_that_are_there_in_the_order_of_work() -> None:
    for have in NOTEBOOKS["00_start_here"].model_fields["i_have"].annotation.__args__:
        table = start.way(StartHere(i_have=have))
        steps = [name.removesuffix(".ipynb") for name in table["notebook"]]
        assert set(steps) <= set(STEPS) and len(steps) >= 4
        assert (table["minutes"] > 0).all()
        without_curation = [step for step in steps if step != "12_curate"]
        assert without_curation == [step for step in STEPS if step in without_curation]


def test_a_real_sample_without_a_network_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from helpers.data import samples

    def offline(*_) -> Path:
        raise InputError("samples", "ovule", "no network")

    monkeypatch.setitem(samples.PREPARATIONS, "ovule", offline)
    with pytest.raises(InputError, match=r"real_sample = 'ovule'.*choose 'none'"):
        start.sample_data(StartHere(make_sample=False, real_sample="ovule"))


@pytest.mark.slow
def test_the_machine_is_told_and_on_colab_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    here = start.machine()
    assert "Python 3." in here and "GiB" in here and "Drive" not in here
    monkeypatch.setattr(start.colab, "is_colab", lambda: True)
    there = start.machine()
    assert "Google Drive is not mounted" in there and "/content/drive/MyDrive" in there
    if "sees the GPU" not in there:
        assert "Runtime → Change runtime type → T4 GPU" in there

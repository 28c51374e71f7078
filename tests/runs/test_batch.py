"""Experiments as graphs of jobs: what runs, what is skipped, what fails, and who may work in a run folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.__main__ import main
from helpers.errors import InputError
from helpers.runs import execute, graph, job, lock, plan
from helpers.runs.batch import run_experiment
from helpers.runs.execute import NotebookError
from helpers.runs.parameters import CreateDataset
from helpers.runs.plan import open_experiment
from helpers.runs.run import Run, read_done, write_json

pytestmark = pytest.mark.slow

Make = Callable[..., Path]


def _run(path: Path, **options) -> tuple[list[str], list[str]]:
    """Run an experiment; return what failed, and which jobs ran to their end."""
    experiment, _ = open_experiment(path)
    lines: list[str] = []
    failed = run_experiment(experiment, say=lines.append, **options)
    return failed, [line.partition(": ")[0].partition("] ")[2] for line in lines if ": done in" in line]


def test_a_failing_movie_does_not_stop_the_others(
    experiment_of: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a", "b", "c")
    table = (tmp_path / "b" / "objects.csv").read_text()
    (tmp_path / "b" / "objects.csv").write_text("no,such\n1,2\n")
    assert main(["run", str(path), "--cores", "2"]) == 1
    shown = capsys.readouterr()
    assert "failed: 10_track [b], 15_analyze_migration [b]" in shown.err
    assert "15_analyze_migration [b]: not run, because 10_track [b] failed" in shown.out
    for movie in "ac":
        assert read_done(tmp_path / "run" / "steps" / f"15_analyze_migration-{movie}")
    assert main(["status", str(path)]) == 2, "what is wrong with b stands in the table of movies"
    shown = capsys.readouterr().out
    assert "10_track [a]: done\n" in shown
    assert re.search(r"10_track \[b\]: FAILED: .*objects", shown), shown

    (tmp_path / "b" / "objects.csv").write_text(table)
    failed, ran = _run(path)
    assert (failed, ran) == ([], ["10_track [b]", "15_analyze_migration [b]"])
    assert _run(path) == ([], [])


def test_a_change_runs_what_depends_on_it_and_no_more(experiment_of: Make, tmp_path: Path) -> None:
    steps = {"10_track": {"tracker": "nearest"}, "15_analyze_migration": {}}
    path = experiment_of("a", "b", **steps)
    both = ["10_track [a]", "10_track [b]", "15_analyze_migration [a]", "15_analyze_migration [b]"]
    assert sorted(_run(path)[1]) == both
    steps["15_analyze_migration"] = {"min_displacement_um": 1.0}
    assert sorted(_run(experiment_of("a", "b", **steps))[1]) == both[2:]
    steps["10_track"] = {"tracker": "nearest", "max_distance_um": 14.0}  # the links stay the same
    assert sorted(_run(experiment_of("a", "b", **steps))[1]) == both[:2]
    table = (tmp_path / "a" / "objects.csv").read_text().splitlines(keepends=True)
    path = experiment_of("a", "b", **steps)
    (tmp_path / "a" / "objects.csv").write_text("".join(table[:-1]))
    assert sorted(_run(path)[1]) == ["10_track [a]", "15_analyze_migration [a]"]
    assert _run(path, only="15") == ([], [])
    done = tmp_path / "run" / "steps" / "15_analyze_migration-b" / "done.json"
    write_json(done, read_done(done.parent) | {"packages": {}})  # type: ignore[operator]
    assert _run(path, start="10")[1] == ["15_analyze_migration [b]"]


def test_a_second_run_is_refused_and_a_killed_one_holds_nothing(
    experiment_of: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = experiment_of("a")
    first = subprocess.Popen([sys.executable, "-m", "helpers", "run", str(path)], stdout=subprocess.DEVNULL)
    running = tmp_path / "run" / ".batch" / "running"
    until = time.monotonic() + 120
    while not list(running.glob("*.json")) and time.monotonic() < until:
        time.sleep(0.05)
    assert main(["run", str(path)]) == 2
    assert f"process {first.pid} on " in capsys.readouterr().err
    assert main(["status", str(path)]) == 0
    assert "10_track [a]: running: " in capsys.readouterr().out
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert main(["run", str(path)]) == 0
    assert not list(running.iterdir())


def test_a_run_on_another_machine_is_respected_while_it_shows_signs_of_life(tmp_path: Path) -> None:
    mark = tmp_path / ".batch" / "runner.json"
    mark.parent.mkdir()
    write_json(mark, {"pid": 1, "created": 0.0, "host": "elsewhere"})
    assert lock.is_at_work(mark)
    os.utime(mark, (1, 1))
    assert not lock.is_at_work(mark)
    with lock.alone_in(tmp_path):
        assert lock.is_at_work(mark)
    assert not mark.exists()


def test_movies_share_the_cores_and_measurements_take_one(experiment_of: Make, tmp_path: Path) -> None:
    steps = {
        "06_segment": {"foreground_thresh": 0.5, "method": "unet"},
        "10_track": {},
        "15_analyze_migration": {},
        "16_compare_conditions": {},
    }
    _, jobs = open_experiment(experiment_of("a", "b", "c", "d", **steps))
    nodes, done = graph.to_run(jobs)
    assert not done
    for cores, threads in ((1, 1), (2, 1), (8, 2)):
        graph.write_graph(tmp_path, nodes, cores)
        written = lock.read(tmp_path / "graph.json")
        assert written is not None
        found = {key[:2]: one["threads"] for key, one in written["jobs"].items()}
        assert found == {"06": threads, "10": 1, "15": 1, "16": 1}
    track = lock.read(tmp_path / "jobs" / "10_track-a.json")
    assert track is not None and track["limit_threads"] == ((os.cpu_count() or 1) > 1)
    assert written["jobs"]["15_analyze_migration-a"]["needs"] == ["06_segment-a", "10_track-a"]
    assert not any(one["gpu"] for one in written["jobs"].values()), "labels are given, and only measured"


def test_a_denoiser_that_no_network_waits_for_is_trained_beside_them(
    experiment_of: Make, tmp_path: Path
) -> None:
    pairs = {"raw_dir": str(tmp_path), "label_dir": str(tmp_path)}
    for denoised, threads in ((False, [4, 4, 4]), (True, [8, 8, 8])):
        steps = {
            "02_train_denoiser": {},
            "03_create_dataset": {"augment_denoised": denoised, **pairs},
            "04_train_segmentation": {},
            "05_optimize_thresholds": pairs,
        }
        nodes, _ = graph.to_run(open_experiment(experiment_of("a", **steps))[1])
        graph.write_graph(tmp_path, nodes, 8)
        written = lock.read(tmp_path / "graph.json")
        assert written is not None
        assert [written["jobs"][step]["threads"] for step in steps] == [*threads, 8]
        assert ("02_train_denoiser" in nodes["03_create_dataset"].needs) == denoised


def test_migration_waits_for_the_regions_it_compares(experiment_of: Make) -> None:
    steps = ("10_track", "13_analyze_boundary_distance", "15_analyze_migration")
    _, jobs = open_experiment(experiment_of("a", **{step: {} for step in steps}))
    nodes, _ = graph.to_run(jobs)
    assert nodes["15_analyze_migration-a"].needs == ("10_track-a", "13_analyze_boundary_distance-a")


def test_trainings_do_not_depend_on_the_number_of_cores(experiment_of: Make, tmp_path: Path) -> None:
    _, jobs = open_experiment(experiment_of("a", **{"02_train_denoiser": {}, "04_train_segmentation": {}}))
    graph.write_graph(tmp_path, graph.to_run(jobs)[0], 1)
    written = [lock.read(path) for path in (tmp_path / "jobs").iterdir()]
    assert [one["limit_threads"] for one in written if one] == [False, False]


def test_steps_are_chosen_by_name_or_number(experiment_of: Make, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(experiment_of("a"))
    assert main(["run", path, "--dry-run", "--only", "15"]) == 2
    shown, told = capsys.readouterr()
    assert "10_track [" not in shown
    assert (
        "tracks.csv = 'missing': 15_analyze_migration reads it" in told
        and "notebook 10_track makes it" in told
    )
    assert main(["run", path, "--dry-run", "--from", "10"]) == 0
    assert "15_analyze_migration [a]: not run yet" in capsys.readouterr().out
    assert main(["run", path, "--only", "06"]) == 2
    assert "the experiment has no such step" in capsys.readouterr().err


def test_an_unknown_profile_is_answered_with_ours(experiment_of: Make) -> None:
    experiment, _ = open_experiment(experiment_of("a"))
    with pytest.raises(InputError, match=r"config\.yaml, or one of ours: .*slurm"):
        run_experiment(experiment, profile="slum", say=lambda line: None)


def test_a_package_without_its_notebooks_says_so(
    experiment_of: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "NOTEBOOKS", Path("/nowhere/notebooks"))
    experiment, _ = open_experiment(experiment_of("a"))
    with pytest.raises(InputError, match=r"/nowhere/notebooks'.*pip install --editable"):
        run_experiment(experiment, say=lambda line: None)


def test_what_the_run_itself_made_gives_way_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Notebook 03_create_dataset refuses to replace a training set; a changed parameter of an experiment replaces the run's own."""
    p = CreateDataset(run_dir=tmp_path, patches_per_image=3)
    node = plan.Job(p.step, p)
    batch = tmp_path / ".batch"
    nodes = {"03": graph.Node(node, "[1/1] 01", "not run yet", ())}
    calls: list[bool] = []

    def notebook(step: str, given: CreateDataset, output: Path, **_: object) -> None:
        calls.append(given.overwrite)
        if not given.overwrite:
            raise NotebookError("overwrite = False: set overwrite to True to replace it")
        Run.start(given.model_copy(update={"raw_dir": None})).finish()

    monkeypatch.setattr(job, "execute_notebook", notebook)
    batch.mkdir()
    for made_before, expected in ((False, [False]), (True, [False, True])):
        calls.clear()
        graph.write_graph(batch, nodes, 1)
        if made_before:
            write_json(node.folder / "done.json", {"parameters": {"patches_per_image": 2}})
        monkeypatch.chdir(batch)
        assert job.main(["03"]) == (0 if made_before else 1)
        assert calls == expected
    assert read_done(node.folder)
    assert not (node.folder / "replaced.json").exists()

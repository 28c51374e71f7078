"""The command line, and the progress that a batch shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.__main__ import main
from helpers.models import precision
from helpers.progress import progress
from helpers.runs import check as checks
from helpers.runs import follow
from helpers.runs.run import write_json


def test_help_prints_the_parameters_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "06"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("06_segment: ")
    assert "min_size_um3" in shown
    assert "07_evaluate" not in shown


@pytest.mark.parametrize("arguments", [["help", "99"], ["run", "nothing.yaml"], ["status", "nothing.yaml"]])
def test_wrong_input_is_one_line_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert arguments[-1] in shown


def test_a_dry_run_says_what_would_run_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = Path(__file__).resolve().parents[2] / "data_manifests" / "demo.yaml"
    assert main(["run", str(demo), "--run-dir", str(tmp_path / "run"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "03_create_dataset: not run yet" in shown
    assert "06_segment [movie]: not run yet" in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_check_names_versions_devices_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_NEEDED", {**checks._NEEDED, "volltrack-nothing": "a package nobody has"})
    monkeypatch.setattr(checks, "_LEAST_DISK", 10**9)
    text, complete = checks.check()
    assert not complete
    assert "tensorflow 2." in text
    assert "TensorFlow sees" in text
    assert f"networks compute in {precision.describe()}" in text
    assert "PyTorch sees" in text
    assert "TO DO: volltrack-nothing is missing (a package nobody has): run 'make install'" in text
    assert "of disk are free" in text


def test_progress_can_be_followed_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "progress.json"
    monkeypatch.setenv("VOLLTRACK_PROGRESS", str(state))
    for i in progress(range(3), desc="Segment", unit="frame"):
        if i == 0:
            assert json.loads(state.read_text())["n"] == 0
    last = json.loads(state.read_text())
    assert (last["desc"], last["unit"], last["n"], last["total"]) == ("Segment", "frame", 3, 3)


def test_the_time_left_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "_QUIET_INTERVAL", 0.0)
    for name in ("running", "ended", "failed"):
        (tmp_path / name).mkdir()
    write_json(tmp_path / "running" / "03.json", {"why": "not run yet"})
    state = {"desc": "U-Net", "unit": "epoch", "n": 10, "total": 40, "elapsed_s": 50}
    write_json(tmp_path / "running" / "03.progress", state)
    lines: list[str] = []
    follower = follow.Follower(tmp_path, {"03": "[1/6] 03"}, {"03": tmp_path}, lines.append)
    follower.look()
    follower.look()
    assert lines == ["[1/6] 03: not run yet", "[1/6] 03: U-Net: epoch 10 of 40, about 2 min 30 s left"]


@pytest.mark.parametrize("cores", ["0", "two", "-1"])
def test_cores_are_a_number(cores: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "x.yaml", "--cores", cores])
    assert "at least 1" in capsys.readouterr().err or cores == "-1"


def test_a_run_says_what_a_step_warns_of(tmp_path: Path) -> None:
    """A StarDist that finds nothing does not stop a run, but is not passed over in silence either."""
    folder, ended = tmp_path / "steps" / "04", tmp_path / "ended" / "x"
    for path in (folder, ended):
        path.mkdir(parents=True)
    warning = "StarDist finds no cell at any threshold"
    write_json(folder / "done.json", {"results": {"warnings": [warning]}})
    write_json(ended / "key.json", {"seconds": 3, "why": "not run yet"})
    lines: list[str] = []
    follow.Follower(tmp_path, {"key": "[1/1] 04"}, {"key": folder}, lines.append).look()
    assert lines == ["[1/1] 04: not run yet", "[1/1] 04: done in 3 s", f"    {warning}"]

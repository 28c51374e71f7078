"""The matrix of notebooks and versions of Python goes on where it ended; the notebooks themselves run in ``make colab``."""

from __future__ import annotations

from pathlib import Path

import colab_matrix
import pytest

from helpers.runs.parameters import NOTEBOOKS


def test_the_matrix_goes_on_where_it_ended_until_the_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    broken = {"3.12 06_segment"}

    def run_notebook(step: str, version: str, *_: object) -> str:
        ran.append(f"{version} {step}")
        return "ValueError: no" if ran[-1] in broken else ""

    monkeypatch.setattr(colab_matrix, "base_environment", lambda *_: tmp_path)
    monkeypatch.setattr(colab_matrix, "cellpose_4", lambda *_: tmp_path / "weights")
    monkeypatch.setattr(colab_matrix, "run_notebook", run_notebook)
    monkeypatch.setattr(colab_matrix, "source", lambda: "a")
    monkeypatch.setattr("sys.argv", ["colab_matrix.py", "--work", str(tmp_path)])
    assert colab_matrix.main() == 1 and len(ran) == 3 * len(NOTEBOOKS)
    said = capsys.readouterr().out
    assert "Python 3.12  06_segment: FAILED: ValueError: no" in said
    row = next(line for line in said.splitlines() if line.startswith("06_segment "))
    assert row.split() == ["06_segment", "0.0", "min", "–", "0.0", "min"]
    left = [tmp_path / folder / "left.txt" for folder in ("content-3.11", "filled-3.11-tracking")]
    left[1].parent.mkdir()
    for file in left:
        file.touch()
    ran.clear()
    broken.clear()
    assert colab_matrix.main() == 0 and ran == ["3.12 06_segment"]
    assert all(file.exists() for file in left)
    ran.clear()
    assert colab_matrix.main() == 0 and not ran
    monkeypatch.setattr(colab_matrix, "source", lambda: "b")
    assert colab_matrix.main() == 0 and len(ran) == 3 * len(NOTEBOOKS)
    assert not any(file.exists() for file in left)

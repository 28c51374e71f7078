"""What a killed process leaves of a file or folder that it was writing."""

import os
from pathlib import Path

import pytest

from helpers.data import atomic
from helpers.data.atomic import atomic_path, is_unfinished, restore_folder


class Killed(BaseException):
    """Stands for the end of a process."""


def _model(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "weights").write_text(weights)
    return folder


def test_a_folder_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    _model(tmp_path / "model", "old")
    with atomic_path(tmp_path / "model") as part:
        _model(part, "new")
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_whose_replacement_was_killed_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, new = _model(tmp_path / "model", "old"), _model(tmp_path / "new", "new")
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if source == new:
            raise Killed
        real(source, target)

    monkeypatch.setattr(atomic.os, "rename", rename)
    with pytest.raises(Killed):
        atomic.replace_folder(folder, new)
    assert not folder.exists()
    restore_folder(folder)
    assert (folder / "weights").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "new"]


def test_the_name_of_what_is_not_finished_says_so(tmp_path: Path) -> None:
    for name in ("objects.csv", "labels.zarr"):
        with atomic_path(tmp_path / name) as part:
            assert is_unfinished(part.name) and part.name.endswith(name)
            part.write_text("x")
        assert not is_unfinished(name)
    assert is_unfinished("00003.part") and not is_unfinished("part.of.csv") and not is_unfinished(".zattrs")

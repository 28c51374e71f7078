"""Notebooks are named in texts as their files are called: one place gives them their numbers, and a text that is behind is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.runs.parameters import NOTEBOOKS

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "TABLES.md", "Makefile")),
    *(
        path
        for folder in ("helpers", "notebooks", "data_manifests", "tests")
        for path in (ROOT / folder).rglob("*")
    ),
]
TEXTS = [
    path
    for path in TEXTS
    if path.suffix in (".py", ".md", ".ipynb", ".yaml", ".html", ".js", "") and path.is_file()
]
NAMES = "|".join(sorted((cls.name for cls in NOTEBOOKS.values()), key=len, reverse=True))
NAMED = re.compile(rf"(?<![\dA-Za-z])\d\d_(?:{NAMES})(?![A-Za-z0-9_])")
#: Of tests: what an older version, or nobody, calls a step.
ELSEWHERE = {"99_segment", "07_segment"}


def test_the_files_are_the_notebooks() -> None:
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == set(NOTEBOOKS)
    assert [name[:2] for name in NOTEBOOKS] == [f"{number:02d}" for number in range(len(NOTEBOOKS))]


def test_texts_name_notebooks_that_there_are() -> None:
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in TEXTS
        for name in NAMED.findall(path.read_text(encoding="utf-8"))
        if name not in NOTEBOOKS and name not in ELSEWHERE
    }
    assert not wrong


@pytest.mark.parametrize("folder", ["helpers", "notebooks"])
def test_a_notebook_is_called_by_its_name_not_by_its_number_alone(folder: str) -> None:
    bare = re.compile(r"\b[Nn]otebooks?\s+\d\d\b(?!_)")
    wrong = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in TEXTS
        if path.is_relative_to(ROOT / folder)
        for found in bare.findall(path.read_text(encoding="utf-8"))
    ]
    assert not wrong

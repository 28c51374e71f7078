"""Small movies that were segmented and tracked, as notebooks 06_segment and 10_track leave them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.curation import Curation
from tests.curation.curated_movies import write_cells


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Write the movie once in 2D and once in 3D."""
    folder = tmp_path_factory.mktemp("written")
    return {depth: write_cells(folder / str(depth) / "movie", depth=depth) for depth in (1, 3)}


@pytest.fixture(params=[1, 3], ids=["2D", "3D"])
def folder(request: pytest.FixtureRequest, written: dict[int, Path], tmp_path: Path) -> Path:
    """Return the folder of a movie with four frames, in 2D and in 3D; see `curated_movies`."""
    return Path(shutil.copytree(written[request.param], tmp_path / "movie"))


@pytest.fixture
def flat(written: dict[int, Path], tmp_path: Path) -> Path:
    """Return the same in 2D."""
    return Path(shutil.copytree(written[1], tmp_path / "movie"))


@pytest.fixture
def curation(folder: Path):
    """Return it opened for editing."""
    with Curation(folder, author="ann") as opened:
        yield opened


@pytest.fixture
def opened(tmp_path: Path):
    """Return a function that opens a folder for editing and closes it after the test."""
    found: list[Curation] = []

    def open_(path: Path, author: str = "ann") -> Curation:
        found.append(Curation(path, author))
        return found[-1]

    yield open_
    for each in found:
        each.close()


Opener = Callable[..., Curation]

"""From drawings in a run folder to networks, labels of a frame and places to draw next, as the window's process does it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers.data.drawings import Drawings
from helpers.data.movies import Movie, write_movie
from helpers.segmentation import learn_from_drawings
from helpers.segmentation.where_to_draw import COLUMNS

pytestmark = pytest.mark.slow

VOXEL = (1.0, 0.5, 0.5)


@pytest.fixture
def drawings(tmp_path: Path) -> Drawings:
    """Two frames of one plane with bright cells, of which the first has one drawn, and some background."""
    labels = np.kron(np.arange(1, 13).reshape(3, 4), np.pad(np.ones((10, 10), int), 3))
    raw = np.random.default_rng(0).poisson(20 + 80 * (labels > 0), (2, 1, *labels.shape)).astype(np.uint16)
    movie = write_movie(tmp_path / "m.ome.tif", raw, voxel_size=VOXEL, frame_interval=60, axes="TZYX")
    made = Drawings(Movie.open(movie), tmp_path / "run" / "annotations")
    drawn = np.full((1, *labels.shape), -1, np.int32)
    for cell, corner in ((1, (0, 0)), (6, (16, 16))):
        box = tuple(slice(at, at + 16) for at in corner)
        drawn[(0, *box)] = np.where(labels[box] == cell, cell, 0)
    made.save(0, 0, drawn)
    return made


def _main(drawings: Drawings, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    said: list[dict[str, Any]] = []
    run, movie = str(drawings.folder.parent), str(drawings.movie.path)
    status = learn_from_drawings.main(
        [run, "--movie", movie, *arguments], tell=lambda **what: said.append(what)
    )
    return status, said


def test_networks_labels_and_places_come_of_a_drawing(drawings: Drawings) -> None:
    status, said = _main(drawings, "--only-predict")
    assert status == 2 and "train them first" in said[-1]["error"]
    status, said = _main(
        drawings, "--minutes", "0.001", "--frame", "1"
    )  # each network ends with its first epoch
    assert status == 0, said[-1]
    assert {one["network"] for one in said if "network" in one} == {"U-Net", "StarDist2D"}
    assert {"cells": 2} in said and said[-1]["frame"] == 1
    found = Movie.open(drawings.path("found", 1)).frame(0)
    assert found.shape == drawings.movie.shape[-3:] and int(found.max()) == said[-1]["found"]
    places = pd.read_csv(drawings.folder / "where_to_draw.csv")
    assert list(places.columns) == list(COLUMNS) and len(places) == said[-1]["places"]
    assert (places["frame"] == 1).all()


def test_what_cannot_teach_is_said_in_one_line(drawings: Drawings) -> None:
    drawings.save(0, 0, np.full(drawings.movie.shape[-3:], -1))
    status, said = _main(drawings)
    assert status == 2 and "drawn first" in said[-1]["error"]
    assert not drawings.path("raw", 0).exists(), "an empty drawing leaves no stack behind"
    status, said = _main(drawings, "--frame", "7", "--only-predict")
    assert status == 2 and len(said) == 1

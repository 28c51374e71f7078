"""Small experiments on tables of cells: tracked and analysed without any network, in seconds a job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.synthetic.movie import SyntheticSettings, make_movie
from helpers.tracking.objects import measure
from tests.small_figures import png_alone


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """Undo what a job sets in its process: numba refuses another number of threads once it has started some."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one small 2D movie: ``raw.ome.tif``, ``labels.ome.tif`` and ``objects.csv``."""
    folder = tmp_path_factory.mktemp("cells")
    make_movie(SyntheticSettings(shape=(1, 64, 64), n_frames=5, n_cells=6, seed=1)).save(folder)
    labels, raw = LabelMovie.open(folder / "labels.ome.tif"), Movie.open(folder / "raw.ome.tif")
    tables = [
        measure(labels.frame(t), raw.frame(t), voxel_size=raw.require_voxel_size(), frame=t)
        for t in range(raw.n_frames)
    ]
    pd.concat(tables, ignore_index=True).drop(columns="id").to_csv(folder / "objects.csv", index=False)
    return folder


@pytest.fixture
def experiment_of(cells: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes an experiment of some movies, each tracked and analysed."""

    def write(*movies: str, **steps: dict[str, Any]) -> Path:
        for movie in movies:
            shutil.copytree(cells, tmp_path / movie, dirs_exist_ok=True)
        rows = [f"{m},{m}/raw.ome.tif,{m}/objects.csv,{m}/labels.ome.tif" for m in movies]
        (tmp_path / "movies.csv").write_text("\n".join(["movie_id,movie,objects,labels", *rows]) + "\n")
        steps = steps or {"10_track": {"tracker": "nearest"}, "15_analyze_migration": {}}
        content = {
            "name": "small",
            "run_dir": str(tmp_path / "run"),
            "movies": "movies.csv",
            "steps": png_alone(steps),
        }
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write

"""Data that an experiment makes or fetches for itself, below ``<run_dir>/data``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.experiment import Experiment
from helpers.errors import InputError
from helpers.runs.lock import read
from helpers.runs.run import write_json


def prepare(experiment: Experiment, *, say: Callable[[str], None] = print) -> None:
    """Make or fetch the data named under ``prepare:``, unless they are there already.

    ``synthetic`` makes training pairs in ``train/raw`` and ``train/label`` and a movie with its truth in ``movie/``;
    the others lay out real samples in ``train`` and ``test`` (see `helpers.data.samples.PREPARATIONS`).

    Raises
    ------
    InputError
        If the settings are wrong, or a sample can be had neither locally nor from the network.
    """
    for name, settings in experiment.prepare.items():
        marker = experiment.data_dir / f".{name}.json"
        if read(marker) == settings:
            continue
        say(f"preparing the data: {name}")
        experiment.data_dir.mkdir(parents=True, exist_ok=True)
        if name == "synthetic":
            _synthetic(experiment, settings)
        else:
            from helpers.data.samples import PREPARATIONS

            PREPARATIONS[name](experiment.data_dir, **settings)
        write_json(marker, settings)


def is_prepared(experiment: Experiment) -> bool:
    """Whether the data named under ``prepare:`` are there already; True where there is nothing to prepare."""
    markers = [experiment.data_dir / f".{name}.json" for name in experiment.prepare]
    return all(marker.is_file() for marker in markers)


def _synthetic(experiment: Experiment, settings: dict[str, Any]) -> None:
    """Make training stacks and a movie of the same look, of different seeds."""
    from helpers.data.synthetic.movie import SyntheticSettings, make_movie, save_pairs

    settings = dict(settings)
    n_stacks = settings.pop("n_stacks", 6)
    drawn_cells = settings.pop("drawn_cells", None)
    try:
        movie = SyntheticSettings(**settings)
    except TypeError as error:
        raise InputError(experiment.where("prepare", "synthetic"), settings, str(error)) from None
    save_pairs(experiment.data_dir / "train", replace(movie, seed=movie.seed + 1000), n_stacks)
    if drawn_cells:
        _draw(experiment.data_dir / "train", drawn_cells, movie.seed)
    make_movie(movie).save(experiment.data_dir / "movie")


def _draw(folder: Path, n_cells: int, seed: int) -> None:
    """Write ``drawn/``: the labels as if only some cells of each stack had been drawn."""
    from helpers.data.few_cells import draw_few_cells
    from helpers.data.movies import Movie, write_movie
    from helpers.data.pairs import list_images

    (folder / "drawn").mkdir(exist_ok=True)
    for index, path in enumerate(list_images(folder / "label")):
        labels = Movie.open(path)
        size = labels.require_voxel_size()
        drawn = draw_few_cells(
            labels.frame(0),
            n_cells,
            np.random.default_rng([seed, index]),
            voxel_size=size,
            max_share=n_cells / 100,
        )
        write_movie(folder / "drawn" / path.name, drawn, voxel_size=size, axes="ZYX")

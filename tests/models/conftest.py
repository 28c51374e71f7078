"""Tiny training sets of ellipsoidal cells, on disk as notebook 03_create_dataset writes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from helpers.data.training_set import TrainingSet
from tests.models.drawn_cells import write_set


@pytest.fixture(scope="session")
def make_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainingSet]:
    """Return a function that writes a training set (patch, n, seed) and opens it; one file per kind."""
    folder = tmp_path_factory.mktemp("sets")
    made: dict[tuple, TrainingSet] = {}

    def make(patch: tuple[int, ...], n: int = 8, seed: int = 0, scale: float = 1) -> TrainingSet:
        key = (patch, n, seed, scale)
        if key not in made:
            made[key] = write_set(folder / f"{len(made)}.npz", patch, n, seed, scale)
        return made[key]

    return make

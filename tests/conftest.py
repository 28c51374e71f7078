"""Shared fixtures: where the real sample data lie, and a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import PROGRAM, Browser

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parents[1]
#: Folders of tests that train networks, or start kernels, servers and windows; elsewhere a test says so itself.
_SLOW = {"gui", "models", "notebooks", "serve"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (
            item.path.is_relative_to(ROOT / "tests")
            and item.path.relative_to(ROOT / "tests").parts[0] in _SLOW
        ):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of real sample data, or skip and say how to get it."""
    folder = Path(os.environ.get("VOLLTRACK_SAMPLES", ROOT.parent / "shared" / "samples"))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}: set VOLLTRACK_SAMPLES to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def cellpose_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a Cellpose network that has learned, in seconds, that bright is a cell."""
    from helpers.models.cellpose import training
    from tests.models.drawn_cells import write_set

    run = tmp_path_factory.mktemp("cellpose")
    settings = training.CellposeTrainingSettings(
        epochs=10, steps_per_epoch=10, batch_size=2, learning_rate=3e-3, crop=48, cell_pixels=10, schedule="cosine",
        validation_patches=2, side_planes=False, precision="float32",
    )  # fmt: skip
    patches = write_set(run / "training.npz", (48, 48), 6)
    training.train(patches, run / "models" / "cellpose", settings, gpu=False)
    return run


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a browser; without one the test skips and says how to get it."""
    if PROGRAM is None:
        pytest.skip("there is no Chromium; to get it: sudo apt-get install chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()

"""Shared fixtures: where the real sample data lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def samples() -> Path:
    """Return the folder of real sample data, or skip and say how to get it."""
    folder = Path(os.environ.get("VOLLTRACK_SAMPLES", ROOT.parent / "shared" / "samples"))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}: set VOLLTRACK_SAMPLES to the folder that holds them")
    return folder

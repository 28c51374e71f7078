"""The demo's movie, made once, and small tracks by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from helpers.data.synthetic.movie import SyntheticMovie, SyntheticSettings, make_movie
from helpers.tracking.tracks import Tracks

DEMO = Path(__file__).resolve().parents[2] / "data_manifests" / "demo.yaml"


@pytest.fixture(scope="session")
def demo_movie() -> SyntheticMovie:
    """The movie of the demo experiment, with its settings."""
    settings = yaml.safe_load(DEMO.read_text())["prepare"]["synthetic"]
    settings.pop("n_stacks")
    return make_movie(SyntheticSettings(**settings))


@pytest.fixture(scope="session")
def demo_tracks(demo_movie: SyntheticMovie) -> Tracks:
    """Its true tracks."""
    return Tracks(demo_movie.objects, demo_movie.links, demo_movie.voxel_size, demo_movie.frame_interval)


@pytest.fixture
def family() -> Tracks:
    """A cell that divides after a gap, one that stands still, a lone point, and two that merge.

    frame      0    1    2    3    4    5
    mother     0────1─────────2              tracklet with a gap at frame 2 (ids 0, 1, 2)
    daughters                  ╲──3────4     and 5────6
    still      7────8────9────10
    lone                 11
    merge      12───13──┐
                        14───15
               16───17──┘
    """
    rows = [
        *[(0, 0, 0, 0), (1, 0, 0, 2), (3, 0, 0, 6)],
        *[(4, 0, 2, 7), (5, 0, 4, 7), (4, 0, -2, 7), (5, 0, -4, 7)],
        *[(t, 0, 20, 20) for t in range(4)],
        (2, 5, 40, 40),
        *[(0, 0, 60, 60), (1, 0, 61, 60), (2, 0, 62, 61), (3, 0, 62, 62), (0, 0, 64, 60), (1, 0, 63, 60)],
    ]
    objects = pd.DataFrame(rows, columns=["frame", "z", "y", "x"]).astype(
        {"z": float, "y": float, "x": float}
    )
    objects["volume_um3"] = 100.0
    chains = [(0, 1), (1, 2), (2, 3), (3, 4), (2, 5), (5, 6), (7, 8), (8, 9), (9, 10)]
    links = pd.DataFrame(
        [*chains, (12, 13), (13, 14), (14, 15), (16, 17), (17, 14)], columns=["source", "target"]
    )
    return Tracks(objects, links, (1.0, 1.0, 1.0), 60.0)

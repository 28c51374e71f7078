"""Tiny networks in a run folder, as notebooks 04_train_segmentation and 05_optimize_thresholds leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.data.patches import create_training_set
from helpers.models import stardist, unet
from tests.segmentation.tiny_cells import VOXEL, discs


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder with a StarDist model and a U-Net for planes, and thresholds."""
    folder = tmp_path_factory.mktemp("serve") / "run"
    folder.mkdir()
    pairs = [discs((64, 64), 14, seed) for seed in range(6)]
    patches = create_training_set(
        pairs, folder / "training.npz", patch_size=(48, 48), patches_per_image=4, voxel_size=VOXEL,
        pmin=2.0, pmax=99.0, boundary_width=0.5,
    )  # fmt: skip
    common = {"epochs": 15, "batch_size": 4, "depth": 2, "learning_rate": 3e-3, "seed": 1}
    unet.train(patches, folder / "models" / "unet", unet.UNetSettings(n_first=8, **common))
    settings = stardist.StarDistSettings(rays=16, n_filter_base=8, features=16, grid=(1, 1), **common)
    stardist.train(patches, folder / "models" / "stardist", settings)
    stardist.save_thresholds(folder / "models" / "stardist", prob=0.45, nms=0.35)
    chosen = {"prob": 0.4, "nms": 0.3, "foreground": 0.6, "outline": 0.4, "divide": "always"}
    (folder / "thresholds.json").write_text(json.dumps(chosen))
    return folder

"""What tests of data share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.data.stacks import open_stacks


@pytest.fixture
def load_pair():
    """Read one raw stack with its labels, as a training set does: both as (Z, Y, X), and the voxel size."""

    def load(raw: Path, label: Path, **settings: Any) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
        given = {"voxel_size": None, "boundary_width": 0.0} | settings
        (stack,) = open_stacks([(raw, label)], **given)
        loaded = stack.load()
        return loaded.raw, loaded.labels, stack.voxel_size

    return load

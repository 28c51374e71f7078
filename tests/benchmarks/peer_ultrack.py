"""Ultrack 0.8.0 on the same label sets; run in an environment of its own (.venv-ultrack).

Sizes and distances are those that our tracker takes (half the smallest cell of the first set to four times the largest; 15 µm), all
else is Ultrack's default.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np


def ultrack(voxel_size: Any, **movies: np.ndarray) -> dict[str, np.ndarray]:
    """Track every movie; labels are numbers of tracklets, parents (n, 2) child and parent."""
    from ultrack import MainConfig, to_tracks_layer, track, tracks_to_zarr
    from ultrack.utils import labels_to_contours

    found: dict[str, np.ndarray] = {}
    start = time.process_time()
    for name, sets in movies.items():
        with tempfile.TemporaryDirectory() as folder:
            config = MainConfig()
            config.data_config.working_dir = folder
            sizes = np.concatenate([np.unique(f[f > 0], return_counts=True)[1] for f in sets[0]])
            config.segmentation_config.min_area = int(sizes.min() / 2)
            config.segmentation_config.max_area = int(4 * sizes.max())
            config.linking_config.max_distance = 15.0
            foreground, contours = labels_to_contours(list(sets))
            track(config, foreground=foreground, contours=contours, scale=tuple(voxel_size), overwrite="all")
            table, graph = to_tracks_layer(config)
            labels = np.asarray(tracks_to_zarr(config, table)[:])
        parents = [(child, parent) for child, above in graph.items() for parent in np.atleast_1d(above)]
        k = name.removeprefix("sets_")
        found[f"labels_{k}"] = labels.astype(np.int32)
        found[f"parents_{k}"] = np.array(parents, int).reshape(-1, 2)
    return found | {"processor_s": np.array(time.process_time() - start)}

"""The fusion against the published ones, speed beside quality; and the watershed against scikit-image's.

Both sides may use all cores. The synthetic stacks have 20 % of the cells missed by StarDist and another 10 % by the
U-Net (`tests/segmentation/stacks.py`); the real one is the stored networks' output of an Arabidopsis ovule.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _harness import OURS_PYTHON, ROOT, compare

sys.path.insert(0, str(ROOT))

SPACING = (2.0, 0.5, 0.5)
PEERS = {
    "kapoorlabs": "kapoorlabs-vollseg 1.0.5",
    "vollseg_32": "vollseg 32.4.0",
    "vollseg_2022": "VollSeg 2022 (rule of the paper)",
}


def cases() -> Iterator[dict[str, Any]]:
    """Yield the entries of the table."""
    from tests.segmentation.stacks import make_stack, recovered

    for shape, n_cells in (((22, 512, 512), 900), ((64, 512, 512), 5000)):
        stack = make_stack(shape, n_cells, spacing=SPACING)
        size = "×".join(map(str, shape))

        def found(ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray = stack.truth) -> str:
            return f"cells found: {len(recovered(truth, ours))} and {len(recovered(truth, theirs))} of {truth.max()}"

        yield compare(
            "fusion",
            f"{size}, {n_cells} cells",
            _inputs(stack.probability, stack.star_labels, stack.foreground),
            ours="bench_fusion.py:ours",
            peer="peer_fusion.py:kapoorlabs",
            peer_name=PEERS["kapoorlabs"],
            equal=found,
            peer_repeats=2,
            voxel_size=SPACING,
        )
    stack = make_stack((22, 512, 512), 900, kind="voronoi", elevation="all", spacing=SPACING)
    mask = stack.probability > np.quantile(stack.probability, 0.15)
    # Markers without equal values, so that the result has no ties.
    markers = np.where(stack.probability > 0.8, stack.truth, 0).astype(np.int32)
    yield compare(
        "watershed",
        "22×512×512, 85 % foreground",
        {"elevation": -stack.probability, "markers": markers, "mask": mask},
        ours="bench_fusion.py:ours_watershed",
        peer="peer_fusion.py:skimage_watershed",
        peer_name="scikit-image 0.26.0",
        peer_python=OURS_PYTHON,
        equal=lambda a, b: f"{100 * np.mean(a == b):.3f} % of the voxels",
    )
    yield from _real()


def _real() -> Iterator[dict[str, Any]]:
    """Compare on stored outputs of networks for real membranes; skipped, with a line, where the file is missing."""
    from stardist.matching import matching

    from helpers.data.movies import Movie
    from helpers.data.samples import OVULE_VOXEL_SIZE

    folder = Path(os.environ.get("VOLLTRACK_SAMPLES", ROOT.parent / "shared" / "samples"))
    path, stack = (folder / "plantseg" / name for name in ("ovule_network_outputs.npz", "sample_ovule.h5"))
    if not (path.is_file() and stack.is_file()):
        print(f"skipped: {path} is missing; VOLLTRACK_SAMPLES names the folder of samples", file=sys.stderr)
        return
    with np.load(path, allow_pickle=False) as file:
        probability, stars, foreground = (file[k] for k in ("probability", "star_labels", "foreground"))
    # The networks' outputs are those of the rows below 72.
    truth = Movie.open(stack, dataset="label", voxel_size=OVULE_VOXEL_SIZE).frame(0)[:, :72]

    def quality(ours: np.ndarray, theirs: np.ndarray) -> str:
        def f1(labels: np.ndarray, tau: float) -> float:
            return matching(truth.astype(np.int32), labels.astype(np.int32), thresh=tau).f1  # type: ignore[union-attr]

        rows = (f"{f1(ours, tau):.2f} and {f1(theirs, tau):.2f} (IoU {tau})" for tau in (0.5, 0.7))
        return "F1 " + ", ".join(rows)

    for peer, name in PEERS.items():
        yield compare(
            "fusion",
            "real membranes (ovule)",
            _inputs(probability, stars, foreground),
            ours="bench_fusion.py:ours_by_borders",
            peer=f"peer_fusion.py:{peer}",
            peer_name=name,
            equal=quality,
            voxel_size=OVULE_VOXEL_SIZE,
        )


def _inputs(probability: np.ndarray, stars: np.ndarray, foreground: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "probability": np.asarray(probability, np.float32),
        "star_labels": np.asarray(stars, np.int32),
        "foreground": np.asarray(foreground) > 0,
    }


def ours(
    probability: np.ndarray, star_labels: np.ndarray, foreground: np.ndarray, voxel_size: Any
) -> np.ndarray:
    """Fuse."""
    from helpers.segmentation.fusion import fuse

    return fuse(probability, star_labels, foreground, voxel_size=voxel_size)


def ours_by_borders(
    probability: np.ndarray, star_labels: np.ndarray, foreground: np.ndarray, voxel_size: Any
) -> np.ndarray:
    """Fuse as notebook 05_optimize_thresholds chooses where StarDist alone is poor, as on these membranes."""
    from helpers.segmentation.fusion import fuse

    return fuse(probability, star_labels, foreground, voxel_size=voxel_size, divide="borders")


def ours_watershed(elevation: np.ndarray, markers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Flood."""
    from helpers.segmentation.watershed import watershed

    return watershed(elevation, markers, mask)

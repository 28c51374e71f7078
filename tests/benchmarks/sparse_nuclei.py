"""A 2D network from ten drawn nuclei, and how well it finds the others.

    python tests/benchmarks/sparse_nuclei.py --networks stardist cellpose elephant --seeds 0 1 2

The image is the StarDist package's (512 × 512 pixels, fluorescent nuclei). In its left half `helpers.data.few_cells` draws ten
nuclei and some background; the network is trained as `train_from_annotations` does by itself, and applied to both halves with
the thresholds that QuPath's server uses. ``f1`` is that of the right half, an IoU of 0.5; ``f1_not_drawn`` that of the nuclei
of the left half that were not drawn, by which settings may be chosen. Results are added to ``--out``, one line each; what is
there already is not done again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
from sparse_curve import add, f1, read

from helpers.data.few_cells import draw_few_cells
from helpers.models.from_annotations import Network, default_settings, train_from_annotations
from helpers.serve.trained_models import segmenter_of

#: Of pixels: the image says no other size.
SIZE = (1.0, 1.0)


def halves() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return (image, truth) of the left and the right half of the nuclei."""
    from stardist.data import test_image_nuclei_2d

    image, truth = test_image_nuclei_2d(return_mask=True)
    middle = image.shape[1] // 2
    left, right = ((image[:, side], truth[:, side].astype(np.int32)) for side in np.s_[:middle, middle:])
    return left, right


def measure(network: Network, seed: int, n_cells: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Train one network on nuclei drawn by one seed, and return its scores."""
    (image, left), (other, right) = halves()
    drawn = draw_few_cells(left, n_cells, np.random.default_rng(seed), voxel_size=SIZE, rim_um=3.0)
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model")
        settings = default_settings(network, **changes)
        train_from_annotations(
            network, [image], [drawn], model, voxel_size=SIZE, settings=settings, seed=seed
        )
        seconds = time.process_time() - started
        segmenter = segmenter_of(network, model)
        found = [segmenter(half).main for half in (image, other)]
    ours = np.isin(left, np.unique(drawn[drawn > 0]))
    overlaps = np.bincount(found[0][ours], minlength=found[0].max() + 1) * 2 > np.bincount(found[0].ravel())
    overlaps[0] = False
    return {
        "drawn": n_cells,
        "annotated_share": round(float((drawn >= 0).mean()), 4),
        "f1": f1([(right, found[1])]),
        "f1_not_drawn": f1([(np.where(ours, 0, left), np.where(overlaps[found[0]], 0, found[0]))]),
        "train_processor_s": round(seconds, 1),
    }


def main() -> None:
    """Measure what the command line asks for, and print mean and standard deviation over the seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", choices=get_args(Network), default=["stardist", "cellpose", "elephant"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cells", type=int, default=10)
    parser.add_argument(
        "--settings", type=json.loads, default={}, help="JSON of settings in place of the defaults"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/sparse_nuclei.jsonl"))
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows = read(args.out)
    for network in args.networks:
        for seed in args.seeds:
            key = {"network": network, "seed": seed, "drawn": args.cells, "settings": args.settings}
            if any(all(one[k] == key[k] for k in key) for one in rows):
                continue
            row = key | measure(network, seed, args.cells, args.settings)
            rows.append(row)
            add(args.out, row)
        wanted = {"network": network, "drawn": args.cells, "settings": args.settings}
        scores = [
            row["f1"]
            for row in rows
            if row["seed"] in args.seeds and all(row[k] == wanted[k] for k in wanted)
        ]
        sd = np.std(scores, ddof=1) if len(scores) > 1 else np.nan
        print(f"{network}: F1 {np.mean(scores):.3f} ± {sd:.3f}, {len(scores)} seeds", flush=True)


if __name__ == "__main__":
    main()

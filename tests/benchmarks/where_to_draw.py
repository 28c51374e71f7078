"""Do the places that the networks doubt teach more than random places?

    python tests/benchmarks/where_to_draw.py --data demo nuclei --seeds 0 1 2 3 4

For each seed a few cells of one image are drawn (`helpers.data.few_cells`), and U-Net and StarDist are trained on them: the start.
Then more cells are drawn in that image, by two rules: the cell at each place of the list that notebook 01_annotate and napari
show (`helpers.segmentation.learn_from_drawings.predict`), from its top; or at random voxels. At a place where no cell is, a dab
of background is drawn, by both. With the same number of cells either way, the networks are trained on from the start, and
VollSeg's F1 at an IoU of 0.5 is measured on images that neither the list nor a training saw:

    demo      a training stack of the synthetic movie: 3 cells, then 5 more; scored on frames of the movie
    nuclei    the left half of the StarDist package's image: 4 nuclei, then 6 more; scored on the right half

Trainings are short and without validation: what is compared is the places. ``found`` is the share of the added cells that the
start had found already. Results are added to ``--out``, one line each; what is there already is not done again, and a start that
is trained already is used.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage
from sparse_curve import add, f1, parameters, read
from sparse_nuclei import SIZE, halves

from helpers.data.drawings import Drawing
from helpers.data.experiment import read_experiment
from helpers.data.few_cells import draw_few_cells
from helpers.data.movies import Movie
from helpers.models.from_annotations import default_settings, train_from_annotations
from helpers.runs.prepare import prepare
from helpers.segmentation.learn_from_drawings import NETWORKS, are_trained, predict
from helpers.segmentation.matching import match_table
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter

ROOT = Path(__file__).resolve().parents[2]
RULES = ("list", "random")
#: Epochs of the start, and of the training that goes on.
EPOCHS = (6, 3)
#: Small networks, which are trained in less than a minute of processor time.
SETTINGS: dict[str, Any] = {
    "steps_per_epoch": 40, "batch_size": 2, "learning_rate": 2e-3, "depth": 2, "validation_patches": 4,
}  # fmt: skip
FILTERS: dict[str, dict[str, Any]] = {
    "unet": {"n_first": 8},
    "stardist": {"n_filter_base": 8, "features": 32, "rays": 32},
}
PATCH = {3: (16, 48, 48), 2: (128, 128)}
#: Radius of the dab of background, in pixels of a slice, as of `helpers.data.few_cells`.
BRUSH = 6


@dataclass(frozen=True)
class Data:
    """An image to draw in, and others to score on.

    Attributes
    ----------
    drawing : Drawing
        Nothing drawn yet.
    truth : (Z, Y, X) int ndarray
    tests : sequence of (raw, truth)
    rim_um : float
        Background that is drawn around cells.
    first, more : int
        Cells that are drawn at the start, and then.
    """

    drawing: Drawing
    truth: np.ndarray
    tests: Sequence[tuple[np.ndarray, np.ndarray]]
    rim_um: float
    first: int
    more: int


def demo(folder: Path) -> Data:
    """Return the second training stack of the demo from drawn cells, and three frames of its movie."""
    experiment = read_experiment(ROOT / "data_manifests" / "sparse.yaml", run_dir=folder / "sparse")
    prepare(experiment)
    p, labels = parameters(experiment)[2][0]
    raw, truth = Movie.open(str(p.movie)), Movie.open(labels)
    train = experiment.data_dir / "train"
    stack = sorted((train / "raw").iterdir())[1]
    drawn_in = Movie.open(stack)
    return Data(
        _nothing_drawn(drawn_in.frame(0), drawn_in.require_voxel_size()),
        Movie.open(train / "label" / stack.name).frame(0), [(raw.frame(t), truth.frame(t)) for t in (0, 5, 10)], 0.5, 3, 5,
    )  # fmt: skip


def nuclei(folder: Path) -> Data:
    """Return the left half of the nuclei, and the right."""
    (raw, truth), right = (tuple(part[np.newaxis] for part in half) for half in halves())
    return Data(_nothing_drawn(raw, (1.0, *SIZE)), truth, [right], 3.0, 4, 6)


def _nothing_drawn(raw: np.ndarray, voxel_size: tuple[float, ...]) -> Drawing:
    return Drawing(raw, np.full(raw.shape, -1, np.int32), voxel_size, Path(), Path())


def draw_at(data: Data, labels: np.ndarray, places: Iterable[Sequence[int]]) -> tuple[np.ndarray, list[int]]:
    """Return labels with what is drawn at places until there are enough cells, and the cell at each place; 0 where none is.

    The cell at a place is the one that is nearest to it, within the radius of a cell of mean size.
    """
    size, labels, cells = np.array(data.drawing.voxel_size), labels.copy(), []
    volume = np.count_nonzero(data.truth) / len(np.unique(data.truth[data.truth > 0])) * size.prod()
    flat = len(data.truth) == 1
    radius = np.sqrt(volume / np.pi) if flat else (3 * volume / (4 * np.pi)) ** (1 / 3)
    away, nearest = ndimage.distance_transform_edt(data.truth == 0, sampling=size, return_indices=True)  # type: ignore[misc]
    y, x = np.indices(data.truth.shape[1:])
    for place in map(tuple, places):
        cell = int(data.truth[tuple(nearest[:, *place])]) if away[place] <= radius else 0
        if (labels[place] >= 0 and cell == 0) or (cell and (labels == cell).any()):
            continue
        dab = np.zeros(labels.shape, bool)
        dab[place[0]] = (y - place[1]) ** 2 + (x - place[2]) ** 2 <= BRUSH**2
        if cell:
            dab |= ndimage.distance_transform_edt(data.truth != cell, sampling=size) <= data.rim_um  # type: ignore[operator]
            labels[data.truth == cell] = cell
        labels[dab & (data.truth == 0)] = 0
        cells.append(cell)
        if np.count_nonzero(cells) == data.more:
            return labels, cells
    raise ValueError(f"{np.count_nonzero(cells)} cells at {len(cells)} places, of {data.more}")


def train(data: Data, labels: np.ndarray, folder: Path, seed: int, start: Path | None = None) -> None:
    """Train both networks on what is drawn, in `folder`; from the weights of `start`, for half as long, if there is one."""
    n_dim = 2 if len(labels) == 1 else 3
    image, labels = (part[0] if n_dim == 2 else part for part in (data.drawing.raw, labels))
    if start is not None:
        shutil.copytree(start, folder, dirs_exist_ok=True)
    for network in NETWORKS:
        settings = default_settings(
            network, n_dim, epochs=EPOCHS[start is not None], **SETTINGS, **FILTERS[network]
        )
        train_from_annotations(
            network, [image], [labels], folder / network, voxel_size=data.drawing.voxel_size[-n_dim:], settings=settings,
            patch_size=PATCH[n_dim], copies=0, validation_fraction=0.0, seed=seed, go_on=start is not None,
        )  # fmt: skip


def score(data: Data, models: Path) -> float:
    """Return VollSeg's F1 on the images that were not drawn in."""
    segmenter = VollSegSegmenter.open(
        stardist_dir=models / "stardist", unet_dir=models / "unet", voxel_size=data.drawing.voxel_size
    )
    return f1((truth, segmenter(raw).main) for raw, truth in data.tests)


def start(data: Data, folder: Path, seed: int) -> tuple[np.ndarray, Any]:
    """Draw the first cells, train on them if that was not done yet, and return what is drawn and what is found."""
    labels = draw_few_cells(
        data.truth, data.first, np.random.default_rng(seed), voxel_size=data.drawing.voxel_size, rim_um=data.rim_um
    )  # fmt: skip
    if not are_trained(folder):
        train(data, labels, folder, seed)
    return labels, predict(folder, replace(data.drawing, labels=labels), frame=0, n_places=200)


def places_by(rule: str, found: pd.DataFrame, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return places in the order in which to draw at them, (n, 3)."""
    if rule == "list":
        return found[["z", "y", "x"]].to_numpy(int)
    return np.random.default_rng([seed, 1]).integers(shape, size=(1000, 3))


def rows(name: str, data: Data, seed: int, folder: Path, known: list[dict]) -> Iterator[dict[str, Any]]:
    """Yield the result of the start and of each rule, as far as it is not known."""
    began = folder / f"{name}_{seed}" / "start"
    keys = [{"data": name, "seed": seed, "rule": rule} for rule in ("start", *RULES)]
    missing = [key for key in keys if not any(all(one[k] == key[k] for k in key) for one in known)]
    if not missing:
        return
    labels, found = start(data, began, seed)
    right = match_table(data.truth, found.labels).query("outcome == 'TP'")["truth"].tolist()
    for key in missing:
        timer = time.process_time()
        if key["rule"] == "start":
            yield key | {"f1": score(data, began), "drawn": data.first}
            continue
        drawn, cells = draw_at(data, labels, places_by(key["rule"], found.places, labels.shape, seed))
        models = began.with_name(key["rule"])
        train(data, drawn, models, seed, began)
        yield key | {
            "f1": score(data, models),
            "drawn": data.first + data.more,
            "places": len(cells),
            "found": round(float(np.mean([cell in right for cell in cells if cell])), 3),
            "annotated_share": round(float((drawn >= 0).mean()), 5),
            "processor_s": round(time.process_time() - timer, 1),
        }


def summary(results: list[dict[str, Any]]) -> pd.DataFrame:
    """Return mean and SD of F1 and of the gain over random places, of the seeds that have all three results."""
    f1s = pd.DataFrame(results).pivot(index=["data", "seed"], columns="rule", values="f1").dropna()
    f1s["list - random"] = f1s["list"] - f1s["random"]
    return f1s.groupby("data").agg(["mean", "std", "count"]).round(3)


def main() -> None:
    """Measure what the command line asks for, and print the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    kinds = {"demo": demo, "nuclei": nuclei}
    parser.add_argument("--data", nargs="+", choices=kinds, default=list(kinds))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--folder", type=Path, default=Path("runs/where_to_draw"))
    parser.add_argument("--out", type=Path, default=Path("runs/where_to_draw.jsonl"))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.data:
        data = kinds[name](args.folder)
        for seed in args.seeds:
            for row in rows(name, data, seed, args.folder, read(args.out)):
                add(args.out, row)
    print(summary(read(args.out)).T.to_string())


if __name__ == "__main__":
    main()

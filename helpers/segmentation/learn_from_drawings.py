"""From drawings to networks, a prediction and the places to draw next: ``python -m
helpers.segmentation.learn_from_drawings RUN --movie FILE --frame 3``.

Trains the U-Net and StarDist on all that is drawn in a run's ``annotations`` (`helpers.data.drawings`), and writes what they find
in one frame beside it::

    models/unet, models/stardist             the networks
    annotations/found/<movie>_t0003_c0.tif   VollSeg's labels of the frame
    annotations/doubt/<movie>_t0003_c0.tif   where the networks disagree or are unsure, 0 to 255
    annotations/where_to_draw.csv            the places to draw next in it

A window that draws starts it as a process of its own: TensorFlow stays out of the window, a training can be ended at any moment,
and ends by itself with the window. What happens is reported in lines of JSON on the standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from helpers.data.drawings import Drawing, Drawings, drawn_stacks, write_stack
from helpers.data.movies import Movie
from helpers.data.tables import write_table
from helpers.errors import InputError
from helpers.models.watch import Step, TrainingStopped
from helpers.segmentation.where_to_draw import over_flips, where_to_draw

#: What learns from drawings, in this order: together they are VollSeg.
NETWORKS = ("unet", "stardist")


@dataclass(frozen=True)
class Found:
    """What the networks find in a frame.

    Attributes
    ----------
    labels : (Z, Y, X) int32 ndarray
        VollSeg's.
    doubt : (Z, Y, X) float32 ndarray
        0 to 1.
    places : DataFrame
        Of `helpers.segmentation.where_to_draw`.
    """

    labels: NDArray[np.int32]
    doubt: NDArray[np.float32]
    places: pd.DataFrame


def are_trained(models: Path) -> bool:
    """Whether a folder holds both networks."""
    return all((models / name / "weights_best.h5").is_file() for name in NETWORKS)


def train(folder: Path, *, minutes: float, go_on: bool, watch: Callable[[Step], object]) -> int:
    """Train both networks on what is drawn in a run folder.

    Parameters
    ----------
    folder : Path
        The run's.
    minutes : float
        Each network's training ends at the end of an epoch after so many.
    go_on : bool
        Begin with the weights of the last training.
    watch : callable
        Is told every step, and may end the training by raising.

    Returns
    -------
    int
        How many cells taught.

    Raises
    ------
    InputError
        Nothing is drawn, or what is drawn teaches nothing; stacks of several voxel sizes.
    """
    from helpers.models.from_annotations import default_settings, train_from_annotations

    stacks = drawn_stacks(folder / "annotations")
    raws, drawn, sizes = zip(*stacks, strict=True)
    if any(not np.allclose(size, sizes[0]) for size in sizes):
        raise InputError("annotations", sorted(set(sizes)), "frames of one voxel size")
    flat = all(len(raw) == 1 for raw in raws)
    if flat:
        raws, drawn = ([stack[0] for stack in part] for part in (raws, drawn))
    for network in NETWORKS:
        train_from_annotations(
            network, raws, drawn, folder / "models" / network, voxel_size=sizes[0][1:] if flat else sizes[0],
            settings=default_settings(network, n_dim=2 if flat else 3, max_minutes=minutes), go_on=go_on, watch=watch,
        )  # fmt: skip
    return sum(len(np.unique(labels[labels > 0])) for labels in drawn)


def predict(models: Path, drawing: Drawing, *, frame: int, n_places: int = 20) -> Found:
    """Segment a frame with both networks, and say where to draw next.

    Parameters
    ----------
    models : Path
        With ``unet`` and ``stardist``.
    drawing : Drawing
        The frame, and what is drawn in it already.
    frame : int
        Its number, for the list.
    n_places : int
        At most so many.
    """
    from helpers.segmentation.vollseg_segmenter import VollSegSegmenter

    segmenter = VollSegSegmenter.open(
        stardist_dir=models / "stardist",
        unet_dir=models / "unet",
        compare=True,
        voxel_size=drawing.voxel_size,
    )
    outputs = segmenter.network_outputs(drawing.raw)
    shape = drawing.raw.shape
    found = {
        method: segmenter.labels_from_outputs(outputs, method=method).reshape(shape)
        for method in segmenter.methods
    }
    alone = replace(segmenter, star_model=None, method="unet", compare=False)

    def foreground(raw: NDArray) -> NDArray:
        seen = alone.network_outputs(raw).foreground
        assert seen is not None
        return seen.reshape(shape)

    assert outputs.foreground is not None
    unsure = over_flips(foreground, drawing.raw, outputs.foreground.reshape(shape))
    doubt, places = where_to_draw(
        found["stardist"], found["unet"], unsure, voxel_size=drawing.voxel_size,
        annotated=drawing.labels, frame=frame, n_places=n_places,
    )  # fmt: skip
    return Found(found["vollseg"], doubt, places)


def write(found: Found, drawings: Drawings, frame: int, channel: int) -> None:
    """Write what was found in a frame beside the drawings; the list of places last."""
    size = drawings.movie.require_voxel_size()
    for kind, stack in (("found", found.labels), ("doubt", np.rint(255 * found.doubt).astype(np.uint8))):
        write_stack(drawings.path(kind, frame, channel), stack, size)
    write_table(found.places, drawings.folder / "where_to_draw.csv")


def main(arguments: Sequence[str] | None = None, tell: Callable[..., object] | None = None) -> int:
    """Train and predict as the command line says, and return the exit status."""
    args = _parser().parse_args(arguments)
    tell = tell or _to_standard_output()
    parent = os.getppid()

    def watch(step: Step) -> None:
        if os.getppid() != parent:
            raise TrainingStopped
        tell(network=step.network, fraction=step.fraction, loss=float(step.loss))

    try:
        movie = Movie.open(args.movie, voxel_size=args.voxel_size, dataset=args.dataset)
        drawings = Drawings(movie, args.run / "annotations")
        if not args.only_predict:
            n_cells = train(args.run, minutes=args.minutes, go_on=args.go_on, watch=watch)
            tell(cells=n_cells)
        if not are_trained(args.run / "models"):
            raise InputError("models", str(args.run / "models"), "networks: train them first")
        found = predict(args.run / "models", drawings.open(args.frame, args.channel), frame=args.frame)
        write(found, drawings, args.frame, args.channel)
    except InputError as error:
        tell(error=str(error))
        return 2
    except TrainingStopped:
        return 3
    tell(frame=args.frame, channel=args.channel, found=int(found.labels.max()), places=len(found.places))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("--movie", required=True, help="the movie that is drawn in")
    parser.add_argument("--frame", type=int, default=0, help="frame to predict, counted from 0")
    parser.add_argument("--channel", type=int, default=0, help="channel that is drawn in, counted from 0")
    parser.add_argument(
        "--voxel-size", type=float, nargs="+", help="(z) y x in µm, where the movie does not say it"
    )
    parser.add_argument("--dataset", help="dataset in an HDF5 file")
    parser.add_argument("--minutes", type=float, default=3.0, help="longest training of each network")
    parser.add_argument("--go-on", action="store_true", help="begin with the weights of the last training")
    parser.add_argument("--only-predict", action="store_true", help="train nothing")
    return parser


def _to_standard_output() -> Callable[..., None]:
    """Keep the standard output for lines of JSON: progress bars and TensorFlow print where they like."""
    answers = os.dup(1)
    os.dup2(2, 1)

    def tell(**what: Any) -> None:
        os.write(answers, (json.dumps(what) + "\n").encode())

    return tell


if __name__ == "__main__":
    sys.exit(main())

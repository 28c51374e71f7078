"""A training in a process of its own, which gives all its memory back when it ends: ``python -m
helpers.serve.training_process JOB``.

``JOB`` is a folder with ``image.npy``, ``labels.npy`` and ``job.json``. What happens is reported line by line, in JSON, on
the standard output; the process ends by itself when the server that started it is gone.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.sparse_labels import UNANNOTATED
from helpers.errors import InputError
from helpers.models.from_annotations import Network, default_settings, train_from_annotations
from helpers.models.watch import Step, TrainingStopped

#: The steps that are asked for are shared out to so many epochs, after each of which the best weights are kept.
_EPOCHS = 20


@dataclass(frozen=True)
class Plan:
    """What is trained, and for how long.

    Attributes
    ----------
    network : {"stardist", "unet", "cellpose", "elephant"}
    folder : str
        Model folder.
    batches : int
        In all.
    batch_size : int
    patch : int or None
        Side of a patch in pixels; images may be smaller. None: as much of them as is useful.
    minutes : float
        The training ends at the end of the first of 20 epochs after so many.
    learning_rate : float, optional
    seed : int
    voxel_size : tuple of float
        (z, y, x) in µm, or (y, x); in pixels where nobody says it.
    """

    network: Network
    folder: str
    batches: int
    batch_size: int
    patch: int | None
    minutes: float
    learning_rate: float | None = None
    seed: int = 42
    voxel_size: tuple[float, ...] = (1.0, 1.0)


def settings_of(plan: Plan, n_dim: int = 2) -> Any:
    """Return the network's settings for a plan, for images of two or three dimensions."""
    epochs = min(_EPOCHS, plan.batches)
    chosen: dict[str, Any] = {"learning_rate": plan.learning_rate} if plan.learning_rate else {}
    return default_settings(
        plan.network, n_dim, epochs=epochs, steps_per_epoch=math.ceil(plan.batches / epochs), batch_size=plan.batch_size,
        max_minutes=plan.minutes, **chosen,
    )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Train, and return the exit status."""
    job = Path(arguments[0])
    plan = Plan(**json.loads((job / "job.json").read_text()))
    image, labels = np.load(job / "image.npy"), np.load(job / "labels.npy")
    parent = os.getppid()

    def watch(step: Step) -> None:
        if os.getppid() != parent:
            raise TrainingStopped
        tell(fraction=step.fraction, loss=float(step.loss))

    side = plan.patch
    patch = None if side is None else [max(16, min(side, n) // 16 * 16) for n in image.shape]
    # Of one volume that is drawn throughout nothing can be held back: its patches overlap.
    fraction = 0.15 if (labels == UNANNOTATED).any() else 0.0
    try:
        state = train_from_annotations(
            plan.network, [image], [labels], plan.folder, voxel_size=plan.voxel_size, settings=settings_of(plan, image.ndim),
            patch_size=patch, seed=plan.seed, go_on=True, watch=watch, validation_fraction=fraction,
        )  # fmt: skip
    except InputError as error:
        tell(error=str(error))
        return 2
    except TrainingStopped:
        return 3
    tell(fraction=1.0, seconds=state.seconds)
    return 0


def tell(**what: Any) -> None:
    """Write one line to the server; what others print goes to the log."""
    os.write(_answers, (json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    # Progress bars and TensorFlow print where they like: keep the pipe for ourselves.
    _answers = os.dup(1)
    os.dup2(2, 1)
    sys.exit(main(sys.argv[1:]))

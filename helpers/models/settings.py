"""How a network is trained: what the settings of U-Net, StarDist and Noise2Void have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Le, Lt

from helpers.bounds import Count, Positive, check_bounds
from helpers.errors import InputError


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train; every network's settings add their architecture to these.

    Parameters
    ----------
    epochs : int
        Epochs in all, those of an interrupted training included.
    steps_per_epoch : int, optional
        Batches in an epoch; None: as many as it takes to see each patch once.
    batch_size : int
        Patches in a batch.
    learning_rate : float
        Of the Adam optimizer, at the start.
    schedule : {"plateau", "cosine"}
        ``"plateau"`` multiplies the rate by `lr_factor` after `lr_patience` epochs without a lower
        validation loss; ``"cosine"`` lets it fall to a hundredth over `epochs`, which gets most out of a
        short training.
    patience : int, optional
        Stop after so many epochs without a lower validation loss; None: never.
    validation_patches : int, optional
        Validate on so many patches, evenly drawn; None: on all.
    max_minutes : float, optional
        End at the end of the first epoch after so many minutes of training, all runs together.
    seed : int
        Seed of weights, order, crops and augmentation.
    precision : {"auto", "float32", "bfloat16", "float16"}
        What the network is trained in; ``"auto"``: what the processor is built for (`helpers.models.precision`).
        Weights are float32 always.
    """

    epochs: Count = 100
    steps_per_epoch: Count | None = None
    batch_size: Count = 4
    learning_rate: Annotated[Positive, Lt(1), "such as 3e-4"] = 3e-4
    schedule: Literal["plateau", "cosine"] = "plateau"
    lr_factor: Annotated[Positive, Le(1)] = 0.5
    lr_patience: Count = 10
    patience: Count | None = None
    validation_patches: Count | None = 32
    max_minutes: Positive | None = None
    seed: int = 42
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    def __post_init__(self) -> None:
        check_bounds(self)
        precisions = ("auto", "float32", "bfloat16", "float16")
        self._require("precision", self.precision in precisions, f"one of {precisions}")
        self._require("schedule", self.schedule in ("plateau", "cosine"), "'plateau' or 'cosine'")

    def _require(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise InputError(name, getattr(self, name), expected)

"""How a network is trained: what the settings of U-Net, StarDist and Noise2Void have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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

    epochs: int = 100
    steps_per_epoch: int | None = None
    batch_size: int = 4
    learning_rate: float = 3e-4
    schedule: Literal["plateau", "cosine"] = "plateau"
    lr_factor: float = 0.5
    lr_patience: int = 10
    patience: int | None = None
    validation_patches: int | None = 32
    max_minutes: float | None = None
    seed: int = 42
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    def __post_init__(self) -> None:
        self._at_least(1, "epochs", "batch_size", "lr_patience")
        self._at_least(1, "steps_per_epoch", "patience", "validation_patches", optional=True)
        precisions = ("auto", "float32", "bfloat16", "float16")
        self._require("precision", self.precision in precisions, f"one of {precisions}")
        self._require("schedule", self.schedule in ("plateau", "cosine"), "'plateau' or 'cosine'")
        self._require("learning_rate", 0 < self.learning_rate < 1, "between 0 and 1, such as 3e-4")
        self._require("lr_factor", 0 < self.lr_factor <= 1, "above 0 and at most 1")
        self._require("max_minutes", self.max_minutes is None or self.max_minutes > 0, "above 0, or None")

    def _require(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise InputError(name, getattr(self, name), expected)

    def _at_least(self, low: int, *names: str, optional: bool = False) -> None:
        for name in names:
            value = getattr(self, name)
            right = optional if value is None else value >= low
            self._require(name, right, f"a whole number ≥ {low}{', or None' if optional else ''}")

    def _odd(self, name: str) -> None:
        value = getattr(self, name)
        self._require(name, value >= 1 and value % 2 == 1, "an odd whole number, such as 3")

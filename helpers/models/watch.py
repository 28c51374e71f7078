"""Watching a training from outside, and ending it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A step of a training that was just done.

    Attributes
    ----------
    network : str
        Such as ``"StarDist3D"``.
    epoch, epochs : int
        Of all; epochs count from 1.
    step, steps : int
        Of the epoch; steps count from 1.
    loss : float
        Of the training, this step's or the mean of the epoch so far.
    """

    network: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float

    @property
    def fraction(self) -> float:
        """How much of the training is done, 0 to 1."""
        return ((self.epoch - 1) + self.step / self.steps) / self.epochs


#: Is told every step. What it raises, such as `TrainingStopped`, ends the training; the last finished epoch stays on disk.
Watch = Callable[[Step], object]


class TrainingStopped(Exception):
    """A training was ended by whom it was started by."""


def nobody(step: Step) -> None:
    """Watch nothing."""

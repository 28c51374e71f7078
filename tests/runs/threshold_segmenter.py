"""A segmenter that needs no network, for tests of what lies around it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.segmentation.segmenter import Segmentation


class Threshold:
    """The bright half of a frame is one cell, of which it is half sure; it notes the frames it was given.

    Parameters
    ----------
    at : float, optional
        What is brighter is a cell; by default half of the frame.
    """

    def __init__(self, at: float | None = None) -> None:
        self.at = at
        self.seen: list[np.ndarray] = []

    def __call__(self, frame: np.ndarray, *, mask: np.ndarray | None = None) -> Segmentation:
        self.seen.append(frame)
        labels = (frame > (np.median(frame) if self.at is None else self.at)).astype(np.int32)
        sure = pd.DataFrame({"label": [1], "quality": [0.5]})
        return Segmentation(labels={"unet": labels}, seconds={"network": 0.0}, cells=sure)

    @property
    def sums(self) -> list[int]:
        """Sums of the frames it was given, by which they are known."""
        return [int(frame.sum()) for frame in self.seen]

"""One frame in, labels out: the protocol that every method meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segmentation:
    """The labels of one frame.

    Attributes
    ----------
    labels : dict of str to ndarray of int32, (Z, Y, X)
        By method, the chosen one first; 0 background. Of a frame larger than memory a `LazyStack`.
    seconds : dict of str to float
        Where the time went, such as ``stardist`` (its network), ``nms`` and ``fusion``.
    cells : DataFrame, optional
        What the method knows of each cell: ``label`` and further columns for the table of objects.
    """

    labels: dict[str, Any]
    seconds: dict[str, float]
    cells: pd.DataFrame | None = None

    @property
    def main(self) -> Any:
        """The chosen method's labels."""
        return next(iter(self.labels.values()))


class Segmenter(Protocol):
    """A method of segmentation, whatever it is made of."""

    def __call__(self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Segmentation:
        """Segment one frame (Z, Y, X), in 2D with Z = 1; cells outside `mask` are left out.

        A method that takes a second channel is given (2, Z, Y, X) where the parameters name one.
        """
        ...

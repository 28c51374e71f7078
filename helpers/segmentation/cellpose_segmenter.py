"""Cellpose as a segmenter: one frame in, labels and the quality of every cell out.

What Cellpose finds is smoothed and thresholded here, in this order::

    frame ─ Cellpose ─ smooth outlines ─ mean cell probability ─ cells kept by size, quality and tissue
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from helpers.bounds import NotNegative, check_bounds
from helpers.data.calibration import spacing_of
from helpers.errors import InputError
from helpers.models import cellpose
from helpers.models.cellpose import CellposeNetwork, CellposeSettings
from helpers.models.cellpose import tiles as cellpose_tiles
from helpers.segmentation.kept_cells import kept_cells, renumbered, voxel_counts
from helpers.segmentation.segmenter import Segmentation
from helpers.segmentation.smoothing import smooth_labels

#: The column of a cell's mean cell probability, on the scale of the threshold (a logit).
QUALITY = "cell_probability_mean"


@dataclass(frozen=True)
class CellposeSegmenter:
    """Segments with Cellpose.

    Parameters
    ----------
    network : CellposeNetwork
        From `helpers.models.cellpose.load`, or `open`.
    settings : CellposeSettings
    voxel_size : tuple of float
        (z, y, x) in µm.
    smoothing : float
        Standard deviation in voxels by which outlines are smoothed; 0: not.
    min_size_um3, max_size_um3 : float, optional
        Remove smaller and larger cells; µm³, in 2D µm².
    min_quality : float, optional
        Remove cells whose mean cell probability is lower.
    n_tiles : tuple of int, optional
        Tiles (z, y, x) in 3D; None: as few as fit the memory.

    Raises
    ------
    InputError
        If the voxel size is missing or a parameter is out of range.
    """

    network: CellposeNetwork
    settings: CellposeSettings = field(default_factory=CellposeSettings)
    voxel_size: tuple[float, ...] | None = None
    smoothing: NotNegative = 0.0
    min_size_um3: NotNegative | None = None
    max_size_um3: NotNegative | None = None
    min_quality: float | None = None
    n_tiles: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        spacing_of(self.voxel_size, 2)
        check_bounds(self)
        if self.max_size_um3 is not None and self.max_size_um3 <= (self.min_size_um3 or 0):
            raise InputError("max_size_um3", self.max_size_um3, f"above min_size_um3 = {self.min_size_um3}")

    @classmethod
    def open(
        cls, model: str | Path, *, second_channel: bool = False, gpu: bool = True, **settings: Any
    ) -> CellposeSegmenter:
        """Load a model by name or from a file; the other parameters are those of the class.

        Raises
        ------
        InputError
            If the model cannot be used (see `helpers.models.cellpose.load`).
        """
        return cls(cellpose.load(model, second_channel=second_channel, gpu=gpu), **settings)

    def __call__(self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Segmentation:
        """Segment one frame.

        Parameters
        ----------
        frame : ndarray, (Z, Y, X), (Y, X), or (2, Z, Y, X) with a second channel
            Raw intensities.
        mask : ndarray of bool, (Z, Y, X), optional
            Tissue: cells with less than half of their voxels in it are left out.

        Returns
        -------
        Segmentation
            Its `cells` has the mean cell probability of each label.

        Raises
        ------
        InputError
            If the frame is empty or does not suit the model.
        """
        return self.segment(frame, mask=mask)

    def segment(
        self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None, normalize: bool = True
    ) -> Segmentation:
        """Segment one frame; ``normalize=False`` for a crop out of a frame that was normalised whole."""
        started = time.perf_counter()
        found = cellpose_tiles.predict(
            self.network,
            frame,
            self.settings,
            voxel_size=self.voxel_size,
            n_tiles=self.n_tiles,
            normalize=normalize,
        )
        middle = time.perf_counter()
        labels = smooth_labels(found.labels, self.smoothing) if self.smoothing else found.labels
        labels, quality = self._kept(labels, found.cell_probability, mask)
        cells = pd.DataFrame({"label": np.arange(1, len(quality) + 1), QUALITY: quality})
        shape = np.shape(frame)[-3:] if np.ndim(frame) > 2 else np.shape(frame)
        seconds = {"cellpose": middle - started, "filter": time.perf_counter() - middle}
        return Segmentation({"cellpose": labels.reshape(shape)}, seconds, cells)

    def memory_needed(self, shape: tuple[int, ...]) -> tuple[int, tuple[int, int, int]]:
        """Return the bytes that a frame (Z, Y, X) takes whole, and into how many tiles (z, y, x) it will be cut."""
        assert self.voxel_size is not None
        arguments = (self.network, shape, self.settings, self.voxel_size)
        tiles = self.n_tiles or cellpose_tiles.choose_tiles(*arguments)
        return cellpose_tiles.bytes_needed(*arguments), (tiles[0], tiles[1], tiles[2])

    def _kept(
        self, labels: NDArray[np.int32], cellprob: NDArray[np.float32], mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Number the cells that are kept 1…n, and return their mean cell probability."""
        counts, inside = voxel_counts(labels, mask)
        quality = ndimage.mean(cellprob, labels, np.arange(len(counts))) if len(counts) > 1 else np.zeros(1)
        sizes = {"smallest": self.min_size_um3, "largest": self.max_size_um3}
        keep = kept_cells(counts, inside, self.voxel_size, planar=len(labels) == 1, **sizes)
        keep[0] = False
        if self.min_quality is not None:
            keep &= quality >= self.min_quality
        return renumbered(labels, keep), np.asarray(quality)[keep]

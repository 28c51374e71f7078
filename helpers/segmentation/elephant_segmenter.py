"""ELEPHANT's network as a segmenter: one frame in, ellipsoidal cells out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from helpers.bounds import Part, check_bounds
from helpers.data.calibration import spacing_of
from helpers.data.normalization import normalize, percentile_range
from helpers.models import elephant, elephant_shapes, model_folder
from helpers.models.elephant import ElephantModel
from helpers.segmentation.kept_cells import kept_cells, renumbered, voxel_counts
from helpers.segmentation.segmenter import Segmentation

#: The column of the highest probability of a centre in a cell.
QUALITY = "centre_probability_max"


@dataclass(frozen=True)
class ElephantSegmenter:
    """Segments with an ELEPHANT network.

    Parameters
    ----------
    model : ElephantModel
        From `helpers.models.elephant`, or `open`.
    voxel_size : tuple of float
        (z, y, x) in µm.
    threshold : float
        Above this probability of a cell's centre is a cell.
    percentiles : tuple of float
        Of the frame, that become 0 and 1.
    min_size_um3 : float, optional
        Remove smaller cells; µm³, in 2D µm².
    n_tiles : tuple of int, optional
        Tiles (z, y, x); None: as few as fit the memory.

    Raises
    ------
    InputError
        If the voxel size is missing or the threshold out of range.
    """

    model: ElephantModel
    voxel_size: tuple[float, ...] | None = None
    threshold: Annotated[Part, "such as 0.8"] = 0.8
    percentiles: tuple[float, float] = (1.0, 99.8)
    min_size_um3: float | None = None
    n_tiles: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        spacing_of(self.voxel_size, 2)
        check_bounds(self)

    @classmethod
    def open(cls, folder: str | Path, **settings: Any) -> ElephantSegmenter:
        """Load a model from its folder, with the percentiles of its training set; the other parameters are the class's."""
        made = model_folder.training_set_of(Path(folder))
        if "pmin" in made:
            settings.setdefault("percentiles", (made["pmin"], made["pmax"]))
        return cls(elephant.load(folder), **settings)

    def __call__(self, frame: NDArray, *, mask: NDArray[np.bool_] | None = None) -> Segmentation:
        """Segment one frame.

        Parameters
        ----------
        frame : ndarray, (Z, Y, X), or (Y, X)
            Raw intensities.
        mask : ndarray of bool, optional
            Tissue: cells with less than half of their voxels in it are left out.

        Returns
        -------
        Segmentation
            Its `cells` has the highest centre probability of each label.

        Raises
        ------
        InputError
            If the frame is constant or does not suit the model.
        """
        started = time.perf_counter()
        image = normalize(frame, *percentile_range(frame, *self.percentiles))
        outer, centre = elephant.predict(self.model, image, n_tiles=self.n_tiles)
        middle = time.perf_counter()
        labels = elephant_shapes.draw(outer.squeeze(), centre.squeeze(), self.threshold, self._limits())
        labels = labels.reshape(frame.shape)
        labels, kept = self._kept(labels, mask)
        quality = np.atleast_1d(ndimage.maximum(centre, labels, kept)) if len(kept) else np.zeros(0)
        cells = pd.DataFrame({"label": kept, QUALITY: quality})
        seconds = {"elephant": middle - started, "drawing": time.perf_counter() - middle}
        return Segmentation({"elephant": labels}, seconds, cells)

    def _limits(self) -> tuple[float, float] | None:
        """Return how many voxels the smallest and the largest cell have, as far as the drawn cells say it."""
        sizes = getattr(self.model.config, "cell_size", None)
        if sizes is None:
            return None
        volume = float(np.prod(spacing_of(self.voxel_size, self.model.config.n_dim)))
        return sizes[0] / volume, sizes[1] / volume

    def _kept(
        self, labels: NDArray[np.int32], mask: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int32], NDArray]:
        """Return the cells that are large enough and inside the tissue, numbered from 1."""
        counts, inside = voxel_counts(labels, mask)
        planar = labels.ndim == 2 or len(labels) == 1
        keep = kept_cells(counts, inside, self.voxel_size, planar=planar, smallest=self.min_size_um3)
        return renumbered(labels, keep), np.arange(1, np.count_nonzero(keep[1:]) + 1)

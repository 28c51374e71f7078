"""Labels from elsewhere (Cellpose's GUI, ilastik, by hand), frame by frame as a segmenter would give them."""

from __future__ import annotations

import numpy as np

from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.errors import InputError
from helpers.runs.parameters import Segment
from helpers.segmentation.segmenter import Segmentation

#: What stands in place of a method where labels are not ours.
IMPORTED = "imported"


class GivenLabels:
    """The label movie that notebook 06_segment measures in place of a segmentation.

    Parameters
    ----------
    p : Segment
        With `labels`.
    movie : Movie
        The raw movie; the labels themselves where there is none.

    Raises
    ------
    InputError
        Labels that cannot be read, are no integers, or have another shape or voxel size than the movie.
    """

    def __init__(self, p: Segment, movie: Movie) -> None:
        assert p.labels is not None
        self._p = p
        self._voxel = float(np.prod(movie.require_voxel_size()[1 if movie.is_2d else 0 :]))
        self.labels = _open(p, movie)

    def segmentation(self, t: int, mask: np.ndarray | None) -> Segmentation:
        """Return the labels of frame `t`, without cells of a wrong size or outside the mask; labels keep their numbers."""
        labels = self.labels.frame(t)
        ids, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        keep = ids > 0
        if self._p.min_size_um3 is not None:
            keep &= counts * self._voxel >= self._p.min_size_um3
        if self._p.max_size_um3 is not None:
            keep &= counts * self._voxel <= self._p.max_size_um3
        if mask is not None:
            inside = np.bincount(inverse.ravel()[mask.ravel()], minlength=len(ids))
            keep &= 2 * inside >= counts
        kept = np.where(keep, ids, 0)[inverse].reshape(labels.shape).astype(np.int32)
        return Segmentation({IMPORTED: kept}, seconds={})


def _open(p: Segment, movie: Movie) -> LabelMovie:
    assert p.labels is not None
    wanted = (movie.n_frames, *movie.shape[2:])
    labels = LabelMovie.open(p.labels, dataset=p.labels_key, missing_frames=p.missing_frames)
    if labels.shape != wanted and movie.is_2d and (labels.shape[1], 1, *labels.shape[2:]) == wanted:
        # Planes without names are taken for a stack; the movie says that they are frames.
        labels = LabelMovie.open(p.labels, dataset=p.labels_key, axes="TYX", missing_frames=p.missing_frames)
    if labels.shape != wanted:
        raise InputError(
            "labels",
            f"{p.labels}: {labels.shape}",
            f"must have the shape of the movie, {wanted} (T, Z, Y, X)",
        )
    sizes = labels.voxel_size, movie.voxel_size
    if None not in sizes and p.voxel_size_um is None and not np.allclose(*sizes, rtol=0.01):  # type: ignore[arg-type]
        raise InputError(
            "voxel_size_um",
            None,
            f"{p.labels} says {sizes[0]} and {movie.path} {sizes[1]} µm; give the right one",
        )
    return labels

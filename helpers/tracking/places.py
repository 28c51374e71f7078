"""Which cell lies at a place: tracks of a program that counts points are told apart by the labels under them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Voxels by which another program's centre may differ from ours.
ROUNDED = 1.5


def labels_at(
    frame_of: Callable[[int], np.ndarray], frames: np.ndarray, places: np.ndarray, size: tuple[int, ...]
) -> np.ndarray:
    """Return the label at each place; where that is background (the cell is bent), of the cell whose centre it is.

    Parameters
    ----------
    frame_of : callable
        Returns the labels (Z, Y, X) of a frame.
    frames : ndarray of int
        (n,).
    places : ndarray
        (n, 3), (z, y, x) in voxels.
    size : tuple of int
        (Z, Y, X); places outside hold no cell.

    Returns
    -------
    ndarray of int64
        (n,); 0 where no cell is.
    """
    found = np.zeros(len(frames), np.int64)
    at = np.rint(places).astype(np.int64)
    inside = ((at >= 0) & (at < size)).all(axis=1)
    for t in np.unique(frames[inside]):
        frame = np.asarray(frame_of(int(t)))
        here = np.flatnonzero(inside & (frames == t))
        found[here] = frame[tuple(at[here].T)]
        if len(lost := here[found[here] == 0]) and frame.any():
            found[lost] = _by_centre(frame, places[lost], found[here])
    return found


def _by_centre(frame: np.ndarray, places: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Return the label of the cell, not taken yet, whose centre is nearest to each place; 0 where none is near."""
    from helpers.tracking.objects import measure

    cells = measure(frame, voxel_size=(1.0, 1.0, 1.0), frame=0)
    cells = cells[~cells["label"].isin(taken)]
    if len(cells) == 0:
        return np.zeros(len(places), np.int64)
    centres = cells[["z", "y", "x"]].to_numpy(float)
    distance = np.linalg.norm(places[:, None] - centres[None], axis=2)
    nearest = distance.argmin(axis=1)
    near = distance[np.arange(len(places)), nearest] <= ROUNDED
    return np.where(near, cells["label"].to_numpy()[nearest], 0)

"""When each object was seen."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.errors import InputError
from helpers.tracking.tracks import Tracks


def object_times(tracks: Tracks) -> np.ndarray:
    """Return the time of each object in seconds.

    Parameters
    ----------
    tracks : Tracks
        Where the objects have a column ``time_s`` it is taken, so that frames may be unevenly spaced; otherwise the
        frame times the frame interval.

    Returns
    -------
    ndarray (n_objects,) float64

    Raises
    ------
    InputError
        If neither is there, or ``time_s`` is not finite, differs within a frame or does not grow with it.
    """
    frames = tracks.objects["frame"]
    if "time_s" not in tracks.objects:
        if tracks.frame_interval is None:
            raise InputError("frame_interval_s", None, "give the seconds between two frames")
        return frames.to_numpy(float) * tracks.frame_interval
    seconds = tracks.objects["time_s"].to_numpy(float)
    if not np.isfinite(seconds).all():
        raise InputError(
            "objects.time_s", "not finite", "give every object its time in seconds, or no such column"
        )
    by = pd.Series(seconds).groupby(frames.to_numpy())
    if (by.max() - by.min() > 1e-6).any() or (by.mean().diff().dropna() <= 0).any():
        raise InputError(
            "objects.time_s", "not in the order of the frames", "later frames need later times, one each"
        )
    return seconds

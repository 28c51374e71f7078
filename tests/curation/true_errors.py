"""Where an automatic result is wrong, by the truth; and which of it a list of suspects points at."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.tracking import scores
from helpers.tracking.tracks import Tracks

#: A suspect points at an error of a frame before, the same or the next, this many cell diameters away at most.
NEAR_FRAMES, NEAR = 1, 0.75


def true_errors(predicted: Tracks, truth: Tracks, predicted_labels, true_labels) -> pd.DataFrame:
    """Return one row per error, ``frame, z, y, x, kind``: wrong links and divisions, missed and invented cells."""
    matching = scores.match_objects(predicted, truth, predicted_labels, true_labels)
    parts = [scores.wrong_links(predicted, truth, matching)[["frame", "z", "y", "x", "kind"]]]
    for tracks, side, kind in ((truth, "truth", "missed cell"), (predicted, "predicted", "invented cell")):
        alone = np.setdiff1d(np.arange(len(tracks.objects)), matching.one_to_one[side])
        parts.append(tracks.objects.iloc[alone][["frame", "z", "y", "x"]].assign(kind=kind))
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def pointed_at(errors: pd.DataFrame, places: pd.DataFrame, diameter: float) -> np.ndarray:
    """Return which errors some of the places, each with frame, z, y, x, points at."""
    frames = np.abs(errors["frame"].to_numpy()[:, None] - places["frame"].to_numpy()[None])
    points = errors[["z", "y", "x"]].to_numpy(float)[:, None] - places[["z", "y", "x"]].to_numpy(float)[None]
    near = np.linalg.norm(points, axis=2) <= NEAR * diameter
    return (near & (frames <= NEAR_FRAMES)).any(axis=1)

"""Mean squared displacement and velocity autocorrelation: do cells wander, and how long do they keep a direction?

Both pool all pairs of points of a tracklet that lie the same time apart; a gap only loses the pairs it takes part in.
Two models are fitted to the mean squared displacement in d dimensions:

    power law                    2 d D t^α                             α = 1 diffusion, 2 straight, < 1 confined
    persistent random walk       2 d D (t − P (1 − e^(−t/P))) + 2 d σ²   (Fürth 1920; σ is the error of a position)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from helpers.analysis.timing import object_times
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks

#: What is fitted to a mean squared displacement.
_FITTED = (
    "alpha",
    "alpha_se",
    "diffusion_um2_per_min",
    "persistence_min",
    "fitted_persistence_min",
    "speed_um_per_min",
    "position_error_um",
    "r2",
)
#: Tracklets that are laid out as an array of frames at once.
_CHUNK = 2000


def mean_squared_displacement(
    tracks: Tracks, *, group: pd.Series | None = None, max_lag: int | None = None
) -> pd.DataFrame:
    """Mean squared displacement over the time between two points.

    Parameters
    ----------
    tracks : Tracks
        With a frame interval.
    group : Series, optional
        Group of each tracklet, by its id, such as its generation; all in one if left out.
    max_lag : int, optional
        Longest lag in frames; a third of the longest tracklet if left out, at least 4. Longer lags rest on few
        independent pairs.

    Returns
    -------
    DataFrame
        ``group, lag_frames, lag_s, msd_um2, n_pairs, n_tracklets, sem_um2`` (standard error between tracklets).
    """
    return _by_lag(tracks, group, max_lag, velocity=False).rename(
        columns={"value": "msd_um2", "sem": "sem_um2"}
    )


def velocity_autocorrelation(
    tracks: Tracks, *, group: pd.Series | None = None, max_lag: int | None = None
) -> pd.DataFrame:
    """Mean of v(t) · v(t + lag), divided by the mean of v²: 1 at lag 0, 0 once the direction is forgotten.

    Parameters
    ----------
    tracks, group, max_lag
        As for `mean_squared_displacement`.

    Returns
    -------
    DataFrame
        ``group, lag_frames, lag_s, correlation, n_pairs, n_tracklets, sem``. The error of positions makes lag 1
        negative: each belongs to two steps, with opposite signs.
    """
    table = _by_lag(tracks, group, max_lag, velocity=True)
    first = table[table["lag_frames"] == 0].set_index("group")["value"]
    scale = table["group"].map(first)
    scale = scale.where(scale > 0)
    # At lag 0 it is 1 whatever was measured.
    error = (table["sem"] / scale).where(table["lag_frames"] > 0, 0.0)
    return table.assign(value=table["value"] / scale, sem=error).rename(columns={"value": "correlation"})


def fit_msd(table: pd.DataFrame, dimension: int) -> pd.DataFrame:
    """Fit a power law and a persistent random walk to each group.

    Parameters
    ----------
    table : DataFrame
        From `mean_squared_displacement`.
    dimension : int
        2 or 3.

    Returns
    -------
    DataFrame
        One row per group: ``group, n_lags, alpha, alpha_se`` (power law)``, diffusion_um2_per_min, persistence_min,
        speed_um_per_min`` (√(d D / P))``, position_error_um`` (0 where there are too few lags to tell)``, r2``.
        NaN where there are fewer than three lags or nothing moves; persistence and speed also where they are not resolved:
        where cells forget their direction within one interval, or go straight on for all the time (the curve of the fit
        is drawn with ``fitted_persistence_min``).
    """
    if dimension not in (2, 3):
        raise InputError("dimension", dimension, "2 or 3")
    rows = []
    for name, part in table.groupby("group", sort=True):
        rows.append({"group": name, "n_lags": len(part), **_fit(part, dimension)})
    return pd.DataFrame(rows, columns=["group", "n_lags", *_FITTED])


def persistent_walk(
    t: np.ndarray, diffusion: float, persistence: float, noise: float, dimension: int
) -> np.ndarray:
    """Return the mean squared displacement of a persistent random walk; times and constants in one unit."""
    ballistic = -np.expm1(-t / persistence)
    return 2 * dimension * (diffusion * (t - persistence * ballistic) + noise**2)


def _fit(part: pd.DataFrame, dimension: int) -> dict[str, float]:
    from scipy.optimize import curve_fit

    found: dict[str, float] = {name: np.nan for name in _FITTED}
    part = part[part["msd_um2"] > 0]
    if len(part) < 3:
        return found
    t, msd = part["lag_s"].to_numpy() / 60, part["msd_um2"].to_numpy()
    # Pairs that overlap in time repeat each other: of n pairs at a lag of k frames about n / k are independent.
    weight = np.sqrt((part["n_pairs"] / part["lag_frames"]).to_numpy())
    (slope, _), covariance = np.polyfit(np.log(t), np.log(msd), 1, w=weight, cov="unscaled")
    residual = np.log(msd) - np.polyval(np.polyfit(np.log(t), np.log(msd), 1, w=weight), np.log(t))
    spread = float((weight**2 * residual**2).sum() / (len(t) - 2))
    found["alpha"], found["alpha_se"] = float(slope), float(np.sqrt(covariance[0, 0] * spread))

    with_noise = len(t) >= 6

    def model(t: np.ndarray, log_d: float, log_p: float, noise: float = 0.0) -> np.ndarray:
        return persistent_walk(t, np.exp(log_d), np.exp(log_p), noise, dimension)

    start = [np.log(msd[-1] / t[-1] / (2 * dimension)), np.log(t[0])]
    low, high = [-np.inf, np.log(t[0] / 50)], [np.inf, np.log(t[-1] * 50)]
    if with_noise:
        start, low, high = [*start, np.sqrt(msd[0]) / 10], [*low, 0.0], [*high, np.sqrt(msd[0])]
    try:
        best, _ = curve_fit(model, t, msd, p0=start, sigma=msd / weight, bounds=(low, high), max_nfev=5000)
    except RuntimeError:
        return found
    d, p = np.exp(best[:2])
    left = ((msd - model(t, *best)) ** 2).sum()
    total = ((msd - msd.mean()) ** 2).sum()
    # What is shorter than an interval, or at its bound, longer than the movie, is not resolved, nor is the speed.
    known = t[0] <= p and best[1] < high[1] - 0.01
    return found | {
        "diffusion_um2_per_min": float(d),
        "persistence_min": float(p) if known else np.nan,
        "fitted_persistence_min": float(p),
        "speed_um_per_min": float(np.sqrt(dimension * d / p)) if known else np.nan,
        "position_error_um": float(best[2]) if with_noise else 0.0,
        "r2": float(1 - left / total) if total > 0 else np.nan,
    }


def _by_lag(tracks: Tracks, group: pd.Series | None, max_lag: int | None, *, velocity: bool) -> pd.DataFrame:
    object_times(tracks)  # says so where no interval is known
    interval = tracks.frame_interval or float(np.median(_intervals(tracks)))
    frames = tracks.objects["frame"].groupby(tracks.tracklet_ids)
    length = (frames.max() - frames.min() + 1).to_numpy()
    if max_lag is None:
        max_lag = max(4, int(length.max(initial=1)) // 3)
    if max_lag < 1:
        raise InputError("max_lag", max_lag, "at least 1 frame")
    lags = np.arange(0 if velocity else 1, max_lag + 1)
    names = group if group is not None else pd.Series("all", index=np.arange(tracks.n_tracklets))
    label = names.reindex(np.arange(tracks.n_tracklets)).to_numpy()
    sums = np.zeros((tracks.n_tracklets, len(lags)))
    counts = np.zeros((tracks.n_tracklets, len(lags)), np.int64)
    for ids, paths in _paths(tracks, length):
        values = np.diff(paths, axis=1) * (60 / interval) if velocity else paths
        for k, lag in enumerate(lags):
            if lag >= values.shape[1]:
                break
            early, late = values[:, : values.shape[1] - lag], values[:, lag:]
            pairs = (early * late).sum(axis=-1) if velocity else ((late - early) ** 2).sum(axis=-1)
            known = np.isfinite(pairs)
            sums[ids, k] = np.where(known, pairs, 0).sum(axis=1)
            counts[ids, k] = known.sum(axis=1)
    rows = []
    for name in pd.unique(label[pd.notna(label)]):
        members = label == name
        for k, lag in enumerate(lags):
            some = members & (counts[:, k] > 0)
            if not some.any():
                continue
            n, total = counts[some, k], sums[some, k]
            mean = total.sum() / n.sum()
            # Tracklets are independent, pairs within one are not.
            share = n / n.sum()
            m = int(some.sum())
            sem = np.sqrt((share**2 * (total / n - mean) ** 2).sum() * m / (m - 1)) if m > 1 else np.nan
            rows.append((name, int(lag), lag * interval, mean, int(n.sum()), m, sem))
    columns = ["group", "lag_frames", "lag_s", "value", "n_pairs", "n_tracklets", "sem"]
    return pd.DataFrame(rows, columns=columns)


def _intervals(tracks: Tracks) -> np.ndarray:
    times = pd.Series(object_times(tracks)).groupby(tracks.objects["frame"].to_numpy()).mean()
    steps = times.diff() / times.index.to_series().diff()
    return steps.dropna().to_numpy() if len(times) > 1 else np.ones(1)


def _paths(tracks: Tracks, length: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tracklet ids and their positions (tracklet, frame since its start, 3), NaN where there is none."""
    frames = tracks.objects["frame"].to_numpy()
    points = tracks.objects[["z", "y", "x"]].to_numpy(float)
    tracklet = tracks.tracklet_ids
    first = np.full(tracks.n_tracklets, np.iinfo(np.int64).max)
    np.minimum.at(first, tracklet, frames)
    # Tracklets of like length share an array, so that short ones do not fill the memory with NaN.
    by_length = np.argsort(length, kind="stable")
    place = np.empty(len(by_length), np.int64)
    place[by_length] = np.arange(len(by_length))
    rows_of = np.argsort(place[tracklet], kind="stable")
    ends = np.searchsorted(place[tracklet][rows_of], np.arange(0, len(by_length) + _CHUNK, _CHUNK))
    for k, start in enumerate(range(0, len(by_length), _CHUNK)):
        ids = by_length[start : start + _CHUNK]
        rows = rows_of[ends[k] : ends[k + 1]]
        paths = np.full((len(ids), int(length[ids].max()), 3), np.nan)
        paths[place[tracklet[rows]] - start, frames[rows] - first[tracklet[rows]]] = points[rows]
        yield ids, paths

"""Rhythms in the intensity of cells: the spectrum of each tracklet, its peak, and how surely that is no chance.

    intensity over time  →  minus its trend  →  times a window  →  zeros behind it  →  spectrum  →  peak, p-value

A tracklet ends where its cell divides, so mothers and daughters are never mixed. Evenly spaced values go through the
Fourier transform; where frames are missing or unevenly spaced the Lomb-Scargle periodogram (Lomb 1976, Scargle 1982;
in SciPy) takes its place. A tracklet that lasts T seconds tells frequencies apart that lie 1/T (a *bin*) apart;
zero padding draws the spectrum more finely, but tells no more. Amplitudes and frequencies belong to the same tracklet,
not to the movie.

Over 400 lines: one method, with its two transforms, told from end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import signal

from helpers.analysis.timing import object_times
from helpers.bounds import Count, Part, Periods, Positive, Shuffles, check_bounds
from helpers.errors import InputError
from helpers.progress import progress
from helpers.tracking.tracks import Tracks, numeric_columns

#: Fewest values of a tracklet whose spectrum means anything.
MIN_POINTS = 6

_TRENDS = {"none": None, "mean": 0, "linear": 1, "quadratic": 2}


@dataclass(frozen=True)
class SpectrumSettings:
    """How spectra are made.

    Attributes
    ----------
    column : str
        What of the objects: ``intensity_mean``, ``intensity_sum`` …
    detrend : {"linear", "none", "mean", "quadratic"}
        The trend that is taken away first. A slow trend left in would hide every rhythm.
    window : str
        Name of a SciPy window, such as ``"hann"`` (less leakage from strong peaks, wider peaks), ``"boxcar"`` is none.
        Only for evenly spaced values.
    zero_padding : int
        The spectrum has so many points a bin.
    method : {"auto", "fft", "lomb_scargle"}
        ``auto`` takes the Fourier transform where the values are evenly spaced.
    min_periods : float
        Slower rhythms, of which the tracklet holds fewer periods, are not looked for: they cannot be told from trends.
    max_frequency_hz : float, optional
        Faster ones neither; the Nyquist frequency if left out.
    significance : {"permutation", "false_alarm"}
        Shuffle the values and see how often chance makes as high a peak, or the false-alarm probability of white
        noise in closed form.
    n_permutations : int
        Shuffles a tracklet.
    significance_level : float
        A peak with a smaller p-value is a rhythm. Of tracklets of mere noise this share is called rhythmic.
    seed : int
        Of the shuffles.
    """

    column: str = "intensity_mean"
    detrend: Literal["linear", "none", "mean", "quadratic"] = "linear"
    window: str = "boxcar"
    zero_padding: Count = 8
    method: Literal["auto", "fft", "lomb_scargle"] = "auto"
    min_periods: Periods = 2.0
    max_frequency_hz: Positive | None = None
    significance: Literal["permutation", "false_alarm"] = "permutation"
    n_permutations: Shuffles = 999
    significance_level: Part = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (
            ("detrend", tuple(_TRENDS)),
            ("method", ("auto", "fft", "lomb_scargle")),
            ("significance", ("permutation", "false_alarm")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(name, getattr(self, name), "one of " + ", ".join(map(repr, allowed)))
        check_bounds(self)
        if self.significance == "permutation" and self.significance_level * (self.n_permutations + 1) < 1:
            raise InputError(
                "n_permutations",
                self.n_permutations,
                f"at least {int(np.ceil(1 / self.significance_level)) - 1} for significance_level {self.significance_level}",
            )
        try:
            signal.get_window(self.window, 8)
        except ValueError as error:
            raise InputError(
                "window", self.window, f"a window of scipy.signal, such as 'hann' ({error})"
            ) from None


@dataclass(frozen=True)
class Spectra:
    """Spectra of all tracklets.

    Attributes
    ----------
    tracklets : DataFrame
        One row per tracklet: ``tracklet_id, track_id, generation, start_frame, end_frame, n_points`` (with a value)``,
        n_missing, duration_s`` (T, one interval a point included)``, bin_hz`` (1/T)``, method, mean_intensity,
        peak_frequency_hz, peak_frequency_per_h, peak_period_s, peak_amplitude`` (of the sinusoid, in the intensity's
        units)``, relative_amplitude`` (by the mean)``, p_value, rhythmic, reason`` (why there is no spectrum, or "").
    power : DataFrame
        The spectra: ``tracklet_id, frequency_hz, frequency_per_h, amplitude, power`` (share of the variance that a
        sinusoid explains), within the band that is searched.
    series : DataFrame
        What went in: ``tracklet_id, time_s, intensity, detrended``.
    settings : SpectrumSettings
        How they were made.
    """

    tracklets: pd.DataFrame
    power: pd.DataFrame
    series: pd.DataFrame
    settings: SpectrumSettings


def measure_spectra(tracks: Tracks, settings: SpectrumSettings | None = None) -> Spectra:
    """Make the spectrum of each tracklet.

    Parameters
    ----------
    tracks : Tracks
        With a frame interval, or a column ``time_s``; objects with the column of intensities. Objects whose
        intensity is NaN count as missing.
    settings : SpectrumSettings
        How.

    Returns
    -------
    Spectra

    Raises
    ------
    InputError
        A missing column or interval, infinite intensities, or ``method="fft"`` for a tracklet with gaps.
    """
    settings = settings or SpectrumSettings()
    if settings.column not in tracks.objects:
        columns = ", ".join(numeric_columns(tracks.objects))
        raise InputError("intensity_column", settings.column, f"one of {columns}")
    values = tracks.objects[settings.column].to_numpy(float)
    if np.isinf(values).any():
        raise InputError(settings.column, "infinite", "give finite intensities, NaN where there is none")
    seconds = object_times(tracks)
    frames = tracks.objects["frame"].to_numpy()
    interval = _interval(tracks, seconds, frames)
    order = np.lexsort((frames, tracks.tracklet_ids))
    starts = np.searchsorted(tracks.tracklet_ids[order], np.arange(tracks.n_tracklets + 1))
    rows, spectra, series = [], [], []
    for tracklet in progress(range(tracks.n_tracklets), desc="Spectra", unit="tracklet"):
        members = order[starts[tracklet] : starts[tracklet + 1]]
        rng = np.random.default_rng([settings.seed, tracklet])
        row, curve, line = _tracklet(
            seconds[members], values[members], frames[members], interval, settings, rng
        )
        first = members[0]
        rows.append(
            {
                "tracklet_id": tracklet,
                "track_id": tracks.track_ids[first],
                "generation": tracks.generations[tracklet],
                "start_frame": frames[first],
                "end_frame": frames[members[-1]],
                **row,
            }
        )
        spectra.append(curve.assign(tracklet_id=tracklet))
        series.append(line.assign(tracklet_id=tracklet))
    return Spectra(
        pd.DataFrame(rows, columns=None if rows else _COLUMNS),
        _stacked(spectra, ["tracklet_id", "frequency_hz", "frequency_per_h", "amplitude", "power"]),
        _stacked(series, ["tracklet_id", "time_s", "intensity", "detrended"]),
        settings,
    )


def frequencies(duration: float, interval: float, settings: SpectrumSettings | None = None) -> np.ndarray:
    """Return the frequencies in Hz at which a tracklet's spectrum is computed.

    Parameters
    ----------
    duration : float
        Seconds, one interval a point included.
    interval : float
        Seconds between points.
    settings : SpectrumSettings
        For band and padding.
    """
    settings = settings or SpectrumSettings()
    step = 1 / (duration * settings.zero_padding)
    highest = min(0.5 / interval, settings.max_frequency_hz or np.inf)
    first = int(np.ceil(settings.min_periods * settings.zero_padding - 1e-9))
    last = int(np.floor(highest / step + 1e-9))
    return np.arange(first, last + 1) * step


def false_alarm_probability(power: float, n_points: float, n_parameters: int, n_bins: float) -> float:
    """Probability that white noise has a peak as high.

    Parameters
    ----------
    power : float
        Share of the variance that the sinusoid explains, 0 to 1.
    n_points : float
        Values; with a window, as many as it leaves.
    n_parameters : int
        Of the trend that was removed (1: the mean).
    n_bins : float
        Width of the band that was searched, in bins.

    Notes
    -----
    At one frequency the share of Gaussian noise follows a beta distribution; for the highest of a band this is the
    bound of Baluev (2008), Mon. Not. R. Astron. Soc. 385:1279-1285, close for the peaks that matter.
    """
    share = min(max(power, 0.0), 1.0)
    free = max(n_points - n_parameters, 3.0)
    single = (1 - share) ** ((free - 2) / 2)
    width = n_bins * np.sqrt(np.pi / 3)
    crossings = width * (1 - share) ** ((free - 3) / 2) * np.sqrt(free * share / 2)
    return float(-np.expm1(np.log1p(-min(single, 1 - 1e-16)) - crossings))


def compare_with_truth(
    spectra: Spectra, truth: pd.DataFrame, cell_of: Sequence[float] | np.ndarray, *, min_periods: float = 3.0
) -> pd.DataFrame:
    """Hold peaks against the known rhythms of synthetic cells.

    Parameters
    ----------
    spectra : Spectra
        What was found.
    truth : DataFrame
        The ``cells`` of a synthetic movie: ``id, rhythmic, frequency_hz``.
    cell_of : sequence
        True cell of each tracklet, NaN where there is none.
    min_periods : float
        Tracklets that hold fewer periods of their cell's rhythm are too short to show it.

    Returns
    -------
    DataFrame
        A row for each tracklet with a spectrum and a true cell: ``tracklet_id, cell, rhythmic, true_frequency_hz,
        long_enough, error_bins`` (distance of the peak from the truth)``, recovered`` (within one bin)``,
        called_rhythmic``.
    """
    table = spectra.tracklets
    cells = truth.set_index("id")
    cell = np.asarray(cell_of, float)
    known = np.isfinite(cell) & (table["reason"] == "").to_numpy()
    found, own = table[known], cells.loc[cell[known].astype(int)]
    true = own["frequency_hz"].to_numpy(float)
    off = np.abs(found["peak_frequency_hz"].to_numpy() - true) / found["bin_hz"].to_numpy()
    return pd.DataFrame(
        {
            "tracklet_id": found["tracklet_id"].to_numpy(),
            "cell": cell[known].astype(int),
            "rhythmic": own["rhythmic"].to_numpy(bool),
            "true_frequency_hz": true,
            "long_enough": true * found["duration_s"].to_numpy() >= min_periods - 1e-9,
            "error_bins": off,
            "recovered": off <= 1 + 1e-9,
            "called_rhythmic": found["rhythmic"].to_numpy(bool),
        }
    )


_COLUMNS = [
    "tracklet_id", "track_id", "generation", "start_frame", "end_frame", "n_points", "n_missing", "duration_s", "bin_hz",
    "method", "mean_intensity", "peak_frequency_hz", "peak_frequency_per_h", "peak_period_s", "peak_amplitude",
    "relative_amplitude", "p_value", "rhythmic", "reason",
]  # fmt: skip


def _tracklet(
    seconds: np.ndarray,
    values: np.ndarray,
    frames: np.ndarray,
    interval: float,
    settings: SpectrumSettings,
    rng: np.random.Generator,
) -> tuple[dict[str, object], pd.DataFrame, pd.DataFrame]:
    """Row, spectrum and series of one tracklet, in order of time."""
    known = np.isfinite(values)
    t, y = seconds[known], values[known]
    n = len(y)
    duration = float(t[-1] - t[0] + interval) if n else 0.0
    trend = _TRENDS[settings.detrend]
    basis = _trend_basis(t, trend)
    flat = y - basis @ (basis.T @ y)
    row: dict[str, object] = {
        "n_points": n,
        "n_missing": int(frames[-1] - frames[0] + 1 - n),
        "duration_s": duration,
        "bin_hz": 1 / duration if duration else np.nan,
        "method": "",
        "mean_intensity": float(y.mean()) if n else np.nan,
        **dict.fromkeys(
            ("peak_frequency_hz", "peak_frequency_per_h", "peak_period_s", "peak_amplitude", "relative_amplitude", "p_value"),
            np.nan,
        ),
        "rhythmic": False,
        "reason": "",
    }  # fmt: skip
    line = pd.DataFrame({"time_s": t, "intensity": y, "detrended": flat})
    grid = frequencies(duration, interval, settings) if n >= MIN_POINTS else np.zeros(0)
    if n < MIN_POINTS:
        row["reason"] = f"fewer than {MIN_POINTS} values"
    elif np.ptp(flat) <= 1e-9 * max(float(np.abs(y).max()), 1e-300):
        row["reason"] = "constant intensity"
    elif len(grid) == 0:
        row["reason"] = "too short for any rhythm in the band"
    if row["reason"]:
        return row, _curve(np.zeros(0), np.zeros(0), np.zeros(0)), line
    even = bool(np.allclose(np.diff(t), interval, rtol=1e-3))
    if settings.method == "fft" and not even:
        raise InputError(
            "method", "fft", 'tracklets have gaps or uneven intervals: take "auto" or "lomb_scargle"'
        )
    use_fft = even and settings.method != "lomb_scargle"
    transform = _Fourier(grid, n, interval, settings) if use_fft else LombScargle(grid, t)
    power = transform.power(flat[None])[0]
    peak = int(power.argmax())
    amplitude = transform.amplitude(flat[None])[0]
    if settings.significance == "permutation":
        # What is left without trend is exchangeable if there is no rhythm.
        shuffled = rng.permuted(np.broadcast_to(flat, (settings.n_permutations, n)), axis=1)
        highest = transform.power(shuffled - (shuffled @ basis) @ basis.T).max(axis=1)
        p = (1 + int((highest >= power[peak] * (1 - 1e-9)).sum())) / (1 + settings.n_permutations)
    else:
        n_bins = (grid[-1] - grid[0]) * duration * transform.share
        n_left = n * transform.share
        p = false_alarm_probability(float(power[peak]), n_left, max(basis.shape[1], 1), n_bins)
    found = float(grid[peak])
    mean = float(y.mean())
    row |= {
        "method": "fft" if use_fft else "lomb_scargle",
        "peak_frequency_hz": found,
        "peak_frequency_per_h": found * 3600,
        "peak_period_s": 1 / found,
        "peak_amplitude": float(amplitude[peak]),
        "relative_amplitude": float(amplitude[peak]) / mean if mean else np.nan,
        "p_value": p,
        "rhythmic": p <= settings.significance_level,
    }
    return row, _curve(grid, amplitude, power), line


class _Fourier:
    """Spectrum of evenly spaced values: a windowed, zero-padded Fourier transform.

    Near frequency 0 and near Nyquist's, sine and cosine are hardly to be told apart, and the usual 2 |F|² / n
    overstates what they explain, up to twice; among short tracklets the highest peak of noise would often lie there.
    The least squares weighted by the window need only the transform of the window besides, at twice the frequency.
    """

    def __init__(self, grid: np.ndarray, n: int, interval: float, settings: SpectrumSettings) -> None:
        self.window = np.asarray(signal.get_window(settings.window, n, fftbins=False), float)
        self.padded = n * settings.zero_padding
        self.band = np.rint(grid * self.padded * interval).astype(int)
        whole = np.fft.fft(self.window, self.padded)
        self.twice = whole[2 * self.band % self.padded]
        # How many of the values the window leaves: all without one, two thirds with Hann's.
        self.share = float(self.window.sum() ** 2 / (n * (self.window**2).sum()))

    def power(self, values: np.ndarray) -> np.ndarray:
        """Return the share of the variance that a sinusoid explains, (series, frequency), 0 to 1."""
        total = (values**2 @ self.window)[:, None]
        found, n = self._transform(values), self.window.sum()
        room = n**2 - np.abs(self.twice) ** 2
        energy = 2 * (n * np.abs(found) ** 2 - np.real(np.conj(self.twice) * found**2))
        alone = room < 1e-9 * n**2  # at Nyquist's frequency there is only a cosine
        energy = np.where(alone, np.abs(found) ** 2 / n, energy / np.where(alone, 1, room))
        return energy / np.where(total > 0, total, 1)

    def amplitude(self, values: np.ndarray) -> np.ndarray:
        """Return the amplitude of a sinusoid, in the values' units, (series, frequency)."""
        return 2 * np.abs(self._transform(values)) / self.window.sum()

    def _transform(self, values: np.ndarray) -> np.ndarray:
        return np.fft.rfft(values * self.window, self.padded)[:, self.band]


class LombScargle:
    """Spectrum of values at any times: least squares of a sinusoid at each frequency."""

    share = 1.0

    def __init__(self, grid: np.ndarray, t: np.ndarray) -> None:
        self.angular = 2 * np.pi * grid
        self.t = t - t[0]

    def power(self, values: np.ndarray) -> np.ndarray:
        """Return the share of the variance that a sinusoid explains, (series, frequency)."""
        total = (values**2).sum(axis=1, keepdims=True)
        return self._energy(values) / np.where(total > 0, total, 1)

    def amplitude(self, values: np.ndarray) -> np.ndarray:
        """Return the amplitude of a sinusoid, in the values' units, (series, frequency)."""
        return np.sqrt(2 * self._energy(values) / len(self.t))

    def _energy(self, values: np.ndarray) -> np.ndarray:
        if len(values) == 1:
            # SciPy's periodogram is half the energy that the sinusoid explains.
            return 2 * np.asarray(signal.lombscargle(self.t, values[0], self.angular))[None]
        # The same for many series at once: at each frequency, sine and cosine made orthogonal by a delay.
        phase = self.angular[:, None] * self.t
        delay = 0.5 * np.arctan2(np.sin(2 * phase).sum(axis=1), np.cos(2 * phase).sum(axis=1))
        phase = phase - delay[:, None]
        energy = np.zeros((len(values), len(phase)))
        for wave in (np.cos(phase), np.sin(phase)):
            size = (wave**2).sum(axis=1)
            energy += (values @ wave.T) ** 2 / np.where(size > 1e-9, size, np.inf)
        return energy


def _trend_basis(t: np.ndarray, degree: int | None) -> np.ndarray:
    """Orthonormal polynomials up to `degree` at the times `t`, (n, degree + 1)."""
    if degree is None or len(t) == 0:
        return np.zeros((len(t), 0))
    x = t - t.mean()
    x = x / max(float(np.abs(x).max(initial=0)), 1e-300)
    degree = min(degree, len(t) - 1)
    return np.linalg.qr(np.vander(x, degree + 1, increasing=True))[0]


def _interval(tracks: Tracks, seconds: np.ndarray, frames: np.ndarray) -> float:
    """Seconds between points: the frame interval, or the median of the times' steps."""
    if "time_s" not in tracks.objects and tracks.frame_interval is not None:
        return tracks.frame_interval
    times = np.unique(seconds)
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0


def _curve(grid: np.ndarray, amplitude: np.ndarray, power: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {"frequency_hz": grid, "frequency_per_h": grid * 3600, "amplitude": amplitude, "power": power}
    )


def _stacked(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    tables = [table for table in tables if len(table)]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)

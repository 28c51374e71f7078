"""Rhythms that are known are found, noise is not called one, and what has no spectrum says why."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import signal

from helpers.analysis.spectrum import (
    MIN_POINTS,
    SpectrumSettings,
    compare_with_truth,
    false_alarm_probability,
    frequencies,
    measure_spectra,
)
from helpers.data.synthetic.movie import SyntheticSettings, make_movie
from helpers.errors import InputError
from helpers.tracking.tracks import Tracks
from tests.analysis.analysis_tracks import straight

FAST = SpectrumSettings(n_permutations=199)


def _sines(
    n: int, length: int, interval: float, *, noise: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rhythms of 3 or more periods, each with a frequency and phase of its own, on a sloping ground."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(3 / length, 0.42, n) / interval
    time = np.arange(length) * interval
    wave = np.sin(2 * np.pi * frequency[:, None] * time + rng.uniform(0, 2 * np.pi, (n, 1)))
    trend = rng.uniform(-2, 2, (n, 1)) * np.linspace(0, 1, length)
    return 100 + 10 * (wave + trend + noise * rng.normal(size=(n, length))), frequency


@pytest.mark.parametrize("interval", [0.5, 60.0, 3600.0])
@pytest.mark.parametrize("window", ["boxcar", "hann"])
def test_the_frequency_is_found_within_a_bin(interval: float, window: str) -> None:
    values, frequency = _sines(100, 40, interval, noise=0.4)
    table = measure_spectra(straight(values, interval), replace(FAST, window=window)).tracklets
    off = np.abs(table["peak_frequency_hz"] - frequency)
    assert (off <= 1 / (40 * interval)).mean() >= 0.95
    np.testing.assert_allclose(table["bin_hz"], 1 / (40 * interval))
    np.testing.assert_allclose(table["peak_frequency_per_h"], table["peak_frequency_hz"] * 3600)
    np.testing.assert_allclose(table["peak_period_s"], 1 / table["peak_frequency_hz"])
    assert table["rhythmic"].mean() >= 0.95


def test_a_published_mistake_signal_at_its_own_place() -> None:
    """The published axis took the movie's length for the tracklet's and drew a rhythm of 0.02 at 0.0067."""
    values = np.full((1, 300), np.nan)
    values[0, 100:200] = np.sin(2 * np.pi * 0.02 * np.arange(100)) + 5
    table = measure_spectra(straight(values, 1.0), FAST).tracklets
    assert table["peak_frequency_hz"][0] == pytest.approx(0.02, abs=0.002)


def test_the_amplitude_is_that_of_the_sinusoid() -> None:
    time = np.arange(60) * 30.0
    values = 50 + 7 * np.sin(2 * np.pi * time / 300)[None]
    for settings in (FAST, replace(FAST, window="hann"), replace(FAST, method="lomb_scargle")):
        row = measure_spectra(straight(values, 30.0), settings).tracklets.iloc[0]
        assert row["peak_amplitude"] == pytest.approx(7, rel=0.03)
        assert row["relative_amplitude"] == pytest.approx(0.14, rel=0.03)
        assert row["peak_period_s"] == pytest.approx(300, rel=0.02)


def test_the_demo_shows_its_rhythms(demo_movie, demo_tracks) -> None:
    spectra = measure_spectra(demo_tracks)
    cell = demo_movie.objects["label"].groupby(demo_tracks.tracklet_ids).first()
    compared = compare_with_truth(spectra, demo_movie.cells, cell)
    shown = compared[compared["rhythmic"] & compared["long_enough"]]
    assert len(shown) >= 20
    assert shown["recovered"].mean() >= 0.95


@pytest.mark.slow
def test_a_longer_movie_and_its_noise() -> None:
    movie = make_movie(
        SyntheticSettings(
            shape=(8, 48, 48), n_cells=20, n_frames=40, division_rate=0.005, seed=4,
            rhythmic_fraction=0.6, rhythm_periods=(2.6, 9.0), irregularity=0.3, frame_interval=300.0,
        )
    )  # fmt: skip
    tracks = Tracks(movie.objects, movie.links, movie.voxel_size, movie.frame_interval)
    cell = movie.objects["label"].groupby(tracks.tracklet_ids).first().to_numpy()
    compared = compare_with_truth(measure_spectra(tracks), movie.cells, cell)
    shown = compared[compared["rhythmic"] & compared["long_enough"]]
    assert shown["recovered"].mean() >= 0.95
    assert shown["called_rhythmic"].mean() >= 0.95
    assert compared.loc[~compared["rhythmic"], "called_rhythmic"].mean() <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("length", [12, 48])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"window": "hann"},
        {"significance": "false_alarm"},
        {"method": "lomb_scargle"},
        {"detrend": "quadratic"},
        {"detrend": "none"},
    ],
    ids=str,
)
def test_white_noise_is_rarely_called_rhythmic(length: int, changes: dict) -> None:
    values = 100 + np.random.default_rng(length).normal(size=(300, length))
    table = measure_spectra(straight(values, 60.0), replace(FAST, **changes)).tracklets
    assert table["rhythmic"].mean() <= 0.05
    # The p-values mean what they say: of noise, 5 % are below 0.05 (± 3 standard errors).
    assert (table["p_value"] <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_lomb_scargle_is_scipys_and_equals_the_transform_without_gaps() -> None:
    values, _ = _sines(5, 30, 60.0, noise=1.0)
    fourier = measure_spectra(straight(values, 60.0), replace(FAST, method="fft"))
    lomb = measure_spectra(straight(values, 60.0), replace(FAST, method="lomb_scargle"))
    np.testing.assert_allclose(lomb.power["power"], fourier.power["power"], atol=1e-9)
    one = lomb.power[lomb.power["tracklet_id"] == 2]
    flat = lomb.series.loc[lomb.series["tracklet_id"] == 2, "detrended"].to_numpy()
    expected = signal.lombscargle(np.arange(30) * 60.0, flat, 2 * np.pi * one["frequency_hz"].to_numpy())
    np.testing.assert_allclose(one["power"], 2 * expected / (flat**2).sum())


def test_gaps_go_to_lomb_scargle_and_shuffles_use_the_same_spectrum() -> None:
    values, frequency = _sines(60, 40, 60.0, noise=0.4)
    rng = np.random.default_rng(3)
    for row in values:
        row[rng.choice(np.arange(1, 39), 8, replace=False)] = np.nan
    table = measure_spectra(straight(values, 60.0), FAST).tracklets
    assert (table["method"] == "lomb_scargle").all()
    assert (table["n_missing"] == 8).all()
    assert (np.abs(table["peak_frequency_hz"] - frequency) <= table["bin_hz"]).mean() >= 0.95
    assert table["rhythmic"].mean() >= 0.95
    with pytest.raises(InputError, match="method = 'fft'"):
        measure_spectra(straight(values, 60.0), replace(FAST, method="fft"))


def test_many_series_at_once_have_scipys_spectrum() -> None:
    from helpers.analysis.spectrum import LombScargle

    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 100, 17))
    values = rng.normal(size=(3, 17))
    transform = LombScargle(np.linspace(0.02, 0.4, 50), t)
    one_by_one = np.concatenate([transform.power(values[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(transform.power(values), one_by_one, rtol=1e-9)


def test_uneven_intervals_are_taken_from_the_times() -> None:
    rng = np.random.default_rng(2)
    time = np.cumsum(rng.uniform(20, 100, 50))
    tracks = straight(np.sin(2 * np.pi * time / 400)[None] + 3, 60.0)
    tracks = Tracks(tracks.objects.assign(time_s=time), tracks.links)
    row = measure_spectra(tracks, FAST).tracklets.iloc[0]
    assert row["method"] == "lomb_scargle"
    assert row["peak_period_s"] == pytest.approx(400, rel=0.03)
    backwards = Tracks(tracks.objects.assign(time_s=time[::-1]), tracks.links)
    with pytest.raises(InputError, match=r"objects\.time_s"):
        measure_spectra(backwards, FAST)


def test_mother_and_daughters_have_spectra_of_their_own(family) -> None:
    length = 20
    frames = np.r_[np.arange(length), np.arange(length, 2 * length), np.arange(length, 2 * length)]
    time = frames * 60.0
    period = np.repeat([240.0, 400.0, 600.0], length)
    objects = pd.DataFrame({"frame": frames, "y": 0.0, "x": np.repeat([0.0, 5.0, -5.0], length)})
    objects["intensity_mean"] = 10 + np.sin(2 * np.pi * time / period)
    chain = np.arange(length - 1)
    source = np.r_[chain, length - 1, length - 1, chain + length, chain + 2 * length]
    target = np.r_[chain + 1, length, 2 * length, chain + length + 1, chain + 2 * length + 1]
    tracks = Tracks(objects, pd.DataFrame({"source": source, "target": target}), None, 60.0)
    table = measure_spectra(tracks, FAST).tracklets
    assert table["n_points"].tolist() == [20, 20, 20]
    off = np.abs(table["peak_frequency_hz"] - 1 / np.array([240.0, 400.0, 600.0]))
    assert (off <= table["bin_hz"]).all()
    # Gaps, merges and lone points of a family too: too short, and said so.
    short = measure_spectra(Tracks(family.objects.assign(intensity_mean=1.0), family.links, None, 60.0), FAST)
    assert (short.tracklets["reason"] == f"fewer than {MIN_POINTS} values").all()


def test_what_has_no_spectrum_says_why() -> None:
    values = np.vstack(
        [np.full(20, 7.0), np.full(20, np.nan), np.arange(20.0), np.r_[np.nan * np.ones(16), 1, 2, 3, 5]]
    )
    spectra = measure_spectra(straight(values, 60.0), FAST)
    reasons = spectra.tracklets["reason"].tolist()
    few = f"fewer than {MIN_POINTS} values"
    assert reasons == ["constant intensity", few, "constant intensity", few], (
        "a straight line has no rhythm either"
    )
    assert not spectra.tracklets["rhythmic"].any()
    assert spectra.tracklets["peak_frequency_hz"].isna().all()
    assert len(spectra.power) == 0
    slow = measure_spectra(
        straight(np.random.default_rng(0).normal(size=(1, 20)), 60.0), replace(FAST, max_frequency_hz=1e-6)
    )
    assert slow.tracklets["reason"].tolist() == ["too short for any rhythm in the band"]


def test_equal_seeds_give_equal_p_values() -> None:
    values, _ = _sines(5, 12, 60.0, noise=2.0)
    tracks = straight(values, 60.0)
    once, again, other = (
        measure_spectra(tracks, replace(FAST, seed=s)).tracklets["p_value"] for s in (1, 1, 2)
    )
    assert once.tolist() == again.tolist() != other.tolist()


def test_zero_padding_draws_finer_within_the_same_band() -> None:
    coarse = frequencies(1000.0, 10.0, SpectrumSettings(zero_padding=1))
    fine = frequencies(1000.0, 10.0, SpectrumSettings(zero_padding=4))
    np.testing.assert_allclose(fine[::4], coarse)
    assert coarse[0] == pytest.approx(2 / 1000)
    assert coarse[-1] == pytest.approx(1 / 20), "Nyquist"


def test_the_false_alarm_probability_is_a_probability() -> None:
    values = [false_alarm_probability(p, 30, 2, 13.0) for p in (0.0, 0.2, 0.5, 0.9, 1.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(1.0) and values[-1] < 1e-12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"detrend": "cubic"}, "detrend = 'cubic'"),
        ({"window": "hanning!"}, "window = 'hanning!'"),
        ({"zero_padding": 0}, "zero_padding = 0: a whole number ≥ 1"),
        ({"n_permutations": 50}, "n_permutations = 50: at least 99"),
        ({"significance_level": 1.5}, "significance_level = 1.5"),
        ({"max_frequency_hz": -1.0}, "max_frequency_hz = -1.0"),
    ],
)
def test_wrong_settings_are_named(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        SpectrumSettings(**changes)


def test_missing_column_interval_and_infinite_values_are_named() -> None:
    tracks = straight(np.ones((1, 10)), 60.0)
    with pytest.raises(InputError, match=r"intensity_column = 'brightness': one of .*intensity_mean"):
        measure_spectra(tracks, replace(FAST, column="brightness"))
    with pytest.raises(InputError, match="frame_interval_s = None"):
        measure_spectra(Tracks(tracks.objects, tracks.links), FAST)
    with pytest.raises(InputError, match="intensity_mean = 'infinite'"):
        measure_spectra(straight(np.full((1, 10), np.inf), 60.0), FAST)


def test_no_tracks_give_empty_tables() -> None:
    empty = Tracks(pd.DataFrame({"frame": [], "y": [], "x": [], "intensity_mean": []}), frame_interval=60.0)
    spectra = measure_spectra(empty, FAST)
    assert len(spectra.tracklets) == len(spectra.power) == len(spectra.series) == 0
    assert "peak_frequency_hz" in spectra.tracklets

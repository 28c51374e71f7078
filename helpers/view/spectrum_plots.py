"""Pictures of notebook 14_analyze_intensity_spectrum: traces with their spectra, and the rhythms of all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers.analysis.spectrum import Spectra
from helpers.view.analysis_style import time_axis
from helpers.view.style import OKABE_ITO, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def traces_with_spectra(spectra: Spectra, *, n: int = 6) -> Figure:
    """Draw the intensity of some tracklets, and beside it their spectra.

    Parameters
    ----------
    spectra : Spectra
        From `helpers.analysis.spectrum.measure_spectra`.
    n : int
        How many: the surest (smallest p-value, then highest peak).

    Returns
    -------
    Figure
        Left values (points) and the trend that was taken away (dashed); right the amplitude spectrum, a grey band one
        frequency bin wide on each side of the peak, and the p-value.
    """
    chosen = surest(spectra, n)
    figure = new_figure(8.0, 1.45 * max(len(chosen), 1) + 0.8)
    if not chosen:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no tracklet is long enough for a spectrum", ha="center", va="center")
        return figure
    panels: Any = figure.subplots(len(chosen), 2, squeeze=False, width_ratios=[1.2, 1], sharex="col")
    seconds = spectra.series.loc[spectra.series["tracklet_id"].isin(chosen), "time_s"].to_numpy(float)
    size, unit = time_axis(seconds)
    for (trace, curve), tracklet in zip(panels, chosen, strict=True):
        draw_trace(trace, spectra, tracklet, size)
        draw_spectrum(curve, spectra, tracklet)
        trace.set_title(f"tracklet {tracklet}", loc="left", fontsize=8)
    panels[-1][0].set_xlabel(f"time ({unit})")
    panels[-1][1].set_xlabel("frequency (1/h)")
    panels[0][0].annotate(f"{spectra.settings.column.replace('_', ' ')}", (1, 1.04), xycoords="axes fraction", ha="right", fontsize=8)  # fmt: skip
    panels[0][1].annotate(
        "amplitude (same unit)", (1, 1.04), xycoords="axes fraction", ha="right", fontsize=8
    )
    return figure


def surest(spectra: Spectra, n: int) -> list[int]:
    """Return the tracklets whose peaks are least likely to be chance."""
    table = spectra.tracklets[spectra.tracklets["reason"] == ""]
    order = table.sort_values(["p_value", "relative_amplitude"], ascending=[True, False])
    return [int(i) for i in order["tracklet_id"].head(n)]


def draw_trace(axes: Axes, spectra: Spectra, tracklet: int, seconds_per_unit: float) -> None:
    """Draw the values of one tracklet and their trend."""
    series = spectra.series[spectra.series["tracklet_id"] == tracklet]
    time = series["time_s"].to_numpy(float) / seconds_per_unit
    value = series["intensity"].to_numpy(float)
    axes.plot(time, value, "o-", color=OKABE_ITO["blue"], markersize=3, linewidth=1.1)
    axes.plot(time, value - series["detrended"].to_numpy(float), "--", color="#777777", linewidth=0.9)


def draw_spectrum(axes: Axes, spectra: Spectra, tracklet: int) -> None:
    """Draw the amplitude spectrum of one tracklet, with its peak and p-value."""
    curve = spectra.power[spectra.power["tracklet_id"] == tracklet]
    row = spectra.tracklets[spectra.tracklets["tracklet_id"] == tracklet].iloc[0]
    axes.plot(curve["frequency_per_h"], curve["amplitude"], color=OKABE_ITO["blue"], linewidth=1.3)
    axes.set_ylim(bottom=0)
    if row["reason"]:
        axes.text(0.5, 0.5, row["reason"], transform=axes.transAxes, ha="center", fontsize=8)
        return
    peak, one_bin = row["peak_frequency_per_h"], row["bin_hz"] * 3600
    axes.axvspan(peak - one_bin, peak + one_bin, color="#dddddd", zorder=0)
    axes.axvline(peak, color=OKABE_ITO["vermillion"], linewidth=1)
    text = f"{period_text(row['peak_period_s'])}, p = {row['p_value']:.2g}"
    axes.annotate(text, (0.98, 0.9), xycoords="axes fraction", ha="right", va="top", fontsize=7.5,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8})  # fmt: skip


def period_text(seconds: float) -> str:
    """Return a period in a readable unit."""
    size, unit = time_axis(np.array([seconds]))
    return f"{seconds / size:.3g} {unit}"


@styled
def frequency_overview(spectra: Spectra) -> Figure:
    """Draw the peak of each tracklet: its frequency and amplitude, rhythmic or not.

    Parameters
    ----------
    spectra : Spectra
        From `helpers.analysis.spectrum.measure_spectra`.

    Returns
    -------
    Figure
        Below in cycles per hour, above in Hz.
    """
    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    table = spectra.tracklets[spectra.tracklets["reason"] == ""]
    called = table["rhythmic"].to_numpy(bool)
    for mask, color, marker, name in (
        (~called, "#999999", "o", "not rhythmic"),
        (called, OKABE_ITO["vermillion"], "^", "rhythmic"),
    ):
        part = table[mask]
        axes.plot(
            part["peak_frequency_per_h"], 100 * part["relative_amplitude"], marker, color=color, markersize=5,
            alpha=0.8, markeredgecolor="white", markeredgewidth=0.4, label=f"{name}: {len(part)}", gid=name,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frequency of the highest peak (1/h)")
    axes.set_ylabel("amplitude (% of the mean intensity)")
    hertz = axes.secondary_xaxis(
        "top", functions=(lambda v: np.divide(v, 3600), lambda v: np.multiply(v, 3600))
    )
    hertz.set_xlabel("frequency (Hz)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def spectrum_heatmap(spectra: Spectra, *, max_tracklets: int = 200) -> Figure:
    """Draw the spectra of all tracklets below each other, sorted by the frequency of their peak.

    Parameters
    ----------
    spectra : Spectra
        From `helpers.analysis.spectrum.measure_spectra`.
    max_tracklets : int
        The longest so many.

    Returns
    -------
    Figure
        Share of the variance at each frequency; grey where a tracklet is too short to tell.
    """
    import matplotlib

    figure = new_figure(6.2, 4.0)
    axes = figure.subplots()
    table = spectra.tracklets[spectra.tracklets["reason"] == ""]
    table = (
        table.sort_values("duration_s", ascending=False).head(max_tracklets).sort_values("peak_frequency_hz")
    )
    if len(table) == 0:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no tracklet is long enough for a spectrum", ha="center", va="center")
        return figure
    high = spectra.power["frequency_per_h"].max()
    grid = np.linspace(0, high, 400)
    rows = []
    groups = dict(iter(spectra.power.groupby("tracklet_id")))
    for tracklet in table["tracklet_id"]:
        curve = groups[tracklet]
        rows.append(np.interp(grid, curve["frequency_per_h"], curve["power"], left=np.nan, right=np.nan))
    colors = matplotlib.colormaps["viridis"].with_extremes(bad="#cccccc")
    shown = axes.imshow(
        np.ma.masked_invalid(rows), aspect="auto", cmap=colors, vmin=0, vmax=1, extent=(0, high, len(rows), 0)
    )
    axes.plot(table["peak_frequency_per_h"], np.arange(len(table)) + 0.5, ".", color="white", markersize=2)
    axes.set_xlabel("frequency (1/h)")
    axes.set_ylabel(f"{len(rows)} tracklets, by frequency")
    axes.set_yticks([])
    figure.colorbar(shown, ax=axes, label="share of the variance")
    return figure


@styled
def recovered_frequencies(compared: pd.DataFrame, spectra: Spectra) -> Figure:
    """Draw found against true frequencies of the tracklets that hold three periods.

    Parameters
    ----------
    compared : DataFrame
        From `helpers.analysis.spectrum.compare_with_truth`.
    spectra : Spectra
        What was compared.
    """
    figure = new_figure(4.8, 4.2)
    axes = figure.subplots()
    table = spectra.tracklets.set_index("tracklet_id")
    shown = compared[compared["rhythmic"] & compared["long_enough"]]
    peak = table.loc[shown["tracklet_id"], "peak_frequency_per_h"].to_numpy()
    one_bin = table.loc[shown["tracklet_id"], "bin_hz"].to_numpy() * 3600
    true = shown["true_frequency_hz"].to_numpy() * 3600
    for good, color, marker, name in (
        (True, OKABE_ITO["blue"], "o", "within one bin"),
        (False, OKABE_ITO["vermillion"], "X", "farther off"),
    ):
        part = shown["recovered"].to_numpy(bool) == good
        if not part.any() and not good:
            continue
        axes.errorbar(
            true[part], peak[part], yerr=one_bin[part], fmt=marker, color=color, markersize=4.5, elinewidth=0.6,
            label=f"{name}: {int(part.sum())}",
        )  # fmt: skip
    ends = np.concatenate([true, peak]) if len(true) else np.array([0.0, 1.0])
    axes.plot(
        [ends.min(), ends.max()],
        [ends.min(), ends.max()],
        color="black",
        linewidth=0.8,
        zorder=0,
        label="found as it is",
    )
    axes.set_xlabel("true frequency (1/h)")
    axes.set_ylabel("found, ± one bin (1/h)")
    figure.legend(loc="outside lower center", ncols=3)
    return figure

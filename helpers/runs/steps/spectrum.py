"""Notebook 14_analyze_intensity_spectrum: which intensities are analysed, and what the rhythms are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.analysis import boundary, spectrum
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.tables import read_table
from helpers.errors import InputError
from helpers.progress import progress
from helpers.runs.parameters import AnalyzeIntensitySpectrum
from helpers.tracking.objects import measure
from helpers.tracking.tracks import Tracks, numeric_columns

#: Copies of each tracklet's times that are filled with white noise, to count false rhythms.
_NOISE_COPIES = 10


def measured_intensity(p: AnalyzeIntensitySpectrum, tracks: Tracks) -> Tracks:
    """Return the tracks with the intensities of another movie or channel, where one is named.

    Raises
    ------
    InputError
        If the labels are missing, the tracks have no labels to find the cells by, or not that column.
    """
    tracks = _measured_elsewhere(p, tracks) if p.intensity_movie else tracks
    numeric = numeric_columns(tracks.objects)
    if p.intensity_column not in numeric:
        places = ("id", "frame", "label", "z", "y", "x")
        known = ", ".join(name for name in numeric if name not in places) or "none beside places"
        raise InputError("intensity_column", p.intensity_column, f"one of the columns with numbers: {known}")
    return tracks


def _measured_elsewhere(p: AnalyzeIntensitySpectrum, tracks: Tracks) -> Tracks:
    assert p.intensity_movie is not None
    if not p.labels_path().exists():
        raise InputError(
            "labels", str(p.labels_path()), "intensities are measured in labels: name the label movie"
        )
    if "label" not in tracks.objects:
        raise InputError(
            "tracks", list(tracks.objects), "the column label is needed to find the cells in the labels"
        )
    labels, movie = LabelMovie.open(p.labels_path()), Movie.open(p.intensity_movie)
    if labels.shape[-3:] != movie.shape[-3:] or movie.n_frames < labels.shape[0]:
        raise InputError("intensity_movie", movie.shape, f"the labels are of shape {labels.shape}")
    size = tracks.voxel_size or labels.voxel_size
    if size is None:
        raise InputError(
            "voxel_size_um", None, "neither the tracks nor the labels say it; give [z, y, x] in µm"
        )
    frames = [
        measure(labels.frame(t), movie.frame(t, p.channel), voxel_size=size, frame=t)
        for t in progress(range(labels.shape[0]), desc="Intensities", unit="frame")
    ]
    found = pd.concat(frames, ignore_index=True)
    columns = [name for name in found if str(name).startswith("intensity_")]
    kept = tracks.objects.drop(columns=[name for name in columns if name in tracks.objects])
    joined = kept.merge(
        found[["frame", "label", *columns]], on=["frame", "label"], how="left", validate="many_to_one"
    )
    return Tracks(joined, tracks.links, tracks.voxel_size, tracks.frame_interval)


def shown_labels(p: AnalyzeIntensitySpectrum) -> Path | None:
    """Return the label movie to show, or None where there is none."""
    path = p.labels_path()
    return path if path.exists() and (p.labels or p.tracks is None) else None


def settings_of(p: AnalyzeIntensitySpectrum) -> spectrum.SpectrumSettings:
    """Return the settings in the library's words."""
    names = ("detrend", "window", "zero_padding", "method", "min_periods", "max_frequency_hz", "significance", "n_permutations", "significance_level", "seed")  # fmt: skip
    return spectrum.SpectrumSettings(column=p.intensity_column, **{name: getattr(p, name) for name in names})


def noise_called_rhythmic(tracks: Tracks, settings: spectrum.SpectrumSettings) -> float:
    """Return the share of tracklets that would be called rhythmic if their intensities were white noise.

    Every tracklet keeps its length and gaps; its values are drawn anew, `_NOISE_COPIES` times.
    """
    rng = np.random.default_rng([settings.seed, 1])
    known = np.isfinite(tracks.objects[settings.column].to_numpy(float))
    called = []
    for _ in progress(range(_NOISE_COPIES), desc="White noise", unit="copy"):
        noise = np.where(known, rng.normal(size=len(known)), np.nan)
        copy = Tracks(
            tracks.objects.assign(**{settings.column: noise}), tracks.links, None, tracks.frame_interval
        )
        table = spectrum.measure_spectra(copy, settings).tracklets
        called.append(table.loc[table["reason"] == "", "rhythmic"])
    every = pd.concat(called)
    return float(every.mean()) if len(every) else np.nan


def compare_with_truth(
    p: AnalyzeIntensitySpectrum, tracks: Tracks, spectra: spectrum.Spectra
) -> pd.DataFrame | None:
    """Compare the peaks with known rhythms; None where there are none."""
    folder = p.truth_tracks
    if folder is None or not (folder / "cells.csv").is_file() or not (folder / "objects.csv").is_file():
        return None
    cells, objects = (read_table(folder / name, "truth_tracks") for name in ("cells.csv", "objects.csv"))
    if not {"id", "rhythmic", "frequency_hz"} <= set(cells) or "label" not in objects:
        return None
    placed = tracks.objects.assign(distance_um=0.0)
    reach = boundary.cell_diameter(tracks.objects) / 2
    pairs = boundary.distance_errors(placed, objects.assign(distance_um=0.0), reach)
    row = pd.Series(np.arange(len(tracks.objects)), index=tracks.objects["id"])
    tracklet = pd.Series(tracks.tracklet_ids[row[pairs["id"]].to_numpy()])
    true = objects["label"].to_numpy()[pairs["true_row"].to_numpy(int)]
    # A tracklet is the cell that it follows for most of its length.
    votes = pd.DataFrame({"tracklet": tracklet, "cell": true}).groupby(["tracklet", "cell"]).size()
    length = np.bincount(tracks.tracklet_ids, minlength=tracks.n_tracklets)
    best = votes.groupby(level=0).idxmax()
    cell_of = np.full(tracks.n_tracklets, np.nan)
    for number, (_, cell) in best.items():
        if votes[(number, cell)] > length[int(number)] / 2:  # type: ignore[call-overload]
            cell_of[int(number)] = cell  # type: ignore[call-overload]
    return spectrum.compare_with_truth(spectra, cells, cell_of)


def rhythms_in_words(spectra: spectrum.Spectra) -> str:
    """Return how many tracklets are rhythmic; where none has a spectrum, why."""
    reasons = spectra.tracklets["reason"]
    if len(reasons) and (reasons != "").all():
        return f"No tracklet has a spectrum: {', '.join(sorted(set(reasons)))}."
    rhythmic = int(spectra.tracklets["rhythmic"].sum())
    return f"{rhythmic} of {int((reasons == '').sum())} tracklets with a spectrum are rhythmic."


def noise_in_words(false_rhythms: float) -> str:
    """Return which share of white noise is called rhythmic, where there are tracklets to fill with it."""
    if np.isnan(false_rhythms):
        return "No tracklet is long enough to be filled with white noise."
    return f"{100 * false_rhythms:.1f} % of white noise is called rhythmic."


def recovery_in_words(compared: pd.DataFrame) -> str:
    """Return how many of the known rhythms were found, among how many, how exactly, and how many could not be."""
    rhythmic = compared[compared["rhythmic"]]
    shown = rhythmic[rhythmic["long_enough"]]
    short = f"{len(rhythmic) - len(shown)} more hold fewer than three periods, too short to show their rhythm"
    if not len(shown):
        return f"No tracklet with a known rhythm holds three periods of it; {short}."
    return (
        f"Of {len(shown)} tracklets with a known rhythm and at least three periods of it, {int(shown['recovered'].sum())} "
        f"have their peak within one bin of the truth; the median error is {shown['error_bins'].median():.2f} bins. {short}."
    )


def results(spectra: spectrum.Spectra, compared: pd.DataFrame | None, false_rhythms: float) -> dict[str, Any]:
    """Return what ``done.json`` keeps of notebook 14_analyze_intensity_spectrum."""
    rows = spectra.tracklets
    found: dict[str, Any] = {
        "tracklets": len(rows),
        "spectra": int((rows["reason"] == "").sum()),
        "without_spectrum": rows.loc[rows["reason"] != "", "reason"].value_counts().to_dict(),
        "rhythmic": int(rows["rhythmic"].sum()),
        "median_period_s": float(rows.loc[rows["rhythmic"].astype(bool), "peak_period_s"].median()),
        "false_rhythms": false_rhythms,
    }
    if compared is not None:
        shown = compared[compared["rhythmic"] & compared["long_enough"]]
        noise = compared[~compared["rhythmic"]]
        found["frequency_recovered"] = float(shown["recovered"].mean()) if len(shown) else np.nan
        found["frequency_error_bins"] = float(shown["error_bins"].median()) if len(shown) else np.nan
        found["tracklets_of_three_periods"] = len(shown)
        found["tracklets_too_short"] = int((compared["rhythmic"] & ~compared["long_enough"]).sum())
        found["cells_without_rhythm_called_rhythmic"] = (
            float(noise["called_rhythmic"].mean()) if len(noise) else np.nan
        )
    return found

"""What parameters ask of tables and labels, columns above all, looked for before anything runs.

A table that is given is read; of one that a step will write the columns are known all the same::

    06, 07, 08  ─ measures ─>  10  ─ + track_id, generation … ─>  14, 15
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.data.tables import read_table
from helpers.errors import InputError
from helpers.runs.parameters import AnalyzeBoundaryDistance, AnalyzeIntensitySpectrum, AnalyzeMigration, Track
from helpers.runs.parameters.analysis import TrackedMovie
from helpers.runs.parameters.base import Parameters
from helpers.tracking.tracks import Tracks, check_objects, numeric_columns

#: Parameters of notebook 10_track that ask for a column.
_TRACKING = (
    *("color_by", "penalties", "tracker_options", "track_filters"),
    *("min_size_um3", "max_size_um3", "min_intensity", "min_quality"),
)
#: Parameters of notebook 14_analyze_intensity_spectrum that must go together.
_SPECTRUM = ("window", "n_permutations", "significance_level", "significance", "max_frequency_hz")


def wrong_columns(
    steps: Mapping[str, Any], planar: bool | None
) -> Iterator[tuple[str, tuple[str, ...], InputError]]:
    """Yield what names a column that its table has not, or not with numbers.

    Parameters
    ----------
    steps : mapping
        Step → its parameters for one movie, paths absolute.
    planar : bool or None
        Whether the movie is 2D; None where that is not known.

    Yields
    ------
    step : str
    parameters : tuple of str
        Which may be meant.
    error : InputError
    """
    cells, read = None, functools.cache(_read)
    for step, p in steps.items():
        if isinstance(p, Track):
            cells = _cells(p, steps, planar)
            if cells is not None:
                yield from ((step, names, error) for names, error in _of_tracking(p, cells))
            continue
        if isinstance(p, TrackedMovie):
            yield from ((step, names, error) for names, error in _of_labels(p))
        if isinstance(p, (AnalyzeIntensitySpectrum, AnalyzeMigration)):
            try:
                tracks = _tracks(p, cells, read)
            except InputError as error:
                yield step, ("tracks",), error
                continue
            if tracks is not None:
                yield from ((step, names, error) for names, error in _of_analysis(p, tracks))


def measured_columns(planar: bool, intensity: bool) -> list[str]:
    """Return the columns that `helpers.tracking.objects.measure` gives, in its order."""
    from helpers.tracking.objects import COLUMNS

    other = "(3D)" if planar else "(2D)"
    return [
        name
        for name, meaning in COLUMNS.items()
        if other not in meaning and (intensity or not name.startswith("intensity_"))
    ]


def _cells(p: Track, steps: Mapping[str, Any], planar: bool | None) -> pd.DataFrame | None:
    """Return a table with the columns of the one that is tracked; None where they are not known."""
    if p.objects is None:
        makers = [one for one in steps.values() if one.segments]
        own = next((one for one in makers if not getattr(one, "beside_segment", False)), None)
        if own is not None:
            if planar is None:
                return None
            columns = measured_columns(planar, intensity=own.movie is not None)
            known = {
                "segment_cellpose": ["cell_probability_mean"],
                "segment_remote": ["quality"] + ["watertight"] * (not planar),
            }
            return _two_cells([*columns, *known.get(own.name, [])])
    try:
        return check_objects(read_table(p.objects_path(), "objects"), "objects")
    except InputError:
        return None  # which is told where the table is opened


def _tracks(
    p: TrackedMovie, cells: pd.DataFrame | None, read: Callable[[Path], Tracks | None]
) -> Tracks | None:
    """Return tracks with the columns of those that are analysed; None where they are not known."""
    if p.tracks is None and cells is not None:
        numeric = [
            *numeric_columns(cells),
            *Tracks(cells.head(0)).annotated().columns.difference(cells.columns),
        ]
        return Tracks(_two_cells(numeric), pd.DataFrame({"source": [0], "target": [1]}), (1, 1, 1), 1)
    return read(p.tracks_path())


def _read(path: Path) -> Tracks | None:
    """Read tracks, whatever their scale; a folder of masks takes long, and gives the columns of a measurement."""
    from helpers.tracking.formats import any_format

    if not path.exists() or (path.is_dir() and not any_format.has_table(path)):
        return None
    with warnings.catch_warnings():  # which its notebook shows
        warnings.simplefilter("ignore")
        return any_format.read(path, voxel_size=(1, 1, 1), frame_interval=1)


def _two_cells(columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(1.0, index=range(2), columns=columns).assign(id=[0, 1], frame=[0, 1], label=1)


def given(p: Parameters, names: Iterable[str]) -> list[str]:
    """Return those of some parameters that are not what they are by default."""
    fields = type(p).model_fields
    return [name for name in names if name in fields and getattr(p, name) != fields[name].default]


def _of_tracking(p: Track, cells: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], InputError]]:
    if p.trackmate_settings is not None:
        from helpers.runs.steps.trackmate_settings import with_trackmate_settings

        try:
            p = with_trackmate_settings(p)
        except InputError as error:
            yield ("trackmate_settings",), error
            return
    if p.labels_path() is None and (p.tracker in ("overlap", "global") or p.overlap_weight):
        expected = "the overlap of cells is measured in labels: name the label movie"
        yield ("labels",), InputError("labels", None, expected)
    kalman = p.tracker in ("kalman", "advanced_kalman")
    if not (kalman or given(p, _TRACKING)):
        return
    from helpers.runs.steps import tracking  # numba compiles what it needs, once
    from helpers.tracking import filters
    from helpers.tracking.candidates import radii
    from helpers.tracking.linking import sorted_points

    few = cells.head(2)
    try:
        parameters = tracking.tracker_parameters(p)
    except InputError as error:
        yield ("tracker_options", "penalties"), error
        return
    costs = {*getattr(parameters, "feature_columns", ())}
    if kalman:
        costs |= {*p.penalties, *getattr(getattr(parameters, "segments", None), "feature_columns", ())}
    bounded = p.model_copy(update={"roi_mask": None})
    quality = 0.0 if "min_quality" in p.track_filters else None
    looks = {
        ("color_by",): lambda: tracking.check_color(p, cells),
        _TRACKING[4:]: lambda: tracking.keep_cells(tracking.Cells(few, None, None, None), bounded),
        ("track_filters",): lambda: filters.filter_tracks(
            Tracks(few), min_quality=quality, quality_column=tracking.quality_column(cells)
        ),
        ("penalties",): lambda: sorted_points(cells, sorted(costs & {*p.penalties})),
        ("tracker_options",): lambda: sorted_points(cells, sorted(costs - {*p.penalties})),
        ("tracker",): lambda: radii(cells) if kalman else None,
    }
    for names, look in looks.items():
        try:
            look()
        except InputError as error:
            yield names, error


def _of_labels(p: TrackedMovie) -> Iterator[tuple[tuple[str, ...], InputError]]:
    """Yield what asks for labels of tracks that come from elsewhere and bring none; and two boundaries at once."""
    for name in ("nearest_voxel", "intensity_movie"):
        if getattr(p, name, None) and p.tracks and not getattr(p, "labels", None):
            yield (
                ("labels",),
                InputError("labels", None, f"{name} is measured in labels: name the label movie"),
            )
    if isinstance(p, AnalyzeBoundaryDistance) and p.roi and p.tissue_mask:
        yield ("roi",), InputError("roi", str(p.roi), "name a region or a tissue_mask, not both")


def _of_analysis(p: TrackedMovie, tracks: Tracks) -> Iterator[tuple[tuple[str, ...], InputError]]:
    try:
        if isinstance(p, AnalyzeIntensitySpectrum) and given(p, _SPECTRUM):
            from helpers.runs.steps import spectrum

            spectrum.settings_of(p)
        if isinstance(p, AnalyzeIntensitySpectrum) and not (
            p.intensity_movie or p.intensity_column in numeric_columns(tracks.objects)
        ):
            from helpers.runs.steps import spectrum

            spectrum.measured_intensity(p, tracks)
        if isinstance(p, AnalyzeMigration) and given(p, ("scatter_x", "scatter_y")):
            from helpers.runs.steps import migration

            first = tracks.objects["frame"] == tracks.objects["frame"].min()
            migration.measure(p, tracks.subset(first.to_numpy()), None)
    except InputError as error:
        yield (*_SPECTRUM, "intensity_column", "scatter_x", "scatter_y"), error

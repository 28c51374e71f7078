"""Figures of notebooks 13_analyze_boundary_distance to 16_compare_conditions: they show what is in the tables, and survive empty ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from helpers.analysis.boundary import RoiBoundary, distance_errors, measure_distances, summarize_tracklets
from helpers.analysis.cohort import compare
from helpers.analysis.diffusion import fit_msd, mean_squared_displacement, velocity_autocorrelation
from helpers.analysis.divisions import division_rates, measure_divisions
from helpers.analysis.migration import TRACKLET_METRICS, measure_steps, measure_tracklets
from helpers.analysis.spectrum import Spectra, SpectrumSettings, compare_with_truth, measure_spectra
from helpers.data.units import with_unit
from helpers.tracking.tracks import Tracks
from helpers.view import boundary_plots, migration_plots, spectrum_plots
from helpers.view.analysis_style import GENERATION_COLORS, ROLES, frame_title, group_colors, time_axis
from helpers.view.figure_files import save_figure
from helpers.view.widgets import column_panel, distance_panel, explore, spectrum_panel

ROI = RoiBoundary(np.array([[-20, -20], [-20, 60], [60, 60], [60, -20]], float))


@pytest.fixture(scope="module")
def tracks() -> Tracks:
    """Six walks of 12 frames, of which the first divides."""
    rng = np.random.default_rng(0)
    rows, links = [], []
    for cell in range(8):
        start = 6 if cell in (6, 7) else 0
        length = 6 if cell == 0 else 12 - start
        path = rng.normal(0, 1, (length, 3)).cumsum(axis=0) + rng.uniform(0, 40, 3)
        first = len(rows)
        for t in range(length):
            light = 100 + 20 * np.sin(2 * np.pi * (start + t) / 3.3 + cell) + rng.normal(0, 2)
            rows.append((start + t, *path[t], (160.0 if cell in (6, 7) else 300.0) + cell, light))
            if t:
                links.append((first + t - 1, first + t))
        if cell in (6, 7):
            links.append((5, first))
    objects = pd.DataFrame(rows, columns=["frame", "z", "y", "x", "volume_um3", "intensity_mean"])
    return Tracks(objects, pd.DataFrame(links, columns=["source", "target"]), (1.5, 0.5, 0.5), 60.0)


@pytest.fixture(scope="module")
def nothing() -> Tracks:
    """No cells at all."""
    empty = pd.DataFrame({name: [] for name in ("frame", "z", "y", "x", "volume_um3", "intensity_mean")})
    return Tracks(empty, None, (1.5, 0.5, 0.5), 60.0)


def _lines(axes, gid: str) -> list:
    return [line for line in axes.lines if line.get_gid() == gid]


def test_distances_over_time_by_role(tracks: Tracks, tmp_path) -> None:
    distances = measure_distances(tracks, ROI)
    tracklets = summarize_tracklets(tracks, distances)
    figure = boundary_plots.distance_over_time(distances, tracklets, inner_from=5.0)
    still, dividing = figure.axes
    assert len(_lines(still, "tracklet")) == 5 and len(_lines(dividing, "tracklet")) == 3
    colors = [line.get_color() for line in _lines(dividing, "tracklet")]
    assert colors.count(ROLES["parent"][0]) == 1 and colors.count(ROLES["daughter"][0]) == 2
    mother = _lines(dividing, "tracklet")[0]
    np.testing.assert_allclose(mother.get_ydata(), distances["distance_um"][:6])
    np.testing.assert_allclose(mother.get_xdata(), np.arange(6))
    assert still.get_xlabel() == "time (min)" and "(µm)" in still.get_ylabel()
    assert sum(line.get_linestyle() == ":" for line in dividing.lines) == 2, (
        "from the mother to each daughter"
    )
    assert [path.suffix for path in save_figure(figure, tmp_path / "d")] == [".png", ".pdf"]
    few = boundary_plots.distance_over_time(distances, tracklets, max_tracks=2)
    assert len(_lines(few.axes[0], "tracklet")) == 2 and "2 of 5" in few.axes[0].get_title(loc="left")


def test_start_and_end_by_role(tracks: Tracks) -> None:
    distances = measure_distances(tracks, ROI)
    tracklets = summarize_tracklets(tracks, distances)
    axes = boundary_plots.start_and_end(tracklets).axes[0]
    (parents,) = _lines(axes, "parent")
    row = tracklets[tracklets["is_parent"]].iloc[0]
    assert (
        parents.get_xdata()[0] == row["start_distance_um"]
        and parents.get_ydata()[0] == row["end_distance_um"]
    )
    assert {line.get_marker() for name in ROLES for line in _lines(axes, name)} == {"o", "^", "s"}
    assert boundary_plots.start_and_end(tracklets, min_points=99).axes


def test_counts_and_errors_of_distances(tracks: Tracks) -> None:
    distances = measure_distances(tracks, ROI, inner_from=8.0)
    axes = boundary_plots.regions_over_time(distances).axes[0]
    assert sum(patch.get_height() for patch in axes.patches) == len(distances)
    errors = distance_errors(distances, distances.assign(distance_um=distances["distance_um"] - 0.4), 1.0)
    figure = boundary_plots.error_histogram(errors, errors, 0.25)
    assert "found cells: 0.40 µm, n = 78" in [text.get_text() for text in figure.legends[0].get_texts()]
    edged = boundary_plots.distance_histogram(distances.assign(edge_distance_um=1.0), inner_from=8.0)
    assert len(edged.legends) == 1


def test_spectra_with_peaks(tracks: Tracks) -> None:
    spectra = measure_spectra(tracks, SpectrumSettings(n_permutations=99))
    figure = spectrum_plots.traces_with_spectra(spectra, n=3)
    assert len(figure.axes) == 6
    chosen = spectrum_plots.surest(spectra, 3)
    trace, curve = figure.axes[:2]
    series = spectra.series[spectra.series["tracklet_id"] == chosen[0]]
    np.testing.assert_allclose(trace.lines[0].get_ydata(), series["intensity"])
    peak = spectra.tracklets.set_index("tracklet_id").loc[chosen[0], "peak_frequency_per_h"]
    assert curve.lines[1].get_xdata()[0] == pytest.approx(peak)
    assert figure.axes[-1].get_xlabel() == "frequency (1/h)"
    overview = spectrum_plots.frequency_overview(spectra).axes[0]
    rhythmic = int(spectra.tracklets["rhythmic"].sum())
    assert len(_lines(overview, "rhythmic")[0].get_xdata()) == rhythmic > 0
    heat = spectrum_plots.spectrum_heatmap(spectra).axes[0]
    assert heat.images[0].get_array().shape[0] == (spectra.tracklets["reason"] == "").sum()
    truth = pd.DataFrame({"id": range(8), "rhythmic": True, "frequency_hz": 1 / 198})
    compared = compare_with_truth(spectra, truth, np.arange(8.0))
    assert spectrum_plots.recovered_frequencies(compared, spectra).axes[0].get_ylabel().endswith("(1/h)")


def test_migration_figures(tracks: Tracks) -> None:
    distances = measure_distances(tracks, ROI, inner_from=8.0)
    steps = measure_steps(tracks).assign(region=distances["region"])
    tracklets = measure_tracklets(tracks, steps)
    paths = migration_plots.paths_from_origin(steps)
    assert len(paths.axes) == 2, "from above and from the side"
    assert len(paths.axes[0].collections[0].get_segments()) == 8
    strips = migration_plots.metric_strips(tracklets, [*TRACKLET_METRICS, "none such"], by="generation")
    shown = [axes for axes in strips.axes if axes.axison]
    points = [len(line.get_xdata()) for line in shown[0].lines if line.get_gid() == "points"]
    assert sum(points) == len(tracklets), "every point is shown"
    roses = migration_plots.direction_roses(steps)
    assert f"{steps['azimuth_deg'].notna().sum()} steps" in roses.axes[0].get_title()
    table = mean_squared_displacement(tracks)
    figure = migration_plots.mean_squared_displacement(
        table, fit_msd(table, 3), velocity_autocorrelation(tracks), dimension=3
    )
    assert "µm²" in figure.axes[0].get_ylabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"all, n = {len(tracklets)}"]
    ghost = table.assign(group="ghost", n_pairs=0)
    figure = migration_plots.mean_squared_displacement(
        pd.concat([table, ghost]), fit_msd(table, 3), velocity_autocorrelation(tracks), dimension=3
    )
    assert len(figure.legends[0].get_texts()) == 1, "a group with nothing to show is not in the legend"
    labels = [label.get_text() for label in shown[0].get_xticklabels()]
    assert all("\nn = " in label for label in labels)
    rates = division_rates(tracks)
    divisions = migration_plots.division_overview(measure_divisions(tracks, distances), rates, 3)
    assert sum(patch.get_height() for patch in divisions.axes[1].patches[:6]) == 1
    rates = pd.DataFrame({"group": ["all", "inner"], "divisions": [3, 0], "rate_per_h": [0.6, 0.0], "low_per_h": [0.1, 0.0], "high_per_h": [1.9, 7.123]})  # fmt: skip
    said = migration_plots.division_overview(measure_divisions(tracks), rates, 3).axes[0].texts
    assert [text.get_text() for text in said] == ["n = 3", "n = 0\nto 7.12"], (
        "an interval that is cut says where it ends"
    )
    assert len(migration_plots.shape_over_time(steps).axes) == 2, "size and neighbours; no shape was measured"
    scatter = migration_plots.metric_scatter(
        tracklets, "directness", "mean_speed_um_per_min", selected=np.arange(8) < 3
    )
    assert [len(line.get_xdata()) for line in scatter.axes[0].lines] == [5, 3]
    assert scatter.axes[0].get_ylabel() == "mean speed (µm/min)"


def test_conditions_show_every_point() -> None:
    rng = np.random.default_rng(0)
    cohort = pd.DataFrame({"condition": np.repeat(["a", "b"], 60), "movie": np.repeat(list("uvwxyz"), 20), "speed_um": rng.normal(5, 1, 120)})  # fmt: skip
    figure = migration_plots.condition_plot([compare(cohort, "speed_um")])
    axes = figure.axes[0]
    assert sum(len(line.get_xdata()) for line in _lines(axes, "points")) == 120
    assert sum(len(line.get_xdata()) for line in _lines(axes, "movies")) == 6
    assert (
        "Welch" in axes.get_title(loc="left")
        and "3 movies\n60 tracklets" in axes.get_xticklabels()[0].get_text()
    )


def _every_figure(tracks: Tracks, distances: pd.DataFrame, spectra: Spectra) -> list[Figure]:
    """Draw every figure of notebooks 13_analyze_boundary_distance to 15_analyze_migration."""
    regions, msd = summarize_tracklets(tracks, distances), mean_squared_displacement(tracks)
    steps = measure_steps(tracks)
    tracklets = measure_tracklets(tracks, steps)
    return [
        boundary_plots.distance_over_time(distances, regions, inner_from=5.0),
        boundary_plots.start_and_end(regions),
        boundary_plots.regions_over_time(distances),
        boundary_plots.distance_histogram(distances),
        spectrum_plots.traces_with_spectra(spectra),
        spectrum_plots.frequency_overview(spectra),
        spectrum_plots.spectrum_heatmap(spectra),
        migration_plots.paths_from_origin(steps),
        migration_plots.metric_strips(tracklets, list(TRACKLET_METRICS), by="generation"),
        migration_plots.direction_roses(steps),
        migration_plots.mean_squared_displacement(
            msd, fit_msd(msd, 3), velocity_autocorrelation(tracks), dimension=3
        ),
        migration_plots.division_overview(measure_divisions(tracks), division_rates(tracks), 3),
        migration_plots.shape_over_time(steps),
        migration_plots.metric_scatter(tracklets, "directness", "duration_s"),
    ]


def test_nothing_to_show_is_no_error(nothing: Tracks, tmp_path) -> None:
    figures = _every_figure(
        nothing, measure_distances(nothing, ROI, inner_from=5.0), measure_spectra(nothing)
    )
    for k, figure in enumerate(figures):
        figure.savefig(tmp_path / f"{k}.png", dpi=40)


@pytest.mark.slow
@pytest.mark.parametrize(("interval", "unit"), [(0.5, "s"), (3600.0, "h")])
def test_difficult_tracks_are_drawn(interval: float, unit: str, tmp_path) -> None:
    """A gap, a merge, a lone point, cells on and outside the boundary, equal and missing intensities."""
    n = 12
    rows = [(t, 5.0, 0.0, 3.0 * t, 100.0) for t in range(n) if t not in (4, 5)]  # a gap
    rows += [(t, 5.0, y, 20.0, 7.0) for y in (-30.0, 60.0) for t in range(6)]  # outside, and on the boundary
    rows += [(t, 5.0, 30.0, 20.0, np.nan) for t in range(6, n)]  # where these two merge
    rows.append((3, 5.0, 40.0, 40.0, 1.0))
    objects = pd.DataFrame(rows, columns=["frame", "z", "y", "x", "intensity_mean"]).assign(volume_um3=300.0)
    steps = [(i, i + 1) for i in [*range(9), *range(10, 15), *range(16, 21), *range(22, 27)]]
    links = pd.DataFrame([*steps, (15, 22), (21, 22)], columns=["source", "target"])
    tracks = Tracks(objects, links, (1.5, 0.5, 0.5), interval)
    distances = measure_distances(tracks, ROI, inner_from=5.0)
    assert distances["distance_um"][10] == -10 and distances["distance_um"][16] == 0
    spectra = measure_spectra(tracks)
    figures = _every_figure(tracks, distances, spectra)
    assert figures[0].axes[0].get_xlabel() == f"time ({unit})"
    for k, figure in enumerate(figures):
        assert all(path.stat().st_size > 1000 for path in save_figure(figure, tmp_path / str(k), dpi=40))
    viewer = explore(tracks, panels=[column_panel(tracks, "intensity_mean"), spectrum_panel(spectra), distance_panel(distances)])  # fmt: skip
    for _, track in viewer.track.options:
        viewer.track.value = track
        assert f"({unit})" in viewer.figure().axes[1].get_xlabel()


def test_units_are_written_as_people_write_them() -> None:
    assert with_unit("speed_inward_um_per_h") == "speed inward (µm/h)"
    assert with_unit("diffusion_um2_per_min") == "diffusion (µm²/min)"
    assert with_unit("directness") == "directness"
    assert time_axis(np.array([90.0]))[1] == "s"
    assert time_axis(np.array([600.0, np.nan]))[1] == "min"
    assert time_axis(np.array([1e5]))[1] == "h"


def test_up_in_the_picture_is_up_in_the_rose() -> None:
    """The picture's y runs downwards: a step towards smaller y is seen going up."""
    steps = pd.DataFrame({"azimuth_deg": [-90.0] * 9 + [0.0], "turning_angle_deg": [10.0] * 10})
    rose = migration_plots.direction_roses(steps).axes[0]
    tallest = max(rose.patches, key=lambda bar: bar.get_height())
    assert np.degrees(tallest.get_x() + tallest.get_width() / 2) == pytest.approx(90, abs=15)
    assert rose.get_theta_direction() == 1 and rose.get_theta_offset() == 0
    assert "their mean,\n0.91 long (1: all agree" in rose.get_title()


def test_what_lacks_a_measure_is_seen_at_the_edge_or_counted() -> None:
    table = pd.DataFrame({"directness": [0.5, 0.6, np.nan, np.nan], "speed": [1.0, 2.0, 3.0, np.nan]})
    figure = migration_plots.metric_scatter(
        table, "directness", "speed", selected=np.array([1, 1, 1, 0], bool)
    )
    edge = [line for line in _lines(figure.axes[0], "without a value") if len(line.get_xdata())]
    assert [line.get_ydata().tolist() for line in edge] == [[3.0]]
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == [
        "failing: 1, 1 without both (not drawn)",
        "passing: 3, 1 without one measure (open, at the edge)",
    ]


def test_a_generation_has_one_colour_in_all_figures() -> None:
    by_name = group_colors(["outer", "generation 1", "inner", "generation 0", "all"])
    assert [by_name["generation 0"], by_name["generation 1"]] == list(GENERATION_COLORS[:2])
    assert group_colors(["0", "1", "7"], "generation")["7"] == GENERATION_COLORS[1], "they begin anew"
    assert len(set(by_name.values())) == 5
    assert frame_title(6, 13, 60.0) == "frame 6, 6 min" and frame_title(6, 13, None) == "frame 6"

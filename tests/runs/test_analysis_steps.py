"""Notebooks 13_analyze_boundary_distance to 16_compare_conditions on a small synthetic movie whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers.analysis.spectrum import measure_spectra
from helpers.curation.audit import open_audit
from helpers.curation.files import state_on_disk
from helpers.data.experiment import read_experiment
from helpers.data.movies import LabelMovie, write_movie
from helpers.data.synthetic.movie import SyntheticSettings, make_movie
from helpers.errors import InputError
from helpers.runs.doubts import checks_of
from helpers.runs.parameters import (
    AnalyzeBoundaryDistance,
    AnalyzeIntensitySpectrum,
    AnalyzeMigration,
    CompareConditions,
)
from helpers.runs.plan import Job, plan
from helpers.runs.report import summarize
from helpers.runs.report_overview import audited
from helpers.runs.run import Run
from helpers.runs.steps import boundary, conditions, migration, spectrum
from helpers.runs.steps.tracked import background, open_tracks, write_animation, write_tables
from helpers.tracking.formats import geff, table, trackmate
from helpers.tracking.tracks import Tracks


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as notebook 10_track leaves it, with the truth beside it."""
    folder = tmp_path_factory.mktemp("analysis")
    settings = SyntheticSettings(shape=(8, 48, 48), n_cells=8, n_frames=14, division_rate=0.02, irregularity=0.3, rhythmic_fraction=0.75, seed=5)  # fmt: skip
    movie = make_movie(settings)
    movie.save(folder / "data" / "movie")
    own = folder / "movies" / "m"
    labels = LabelMovie.create(
        own / "labels.zarr", movie.labels.shape, voxel_size=movie.voxel_size, frame_interval=60.0
    )
    for t in range(settings.n_frames):
        labels.write_frame(t, movie.labels[t].astype(np.uint16))
    objects = movie.objects.drop(columns=["distance_um", "modulation"])
    table.write(Tracks(objects, movie.links, movie.voxel_size, movie.frame_interval), own / "tracks.csv")
    return folder


def _p(cls: type, run_dir: Path, **changes: object):
    data = run_dir / "data" / "movie"
    given = {"run_dir": run_dir, "movie_id": "m", "raw": data / "raw.ome.tif"}
    if "truth_tracks" in cls.model_fields:  # type: ignore[attr-defined]
        given["truth_tracks"] = data
    return cls.checked(given | changes)  # type: ignore[attr-defined]


def test_10_measures_the_known_distances(run_dir: Path) -> None:
    mask = run_dir / "data" / "movie" / "tissue.ome.tif"
    p = _p(AnalyzeBoundaryDistance, run_dir, tissue_mask=mask, nearest_voxel=True, inner_from_um=6.0)
    tracks = open_tracks(p)
    edge, words = boundary.open_boundary(p, tracks)
    distances, tracklets = boundary.measure(p, tracks, edge)
    errors = boundary.compare_with_truth(p, tracks, distances, edge)
    results = boundary.results(distances, tracklets, errors, words)
    assert results["boundary_error_um"] <= 0.25
    assert results["boundary_error_of_found_cells_um"] <= 0.25
    assert results["cells_compared"] == len(tracks.objects)
    assert "a mask for each of 14 frames" in words
    assert (distances["edge_distance_um"] <= distances["distance_um"] + 1e-6).all()
    written = write_tables(p, {"boundary_objects": distances, "boundary_tracklets": tracklets})
    assert all((p.movie_path() / name).is_file() for name in written)
    Run.start(p).finish(results)
    job = type("Job", (), {"step": p.step, "folder": run_dir / "steps" / f"{p.step}-m", "parameters": p})
    assert summarize([job])["analysis"]["boundary_error_um"] == results["boundary_error_um"]  # type: ignore[list-item]


def test_10_other_boundaries(run_dir: Path, tmp_path: Path) -> None:
    hull = _p(AnalyzeBoundaryDistance, run_dir)
    tracks = open_tracks(hull)
    edge, words = boundary.open_boundary(hull, tracks)
    assert words == "the convex hull of the cells in each frame"
    assert (boundary.measure(hull, tracks, edge)[0]["distance_um"] > 0).all()
    pd.DataFrame({"y": [0, 0, 24, 24], "x": [0, 24, 24, 0]}).to_csv(tmp_path / "roi.csv")
    roi = _p(AnalyzeBoundaryDistance, run_dir, roi=tmp_path / "roi.csv")
    assert boundary.open_boundary(roi, tracks)[1] == "the region drawn in roi.csv"
    both = roi.model_copy(update={"tissue_mask": tmp_path / "roi.csv"})
    with pytest.raises(InputError, match="not both"):
        boundary.open_boundary(both, tracks)
    table.write(tracks, tmp_path / "own.csv")
    alone = _p(AnalyzeBoundaryDistance, run_dir, tracks=tmp_path / "own.csv", nearest_voxel=True)
    edge, words = boundary.open_boundary(alone, tracks)
    assert "centres" in words, "labels of another table are not taken for its own"
    with pytest.raises(InputError, match="nearest_voxel = True"):
        boundary.measure(alone, tracks, edge)


def test_10_a_static_mask_of_another_movie_is_refused(run_dir: Path, tmp_path: Path) -> None:
    mask = np.zeros((1, 1, 8, 20, 20), np.uint8)
    mask[..., 5:15, 5:15] = 1
    write_movie(tmp_path / "small.ome.tif", mask, voxel_size=(1.5, 0.5, 0.5))
    p = _p(AnalyzeBoundaryDistance, run_dir, tissue_mask=tmp_path / "small.ome.tif")
    tracks = open_tracks(p)
    edge, words = boundary.open_boundary(p, tracks)
    assert "one mask for all frames" in words
    with pytest.raises(InputError, match="cells lie beyond it"):
        boundary.measure(p, tracks, edge)


def test_10_without_cells_says_so(run_dir: Path) -> None:
    p = _p(AnalyzeBoundaryDistance, run_dir)
    tracks = open_tracks(p)
    with pytest.raises(InputError, match=r"^tracks = .*no cells"):
        boundary.open_boundary(p, Tracks(tracks.objects.iloc[:0], tracks.links.iloc[:0], tracks.voxel_size))


def test_10_writes_an_animation(run_dir: Path) -> None:
    p = _p(AnalyzeBoundaryDistance, run_dir)
    tracks = open_tracks(p)
    few = tracks.subset(tracks.objects["frame"].to_numpy() < 2)
    assert write_animation(p, few, "test", "frame") == ["analysis/test.gif"]
    assert (p.analysis_path("test.gif")).stat().st_size > 1000
    assert write_animation(p.model_copy(update={"animation": "none"}), few, "none", "frame") == []


def test_11_finds_the_known_rhythms(run_dir: Path) -> None:
    p = _p(AnalyzeIntensitySpectrum, run_dir, n_permutations=199)
    tracks = spectrum.measured_intensity(p, open_tracks(p))
    settings = spectrum.settings_of(p)
    spectra = measure_spectra(tracks, settings)
    compared = spectrum.compare_with_truth(p, tracks, spectra)
    false_rhythms = spectrum.noise_called_rhythmic(tracks, settings)
    results = spectrum.results(spectra, compared, false_rhythms)
    assert results["tracklets_of_three_periods"] >= 4
    assert results["frequency_recovered"] >= 0.95
    assert results["frequency_error_bins"] <= 0.5
    rhythmic = compared[compared["rhythmic"]]
    n = results["tracklets_of_three_periods"]
    assert results["tracklets_too_short"] == len(rhythmic) - n
    assert f"Of {n} tracklets" in spectrum.recovery_in_words(compared)
    assert "No tracklet" in spectrum.recovery_in_words(compared[~compared["long_enough"]])
    assert results["false_rhythms"] <= 0.05
    assert results["spectra"] + sum(results["without_spectrum"].values()) == results["tracklets"]


def test_11_measures_another_channel(run_dir: Path) -> None:
    p = _p(AnalyzeIntensitySpectrum, run_dir, intensity_movie=run_dir / "data" / "movie" / "clean.ome.tif")
    before = open_tracks(p)
    after = spectrum.measured_intensity(p, before)
    assert after.objects["id"].tolist() == before.objects["id"].tolist()
    # The generator measured the same noise-free movie.
    np.testing.assert_allclose(after.objects["intensity_mean"], before.objects["intensity_mean"], rtol=1e-4)
    with pytest.raises(InputError, match=r"^intensity_movie = "):
        write_movie(
            run_dir / "short.ome.tif", np.zeros((2, 1, 8, 48, 48), np.uint8), voxel_size=(1.5, 0.5, 0.5)
        )
        spectrum.measured_intensity(
            p.model_copy(update={"intensity_movie": run_dir / "short.ome.tif"}), before
        )


def test_12_by_region_and_generation(run_dir: Path) -> None:
    p = _p(AnalyzeMigration, run_dir, neighbour_radius_um=8.0, remove_drift=True)
    tracks = open_tracks(p)
    regions, words = migration.with_regions(p, tracks)
    assert regions is not None and "notebook 13_analyze_boundary_distance" in words
    steps, tracklets = migration.measure(p, tracks, regions)
    assert set(tracklets["region"]) <= {"inner", "outer"}
    assert "neighbours" in steps
    mean_squared_displacement = migration.measure_mean_squared_displacement(p, tracks, steps, tracklets)
    assert set(mean_squared_displacement["migration_msd"]["group"]) >= {"all", "generation 0", "generation 1"}
    divisions, rates = migration.measure_divisions(tracks, regions)
    assert len(divisions) == len(tracks.divisions) > 0
    assert "angle_to_boundary_deg" in divisions
    assert set(rates["by"]) == {"all cells", "generation", "region"}
    results = migration.results(
        tracklets, tracklets, divisions, mean_squared_displacement["migration_msd_fits"]
    )
    assert results["divisions"] == len(divisions)
    write_tables(p, {"migration_tracklets": tracklets})


def test_12_regions_of_a_label_image(run_dir: Path, tmp_path: Path) -> None:
    halves = np.ones((1, 1, 8, 48, 48), np.uint8)
    halves[..., 24:] = 2
    write_movie(tmp_path / "halves.ome.tif", halves, voxel_size=(1.5, 0.5, 0.5))
    p = _p(AnalyzeMigration, run_dir, region_labels=tmp_path / "halves.ome.tif")
    tracks = open_tracks(p)
    regions, _ = migration.with_regions(p, tracks)
    assert regions is not None
    right = tracks.objects["x"] > 12
    assert (regions["region"] == np.where(right, "region 2", "region 1")).mean() > 0.95
    with pytest.raises(InputError, match="scatter_x, scatter_y = 'sped'"):
        migration.measure(p.model_copy(update={"scatter_x": "sped"}), tracks, regions)


def test_12_distances_of_other_tracks_are_refused(run_dir: Path) -> None:
    p = _p(AnalyzeMigration, run_dir)
    tracks = open_tracks(p)
    with pytest.raises(InputError, match="run notebook 13_analyze_boundary_distance again"):
        migration.with_regions(p, tracks.subset(np.arange(len(tracks.objects)) > 0))


def test_13_compares_what_the_others_wrote(run_dir: Path, tmp_path: Path) -> None:
    p = CompareConditions.checked({"run_dir": run_dir, "conditions": {"m": "wild type"}, "metrics": ["directness", "no such"]})  # fmt: skip
    found = conditions.compare_conditions(p, conditions.open_cohort(p))
    assert [comparison.metric for comparison in found] == ["directness"]
    results = conditions.write_comparisons(p, found)
    assert "one condition only" in results["directness"]
    assert results["units"] == {"wild type": 1}, "movies, although cells were compared"
    assert checks_of("compare_conditions", results, {})[0].level == "look"
    assert (run_dir / "cohort" / "comparison.txt").read_text().startswith("directness (wild type: 1 movie")
    movies = pd.DataFrame({"run_dir": [str(run_dir)], "movie_id": "m", "condition": "x"})
    movies.to_csv(tmp_path / "cohort.csv", index=False)
    listed = p.model_copy(update={"cohort": tmp_path / "cohort.csv"})
    assert set(conditions.open_cohort(listed)["condition"]) == {"x"}
    with pytest.raises(InputError, match=r"conditions = \{\}"):
        conditions.open_cohort(p.model_copy(update={"conditions": {}}))
    with pytest.raises(InputError, match="none is in the tables"):
        conditions.compare_conditions(
            p.model_copy(update={"metrics": ["no such"]}), conditions.open_cohort(p)
        )


def test_13_states_the_audited_errors(run_dir: Path) -> None:
    p = CompareConditions.checked({"run_dir": run_dir, "conditions": {"m": "wild type"}, "metrics": ["directness"]})  # fmt: skip
    table = conditions.open_cohort(p)
    folder = run_dir / "movies" / "m"
    assert "audited" not in conditions.compare_conditions(p, table)[0].words
    try:
        audit = open_audit(folder, state_on_disk(folder), n=9)
        audit.save()
        assert conditions.audited_errors(p) == {}, "a stratum without a verdict gives no rate"
        audit.sample["verdict"] = np.where(audit.sample["kind"] == "link", "right", "wrong")
        audit.save()
        (found,) = conditions.compare_conditions(p, table)
        assert "wild type: 1 of 1 movies audited; cells: 100.0% wrong" in found.words
        assert "links: 0.0% wrong" in found.groups["audited_errors"].iloc[0]
        assert folder / "audit.json" in p.inputs()
        movie = _p(AnalyzeMigration, run_dir)
        (said,) = audited([Job(movie.step, movie, "m")])
        assert said.startswith("m: cells: 100.0% wrong") and "links: 0.0% wrong" in said
    finally:
        for name in ("audit.json", "audit.csv"):
            (folder / name).unlink(missing_ok=True)


def test_tracks_are_read_in_any_format(run_dir: Path, tmp_path: Path) -> None:
    p = _p(AnalyzeMigration, run_dir)
    tracks = open_tracks(p)
    trackmate.write(tracks, tmp_path / "t.xml")
    geff.write(tracks, tmp_path / "t.geff")
    table.write(tracks, tmp_path / "folder")
    for name in ("t.xml", "t.geff", "folder"):
        again = open_tracks(p.model_copy(update={"tracks": tmp_path / name, "frame_interval_s": 60.0}))
        assert (len(again.objects), len(again.links)) == (len(tracks.objects), len(tracks.links))
        assert again.frame_interval == 60.0
    with pytest.raises(InputError, match=r"^tracks = .*run notebook 10_track"):
        open_tracks(p.model_copy(update={"movie_id": "other"}))


def test_cells_are_drawn_on_the_movie_or_its_labels_or_nothing(run_dir: Path, tmp_path: Path) -> None:
    p = _p(AnalyzeMigration, run_dir)
    raw, labels = background(p), background(p.model_copy(update={"raw": None}))
    assert raw is not None and labels is not None
    assert raw.shape == (8, 48, 48) and labels.max() == 1
    assert background(p.model_copy(update={"raw": None, "tracks": tmp_path / "own.csv"})) is None


def test_an_experiment_plans_the_analyses(tmp_path: Path) -> None:
    (tmp_path / "movies.csv").write_text(
        "movie_id,movie,condition,truth_tracks\na,a.tif,wild type,truth_a\nb,b.tif,mutant,\n"
    )
    (tmp_path / "e.yaml").write_text(
        "name: e\nmovies: movies.csv\nsteps:\n  11_evaluate_tracking: {}\n  13_analyze_boundary_distance: {tissue_mask: mask.tif}\n"
        "  14_analyze_intensity_spectrum: {}\n  15_analyze_migration: {}\n  16_compare_conditions: {}\n"
    )
    jobs = plan(read_experiment(tmp_path / "e.yaml"))
    names = [job.name for job in jobs]
    assert names == [
        "13_analyze_boundary_distance [a]", "13_analyze_boundary_distance [b]", "14_analyze_intensity_spectrum [a]",
        "14_analyze_intensity_spectrum [b]", "15_analyze_migration [a]", "15_analyze_migration [b]", "16_compare_conditions",
    ]  # fmt: skip
    first = jobs[0].parameters
    assert isinstance(first, AnalyzeBoundaryDistance)
    assert first.tissue_mask is not None and first.tissue_mask.is_absolute()
    assert first.truth_tracks is not None and first.truth_tracks.name == "truth_a"
    last = jobs[-1].parameters
    assert isinstance(last, CompareConditions)
    assert last.conditions == {"a": "wild type", "b": "mutant"}

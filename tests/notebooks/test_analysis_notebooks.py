"""Notebooks 13_analyze_boundary_distance to 16_compare_conditions, executed by papermill: what they recorded and wrote is held against known truth."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd


def test_10_recorded_distances_that_are_right(tiny) -> None:
    results = tiny.done["13_analyze_boundary_distance-movie"]["results"]
    folder = tiny.run_dir / "movies" / "movie" / "analysis"
    truth = pd.read_csv(tiny.run_dir / "data" / "movie" / "objects.csv")
    assert results["boundary_error_um"] <= 0.25, "half a voxel in the plane"
    assert results["boundary_error_of_found_cells_um"] <= 1.0
    assert results["cells_compared"] >= 0.7 * len(truth)
    table = pd.read_csv(folder / "boundary_objects.csv")
    assert len(table) == results["objects"]
    assert table["edge_distance_um"].notna().all()
    assert (folder / "boundary.gif").stat().st_size > 1000
    published = pd.read_csv(folder / "boundary_published.csv")
    assert "Distance to Border" in published and len(published) == len(table)


def test_11_says_why_short_tracklets_have_no_spectrum(tiny) -> None:
    results = tiny.done["14_analyze_intensity_spectrum-movie"]["results"]
    assert results["spectra"] == 0, "three frames hold no rhythm"
    assert results["without_spectrum"] == {"fewer than 6 values": results["tracklets"]}
    assert results["rhythmic"] == 0


def test_12_compares_regions_and_tells_passing_from_failing(tiny) -> None:
    results = tiny.done["15_analyze_migration-movie"]["results"]
    folder = tiny.run_dir / "movies" / "movie" / "analysis"
    every, passing, failing = (
        pd.read_csv(folder / f"migration_{n}.csv") for n in ("tracklets", "passing", "failing")
    )
    assert len(every) == len(passing) + len(failing) == results["tracklets"]
    assert (passing["farthest_um"] >= 0.5).all()
    assert set(every["region"]) <= {"inner", "outer", "outside"}
    summary = pd.read_csv(folder / "migration_summary.csv")
    speed = summary[summary["metric"] == "mean_speed_um_per_min"]
    assert speed["n"].sum() == passing["mean_speed_um_per_min"].notna().sum()


def test_13_describes_a_single_condition(tiny) -> None:
    results = tiny.done["16_compare_conditions"]["results"]
    assert set(results) == {"mean_speed_um_per_min", "mean_distance_um", "units"}
    assert results["units"] == {"all": 1}
    assert all("one condition only" in words for words in results.values() if isinstance(words, str))


def test_the_summary_and_the_report_tell_of_the_analyses(tiny) -> None:
    analysis = json.loads((tiny.run_dir / "summary.json").read_text())["analysis"]
    assert analysis["boundary_error_um"] <= 0.25
    assert np.isfinite(list(analysis.values())).all()
    report = (tiny.run_dir / "report.html").read_text()
    assert "Where do cells begin, and where do they end" in report
    assert "boundary_error_um" in tiny.summary


def test_the_viewer_is_a_widget_and_a_picture(tiny) -> None:
    for step in ("13_analyze_boundary_distance", "14_analyze_intensity_spectrum", "15_analyze_migration"):
        notebook = json.loads((tiny.run_dir / "steps" / f"{step}-movie" / "notebook.ipynb").read_text())
        kinds = [
            kind
            for cell in notebook["cells"]
            for out in cell.get("outputs", [])
            for kind in out.get("data", {})
        ]
        assert "application/vnd.jupyter.widget-view+json" in kinds
        assert "image/png" in kinds

"""Notebook 15_analyze_migration: in which regions cells move, how far they get (mean squared displacement), and how often they divide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.analysis import boundary, diffusion, divisions, migration, mmv_h4tracks
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.tables import read_table
from helpers.errors import InputError
from helpers.runs.parameters import AnalyzeMigration
from helpers.tracking.tracks import Tracks, numeric_columns


def side_by_side(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary of `helpers.analysis.migration.summarize` with a row per measure and a column per group.

    Returns
    -------
    DataFrame of str
        Median, quartiles and number of tracklets.
    """
    by = list(summary.columns[: list(summary.columns).index("metric")])
    texts = [
        f"{row.median:.3g} ({row.q25:.3g} to {row.q75:.3g}; n = {row.n})" if row.n else "–"
        for row in summary.itertuples()
    ]
    groups = [
        ", ".join(f"{name} {value}" for name, value in zip(by, values, strict=True)) or "all"
        for values in summary[by].itertuples(index=False)
    ]
    long = pd.DataFrame({"metric": summary["metric"], "group": groups, "said": texts})
    found = long.pivot(index="metric", columns="group", values="said")
    return found[list(dict.fromkeys(groups))].fillna("–")


def with_regions(p: AnalyzeMigration, tracks: Tracks) -> tuple[pd.DataFrame | None, str]:
    """Return the region of each object (with the distances of notebook 13_analyze_boundary_distance, where it ran), and where it is from.

    Raises
    ------
    InputError
        If the region labels end before the movie, or the distances are of other tracks.
    """
    if p.region_labels:
        return _named_regions(p.region_labels, tracks), f"the regions of {p.region_labels.name}"
    path = p.analysis_path("boundary_objects.csv")
    if not path.is_file():
        return None, "no regions: run notebook 13_analyze_boundary_distance first, or name region_labels"
    distances = read_table(path)
    if distances["id"].tolist() != tracks.objects["id"].tolist():
        raise InputError(
            str(path), "distances of other tracks", "run notebook 13_analyze_boundary_distance again"
        )
    return distances, "the inner and outer cells of notebook 13_analyze_boundary_distance"


def _named_regions(path: Path, tracks: Tracks) -> pd.DataFrame:
    movie = Movie.open(path, missing_frames="empty")
    size = movie.voxel_size or tracks.voxel_size
    if size is None:
        raise InputError("voxel_size_um", None, f"{path} does not say it; give [z, y, x] in µm")
    frames = tracks.objects["frame"].to_numpy()
    if movie.n_frames > 1 and frames.max(initial=0) >= movie.n_frames:
        raise InputError(
            "region_labels", f"{movie.n_frames} frames", f"the tracks reach frame {frames.max()}"
        )
    at = np.rint(tracks.objects[["z", "y", "x"]].to_numpy(float) / size).astype(int)
    at = np.clip(at, 0, np.array(movie.shape[-3:]) - 1)
    region = np.zeros(len(at), int)
    for t in np.unique(frames):
        here = frames == t
        region[here] = movie.frame(int(t) if movie.n_frames > 1 else 0)[tuple(at[here].T)]
    names = np.where(region > 0, [f"region {number}" for number in region], "no region")
    return pd.DataFrame({"id": tracks.objects["id"], "region": names})


def measure(
    p: AnalyzeMigration, tracks: Tracks, regions: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure all steps, and bring those of each tracklet together.

    Raises
    ------
    InputError
        No such measure for the scatter plot, or mmv_h4tracks' layout for a movie in 3D.
    """
    if p.csv_layout == "mmv_h4tracks":
        mmv_h4tracks.check_planar(tracks)
    steps = migration.measure_steps(
        tracks, remove_drift=p.remove_drift, neighbour_radius=p.neighbour_radius_um
    )
    if regions is not None:
        steps["region"] = regions["region"].to_numpy()
    tracklets = migration.measure_tracklets(tracks, steps)
    for name in (p.scatter_x, p.scatter_y):
        if name not in (numeric := numeric_columns(tracklets)):
            raise InputError("scatter_x, scatter_y", name, f"one of {', '.join(numeric)}")
    return steps, tracklets


def write_layout(p: AnalyzeMigration, tracks: Tracks) -> list[str]:
    """Write the table of metrics in another program's layout, where one is asked for; return its name."""
    if p.csv_layout == "own":
        return []
    own = p.found_labels()
    table = mmv_h4tracks.measure_pixels(tracks, LabelMovie.open(own) if own else None)
    assert tracks.voxel_size is not None
    movement = round(p.min_displacement_um / tracks.voxel_size[2])
    mmv_h4tracks.write(table, p.analysis_path("mmv_h4tracks.csv"), movement, p.min_track_frames)
    return ["analysis/mmv_h4tracks.csv"]


def measure_divisions(tracks: Tracks, regions: pd.DataFrame | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure each division, and the rates of all cells, of each region and of each generation."""
    distances = regions if regions is not None and "inward_z" in regions else None
    rates = [divisions.division_rates(tracks).assign(by="all cells")]
    generation = pd.Series(tracks.generations[tracks.tracklet_ids])
    rates.append(
        divisions.division_rates(tracks, "generation " + generation.astype(str)).assign(by="generation")
    )
    if regions is not None:
        rates.append(divisions.division_rates(tracks, regions["region"]).assign(by="region"))
    return divisions.measure_divisions(tracks, distances), pd.concat(rates, ignore_index=True)


def about_divisions(found: pd.DataFrame, rates: pd.DataFrame) -> str:
    """Say how many divisions count, and why the others are left out."""
    doubtful = found[~found["plausible"].astype(bool)]
    counted = int(rates.loc[rates["by"] == "all cells", "divisions"].sum())
    text = (
        f"{len(found)} divisions, {counted} counted in the rates, {len(doubtful)} left out as not plausible"
    )
    return "\n".join(
        [text, *(f"  frame {r.frame}, cell {r.parent_id}: {r.doubts}" for r in doubtful.itertuples())]
    )


def growth_in_words(tracklets: pd.DataFrame) -> str:
    """Say how fast cells grow, of how many tracklets, and how well each rate is known."""
    if "growth_per_h" not in tracklets:
        return "No growth: the cells have no size."
    known = tracklets.dropna(subset=["growth_per_h"])
    left_out = f"{len(tracklets) - len(known)} of {len(tracklets)} tracklets have no growth rate: fewer than 5 points."
    if known.empty:
        return left_out
    low, middle, high = known["growth_per_h"].quantile([0.25, 0.5, 0.75])
    half = ((known["growth_high_per_h"] - known["growth_low_per_h"]) / 2).median()
    return (
        f"Growth: median {middle:.2f} per hour (quartiles {low:.2f} to {high:.2f}) of {len(known)} tracklets; "
        f"each of them is known to ± {half:.2f} per hour (95 %, median). {left_out}"
    )


def measure_mean_squared_displacement(
    p: AnalyzeMigration, tracks: Tracks, steps: pd.DataFrame, tracklets: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Displacement and correlation over time for all cells, each generation and each region, and the fits."""
    if p.remove_drift:
        moved = tracks.objects.assign(**{axis: steps[axis].to_numpy() for axis in "zyx"})
        tracks = Tracks(moved, tracks.links, tracks.voxel_size, tracks.frame_interval)
    groups: list[pd.Series | None] = [None]
    number = tracklets["tracklet_id"]
    if tracklets["generation"].nunique() > 1:
        groups.append(pd.Series(("generation " + tracklets["generation"].astype(str)).to_numpy(), number))
    if "region" in tracklets and tracklets["region"].nunique() > 1:
        groups.append(pd.Series(tracklets["region"].to_numpy(), number))
    msd = [diffusion.mean_squared_displacement(tracks, group=g, max_lag=p.max_lag_frames) for g in groups]
    correlation = [
        diffusion.velocity_autocorrelation(tracks, group=g, max_lag=p.max_lag_frames) for g in groups
    ]
    displacement = pd.concat(msd, ignore_index=True)
    dimension = 2 if boundary.is_planar(tracks) else 3
    return {
        "migration_msd": displacement,
        "migration_msd_fits": diffusion.fit_msd(displacement, dimension),
        "migration_velocity_correlation": pd.concat(correlation, ignore_index=True),
    }


def results(
    tracklets: pd.DataFrame, passing: pd.DataFrame, found: pd.DataFrame, fits: pd.DataFrame
) -> dict[str, Any]:
    """Return what ``done.json`` keeps of notebook 15_analyze_migration."""
    every = fits[fits["group"] == "all"]
    return {
        "tracklets": len(tracklets),
        "passing": len(passing),
        "divisions": len(found),
        "plausible_divisions": int(found["plausible"].sum()),
        "common_motion": common_motion(tracklets),
        "median_speed_um_per_min": float(tracklets["mean_speed_um_per_min"].median()),
        "median_directness": float(tracklets["directness"].median()),
        "msd_fit": every.drop(columns="group").iloc[0].to_dict() if len(every) else {},
    }


def common_motion(tracklets: pd.DataFrame) -> float:
    """Return the part of the motion that all cells share: the mean displacement by the mean of its lengths; 0 to 1."""
    length = tracklets["displacement_um"].to_numpy(float)
    vectors = (
        tracklets[["direction_z", "direction_y", "direction_x"]].fillna(0).to_numpy(float) * length[:, None]
    )
    total = np.nansum(length)
    return float(np.linalg.norm(np.nansum(vectors, axis=0)) / total) if total else 0.0

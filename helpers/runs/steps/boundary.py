"""Notebook 13_analyze_boundary_distance: what distances are measured to, and what they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from helpers.analysis import boundary
from helpers.data.label_movies import LabelMovie
from helpers.data.movies import Movie
from helpers.data.tables import read_table
from helpers.errors import InputError
from helpers.runs.parameters import AnalyzeBoundaryDistance
from helpers.tracking.tracks import Tracks


def open_boundary(p: AnalyzeBoundaryDistance, tracks: Tracks) -> tuple[boundary.Boundary, str]:
    """Choose what distances are measured to, and say it in words.

    Raises
    ------
    InputError
        If a mask and a region are both named, or a file is none of them; if there are no cells.
    """
    if tracks.objects.empty:
        raise InputError("tracks", str(p.tracks_path()), "there are no cells in it: look at the labels first")
    if p.roi and p.tissue_mask:
        raise InputError("roi", str(p.roi), "name a region or a tissue_mask, not both")
    if p.roi:
        return boundary.RoiBoundary.read(p.roi, tracks.voxel_size), f"the region drawn in {p.roi.name}"
    if p.tissue_mask:
        mask = Movie.open(p.tissue_mask, missing_frames="empty")
        size = mask.voxel_size or tracks.voxel_size
        found = boundary.MaskBoundary(mask, size, p.border_is_boundary, p.missing_masks)
        frames = (
            "one mask for all frames" if mask.n_frames == 1 else f"a mask for each of {mask.n_frames} frames"
        )
        return found, f"the tissue mask {p.tissue_mask.name} ({frames})"
    labels = open_labels(p, tracks)
    points = tracks.objects[["z", "y", "x"]].to_numpy(float)
    hull = boundary.HullBoundary(
        tracks.objects["frame"].to_numpy(), points, boundary.is_planar(tracks), labels
    )
    return hull, f"the convex hull of {'the cells' if labels else 'the centres of the cells'} in each frame"


def open_labels(p: AnalyzeBoundaryDistance, tracks: Tracks) -> LabelMovie | None:
    """Open the label movie, where there is one; without a scale of its own it has that of the tracks.

    Raises
    ------
    InputError
        If neither has one.
    """
    path = p.labels_path()
    if path is None:
        return None
    size = p.voxel_size_um or LabelMovie.open(path).voxel_size or tracks.voxel_size
    if size is None:
        raise InputError("voxel_size_um", None, f"neither {path} nor the tracks say it; give [z, y, x] in µm")
    return LabelMovie.open(path, voxel_size=size)  # type: ignore[arg-type]


def measure(
    p: AnalyzeBoundaryDistance, tracks: Tracks, edge: boundary.Boundary
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the distances of all cells, and bring those of each tracklet together."""
    labels = open_labels(p, tracks) if p.nearest_voxel else None
    if p.nearest_voxel and labels is None:
        raise InputError(
            "nearest_voxel", True, "the nearest voxel of a cell is found in labels: name the label movie"
        )
    distances = boundary.measure_distances(tracks, edge, labels=labels, inner_from=p.inner_from_um)
    return distances, boundary.summarize_tracklets(tracks, distances)


def with_distances(tracks: Tracks, distances: pd.DataFrame) -> Tracks:
    """Return the tracks with the distance among the measures of their cells."""
    objects = tracks.objects.assign(distance_um=distances["distance_um"].to_numpy())
    return Tracks(objects, tracks.links, tracks.voxel_size, tracks.frame_interval)


@dataclass(frozen=True)
class Errors:
    """How far distances are from the known ones.

    Attributes
    ----------
    found : DataFrame
        From `helpers.analysis.boundary.distance_errors`, of the cells that were found: those of their segmentation are
        part of them.
    true_cells : DataFrame
        The same of the true cells: errors of the measurement alone.
    """

    found: pd.DataFrame
    true_cells: pd.DataFrame


def compare_with_truth(
    p: AnalyzeBoundaryDistance, tracks: Tracks, distances: pd.DataFrame, edge: boundary.Boundary
) -> Errors | None:
    """Compare the distances with known ones; None where there are none."""
    path = p.truth_tracks / "objects.csv" if p.truth_tracks else None
    if path is None or not path.is_file():
        return None
    truth = read_table(path, "truth_tracks")
    if "distance_um" not in truth:
        return None
    reach = boundary.cell_diameter(tracks.objects) / 2
    cells = Tracks(
        truth[["frame", "z", "y", "x"]], voxel_size=tracks.voxel_size, frame_interval=tracks.frame_interval
    )
    again = boundary.measure_distances(cells, edge, inner_from=reach)
    return Errors(
        boundary.distance_errors(distances, truth, reach), boundary.distance_errors(again, truth, reach)
    )


def results(
    distances: pd.DataFrame, tracklets: pd.DataFrame, errors: Errors | None, words: str
) -> dict[str, Any]:
    """Return what ``done.json`` keeps of notebook 13_analyze_boundary_distance."""
    found: dict[str, Any] = {
        "boundary": words,
        "objects": len(distances),
        "tracklets": len(tracklets),
        "median_distance_um": float(distances["distance_um"].median()),
        "regions": distances["region"].value_counts().to_dict(),
    }
    if errors is not None:
        found["boundary_error_um"] = float(errors.true_cells["error_um"].abs().median())
        found["boundary_error_of_found_cells_um"] = float(errors.found["error_um"].abs().median())
        found["cells_compared"] = len(errors.found)
    return found

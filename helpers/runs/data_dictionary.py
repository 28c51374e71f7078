"""What every table that a run writes holds: each file, each column, its unit and meaning. ``python -m helpers columns`` prints it.

Over 400 lines: a list, one line per column.
"""

from __future__ import annotations

from dataclasses import dataclass

from helpers.curation.suspects.ranking import COLUMNS as _SUSPECTS
from helpers.tracking.formats.btrackmate import COLUMNS as _BTRACKMATE
from helpers.tracking.objects import COLUMNS as _OBJECTS


@dataclass(frozen=True)
class Table:
    """A table that a run writes.

    Parameters
    ----------
    file : str
        Below the run folder; * stands for a movie, a network or a method.
    about : str
        What a row is.
    columns : tuple of str
        Those that are always there.
    sometimes : tuple of str
        Those that depend on the data or on a parameter.
    own : dict
        Meaning of columns that have another one here than elsewhere.
    """

    file: str
    about: str
    columns: tuple[str, ...]
    sometimes: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FLAT = ("volume_um3", "surface_um2", "extent_z_um", "axis_middle_um", "area_um2", "perimeter_um")
_OFTEN = tuple(name for name in _OBJECTS if name not in _FLAT and not name.startswith("intensity"))
_SOMETIMES = tuple(name for name in _OBJECTS if name not in _OFTEN)
_TRACKLET = _words(
    "tracklet_id track_id generation n_points start_frame end_frame n_missing duration_s path_length_um displacement_um "
    "farthest_um directness mean_speed_um_per_min net_speed_um_per_min median_speed_um_per_min max_speed_um_per_min sd_speed_um_per_min "
    "direction_z direction_y direction_x azimuth_deg elevation_deg mean_turning_angle_deg mean_nearest_neighbour_um"
)
_SHAPES = _words(
    "mean_volume_um3 sd_volume_um3 mean_area_um2 sd_area_um2 mean_sphericity sd_sphericity mean_elongation sd_elongation mean_perimeter_um sd_perimeter_um mean_eccentricity sd_eccentricity growth_per_h growth_low_per_h growth_high_per_h mean_neighbours region"
)

#: All tables, in the order of work.
TABLES = (
    Table(
        "data/*/cells.csv",
        "a cell of a synthetic movie: its truth",
        _words(
            "id parent generation first_frame last_frame divides rhythmic frequency_hz phase_rad amplitude membrane_brightness "
            "cytoplasm_brightness"
        ),
        own=(
            ("id", "number of the cell, its label in every frame"),
            ("divides", "whether it divides in the end"),
            ("rhythmic", "whether its brightness has a rhythm"),
            ("amplitude", "of the rhythm, by the mean brightness"),
        ),
    ),
    Table(
        "data/*/objects.csv",
        "a cell of a synthetic movie in a frame: its truth",
        _words("id frame label z y x volume_um3 distance_um intensity_sum intensity_mean modulation"),
    ),
    Table("data/*/links.csv", "a link of a synthetic movie's truth", _words("source target cost")),
    Table(
        "annotations/where_to_draw.csv",
        "a place where a drawn cell would teach most",
        _words("rank frame z y x doubt reason"),
        own=(*((axis, "place, voxels") for axis in "zyx"), ("reason", "why, in words")),
    ),
    Table(
        "models/*/history.csv",
        "an epoch of a training",
        _words("epoch loss val_loss learning_rate seconds"),
        _words("dist_loss prob_loss val_dist_loss val_prob_loss"),
    ),
    Table("movies/*/objects.csv", "a cell in a frame", _OFTEN, (*_SOMETIMES, "quality")),
    Table(
        "movies/*/scores/*.counts.csv",
        "a frame and overlap: true and found cells, matched",
        _words("frame iou_threshold tp fp fn iou_sum"),
    ),
    Table(
        "movies/*/scores/*.frames.csv",
        "a frame",
        _words("frame n_true n_predicted seg_sum mse ssim"),
    ),
    Table(
        "movies/*/tracks.csv",
        "a cell in a frame, with its track; the columns of objects.csv too",
        _words("id frame z y x track_id tracklet_id generation lineage divides sources"),
        (*_OBJECTS, *_words("quality division_plausibility link_cost link_iou link_margin")),
    ),
    Table("movies/*/btrackmate.csv", "a cell in a frame, as BTrackMate reads it", _BTRACKMATE),
    Table(
        "movies/*/curated/tracks.csv",
        "a cell in a frame, after correction: the columns are those of movies/*/tracks.csv",
        _words("id frame z y x track_id tracklet_id generation lineage divides sources"),
        (*_OBJECTS, *_words("quality division_plausibility link_cost link_iou link_margin")),
    ),
    Table("movies/*/curated/confirmed_links.csv", "a link that was confirmed", _words("source target")),
    Table(
        "movies/*/edits_not_replayed.csv",
        "an edit that could not be repeated after a step was run again",
        _words("edit operation author time why"),
    ),
    Table(
        "movies/*/curation_scores.csv",
        "a result scored against curated frames",
        _words("time edits result frames n_frames n_true n_found iou dice ap50 f1_50"),
        _words(
            "false_positives false_negatives split_cells deleted_edges added_edges fault_value tra division_f1"
        ),
    ),
    Table(
        "movies/*/audit.csv",
        "a cell or link of the random sample that is judged by eye",
        _words("number kind frame label source_frame source_label z y x verdict"),
        own=(("kind", "cell or link"),),
    ),
    Table(
        "movies/*/suspects.csv",
        "a place that is likely wrong",
        tuple(name for name in _SUSPECTS if name != "confirm"),
        own=(("id", "number of the cell's row in tracks.csv; −1 in no track"),),
    ),
    Table(
        "movies/*/analysis/boundary_objects.csv",
        "a cell in a frame",
        _words(
            "id frame track_id tracklet_id generation z y x distance_um inward_z inward_y inward_x region inner_probability"
        ),
        _words("time_s edge_distance_um"),
    ),
    Table(
        "movies/*/analysis/boundary_tracklets.csv",
        "a tracklet",
        _words(
            "tracklet_id track_id generation parent_tracklet track_divides is_parent is_daughter n_points start_frame end_frame "
            "start_distance_um end_distance_um change_um mean_distance_um min_distance_um speed_inward_um_per_h start_region "
            "end_region inner_fraction"
        ),
    ),
    Table(
        "movies/*/analysis/boundary_published.csv",
        "a cell in a frame, under the names of the published tables",
        (
            "Track",
            "Tracklet",
            "Time",
            "Cell Size",
            "Distance to Border",
            "Inner Cell Probability",
            "Cell Speed",
            "Directionality",
        ),
    ),
    Table(
        "movies/*/analysis/spectrum_tracklets.csv",
        "a tracklet",
        _words(
            "tracklet_id track_id generation start_frame end_frame n_points n_missing duration_s bin_hz method mean_intensity "
            "peak_frequency_hz peak_frequency_per_h peak_period_s peak_amplitude relative_amplitude p_value rhythmic reason"
        ),
        own=(("duration_s", "length of the tracklet, an interval for each of its frames, s"),),
    ),
    Table(
        "movies/*/analysis/spectrum_power.csv",
        "a frequency of a tracklet's spectrum",
        _words("tracklet_id frequency_hz frequency_per_h amplitude power"),
    ),
    Table(
        "movies/*/analysis/spectrum_series.csv",
        "a point of a tracklet",
        _words("tracklet_id time_s intensity detrended"),
    ),
    Table(
        "movies/*/analysis/migration_objects.csv",
        "a cell in a frame, and its step from the frame before",
        _words(
            "id frame time_s track_id tracklet_id generation z y x step_um step_s speed_um_per_min velocity_z_um_per_min "
            "velocity_y_um_per_min velocity_x_um_per_min azimuth_deg elevation_deg turning_angle_deg nearest_neighbour_um"
        ),
        _words("neighbours volume_um3 area_um2 sphericity elongation perimeter_um eccentricity region"),
    ),
    Table("movies/*/analysis/migration_tracklets.csv", "a tracklet", _TRACKLET, _SHAPES),
    Table(
        "movies/*/analysis/migration_passing.csv", "a tracklet that passes the filters", _TRACKLET, _SHAPES
    ),
    Table(
        "movies/*/analysis/migration_failing.csv",
        "a tracklet that does not",
        (*_TRACKLET, "reason"),
        _SHAPES,
        own=(("reason", "the filters that it does not pass"),),
    ),
    Table(
        "movies/*/analysis/migration_summary.csv",
        "a measure of the tracklets of a region and generation",
        _words("generation metric n mean sd median q25 q75"),
        ("region",),
    ),
    Table(
        "movies/*/analysis/migration_divisions.csv",
        "a division",
        _words(
            "parent_id track_id tracklet_id generation frame time_s z y x daughters daughters_apart_um axis_z axis_y axis_x "
            "azimuth_deg elevation_deg size_ratio plausibility plausible doubts"
        ),
        _words("distance_um region angle_to_boundary_deg"),
        own=(
            ("azimuth_deg", "angle of the axis within the plane, from x towards y, degrees"),
            ("elevation_deg", "angle of the axis out of the plane, degrees"),
        ),
    ),
    Table(
        "movies/*/analysis/migration_division_rates.csv",
        "all cells, a generation or a region",
        _words("group divisions left_out cell_hours rate_per_h low_per_h high_per_h by"),
    ),
    Table(
        "movies/*/analysis/migration_msd.csv",
        "a lag",
        _words("group lag_frames lag_s msd_um2 n_pairs n_tracklets sem_um2"),
    ),
    Table(
        "movies/*/analysis/migration_msd_fits.csv",
        "a group of cells",
        _words(
            "group n_lags alpha alpha_se diffusion_um2_per_min persistence_min "
            "fitted_persistence_min speed_um_per_min position_error_um r2"
        ),
        own=(("speed_um_per_min", "speed of the persistent random walk, µm/min"),),
    ),
    Table(
        "movies/*/analysis/migration_velocity_correlation.csv",
        "a lag",
        _words("group lag_frames lag_s correlation n_pairs n_tracklets sem"),
    ),
    Table(
        "cohort/values.csv",
        "an observation of a measure",
        _words("condition value metric"),
        _words("movie animal"),
    ),
    Table(
        "cohort/groups.csv",
        "a condition and measure",
        _words("condition n_movies n_cells n mean sd median metric"),
        ("n_animals",),
        own=(("n", "observations"),),
    ),
    Table(
        "cohort/pairs.csv",
        "a pair of conditions and a measure",
        _words("a b difference low high hedges_g cliffs_delta statistic p_value p_holm metric"),
        own=(("p_value", "of the test of these two"),),
    ),
)

#: Column → its unit and meaning.
MEANING: dict[str, str] = {
    **_OBJECTS,
    "quality": "how sure the segmentation is of the cell; without unit",
    "epoch": "pass over the training set, counted from 1",
    "loss": "loss on the training patches; without unit",
    "val_loss": "loss on the validation patches; without unit",
    "learning_rate": "step size of the optimiser",
    "seconds": "what the epoch took, s",
    "dist_loss": "StarDist: part of the loss that is about distances",
    "prob_loss": "StarDist: part of the loss that is about probabilities",
    "val_dist_loss": "the same on the validation patches",
    "val_prob_loss": "the same on the validation patches",
    "iou_threshold": "overlap (IoU) from which a cell counts as found, 0 to 1",
    "tp": "true cells that were found",
    "fp": "found cells that are none",
    "fn": "true cells that were missed",
    "iou_sum": "sum of the overlaps (IoU) of the matched cells",
    "n_true": "true cells",
    "n_predicted": "found cells",
    "seg_sum": "sum over the true cells of the SEG measure of the Cell Tracking Challenge",
    "mse": "mean squared error of the foreground, 0 to 1",
    "ssim": "structural similarity of the foreground, up to 1",
    "track_id": "number of the track: a founder with all that descends from it",
    "tracklet_id": "number of the tracklet: a cell between two divisions",
    "generation": "divisions since the founder, counted from 0",
    "lineage": "number of the founder's tree",
    "divides": "whether the cell divides after this frame",
    "division_plausibility": "how plausible that division is, 0 to 1",
    "sources": "ids of the cells of earlier frames that this one follows, separated by ;",
    "link_cost": "cost of the link to each source; in the tracker's own unit",
    "link_iou": "overlap (IoU) with each source, 0 to 1",
    "link_margin": "by how much the chosen links are better than those without this one; in the tracker's own unit",
    "source": "id of the cell in the earlier frame",
    "target": "id of the cell in the later frame",
    "cost": "cost of the link; in the tracker's own unit",
    "parent": "number of the mother; −1: none",
    "first_frame": "its first frame",
    "last_frame": "its last frame",
    "phase_rad": "phase of the rhythm in frame 0, rad",
    "membrane_brightness": "factor on the brightness of its membrane",
    "cytoplasm_brightness": "brightness of its inside, by that of a membrane",
    "modulation": "factor of the rhythm on the brightness in this frame",
    "rank": "1 is the most doubtful",
    "doubt": "how far the networks are from agreeing there, 0 to 1",
    "edit": "number of the edit in the log",
    "operation": "what it did",
    "author": "who did it",
    "time": "when, UTC",
    "why": "why it could not be repeated",
    "edits": "edits in force then",
    "result": "whose labels and tracks",
    "frames": "which frames",
    "n_frames": "number of frames",
    "n_found": "found cells",
    "iou": "overlap of the foreground by what either covers, 0 to 1",
    "dice": "twice the overlap of the foreground by the sum of both, 0 to 1",
    "ap50": "TP / (TP + FP + FN) of the cells at an IoU of 0.5, 0 to 1",
    "f1_50": "F1 of the cells at an IoU of 0.5, 0 to 1",
    "false_positives": "cells to be removed",
    "false_negatives": "cells to be drawn",
    "split_cells": "cells to be split",
    "deleted_edges": "links to be cut",
    "added_edges": "links to be added",
    "fault_value": "FP + 10 FN + 5 SC + DE + 1.5 AE, as in mmv_h4tracks",
    "tra": "TRA of the Cell Tracking Challenge, 0 to 1",
    "division_f1": "F1 of the divisions, 0 to 1",
    "number": "number in the sample",
    "source_frame": "of a link: frame of the earlier cell",
    "source_label": "of a link: label of the earlier cell",
    "verdict": "right, wrong or unsure; empty: not judged yet",
    "T": "frame",
    "X": "centroid, voxels",
    "Y": "centroid, voxels",
    "Z": "centroid, voxels",
    "Label": "label",
    "Perimeter": "surface (2D: perimeter) in voxels",
    "Volume": "voxels of the cell",
    "Intensity": "summed intensity, in the image's units",
    "ExtentX": "side of the bounding box, voxels",
    "ExtentY": "side of the bounding box, voxels",
    "ExtentZ": "side of the bounding box, voxels",
    "score": "how suspicious, 0 to 1",
    "kind": "the strongest sign",
    "reason": "why: all signs in words; of a spectrum, why there is none",
    "other": "id of a second cell that it is about; −1: none",
    "time_s": "time since frame 0, s",
    "distance_um": "distance of the centre to the boundary, inside positive, µm",
    "edge_distance_um": "the same of the voxel nearest to the boundary, µm; 0 where the cell lies on both sides",
    **{f"inward_{a}": "unit vector along which the distance grows" for a in "zyx"},
    "region": "inner or outer, or the named region",
    "inner_probability": "1 − exp(−distance / cell diameter), 0 to 1",
    "parent_tracklet": "tracklet of the mother; −1: none",
    "track_divides": "whether any cell of the track divides",
    "is_parent": "whether the tracklet ends in a division",
    "is_daughter": "whether it begins with one",
    "n_points": "frames in which the cell was found",
    "n_missing": "frames of gaps in which it was not",
    "start_frame": "its first frame",
    "end_frame": "its last frame",
    "start_distance_um": "distance to the boundary in the first frame, µm",
    "end_distance_um": "distance to the boundary in the last frame, µm",
    "change_um": "end minus start, µm",
    "mean_distance_um": "mean distance to the boundary, µm",
    "min_distance_um": "smallest distance to the boundary, µm",
    "speed_inward_um_per_h": "slope of the distance over time, µm/h",
    "start_region": "region in the first frame",
    "end_region": "region in the last frame",
    "inner_fraction": "share of the frames in which it is inner, 0 to 1",
    "Track": "track_id",
    "Tracklet": "tracklet_id",
    "Time": "time since frame 0, s; frames where the interval is not known",
    "Cell Size": "µm³, in 2D µm²",
    "Distance to Border": "µm, outside negative",
    "Inner Cell Probability": "inner_probability",
    "Cell Speed": "µm/s since the tracklet's last point",
    "Directionality": "angle to the step before, rad",
    "bin_hz": "resolution of the spectrum: 1 / duration, Hz",
    "method": "fft or lomb_scargle",
    "mean_intensity": "mean over the tracklet, in the image's units",
    "peak_frequency_hz": "frequency of the highest peak, Hz",
    "peak_frequency_per_h": "the same, per hour",
    "peak_period_s": "its period, s",
    "peak_amplitude": "its amplitude, in the image's units",
    "relative_amplitude": "its amplitude by the mean intensity",
    "p_value": "probability of as high a peak by chance",
    "rhythmic": "whether that is at most significance_level",
    "frequency_hz": "frequency, Hz",
    "frequency_per_h": "the same, per hour",
    "amplitude": "amplitude, in the image's units",
    "power": "power, without unit (Lomb–Scargle) or in the image's units squared",
    "intensity": "what was analysed, in the image's units",
    "detrended": "the same without its trend",
    "step_um": "length of the step from the tracklet's last point, µm",
    "step_s": "time that it took, s",
    "speed_um_per_min": "step by time, µm/min",
    **{f"velocity_{a}_um_per_min": f"velocity along {a}, µm/min" for a in "zyx"},
    "azimuth_deg": "direction within the plane, from x towards y, degrees",
    "elevation_deg": "direction out of the plane, degrees",
    "turning_angle_deg": "angle to the step before, degrees",
    "nearest_neighbour_um": "distance to the nearest other cell, µm",
    "neighbours": "cells within neighbour_radius_um",
    "sphericity": "surface of a ball of that volume by the cell's surface (2D: circularity), 0 to 1",
    "elongation": "longest by shortest axis, 1 or more",
    "eccentricity": "of the ellipse with the cell's second moments (2D), 0 a disc, near 1 a line",
    "duration_s": "last minus first point, s",
    "path_length_um": "length of the path, µm",
    "displacement_um": "straight from first to last point, µm",
    "farthest_um": "farthest from the first point, µm",
    "directness": "displacement by path length, 0 to 1",
    "mean_speed_um_per_min": "path length by duration, µm/min",
    "net_speed_um_per_min": "displacement by duration, µm/min",
    "median_speed_um_per_min": "median over the steps, µm/min",
    "max_speed_um_per_min": "fastest step, µm/min",
    **{f"direction_{a}": "unit vector of the displacement" for a in "zyx"},
    "mean_turning_angle_deg": "mean angle between steps, degrees",
    "mean_nearest_neighbour_um": "mean distance to the nearest other cell, µm",
    "sd_speed_um_per_min": "standard deviation of the speed of its steps, µm/min",
    "mean_volume_um3": "mean volume, µm³ (3D)",
    "sd_volume_um3": "standard deviation of its volume, µm³ (3D)",
    "mean_area_um2": "mean area, µm² (2D)",
    "sd_area_um2": "standard deviation of its area, µm² (2D)",
    "sd_sphericity": "standard deviation of its sphericity",
    "sd_elongation": "standard deviation of its elongation",
    "mean_perimeter_um": "mean perimeter (2D), µm",
    "sd_perimeter_um": "standard deviation of its perimeter (2D), µm",
    "mean_eccentricity": "mean eccentricity (2D), 0 to 1",
    "sd_eccentricity": "standard deviation of its eccentricity (2D)",
    "mean_sphericity": "mean sphericity, 0 to 1",
    "mean_elongation": "mean elongation, 1 or more",
    "mean_neighbours": "mean number of neighbours",
    "growth_per_h": "slope of the logarithm of the size, per hour; of 5 points or more",
    "growth_low_per_h": "lower end of its 95 % interval (Student's t of the residuals), per hour",
    "growth_high_per_h": "upper end of its 95 % interval, per hour",
    "metric": "which measure: a column of the tables of tracklets",
    "n": "tracklets with a value",
    "mean": "mean, in the column's unit",
    "sd": "standard deviation, in the column's unit",
    "median": "median, in the column's unit",
    "q25": "first quartile, in the column's unit",
    "q75": "third quartile, in the column's unit",
    "parent_id": "id of the mother's last object",
    "daughters": "number of daughters",
    "daughters_apart_um": "distance between the daughters, µm",
    **{f"axis_{a}": "unit vector from daughter to daughter" for a in "zyx"},
    "size_ratio": "smaller daughter by larger, 0 to 1",
    "plausibility": "how plausible the division is, 0 to 1",
    "plausible": "whether it counts",
    "doubts": "what speaks against it",
    "angle_to_boundary_deg": "0: daughters side by side along the boundary; 90: one deeper than the other",
    "group": "which cells",
    "by": "all cells, generation or region",
    "divisions": "plausible divisions",
    "left_out": "divisions that are not plausible, or could not have been judged",
    "cell_hours": "time over which divisions could have been seen, summed over cells, h",
    "rate_per_h": "divisions per cell and hour",
    "low_per_h": "lower end of its 95 % interval",
    "high_per_h": "upper end of its 95 % interval",
    "lag_frames": "lag, frames",
    "lag_s": "lag, s",
    "msd_um2": "mean squared displacement, µm²",
    "sem_um2": "its standard error over tracklets, µm²",
    "n_pairs": "pairs of points",
    "n_tracklets": "tracklets",
    "n_lags": "lags that the fit uses",
    "alpha": "exponent of the mean squared displacement: 1 random, 2 straight",
    "alpha_se": "its standard error",
    "diffusion_um2_per_min": "diffusion coefficient, µm²/min",
    "persistence_min": "time for which a direction is kept, min; empty where it is not resolved",
    "fitted_persistence_min": "that time as the fit has it, also where it is not resolved, min",
    "position_error_um": "error of the positions that the fit finds, µm",
    "r2": "share of the variance that the fit explains",
    "condition": "condition",
    "movie": "movie",
    "animal": "animal",
    "value": "value, in the measure's unit",
    "n_movies": "movies",
    "n_animals": "animals",
    "n_cells": "tracklets",
    "a": "first condition",
    "b": "second condition",
    "difference": "mean of b minus mean of a, in the measure's unit",
    "low": "lower end of its 95 % interval (bootstrap)",
    "high": "upper end of its 95 % interval",
    "hedges_g": "effect size: difference by standard deviation, corrected for few observations",
    "cliffs_delta": "effect size: −1 to 1, 0 where the two are alike",
    "statistic": "statistic of the test",
    "p_holm": "p-value corrected for the number of pairs (Holm)",
    "correlation": "velocity autocorrelation, −1 to 1",
    "sem": "its standard error over tracklets",
}  # fmt: skip


def meaning(table: Table, column: str) -> str:
    """Return the unit and meaning of a column in a table."""
    return dict(table.own).get(column) or MEANING[column]


def dictionary() -> str:
    """Return the page, in Markdown."""
    lines = [
        "# The tables of a run",
        "",
        "Written by `python -m helpers columns`. Files lie below the run folder; * stands for a movie, a network or a method. "
        "Lengths are in µm, times in seconds, frames are counted from 0. Columns in *italics* are there where the data or a "
        "parameter give them.",
        "",
        "Numbers have six significant digits at most; whole numbers (ids, frames, counts, sums of whole grey values) have all "
        "of theirs. What comes after reads these tables, so the same six digits are everywhere; `tracks.xml` and `tracks.geff` "
        "keep what tracking adds to them in full. Only `analysis/mmv_h4tracks.csv` is written as its own program writes it.",
    ]
    for table in TABLES:
        lines += [
            "",
            f"## `{table.file}`",
            "",
            f"A row is {table.about}.",
            "",
            "| column | meaning |",
            "|---|---|",
        ]
        lines += [f"| `{name}` | {meaning(table, name)} |" for name in table.columns]
        extra = [name for name in table.sometimes if name not in table.columns]
        lines += [f"| *`{name}`* | {meaning(table, name)} |" for name in extra]
    return "\n".join(lines) + "\n"

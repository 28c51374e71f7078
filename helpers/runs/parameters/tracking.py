"""Parameters of the notebooks that track and evaluate tracks."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, get_args

from pydantic import Field, model_validator

from helpers.bounds import Count, Fraction, Index, NotNegative, Positive
from helpers.data.label_movies import CHOSEN, labels_of_tracks
from helpers.runs.parameters.base import SEGMENTED, TRACKING, OptionalPath, OptionalText, VoxelSize
from helpers.runs.parameters.segmentation import OneMovie

Bound = NotNegative | None
LapOption = Literal[
    "alternative_linking_cost_factor",
    "cutoff_percentile",
    "gap_closing_penalties",
    "splitting_penalties",
    "merging_penalties",
    "fixed_links",
]
GlobalOption = Literal[
    "appear",
    "end",
    "division",
    "edge",
    "cover",
    "edit",
    "lasting",
    "vote",
    "size",
    "overlap",
    "motion",
    "growth",
    "unlike",
    "border",
    "competing_labels",
    "fixed_links",
]
TrackFilter = Literal["min_displacement_um", "latest_start_frame", "earliest_end_frame", "min_quality"]


class Track(OneMovie):
    """Measured cells become tracks: who is who from frame to frame, and who divides."""

    name: ClassVar[str] = "track"
    reads: ClassVar[tuple[str, ...]] = SEGMENTED
    packages: ClassVar[tuple[str, ...]] = TRACKING
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie_id")
    often_set: ClassVar[tuple[str, ...]] = (
        *(
            "tracker",
            "max_distance_um",
            "splitting_max_distance_um",
            "gap_closing_max_distance_um",
            "max_frame_gap",
        ),
        *("min_track_frames", "objects", "labels", "raw", "frame_interval_s"),
    )

    objects: OptionalPath = Field(
        None,
        description="Table of cells (objects.csv); empty takes what notebook 06_segment or 07_segment_cellpose left for this movie",
    )
    labels: OptionalPath = Field(
        None,
        description="Label movie, for the overlap tracker and the exports; empty takes that of notebook 06_segment",
    )
    raw: OptionalPath = Field(
        None,
        description="The raw movie, shown under the tracks; the global tracker looks in it for borders between cells; may be empty",
    )
    voxel_size_um: VoxelSize = Field(
        None,
        description="Voxel size [z, y, x] in µm; empty reads it from the labels, or from the raw movie; a table alone needs none",
    )
    frame_interval_s: Positive | None = Field(
        None, description="Seconds between two frames; empty reads it from the labels, or from the raw movie"
    )
    tracker: Literal["lap", "overlap", "global", "kalman", "advanced_kalman", "nearest"] = Field(
        "lap",
        description="'lap' (cells that divide), 'overlap' (slow cells of any shape), 'global' (the same, and chooses among several segmentations), 'kalman' (fast cells that keep their direction), 'advanced_kalman' (those that divide too), 'nearest'",
    )
    max_distance_um: Positive = Field(15.0, description="Farthest a cell moves between two frames, in µm")
    penalties: dict[str, float] = Field(
        {},
        description="Columns that should stay alike along a link, with weights, such as {'volume_um3': 1.0}",
    )
    overlap_weight: NotNegative = Field(
        0.0, description="LAP: weight of 1 − IoU in the cost of a link; needs labels"
    )
    gap_closing_max_distance_um: Positive | None = Field(
        15.0,
        description="LAP: farthest a cell moves while it is missed, in µm; empty ends its track instead",
    )
    max_frame_gap: Count = Field(2, description="Longest gap in frames: 2 means one missing frame")
    splitting_max_distance_um: Positive | None = Field(
        None, description="LAP: farthest a daughter lies from her mother, in µm; empty lets no cell divide"
    )
    merging_max_distance_um: Positive | None = Field(
        None, description="LAP: farthest apart two cells that fuse, in µm; empty lets no cells fuse"
    )
    tracker_options: dict[LapOption | GlobalOption, float | str | list[str] | dict[str, float]] = Field(
        {},
        description="What is rarely changed. LAP, by TrackMate's names: {'cutoff_percentile': 0.8, 'splitting_penalties': {'volume_um3': 1.0}}. Global: its costs {'division': 4.0}; {'competing_labels': ['b.zarr']} in place of those that notebooks 06_segment and 07_segment_cellpose left. LAP, overlap and global: {'fixed_links': 'links.csv'} (source, target: ids of cells) that are certain, such as notebook 12_curate's curated/confirmed_links.csv",
    )
    trackmate_settings: OptionalPath = Field(
        None,
        description="A TrackMate XML: its tracker and settings, as stated in it, take the place of the tracker and parameters here",
    )
    search_radius_um: Positive = Field(
        20.0, description="Kalman: farthest a cell lies from where it is expected, in µm"
    )
    min_iou: Fraction = Field(
        0.3, description="Overlap: least overlap (IoU) of a cell with itself in the next frame"
    )
    min_fraction: Fraction | None = Field(
        None,
        description="Overlap: least share of a cell that lies in the one before, which helps with divisions",
    )
    scale_factor: Positive = Field(
        1.0, description="Overlap: enlarge the cells by this factor before comparing"
    )
    min_size_um3: Bound = Field(None, description="Leave out smaller cells before tracking: µm³, in 2D µm²")
    max_size_um3: Bound = Field(None, description="Leave out larger cells before tracking: µm³, in 2D µm²")
    min_intensity: Bound = Field(None, description="Leave out cells with a mean intensity below this")
    min_quality: Bound = Field(
        None,
        description="Leave out cells with a lower quality, where the table has a column quality or QUALITY",
    )
    roi_mask: OptionalPath = Field(
        None, description="Mask of a region of interest: cells outside are left out before tracking"
    )
    tissue_mask: OptionalPath = Field(
        None, description="Mask of the tissue: tracks that never enter it are removed"
    )
    min_track_frames: Count = Field(1, description="Remove tracks that span fewer frames")
    track_filters: dict[TrackFilter, float] = Field(
        {},
        description="Further bounds on whole tracks, such as {'min_displacement_um': 5.0, 'latest_start_frame': 0, 'earliest_end_frame': 9, 'min_quality': 0.5}",
    )
    min_tracklet_frames: Index = Field(
        1,
        description="Remove daughters that are seen in no more than so many frames, but at the movie's end: rarely true divisions",
    )
    color_by: OptionalText = Field(
        None,
        description="Column to colour the tracks by as well; empty takes intensity or size",
    )

    @model_validator(mode="after")
    def _options_of_the_tracker(self) -> Track:
        known = get_args(GlobalOption if self.tracker == "global" else LapOption)
        if wrong := sorted(set(self.tracker_options) - set(known)):
            raise ValueError(
                f"tracker_options of {self.tracker} has no {', '.join(wrong)}: {', '.join(known)}"
            )
        if "fixed_links" in self.tracker_options and self.tracker not in ("lap", "overlap", "global"):
            raise ValueError(f"{self.tracker} keeps no fixed_links: choose lap, overlap or global")
        return self

    def objects_path(self) -> Path:
        """Return the table of cells."""
        return self.objects or self.movie_path("objects.csv")

    def labels_path(self) -> Path | None:
        """Return the label movie, or None: a table alone is tracked without images."""
        if self.labels or self.objects:
            return self.labels
        return self.movie_path("labels.zarr")

    def competing_paths(self) -> list[Path]:
        """Return the label movies that compete with the labels; none for other trackers."""
        if self.tracker != "global":
            return []
        if "competing_labels" in self.tracker_options:
            named = self.tracker_options["competing_labels"]
            return [Path(path) for path in ([named] if isinstance(named, str) else list(named))]  # type: ignore[arg-type]
        own = self.labels_path()
        found = [] if self.labels or self.objects else sorted(self.movie_path().glob("labels_*.zarr"))
        return [path for path in found if path != own and path.name != CHOSEN]

    def fixed_links_path(self) -> Path | None:
        """Return the table of links that are certain, where one is named."""
        named = self.tracker_options.get("fixed_links")
        return Path(str(named)) if named else None

    def inputs(self) -> list[Path]:
        """Return the table, the labels, what competes with them, and the masks."""
        single = (
            self.objects_path(),
            self.labels_path(),
            self.roi_mask,
            self.tissue_mask,
            self.raw,
            self.fixed_links_path(),
            self.trackmate_settings,
        )
        return [*(p for p in single if p), *self.competing_paths()]

    def outputs(self) -> list[Path]:
        """Return the tracks in each format, and the labels that a tracker chose."""
        chosen = [CHOSEN] if self.tracker == "global" else []
        return [self.movie_path(name) for name in ("tracks.*", "btrackmate.csv", "ctc", *chosen)]


class EvaluateTracking(OneMovie):
    """Tracks are compared with the truth."""

    name: ClassVar[str] = "evaluate_tracking"
    reads: ClassVar[tuple[str, ...]] = (*SEGMENTED, "track")
    packages: ClassVar[tuple[str, ...]] = TRACKING
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie_id", "truth")
    often_set: ClassVar[tuple[str, ...]] = (
        "truth_tracks",
        "voxel_size_um",
        "frame_interval_s",
        "track_true_labels",
        "frame_buffer",
    )
    needs_truth: ClassVar[bool] = True

    truth: OptionalPath = Field(None, description="True labels of the movie")
    truth_tracks: OptionalPath = Field(
        None,
        description="True tracks: a folder with objects.csv and links.csv, a TrackMate XML, a GEFF or a folder of the Cell Tracking Challenge",
    )
    voxel_size_um: VoxelSize = Field(
        None, description="Voxel size [z, y, x] in µm of the truth; empty reads it from the true labels"
    )
    frame_interval_s: Positive | None = Field(
        None, description="Seconds between two frames of the truth; empty reads it from the true labels"
    )
    track_true_labels: bool = Field(
        True,
        description="Track the true labels too: their errors are the tracker's own, not the segmentation's",
    )
    frame_buffer: int = Field(
        1, ge=0, description="A division found so many frames early or late still counts"
    )

    def inputs(self) -> list[Path]:
        """Return the truth, the tracks and, where notebook 06_segment or 07_segment_cellpose wrote them, the labels they belong to."""
        own = [p for p in (self.truth, self.truth_tracks) if p]
        labels = labels_of_tracks(self.movie_path())
        return [*own, self.movie_path("tracks.csv"), *([labels] if labels.exists() else [])]

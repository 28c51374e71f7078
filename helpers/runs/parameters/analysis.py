"""Parameters of the notebooks that turn tracks into biology."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from helpers.bounds import Count, Index, Part, Periods, Positive, Shuffles
from helpers.data.label_movies import labels_of_tracks
from helpers.runs.parameters.base import SEGMENTED, OptionalPath, Parameters, VoxelSize
from helpers.runs.parameters.segmentation import OneMovie


class TrackedMovie(OneMovie):
    """A movie whose cells are tracked."""

    tracks: OptionalPath = Field(
        None,
        description="Tracks: a CSV, TrackMate XML, GEFF, folder of the Cell Tracking Challenge or BTrackMate CSV; empty takes those of notebook 10_track, with all corrections",
    )
    raw: OptionalPath = Field(None, description="The raw movie, shown under the tracks; may be empty")
    voxel_size_um: VoxelSize = Field(
        None, description="Voxel size [z, y, x] in µm; empty reads it from the tracks"
    )
    frame_interval_s: Positive | None = Field(
        None, description="Seconds between two frames; empty reads it from the tracks"
    )

    def is_curated(self) -> bool:
        """Whether the tracks are those of this run, and someone has corrected them."""
        return self.tracks is None and self.movie_path("edits.jsonl").is_file()

    def tracks_path(self) -> Path:
        """Return the tracks; curated ones where there are any."""
        return self.tracks or self.movie_path("curated" if self.is_curated() else "", "tracks.csv")

    def own_labels(self) -> Path:
        """Return the label movie of this run; the curated one where there is any."""
        return labels_of_tracks(self.movie_path("curated" if self.is_curated() else ""))

    def found_labels(self) -> Path | None:
        """Return the label movie of this run where it is there, and its tracks are those that are analysed."""
        own = self.own_labels()
        return own if self.tracks is None and own.exists() else None

    def analysis_path(self, *parts: str) -> Path:
        """Return a path below the folder of this movie's analyses."""
        return self.movie_path("analysis", *parts)

    def inputs(self) -> list[Path]:
        """Return the tracks, and what they are compared with and shown on."""
        named = ("raw", "truth_tracks", "tissue_mask", "roi", "labels", "intensity_movie", "region_labels")
        # Curated tracks follow from these two.
        own = [self.tracks or self.movie_path("tracks.csv")]
        own += [self.movie_path("edits.jsonl")] if self.is_curated() else []
        return [*own, *(p for name in named if (p := getattr(self, name, None)))]

    def provenance(self) -> dict[str, Any]:
        """Say whether the tracks are automatic, curated (with how many edits, and whose), or named."""
        if not self.is_curated():
            return {"tracks": "named" if self.tracks else "automatic"}
        state = json.loads(self.movie_path("curated", "state.json").read_text())
        return {"tracks": "curated", **{name: state[name] for name in ("edits", "authors", "last_edit")}}


class AnalyzeBoundaryDistance(TrackedMovie):
    """How deep in the tissue cells live, and where they come from and go to."""

    name: ClassVar[str] = "analyze_boundary_distance"
    reads: ClassVar[tuple[str, ...]] = (*SEGMENTED, "track")
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie_id")
    often_set: ClassVar[tuple[str, ...]] = (
        *("tissue_mask", "roi", "border_is_boundary", "inner_from_um", "nearest_voxel"),
        *("tracks", "raw", "frame_interval_s", "animation"),
    )

    tissue_mask: OptionalPath = Field(
        None,
        description="Mask of the tissue: a movie, or one stack for all frames; empty takes the hull of the cells",
    )
    roi: OptionalPath = Field(
        None,
        description="Region drawn as a polygon, in place of a mask: a CSV with y and x in µm, napari's shapes, or ImageJ's .roi",
    )
    labels: OptionalPath = Field(
        None,
        description="Label movie, for the hull and the nearest voxel; empty takes that of notebook 06_segment if it is there",
    )
    border_is_boundary: bool = Field(False, description="The tissue ends where the picture does")
    missing_masks: Literal["refuse", "nearest"] = Field(
        "refuse",
        description="Frames without a mask: 'refuse' stops, 'nearest' takes the mask of the nearest frame",
    )
    nearest_voxel: bool = Field(
        False, description="Measure the distance of each cell's nearest voxel too, not only of its centre"
    )
    inner_from_um: Positive | None = Field(
        None, description="Depth in µm from which a cell is inner; empty takes one cell diameter"
    )
    show_tracks: Count = Field(40, description="Most tracks drawn in a plot, the longest first")
    animation: Literal["gif", "mp4", "none"] = Field(
        "gif", description="Animation of the movie with its tracks, coloured by depth"
    )
    truth_tracks: OptionalPath = Field(
        None, description="Folder with a true objects.csv that has distance_um, to compare with; may be empty"
    )

    def labels_path(self) -> Path | None:
        """Return the label movie, or None where there is none."""
        return self.labels or self.found_labels()

    def outputs(self) -> list[Path]:
        """Return the tables of distances, and the animation."""
        return [self.analysis_path("boundary_*.csv"), self.analysis_path(f"boundary.{self.animation}")]


class AnalyzeIntensitySpectrum(TrackedMovie):
    """Which cells brighten and dim in a rhythm, and how fast."""

    name: ClassVar[str] = "analyze_intensity_spectrum"
    reads: ClassVar[tuple[str, ...]] = (*SEGMENTED, "track")
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie_id")
    often_set: ClassVar[tuple[str, ...]] = (
        *("intensity_column", "intensity_movie", "channel", "detrend", "min_periods"),
        *("max_frequency_hz", "significance_level", "n_permutations", "tracks", "frame_interval_s"),
    )

    intensity_column: str = Field(
        "intensity_mean",
        description="Column to analyse: 'intensity_mean' or, where the whole content counts, 'intensity_sum'",
    )
    intensity_movie: OptionalPath = Field(
        None,
        description="Measure the intensity in this movie, such as another channel; empty keeps the table's",
    )
    channel: Index = Field(0, description="Channel of that movie, counted from 0")
    labels: OptionalPath = Field(
        None, description="Label movie, needed with intensity_movie; empty takes that of notebook 06_segment"
    )
    detrend: Literal["linear", "none", "mean", "quadratic"] = Field(
        "linear", description="Trend taken away first, such as bleaching"
    )
    window: str = Field(
        "boxcar", description="SciPy window: 'boxcar' (none), 'hann' (less leakage, wider peaks) …"
    )
    zero_padding: Count = Field(8, description="Points of the spectrum per frequency bin")
    method: Literal["auto", "fft", "lomb_scargle"] = Field(
        "auto", description="'auto' takes Lomb-Scargle where frames are missing or uneven"
    )
    min_periods: Periods = Field(
        2.0, description="Do not look for rhythms of which a tracklet holds fewer periods"
    )
    max_frequency_hz: Positive | None = Field(
        None, description="Highest frequency in Hz; empty takes half a frame rate"
    )
    significance: Literal["permutation", "false_alarm"] = Field(
        "permutation", description="Shuffled values, or the false-alarm probability in closed form (faster)"
    )
    n_permutations: Shuffles = Field(999, description="Shuffles of each tracklet")
    significance_level: Part = Field(
        0.01, description="Largest p-value of a rhythm: this share of noise passes for one"
    )
    seed: Index = Field(0, description="Seed of the shuffles")
    show_tracklets: Count = Field(6, description="Tracklets shown with trace and spectrum, surest first")
    truth_tracks: OptionalPath = Field(
        None,
        description="Folder with true objects.csv and cells.csv (frequency_hz) to compare with; may be empty",
    )

    def labels_path(self) -> Path:
        """Return the label movie."""
        return self.labels or self.own_labels()

    def outputs(self) -> list[Path]:
        """Return the tables of rhythms."""
        return [self.analysis_path("spectrum_*.csv")]


class AnalyzeMigration(TrackedMovie):
    """How cells move, grow and divide."""

    name: ClassVar[str] = "analyze_migration"
    reads: ClassVar[tuple[str, ...]] = (*SEGMENTED, "track", "analyze_boundary_distance")
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie_id")
    often_set: ClassVar[tuple[str, ...]] = (
        *("remove_drift", "neighbour_radius_um", "min_displacement_um", "min_track_frames", "region_labels"),
        *("scatter_x", "scatter_y", "tracks", "raw", "frame_interval_s"),
    )

    remove_drift: bool = Field(
        False, description="Subtract the mean motion of all cells, such as of the stage"
    )
    neighbour_radius_um: Positive | None = Field(
        None, description="Count the neighbours within this distance in µm; empty does not"
    )
    max_lag_frames: int | None = Field(
        None,
        ge=1,
        description="Longest lag of displacement and correlation; empty takes a third of the longest tracklet",
    )
    min_displacement_um: float = Field(
        0.0, ge=0, description="Tracklets that never get this far from their start fail, in µm"
    )
    min_track_frames: Count = Field(2, description="Tracklets that span fewer frames fail")
    region_labels: OptionalPath = Field(
        None,
        description="Label image or movie of tissue regions; empty takes the inner and outer cells of notebook 13_analyze_boundary_distance",
    )
    csv_layout: Literal["own", "mmv_h4tracks"] = Field(
        "own",
        description="'mmv_h4tracks' writes that program's CSV of metrics, too (2D; pixels, frames); its movement filter takes min_displacement_um, of the whole path",
    )
    scatter_x: str = Field("directness", description="Measure along x of the scatter plot")
    scatter_y: str = Field("mean_speed_um_per_min", description="Measure along y of the scatter plot")

    def inputs(self) -> list[Path]:
        """Return the tracks, the regions, and the distances of notebook 13_analyze_boundary_distance where they are there."""
        distances = self.analysis_path("boundary_objects.csv")
        return [*super().inputs(), *([distances] if distances.is_file() else [])]

    def outputs(self) -> list[Path]:
        """Return the tables of motion."""
        return [self.analysis_path("migration_*.csv")]


class CompareConditions(Parameters):
    """Movies of different conditions side by side."""

    name: ClassVar[str] = "compare_conditions"
    reads: ClassVar[tuple[str, ...]] = (
        "analyze_boundary_distance",
        "analyze_intensity_spectrum",
        "analyze_migration",
    )
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "conditions")
    often_set: ClassVar[tuple[str, ...]] = ("animals", "cohort", "metrics", "unit", "test")

    conditions: dict[str, str] = Field(
        {}, description="Condition of each movie of this run, by its name, such as {'movie_1': 'wild type'}"
    )
    animals: dict[str, str] = Field(
        {}, description="Animal of each movie, by its name, where several movies are of one animal"
    )
    cohort: OptionalPath = Field(
        None,
        description="Table (CSV) of movies from any runs: run_dir, movie_id, condition (and animal); in place of conditions",
    )
    metrics: list[str] = Field(
        ["mean_speed_um_per_min", "directness", "mean_distance_um", "peak_period_s"],
        min_length=1,
        description="Measures to compare: columns of the tracklet tables of notebooks 13_analyze_boundary_distance to 15_analyze_migration; those not there are left out",
    )
    unit: Literal["auto", "animal", "movie", "cell"] = Field(
        "auto",
        description="What counts as one observation; 'auto' takes animals where they are named, else movies, where each condition has three",
    )
    test: Literal["auto", "welch", "mann_whitney"] = Field(
        "auto", description="'auto' takes Welch's t-test for animals and movies, Mann-Whitney's for cells"
    )
    seed: Index = Field(0, description="Seed of the bootstrap")

    def inputs(self) -> list[Path]:
        """Return the table of movies, and the analyses and audits of this run's."""
        found = [self.cohort] if self.cohort else []
        for movie in self.conditions:
            found += sorted(self.path("movies", movie, "analysis").glob("*_tracklets.csv"))
            found += self.path("movies", movie).glob("audit.json")
        return found

    def outputs(self) -> list[Path]:
        """Return the comparisons."""
        return [self.path("cohort", "*")]

"""Parameters of the notebook in which people correct cells and tracks (14)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from helpers.bounds import Count
from helpers.data.label_movies import labels_of_tracks
from helpers.runs.parameters.base import SEGMENTED, OptionalPath, OptionalText
from helpers.runs.parameters.segmentation import OneMovie

#: Tracks in such a file come without labels.
_FILES = (".csv", ".xml")


class Curate(OneMovie):
    """Cells, tracks and divisions are corrected, and the result is scored against what was curated."""

    name: ClassVar[str] = "curate"
    reads: ClassVar[tuple[str, ...]] = (*SEGMENTED, "track")
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie_id")
    often_set: ClassVar[tuple[str, ...]] = (
        *("author", "raw", "show_suspects", "curated_frames"),
        *("other_labels", "other_tracks", "merge_log", "edited_tracks"),
    )

    author: OptionalText = Field(
        None, description="Your name, as it stands beside each edit; empty takes that of the login"
    )
    raw: OptionalPath = Field(
        None,
        description="The raw movie, shown under the outlines; empty takes the one of notebook 06_segment or 10_track",
    )
    show_suspects: Count = Field(30, description="Most suspicious places that are listed and drawn")
    curated_frames: list[int] = Field(
        [],
        description="Frames that are curated completely, such as 3-7, 12; empty takes those you confirmed. Scores are computed on these",
    )
    other_labels: OptionalPath = Field(
        None,
        description="Labels of another program, to be scored beside the automatic ones; empty, too, where they lie in the folder of other_tracks",
    )
    other_tracks: OptionalPath = Field(
        None,
        description="Tracks of that program, in any format that notebook 10_track writes, a .zarr of mmv_h4tracks, or a folder of napari-track-edit; may be empty",
    )
    merge_log: OptionalPath = Field(
        None, description="Log (edits.jsonl) of a second person, whose edits are added; may be empty"
    )
    edited_tracks: OptionalPath = Field(
        None,
        description="Curated tracks that were edited in another program, such as the GEFF of napari-track-edit: what differs becomes edits; may be empty",
    )

    @model_validator(mode="after")
    def _tracks_have_labels(self) -> Curate:
        if self.other_tracks and not self.other_labels and self.other_tracks.suffix.lower() in _FILES:
            raise ValueError("other_tracks are compared by their cells: name other_labels too")
        return self

    def inputs(self) -> list[Path]:
        """Return the automatic result, the log of edits where there is one, and what is compared."""
        log = self.movie_path("edits.jsonl")
        own = [
            labels_of_tracks(self.movie_path()),
            self.movie_path("tracks.csv"),
            *([log] if log.is_file() else []),
        ]
        named = (self.raw, self.other_labels, self.other_tracks, self.merge_log, self.edited_tracks)
        return [*own, *(path for path in named if path)]

    def outputs(self) -> list[Path]:
        """Return the list of suspects."""
        return [self.movie_path("suspects.csv")]

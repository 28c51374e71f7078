"""Parameters of the notebook in which a few cells are drawn (16)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from helpers.bounds import Index
from helpers.runs.parameters.base import DatasetKey, MovieFile, MovieVoxelSize, OptionalPath, Parameters


class Annotate(Parameters):
    """A few cells and some background of a frame are drawn, or read from another program."""

    name: ClassVar[str] = "annotate"
    extra: ClassVar[str] = "tensorflow"
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie")
    often_set: ClassVar[tuple[str, ...]] = (
        "frame",
        "channel",
        "voxel_size_um",
        "annotation",
        "unannotated",
        "background_label",
        "sam_weights",
        "prompts",
        "places",
    )

    movie: MovieFile = None
    frame: Index = Field(0, description="Frame to draw in, counted from 0")
    channel: Index = Field(0, description="Channel to draw in, counted from 0")
    voxel_size_um: MovieVoxelSize = None
    dataset_key: DatasetKey = None
    annotation: OptionalPath = Field(
        None,
        description="What was drawn elsewhere: a label image, ImageJ's .roi or .zip, QuPath's .geojson, napari's shapes (.csv, 2D); it takes the place of what was drawn here",
    )
    unannotated: int | None = Field(
        None, description="Value in the label image where nothing is annotated, beside -1; napari's 0"
    )
    background_label: int = Field(
        0,
        ge=0,
        description="Value of the background in the label image; another than 0 where 0 is 'not annotated'",
    )
    sam_weights: OptionalPath = Field(
        None,
        description="Weights of Segment Anything or micro-sam, such as sam_vit_b_01ec64.pth: clicks and boxes become cells",
    )
    prompts: OptionalPath = Field(
        None,
        description="Clicks in cells and boxes around them, for sam_weights: ImageJ's .roi or .zip, QuPath's .geojson, napari's points or shapes (.csv)",
    )
    places: int = Field(
        20,
        ge=1,
        description="Where to draw next: so many places, once the networks of notebook 04_train_segmentation are in the run folder",
    )

    def inputs(self) -> list[Path]:
        """Return the movie, what was drawn elsewhere, and the networks where they are there."""
        named = [path for path in (self.movie, self.annotation, self.sam_weights, self.prompts) if path]
        networks = [self.path("models", name, "training.json") for name in ("unet", "stardist")]
        return [*named, *(path for path in networks if path.is_file())]

    def outputs(self) -> list[Path]:
        """Return the folders of drawn labels and of the frames that they belong to."""
        return [self.path("annotations", "drawn"), self.path("annotations", "raw")]

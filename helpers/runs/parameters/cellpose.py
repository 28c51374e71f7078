"""Parameters of the notebook that segments movies with Cellpose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from helpers.bounds import CellDiameter, CellprobThreshold, FlowThreshold, Index, LeastIou, NotNegative
from helpers.runs.parameters.base import Counts, OptionalText
from helpers.runs.parameters.segmentation import (
    MakesLabels,
    MinSize,
    MissingFrames,
    SaveOmeZarr05,
    SaveTiff,
    SegmentedChannel,
    TissueMask,
    label_files,
)

#: Positions [first, last + 1] along one axis.
Range = Annotated[list[Index], Field(min_length=2, max_length=2)]
#: Parameters whose values can be compared on the preview.
TUNABLE = (
    *("diameter_um", "cellprob_threshold", "flow_threshold", "min_size_voxels"),
    *("iou_threshold", "smooth", "smooth_labels"),
)


class SegmentCellpose(MakesLabels):
    """A movie becomes labels and a table of cells with Cellpose, frame by frame."""

    name: ClassVar[str] = "segment_cellpose"
    reads: ClassVar[tuple[str, ...]] = ("train_segmentation", "segment")
    runs_networks: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch", "cellpose")
    extra: ClassVar[str] = "cellpose"
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie")
    often_set: ClassVar[tuple[str, ...]] = (
        *("voxel_size_um", "frame_interval_s", "channel", "second_channel", "model"),
        *("diameter_um", "cellprob_threshold", "flow_threshold", "stitch_planes", "beside_segment"),
    )
    method: ClassVar[str] = "cellpose"
    file_or_name: ClassVar[tuple[str, ...]] = ("model",)
    #: Parameters that change nothing in the labels and the table.
    without_effect: ClassVar[tuple[str, ...]] = (
        *("movie_id", "save_tiff", "save_ome_zarr_05", "use_gpu", "frame_interval_s"),
        *("preview_frames", "preview_crop", "preview_values", "export_meshes", "mesh_iterations"),
    )

    missing_frames: MissingFrames = "refuse"
    channel: SegmentedChannel = 0
    second_channel: Index | None = Field(
        None, description="Channel of the nuclei, where channel shows the cells' bodies; empty: none"
    )
    model: OptionalText = Field(
        "cyto3",
        description="Built-in name ('cyto', 'cyto2', 'cyto3', 'nuclei'; with cellpose 4 'cpsam', which then stands in for these), a file, or empty: what notebook 04_train_segmentation trained",
    )
    diameter_um: CellDiameter = Field(
        0.0, description="Diameter of a cell in µm; 0 estimates it, or takes that of a trained model"
    )
    cellprob_threshold: CellprobThreshold = Field(
        0.0, description="Cell probability threshold: lower finds more and larger cells"
    )
    flow_threshold: FlowThreshold = Field(
        0.4, description="Largest error of a cell's flows; 0: no check; unused in 3D"
    )
    resample: bool = Field(True, description="Follow the flows at full resolution: smoother outlines, slower")
    min_size_voxels: Index = Field(
        15, description="Stacks: remove cells below this many voxels, not corrected for anisotropy"
    )
    stitch_planes: bool = Field(
        False, description="2D+Z: segment plane by plane and join the planes; off: 3D mode"
    )
    iou_threshold: LeastIou = Field(
        0.25, description="2D+Z: least overlap (IoU) of two planes' outlines of one cell"
    )
    smooth: NotNegative = Field(
        0.0, description="3D mode: smooth the flows by a Gaussian of so many voxels; 0: off"
    )
    use_gpu: bool = Field(True, description="Compute on a GPU where there is one")
    n_tiles: Counts | None = Field(
        None, description="3D mode: tiles [z, y, x] a frame is cut into to fit the memory; empty chooses them"
    )
    smooth_labels: NotNegative = Field(
        0.0, description="Smooth the cells' outlines by so many voxels; 0: leave them"
    )
    min_quality: float | None = Field(
        None, description="Remove cells whose mean cell probability is below this; empty keeps all"
    )
    min_size_um3: MinSize = None
    tissue_mask: TissueMask = None
    preview_frames: list[Index] = Field(
        [0], description="Tune: frames shown in the preview, counted from 0; empty shows none"
    )
    preview_crop: Annotated[list[Range], Field(min_length=3, max_length=3)] | None = Field(
        None,
        description="Tune: crop [[z, z], [y, y], [x, x]], first and last + 1 in voxels; empty: the frame",
    )
    preview_values: dict[str, list[float]] = Field(
        {}, description="Tune: values of one parameter to compare, such as {'diameter_um': [8, 10, 12]}"
    )
    export_meshes: Literal["none", "rough", "taubin", "laplacian"] = Field(
        "none",
        description="Write every cell's surface (PLY files in a zip, µm): 'rough', or smoothed by 'taubin' (keeps the volume) or 'laplacian' (shrinks)",
    )
    mesh_iterations: Index = Field(10, description="Steps of that smoothing")
    beside_segment: bool = Field(
        False,
        description="Write labels_cellpose.zarr beside the labels of notebook 06_segment, to be compared in notebook 09_evaluate_segmentation",
    )
    save_tiff: SaveTiff = False
    save_ome_zarr_05: SaveOmeZarr05 = False

    @model_validator(mode="after")
    def _in_order(self) -> SegmentCellpose:
        for axis, crop in zip("zyx", self.preview_crop or (), strict=False):
            if crop[0] >= crop[1]:
                raise ValueError(f"preview_crop: the crop is empty along {axis}: {crop[0]} to {crop[1]}")
        if len(self.preview_values) > 1:
            raise ValueError("preview_values: one parameter at a time")
        for name, values in self.preview_values.items():
            if name not in TUNABLE:
                raise ValueError(f"preview_values: {name} cannot be varied; known are {', '.join(TUNABLE)}")
            if not values:
                raise ValueError(f"preview_values: name values of {name}, such as [0, 1]")
        if self.second_channel is not None and self.second_channel == self.channel:
            raise ValueError("second_channel must be another channel than channel")
        return self

    def weights(self) -> str:
        """Return the model's built-in name or file."""
        return self.model or str(self.path("models", "cellpose", "cellpose_model"))

    def inputs(self) -> list[Path]:
        """Return the movie, the mask and the model's file."""
        own = [p for p in (self.movie, self.tissue_mask) if p]
        file = Path(self.weights())
        if self.model:
            return own + ([file] if file.is_file() else [])
        about = file.with_name("training.json")
        return [*own, *([about] if about.is_file() else []), file]

    def outputs(self) -> list[Path]:
        """Return the labels, the table of cells and their surfaces."""
        meshes = [] if self.export_meshes == "none" else [self.movie_path("objects.meshes")]
        return label_files(self) + meshes

"""Parameters of the notebooks that segment and evaluate movies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from helpers.bounds import Index, NotNegative, Part, Positive
from helpers.data import names
from helpers.data.label_movies import CHOSEN
from helpers.runs.parameters.base import (
    SEGMENTED,
    TENSORFLOW,
    Counts,
    DatasetKey,
    MovieFile,
    MovieVoxelSize,
    OptionalFraction,
    OptionalPath,
    OptionalText,
    Parameters,
    Precision,
)

#: Folder of the labels as OME-Zarr 0.5, beside those that the steps read.
V05 = "ome_zarr_0.5"
#: What the notebooks that segment ask for in the same words.
MissingFrames = Annotated[
    Literal["refuse", "empty"],
    Field(
        description="Numbers that a folder of stacks leaves out, and lost chunks of a Zarr: 'refuse' stops, 'empty' reads nothing there"
    ),
]
SegmentedChannel = Annotated[Index, Field(description="Channel to segment, counted from 0")]
TissueMask = Annotated[
    OptionalPath, Field(description="Mask of the tissue or region of interest: cells outside are removed")
]
MinSize = Annotated[
    NotNegative | None,
    Field(description="Remove cells smaller than this: µm³, in 2D µm²; empty keeps all"),
]
SaveTiff = Annotated[bool, Field(description="Write the labels as TIFF too, beside the OME-Zarr")]
SaveOmeZarr05 = Annotated[
    bool,
    Field(
        description=f"Write the labels as OME-Zarr 0.5 too (Zarr 3, sharded), in the folder {V05}: labels.zarr itself is 0.4, which Fiji reads"
    ),
]


class OneMovie(Parameters):
    """The movie a notebook works on."""

    movie_id: OptionalText = Field(
        None,
        description="Name of the movie's folder in the run; empty takes the file's name, or the run's only movie",
    )

    @field_validator("movie_id")
    @classmethod
    def _a_plain_name(cls, name: str | None) -> str | None:
        if name is not None and not names.is_plain(name):
            raise ValueError(names.EXPECTED)
        return name

    def named_after(self) -> Path | None:
        """Return the file whose name the movie has where none is given; None: it is the only one in the run."""
        return None

    def movie_path(self, *parts: str) -> Path:
        """Return a path below the folder of this movie."""
        file = self.named_after()
        name = self.movie_id or (names.of_file(file) or "movie" if file else self._only_movie())
        return self.path("movies", name, *parts)

    def _only_movie(self) -> str:
        folders = [folder.name for folder in self.path("movies").glob("*") if folder.is_dir()]
        return folders[0] if len(folders) == 1 else "movie"


class MakesLabels(OneMovie):
    """A movie becomes labels and a table of cells."""

    segments: ClassVar[bool] = True
    batch_options: ClassVar[dict[str, str]] = {
        "frames_per_job": "In experiments only: split the frames of a movie over jobs of so many each, side by side"
    }

    movie: MovieFile = None
    voxel_size_um: MovieVoxelSize = None
    frame_interval_s: Positive | None = Field(
        None, description="Seconds between two frames; empty reads it from the file"
    )
    dataset_key: DatasetKey = None

    def named_after(self) -> Path | None:
        """Return the movie."""
        return self.movie


def label_files(p: Any) -> list[Path]:
    """Return the labels and the table of cells that a step writes, under names of its own where they stand beside others."""
    suffix = f"_{p.method}" if getattr(p, "beside_segment", False) else ""
    names = [f"labels{suffix}.zarr", f"objects{suffix}.csv"]
    names += [f"labels{suffix}.ome.tif"] if p.save_tiff else []
    names += [f"{V05}/labels{suffix}.ome.zarr"] if p.save_ome_zarr_05 else []
    return [p.movie_path(name) for name in names]


class Segment(MakesLabels):
    """A movie becomes labels and a table of cells, frame by frame."""

    name: ClassVar[str] = "segment"
    reads: ClassVar[tuple[str, ...]] = ("train_denoiser", "train_segmentation", "optimize_thresholds")
    runs_networks: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = TENSORFLOW
    extra: ClassVar[str] = "tensorflow"
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie")
    often_set: ClassVar[tuple[str, ...]] = (
        *("labels", "voxel_size_um", "frame_interval_s", "channel", "method"),
        *("compare_methods", "use_denoiser", "min_size_um3", "tissue_mask", "resample_to_training"),
    )
    #: Parameters that change nothing in the labels and the table.
    without_effect: ClassVar[tuple[str, ...]] = (
        *("movie_id", "save_tiff", "save_ome_zarr_05", "n_tiles", "frame_interval_s"),
    )

    labels: OptionalPath = Field(
        None,
        description="Labels from elsewhere (Cellpose's GUI, ilastik, by hand), which are measured: then no network runs, and movie may be empty",
    )
    labels_key: OptionalText = Field(
        None, description="The same of labels, such as ilastik's 'exported_data'"
    )
    missing_frames: MissingFrames = "refuse"
    channel: SegmentedChannel = 0
    method: Literal["vollseg", "stardist", "unet"] = Field(
        "vollseg", description="'vollseg' (both networks and the watershed), 'stardist' or 'unet'"
    )
    compare_methods: bool = Field(
        False,
        description="Write the labels of the other two methods too, for the comparison in notebook 09_evaluate_segmentation",
    )
    use_denoiser: bool = Field(
        False, description="Denoise each frame first, with the network of notebook 02_train_denoiser"
    )
    use_probability: bool = Field(
        True, description="Flood StarDist's probability map; False floods its distance map"
    )
    prob_thresh: OptionalFraction = Field(
        None,
        description="StarDist: least probability of a cell; empty takes what notebook 05_optimize_thresholds found",
    )
    nms_thresh: OptionalFraction = Field(
        None,
        description="StarDist: largest overlap of two cells; empty takes what notebook 05_optimize_thresholds found",
    )
    foreground_thresh: OptionalFraction = Field(
        None,
        description="U-Net: least value of the foreground; empty takes what notebook 05_optimize_thresholds found",
    )
    min_size_um3: MinSize = None
    max_size_um3: Positive | None = Field(
        None, description="Remove cells larger than this: µm³, in 2D µm²; empty keeps all"
    )
    tissue_mask: TissueMask = None
    use_tissue_model: bool = Field(
        False, description="Predict the tissue mask with the tissue U-Net of notebook 04_train_segmentation"
    )
    slice_wise: bool = Field(
        False, description="Segment every z-slice with 2D networks and join the slices by overlap"
    )
    resample_to_training: bool = Field(
        False,
        description="Show the networks each frame at the voxel size they were trained on, where the movie's is another; labels come out at the movie's",
    )
    n_tiles: Counts | None = Field(
        None, description="Tiles [z, y, x] a frame is cut into to fit the memory; empty chooses them"
    )
    precision: Precision = "auto"
    save_tiff: SaveTiff = False
    save_ome_zarr_05: SaveOmeZarr05 = False

    @model_validator(mode="after")
    def _sizes_in_order(self) -> Segment:
        if self.min_size_um3 and self.max_size_um3 and self.min_size_um3 >= self.max_size_um3:
            raise ValueError("min_size_um3 must be smaller than max_size_um3")
        return self

    def named_after(self) -> Path | None:
        """Return the movie, or the labels where there is none."""
        return self.movie or self.labels

    def inputs(self) -> list[Path]:
        """Return the movie, the masks, the models and the thresholds; of labels from elsewhere no models."""
        own = [p for p in (self.movie, self.labels, self.tissue_mask) if p]
        if self.labels:
            return own
        models = {"vollseg": ["unet", "stardist"], "unet": ["unet"], "stardist": ["stardist"]}[self.method]
        if self.compare_methods:
            models = ["unet", "stardist"]
        models = models + ["denoiser"] * self.use_denoiser + ["tissue"] * self.use_tissue_model
        weights = [file for name in models for file in self.model_files(name)]
        given = None not in (self.prob_thresh, self.nms_thresh, self.foreground_thresh)
        return own + weights + ([] if given else [self.path("thresholds.json")])

    def outputs(self) -> list[Path]:
        """Return the labels of each method, and the table of cells."""
        methods = ("vollseg", "stardist", "unet") if self.compare_methods else ()
        return label_files(self) + [self.movie_path(f"labels_{method}.zarr") for method in methods]


class EvaluateSegmentation(OneMovie):
    """Labels are compared with the truth."""

    name: ClassVar[str] = "evaluate_segmentation"
    reads: ClassVar[tuple[str, ...]] = SEGMENTED
    extra: ClassVar[str] = "tensorflow"
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie_id", "truth")
    often_set: ClassVar[tuple[str, ...]] = ("raw", "channel", "iou_thresholds", "show_frame")
    needs_truth: ClassVar[bool] = True

    truth: OptionalPath = Field(None, description="True labels of the movie")
    raw: OptionalPath = Field(None, description="The raw movie, shown under the overlay; may be empty")
    dataset_key: OptionalText = Field(None, description="Name of the raw dataset in an HDF5 file")
    truth_key: OptionalText = Field(None, description="Name of the label dataset in an HDF5 file")
    channel: Index = Field(0, description="Channel of the raw movie to show, counted from 0")
    iou_thresholds: list[Part] = Field(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        min_length=1,
        description="Overlaps (IoU) from which a cell counts as found",
    )
    show_frame: int | None = Field(
        None,
        ge=0,
        description="Frame shown in the overlay, counted from 0; empty takes the one with the most errors",
    )

    def inputs(self) -> list[Path]:
        """Return the truth and all label movies of this movie; that of the chosen method, where there is none yet."""
        labels = self.label_movies() or [self.movie_path("labels.zarr")]
        return [*(p for p in (self.truth, self.raw) if p), *labels]

    def label_movies(self) -> list[Path]:
        """Return the labels of all methods; not those that notebook 10_track chooses among them, later."""
        return [p for p in sorted(self.movie_path().glob("labels*.zarr")) if p.name != CHOSEN]

    def outputs(self) -> list[Path]:
        """Return the tables of scores."""
        return [self.movie_path("scores", "*.csv")]

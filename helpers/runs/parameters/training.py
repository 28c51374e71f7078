"""Parameters of the notebooks that make training sets and train networks.

Over 400 lines, for each parameter brings its help and limits.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Le, Lt
from pydantic import Field, field_validator, model_validator

from helpers.bounds import (
    CellPixels,
    Count,
    Fraction,
    Index,
    NotNegative,
    Odd,
    Part,
    Positive,
    complaint,
)
from helpers.errors import InputError
from helpers.runs.parameters.base import (
    TENSORFLOW,
    Counts,
    OptionalPath,
    OptionalText,
    Parameters,
    PatchSize,
    Precision,
    VoxelSize,
)

#: What `TrainSegmentation.cellpose` may hold, and what stands for what it leaves out.
CELLPOSE_TRAINING: dict[str, Any] = {
    "base_model": "",
    "cell_pixels": 30.0,
    "learning_rate": 0.003,
    "side_planes": True,
    "in_gui": False,
}
Seed = Annotated[Index, Lt(2**32)]


class Pairs(Parameters):
    """Where the pairs of raw and label stacks are."""

    raw_dir: OptionalPath = Field(None, description="Folder of raw stacks (the paper's Raw/)")
    label_dir: OptionalPath = Field(
        None,
        description="Folder of instance labels (the paper's RealMask/); empty if there are only binary masks",
    )
    binary_dir: OptionalPath = Field(
        None,
        description="Folder of binary masks (the paper's BinaryMask/); empty derives them from the labels",
    )
    annotation_dir: OptionalPath = Field(
        None,
        description="Folder of sparse annotations in place of label_dir: label TIFFs, ImageJ's .roi or .zip, QuPath's .geojson, named as their raw stacks",
    )
    pattern: str = Field("*", description="Which file names to take from the folders, such as '*.tif'")
    voxel_size_um: VoxelSize = Field(
        None, description="Voxel size [z, y, x] in µm; empty reads it from the files"
    )
    dataset_key: OptionalText = Field(None, description="Name of the dataset in HDF5 files, such as 'raw'")
    unannotated: int | None = Field(
        None,
        description="Value in label files where nothing is annotated, beside -1, which always says so; empty where every voxel is",
    )
    background_label: Index = Field(
        0,
        description="Value of the background in label files; another than 0 where 0 is 'not annotated'",
    )

    def require_pairs(self) -> None:
        """Raise InputError unless raw stacks and labels or masks are given."""
        if self.raw_dir is None:
            raise InputError("raw_dir", None, "name the folder that holds the raw stacks")
        if self.label_dir is None and self.binary_dir is None and self.annotation_dir is None:
            raise InputError(
                "label_dir",
                None,
                "name the folder of instance labels (or binary_dir, of masks; or annotation_dir, where only some cells are "
                "drawn)",
            )

    def inputs(self) -> list[Path]:
        """Return the folders of the pairs."""
        folders = (self.raw_dir, self.label_dir, self.binary_dir, self.annotation_dir)
        return [folder for folder in folders if folder]


def first_models(run: Path) -> Path:
    """Return the folder of the networks that a run had first, before retrained ones were adopted (`helpers.runs.adoption`)."""
    return min(run.glob("models-*"), key=lambda path: path.name, default=run / "models")


def edits(run: Path) -> list[Path]:
    """Return the logs of edits of a run's movies; the run itself where it has none, so that this is reported."""
    return sorted(run.glob("movies/*/edits.jsonl")) or [run]


class CreateDataset(Pairs):
    """Pairs of raw and label stacks become the NPZ training set."""

    name: ClassVar[str] = "create_dataset"
    reads: ClassVar[tuple[str, ...]] = ("train_denoiser",)
    extra: ClassVar[str] = "tensorflow"
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "raw_dir", "label_dir")
    often_set: ClassVar[tuple[str, ...]] = (
        *("annotation_dir", "curated_runs", "voxel_size_um", "patch_size", "patches_per_image"),
        *("copies_per_image", "network_depth", "boundary_width_um", "overwrite"),
    )

    curated_runs: list[Path] = Field(
        [],
        description="Run folders whose corrected movies teach too: frames marked complete in notebook 12_curate are added to the pairs",
    )
    curated_cells: bool = Field(
        False,
        description="With curated_runs: cells that were confirmed in frames that are not complete teach too; all else in such a frame counts as not annotated",
    )
    patch_size: PatchSize = Field(
        (16, 128, 128), description="Size [z, y, x] of a training patch in voxels ([y, x] in 2D)"
    )
    patches_per_image: Count = Field(16, description="Patches cut from each stack and each of its copies")
    copies_per_image: Index = Field(
        1, description="Augmented copies of each training stack, beside the stack itself"
    )
    network_depth: Count = Field(
        3, le=6, description="Depth of the U-Net to be trained: patches must be divisible by 2**depth"
    )
    percentile_low: float = Field(
        1.0, ge=0, lt=100, description="Raw intensities at this percentile become 0"
    )
    percentile_high: float = Field(
        99.8, gt=0, le=100, description="Raw intensities at this percentile become 1"
    )
    min_foreground: Fraction = Field(0.01, description="Least fraction of a patch that must be cells")
    boundary_width_um: NotNegative | None = Field(
        None,
        description="Borders between touching cells are eroded by this much on each side (µm) in the U-Net's mask; 0 leaves them joined, empty chooses by how much they touch",
    )
    validation_fraction: float = Field(
        0.15, ge=0, lt=1, description="Fraction of the stacks (never of patches) kept for validation"
    )
    validation_stacks: list[str] = Field(
        [], description="Names of the stacks kept for validation; empty draws them by validation_fraction"
    )
    augment_denoised: bool = Field(
        False,
        description="Add denoised copies; needs the denoiser of notebook 02_train_denoiser in the run folder",
    )
    augment_poisson: bool = Field(True, description="Add copies with Poisson (shot) noise")
    augment_gaussian: bool = Field(True, description="Add copies with Gaussian (read) noise")
    augment_rotate: bool = Field(True, description="Rotate copies in the image plane")
    augment_flip: bool = Field(True, description="Mirror copies")
    augment_elastic: bool = Field(True, description="Bend copies elastically in the image plane")
    augment_intensity: bool = Field(True, description="Change brightness and contrast of copies")
    seed: Seed = Field(42, description="Seed of all random choices; the same seed gives the same file")
    overwrite: bool = Field(False, description="Replace a training set that was made with other parameters")

    @model_validator(mode="after")
    def _percentiles_in_order(self) -> CreateDataset:
        if self.percentile_low >= self.percentile_high:
            raise ValueError("percentile_low must be smaller than percentile_high")
        return self

    def require_pairs(self) -> None:
        """Raise InputError unless raw stacks and labels or masks are given, or curated runs."""
        if self.raw_dir is not None or not self.curated_runs:
            super().require_pairs()

    def inputs(self) -> list[Path]:
        """Return the folders of the pairs, logs of edits, and the denoiser where its copies are wanted."""
        denoiser = self.model_files("denoiser") if self.augment_denoised else []
        return super().inputs() + [log for run in self.curated_runs for log in edits(run)] + denoiser

    def outputs(self) -> list[Path]:
        """Return the training set, and its description."""
        return [self.path("dataset", name) for name in ("training.npz", "dataset.json")]


class _Training(Parameters):
    """What the training of any network needs."""

    n_epochs: Count = Field(
        100, description="Passes over the training set; more give a better fit and take longer"
    )
    learning_rate: Positive = Field(
        1e-4, le=0.01, description="Step size of the optimiser; the paper advises at most 0.001"
    )
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau",
        description="'plateau' halves the rate when the validation loss stands still, 'cosine' lets it fall over all epochs (best for short trainings)",
    )
    batch_size: Count = Field(5, description="Patches per step; limited by the (GPU) memory")
    network_depth: Count = Field(3, le=6, description="Levels of the U-Net; each halves the image")
    kernel: Annotated[int, Odd()] = Field(
        3, ge=3, le=11, description="Size of the convolution kernel: 3, 5 or 7"
    )
    start_filters: int = Field(48, ge=4, description="Filters of the first level; doubled at each level")
    max_minutes: Positive | None = Field(
        None, description="Stop cleanly after this many minutes for each network; empty trains all epochs"
    )
    seed: Seed = Field(42, description="Seed of the weights and of all random choices")
    overwrite: bool = Field(
        False, description="Start again in a model folder that holds a network trained with other parameters"
    )

    def common_settings(self) -> dict[str, Any]:
        """Return what the settings of all networks have in common, from parameters of the same names."""
        from helpers.models.settings import TrainingSettings

        same = {field.name for field in fields(TrainingSettings)} & set(type(self).model_fields)
        return {"epochs": self.n_epochs} | {name: getattr(self, name) for name in same}

    def model_files(self, name: str) -> list[Path]:
        """Return the files of a trained network that others read."""
        files = ("config.json", "training.json", "weights_best.h5", "cellpose_model")
        return [self.path("models", name, file) for file in files]


class TrainDenoiser(_Training):
    """Noise2Void learns to denoise the raw movies from themselves."""

    name: ClassVar[str] = "train_denoiser"
    runs_networks: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = TENSORFLOW
    extra: ClassVar[str] = "tensorflow"
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "raw_paths")
    often_set: ClassVar[tuple[str, ...]] = (
        *("clean_paths", "channel", "n_epochs", "steps_per_epoch", "patch_size"),
        *("patches_per_image", "batch_size", "learning_rate", "max_minutes", "overwrite"),
    )

    raw_paths: list[Path] = Field(
        [], description="Raw stacks or movies to learn from: files, folders or patterns with *"
    )
    clean_paths: list[Path] = Field(
        [], description="Noise-free versions of the raw files, where known: only to measure the PSNR"
    )
    voxel_size_um: VoxelSize = Field(
        None, description="Voxel size [z, y, x] in µm; empty reads it from the files"
    )
    dataset_key: OptionalText = Field(None, description="Name of the dataset in HDF5 files, such as 'raw'")
    channel: Index = Field(0, description="Channel to denoise, counted from 0")
    n_epochs: Count = Field(200, description="Passes over the patches")
    steps_per_epoch: Count | None = Field(400, description="Steps per epoch; empty uses every patch once")
    batch_size: Count = Field(1, description="Patches per step")
    learning_rate: Positive = Field(4e-4, le=0.01, description="Step size of the optimiser")
    patch_size: PatchSize = Field(
        (16, 256, 256), description="Size [z, y, x] of a patch in voxels ([y, x] in 2D)"
    )
    patches_per_image: Count = Field(20, description="Patches cut from each frame of each file")
    start_filters: int = Field(32, ge=4, description="Filters of the first level")
    masked_percent: Positive = Field(
        0.198, le=10, description="Percentage of the pixels that are hidden and predicted (perc_pix)"
    )
    mask_radius: Count = Field(
        4, description="Radius in voxels from which a hidden pixel's replacement is drawn"
    )
    validation_fraction: Part = Field(0.1, description="Fraction of the patches kept for validation")

    def inputs(self) -> list[Path]:
        """Return the raw files."""
        return list(self.raw_paths)

    def outputs(self) -> list[Path]:
        """Return the files of the network."""
        return self.model_files("denoiser")


class TrainSegmentation(_Training):
    """U-Net and StarDist learn from the training set."""

    name: ClassVar[str] = "train_segmentation"
    reads: ClassVar[tuple[str, ...]] = ("create_dataset",)
    runs_networks: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = (*TENSORFLOW, "torch", "cellpose")
    extra: ClassVar[str] = "tensorflow"
    often_set: ClassVar[tuple[str, ...]] = (
        *("train_unet", "train_stardist", "train_cellpose", "n_epochs", "learning_rate", "batch_size"),
        *("network_depth", "max_minutes", "start_from", "continue_training", "overwrite"),
    )
    file_or_name: ClassVar[tuple[str, ...]] = ("start_from",)

    train_unet: bool = Field(True, description="Train the U-Net")
    train_stardist: bool = Field(True, description="Train StarDist")
    train_tissue: bool = Field(
        False, description="Train a U-Net for the tissue mask too; its masks lie in tissue_dir"
    )
    train_cellpose: bool = Field(
        False,
        description="Train a Cellpose network for notebook 07_segment_cellpose (cellpose 3.1), from the same training set",
    )
    create_npz: bool = Field(
        False,
        description="Make the training set first, from raw_dir and label_dir (as notebook 03_create_dataset does)",
    )
    raw_dir: OptionalPath = Field(None, description="With create_npz or train_tissue: folder of raw stacks")
    label_dir: OptionalPath = Field(None, description="With create_npz: folder of instance labels")
    tissue_dir: OptionalPath = Field(
        None, description="With train_tissue: folder of tissue masks, named as the raw stacks"
    )
    patch_size: PatchSize = Field(
        (16, 128, 128), description="With create_npz or train_tissue: size of a patch in voxels"
    )
    patches_per_image: Count = Field(
        16, description="With create_npz or train_tissue: patches cut from each stack"
    )
    steps_per_epoch: Count | None = Field(None, description="Steps per epoch; empty uses every patch once")
    rays: int = Field(192, ge=8, le=512, description="Rays of StarDist: more resolve the shape better")
    grid: Counts | None = Field(
        None, description="StarDist predicts on every n-th voxel [z, y, x]; empty chooses by cell size"
    )
    anisotropy: Annotated[list[Positive], Field(min_length=2, max_length=3)] | None = Field(
        None,
        description="Relative cell extents [z, y, x] for StarDist's rays; empty measures them on the labels",
    )
    batch_norm: bool = Field(
        True,
        description="Normalise StarDist's layers over each batch: it learns in fewer steps; the paper's has none",
    )
    augment: bool = Field(True, description="Mirror, turn and vary the patches anew in every epoch")
    patience: Count | None = Field(
        None,
        description="Stop when the validation loss has not improved for so many epochs; empty never",
    )
    continue_training: bool = Field(
        False,
        description="After more cells were drawn: begin with the weights in the model folders, which is quick; False begins anew, which is best for the last training",
    )
    start_from: OptionalPath = Field(
        None,
        description="Networks to begin with: a run folder (its first ones, from before any retraining was adopted), a model folder, a bioimage.io package (.zip), or one of StarDist's by name, such as 2D_versatile_fluo; empty begins anew",
    )
    use_gpu_opencl: bool = Field(
        False, description="Let StarDist compute distances by OpenCL (needs gputools)"
    )
    precision: Precision = "auto"
    cellpose: dict[str, Any] = Field(
        {},
        description="Cellpose: 'base_model' to start from (''), diameter its network scales cells to ('cell_pixels': 30; smaller is faster, above all in 3D), 'learning_rate' (0.003; from a model 0.0001), 'side_planes' (True; 3D mode needs them), 'in_gui' (False; True lists it in Cellpose's own GUI, in the home folder)",
    )

    @field_validator("cellpose")
    @classmethod
    def _known_and_sound(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name, value in given.items():
            if name not in CELLPOSE_TRAINING:
                raise ValueError(f"{name}: known are {', '.join(CELLPOSE_TRAINING)}")
            kind = type(CELLPOSE_TRAINING[name])
            if not isinstance(value, (int, float) if kind is float else kind):
                raise ValueError(f"{name} should be {'a number' if kind is float else kind.__name__}")
        merged = CELLPOSE_TRAINING | given
        bounds = {
            "cell_pixels": Annotated[CellPixels, Le(100)],
            "learning_rate": Annotated[Positive, Le(0.1)],
        }
        for name, bound in bounds.items():
            if expected := complaint(bound, merged[name]):
                raise ValueError(f"{name} should be {expected}")
        return merged

    @model_validator(mode="after")
    def _something_to_do(self) -> TrainSegmentation:
        networks = (self.train_unet, self.train_stardist, self.train_tissue, self.train_cellpose)
        if not (any(networks) or self.create_npz):
            raise ValueError(
                "nothing to do: set train_unet, train_stardist, train_cellpose, train_tissue or create_npz to True"
            )
        if self.continue_training and self.start_from:
            raise ValueError("start_from: set continue_training to False, or leave start_from empty")
        if self.train_tissue and self.tissue_dir is None:
            raise ValueError("tissue_dir: name the folder of tissue masks, or set train_tissue to False")
        return self

    def inputs(self) -> list[Path]:
        """Return the training set and what `create_npz` and `train_tissue` read."""
        own = [] if self.create_npz else [self.path("dataset", "training.npz")]
        if self.create_npz:
            own += [folder for folder in (self.raw_dir, self.label_dir) if folder]
        if self.train_tissue and self.tissue_dir:
            own.append(self.tissue_dir)
        if self.start_from and self.starts_from_run():
            return [*own, first_models(self.start_from)]
        return own + ([self.start_from] if self.start_from and self.start_from.exists() else [])

    def starts_from_run(self) -> bool:
        """Whether `start_from` is a run folder, or is none of the others, so that its models are missed."""
        start = self.start_from
        if start is None or start.is_file() or (start / "config.json").is_file():
            return False
        return not (start / "cellpose_model").is_file() and (start.is_dir() or len(start.parts) > 1)

    def outputs(self) -> list[Path]:
        """Return the files of each network, and the training set that `create_npz` makes."""
        trained = {
            "unet": self.train_unet,
            "stardist": self.train_stardist,
            "tissue": self.train_tissue,
            "cellpose": self.train_cellpose,
        }
        made = [path for name, wanted in trained.items() if wanted for path in self.model_files(name)]
        return made + ([self.path("dataset", "training.npz")] if self.create_npz else [])


class OptimizeThresholds(Pairs):
    """The thresholds that give the best final labels are found on validation stacks."""

    name: ClassVar[str] = "optimize_thresholds"
    reads: ClassVar[tuple[str, ...]] = ("create_dataset", "train_denoiser", "train_segmentation")
    runs_networks: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = TENSORFLOW
    extra: ClassVar[str] = "tensorflow"
    often_set: ClassVar[tuple[str, ...]] = (
        "raw_dir",
        "label_dir",
        "method",
        "measure",
        "iou_thresholds",
        "max_stacks",
        "use_denoiser",
    )

    method: Literal["vollseg", "stardist", "unet"] = Field(
        "vollseg", description="Whose labels to optimise: 'vollseg', 'stardist' or 'unet'"
    )
    measure: Literal["f1", "accuracy"] = Field("f1", description="What to make largest: 'f1' or 'accuracy'")
    iou_thresholds: list[Part] = Field(
        [0.3, 0.5, 0.7],
        min_length=1,
        description="Overlap (IoU) from which a cell counts as found; the mean over these is optimised",
    )
    max_stacks: Count = Field(32, description="Use at most this many validation stacks")
    use_denoiser: bool = Field(False, description="Denoise the stacks first, as notebook 06_segment will")
    use_probability: bool = Field(
        True, description="Flood StarDist's probability map; False floods its distance map"
    )
    n_tiles: Counts | None = Field(
        None, description="Tiles [z, y, x] for prediction; empty chooses them to fit"
    )
    precision: Precision = "auto"

    def inputs(self) -> list[Path]:
        """Return the pairs, or the training set that names them, and the models."""
        pairs = super().inputs() or [self.path("dataset", "dataset.json")]
        return pairs + [file for name in ("unet", "stardist") for file in self.model_files(name)]

    def outputs(self) -> list[Path]:
        """Return the thresholds of each method."""
        return [self.path("thresholds*.json")]

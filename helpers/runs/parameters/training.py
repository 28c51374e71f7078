"""Parameters of the notebooks that train networks, and find their thresholds."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Le
from pydantic import Field, field_validator, model_validator

from helpers.bounds import (
    CellPixels,
    Count,
    Index,
    Odd,
    Part,
    Positive,
    complaint,
)
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
from helpers.runs.parameters.dataset import Pairs, Seed, first_models

#: What `TrainSegmentation.cellpose` may hold, and what stands for what it leaves out.
CELLPOSE_TRAINING: dict[str, Any] = {
    "base_model": "",
    "cell_pixels": 30.0,
    "learning_rate": 0.003,
    "side_planes": True,
    "in_gui": False,
}


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

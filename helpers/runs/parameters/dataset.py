"""Parameters of the notebook that makes training sets, and of all that read pairs of stacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Lt
from pydantic import Field, model_validator

from helpers.bounds import (
    Count,
    Fraction,
    Index,
    NotNegative,
)
from helpers.errors import InputError
from helpers.runs.parameters.base import (
    OptionalPath,
    OptionalText,
    Parameters,
    PatchSize,
    VoxelSize,
)

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

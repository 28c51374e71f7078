"""Parameters of the notebook that has movies segmented by a server (15)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from helpers.bounds import Count
from helpers.errors import InputError
from helpers.runs.parameters.base import OptionalFraction, OptionalPath, OptionalText
from helpers.runs.parameters.segmentation import (
    MakesLabels,
    MissingFrames,
    SaveOmeZarr05,
    SaveTiff,
    SegmentedChannel,
    TissueMask,
    label_files,
)


class SegmentRemote(MakesLabels):
    """A movie becomes labels and a table of cells, frame by frame, by a server over the network."""

    name: ClassVar[str] = "segment_remote"
    reads: ClassVar[tuple[str, ...]] = ("segment",)
    packages: ClassVar[tuple[str, ...]] = ("biopb", "grpcio")
    #: With the networks that the sample server runs.
    extra: ClassVar[str] = "tensorflow,remote"
    must_set: ClassVar[tuple[str, ...]] = ("run_dir", "movie", "server")
    often_set: ClassVar[tuple[str, ...]] = (
        *("voxel_size_um", "frame_interval_s", "channel", "token_file", "min_cell_area"),
        *("min_score", "scaling_hint", "tissue_mask", "beside_segment"),
    )
    method: ClassVar[str] = "remote"
    #: Parameters that change nothing in the labels and the table.
    without_effect: ClassVar[tuple[str, ...]] = (
        *("movie_id", "save_tiff", "save_ome_zarr_05", "frame_interval_s"),
        *("token_variable", "token_file", "tls", "certificate"),
        *("frames_in_flight", "timeout_s", "patience_s", "compress"),
    )

    missing_frames: MissingFrames = "refuse"
    channel: SegmentedChannel = 0
    all_channels: bool = Field(
        False,
        description="Send every channel, as Fiji's 'Multi-Channel'; channel is then the one that is measured",
    )
    server: OptionalText = Field(
        None, description="Address of the server, host:port; the movie's pixels are sent there"
    )
    token_variable: str = Field(
        "VOLLTRACK_TOKEN",
        min_length=1,
        description="Environment variable that holds the server's token; the token itself is written nowhere",
    )
    token_file: OptionalPath = Field(
        None, description="File that holds the token, instead of the environment variable"
    )
    tls: Literal["auto", "yes", "no"] = Field(
        "auto", description="Encrypt; 'auto' does where the port is 443 or missing, or certificate is given"
    )
    certificate: OptionalPath = Field(
        None,
        description="The server's certificate (PEM), where it made its own; empty trusts what the system does",
    )
    min_cell_area: float = Field(
        0.0, ge=0, description="Remove cells smaller than this: pixels, in 3D voxels"
    )
    min_score: OptionalFraction = Field(
        None, description="Least score of a cell; empty leaves it to the server"
    )
    nms_iou: OptionalFraction = Field(
        None,
        description="Of two cells that overlap more than this (IoU) keep one; 0: off; empty leaves it to the server",
    )
    segmentation_threshold: OptionalFraction = Field(
        None, description="Least value of a cell's pixels; empty leaves it to the server"
    )
    scaling_hint: float = Field(
        1.0, gt=0, description="Resize by this before looking for cells, where yours are of another size"
    )
    frames_in_flight: Count = Field(2, le=64, description="Frames that are at the server at once")
    timeout_s: float = Field(600.0, gt=0, description="Seconds the server may take for a frame")
    patience_s: float = Field(
        300.0, ge=0, description="Seconds to keep trying while the server does not answer or has no room"
    )
    compress: bool = Field(True, description="Send compressed (gzip): less to send, more to compute")
    tissue_mask: TissueMask = None
    beside_segment: bool = Field(
        False,
        description="Write labels_remote.zarr beside the labels of notebook 06_segment, to be compared in notebook 09_evaluate_segmentation",
    )
    save_tiff: SaveTiff = False
    save_ome_zarr_05: SaveOmeZarr05 = False

    def token(self) -> tuple[str, tuple[str, str]]:
        """Return the token, empty where there is none, and name and value of the parameter that says where it is.

        Raises
        ------
        InputError
            If the file cannot be read or is empty.
        """
        if self.token_file is None:
            return os.environ.get(self.token_variable, "").strip(), ("token_variable", self.token_variable)
        source = "token_file", str(self.token_file)
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise InputError(*source, "cannot be read: name a file that holds the server's token") from None
        if not token:
            raise InputError(*source, "is empty: it should hold the server's token")
        return token, source

    def inputs(self) -> list[Path]:
        """Return the movie and the mask; not the token, of which not even a hash is kept."""
        return [p for p in (self.movie, self.tissue_mask) if p]

    def outputs(self) -> list[Path]:
        """Return the labels and the table of cells."""
        return label_files(self)

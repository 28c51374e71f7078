"""Cellpose's networks, loaded, and its settings as arguments of `CellposeModel.eval`."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from helpers.bounds import (
    CellDiameter,
    CellprobThreshold,
    FlowThreshold,
    Index,
    LeastIou,
    NotNegative,
    check_bounds,
)
from helpers.data.calibration import spacing_of
from helpers.errors import InputError
from helpers.models.cellpose import weights as cellpose_weights
from helpers.models.precision import cpu_has_bfloat16
from helpers.models.stopping import go_on

Mode = Literal["2d", "2d+z", "3d"]

#: Pixel sizes y and x may differ by this fraction: Cellpose knows only one of them.
_SQUARE = 0.02


@dataclass(frozen=True)
class CellposeSettings:
    """The parameters of TrackMate-Cellpose-Advanced but for channels, model and GPU, which say what to load.

    Parameters
    ----------
    diameter_um : float
        Diameter of a cell in µm; 0: estimated on each frame where the model has a size model (the cyto models and
        nuclei of cellpose 3), else the mean diameter of the cells that the model was trained on.
    cellprob_threshold : float
        −6 … 6: a voxel is part of a cell where the network's value is above it. Lower finds more and larger cells.
    flow_threshold : float
        Largest error between the flows of a cell and those the network predicts; 0: no check. Unused in 3D.
    resample : bool
        Follow the flows at the resolution of the image: smoother outlines, more time.
    min_size_voxels : int
        Remove smaller cells, in voxels, not corrected for anisotropy; stacks only (in 2D Cellpose's own 15 pixels).
    stitch_planes : bool
        2D+Z: segment plane by plane and join the planes. Off: 3D.
    iou_threshold : float
        2D+Z: least IoU of two planes' outlines of one cell.
    smooth : float
        3D: standard deviation, in voxels, of the Gaussian that smooths the flows; 0: off.
    """

    diameter_um: CellDiameter = 0.0
    cellprob_threshold: CellprobThreshold = 0.0
    flow_threshold: FlowThreshold = 0.4
    resample: bool = True
    min_size_voxels: Index = 15
    stitch_planes: bool = False
    iou_threshold: LeastIou = 0.25
    smooth: NotNegative = 0.0

    def __post_init__(self) -> None:
        check_bounds(self)

    def mode(self, n_planes: int) -> Mode:
        """Return how a frame of so many planes is segmented; one plane is 2D, whatever else is asked for."""
        if n_planes == 1:
            return "2d"
        return "2d+z" if self.stitch_planes else "3d"


@dataclass(frozen=True)
class CellposeNetwork:
    """A loaded network of either version.

    Attributes
    ----------
    model : cellpose.models.CellposeModel
    name : str
        Built-in name or path, for messages.
    n_channels : int or None
        Channels it takes; None: any (cellpose 4).
    size_model : cellpose.models.SizeModel or None
        Estimates the diameter; cellpose 3 only.
    """

    model: Any
    name: str
    n_channels: int | None
    size_model: Any = None

    @property
    def trained_diameter(self) -> float:
        """Diameter in pixels that is assumed where none is given and none is estimated."""
        return float(getattr(self.model, "diam_labels", 30.0))


def cellpose_version() -> tuple[int, ...]:
    """Return the version of cellpose that is installed.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        text = importlib.metadata.version("cellpose")
    except importlib.metadata.PackageNotFoundError:
        raise InputError(
            "cellpose",
            "not installed",
            "install it: pip install 'cellpose>=3.1,<3.2', or cellpose 4 for cpsam",
        ) from None
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def anisotropy(voxel_size: Sequence[float] | None) -> float:
    """Return voxel z ÷ voxel x.

    Raises
    ------
    InputError
        If the voxel size is missing, or y and x differ: Cellpose knows only square pixels.
    """
    z, _, x = spacing_of(voxel_size, 3)
    _pixel_size(voxel_size)
    return z / x


def _pixel_size(voxel_size: Sequence[float] | None) -> float:
    y, x = spacing_of(voxel_size, 2)
    if abs(y - x) > _SQUARE * x:
        raise InputError(
            "voxel_size",
            tuple(voxel_size or ()),
            "the same size along y and x: Cellpose takes pixels for square; resample the movie first",
        )
    return x


def eval_arguments(
    settings: CellposeSettings, n_planes: int, voxel_size: Sequence[float] | None
) -> dict[str, Any]:
    """Return the arguments of `CellposeModel.eval` that the settings mean.

    Parameters
    ----------
    settings : CellposeSettings
    n_planes : int
        Planes of the frame.
    voxel_size : sequence of float
        (z, y, x) in µm; (y, x) will do for one plane.

    Returns
    -------
    dict
        All but channels, which follow from the array.

    Raises
    ------
    InputError
        If the voxel size is missing or not usable.
    """
    mode = settings.mode(n_planes)
    diameter = settings.diameter_um / _pixel_size(voxel_size)
    arguments: dict[str, Any] = {
        "diameter": diameter or None,
        "cellprob_threshold": settings.cellprob_threshold,
        "resample": settings.resample,
    }
    if mode != "3d":
        arguments["flow_threshold"] = settings.flow_threshold
    if mode == "2d+z":
        arguments |= {"stitch_threshold": settings.iou_threshold, "min_size": settings.min_size_voxels}
    if mode == "3d":
        arguments |= {
            "do_3D": True,
            "anisotropy": anisotropy(voxel_size),
            "min_size": settings.min_size_voxels,
        }
        if settings.smooth:
            arguments[_smooth_name()] = settings.smooth
    return arguments


def _smooth_name() -> str:
    """Return what this version calls the smoothing of flows: 3.1.0 had another name for it."""
    from cellpose.models import CellposeModel

    known = inspect.signature(CellposeModel.eval).parameters
    return "flow3D_smooth" if "flow3D_smooth" in known else "dP_smooth"


# Loading -----------------------------------------------------------------------------------------------------------


def load(model: str | Path, *, second_channel: bool = False, gpu: bool = True) -> CellposeNetwork:
    """Load a built-in model or a custom file.

    Parameters
    ----------
    model : str or Path
        ``cyto``, ``cyto2``, ``cyto3`` or ``nuclei`` (cellpose 3), ``cpsam`` (cellpose 4), a model that was added to
        Cellpose's GUI, or a file.
    second_channel : bool
        Whether it will be given a second channel.
    gpu : bool
        Compute on a GPU where there is one.

    Raises
    ------
    InputError
        A name that the installed version does not have (saying which has it), weights that are neither there nor
        to be had, a file that is truncated or of something else, or a model for other channels.
    """
    version = cellpose_version()
    name = str(model)
    path = cellpose_weights.find(name, version)
    n_channels = cellpose_weights.check(path, name, version)
    if n_channels is not None and (n_channels > 2 or (second_channel and n_channels < 2)):
        asked = 2 if second_channel else 1
        raise InputError(
            "model", name, f"a model that takes {asked} {'channels' if asked > 1 else 'channel'}: "
            f"this one takes {n_channels}" + ("; set second_channel to None" if n_channels == 1 else "")
        )  # fmt: skip
    from cellpose import core, models

    kind: Any = models.CellposeModel
    try:
        if version >= (4,):
            # Its 16 bits take twice the time of 32 on a processor that has no instructions for them.
            slow = not (gpu and core.use_gpu()) and not cpu_has_bfloat16()
            network = kind(gpu=gpu, pretrained_model=str(path), **({"use_bfloat16": False} if slow else {}))
        else:
            network = kind(
                gpu=gpu,
                pretrained_model=str(path),
                nchan=n_channels or 2,
                diam_mean=17.0 if name == "nuclei" else 30.0,
            )
    except Exception as error:  # whatever torch makes of weights that are not those of this network
        raise InputError("model", name, f"weights of a Cellpose network ({error})") from error
    network.net.register_forward_pre_hook(
        lambda *_: go_on()
    )  # a batch of a plane's tiles, of two or three hundred
    return CellposeNetwork(network, name, n_channels, _size_model(network, name, path, version))


def _size_model(network: Any, name: str, path: Path, version: tuple[int, ...]) -> Any:
    """Return the model that estimates diameters, where the weights have one."""
    if version >= (4,):
        return None
    from cellpose import models

    own = path.with_name(f"{path.name}_size.npy")
    if name in cellpose_weights.CELLPOSE_3_MODELS:
        own = cellpose_weights.fetched(
            f"size_{name}.npy" if name == "cyto3" else f"size_{name}torch_0.npy", name
        )
    if not own.is_file():
        return None
    return models.SizeModel(cp_model=network, pretrained_size=str(own))


# Applying ----------------------------------------------------------------------------------------------------------

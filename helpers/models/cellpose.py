"""Cellpose under the names and units of TrackMate-Cellpose-Advanced, version 3.1 and 4 alike.

A frame is segmented in one of three modes, which follow from its planes and one switch::

    one plane                      2D      flows in the plane
    several, stitch_planes         2D+Z    plane by plane, joined where their outlines overlap (IoU)
    several                        3D      flows of XY, ZY and ZX planes summed, stretched to cubic voxels

`eval_arguments` is the whole mapping from the settings to `cellpose.models.CellposeModel.eval`; what comes out are
Cellpose's own labels. The planes of 2D+Z pass through `eval` one by one, since Cellpose 3.1 keeps a stack's labels in
16 bits however many its planes have.

References
----------
Stringer et al., Cellpose, Nature Methods 2021. Pachitariu & Stringer, Cellpose 2.0, Nature Methods 2022.
Stringer & Pachitariu, Cellpose3, Nature Methods 2025. Pachitariu, Rariden & Stringer, Cellpose-SAM, bioRxiv 2025.
TrackMate-Cellpose-Advanced (parameters and their names).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from helpers.data.calibration import spacing_of
from helpers.errors import InputError
from helpers.models import cellpose_weights
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

    diameter_um: float = 0.0
    cellprob_threshold: float = 0.0
    flow_threshold: float = 0.4
    resample: bool = True
    min_size_voxels: int = 15
    stitch_planes: bool = False
    iou_threshold: float = 0.25
    smooth: float = 0.0

    def __post_init__(self) -> None:
        _require("diameter_um", self.diameter_um, self.diameter_um >= 0, "above 0 (µm), or 0 to estimate it")
        value = self.cellprob_threshold
        _require("cellprob_threshold", value, -6 <= value <= 6, "between -6 and 6")
        value = self.flow_threshold
        _require("flow_threshold", value, value >= 0, "0 (no check) or above")
        value = self.min_size_voxels
        _require("min_size_voxels", value, value >= 0, "a number of voxels, 0 or more")
        value = self.iou_threshold
        _require("iou_threshold", value, 0 < value <= 1, "above 0 and at most 1")
        _require("smooth", self.smooth, self.smooth >= 0, "0 (off) or a number of voxels")

    def mode(self, n_planes: int) -> Mode:
        """Return how a frame of so many planes is segmented; one plane is 2D, whatever else is asked for."""
        if n_planes == 1:
            return "2d"
        return "2d+z" if self.stitch_planes else "3d"


def _require(name: str, value: object, right: bool, expected: str) -> None:
    if not right:
        raise InputError(name, value, expected)


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


@dataclass(frozen=True)
class CellposePrediction:
    """What Cellpose says of one frame.

    Attributes
    ----------
    labels : ndarray of int32, (Z, Y, X)
        0 background, cells 1…n.
    cell_probability : ndarray of float32, (Z, Y, X)
        The network's value on the scale of `cellprob_threshold`.
    diameter : float or None
        In pixels, as given to Cellpose; None: the model's own.
    """

    labels: NDArray[np.int32]
    cell_probability: NDArray[np.float32]
    diameter: float | None = None


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
    from cellpose import models

    kind: Any = models.CellposeModel
    try:
        if version >= (4,):
            network = kind(gpu=gpu, pretrained_model=str(path))
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


def check_frame(network: CellposeNetwork, frame: NDArray) -> NDArray:
    """Return a frame as (C, Z, Y, X), C 1 or 2.

    Raises
    ------
    InputError
        If it is empty, or has other dimensions or more channels than the network takes.
    """
    frame = np.asarray(frame)
    if frame.ndim not in (2, 3, 4):
        raise InputError("frame", frame.shape, "(Z, Y, X), or (2, Z, Y, X) with a second channel")
    if frame.size == 0:
        raise InputError("crop", frame.shape, "at least one voxel along every axis: the crop is empty")
    frame = frame.reshape((1,) * (4 - frame.ndim) + frame.shape)
    if len(frame) > min(2, network.n_channels or 2):
        raise InputError(
            "model",
            network.name,
            f"a model for {len(frame)} channels: this one takes {network.n_channels or 2}",
        )
    if frame.dtype.kind not in "uif" or (frame.dtype.kind == "f" and not np.isfinite(frame).all()):
        raise InputError("frame", frame.dtype.name, "real, finite intensities")
    return frame


def normalized(frame: NDArray) -> NDArray[np.float32]:
    """Return (C, Z, Y, X) scaled as Cellpose scales a stack: percentiles 1 and 99 of each channel become 0 and 1."""
    from cellpose import transforms

    last = np.moveaxis(frame, 0, -1).astype(np.float32)
    stack = last[0] if len(last) == 1 else last
    result = transforms.normalize_img(stack, norm3D=True)
    return np.ascontiguousarray(np.moveaxis(result.reshape(last.shape), -1, 0))


def predict(
    network: CellposeNetwork,
    frame: NDArray,
    settings: CellposeSettings,
    *,
    voxel_size: Sequence[float] | None,
    normalize: bool = True,
    batch_size: int = 8,
) -> CellposePrediction:
    """Segment one frame with Cellpose.

    Parameters
    ----------
    network : CellposeNetwork
        From `load`.
    frame : ndarray, (Z, Y, X), (Y, X), or (2, Z, Y, X) with a second channel
        Raw intensities.
    settings : CellposeSettings
    voxel_size : sequence of float
        (z, y, x) in µm.
    normalize : bool
        Scale the intensities as Cellpose does; False for what `normalized` made.
    batch_size : int
        Tiles of a plane that the network sees at once.

    Returns
    -------
    CellposePrediction
        The labels of ``CellposeModel.eval`` with `eval_arguments`.

    Raises
    ------
    InputError
        If the frame is empty or does not suit the network, or the voxel size is missing.
    """
    stack = check_frame(network, frame)
    n_planes = stack.shape[1]
    arguments = eval_arguments(settings, n_planes, voxel_size)
    arguments["diameter"] = arguments["diameter"] or _estimate(network, stack, normalize)
    arguments["batch_size"] = batch_size
    mode = settings.mode(n_planes)
    if mode == "2d+z":
        if normalize:
            stack = normalized(stack)
        labels, cellprob = _stitched(network, stack, arguments)
    else:
        labels, cellprob = _evaluate(network, stack, arguments, normalize=normalize)
    shape = stack.shape[1:]
    return CellposePrediction(
        np.ascontiguousarray(labels, np.int32).reshape(shape),
        _resized(cellprob, shape),
        arguments["diameter"],
    )


def _evaluate(
    network: CellposeNetwork, stack: NDArray, arguments: dict[str, Any], *, normalize: bool
) -> tuple[NDArray, NDArray]:
    """Call `CellposeModel.eval` on (C, Z, Y, X); Z = 1 is given to it as a plane."""
    image = stack[0] if len(stack) == 1 else np.moveaxis(stack, 0, -1)
    axes: dict[str, Any] = {"z_axis": 0}
    if stack.shape[1] == 1:
        image, axes = image[0], {}
    if len(stack) > 1:
        axes["channel_axis"] = image.ndim - 1
    if network.n_channels == 2:  # cellpose 3: which channels the network's two inputs are
        axes["channels"] = [1, 2] if len(stack) > 1 else [0, 0]
    # As a mapping: cellpose 3 writes what is given as True or False into its own defaults.
    masks, flows, _ = network.model.eval(
        image, normalize={"normalize": normalize, "norm3D": True}, **axes, **arguments
    )
    return masks, flows[2]


def _stitched(
    network: CellposeNetwork, stack: NDArray[np.float32], arguments: dict[str, Any]
) -> tuple[NDArray, NDArray]:
    """Segment plane by plane and join as `CellposeModel.eval` does with a `stitch_threshold`, but in 32 bits."""
    from cellpose import utils

    from helpers.progress import progress

    threshold, min_size = arguments["stitch_threshold"], arguments["min_size"]
    plain = {k: v for k, v in arguments.items() if k != "stitch_threshold"} | {"min_size": -1}
    masks = np.zeros(stack.shape[1:], np.int32)
    cellprob = []
    for z in progress(range(stack.shape[1]), desc="Cellpose XY", unit="plane", leave=False):
        masks[z], plane = _evaluate(network, stack[:, z : z + 1], plain, normalize=False)
        cellprob.append(plane)
    _stitch(masks, threshold)
    return utils.fill_holes_and_remove_small_masks(masks, min_size=min_size), np.stack(cellprob)


def _stitch(masks: NDArray[np.int32], threshold: float) -> None:
    """Number the cells of planes through, in place, by the rule of `cellpose.utils.stitch3D`.

    A cell of a plane goes on with the cell before it of the highest IoU, among those whose best follower it is.
    Cellpose fills a matrix of all cells so far for every plane, and begins to count anew after an early empty plane,
    which makes one cell of two; neither is done here.
    """
    count = int(masks[0].max(initial=0))
    for before, here in itertools.pairwise(masks):
        both = (before > 0) & (here > 0)
        pairs, shared = np.unique(np.stack([before[both], here[both]]), axis=1, return_counts=True)
        sizes, own = np.bincount(before.ravel()), np.bincount(here.ravel())
        iou = shared / (sizes[pairs[0]] + own[pairs[1]] - shared)
        best = np.zeros(len(sizes))
        np.maximum.at(best, pairs[0], iou)
        ids = np.zeros(len(own), np.int32)
        kept = np.flatnonzero((iou >= threshold) & (iou == best[pairs[0]]))
        # Of several cells before it the one with the highest IoU comes last, and so stays; of equals the first.
        kept = kept[np.lexsort((-pairs[0][kept], iou[kept]))]
        ids[pairs[1][kept]] = pairs[0][kept]
        new = np.flatnonzero((ids == 0) & (own > 0))[1 if own[0] else 0 :]
        ids[new] = np.arange(count + 1, count + 1 + len(new))
        count += len(new)
        here[:] = ids[here]


def _estimate(network: CellposeNetwork, stack: NDArray, normalize: bool) -> float | None:
    """Return the diameter in pixels on the middle plane, or None where the model cannot tell."""
    if network.size_model is None:
        return None
    plane = stack[:, stack.shape[1] // 2]
    image, axes = (plane[0], {}) if len(plane) == 1 else (np.moveaxis(plane, 0, -1), {"channel_axis": 2})
    channels = {"channels": [1, 2] if len(plane) > 1 else [0, 0]} if network.n_channels == 2 else {}
    diameter, _ = network.size_model.eval(image, normalize={"normalize": normalize}, **axes, **channels)
    return float(diameter)


def _resized(cellprob: NDArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Bring the network's values, which without `resample` have its own resolution, to the frame's."""
    if cellprob.size != math.prod(shape):
        sizes = (1,) * (3 - cellprob.ndim) + cellprob.shape
        nearest = [
            np.minimum(((np.arange(n) + 0.5) * s / n).astype(int), s - 1)
            for n, s in zip(shape, sizes, strict=True)
        ]
        cellprob = cellprob.reshape(sizes)[np.ix_(*nearest)]
    return np.ascontiguousarray(cellprob, np.float32).reshape(shape)


@contextlib.contextmanager
def plane_directions() -> Iterator[None]:
    """Show, while a stack is segmented in 3D, which of the three plane directions the network works on."""
    import logging

    from helpers.progress import progress

    with progress(desc="Cellpose", unit="direction", total=3, leave=False) as bar:

        class Follow(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                message = record.getMessage()
                if message.startswith("running ") and "planes" in message:
                    bar.set_description(f"Cellpose {message.split(':')[0].removeprefix('running ')}")
                    bar.update()

        logger = logging.getLogger("cellpose.core")
        handler, level, propagate = Follow(), logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate

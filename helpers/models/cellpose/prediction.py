"""Cells of a frame by Cellpose: one `eval`, or slice by slice where the labels of a stack need more than 16 bits."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.errors import InputError
from helpers.models.cellpose.network import CellposeNetwork, CellposeSettings, eval_arguments
from helpers.models.stitching import stitch_slices

#: Tiles of a plane that the network sees at once.
_BATCH = 8


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
    arguments["batch_size"] = _BATCH
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
    masks = stitch_slices(masks, threshold)
    return utils.fill_holes_and_remove_small_masks(masks, min_size=min_size), np.stack(cellprob)


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

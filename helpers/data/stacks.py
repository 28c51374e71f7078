"""Pairs of a raw stack and its masks: described first, loaded one at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from helpers.data.checks import check_image
from helpers.data.masks import instances_from_binary
from helpers.data.movies import Movie
from helpers.data.outlines import is_outline_file, read_outlines
from helpers.data.source import stem
from helpers.data.sparse_labels import UNANNOTATED, foreground, is_sparse, read_labels, translated
from helpers.errors import InputError

#: A file that `Movie.open` reads, or an array (Z, Y, X) or (Y, X).
StackSource: TypeAlias = str | os.PathLike[str] | np.ndarray


@dataclass(frozen=True)
class StackPair:
    """A raw stack with its instance labels, its binary mask, or both.

    Attributes
    ----------
    raw : path or (Z, Y, X) or (Y, X) ndarray
    labels : the same, integers, or None
        Instances; made from `binary` where missing.
    binary : the same or None
        Foreground; made from `labels` where missing.
    name : str
        Must differ between the pairs of a set; the file's stem by default.
    """

    raw: StackSource
    labels: StackSource | None = None
    binary: StackSource | None = None
    name: str = ""


@dataclass(frozen=True)
class LoadedStack:
    """One stack in memory, arrays (Z, Y, X); `own_binary` says that the mask was given, not derived.

    In sparse labels, and in their mask, -1 is not annotated (`helpers.data.sparse_labels`).
    """

    name: str
    raw: np.ndarray
    labels: np.ndarray
    binary: np.ndarray
    own_binary: bool

    @property
    def is_sparse(self) -> bool:
        """Whether some voxels are not annotated."""
        return is_sparse(self.binary)


@dataclass(frozen=True)
class Stack:
    """A pair whose files were found to fit together; pixels are read by `load`."""

    pair: StackPair
    name: str
    shape: tuple[int, int, int]
    is_2d: bool
    voxel_size: tuple[float, ...]
    boundary_width: float
    channel: int
    axes: str | None
    dataset: str | None
    label_dataset: str | None
    binary_dataset: str | None
    unannotated: int | None = None
    background_label: int = 0

    def load(self) -> LoadedStack:
        """Read and check the pixels, and derive the mask that is missing.

        Raises
        ------
        InputError
            NaN, constant or truncated images, labels that are no labels, no foreground.
        """
        raw = check_image(self.read(self.pair.raw, self.dataset, self.channel, whole=True), self.name)
        labels, binary = self.load_masks()
        return LoadedStack(self.name, raw, labels, binary, own_binary=self.pair.binary is not None)

    def load_masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Read instances and foreground, deriving one from the other where it is missing."""
        labels = binary = None
        values: dict[str, Any] = {"unannotated": self.unannotated, "background": self.background_label}
        if self.pair.labels is not None:
            found = self.read(self.pair.labels, self.label_dataset)
            own = {} if is_outline_file(self.pair.labels) else values
            labels = read_labels(found, f"labels of {self.name}", **own)
        if self.pair.binary is not None:
            mask = self.read(self.pair.binary, self.binary_dataset)
            if mask.dtype != bool:
                mask = _mask(mask, f"binary of {self.name}", **values)
            binary = mask
        if binary is None:
            assert labels is not None
            binary = foreground(labels, voxel_size=self.voxel_size, boundary_width=self.boundary_width)
        if labels is None:
            labels = instances_from_binary(binary > 0)
        if is_sparse(binary) or is_sparse(labels):
            unknown = (binary < 0) | (labels < 0)
            labels, binary = np.where(unknown, UNANNOTATED, labels), np.where(unknown, UNANNOTATED, binary)
            labels, binary = labels.astype(np.int32, copy=False), binary.astype(np.int8, copy=False)
        if not (binary > 0).any() or not (labels > 0).any():
            raise InputError(
                f"labels of {self.name}",
                "no foreground",
                "at least one cell wider than twice boundary_width; leave the stack out if it is empty",
            )
        return labels, binary

    def may_be_sparse(self) -> bool:
        """Whether the type of the files, or what their values mean, lets voxels be not annotated; reads no pixels."""
        given = [(self.pair.labels, self.label_dataset), (self.pair.binary, self.binary_dataset)]
        types = [
            np.dtype(np.int32) if is_outline_file(source) else _describe(source, key, self.axes)[1]
            for source, key in given
            if source is not None
        ]
        return self.unannotated is not None or any(dtype.kind == "i" for dtype in types)

    def largest_label(self) -> int:
        """Return an upper bound of the labels, from the type of the file where that is enough."""
        if self.pair.labels is not None and not is_outline_file(self.pair.labels):
            dtype = _describe(self.pair.labels, self.label_dataset, self.axes)[1]
            if dtype.itemsize <= 2:
                return int(np.iinfo(np.uint16).max)
        return int(self.load_masks()[0].max())

    def read(
        self, source: StackSource, dataset: str | None = None, channel: int = 0, *, whole: bool = False
    ) -> np.ndarray:
        """Read one stack (Z, Y, X) of this pair's files; of masks, a chunk that is not there is background."""
        if isinstance(source, np.ndarray):
            return source if source.ndim == 3 else source[None]
        if is_outline_file(source):
            return read_outlines(source, self.shape)
        missing = "refuse" if whole else "empty"
        return Movie.open(source, dataset=dataset, axes=self.axes, missing_frames=missing).frame(0, channel)


def _mask(mask: np.ndarray, name: str, *, unannotated: int | None, background: int) -> np.ndarray:
    """Return a mask as bool, or with -1 where it is not annotated as int8; its pieces are not cells yet."""
    labels = translated(mask, name, unannotated=unannotated, background=background)
    return np.sign(labels).astype(np.int8) if is_sparse(labels) else labels > 0


def open_stacks(
    pairs: Sequence[StackPair | Sequence[Any]],
    *,
    voxel_size: Sequence[float] | None,
    boundary_width: float,
    channel: int = 0,
    axes: str | None = None,
    dataset: str | None = None,
    label_dataset: str | None = None,
    binary_dataset: str | None = None,
    unannotated: int | None = None,
    background_label: int = 0,
) -> list[Stack]:
    """Describe all pairs from their metadata, and refuse what does not fit before any work is done.

    Parameters
    ----------
    pairs : sequence of StackPair, or of (raw, labels) or (raw, labels, binary)
    voxel_size : (z, y, x) in µm, optional
        In place of what the files say.
    boundary_width : float
        µm; see `helpers.data.masks.binary_from_instances`.
    channel : int
        The channel of the raw files.
    axes : str, optional
        As stored, where the files do not say; see `Movie.open`.
    dataset, label_dataset, binary_dataset : str, optional
        Keys in HDF5 files.
    unannotated, background_label : int
        What the values of label files mean; see `helpers.data.sparse_labels.read_labels`.

    Raises
    ------
    InputError
        No pairs; a pair without masks; files with several frames, of different shapes, or without a voxel
        size, or whose masks say another; names used twice; 2D and 3D stacks mixed; stacks of different voxel sizes.
    """
    if not pairs:
        raise InputError("pairs", list(pairs), "at least one raw stack with its labels")
    stacks: list[Stack] = []
    for index, given in enumerate(pairs):
        pair = given if isinstance(given, StackPair) else StackPair(*given)
        name = pair.name or (f"stack_{index}" if isinstance(pair.raw, np.ndarray) else stem(Path(pair.raw)))
        if pair.labels is None and pair.binary is None:
            raise InputError(f"pair {name}", None, "give instance labels, a binary mask, or both")
        shape, _, file_voxel_size = _describe(pair.raw, dataset, axes)
        for what, source, key in (
            ("labels", pair.labels, label_dataset),
            ("binary", pair.binary, binary_dataset),
        ):
            if source is None or is_outline_file(source):  # outlines have no shape of their own
                continue
            found, _, own = _describe(source, key, axes)
            if found != shape:
                raise InputError(f"{what} of {name}", found, f"the shape of the raw stack, {shape}")
            scales = [scale for scale in (own, file_voxel_size) if scale is not None]
            if voxel_size is None and len(scales) == 2 and not np.allclose(*scales, rtol=1e-3):
                raise InputError(
                    "voxel_size",
                    None,
                    f"give (z, y, x) in µm: {name} says {file_voxel_size}, and its {what} say {own}",
                )
        size = voxel_size if voxel_size is not None else file_voxel_size
        if size is None:
            raise InputError("voxel_size", None, f"{name} does not say its voxel size: give (z, y, x) in µm")
        is_2d = pair.raw.ndim == 2 if isinstance(pair.raw, np.ndarray) else shape[0] == 1
        stacks.append(
            Stack(
                pair, name, shape, is_2d, tuple(float(s) for s in size), boundary_width,
                channel, axes, dataset, label_dataset, binary_dataset, unannotated, background_label,
            )
        )  # fmt: skip
    _check_alike(stacks)
    return stacks


def _check_alike(stacks: list[Stack]) -> None:
    first, names = stacks[0], [stack.name for stack in stacks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("pairs", twice, "names that differ: the split goes by stack name")
    for stack in stacks[1:]:
        if stack.is_2d != first.is_2d:
            raise InputError(
                f"pair {stack.name}", stack.shape, f"all stacks 3D or all 2D; {first.name} is {first.shape}"
            )
        if not np.allclose(stack.voxel_size, first.voxel_size, rtol=0.02):
            raise InputError(
                f"pair {stack.name}: voxel_size",
                stack.voxel_size,
                f"the voxel size of {first.name}, {first.voxel_size} µm: resample, or give voxel_size for all",
            )


def _describe(
    source: StackSource, dataset: str | None, axes: str | None
) -> tuple[tuple[int, int, int], np.dtype, tuple[float, ...] | None]:
    """Return shape (Z, Y, X), dtype and voxel size without reading pixels."""
    if isinstance(source, np.ndarray):
        if source.ndim not in (2, 3):
            raise InputError("pairs", f"array of shape {source.shape}", "arrays (Z, Y, X), or (Y, X) in 2D")
        depth, height, width = source.shape if source.ndim == 3 else (1, *source.shape)
        return (depth, height, width), source.dtype, None
    movie = Movie.open(source, dataset=dataset, axes=axes)
    if movie.n_frames > 1:
        raise InputError(
            str(source), f"{movie.n_frames} frames", "one stack (Z, Y, X) a file: save frames apart"
        )
    return movie.shape[2:], movie.dtype, movie.voxel_size

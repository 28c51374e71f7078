"""Patches for training, drawn from stacks and streamed into one .npz.

Memory holds one stack and one patch, whatever the number of patches. The method is VollSeg's: raw is normalised
by its stack's percentiles (as csbdeep does it), masks never are; every stack gives patches of itself and of
augmented copies; whole stacks are held out for validation, because patches of one stack overlap. Of stacks in which only
some cells are drawn (`helpers.data.sparse_labels`) patches are drawn where annotations are, and drawn cells are held out,
each with the background around it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.atomic import atomic_path
from helpers.data.augment import Augmentation, change_intensity, draw_geometry, margin
from helpers.data.boundary_width import choose_boundary_width
from helpers.data.checks import check_image
from helpers.data.holdout import Part, describe, hold_out, look_at_sparse
from helpers.data.masks import erosion_reach
from helpers.data.normalization import normalize, percentile_range
from helpers.data.npz_stream import NpzWriter
from helpers.data.patch_sampling import PatchSampling, region
from helpers.data.sparse_labels import foreground
from helpers.data.stacks import LoadedStack, Stack, StackPair, StackSource, open_stacks
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.progress import progress

#: Tries to turn a patch so that something annotated stays in it.
_TRIES = 100

#: Denoises one raw stack (Z, Y, X), or (Y, X) in 2D; or the denoised stacks, one for each pair.
Denoise = Callable[[np.ndarray], np.ndarray] | Sequence[StackSource]


def create_training_set(
    pairs: Sequence[StackPair | Sequence[Any]],
    path: str | os.PathLike[str],
    *,
    patch_size: Sequence[int] = (16, 128, 128),
    patches_per_image: int = 16,
    copies: int = 0,
    augmentation: Augmentation | None = None,
    denoise: Denoise | None = None,
    voxel_size: Sequence[float] | None = None,
    pmin: float = 1.0,
    pmax: float = 99.8,
    foreground_probability: float = 0.9,
    min_foreground: float = 0.001,
    boundary_width: float | None = 0.0,
    validation_fraction: float = 0.2,
    validation_stacks: Sequence[str] = (),
    depth: int | None = None,
    channel: int = 0,
    axes: str | None = None,
    dataset: str | None = None,
    label_dataset: str | None = None,
    binary_dataset: str | None = None,
    unannotated: int | None = None,
    background_label: int = 0,
    seed: int = 0,
    overwrite: bool = False,
) -> TrainingSet:
    """Draw patches from stacks and write the training set, and ``dataset.json`` beside it.

    Parameters
    ----------
    pairs : sequence of StackPair, or of (raw, labels) or (raw, labels, binary)
        Files or arrays; labels or binary may be None and is then made from the other.
    path : path
        The ``.npz``; it appears when complete. `helpers.data.training_set` describes its members.
    patch_size : (z, y, x), or (y, x) in 2D
        Voxels.
    patches_per_image : int
        Patches from each stack, and from each augmented copy of a training stack.
    copies : int
        Augmented copies of each training stack; validation patches are never augmented. The paper has 49.
    augmentation : Augmentation, optional
        What happens to the copies; `Augmentation`'s defaults.
    denoise : callable or sequence, optional
        ``raw -> denoised``, or a denoised stack for each pair: the source of some patches of the copies.
    voxel_size : (z, y, x) in µm, optional
        In place of what the files say.
    pmin, pmax : float
        Percentiles of the raw stack that become 0 and 1: of the whole stack, where labels are sparse, too. A network must be
        shown intensities on the scale on which it will see a movie's frames, where nothing is drawn; drawn cells alone are
        brighter (nuclei) or darker (membranes) than the stack, by as much as a person happened to draw of either.
    foreground_probability, min_foreground : float
        See `PatchSampling`.
    boundary_width : float
        µm by which borders between touching cells are eroded in a binary mask made from labels, on each side; None chooses it from
        the labels (`helpers.data.boundary_width`), and the settings then say why.
    validation_fraction : float
        Fraction of the stacks, at least one, held out whole; 0 holds out none. Where labels are sparse, fraction of the
        drawn cells; ``settings["sparse"]["validation"]`` says how many, or why none.
    validation_stacks : sequence of str
        Names of the stacks to hold out, in place of a fraction.
    depth : int, optional
        Of the U-Net that will be trained: `patch_size` must be divisible by ``2 ** depth``.
    channel : int
        Of the raw files.
    axes : str, optional
        As stored, where the files do not say; see `helpers.data.movies.Movie.open`.
    dataset, label_dataset, binary_dataset : str, optional
        Keys in HDF5 files.
    unannotated, background_label : int
        What the values of label files mean; see `helpers.data.sparse_labels.read_labels`.
    seed : int
        The same seed and stacks give the same file, byte for byte.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    TrainingSet

    Raises
    ------
    InputError
        Parameters or stacks that cannot be used, a folder that cannot be written to, too little disk.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError("path", str(path), "exists already: another name, or overwrite=True")
    _check_numbers(
        patches_per_image=(patches_per_image, 1, math.inf),
        copies=(copies, 0, math.inf),
        foreground_probability=(foreground_probability, 0, 1),
        min_foreground=(min_foreground, 0, 1),
        validation_fraction=(validation_fraction, 0, math.nextafter(1, 0)),
        seed=(seed, 0, math.inf),
    )
    augmentation = augmentation or Augmentation()
    stacks = open_stacks(
        pairs,
        voxel_size=voxel_size,
        boundary_width=boundary_width or 0.0,
        channel=channel,
        axes=axes,
        dataset=dataset,
        label_dataset=label_dataset,
        binary_dataset=binary_dataset,
        unannotated=unannotated,
        background_label=background_label,
    )
    chosen = None if boundary_width is not None else choose_boundary_width(stacks)
    if chosen is not None:
        stacks = [replace(stack, boundary_width=chosen.width) for stack in stacks]
    size = check_patch_size(patch_size, stacks, depth)
    if denoise is not None and not callable(denoise) and len(denoise) != len(stacks):
        raise InputError("denoise", f"{len(denoise)} stacks", f"one for each of the {len(stacks)} pairs")
    drawn = look_at_sparse(stacks)
    # Training first: csbdeep's validation_split then takes what is held out here.
    parts, held = hold_out(stacks, drawn, validation_fraction, validation_stacks, seed)
    is_2d = stacks[0].is_2d
    counts = [patches_per_image * (1 if part.validation else 1 + copies) for part in parts]
    total = sum(counts)
    held_out = {stacks[part.index].name for part in parts if part.validation and not part.held_back}
    label_type = _label_type(stacks, signed=drawn is not None)
    settings = {
        "patch_size": list(size[1:] if is_2d else size),
        "patches_per_image": patches_per_image,
        "copies": copies,
        "augmentation": asdict(augmentation) if copies else None,
        "denoised": denoise is not None,
        "voxel_size": list(stacks[0].voxel_size),
        "pmin": pmin,
        "pmax": pmax,
        "foreground_probability": foreground_probability,
        "min_foreground": min_foreground,
        "boundary_width": stacks[0].boundary_width,
        **({} if chosen is None else {"boundary_width_why": chosen.why, "contact": chosen.contact}),
        **describe(drawn, held),
        "train_stacks": [stacks[part.index].name for part in parts if not part.validation],
        "validation_stacks": [
            stacks[part.index].name for part in parts if stacks[part.index].name in held_out
        ],
        "train_patches": sum(n for n, part in zip(counts, parts, strict=True) if not part.validation),
        "validation_patches": sum(n for n, part in zip(counts, parts, strict=True) if part.validation),
        "seed": seed,
    }
    stored_axes, text = np.array("SCYX" if is_2d else "SCZYX"), np.array(json.dumps(settings))
    names = np.repeat([stacks[part.index].name for part in parts], counts)
    spatial = size[1:] if is_2d else size
    members = {
        "X": ((total, 1, *spatial), np.float32),
        "Y": ((total, 1, *spatial), np.float32),
        "axes": ((), stored_axes.dtype),
        "labels": ((total, *spatial), label_type),
        "stack": ((total,), names.dtype),
        "start": ((total, 3), np.int32),
        "validation": ((total,), bool),
        "settings": ((), text.dtype),
    }
    sampling = PatchSampling(size, foreground_probability, min_foreground)
    ranges: dict[str, tuple[float, float]] = {}
    with (
        NpzWriter(path, members) as npz,
        progress(total=total, desc="Patches", unit="patch") as bar,
    ):
        for name, array in (("axes", stored_axes), ("settings", text), ("stack", names)):
            npz.append(name, array)
        npz.append("validation", np.repeat([part.validation for part in parts], counts))
        for part in parts:
            n_copies = 0 if part.validation else copies
            source = denoise if denoise is None or callable(denoise) else denoise[part.index]
            rng = np.random.default_rng(
                [seed, part.index, *([1] if part.validation and part.held_back else [])]
            )
            patches = _patches(
                stacks[part.index], part, sampling, patches_per_image, n_copies, augmentation, source,
                (pmin, pmax), rng, ranges,
            )  # fmt: skip
            for start, x, y, labels in patches:
                npz.append("X", x)
                npz.append("Y", y)
                npz.append("labels", labels)
                npz.append("start", np.array(start))
                bar.update()
    # What becomes 0 and 1, so that movies of other intensities can be told.
    settings |= {"intensities": np.median(list(ranges.values()), axis=0).tolist()}
    with atomic_path(path.with_name("dataset.json")) as temporary:
        temporary.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return TrainingSet.open(path)


_Patch = tuple[tuple[int, int, int], np.ndarray, np.ndarray, np.ndarray]


def _label_type(stacks: Sequence[Stack], *, signed: bool) -> type:
    """Return the smallest type that holds all labels, and -1 where labels are sparse."""
    small, large = (np.int16, np.int32) if signed else (np.uint16, np.uint32)
    return small if max(stack.largest_label() for stack in stacks) <= np.iinfo(small).max else large


def _patches(
    stack: Stack,
    part: Part,
    sampling: PatchSampling,
    count: int,
    copies: int,
    augmentation: Augmentation,
    denoise: Callable[[np.ndarray], np.ndarray] | StackSource | None,
    percentiles: tuple[float, float],
    rng: np.random.Generator,
    ranges: dict[str, tuple[float, float]],
) -> Iterator[_Patch]:
    """Yield (start, x, y, labels) of one part: as it is, then augmented; note the stack's range of intensities."""
    loaded = part.of(stack.load(), stack.voxel_size)
    low, high = percentile_range(loaded.raw, *percentiles, name=stack.name)
    ranges[stack.name] = low, high
    starts = sampling.starts(loaded.binary, rng, stack.name)
    size = sampling.patch_size
    for _ in range(count):
        start = next(starts)
        x = normalize(region(loaded.raw, start, size), low, high)
        yield start, x, region(loaded.binary, start, size), region(loaded.labels, start, size)
    if not copies:
        return
    clean, clean_range = None, (low, high)
    if denoise is not None and augmentation.denoised:
        clean = _denoised(stack, loaded.raw, denoise)
        clean_range = percentile_range(clean, *percentiles, name=f"denoised {stack.name}")
    for _ in range(count * copies):
        start = next(starts)
        raw, (bottom, top) = loaded.raw, (low, high)
        if clean is not None and rng.random() < augmentation.denoised_fraction:
            raw, (bottom, top) = clean, clean_range
        for _ in range(_TRIES):
            x, y, labels = _augmented(stack, loaded, raw, bottom, top, start, size, augmentation, rng)
            if not loaded.is_sparse or (y >= 0).any():
                break
            start = next(starts)  # what was annotated here was turned out of the patch
        yield start, x, y, labels


def _augmented(
    stack: Stack,
    loaded: LoadedStack,
    raw: np.ndarray,
    low: float,
    high: float,
    start: tuple[int, int, int],
    size: tuple[int, int, int],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # The mask is eroded after the labels were moved, so that turned cells are separated as well as upright
    # ones; `halo` brings the neighbours outside the patch whose borders erode it.
    reach = (0, 0, 0) if loaded.own_binary else erosion_reach(stack.boundary_width, stack.voxel_size)
    halo = (0, 0, 0) if stack.boundary_width == 0 else reach
    target = tuple(n + 2 * h for n, h in zip(size, halo, strict=True))
    around = margin(target, augmentation, voxel_size=stack.voxel_size)
    corner = tuple(s - h - m for s, h, m in zip(start, halo, around, strict=True))
    extent = tuple(n + 2 * m for n, m in zip(target, around, strict=True))
    geometry = draw_geometry(target, augmentation, rng, voxel_size=stack.voxel_size)
    x = geometry.apply(normalize(region(raw, corner, extent), low, high), nearest=False)
    labels = geometry.apply(region(loaded.labels, corner, extent), nearest=True)
    if loaded.own_binary:
        y = geometry.apply(region(loaded.binary, corner, extent), nearest=True)
    else:
        y = foreground(labels, voxel_size=stack.voxel_size, boundary_width=stack.boundary_width)
    x, y, labels = (region(array, halo, size) for array in (x, y, labels))
    return change_intensity(x, augmentation, rng), y, labels


def _denoised(
    stack: Stack, raw: np.ndarray, denoise: Callable[[np.ndarray], np.ndarray] | StackSource
) -> np.ndarray:
    if callable(denoise):
        clean = np.asarray(denoise(raw[0] if stack.is_2d else raw))
        clean = clean[None] if stack.is_2d and clean.ndim == 2 else clean
    else:
        clean = stack.read(denoise)
    if clean.shape != raw.shape:
        raise InputError(f"denoised {stack.name}", clean.shape, f"the shape of the raw stack, {raw.shape}")
    return check_image(clean, f"denoised {stack.name}")


def check_patch_size(
    patch_size: Sequence[int], stacks: Sequence[Stack], depth: int | None
) -> tuple[int, int, int]:
    size, ndim = tuple(int(n) for n in patch_size), 2 if stacks[0].is_2d else 3
    if ndim == 2 and len(size) == 3 and size[0] == 1:
        size = size[1:]
    if len(size) != ndim or min(size) < 1:
        raise InputError("patch_size", tuple(patch_size), f"{ndim} positive numbers: the stacks are {ndim}D")
    if depth is not None and any(n % 2**depth for n in size):
        raise InputError(
            "patch_size", size, f"divisible by {2**depth} along each axis, for a U-Net of depth {depth}"
        )
    for stack in stacks:
        given = stack.shape[3 - ndim :]
        if any(n > have for n, have in zip(size, given, strict=True)):
            raise InputError("patch_size", size, f"no larger than the stack {stack.name}, {given}")
    return (1, *size) if ndim == 2 else size  # type: ignore[return-value]


def _check_numbers(**ranges: tuple[float, float, float]) -> None:
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            limit = f"{low} or more" if high == math.inf else f"between {low} and {high}"
            raise InputError(name, value, limit)

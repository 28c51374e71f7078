"""Patches for training, drawn from stacks and streamed into one .npz.

Memory holds one stack and one patch, whatever the number of patches. The method is VollSeg's: raw is normalised
by its stack's percentiles (as csbdeep does it), masks never are; every stack gives patches of itself and of
augmented copies; whole stacks are held out for validation, because patches of one stack overlap.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data.augment import Augmentation, change_intensity, draw_geometry, margin, mirrored
from helpers.data.boundary_width import choose_boundary_width
from helpers.data.checks import check_image
from helpers.data.masks import binary_from_instances, carving_reach
from helpers.data.normalization import normalize, percentile_range
from helpers.data.npz_stream import NpzWriter
from helpers.data.stacks import LoadedStack, Stack, StackPair, StackSource, open_stacks
from helpers.data.training_set import TrainingSet
from helpers.errors import InputError
from helpers.progress import progress

#: Tries to find a patch with enough foreground; in the second half all are drawn on foreground.
_TRIES = 100

#: Denoises one raw stack (Z, Y, X), or (Y, X) in 2D; or the denoised stacks, one for each pair.
Denoise = Callable[[np.ndarray], np.ndarray] | Sequence[StackSource]


@dataclass(frozen=True)
class PatchSampling:
    """Where patches are drawn.

    Attributes
    ----------
    patch_size : (z, y, x)
    foreground_probability : float
        Chance that a patch is placed so that it holds a foreground voxel drawn at random; the others are
        placed anywhere.
    min_foreground : float
        Patches with a smaller fraction of foreground are drawn again; where cells are too sparse for it, the fullest
        of many is taken.
    """

    patch_size: tuple[int, int, int]
    foreground_probability: float
    min_foreground: float

    def starts(
        self, binary: np.ndarray, rng: np.random.Generator, name: str
    ) -> Iterator[tuple[int, int, int]]:
        """Yield corners (z, y, x) of patches without end; warn where none of the stack `name` has `min_foreground`."""
        per_row = np.cumsum(np.count_nonzero(binary, axis=2).ravel())  # finds voxel n without listing all
        room = [given - wanted for given, wanted in zip(binary.shape, self.patch_size, strict=True)]

        def on_foreground() -> list[int]:
            n = int(rng.integers(per_row[-1]))
            row = int(np.searchsorted(per_row, n, side="right"))
            z, y = divmod(row, binary.shape[1])
            x = int(rng.choice(np.flatnonzero(binary[z, y])))
            # Any patch that holds the voxel, not the one centred on it: those would pile up at the borders.
            return [
                int(rng.integers(max(0, at - wanted + 1), min(at, most) + 1))
                for at, wanted, most in zip((z, y, x), self.patch_size, room, strict=True)
            ]

        least = self.min_foreground
        while True:
            best, fullest = 0.0, (0, 0, 0)
            for attempt in range(_TRIES):
                if rng.random() < self.foreground_probability or attempt >= _TRIES // 2:
                    z, y, x = on_foreground()
                else:
                    z, y, x = (int(rng.integers(most + 1)) for most in room)
                held = np.count_nonzero(_region(binary, (z, y, x), self.patch_size))
                fraction = held / math.prod(self.patch_size)
                if fraction >= least:
                    yield z, y, x
                    break
                if fraction > best:
                    best, fullest = fraction, (z, y, x)
            else:
                if least == self.min_foreground:
                    warnings.warn(
                        f"{name}: cells are sparse, no patch of {self.patch_size} is filled to min_foreground = "
                        f"{least:g} (the fullest of {_TRIES}: {best:.4f}); the fullest are taken",
                        stacklevel=2,
                    )
                least = best / 2  # so that the next ones are found sooner
                yield fullest


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
        Percentiles of the raw stack that become 0 and 1.
    foreground_probability, min_foreground : float
        See `PatchSampling`.
    boundary_width : float
        µm by which touching cells are carved apart in a binary mask made from labels, on each side; None chooses it from
        the labels (`helpers.data.boundary_width`), and the settings then say why.
    validation_fraction : float
        Fraction of the stacks, at least one, held out whole; 0 holds out none.
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
    )
    chosen = None if boundary_width is not None else choose_boundary_width(stacks)
    if chosen is not None:
        stacks = [replace(stack, boundary_width=chosen.width) for stack in stacks]
    size = check_patch_size(patch_size, stacks, depth)
    if denoise is not None and not callable(denoise) and len(denoise) != len(stacks):
        raise InputError("denoise", f"{len(denoise)} stacks", f"one for each of the {len(stacks)} pairs")
    held_out = _split(stacks, validation_fraction, validation_stacks, seed)
    is_2d = stacks[0].is_2d
    # Training first: csbdeep's validation_split then takes the stacks held out here.
    order = sorted(range(len(stacks)), key=lambda index: stacks[index].name in held_out)
    counts = [patches_per_image * (1 if stacks[i].name in held_out else 1 + copies) for i in order]
    total = sum(counts)
    label_type = np.uint16 if max(stack.largest_label() for stack in stacks) < 2**16 else np.uint32
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
        "train_stacks": [stacks[i].name for i in order if stacks[i].name not in held_out],
        "validation_stacks": [stacks[i].name for i in order if stacks[i].name in held_out],
        "train_patches": sum(c for c, i in zip(counts, order, strict=True) if stacks[i].name not in held_out),
        "validation_patches": len(held_out) * patches_per_image,
        "seed": seed,
    }
    stored_axes, text = np.array("SCYX" if is_2d else "SCZYX"), np.array(json.dumps(settings))
    names = np.repeat([stacks[i].name for i in order], counts)
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
        npz.append("validation", np.isin(names, sorted(held_out)))
        for index in order:
            stack = stacks[index]
            n_copies = 0 if stack.name in held_out else copies
            source = denoise if denoise is None or callable(denoise) else denoise[index]
            drawn = _patches(
                stack, sampling, patches_per_image, n_copies, augmentation, source,
                (pmin, pmax), np.random.default_rng([seed, index]), ranges,
            )  # fmt: skip
            for start, x, y, labels in drawn:
                npz.append("X", x)
                npz.append("Y", y)
                npz.append("labels", labels)
                npz.append("start", np.array(start))
                bar.update()
    beside = path.with_name("dataset.json")
    part = beside.with_name("dataset.json.part")
    # What becomes 0 and 1, so that movies of other intensities can be told.
    settings |= {"intensities": np.median(list(ranges.values()), axis=0).tolist()}
    part.write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, beside)
    return TrainingSet.open(path)


_Patch = tuple[tuple[int, int, int], np.ndarray, np.ndarray, np.ndarray]


def _patches(
    stack: Stack,
    sampling: PatchSampling,
    count: int,
    copies: int,
    augmentation: Augmentation,
    denoise: Callable[[np.ndarray], np.ndarray] | StackSource | None,
    percentiles: tuple[float, float],
    rng: np.random.Generator,
    ranges: dict[str, tuple[float, float]],
) -> Iterator[_Patch]:
    """Yield (start, x, y, labels) of one stack: as it is, then augmented; note its range of intensities."""
    loaded = stack.load()
    low, high = percentile_range(loaded.raw, *percentiles, name=stack.name)
    ranges[stack.name] = low, high
    starts = sampling.starts(loaded.binary, rng, stack.name)
    size = sampling.patch_size
    for _ in range(count):
        start = next(starts)
        x = normalize(_region(loaded.raw, start, size), low, high)
        yield start, x, _region(loaded.binary, start, size), _region(loaded.labels, start, size)
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
        yield start, *_augmented(stack, loaded, raw, bottom, top, start, size, augmentation, rng)


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
    # The mask is carved after the labels were moved, so that turned cells are parted as well as upright
    # ones; `halo` brings the neighbours outside the patch that carve it.
    reach = (0, 0, 0) if loaded.own_binary else carving_reach(stack.boundary_width, stack.voxel_size)
    halo = (0, 0, 0) if stack.boundary_width == 0 else reach
    target = tuple(n + 2 * h for n, h in zip(size, halo, strict=True))
    around = margin(target, augmentation, voxel_size=stack.voxel_size)
    corner = tuple(s - h - m for s, h, m in zip(start, halo, around, strict=True))
    extent = tuple(n + 2 * m for n, m in zip(target, around, strict=True))
    geometry = draw_geometry(target, augmentation, rng, voxel_size=stack.voxel_size)
    x = geometry.apply(normalize(_region(raw, corner, extent), low, high), nearest=False)
    labels = geometry.apply(_region(loaded.labels, corner, extent), nearest=True)
    if loaded.own_binary:
        y = geometry.apply(_region(loaded.binary, corner, extent), nearest=True)
    else:
        y = binary_from_instances(labels, voxel_size=stack.voxel_size, boundary_width=stack.boundary_width)
    x, y, labels = (_region(array, halo, size) for array in (x, y, labels))
    return change_intensity(x, augmentation, rng), y, labels


def _region(array: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Return a box of `array`, mirrored where it reaches beyond."""
    if all(s >= 0 and s + n <= have for s, n, have in zip(start, size, array.shape, strict=True)):
        return array[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))]
    index = [mirrored(np.arange(s, s + n), have) for s, n, have in zip(start, size, array.shape, strict=True)]
    return array[np.ix_(*index)]


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


def _split(stacks: Sequence[Stack], fraction: float, chosen: Sequence[str], seed: int) -> set[str]:
    """Return the names of the stacks to hold out."""
    names = [stack.name for stack in stacks]
    if chosen:
        unknown = sorted(set(chosen) - set(names))
        if unknown:
            raise InputError("validation_stacks", unknown, f"of the names {', '.join(names)}")
        if set(chosen) == set(names):
            raise InputError("validation_stacks", list(chosen), "not all of them: at least one to train on")
        return set(chosen)
    if fraction == 0:
        return set()
    if len(names) == 1:
        raise InputError(
            "validation_fraction",
            fraction,
            f"cannot be held out of a single stack ({names[0]}), because patches of one stack overlap: give two "
            "stacks (such as two halves of this one), or 0 to train without validation",
        )
    count = min(len(names) - 1, max(1, round(fraction * len(names))))
    return set(np.random.default_rng(seed).choice(names, count, replace=False).tolist())


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

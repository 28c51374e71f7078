"""A frame, block by block: the steps in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers.data.lazy import LazyStack
from helpers.segmentation.blocks.cells import BlockLabels, Maker
from helpers.segmentation.blocks.networks import StoredOutputs, at_full_resolution, run_networks
from helpers.segmentation.blocks.numbering import number, numbered
from helpers.segmentation.blocks.stars import find_stars
from helpers.segmentation.blocks.store import Store
from helpers.segmentation.certainty import certainty
from helpers.segmentation.segmenter import Segmentation
from helpers.segmentation.vollseg_segmenter import VollSegSegmenter


def segment_by_blocks(
    segmenter: VollSegSegmenter, frame: LazyStack, folder: Path, *, mask: LazyStack | None = None
) -> Segmentation:
    """Segment a frame that is larger than memory, or go on where that was interrupted.

    Parameters
    ----------
    segmenter : VollSegSegmenter
        Not one that works slice by slice.
    frame : LazyStack, (Z, Y, X)
        Raw intensities.
    folder : Path
        The temporary store: it holds about 12 bytes for each voxel of the frame, and the labels are read from it;
        delete it when they are written. The same segmenter, frame and mask go on with what is in it.
    mask : LazyStack of bool, (Z, Y, X), optional
        As in a call of the segmenter.

    Returns
    -------
    Segmentation
        Its labels are lazy stacks (Z, Y, X); their type, uint16 or int32, is the smallest that holds them.

    Raises
    ------
    InputError
        As a call of the segmenter; or if the store cannot be written. What it holds stays.
    """
    store, seconds = Store(folder), {}
    flat = segmenter.n_dim == 2
    with _timed(seconds, "networks"):
        outputs = run_networks(segmenter, _plane(frame) if flat and len(frame) == 1 else frame, store)
    tissue = outputs.tissue
    if mask is not None:
        tissue = _both(tissue, _plane(mask) if flat else mask)
    maker = Maker(segmenter, outputs, tissue, store)
    labels, cells = {}, None
    for method in segmenter.methods:
        with _timed(seconds, method):
            blocks = _labels(maker, method)
            numbers = number(blocks, store, lambda n, inside: segmenter.kept(n, inside, len(frame) == 1))
            found = numbered(blocks, numbers)
        labels[method] = _stack(found) if flat else found
        if method == segmenter.method and segmenter.scored:
            with _timed(seconds, "score"):
                cells = certainty(found, **_words(method, outputs))
    return Segmentation(labels, seconds, cells)


def _words(method: str, outputs: StoredOutputs) -> dict[str, LazyStack | None]:
    """Return what each network that a method asks says of every voxel."""
    words: dict[str, LazyStack | None] = {}
    if method != "unet":
        assert outputs.probability is not None and outputs.candidates is not None
        grid = outputs.candidates.grid
        words["probability"] = at_full_resolution(outputs.probability, grid, outputs.shape)
    if method != "stardist":
        words["foreground"] = outputs.foreground
    return words


def _labels(maker: Maker, method: str) -> BlockLabels:
    segmenter, outputs = maker.segmenter, maker.outputs
    own = dict(segmenter.thresholds.get(method, {}))
    cut_at, outline = segmenter.cuts(own.get("foreground"), own.get("outline"))
    if method == "unet":
        return maker.components(cut_at, outline)
    assert outputs.candidates is not None
    prob, nms = segmenter.star_thresholds(own.get("prob"), own.get("nms"))
    stars = find_stars(segmenter.star_model, outputs.candidates, outputs.shape, prob, nms, maker.store)
    if method == "stardist":
        return maker.stars(stars)
    return maker.fused(stars, cut_at, outline, own.get("divide", segmenter.divide))


def _plane(stack: LazyStack) -> LazyStack:
    """Return a stack of one plane as that plane."""
    return LazyStack(stack.shape[1:], stack.dtype, lambda where: stack.read((slice(0, 1), *where))[0])


def _stack(plane: LazyStack) -> LazyStack:
    return LazyStack((1, *plane.shape), plane.dtype, lambda where: plane.read(where[1:])[np.newaxis])


def _both(one: LazyStack | None, other: LazyStack) -> LazyStack:
    if one is None:
        return other

    def read(where: tuple[slice, ...]) -> NDArray:
        return one.read(where) & other.read(where)

    return LazyStack(other.shape, other.dtype, read)


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started

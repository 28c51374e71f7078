"""What trains and what validates: whole stacks, or drawn cells where labels are sparse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from helpers.data.sparse_labels import (
    UNANNOTATED,
    HeldBack,
    annotated_regions,
    hold_back,
    is_sparse,
    only_regions,
)
from helpers.data.stacks import LoadedStack, Stack
from helpers.errors import InputError


@dataclass(frozen=True)
class Part:
    """What patches are drawn from: a stack, or what is annotated in it around some of its cells.

    Attributes
    ----------
    index : int
        Of the stack.
    validation : bool
        Held out of training.
    held_back : tuple of int
        Cells of the stack that only validate: a part for training leaves them and the background nearest to them out, one
        for validation has nothing else. Empty: the whole stack.
    """

    index: int
    validation: bool
    held_back: tuple[int, ...] = ()

    def of(self, stack: LoadedStack, voxel_size: Sequence[float]) -> LoadedStack:
        """Return a stack in which all that does not belong to this part is not annotated."""
        if not self.held_back:
            return stack
        labels = held_back_labels(stack.labels, voxel_size, self.held_back, keep=self.validation)
        binary = np.where(labels < 0, np.int8(UNANNOTATED), stack.binary).astype(np.int8, copy=False)
        return replace(stack, labels=labels, binary=binary)


def held_back_labels(
    labels: np.ndarray, voxel_size: Sequence[float], cells: Sequence[int], *, keep: bool
) -> np.ndarray:
    """Return labels (Z, Y, X) with only (`keep`) or without some cells and the background nearest to them."""
    return only_regions(labels, annotated_regions(labels, voxel_size), cells, keep=keep)


@dataclass(frozen=True)
class Drawn:
    """What is annotated in stacks with sparse labels.

    Attributes
    ----------
    cells : mapping
        Name of a stack → the numbers of its drawn cells.
    n_annotated, n_voxels : int
        Voxels that are annotated, and all, of these stacks.
    largest : int
        The largest number.
    """

    cells: Mapping[str, tuple[int, ...]]
    n_annotated: int
    n_voxels: int
    largest: int


def look_at_sparse(stacks: Sequence[Stack]) -> Drawn | None:
    """Read the labels of stacks that may be sparse; None where none of them is.

    Raises
    ------
    InputError
        Where all that is annotated is cells: then nothing says what is none.
    """
    cells: dict[str, tuple[int, ...]] = {}
    annotated = voxels = largest = 0
    background = False
    for stack in stacks:
        if not stack.may_be_sparse():
            background = True
            continue
        labels, _ = stack.load_masks()
        background |= bool((labels == 0).any())
        if is_sparse(labels):
            numbers = np.unique(labels[labels > 0])
            cells[stack.name] = tuple(int(n) for n in numbers)
            annotated, voxels = annotated + np.count_nonzero(labels >= 0), voxels + labels.size
        largest = max(largest, int(labels.max()))
    if not cells:
        return None
    if not background:
        raise InputError(
            f"labels of {', '.join(cells)}",
            "only cells are annotated",
            "some drawn background (0) too: without it nothing says what is not a cell",
        )
    return Drawn(cells, int(annotated), voxels, largest)


def hold_out(
    stacks: Sequence[Stack], drawn: Drawn | None, fraction: float, chosen: Sequence[str], seed: int
) -> tuple[list[Part], HeldBack | None]:
    """Say what trains and what validates, training first.

    Parameters
    ----------
    stacks : sequence of Stack
    drawn : Drawn or None
        What `look_at_sparse` found.
    fraction : float
        Of the stacks, at least one, held out whole; where labels are sparse, of the drawn cells.
    chosen : sequence of str
        Names of stacks to hold out whole, in place of a fraction.
    seed : int

    Returns
    -------
    parts : list of Part
    held : HeldBack or None
        The cells held back, where labels are sparse and no stack is chosen.
    """
    if drawn is None or chosen:
        names = _whole_stacks(stacks, fraction, chosen, seed)
        parts = [Part(i, stack.name in names) for i, stack in enumerate(stacks)]
        return sorted(parts, key=lambda part: part.validation), None
    held = hold_back(drawn.cells, fraction, seed)
    parts = []
    for index, stack in enumerate(stacks):
        own = held.cells.get(stack.name, ())
        if len(own) < len(drawn.cells.get(stack.name, own)) or not own:
            parts.append(Part(index, False, own))
        if own:
            parts.append(Part(index, True, own))
    return sorted(parts, key=lambda part: part.validation), held


def describe(drawn: Drawn | None, held: HeldBack | None) -> dict[str, Any]:
    """Return what ``dataset.json`` says of sparse labels; nothing of full ones."""
    if drawn is None:
        return {}
    return {
        "sparse": {
            "cells": sum(map(len, drawn.cells.values())),
            "stacks": len(drawn.cells),
            "annotated_share": drawn.n_annotated / drawn.n_voxels,
            "validation_cells": {} if held is None else {name: list(own) for name, own in held.cells.items()},
            "validation": "whole stacks, as named" if held is None else held.why,
        }
    }


def _whole_stacks(stacks: Sequence[Stack], fraction: float, chosen: Sequence[str], seed: int) -> set[str]:
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

"""Cells from clicks and boxes: Segment Anything outlines one in its slice, and each slice's outline prompts the next.

::

    click or box ──> outline in slice z ──> its box and mask are the prompt in z + 1, z - 1 … until they hardly overlap

As micro-sam does in stacks (Archit et al., Nature Methods 2025).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from helpers.data.normalization import normalize, percentile_range
from helpers.data.outlines import Prompt
from helpers.models.segment_anything import SegmentAnything

#: A cell ends where the outlines of two slices have a smaller IoU, as in micro-sam's plugin.
_LEAST_OVERLAP = 0.5


class Outliner:
    """Outlines cells of one stack; what the network sees in a slice is worked out once.

    Parameters
    ----------
    network : SegmentAnything
    raw : (Z, Y, X) ndarray
        Intensities; their percentiles 1 and 99.8 are black and white.
    """

    def __init__(self, network: SegmentAnything, raw: NDArray) -> None:
        self.network = network
        self.raw = normalize(raw, *percentile_range(raw))
        self._seen: dict[int, Any] = {}

    def outline(self, prompt: Prompt) -> NDArray[np.bool_]:
        """Return the cell (Z, Y, X) that a prompt points at, in one piece and without holes; nowhere True where none is seen."""
        cell = np.zeros(self.raw.shape, bool)
        first, hint = self._in_slice(prompt.z, prompt.corners, None)
        cell[prompt.z] = first
        for step in (1, -1):
            mask, low = first, hint
            z = prompt.z + step
            while mask.any() and 0 <= z < len(self.raw):
                found, low = self._in_slice(z, _box(mask), low)
                if _iou(found, mask) < _LEAST_OVERLAP:
                    break
                cell[z] = mask = found
                z += step
        return cell

    def draw(self, labels: NDArray[np.int32], prompts: Iterable[Prompt]) -> list[str]:
        """Draw a cell for each prompt into sparse labels (Z, Y, X), over background but not over other cells.

        Returns
        -------
        list of str
            The prompts that came to nothing: no cell was seen, or most of it is drawn already.
        """
        nothing = []
        for prompt in prompts:
            cell = self.outline(prompt)
            free = _largest(cell & (labels <= 0))
            if 2 * free.sum() <= cell.sum():
                nothing.append(prompt.name)
                continue
            labels[free] = max(0, int(labels.max())) + 1
        return nothing

    def _in_slice(self, z: int, corners: NDArray, hint: Any) -> tuple[NDArray[np.bool_], Any]:
        if z not in self._seen:
            self._seen[z] = self.network.embed(self.raw[z])
        mask, hint = self.network.outline(self._seen[z], self.raw[z].shape, corners, hint)
        return np.asarray(ndimage.binary_fill_holes(_largest(mask))), hint


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask."""
    pieces, n = ndimage.label(mask)  # type: ignore[misc]
    return mask if n < 2 else pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))


def _box(mask: NDArray[np.bool_]) -> NDArray:
    at = np.argwhere(mask)
    return np.array([at.min(axis=0), at.max(axis=0) + 1], float)


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1)

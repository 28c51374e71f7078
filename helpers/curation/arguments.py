"""Arguments of edits in the log, and the cells they speak of in another segmentation.

A cell is written with its frame, label and outline, so that it is found again by overlap after segmentation ran anew or
in the labels of another person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from helpers.curation.cells import Cell, Stroke, voxels_of
from helpers.curation.state import CuratedLabels
from helpers.curation.voxels import voxels_index, voxels_text
from helpers.errors import InputError

#: A cell is found again where the intersection over union of its outlines is larger: there can be one only.
_SAME = 0.5


def to_plain(arguments: Mapping[str, Any], labels: CuratedLabels) -> dict[str, Any]:
    """Return arguments as JSON holds them; `labels` are those before the edit."""
    outlines = _outlines(arguments, labels)
    return {name: _plain(value, outlines) for name, value in arguments.items() if value is not None}


def _outlines(arguments: Mapping[str, Any], labels: CuratedLabels) -> dict[tuple[int, int], str]:
    wanted: dict[int, set[int]] = {}
    for value in arguments.values():
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, Cell):
                wanted.setdefault(part.frame, set()).add(part.label)
    return {
        (t, label): voxels_text(index)
        for t, of_frame in wanted.items()
        for label, index in voxels_of(labels.frame(t), sorted(of_frame)).items()
    }


def _plain(value: Any, outlines: Mapping[tuple[int, int], str]) -> Any:
    if isinstance(value, Cell):
        content = {"cell": [value.frame, value.label], "outline": outlines[value.key]}
        return content | ({"at": list(value.at)} if value.at else {})
    if isinstance(value, Stroke):
        return {"stroke": value.frame, "voxels": voxels_text(value.index)}
    if isinstance(value, (list, tuple)):
        return [_plain(part, outlines) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def from_plain(plain: Mapping[str, Any], labels: CuratedLabels) -> dict[str, Any]:
    """Return the arguments of an edit for other labels.

    Raises
    ------
    InputError
        A cell that is not found again.
    """
    return {name: _value(value, labels) for name, value in plain.items()}


def _value(value: Any, labels: CuratedLabels) -> Any:
    if isinstance(value, list):
        return [_value(part, labels) for part in value]
    if isinstance(value, dict) and "stroke" in value:
        return Stroke(value["stroke"], voxels_index(value["voxels"]))
    if isinstance(value, dict) and "cell" in value:
        found = find_again(value, labels)
        if found is None:
            frame, label = value["cell"]
            raise InputError(f"cell {label} in frame {frame}", "not found again", "a cell that overlaps it")
        return found
    return value


def find_again(plain: Mapping[str, Any], labels: CuratedLabels) -> Cell | None:
    """Return the cell that overlaps an outline by more than half of both (IoU), or None."""
    frame, _ = plain["cell"]
    flat, index = labels.frame(frame).reshape(-1), voxels_index(plain["outline"])
    if len(index) == 0 or index[-1] >= len(flat):
        return None
    under = flat[index]
    counts = np.bincount(under[under > 0], minlength=1)
    best = int(counts.argmax())
    size = np.count_nonzero(flat == best) if best else 0
    if best == 0 or counts[best] <= _SAME * (size + len(index) - counts[best]):
        return None
    return Cell(frame, best, _click(plain.get("at"), labels.shape[1:], index[under == best]))


def _click(at: list[int] | None, shape: tuple[int, ...], inside: np.ndarray) -> tuple[int, int, int] | None:
    """Return the clicked voxel, or the one nearest to it that is still the cell's."""
    if at is None:
        return None
    points = np.stack(np.unravel_index(inside, shape), axis=1)
    nearest = points[np.abs(points - np.array(at)).sum(axis=1).argmin()]
    return int(nearest[0]), int(nearest[1]), int(nearest[2])

"""What a search for thresholds leaves open, in words for who has to trust the result."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.segmentation.method_names import METHOD_NAMES
from helpers.segmentation.threshold_search import SAME
from helpers.segmentation.thresholds import LIMITS, Thresholds

#: True cells up to which a validation says little.
FEW_CELLS = 8
_AXES = {"prob": "probability", "nms": "overlap (NMS)", "foreground": "foreground"}


def remarks(found: Mapping[str, Thresholds]) -> list[str]:
    """Return what to know of the thresholds that were found; nothing, where validation has settled them.

    Parameters
    ----------
    found : mapping
        Method → thresholds, as `helpers.segmentation.thresholds.optimize` found them for objects.

    Returns
    -------
    list of str
        Warnings of few cells, of a network that finds nothing, of values that validation does not settle or that lie
        at the end of what was tried, and what the middle of a plateau costs.
    """
    said = []
    n_true = max((int(best.table["n_true"].max()) for best in found.values()), default=0)
    if n_true <= FEW_CELLS:
        said.append(
            f"Only {n_true} cells to validate on: one of them found or lost moves F1 by about {1 / max(n_true, 1):.2f}. "
            "The thresholds are a guess; keep more stacks for validation in notebook 03_create_dataset."
        )
    for method, best in found.items():
        name = METHOD_NAMES.get(method, method)
        if best.highest == 0:
            said.append(
                f"{name} finds no cell at any threshold ({best.measure.upper()} 0.0). Its network has not learned these "
                "cells: look at its losses in notebook 04_train_segmentation, train it for more epochs, or give it more patches."
            )
            continue
        said += [
            f"{name}: {text}"
            for text in (*_divided(best), *_unsettled(best), *_at_the_end(best), *_plateau(best))
        ]
    return said


def _divided(best: Thresholds) -> list[str]:
    if not best.divided:
        return []
    scores = ", ".join(f"{name} {own['score']:.3f}" for name, own in best.divided.items())
    shut = {best.prob: ("StarDist", "U-Net"), best.foreground: ("U-Net", "StarDist")}.get(1.0)
    if shut:
        with_it = f"any fusion with this {shut[0]} ({scores}), which"
        if best.score > max(own["score"] for own in best.divided.values()):
            why = f"is better than {with_it} is left out"
        else:
            why = (
                f"is within one cell of {with_it} finds hardly a cell at their best threshold and is left out"
            )
        return [
            f"the {shut[1]} alone, {best.score:.3f}, {why}: VollSeg's cells are the {shut[1]}'s. Train the {shut[0]} for more "
            "epochs or on more stacks (notebook 04_train_segmentation), and search again."
        ]
    if best.divide == "always":
        return []
    ways = {
        "borders": "a cell of the U-Net is divided between StarDist's only where the probability dips between them",
        "never": "what the U-Net sees as one cell is one, whatever StarDist says",
    }
    return [f"{ways[str(best.divide)]}; on the validation stacks {scores}."]


def _unsettled(best: Thresholds) -> list[str]:
    said = []
    for axis, value in _searched(best).items():
        tried, scores = best.table[axis].to_numpy(float), best.table["score"].to_numpy(float)
        highest = [scores[tried == one].max() for one in np.unique(tried)]
        if len(highest) > 2 and max(highest) - min(highest) < SAME:
            said.append(
                f"validation says nothing about the {_AXES[axis]} threshold: from {tried.min():g} to {tried.max():g} "
                f"every value reaches {max(highest):.3f}. {value:g} was taken."
            )
    return said


def _at_the_end(best: Thresholds) -> list[str]:
    said = []
    for axis, value in _searched(best).items():
        tried = np.unique(best.table[axis].to_numpy(float))
        if len(tried) > 1 and value in (tried[0], tried[-1]):
            end, low = ("lowest", True) if value == tried[0] else ("highest", False)
            may = "less" if low else "more"
            limit = LIMITS[axis][0 if low else 1]
            searched = ", and no further is sensible" if value == limit else f": {may} might be better still"
            said.append(f"the {_AXES[axis]} threshold, {value:g}, is the {end} that was tried{searched}.")
    return said


def _plateau(best: Thresholds) -> list[str]:
    cost = best.highest - best.score
    if cost < SAME:
        return []
    return [
        f"the thresholds chosen reach {best.score:.3f}, the best that was tried {best.highest:.3f}. Scores that differ by "
        f"less than one cell count as equal, and of those the middle is taken, which holds best on other movies; here that "
        f"costs {cost:.3f}."
    ]


def _searched(best: Thresholds) -> dict[str, float]:
    return {axis: value for axis, value in best.values.items() if axis in best.table}

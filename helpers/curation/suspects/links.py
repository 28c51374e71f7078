"""Links that do not look like one cell going on: jumps, gaps, and a better partner near by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from helpers.curation.suspects.signs import Cells, Sign, oddness
from helpers.tracking.overlap import overlap_table

#: Shares of the score by which a jump of each measure counts.
_MEASURES = {"intensity_mean": ("mean intensity", 0.5), "elongation": ("elongation", 0.3)}
#: A second-best partner whose overlap is less than this share of the best one's raises no doubt.
_CLOSE = 0.4
#: Least standard deviation of steps, in cell diameters, and of measures, in doublings, that outlines are granted.
_FLOOR = 0.05
#: Score of a missing frame.
_GAP = 0.4


def signs(cells: Cells, labels) -> Iterator[Sign]:
    """Yield the signs about links that are no divisions.

    Parameters
    ----------
    cells : Cells
    labels : label movie, or None
        To compare overlaps in; without it nothing is said of second-best partners.
    """
    source, target = cells.tracks.link_rows.T
    plain = (cells.tracks.out_degree[source] == 1) & (cells.tracks.in_degree[target] == 1)
    source, target = source[plain], target[plain]
    yield from _jumps(cells, source, target)
    yield from _gaps(cells, source, target)
    if labels is not None:
        yield from _close_seconds(cells, labels)


def _jumps(cells: Cells, source: np.ndarray, target: np.ndarray) -> Iterator[Sign]:
    steps = np.linalg.norm(cells.points[target] - cells.points[source], axis=1)
    interval = np.maximum(cells.frames[target] - cells.frames[source], 1)
    typical = float(np.median(steps / interval)) if len(steps) else 0.0
    # Longer than usual is odd, shorter is not.
    far = oddness(np.maximum(steps / interval, typical), floor=_FLOOR * cells.diameter)
    for k in np.flatnonzero(far > 0.05):
        a, b = int(source[k]), int(target[k])
        reason = f"moves {steps[k]:.3g} µm; typical are {typical:.3g} µm a frame"
        yield Sign("speed", b, 0.8 * float(far[k]), reason, cells.marks_of_link(a, b), a)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log2(cells.sizes[target] / cells.sizes[source])
    odd = oddness(ratio, centre=0.0, floor=_FLOOR)
    for k in np.flatnonzero(odd > 0.05):
        a, b = int(source[k]), int(target[k])
        reason = f"is {2 ** ratio[k]:.2g} times as large as one frame before"
        yield Sign("size jump", b, 0.9 * float(odd[k]), reason, cells.marks_of_link(a, b), a)
    for name, (words, weight) in _MEASURES.items():
        values = _elongation(cells) if name == "elongation" else cells.column(name)
        if values is None:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.log2(values[target] / values[source])
        odd = oddness(change, centre=0.0, floor=_FLOOR)
        for k in np.flatnonzero(odd > 0.3):
            a, b = int(source[k]), int(target[k])
            reason = f"changes its {words} by {100 * (2 ** change[k] - 1):+.0f} %"
            kind = "intensity jump" if name == "intensity_mean" else "shape jump"
            yield Sign(kind, b, weight * float(odd[k]), reason, cells.marks_of_link(a, b), a)


def _elongation(cells: Cells) -> np.ndarray | None:
    major, minor = cells.column("axis_major_um"), cells.column("axis_minor_um")
    if major is None or minor is None:
        return None
    return np.divide(major, minor, out=np.full(len(major), np.nan), where=minor > 0)


def _gaps(cells: Cells, source: np.ndarray, target: np.ndarray) -> Iterator[Sign]:
    missing = cells.frames[target] - cells.frames[source] - 1
    for k in np.flatnonzero(missing > 0):
        a, b = int(source[k]), int(target[k])
        frames = "frame" if missing[k] == 1 else f"{missing[k]} frames"
        reason = f"was missed for a {frames} before" if missing[k] == 1 else f"was missed for {frames} before"
        yield Sign("gap", b, _GAP + 0.1 * min(int(missing[k]), 4), reason, cells.marks_of_link(a, b), a)


def _close_seconds(cells: Cells, labels) -> Iterator[Sign]:
    """Targets that another cell of the frame before overlaps nearly as well as the one they are linked to."""
    pairs = overlap_table(labels, cells.tracks.objects)
    if len(pairs) == 0:
        return
    row = {int(i): k for k, i in enumerate(cells.ids)}
    linked = set(zip(cells.tracks.links["source"], cells.tracks.links["target"], strict=True))
    best: dict[int, list[tuple[float, int]]] = {}
    for source, target, iou in pairs[["source", "target", "iou"]].itertuples(index=False):
        best.setdefault(int(target), []).append((float(iou), int(source)))
    for target, found in best.items():
        ours = [(iou, source) for iou, source in found if (source, target) in linked]
        others = [(iou, source) for iou, source in found if (source, target) not in linked]
        if len(ours) != 1 or not others:
            continue
        (iou, source), (second, other) = ours[0], max(others)
        share = second / iou
        if share > _CLOSE:
            reason = (
                f"overlaps {cells.name(row[other])} {100 * share:.0f} % as well as the cell it is linked to"
            )
            score = 0.6 * min(1.0, (share - _CLOSE) / (1 - _CLOSE))
            marks = cells.marks_of_link(row[source], row[target])
            yield Sign("close second", row[target], score, reason, marks, row[source])

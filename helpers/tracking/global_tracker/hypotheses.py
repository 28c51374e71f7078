"""All hypotheses of a movie: regions of every frame, and which of them may be one cell.

Regions come from the label sets, and from time: two touching cells that lie in one cell of a neighbouring frame may be one
cut in two (their union is added, frame by frame onwards as long as the cut lasts), and a cell in which two of a
neighbouring frame lie may be two (`helpers.tracking.global_tracker.regions.divide`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from helpers.errors import InputError
from helpers.segmentation.borders import BorderScale
from helpers.tracking.global_tracker.costs import (
    NEUTRAL,
    GlobalParameters,
    Usual,
    cell_costs,
    division_costs,
    link_costs,
    odd_sizes,
)
from helpers.tracking.global_tracker.given import given_of, with_given
from helpers.tracking.global_tracker.program import Problem
from helpers.tracking.global_tracker.regions import (
    INSIDE,
    Regions,
    divide,
    regions_of,
    shared_between,
)
from helpers.tracking.overlap import checked_frames

#: Least overlap (IoU) of a candidate link, and of a mother with her daughters together.
_LEAST, _LEAST_OF_BOTH = 0.05, 0.25
#: A region that overlaps none better than this may also have moved: the nearest ones are candidates.
_MOVED, _NEAREST = 0.15, 3
#: Within so many cells of the first frames the image is looked at, to know what no border looks like.
_CUTS = 1000
#: Of the logarithm of the size: cells that are all alike would make any other impossible.
_LEAST_SPREAD = 0.25


@dataclass(frozen=True)
class Hypotheses:
    """Regions of each frame, and the program that chooses among them.

    Attributes
    ----------
    frames : list of Regions
    start : (n frames + 1,) int ndarray
        Number of the first hypothesis of each frame.
    problem : Problem
    iou, division_iou : float ndarray
        Of each candidate link, and of each mother with both daughters.
    beyond : (b, 2) int ndarray
        Given links that are not in the program: over gaps, and into three.
    """

    frames: list[Regions]
    start: np.ndarray
    problem: Problem
    iou: np.ndarray
    division_iou: np.ndarray
    beyond: np.ndarray


def hypotheses_of(
    sets: Sequence[Any],
    objects: pd.DataFrame,
    voxel_size: np.ndarray,
    parameters: GlobalParameters,
    fixed: np.ndarray,
    raw: Any = None,
) -> Hypotheses:
    """Return the hypotheses of a movie.

    Parameters
    ----------
    sets : sequence of label movies
        The segmentation first.
    objects : DataFrame
        ``frame`` and ``label`` of the cells of the first set, in the order of `frame`, then `label`.
    voxel_size : (3,) float ndarray
        µm.
    parameters : GlobalParameters
        What things cost.
    fixed : (k, 4) int ndarray
        Links that are given: frame and label of the source, frame and label of the target.
    raw : movie, optional
        Anything with ``.frame(t)``: intensities, in which borders are looked for.
    """
    frames = list(_read(sets, objects, voxel_size, raw))
    frames = _with_unions(frames)
    start = np.concatenate([[0], np.cumsum([len(f) for f in frames])])
    common = [shared_between(a, b) for a, b in pairwise(frames)]
    return _assembled(frames, start, common, objects, voxel_size, parameters, fixed)


def _read(sets: Sequence[Any], objects: pd.DataFrame, voxel_size: np.ndarray, raw: Any) -> Iterator[Regions]:
    labels = {t: np.sort(part.to_numpy(np.int64)) for t, part in objects.groupby("frame")["label"]}
    none = np.empty(0, np.int64)
    movies = [checked_frames(s) for s in sets]
    volumes = objects["n_voxels"].to_numpy(float) if "n_voxels" in objects else np.array([1.0, np.inf])
    sizes = (volumes.min(initial=np.inf) / 2, 4 * volumes.max(initial=1))
    before: list[np.ndarray] | None = None
    current: list[np.ndarray] | None = None
    t, n_cuts = -1, 0
    for t, following in enumerate(_with_end(_zipped(movies))):
        if current is not None:
            neighbours = [frame[0] for frame in (before, following) if frame is not None]
            wanted = labels.get(t - 1, none)
            kept = np.where(np.isin(current[0], wanted), current[0], 0)
            image = None if raw is None else _image(raw.frame(t - 1), kept.shape, t - 1)
            # What another set sees as two is worth a look where the image can tell.
            others = neighbours + (current[1:] if image is not None else [])
            divided = [divide(kept, other, voxel_size) for other in others]
            found = regions_of(current, divided, wanted, voxel_size, sizes, image, n_cuts < _CUTS)
            n_cuts += len(found.cuts)
            yield found
        before, current = current, following
    if objects["frame"].max() >= t:
        raise InputError("frames", f"{t} frames", f"the objects reach frame {objects['frame'].max()}")


def _image(frame: np.ndarray, shape: tuple[int, ...], t: int) -> np.ndarray:
    """Return a frame of intensities as a stack, in spreads of its own: a movie that bleaches keeps its borders."""
    image = np.asarray(frame, np.float32)
    image = image if image.ndim == 3 else image[None]
    if image.shape != shape:
        raise InputError("raw", f"frame {t} of {image.shape} voxels", f"the shape of the labels, {shape}")
    return image / max(float(image.std()), 1e-6)


def _zipped(movies: Sequence[Iterator[np.ndarray]]) -> Iterator[list[np.ndarray]]:
    for frames in zip(*movies, strict=True):
        stacks = [f if f.ndim == 3 else f[None] for f in frames]
        if len({f.shape for f in stacks}) > 1:
            raise InputError("more_labels", [f.shape for f in stacks], "all label movies have one shape")
        yield stacks


def _with_end(frames: Iterator[list[np.ndarray]]) -> Iterator[list[np.ndarray] | None]:
    yield from frames
    yield None


def _with_unions(frames: list[Regions]) -> list[Regions]:
    """Add the unions of touching cells that lie in one region of the frame before, then of the frame after."""
    frames = list(frames)
    n = len(frames)
    for order, step in ((range(1, n), -1), (range(n - 2, -1, -1), 1)):
        for t in order:
            frames[t] = frames[t].joined(_cut_pairs(frames[t], frames[t + step]))
    return frames


def _cut_pairs(here: Regions, there: Regions) -> np.ndarray:
    """Return the contacts of the first set whose two cells lie in one region of another frame."""
    common = shared_between(here, there).tocoo()
    i, j = common.coords
    lies = (common.data > INSIDE * here.volume[i]) & (here.label[i] > 0)
    inside = csr_array((np.ones(int(lies.sum())), (i[lies], j[lies])), shape=common.shape)
    pairs = here.contacts
    if len(pairs) == 0:
        return np.empty(0, np.int64)
    together = np.asarray((inside[pairs[:, 0]] * inside[pairs[:, 1]]).sum(axis=1)).ravel() > 0
    return np.flatnonzero(together)


def _assembled(
    frames: list[Regions],
    start: np.ndarray,
    common: list[csr_array],
    objects: pd.DataFrame,
    voxel_size: np.ndarray,
    p: GlobalParameters,
    fixed: np.ndarray,
) -> Hypotheses:
    n_frames = len(frames)
    volume = [f.volume for f in frames]
    centroid = [f.centroid for f in frames]
    votes = [f.votes() for f in frames]
    usual = _usual(frames, common, votes)
    scale = BorderScale.of([f.cuts for f in frames], [f.contact_contrast for f in frames])
    cost, appear, end, conflicts = [], [], [], []
    edits = []
    n_cliques = 0
    for t, f in enumerate(frames):
        worth, outside = f.covered()
        edits.append(np.minimum(worth + outside, 1) * (f.label == 0))
        border = np.nan_to_num(scale.place(f.contrast) - NEUTRAL) * f.divides
        cost.append(cell_costs(p, usual, worth, outside, votes[t], f.label > 0, border))
        came = _at_border(f, common[t - 1].T, frames[t - 1], p) if t > 0 else 0.0
        went = _at_border(f, common[t], frames[t + 1], p) if t < n_frames - 1 else 0.0
        appear.append(p.appear * came + odd_sizes(p, usual, volume[t]))
        end.append(p.end * went * np.ones(len(f)))
        cliques = _cliques(f.conflicts(), len(f))
        cliques[:, 0] += n_cliques
        n_cliques = int(cliques[:, 0].max(initial=n_cliques - 1)) + 1
        conflicts.append(cliques + np.array([0, start[t]]))
    links, link_cost, ious, divisions, division_cost, joint_ious = [], [], [], [], [], []
    for t, shared in enumerate(common):
        pairs, iou = _candidates(shared.tocoo(), volume[t], volume[t + 1], centroid[t], centroid[t + 1], p)
        distance = np.linalg.norm(centroid[t][pairs[:, 0]] - centroid[t + 1][pairs[:, 1]], axis=1)
        links.append(pairs + start[t : t + 2])
        edited = np.minimum(edits[t][pairs[:, 0]], edits[t + 1][pairs[:, 1]])
        ratio = volume[t + 1][pairs[:, 1]] / volume[t][pairs[:, 0]]
        link_cost.append(link_costs(p, usual, iou, distance, ratio, edited))
        ious.append(iou)
        triples, joint = _divisions(shared, volume[t], volume[t + 1], frames[t + 1])
        divisions.append(triples + start[[t, t + 1, t + 1]])
        joint_ious.append(joint)
        first, second = volume[t + 1][triples[:, 1:]].T
        division_cost.append(division_costs(p, usual, joint, first, second))
    problem = Problem(
        np.repeat(np.arange(n_frames), np.diff(start)),
        np.concatenate(cost),
        np.concatenate(appear),
        np.concatenate(end),
        _stacked(links, 2),
        np.concatenate([*link_cost, []]),
        _stacked(divisions, 3),
        np.concatenate([*division_cost, []]),
        _stacked(conflicts, 2),
    )
    given = given_of(_numbers_of(fixed, frames, start), problem.frame)
    overlaps = np.concatenate([*ious, []]), np.concatenate([*joint_ious, []])
    problem, link_iou, division_iou = with_given(problem, *overlaps, given)
    return Hypotheses(frames, start, problem, link_iou, division_iou, given.beyond)


def _at_border(regions: Regions, shared: csr_array, other: Regions, p: GlobalParameters) -> np.ndarray:
    """Return (n,): `edge` at the border of the image, unless a cell of the other frame was there already; 1 inside."""
    taken = np.minimum(np.asarray(shared[:, other.label > 0].sum(axis=1)).ravel() / regions.volume, 1)
    return np.where(regions.at_border, p.edge + (1 - p.edge) * taken, 1.0)


def _numbers_of(fixed: np.ndarray, frames: list[Regions], start: np.ndarray) -> np.ndarray:
    """Return (k, 2) hypotheses of frames and labels of the first set."""
    found = [
        [start[t] + int(np.flatnonzero(frames[t].label == label)[0]) for t, label in (row[:2], row[2:])]
        for row in fixed.tolist()
    ]
    return np.array(found, np.int64).reshape(-1, 2)


def _stacked(parts: list[np.ndarray], width: int) -> np.ndarray:
    return np.concatenate([*parts, np.empty((0, width), np.int64)]).astype(np.int64)


def _usual(frames: list[Regions], common: list[csr_array], votes: list[np.ndarray]) -> Usual:
    own = [f.label > 0 for f in frames]
    logarithm = np.log(np.concatenate([f.volume[o] for f, o in zip(frames, own, strict=True)]))
    best = [
        np.asarray(_iou(shared, a.volume, b.volume).max(axis=1).todense()).ravel()[o]
        for shared, a, b, o in zip(common, frames, frames[1:], own, strict=False)
    ]
    agreed = np.concatenate([v[o] for v, o in zip(votes, own, strict=True)])
    overlaps = np.concatenate([*best, []])
    middle = float(np.median(logarithm)) if len(logarithm) else 0.0
    spread = 1.4826 * float(np.median(np.abs(logarithm - middle))) if len(logarithm) else 1.0
    return Usual(
        middle,
        max(spread, _LEAST_SPREAD),
        float(np.median(overlaps)) if len(overlaps) else 1.0,
        float(agreed.mean()) if len(agreed) else 1.0,
    )


def _iou(shared: csr_array, before: np.ndarray, now: np.ndarray) -> csr_array:
    common = shared.tocoo()
    i, j = common.coords
    return csr_array((common.data / (before[i] + now[j] - common.data), (i, j)), shape=common.shape)


def _candidates(
    common: Any, before: np.ndarray, now: np.ndarray, at: np.ndarray, to: np.ndarray, p: GlobalParameters
) -> tuple[np.ndarray, np.ndarray]:
    """Return (m, 2) candidate links between two frames and their IoU."""
    i, j = common.coords
    iou = common.data / (before[i] + now[j] - common.data)
    keep = iou >= _LEAST
    pairs, iou = np.column_stack([i, j])[keep], iou[keep]
    moved = []
    for side, points, others in ((0, at, to), (1, to, at)):
        best = np.zeros(len(points))
        np.maximum.at(best, pairs[:, side], iou)
        lost = np.flatnonzero(best < _MOVED)
        if len(lost) and len(others):
            near = min(_NEAREST, len(others))
            distance, found = KDTree(others).query(points[lost], k=near, distance_upper_bound=p.max_distance)
            found, distance = np.reshape(found, (-1, near)), np.reshape(distance, (-1, near))
            row, column = np.nonzero(np.isfinite(distance))
            new = np.column_stack([lost[row], found[row, column]])
            moved.append(new if side == 0 else new[:, ::-1])
    if not moved:
        return pairs, iou
    every = np.concatenate([pairs, *moved])
    _, first = np.unique(every[:, 0] * len(now) + every[:, 1], return_index=True)
    first.sort()
    return every[first], np.concatenate([iou, np.zeros(len(every) - len(iou))])[first]


def _divisions(
    shared: csr_array, before: np.ndarray, now: np.ndarray, regions: Regions
) -> tuple[np.ndarray, np.ndarray]:
    """Return (d, 3) candidate divisions between two frames, and the IoU of each mother with both daughters."""
    common = shared.tocoo()
    i, j = common.coords
    lies = common.data > 0.5 * INSIDE * now[j]
    i, j, voxels = i[lies], j[lies], common.data[lies]
    order = np.lexsort((j, i))
    i, j, voxels = i[order], j[order], voxels[order]
    excluded = set(map(tuple, regions.conflicts().tolist()))
    triples, ious = [], []
    for mother, (a, b) in zip(*_runs(i), strict=True):
        for x in range(a, b):
            for y in range(x + 1, b):
                if (int(j[x]), int(j[y])) in excluded:
                    continue
                both = voxels[x] + voxels[y]
                iou = both / (before[mother] + now[j[x]] + now[j[y]] - both)
                if iou >= _LEAST_OF_BOTH:
                    triples.append((mother, j[x], j[y]))
                    ious.append(iou)
    return np.array(triples, np.int64).reshape(-1, 3), np.array(ious, float)


def _runs(sorted_values: np.ndarray) -> tuple[list[int], list[tuple[int, int]]]:
    if len(sorted_values) == 0:
        return [], []
    starts = np.flatnonzero(np.diff(sorted_values, prepend=sorted_values[0] - 1))
    ends = np.append(starts[1:], len(sorted_values))
    return sorted_values[starts].tolist(), list(zip(starts.tolist(), ends.tolist(), strict=True))


def _cliques(pairs: np.ndarray, n: int) -> np.ndarray:
    """Return (c, 2) rows (clique, region) that cover all pairs: larger cliques make a tighter program."""
    neighbours: list[set[int]] = [set() for _ in range(n)]
    for a, b in pairs.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    covered: set[tuple[int, int]] = set()
    rows: list[tuple[int, int]] = []
    number = 0
    for a, b in pairs.tolist():
        if (a, b) in covered:
            continue
        clique = [a, b]
        common = neighbours[a] & neighbours[b]
        while common:
            c = min(common)
            clique.append(c)
            common &= neighbours[c]
        clique.sort()
        covered.update((x, y) for k, x in enumerate(clique) for y in clique[k + 1 :])
        rows += [(number, c) for c in clique]
        number += 1
    return np.array(rows, np.int64).reshape(-1, 2)

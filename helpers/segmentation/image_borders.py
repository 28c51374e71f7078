"""The image's word on what the fusion of StarDist and U-Net made: two cells where it shows a border, one where it shows none.

After the rules of `helpers.segmentation.fusion` have decided by what the networks say:

6. **Divided by the image** (`divides`): a cell in which two stars lie is two if the image shows a border between them.
7. **Joined by the image** (`joins`): two cells that touch are one if it shows none, in images whose borders are bright: there is a
   membrane between any two cells, but not always a dark gap between two nuclei.

Both are numbers of `helpers.segmentation.fusion.Rules`; between them the fusion's word stands. They are on the scale of `helpers.segmentation.borders`, where 0 is the inside of
a cell and 1 a usual border of this image. On the demo's movies, on which they were not chosen, 95 % of cells cut in two lie below 0.12 to 0.26, and 95 %
of true borders above 0.5; on real nuclei and membranes the image often cannot tell, and then nothing changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from helpers.segmentation.borders import BorderScale, contrasts, cut_contrasts, nearest, touching
from helpers.segmentation.fusion import Rules
from helpers.segmentation.groups import joined
from helpers.segmentation.pair_table import overlapping
from helpers.segmentation.regions import count_labels

#: A star lies in a cell with more than this share of its voxels.
_INSIDE = 0.6


def sample(
    labels: NDArray[np.int32], image: NDArray, within: tuple[slice, ...] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a scale is made of: the contrasts of cells cut in two, and of cells that touch.

    Parameters
    ----------
    labels : (Z, Y, X) ndarray of int32
    image : (Z, Y, X) ndarray
    within : tuple of slice, optional
        Cells whose middle lies here count, and contacts of which the cell with the smaller number does: in a frame that is
        looked at in parts each then counts once.
    """
    cells, cuts = cut_contrasts(labels, image)
    pairs, contacts = contrasts(labels, image)
    if within is None:
        return cuts, contacts
    own = np.zeros(int(labels.max(initial=0)) + 1, bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own[number] = box is not None and all(
            w.start <= (b.start + b.stop) / 2 < w.stop for b, w in zip(box, within, strict=True)
        )
    return cuts[own[cells]], contacts[own[pairs[:, 0]]]


def follow_image(
    labels: NDArray[np.int32],
    stars: NDArray[np.integer],
    image: NDArray,
    spacing: tuple[float, ...],
    *,
    rules: Rules | None = None,
    scale: BorderScale | None = None,
    cut_off: NDArray | None = None,
) -> NDArray[np.int64]:
    """Divide and join cells in place, where the image shows borders that the labels have not, or none where they have one.

    Parameters
    ----------
    labels : (Z, Y, X) or (Y, X) ndarray of int32
        Of `helpers.segmentation.fusion.fuse`: stars under their own numbers, new cells above. A part that a star marks gets
        the star's number, cells that are joined the smallest of theirs.
    stars : ndarray of integers, same shape
        StarDist's instances.
    image : ndarray, same shape
        Intensities.
    spacing : tuple of float
        Voxel size, one per axis.
    rules : Rules, optional
        Its `divides` and `joins`.
    scale : BorderScale, optional
        Of the whole frame, where this is a part of it; by default that of these labels.
    cut_off : ndarray of int, optional
        Labels that go on beyond this part of the frame: nothing is joined to them, for their borders are not all seen.

    Returns
    -------
    (m, 2) ndarray of int
        Numbers that are one cell: the one it has, and another that it might have had.
    """
    stack = (1,) * (3 - labels.ndim) + labels.shape
    found, seen, image = labels.reshape(stack), stars.reshape(stack), np.asarray(image).reshape(stack)
    scale = scale or BorderScale.of(*([part] for part in sample(found, image)))
    if not scale.tells:
        return np.empty((0, 2), np.int64)
    spacing = (1.0,) * (3 - len(spacing)) + tuple(spacing)
    rules = rules or Rules()
    ties = _divide(found, seen, image, spacing, scale, rules.divides)
    if scale.usual > scale.none:
        ties = np.concatenate([ties, _join(found, image, scale, rules.joins, cut_off)])
    return ties


def _divide(
    labels: NDArray[np.int32],
    stars: NDArray,
    image: NDArray,
    spacing: tuple[float, ...],
    scale: BorderScale,
    above: float,
) -> NDArray[np.int64]:
    """Give the voxels of a cell to the stars in it, where the image shows a border between them (rule 6)."""
    ties = [np.empty((0, 2), np.int64)]
    cell, star, common = overlapping(labels, stars)
    largest = max(int(labels.max(initial=0)), int(stars.max(initial=0)))
    within = common > _INSIDE * count_labels(stars.reshape(-1), largest)[star]
    cell, star = cell[within], star[within]
    crowded = np.flatnonzero(np.bincount(cell) > 1)
    taken = count_labels(labels.reshape(-1), largest) > 0
    boxes = ndimage.find_objects(labels, int(crowded[-1])) if len(crowded) else []
    for number in crowded.tolist():
        # A star whose number is another cell's is no seed.
        names = star[cell == number]
        names = names[(names == number) | ~taken[names]]
        if len(names) < 2:
            continue
        box = boxes[number - 1]
        inside = labels[box] == number
        parts = np.where(inside, 1 + nearest(stars[box], names, spacing), 0).astype(np.int32)
        pairs, contrast = contrasts(parts, image[box])
        strong = pairs[scale.place(contrast) > above]
        faces = touching(parts)
        n = len(names) + 1
        group = _least(faces[~np.isin(faces @ [n, 1], strong @ [n, 1])], n)
        # Where the image says nothing of a part, it belongs to the cell's first.
        group[~np.isin(group, group[strong])] = 1
        group[0] = 0
        if (group[1:] == 1).all():
            continue
        kept = np.concatenate([[0], names[group[1:] - 1]])
        labels[box][inside] = kept[parts[inside]]
        ties.append(np.column_stack([kept[1:], names])[kept[1:] != names])
    return np.concatenate(ties)


def _join(
    labels: NDArray[np.int32], image: NDArray, scale: BorderScale, below: float, cut_off: NDArray | None
) -> NDArray[np.int64]:
    """Make cells one that touch without a border (rule 7)."""
    pairs, contrast = contrasts(labels, image)
    none = scale.place(contrast) < below
    if cut_off is not None:
        none &= ~np.isin(pairs, cut_off).any(axis=1)
    group = _least(pairs[none], int(labels.max(initial=0)) + 1)
    others = np.flatnonzero(group != np.arange(len(group)))
    if len(others):
        labels[...] = group[labels]
    return np.column_stack([group[others], others])


def _least(pairs: NDArray, n: int) -> NDArray[np.int64]:
    """Return for each of n numbers the smallest that it hangs together with by the pairs (m, 2)."""
    _, first, group = np.unique(joined(pairs.T, n), return_index=True, return_inverse=True)
    return first[group]

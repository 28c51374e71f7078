"""Regions of one frame that may be cells, as atoms: voxels that belong to the same regions are one atom.

    set 1    [  a  ][   b  ]          two cells
    set 2    [   c   ][  d ]          the same, with the border elsewhere
    union    [     a∪b     ]          one cell, cut in two by mistake
    atoms     1      2  3             a = {1}, b = {2, 3}, c = {1, 2}, d = {3}, a∪b = {1, 2, 3}

What regions share, within a frame and from frame to frame, then follows from what atoms share, counted once.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array, vstack

from helpers.segmentation.borders import contrasts, cut_contrasts, nearest, touching
from helpers.tracking.overlap import Frame, shared_voxels

#: Two regions exclude each other from this share of the smaller one on; below it, borders merely differ.
_CONFLICT = 0.25
#: Two regions are one from this overlap (IoU) on; two sets agree on a cell from the other on.
_SAME, _AGREE = 0.8, 0.5
#: A cell lies in another one with more than this share of its voxels.
INSIDE = 0.6


@dataclass(frozen=True)
class Regions:
    """Hypotheses of one frame.

    Attributes
    ----------
    packed : bytes
        The frame of atoms, compressed; `atoms` unpacks it.
    shape : tuple of int
        Of the frame.
    members : (n, n atoms) sparse array of 0 and 1
        Which atoms each region is made of; a row each, those of the first set first, in the order of its labels.
    sizes : (n atoms,) int ndarray
        Voxels of each atom.
    centres : (n atoms, 3) float ndarray
        µm.
    border : (n atoms,) bool ndarray
        Whether an atom touches a face of the frame.
    label : (n,) int ndarray
        Label in the first set; 0 for regions of other sets and joined ones.
    of_set : (n, number of sets) bool ndarray
        Which sets a region is from; none for those that were made by joining or dividing.
    contacts : (p, 2) int ndarray
        Pairs of regions of the first set that touch.
    contact_contrast : (p,) float ndarray
        What the image says of their border (`helpers.segmentation.borders`); NaN where nothing.
    contrast : (n,) float ndarray
        Likewise of the border that a region divides a cell by, or leaves out; NaN for regions that do neither.
    divides : (n,) int8 ndarray
        1 for parts of a cell of the first set, −1 for the union of two of its cells, 0 for others.
    cuts : float ndarray
        Contrasts within cells of the first set.
    """

    packed: bytes
    shape: tuple[int, ...]
    members: csr_array
    sizes: np.ndarray
    centres: np.ndarray
    border: np.ndarray
    label: np.ndarray
    of_set: np.ndarray
    contacts: np.ndarray
    contact_contrast: np.ndarray
    contrast: np.ndarray
    divides: np.ndarray
    cuts: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def atoms(self) -> np.ndarray:
        """The frame of atoms, int32: atom k is k + 1, 0 is background."""
        return np.frombuffer(zlib.decompress(self.packed), np.int32).reshape(self.shape)

    @property
    def volume(self) -> np.ndarray:
        """(n,) int: voxels of each region."""
        return self.members @ self.sizes

    @property
    def centroid(self) -> np.ndarray:
        """(n, 3) float: µm."""
        return (self.members @ (self.centres * self.sizes[:, None])) / self.volume[:, None]

    @property
    def at_border(self) -> np.ndarray:
        """(n,) bool: whether a region touches a face of the frame."""
        return (self.members @ self.border) > 0

    def shared(self) -> csr_array:
        """(n, n): voxels that two regions have in common."""
        return (self.members * self.sizes) @ self.members.T

    def votes(self) -> np.ndarray:
        """(n,) float: share of the sets that have a region like this one."""
        i, j, iou = _iou(self.shared().tocoo(), self.volume)
        agree = iou >= _AGREE
        found = np.zeros(self.of_set.shape, bool)
        np.logical_or.at(found, i[agree], self.of_set[j[agree]])
        return found.mean(axis=1)

    def covered(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) how many cells of the first set a region is worth, and its share outside of all of them."""
        own = self.members[self.label > 0]
        share = (own.T / (own @ self.sizes)).tocsr() if own.shape[0] else own.T
        worth = (self.members * self.sizes) @ share.sum(axis=1)
        inside = np.asarray(own.sum(axis=0) > 0).ravel()
        return worth, 1 - (self.members @ (self.sizes * inside)) / self.volume

    def conflicts(self) -> np.ndarray:
        """(c, 2) int: pairs i < j of which at most one is a cell."""
        common = self.shared().tocoo()
        i, j = common.coords
        keep = (i < j) & (common.data > _CONFLICT * np.minimum(self.volume[i], self.volume[j]))
        return np.column_stack([i[keep], j[keep]])

    def joined(self, rows: np.ndarray) -> Regions:
        """Return these regions and, after them, the union of the contacts `rows`."""
        if len(rows) == 0:
            return self
        pairs = self.contacts[rows]
        union = (self.members[pairs[:, 0]] + self.members[pairs[:, 1]]).minimum(1)
        more = replace(
            self,
            members=csr_array(vstack([self.members, union])),
            label=np.append(self.label, np.zeros(len(pairs), np.int64)),
            of_set=np.vstack([self.of_set, np.zeros((len(pairs), self.of_set.shape[1]), bool)]),
            contrast=np.append(self.contrast, self.contact_contrast[rows]),
            divides=np.append(self.divides, np.full(len(pairs), -1, np.int8)),
        )
        # Another set may have the whole cell: its region stays, the union is left out.
        iou = _iou(more.shared().tocoo(), more.volume)
        i, j, same = iou
        return more._without(i, j, (i < len(self)) & (j >= len(self)) & (same >= _SAME))

    def _without(self, kept: np.ndarray, twice: np.ndarray, same: np.ndarray) -> Regions:
        """Leave out regions that are the same as one kept, which inherits what the image says of them."""
        kept, twice = kept[same], twice[same]
        contrast, divides = self.contrast.copy(), self.divides.copy()
        heir = self.label[kept] == 0
        contrast[kept[heir]], divides[kept[heir]] = self.contrast[twice[heir]], self.divides[twice[heir]]
        keep = np.ones(len(self), bool)
        keep[twice] = False
        return replace(self, contrast=contrast, divides=divides).take(keep)

    def take(self, keep: np.ndarray) -> Regions:
        """Return those regions where `keep` holds; the first set stays whole."""
        return replace(
            self,
            members=self.members[keep],
            label=self.label[keep],
            of_set=self.of_set[keep],
            contrast=self.contrast[keep],
            divides=self.divides[keep],
        )

    def paint(self, chosen: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the frame with regions `chosen` drawn as `labels`; where two share voxels the smaller number wins."""
        lookup = np.zeros(len(self.sizes) + 1, np.int32)
        for row, label in sorted(zip(chosen.tolist(), labels.tolist(), strict=True), reverse=True):
            lookup[1 + self.members[[row]].indices] = label
        return lookup[self.atoms]


def regions_of(
    sets: Sequence[np.ndarray],
    divided: Sequence[np.ndarray],
    wanted: np.ndarray,
    voxel_size: np.ndarray,
    sizes: tuple[float, float],
    image: np.ndarray | None = None,
    with_cuts: bool = True,
) -> Regions:
    """Return the regions of one frame.

    Parameters
    ----------
    sets : sequence of (Z, Y, X) int ndarray
        Labels of one frame from each method; the first is what was segmented, the others compete with it.
    divided : sequence of (Z, Y, X) int ndarray
        Parts of cells of the first set, from `divide`; no method's own.
    wanted : (n,) int ndarray
        Labels of the first set that may be cells, ascending.
    voxel_size : (3,) float ndarray
        µm.
    sizes : tuple of float
        Fewest and most voxels of a region of another set.
    image : (Z, Y, X) ndarray, optional
        Intensities, in which borders are looked for.
    with_cuts : bool
        Look within the cells of the first set, too.
    """
    first = Frame.of(sets[0], wanted, np.arange(len(wanted))).numbers
    combined, parts = first.astype(np.int64), [first]
    for labels in [*sets[1:], *divided]:
        found, counts = np.unique(labels, return_counts=True)
        good = found[(found > 0) & (counts >= sizes[0]) & (counts <= sizes[1])]
        numbers = Frame.of(labels, good, np.arange(len(good))).numbers
        parts.append(numbers)
        combined = combined * (len(good) + 1) + numbers
    keys, at, atoms = np.unique(combined, return_index=True, return_inverse=True)
    atoms = atoms.reshape(first.shape)
    if keys[0] == 0:
        at = at[1:]
    else:  # nothing is background
        atoms = atoms + 1
    atoms = atoms.astype(np.int32)
    n = 0
    contacts, contact_contrast, cuts = _borders(first, image, with_cuts)
    rows, columns, origin, contrast = [], [], [], []
    for k, numbers in enumerate(parts):
        of_atom = numbers.ravel()[at].astype(np.int64)
        inside = of_atom > 0
        rows.append(n + of_atom[inside] - 1)
        columns.append(np.flatnonzero(inside))
        origin.append(np.full(int(numbers.max(initial=0)) if k else len(wanted), k))
        n += len(origin[-1])
        if k < len(sets) or image is None:
            contrast.append(np.full(len(origin[-1]), np.nan))
        else:
            contrast.append(_of_parts(numbers, first, image))
    entries = (np.concatenate(rows), np.concatenate(columns))
    members = csr_array((np.ones(len(entries[0]), np.int64), entries), shape=(n, len(at)))
    sizes_of, centres, border = _places(atoms, len(at), voxel_size)
    source = np.concatenate(origin)
    found = Regions(
        zlib.compress(atoms.tobytes(), 1),
        first.shape,
        members,
        sizes_of,
        centres,
        border,
        np.where(source == 0, np.append(wanted, np.zeros(n - len(wanted), np.int64)), 0),
        source[:, None] == np.arange(len(sets)),
        contacts,
        contact_contrast,
        np.concatenate(contrast),
        (source >= len(sets)).astype(np.int8),
        cuts,
    )
    return _merged(found, source)


def _merged(found: Regions, source: np.ndarray) -> Regions:
    """Keep one of regions that are the same, with the sets of all."""
    i, j, iou = _iou(found.shared().tocoo(), found.volume)
    same = (source[i] < source[j]) & (iou >= _SAME)
    of_set = found.of_set.copy()
    np.logical_or.at(of_set, i[same], found.of_set[j[same]])
    return replace(found, of_set=of_set)._without(i, j, same)


def divide(labels: np.ndarray, other: np.ndarray, voxel_size: np.ndarray) -> np.ndarray:
    """Divide cells of one frame where two cells of a neighbouring frame lie in one.

    Parameters
    ----------
    labels, other : (Z, Y, X) int ndarray
        The frame to divide, and the one before or after it.
    voxel_size : (3,) float ndarray
        µm.

    Returns
    -------
    (Z, Y, X) int32 ndarray
        Parts 1…n of the cells that hold at least two of the other frame by more than `INSIDE` of each: every voxel goes to
        the nearest of these, 0 elsewhere.
    """
    a, b = np.unique(labels), np.unique(other)
    a, b = a[a > 0], b[b > 0]
    here = Frame.of(labels, a, np.arange(len(a)))
    there = Frame.of(other, b, np.arange(len(b)))
    i, j, voxels = shared_voxels(here.numbers, there.numbers)
    within = voxels > INSIDE * there.sizes[j]
    i, j = i[within], j[within]
    parts = np.zeros(labels.shape, np.int32)
    boxes = ndimage.find_objects(here.numbers)
    n = 0
    for cell in np.flatnonzero(np.bincount(i, minlength=len(a)) > 1):
        box = boxes[cell]
        inside = here.numbers[box] == cell + 1
        others = j[i == cell]
        parts[box][inside] = n + 1 + nearest(there.numbers[box], others + 1, voxel_size)[inside]
        n += len(others)
    return parts


def _iou(common: Any, volume: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    i, j = common.coords
    return i, j, common.data / (volume[i] + volume[j] - common.data)


def _places(atoms: np.ndarray, n: int, voxel_size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return voxels, centre (µm) of each atom, and whether it touches a face of the frame."""
    flat = atoms.ravel()
    sizes = np.bincount(flat, minlength=n + 1)[1:]
    centres = np.empty((n, 3))
    border = np.zeros(n + 1, bool)
    for axis, length in enumerate(atoms.shape):
        others = tuple(k for k in range(3) if k != axis)
        weights = np.expand_dims(np.arange(length, dtype=float), others)
        sums = np.bincount(flat, weights=np.broadcast_to(weights, atoms.shape).ravel(), minlength=n + 1)
        centres[:, axis] = sums[1:] / np.maximum(sizes, 1) * voxel_size[axis]
        if length > 1:
            border[np.take(atoms, [0, length - 1], axis)] = True
    return sizes, centres, border[1:]


def _borders(
    first: np.ndarray, image: np.ndarray | None, with_cuts: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of regions that touch, their contrast, and that of the regions cut in two."""
    contacts = touching(first) - 1
    contrast = np.full(len(contacts), np.nan)
    if image is None:
        return contacts, contrast, np.empty(0)
    pairs, found = contrasts(first, image)
    n = int(first.max(initial=0)) + 1
    rows = np.searchsorted((contacts + 1) @ [n, 1], pairs @ [n, 1])
    contrast[rows] = found
    if not with_cuts:
        return contacts, contrast, np.empty(0)
    return contacts, contrast, cut_contrasts(first, image)[1]


def _of_parts(parts: np.ndarray, first: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return for each part of a cell the least contrast to another part of the same cell."""
    n = int(parts.max(initial=0))
    cell = np.zeros(n + 1, np.int64)
    cell[parts] = first
    pairs, found = contrasts(parts, image)
    same = cell[pairs[:, 0]] == cell[pairs[:, 1]]
    least = np.full(n + 1, np.inf)
    for side in (0, 1):
        np.minimum.at(least, pairs[same, side], np.nan_to_num(found[same], nan=np.inf))
    return np.where(np.isfinite(least), least, np.nan)[1:]


def shared_between(before: Regions, now: Regions) -> csr_array:
    """Return (n, m): voxels that a region of one frame and one of the next have in common."""
    i, j, voxels = shared_voxels(before.atoms, now.atoms)
    common = csr_array((voxels, (i, j)), shape=(len(before.sizes), len(now.sizes)))
    return before.members @ common @ now.members.T

"""Pairs of labels, counted in loops: as numpy counts them, also where the table grows many times."""

from __future__ import annotations

import numpy as np

from helpers.segmentation.pair_table import shared
from helpers.segmentation.regions import contacts


def test_pairs_at_the_same_places_are_counted() -> None:
    rng = np.random.default_rng(0)
    one, other = np.repeat(rng.integers(0, 150, (2, 20_000)), 3, axis=1).astype(np.int32)
    both = (one > 0) & (other > 0)
    expected = np.unique((one[both].astype(np.int64) << 32) | other[both], return_counts=True)
    keys, counts = shared(one, other)
    order = np.argsort(keys)
    np.testing.assert_array_equal((keys[order], counts[order]), expected)


def test_contacts_are_those_along_each_axis() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(-1, 90, (6, 40, 41)).astype(np.int32)
    probability = rng.random(labels.shape, np.float32)
    found = []
    for axis in range(3):
        a, b = (np.moveaxis(labels, axis, 0)[s].astype(np.int64) for s in (slice(-1), slice(1, None)))
        p, q = (np.moveaxis(probability, axis, 0)[s] for s in (slice(-1), slice(1, None)))
        meet = (a != b) & (a > 0) & (b > 0)
        found.append([(np.minimum(a, b) << 32 | np.maximum(a, b))[meet], np.minimum(p, q)[meet]])
    pairs, which = np.unique(np.concatenate([f[0] for f in found]), return_inverse=True)
    level = np.bincount(which, np.concatenate([f[1] for f in found])) / np.bincount(which)
    keys, faces, mean = contacts(labels, probability)
    order = np.argsort(keys)
    np.testing.assert_array_equal(keys[order], pairs)
    np.testing.assert_array_equal(faces[order], np.bincount(which))
    np.testing.assert_allclose(mean[order], level, rtol=1e-12)

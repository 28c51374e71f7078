"""Divisions that are not real."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from helpers.curation.suspects.signs import Cells, Sign, together

#: Daughters are as large as their mother, together, within these factors; and each is at least this share of the other.
_TOGETHER, _SHARE = (0.5, 1.6), 0.4
#: Frames that a daughter lives at least, where the movie goes on.
_LIFE = 3
#: A division is rare: each is looked at before cells that merely end at a border.
_RARE = 0.25


def signs(cells: Cells) -> Iterator[Sign]:
    """Yield a sign for each division, with all that is odd about it."""
    rows = cells.tracks.link_rows
    tracklet = cells.tracks.tracklet_ids
    end = np.zeros(cells.tracks.n_tracklets, int)
    np.maximum.at(end, tracklet, cells.frames)
    for mother in np.flatnonzero(cells.tracks.out_degree > 1):
        daughters = rows[rows[:, 0] == mother, 1]
        found = [*_sizes(cells, int(mother), daughters), *_lives(cells, daughters, end[tracklet[daughters]])]
        if len(daughters) > 2:
            found.append((0.8, f"into {len(daughters)}"))
        scores = [score for score, _ in found]
        words = "; ".join(text for _, text in found) or "rare, so worth a look"
        mark = ("division", int(cells.ids[mother]))
        yield Sign(
            "division",
            int(mother),
            together([_RARE, *scores]),
            f"divides: {words}",
            (mark,),
            int(daughters[0]),
        )


def _sizes(cells: Cells, mother: int, daughters: np.ndarray) -> Iterator[tuple[float, str]]:
    own, sizes = cells.sizes[mother], cells.sizes[daughters]
    if not np.isfinite([own, *sizes]).all() or own <= 0:
        return
    total = sizes.sum() / own
    if not _TOGETHER[0] <= total <= _TOGETHER[1]:
        yield 0.5, f"the daughters together are {total:.2g} times as large as the mother"
    share = sizes.min() / sizes.max()
    if share < _SHARE:
        yield 0.5 + 0.4 * (1 - share / _SHARE), f"one daughter is {share:.2g} times as large as the other"


def _lives(cells: Cells, daughters: np.ndarray, ends: np.ndarray) -> Iterator[tuple[float, str]]:
    for row, last in zip(daughters, ends, strict=True):
        life = int(last - cells.frames[row] + 1)
        goes_on = cells.tracks.tracklet_ids[row] in cells.tracks.children
        if life < _LIFE and last < cells.shape[0] - 1:
            what = "divides again" if goes_on else "ends"
            yield 0.7 if goes_on else 0.6, f"a daughter {what} after {life} frame{'s' if life > 1 else ''}"

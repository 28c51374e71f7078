"""How plausible each division is: a cell that is cut in two for a few frames looks like one.

    o──o──o──o──o──o──o          a division is believed when the mother was there before (at least `MOTHER` frames), both
             ╲                   daughters live on (at least `DAUGHTER` frames), are alike in size, together about as large
              o──o──o──o         as she, and lie where she was

Each doubt is a factor between 0 and 1, their product is the plausibility; below `PLAUSIBLE` a division is left out of rates.
What happens in the first and last frames cannot be told from a wrong outline, so divisions there are doubtful too, and
the time in which they could only be doubtful does not count as watched.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from helpers.tracking.tracks import Tracks

#: From here on a division is believed.
PLAUSIBLE = 0.5
#: Frames that a mother is seen before, and each daughter after, a division that is believed.
MOTHER, DAUGHTER = 2, 3
#: Sizes of both daughters together by the mother's, and of the smaller daughter by the larger one's.
_TOGETHER, _SHARE = (0.6, 1.6), 0.4
#: Least overlap (IoU) of the mother with both daughters, and least margin of a link.
_OVERLAP, _MARGIN = 0.35, 1.0
#: Factors of single doubts; two of the weak ones are enough.
_STRONG, _WEAK = 0.3, 0.6

_COLUMNS = ["parent_id", "frame", "plausibility", "plausible", "doubts"]


def judge_divisions(tracks: Tracks) -> pd.DataFrame:
    """Judge how plausible each division is.

    Parameters
    ----------
    tracks : Tracks
        Sizes are taken from ``volume_um3`` or ``area_um2``, overlaps and certainty from ``iou`` and ``margin`` of the links,
        where there are such columns.

    Returns
    -------
    DataFrame
        A row per division, in the order of ``tracks.divisions``: ``parent_id, frame, plausibility`` (0 to 1)``, plausible,
        doubts`` (in words, empty where there are none).
    """
    frames = tracks.objects["frame"].to_numpy()
    tracklet = tracks.tracklet_ids
    first, last = np.full(tracks.n_tracklets, frames.max(initial=0)), np.zeros(tracks.n_tracklets, np.int64)
    np.minimum.at(first, tracklet, frames)
    np.maximum.at(last, tracklet, frames)
    span = (int(frames.min(initial=0)), int(frames.max(initial=0)))
    index = pd.Index(tracks.objects["id"])
    size = next(
        (tracks.objects[n].to_numpy(float) for n in ("volume_um3", "area_um2") if n in tracks.objects), None
    )
    by_pair = tracks.links.set_index(["source", "target"]) if len(tracks.divisions) else tracks.links
    rows = []
    for mother_id, daughter_ids in zip(
        tracks.divisions["parent"], tracks.divisions["daughters"], strict=True
    ):
        mother = int(index.get_loc(mother_id))  # type: ignore[arg-type]
        daughters = index.get_indexer(pd.Index(daughter_ids))
        doubts = [
            *_lives(mother, daughters, frames, first[tracklet], last[tracklet], span),
            *_sizes(mother, daughters, size),
            *_links(by_pair.loc[[(mother_id, d) for d in daughter_ids]], mother, daughters, size),
        ]
        plausibility = float(np.prod([factor for factor, _ in doubts]))
        words = "; ".join(dict.fromkeys(text for _, text in doubts))
        rows.append((mother_id, frames[mother], plausibility, plausibility >= PLAUSIBLE, words))
    return pd.DataFrame(rows, columns=_COLUMNS)


def judgeable(tracks: Tracks) -> np.ndarray:
    """Return (n_objects,) bool: whether a division right after the object could be believed, as far from the movie's ends."""
    frames = tracks.objects["frame"].to_numpy()
    return (frames - frames.min(initial=0) >= MOTHER - 1) & (frames.max(initial=0) - frames >= DAUGHTER)


Doubts = Iterator[tuple[float, str]]


def _lives(
    mother: int,
    daughters: np.ndarray,
    frames: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    span: tuple[int, int],
) -> Doubts:
    before = int(frames[mother] - first[mother] + 1)
    if before < MOTHER:
        in_first = first[mother] == span[0]
        yield _STRONG, "in the first frame" if in_first else "the mother appears or is born just before"
    for row in daughters:
        life = int(last[row] - frames[row] + 1)
        if life >= DAUGHTER:
            continue
        if last[row] == span[1]:
            yield _STRONG, "in the last frames"
        else:
            yield _STRONG, f"a daughter is seen in {life} frame{'s' if life > 1 else ''} only"
    if len(daughters) > 2:
        yield _STRONG, f"into {len(daughters)}"


def _sizes(mother: int, daughters: np.ndarray, size: np.ndarray | None) -> Doubts:
    if size is None or not (size[[mother, *daughters]] > 0).all():
        return
    together = size[daughters].sum() / size[mother]
    if not _TOGETHER[0] <= together <= _TOGETHER[1]:
        yield _STRONG, f"the daughters together are {together:.2g} times as large as the mother"
    share = size[daughters].min() / size[daughters].max()
    if share < _SHARE:
        yield _STRONG, f"one daughter is {share:.2g} times as large as the other"


def _links(links: pd.DataFrame, mother: int, daughters: np.ndarray, size: np.ndarray | None) -> Doubts:
    if "iou" in links and size is not None and (size[[mother, *daughters]] > 0).all():
        iou = np.clip(np.nan_to_num(links["iou"].to_numpy(float), nan=1.0), 0, 1)
        shared = iou * (size[mother] + size[daughters]) / (1 + iou)
        both = shared.sum() / max(size[mother] + size[daughters].sum() - shared.sum(), 1e-12)
        if both < _OVERLAP:
            yield _WEAK, f"the daughters lie where the mother was by {both:.2f} only"
    if "margin" in links and (margin := links["margin"].min()) < _MARGIN:
        yield _WEAK, f"something else is almost as likely (margin {margin:.1f})"

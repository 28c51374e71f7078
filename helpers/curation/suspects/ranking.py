"""Signs become a ranked list of places."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd

from helpers.curation.state import State
from helpers.curation.suspects import divisions, links, outlines, tracks
from helpers.curation.suspects.signs import Cells, Sign, together
from helpers.curation.tables import curated_tracks
from helpers.data.movies import Movie

COLUMNS = ["score", "kind", "reason", "frame", "label", "z", "y", "x", "id", "other", "confirm"]


def find_suspects(state: State, raw: Movie | None = None) -> pd.DataFrame:
    """Rank the places of a movie where labels or tracks are likely wrong.

    Parameters
    ----------
    state : State
        With all corrections: what is corrected is no longer listed, what was found correct never again.
    raw : Movie, optional
        To measure intensities of changed cells.

    Returns
    -------
    DataFrame
        The most suspicious first: ``score`` (0 to 1), ``kind`` (of the strongest sign), ``reason`` (all signs in words),
        ``frame, label, z, y, x`` (µm) of the cell, ``id`` (of its object; −1 in no track), ``other`` (id of a second cell
        it is about; −1), ``confirm`` (what to find correct so that it does not come back: a tuple of marks).
    """
    found = curated_tracks(state, raw)
    cells = Cells(found, state.shape, state.automatic.voxel_size)
    places: dict[tuple[int, int], list[Sign]] = defaultdict(list)
    centre: dict[tuple[int, int], tuple[float, float, float]] = {}
    keys = list(zip(found.objects["frame"].tolist(), found.objects["label"].tolist(), strict=True))
    for part in (
        links.signs(cells, state.labels),
        tracks.signs(cells),
        divisions.signs(cells),
        outlines.signs(cells),
    ):
        for sign in part:
            places[keys[sign.row]].append(sign)
    for sign, (t, label, where) in outlines.in_labels(cells, state.labels):
        places[t, label].append(sign)
        centre[t, label] = where
    marks = state.graph.marks
    rows = []
    for key, signs in places.items():
        signs = [sign for sign in signs if not marks.intersection(sign.silenced_by)]
        if signs:
            rows.append(_row(cells, key, sorted(signs, key=lambda sign: -sign.score), centre.get(key)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["score", "frame", "label"], ascending=[False, True, True], ignore_index=True)


def _row(cells: Cells, key: tuple[int, int], signs: list[Sign], centre: tuple[float, ...] | None) -> list:
    row = signs[0].row
    where = tuple(cells.points[row].tolist()) if row >= 0 else centre or (0.0, 0.0, 0.0)
    other = next((sign.other for sign in signs if sign.other >= 0), -1)
    reason = "; ".join(dict.fromkeys(sign.reason for sign in signs))
    confirm = tuple(dict.fromkeys(sign.silenced_by[0] for sign in signs))
    return [
        round(together(sign.score for sign in signs), 4),
        signs[0].kind,
        f"cell {key[1]} in frame {key[0]} {reason}",
        *key,
        *where,
        int(cells.ids[row]) if row >= 0 else -1,
        int(cells.ids[other]) if other >= 0 else -1,
        confirm,
    ]

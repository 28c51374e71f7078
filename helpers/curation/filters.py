"""Which tracks to look at: by number, or by a condition on any column of the table."""

from __future__ import annotations

from typing import Any

from helpers.curation.state import State
from helpers.curation.tables import curated_tracks
from helpers.curation.trees import Founders
from helpers.errors import InputError


def numbers_in(text: str) -> set[int] | None:
    """Return the numbers of a text that holds nothing else, separated by commas; None where it does."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return {int(part) for part in parts} if all(part.isdigit() for part in parts) else None


def tracks_that(state: State, text: str, raw: Any = None) -> set[int]:
    """Return the founders (first objects) of the tracks that a text asks for.

    Parameters
    ----------
    state : State
    text : str
        Founders, such as ``1, 2, 3`` (unknown ones are passed over, as in mmv_h4tracks); or a condition on the columns of the
        curated objects, such as ``volume_um3 > 500 and frame >= 3``: tracks of which an object meets it.
    raw : Movie, optional
        To measure intensities of changed cells.

    Raises
    ------
    InputError
        Neither numbers nor a condition on columns that are there.
    """
    founders = Founders(state.graph)
    if (wanted := numbers_in(text)) is not None:
        return {i for i in wanted if i in state.graph.cell_of and founders.of(i) == i}
    objects = curated_tracks(state, raw).annotated()
    try:
        found = objects[objects.eval(text, engine="python")]
    except Exception as error:  # whatever pandas makes of a text that is none
        columns = ", ".join(map(str, objects.columns))
        raise InputError("filter", text, f"numbers, or a condition on {columns} ({error})") from None
    return {founders.of(i) for i in found["id"].tolist()}

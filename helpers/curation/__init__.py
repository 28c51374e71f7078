"""Curation: a biologist corrects labels, tracks and divisions; one append-only log of edits holds all of it.

::

    movies/<id>/
        labels.zarr, tracks.csv     the automatic result, never touched
        edits.jsonl                 the log, one line per edit; all else follows from these three
        curated/labels.zarr         the frames that differ from the automatic ones
        curated/tracks.csv          the tracks with all edits
        curated/state.json          which edits the two hold

Whoever reads a curated result (`helpers.curation.files.bring_up_to_date`) gets that of the whole log. `Curation`
edits; `helpers.curation.operations` holds what can be done, an idea a file.
"""

from helpers.curation.cells import Cell, Stroke
from helpers.curation.session import Curation

__all__ = ["Cell", "Curation", "Stroke"]

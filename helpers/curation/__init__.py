"""Curation: a biologist corrects labels, tracks and divisions; one append-only log of edits holds all of it.

::

    movies/<id>/
        labels.zarr, tracks.csv     the automatic result, never touched
        edits.jsonl                 the log, one line per edit; all else follows from these three
        curated/labels.zarr         the frames that differ from the automatic ones
        curated/tracks.csv          the tracks with all edits
        curated/state.json          which edits the two hold

**Why not funtracks?** Its `actions/` and `user_actions/` are the model of `operations/`: a small file for each thing that can
be done, which knows its inverse. The library itself (2.2, whose requirements fit ours) is not used: in a graph of 200,000 cells
it takes a quarter of a second of processor time to delete or undo a link (``tests/benchmarks/peer_funtracks.py``), where a
tenth was the limit; it keeps outlines on the nodes of a graph in memory, where our labels stay on the disk; and its
history ends with the program.

Whoever reads a curated result (`helpers.curation.files.bring_up_to_date`) gets that of the whole log. `Curation`
edits; `helpers.curation.operations` holds what can be done, one idea per file.
"""

from helpers.curation.cells import Cell, Stroke
from helpers.curation.session import Curation

__all__ = ["Cell", "Curation", "Stroke"]

"""What can be done to labels, tracks and divisions: one idea per file.

An operation takes a draft (`helpers.curation.draft.Draft`) and its arguments, changes the draft, and knows nothing of logs
and undo: what the draft holds at the end is the edit, and says by itself how it is undone. It refuses with an `InputError`
before anything has changed.
"""

from helpers.curation.operations import (  # noqa: F401
    confirm,
    divisions,
    fill,
    from_labels,
    interpolate,
    labels,
    links,
    overlap,
    paint,
    relabel,
    relink,
    split,
)
from helpers.curation.operations.registry import OPERATIONS

__all__ = ["OPERATIONS"]

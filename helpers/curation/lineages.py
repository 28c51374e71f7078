"""Lineages as a text file of four columns, as mmv_h4tracks and the Cell Tracking Challenge know it."""

from __future__ import annotations

from pathlib import Path

from helpers.curation.state import State
from helpers.data.atomic import atomic_path
from helpers.tracking.formats.mmv_h4tracks import lineage_lines
from helpers.tracking.tracks import Tracks


def bare_tracks(state: State) -> Tracks:
    """Return objects (frame and label, no places) and links with all edits in force; nothing is measured."""
    import pandas as pd

    rows = [(i, t, label) for i, (t, label) in sorted(state.graph.cell_of.items())]
    objects = pd.DataFrame(rows, columns=["id", "frame", "label"]).assign(z=0.0, y=0.0, x=0.0)
    return Tracks(
        objects, pd.DataFrame(sorted(state.graph.links()), columns=["source", "target"], dtype="int64")
    )


def write_lineages(state: State, path: Path) -> Path:
    """Write ``id start end parent`` of each tracklet, counted from 0; return the path."""
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lineage_lines(bare_tracks(state))) + "\n")
    return path
